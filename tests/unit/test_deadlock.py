"""Deadlocks counted by hand: when they happen, what the message says, and that its way out is the smallest."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations

import pytest

from archsim import Deadlock, ScheduleError, load_design
from archsim.engine import ENGINES, attempt, run
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit, flatten
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult, Stuck
from dataflow import Pattern, Section, Stream, Task, attention, every, sequence, work
from dataflow.task import UNLIMITED
from mappers.spatial.mapper import Spatial

Ends = Mapping[str, int | Pattern[int]]
UNITS = ("source", "reducer", "joiner", "u", "v", "w")


def task(name: str, unit: str, firings: int, takes: Ends | None = None, gives: Ends | None = None) -> Task:
    """A task whose firings take a cycle each."""
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, unit, firings, every(work("copy", d=1)), taken, given)


def simulate(section: Section, engine: str = "auto", arbitration: str = "in_order") -> SectionResult:
    keys = {"kind": "vector", "ops": [], "lanes": 1, "arbitration": arbitration}
    design = load_design("toy").with_({"units": dict.fromkeys(UNITS, keys)})
    return run(flatten(section, design), engine=engine)


def deadlock(section: Section, engine: str = "auto", arbitration: str = "in_order") -> Deadlock:
    with pytest.raises(Deadlock) as raised:
        simulate(section, engine, arbitration)
    return raised.value


def deeper(section: Section, depths: Mapping[str, int]) -> Section:
    return replace(section, streams=tuple(replace(s, depth=depths.get(s.name, s.depth)) for s in section.streams))


def assert_least(section: Section, depths: Mapping[str, int], cycles: int, arbitration: str = "in_order") -> None:
    """The way out is these depths, with which the section ends; with one place less of any of them it does not."""
    found = deadlock(section, arbitration=arbitration).way_out
    assert found is not None
    assert (found.depths, found.cycles) == (depths, cycles)
    assert found.now == {s.name: s.depth for s in section.streams if s.name in depths}
    assert simulate(deeper(section, depths), arbitration=arbitration).cycles == cycles
    for name, depth in depths.items():
        deadlock(deeper(section, {**depths, name: depth - 1}), arbitration=arbitration)


def normalised(n: int, depth: int, *, rows: int = 2) -> Section:
    """A row of n tokens goes to a sum, which gives one token a row, and past it to where both meet."""
    return Section(
        "norm",
        (
            task("row", "source", n * rows, gives={"to sum": 1, "past": 1}),
            task("sum", "reducer", n * rows, takes={"to sum": 1}, gives={"scale": sequence((0, n - 1), (1, 1))}),
            task("join", "joiner", n * rows, takes={"scale": sequence((1, 1), (0, n - 1)), "past": 1}),
        ),
        (Stream("to sum", 2), Stream("past", depth), Stream("scale", 2)),
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_the_way_past_a_sum_holds_what_is_summed(engine: str, n: int) -> None:
    """The join needs the sum, the sum all n tokens of the row, and each of them a place on the way past."""
    for depth in range(1, n):
        found = deadlock(normalised(n, depth), engine)
        assert found.cycle == depth + 1  # the source fires from 0 to depth, the sum a cycle later
        assert found.way_out is not None
        assert found.way_out.depths == {"past": n}
    for depth in (n, n + 1, 3 * n):
        assert simulate(normalised(n, depth), engine).cycles > 2 * n


@pytest.mark.parametrize("engine", ENGINES)
def test_the_message_of_a_queue_that_is_too_shallow(engine: str) -> None:
    """Three firings of row fill the way past; sum has seen three of four tokens.

    With four places the second row starts when the first is joined, from 6 on; with eight it follows the first.
    """
    found = deadlock(normalised(4, 3), engine)
    assert str(found) == (
        "section 'norm' is in deadlock from cycle 4 on; each of these waits for the next:\n"
        "  'join' at firing 1 of 8 needs 1 token of 'scale', which holds 0; 'sum' gives it\n"
        "  'sum' at firing 4 of 8 needs 1 token of 'to sum', which holds 0; 'row' gives it\n"
        "  'row' at firing 4 of 8 needs 1 place in 'past' (depth 3), which holds 3 tokens and has 0 free; "
        "'join' frees them\n"
        "way out: stream 'past': depth 4 instead of 3 lets it run to its end, in 15 cycles (verified by running it)"
    )
    assert (found.section, found.cycle, found.others) == ("norm", 4, ())
    assert_least(normalised(4, 3), {"past": 4}, 15)
    assert_least(normalised(4, 1), {"past": 4}, 15)
    assert simulate(normalised(4, 8)).cycles == 13


def alternating(order: tuple[tuple[str, int], ...]) -> Section:
    """One unit makes and uses tokens of a queue of two places, in the order given; `last` waits for `use`."""
    return Section(
        "shared",
        (
            task("make", "u", 4, gives={"s": 1}),
            task("use", "u", 4, takes={"s": 1}, gives={"t": 1}),
            task("last", "joiner", 1, takes={"t": 4}),
        ),
        (Stream("s", 2), Stream("t", 4)),
        orders={"u": order},
    )


def test_the_message_of_an_order_that_asks_for_places() -> None:
    """The third `make` finds the queue full, and `use`, which would empty it, comes after all four."""
    section = alternating((("make", 4), ("use", 4)))
    assert str(deadlock(section)) == (
        "section 'shared' is in deadlock from cycle 2 on; each of these waits for the next:\n"
        "  'make' at firing 3 of 4 needs 1 place in 's' (depth 2), which holds 2 tokens and has 0 free; "
        "'use' frees them\n"
        "  'use' at firing 1 of 4 waits for its turn on 'u' after 'make'\n"
        "and behind them:\n"
        "  'last' at firing 1 of 1 needs 4 tokens of 't', which holds 0; 'use' gives them\n"
        "way out: stream 's': depth 4 instead of 2 lets it run to its end, in 9 cycles (verified by running it)"
    )
    assert_least(section, {"s": 4}, 9)


def test_the_message_of_an_order_that_no_depth_helps() -> None:
    found = deadlock(alternating((("use", 4), ("make", 4))))
    assert str(found) == (
        "section 'shared' is in deadlock from cycle 0 on; each of these waits for the next:\n"
        "  'make' at firing 1 of 4 waits for its turn on 'u' after 'use'\n"
        "  'use' at firing 1 of 4 needs 1 token of 's', which holds 0; 'make' gives it\n"
        "and behind them:\n"
        "  'last' at firing 1 of 1 needs 4 tokens of 't', which holds 0; 'use' gives them\n"
        "way out: no depth lets it run to its end; the order of firings on 'u', where it is the turn of 'use', or "
        "initial tokens must change"
    )
    assert found.way_out is None


def test_an_order_that_depth_helps_only_for_a_while() -> None:
    """A third place lets three be made and used; the fourth use comes before the fourth is made."""
    found = deadlock(alternating((("make", 3), ("use", 4), ("make", 1))))
    assert found.wait_cycle[0].cause == "blocked"
    assert str(found).splitlines()[-3:] == [
        "way out: no depth lets it run to its end; the order of firings on 'u', where it is the turn of 'use', or "
        "initial tokens must change; without any limit of depth each of these waits for the next:",
        "  'make' at firing 4 of 4 waits for its turn on 'u' after 'use'",
        "  'use' at firing 4 of 4 needs 1 token of 's', which holds 0; 'make' gives it",
    ]
    assert found.way_out is None


def test_two_units_in_turns_are_both_named() -> None:
    """Each unit first wants what the other makes second."""
    section = Section(
        "crossed",
        (
            task("a", "u", 1, gives={"s": 1}), task("b", "v", 1, gives={"t": 1}),
            task("take s", "v", 1, takes={"s": 1}), task("take t", "u", 1, takes={"t": 1}),
        ),
        (Stream("s", 1), Stream("t", 1)),
        orders={"u": (("take t", 1), ("a", 1)), "v": (("take s", 1), ("b", 1))},
    )  # fmt: skip
    assert str(deadlock(section)).splitlines()[-1] == (
        "way out: no depth lets it run to its end; the order of firings on 'u', where it is the turn of 'take t' and "
        "on 'v', where it is the turn of 'take s', or initial tokens must change"
    )


@pytest.mark.parametrize(
    "order, runs",
    [
        ((("make", 2), ("use", 2), ("make", 2), ("use", 2)), True),
        ((("make", 1), ("use", 1)) * 4, True),
        ((("make", 2), ("use", 1), ("make", 1), ("use", 2), ("make", 1), ("use", 1)), True),
        ((("make", 3), ("use", 3), ("make", 1), ("use", 1)), False),
        ((("make", 1), ("use", 2), ("make", 3), ("use", 2)), False),
        ((("use", 4), ("make", 4)), False),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_order_decides(order: tuple[tuple[str, int], ...], runs: bool, engine: str) -> None:
    """At most two made and not used, never more used than made: eight cycles and the last."""
    if runs:
        assert simulate(alternating(order), engine).cycles == 9
    else:
        deadlock(alternating(order), engine)


def test_first_come_finds_an_order_by_itself() -> None:
    """The same wrong order on a unit that serves first come is no order at all."""
    assert simulate(alternating((("use", 4), ("make", 4))), arbitration="first_come").cycles == 9


def test_a_unit_that_serves_first_come_waits_for_no_turn() -> None:
    """Three rows and three sums, a cycle each; with a place more the unit is busy through all 24 firings."""
    section = normalised(4, 3)
    section = replace(section, tasks=tuple(replace(t, unit="u") for t in section.tasks))
    found = deadlock(section, arbitration="first_come")
    assert found.cycle == 6
    assert [w.cause for w in found.wait_cycle] == ["starved", "starved", "blocked"]
    assert_least(section, {"past": 4}, 24, "first_come")


def loop(*, initial: int, early: int = 0, turns: int = 4) -> Section:
    """Two tasks in a circle; the second gives at firing `early` at the earliest, whatever it takes."""
    return Section(
        "loop",
        (
            task("a", "source", turns, takes={"back": 1}, gives={"forth": 1}),
            task("b", "joiner", turns + early, takes={"forth": sequence((0, early), (1, turns))},
                 gives={"back": sequence((1, turns), (0, early))}),
        ),
        (Stream("forth", 1), Stream("back", 1, initial=initial)),
    )  # fmt: skip


def test_a_loop_that_nothing_starts_is_refused() -> None:
    with pytest.raises(ScheduleError) as raised:
        loop(initial=0)
    assert str(raised.value) == (
        "section 'loop': streams 'back', 'forth' form a cycle without initial tokens; start one of them with initial "
        "tokens"
    )


def test_initial_tokens_or_a_first_gift_start_a_loop() -> None:
    """A token goes round: two cycles a turn. Given before anything is taken, the first cycle makes it."""
    assert simulate(loop(initial=1)).cycles == 8
    assert simulate(loop(initial=0, early=1)).cycles == 9


def test_tokens_that_are_asked_for_before_they_are_made_are_no_matter_of_depth() -> None:
    """The second turn of `a` takes two tokens while `b` has given one."""
    section = Section(
        "loop",
        (
            task("a", "source", 2, takes={"back": sequence((0, 1), (2, 1))}, gives={"forth": 1}),
            task("b", "joiner", 2, takes={"forth": 1}, gives={"back": 1}),
        ),
        (Stream("forth", 2), Stream("back", UNLIMITED)),
    )
    found = deadlock(section)
    assert str(found) == (
        "section 'loop' is in deadlock from cycle 2 on; each of these waits for the next:\n"
        "  'a' at firing 2 of 2 needs 2 tokens of 'back', which holds 1; 'b' gives them\n"
        "  'b' at firing 2 of 2 needs 1 token of 'forth', which holds 0; 'a' gives it\n"
        "way out: no depth lets it run to its end; what firings take and give, or initial tokens must change"
    )
    assert [(w.room, w.depth) for w in found.wait_cycle] == [(None, None), (2, 2)]


def waiting_for_itself(name: str, unit: str, stream: str, firings: int) -> tuple[Task, Stream]:
    """A task that needs a second place in a stream of one."""
    return task(name, unit, firings, takes={stream: 1}, gives={stream: 1}), Stream(stream, 1, initial=1)


def test_a_task_may_wait_for_itself_alone() -> None:
    """Its queue is full: the place of the token taken comes free at the end of the firing that needs another."""
    alone = Section("sum", *zip(waiting_for_itself("a", "u", "s", 3)))
    assert str(deadlock(alone)) == (
        "section 'sum' is in deadlock from cycle 0 on; this task waits for itself:\n"
        "  'a' at firing 1 of 3 needs 1 place in 's' (depth 1), which holds 1 token and has 0 free; 'a' frees them\n"
        "way out: stream 's': depth 2 instead of 1 lets it run to its end, in 3 cycles (verified by running it)"
    )
    assert_least(alone, {"s": 2}, 3)
    once = str(deadlock(Section("sum", *zip(waiting_for_itself("a", "u", "s", 1)))))
    assert once.endswith("in 1 cycle (verified by running it)")


@pytest.mark.parametrize("arbitration", ["in_order", "first_come"])
def test_a_task_with_several_full_outputs_needs_all_of_them_deeper(arbitration: str) -> None:
    """One deeper queue alone changes nothing."""
    tasks = (task("a", "u", 2, takes={"s": 1, "t": 2}, gives={"s": 1, "t": 2}),)
    section = Section("sums", tasks, (Stream("s", 1, initial=1), Stream("t", 3, initial=2)))
    assert str(deadlock(section, arbitration=arbitration)).splitlines()[-1] == (
        "way out: no single depth is enough; together: stream 's': depth 2 instead of 1 and "
        "stream 't': depth 4 instead of 3 let it run to its end, in 2 cycles (verified by running it)"
    )
    assert_least(section, {"s": 2, "t": 4}, 2, arbitration)


def test_a_cycle_that_only_shows_once_another_is_gone_counts_too() -> None:
    """What is joined goes to a second sum and past it: three places are too few there as well."""
    first, second = normalised(4, 3).tasks, normalised(4, 3).tasks
    units = {"row": "u", "sum": "v", "join": "w"}
    again = {"to sum": "to sum again", "past": "past again", "scale": "scale again"}
    later = tuple(
        replace(t, name=f"{t.name} again", unit=units[t.name], takes={again[s]: p for s, p in t.takes.items()},
                gives={again[s]: p for s, p in t.gives.items()})
        for t in second
    )  # fmt: skip
    tasks = (first[0], first[1], replace(first[2], gives={"joined": every(1)}),
             replace(later[0], takes={"joined": every(1)}), *later[1:])  # fmt: skip
    streams = normalised(4, 3).streams
    section = Section(
        "twice", tasks, (*streams, Stream("joined", 2), *(replace(s, name=again[s.name]) for s in streams))
    )
    found = deadlock(section)
    assert [w.task for w in found.wait_cycle] == ["join", "sum", "row"]
    assert [w.task for w in found.others] == ["join again", "row again", "sum again"]
    # Joins end at 6 to 9 and 12 to 15; the second ones, six cycles later, at 12 to 15 and 18 to 21.
    assert_least(section, {"past": 4, "past again": 4}, 21)


def test_cycles_that_have_nothing_to_do_with_each_other() -> None:
    """Two tasks each wait for themselves, a third for one of them; the first by name is told first."""
    (z, s), (a, t) = waiting_for_itself("z", "u", "s", 3), waiting_for_itself("a", "v", "t", 3)
    a = replace(a, gives={**a.gives, "out": every(1)})
    section = Section("two", (z, task("after a", "w", 1, takes={"out": 3}), a), (s, t, Stream("out", 3)))
    assert str(deadlock(section)) == (
        "section 'two' is in deadlock from cycle 0 on; this task waits for itself:\n"
        "  'a' at firing 1 of 3 needs 1 place in 't' (depth 1), which holds 1 token and has 0 free; 'a' frees them\n"
        "and behind them:\n"
        "  'after a' at firing 1 of 1 needs 3 tokens of 'out', which holds 0; 'a' gives them\n"
        "and apart from them:\n"
        "  'z' at firing 1 of 3 needs 1 place in 's' (depth 1), which holds 1 token and has 0 free; 'z' frees them\n"
        "way out: no single depth is enough; together: stream 's': depth 2 instead of 1 and "
        "stream 't': depth 2 instead of 1 let it run to its end, in 4 cycles (verified by running it)"
    )
    assert_least(section, {"s": 2, "t": 2}, 4)


def by_two_queues(first: int, second: int, *, pairs: bool) -> Section:
    """As `normalised`, six tokens a row; past the sum they go through two queues, in the second one by one or in pairs.

    A row ends if six tokens fit into both.
    """
    each = 2 if pairs else 1
    scale = sequence((1, 1), (0, 6 // each - 1))
    return Section(
        "halves",
        (
            task("fill", "source", 6, gives={"to sum": 1, "p1": 1}),
            task("sum", "reducer", 6, takes={"to sum": 1}, gives={"scale": sequence((0, 5), (1, 1))}),
            task("move", "u", 6 // each, takes={"p1": each}, gives={"p2": 1}),
            task("join", "joiner", 6 // each, takes={"scale": scale, "p2": 1}),
        ),
        (Stream("to sum", 2), Stream("p1", first), Stream("p2", second), Stream("scale", 2)),
    )


def test_of_several_depths_that_are_enough_the_smallest_change_is_told() -> None:
    """Four tokens fit: two places more in the first queue are enough, or one in the second, which holds pairs.

    Fills start at 0, 1, 3, 4, 6 and 7, as a move holds the first queue for a cycle; the sum ends at 9, joins at 12.
    """
    section = by_two_queues(2, 1, pairs=True)
    assert_least(section, {"p2": 2}, 12)
    assert simulate(deeper(section, {"p1": 4})).firings == 6 + 6 + 3 + 3
    deadlock(deeper(section, {"p1": 3}))


def test_of_equal_changes_the_first_by_name_is_told() -> None:
    """One place is missing, in either. Fills end at 6, the sum at 7, six joins at 13."""
    section = by_two_queues(2, 3, pairs=False)
    assert_least(section, {"p1": 3}, 13)
    assert simulate(deeper(section, {"p2": 4})).firings == 6 + 6 + 6 + 6


def test_tasks_that_only_an_order_joins_wait_for_each_other_too() -> None:
    """Each waits for itself; the one whose turn is second has no stream in common with the first."""
    (a, s), (b, t) = waiting_for_itself("a", "u", "s", 1), waiting_for_itself("b", "u", "t", 1)
    assert_least(Section("turns", (a, b), (s, t), orders={"u": (("b", 1), ("a", 1))}), {"s": 2, "t": 2}, 2)


def test_of_several_depths_together_those_keep_theirs_that_can() -> None:
    """Beside another cycle either queue would do; the first by name keeps its depth. Joins as with the other deeper."""
    halves, (z, s) = by_two_queues(2, 3, pairs=False), waiting_for_itself("z", "v", "s", 1)
    assert_least(replace(halves, tasks=(*halves.tasks, z), streams=(*halves.streams, s)), {"p2": 4, "s": 2}, 13)


def test_a_firing_that_needs_several_places_is_told_how_many_are_missing() -> None:
    """Five tokens are needed for a sum, three come at a time: six places for the first.

    A token of them is left for the second, which needs two firings more: seven places. Rows end at 1, 2, 5, 6 and 9,
    sums at 3, 7 and 10, joins at 4, 8 and 11.
    """
    tasks = (
        task("row", "source", 5, gives={"to sum": 3, "past": 3}),
        task("sum", "reducer", 3, takes={"to sum": 5}, gives={"scale": 1}),
        task("join", "joiner", 3, takes={"scale": 1, "past": 5}),
    )
    section = Section("rows", tasks, (Stream("to sum", 20), Stream("past", 5), Stream("scale", 2)))
    found = deadlock(section)
    assert str(found.wait_cycle[2]) == (
        "'row' at firing 2 of 5 needs 3 places in 'past' (depth 5), which holds 3 tokens and has 2 free; "
        "'join' frees them"
    )
    assert_least(section, {"past": 7}, 11)


@pytest.mark.parametrize(
    "section",
    [normalised(4, 3), alternating((("make", 4), ("use", 4))), by_two_queues(2, 1, pairs=True)],
    ids=lambda section: section.name,
)
def test_the_order_of_a_listing_changes_no_word(section: Section) -> None:
    said = str(deadlock(section))
    for tasks in permutations(section.tasks):
        assert str(deadlock(replace(section, tasks=tasks))) == said
    for streams in permutations(section.streams):
        assert str(deadlock(replace(section, streams=streams))) == said


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_the_way_out_is_verified_on_the_same_engine(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def recorded(flat: Flat, *, engine: str, memo: Memo | None = None) -> SectionResult | Stuck:
        runs.append((engine, {s.name: s.depth for s in flat.streams}["past"]))
        return attempt(flat, engine=engine, memo=memo)

    monkeypatch.setattr("archsim.engine.attempt", recorded)
    deadlock(normalised(4, 3), engine)
    assert runs == [(engine, 3), (engine, 4)]


def test_a_deadlock_as_plain_data() -> None:
    found = deadlock(alternating((("make", 4), ("use", 4))))
    data = json.loads(json.dumps(found.as_json()))
    assert set(data) == {"section", "cycle", "wait_cycle", "others", "way_out", "settings", "text"}
    assert (data["section"], data["cycle"], data["text"]) == ("shared", 2, str(found))
    assert data["wait_cycle"] == [
        {
            "task": "make", "firing": 3, "firings": 4, "cause": "blocked", "unit": "u", "waits_for": "use",
            "stream": "s", "needed": 1, "tokens": 2, "room": 0, "depth": 2,
            "text": "'make' at firing 3 of 4 needs 1 place in 's' (depth 2), which holds 2 tokens and has 0 free; "
            "'use' frees them",
        },
        {
            "task": "use", "firing": 1, "firings": 4, "cause": "turn", "unit": "u", "waits_for": "make",
            "stream": None, "needed": None, "tokens": None, "room": None, "depth": None,
            "text": "'use' at firing 1 of 4 waits for its turn on 'u' after 'make'",
        },
    ]  # fmt: skip
    assert [w["task"] for w in data["others"]] == ["last"]
    assert data["way_out"] == {"depths": {"s": 4}, "from": {"s": 2}, "cycles": 9}
    assert deadlock(alternating((("use", 4), ("make", 4)))).as_json()["way_out"] is None


def test_a_deadlock_survives_pickling() -> None:
    found = deadlock(normalised(4, 3))
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found)
    assert again.problems == (str(found),)
    assert again.as_json() == found.as_json()
    assert (again.wait_cycle, again.way_out) == (found.wait_cycle, found.way_out)


def test_a_deadlock_of_a_billion_firings_is_explained() -> None:
    """A row of attention that is a place too long: what one more does is found without running it firing by firing."""
    n = 2**14
    machine = load_design("streaming_machine").with_({"fifos.long": n - 1})
    schedule = Spatial(form="naive").lower(attention(queries=n, keys=n, head_dim=8, causal=False), machine)
    with pytest.raises(Deadlock, match=f"depth {n} instead of {n - 1} lets it run to its end") as raised:
        run(flatten(schedule.sections[0], machine))
    assert raised.value.way_out is not None
    assert raised.value.way_out.cycles > n * n


def test_the_search_ends_where_a_stream_without_limit_is_full_of_initial_tokens() -> None:
    """a and b need a place more in p; c and d wait for room in full streams, which no depth gives."""
    tasks = (
        FlatTask("a", 0, 2, (FlatRun(1, 1, (), ((0, 1),)), FlatRun(1, 1, (), ((0, 1), (1, 1))))),
        FlatTask("b", 1, 1, (FlatRun(1, 1, ((1, 1), (0, 2)), ()),)),
        FlatTask("c", 2, 1, (FlatRun(1, 1, ((3, 1),), ((2, 1),)),)),
        FlatTask("d", 3, 1, (FlatRun(1, 1, ((2, 1),), ((3, 1),)),)),
    )
    units = tuple(FlatUnit(f"u{i}", f"u{i}", 1, 0, ((i, task.firings),), (i,)) for i, task in enumerate(tasks))
    full = (FlatStream("r", UNLIMITED, UNLIMITED, 2, 3), FlatStream("s", UNLIMITED, UNLIMITED, 3, 2))
    flat = Flat("x", tasks, (FlatStream("p", 1, 0, 0, 1), FlatStream("q", 1, 0, 0, 1), *full), units)
    with pytest.raises(Deadlock, match="no depth lets it run to its end"):
        run(flat, engine="simpy")
