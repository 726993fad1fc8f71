"""Deadlocks counted by hand: when they happen, what the message says, and that its way out is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from archsim import Deadlock, ScheduleError, load_design
from archsim.engine import ENGINES, run
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult
from dataflow import Pattern, Section, Stream, Task, every, sequence, work

Ends = Mapping[str, int | Pattern[int]]
UNITS = ("source", "reducer", "joiner", "u")


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
    for depth in (n, n + 1, 3 * n):
        assert simulate(normalised(n, depth), engine).cycles > 2 * n


def test_the_message_of_a_queue_that_is_too_shallow() -> None:
    """Three firings of row fill the way past; sum has seen three of four tokens."""
    found = deadlock(normalised(4, 3))
    assert str(found) == (
        "section 'norm' is in deadlock from cycle 4 on; each of these waits for the next:\n"
        "  'row' at firing 4 of 8 needs 1 places in 'past' (depth 3), which has 0 free; 'join' frees them\n"
        "  'join' at firing 1 of 8 needs 1 tokens of 'scale', which holds 0; 'sum' gives them\n"
        "  'sum' at firing 4 of 8 needs 1 tokens of 'to sum', which holds 0; 'row' gives them\n"
        "ways out: stream 'past': depth 4 lets 'row' go on"
    )
    assert (found.section, found.cycle) == ("norm", 4)
    assert len(found.wait_cycle) == 3
    assert not found.others
    # With four places the second row starts when the first is joined, from 6 on; with eight it follows the first.
    assert simulate(normalised(4, 4)).cycles == 15
    assert simulate(normalised(4, 8)).cycles == 13


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_way_out_lets_the_task_go_on(depth: int) -> None:
    """With the depth that is named, `row` gets one firing further; at the fourth the section ends."""
    before = deadlock(normalised(4, depth))
    assert before.ways_out == (f"stream 'past': depth {depth + 1} lets 'row' go on",)
    if depth + 1 == 4:
        assert simulate(normalised(4, depth + 1)).firings == 24
        return
    after = deadlock(normalised(4, depth + 1))
    assert f"'row' at firing {depth + 1} of 8" in before.wait_cycle[0]
    assert f"'row' at firing {depth + 2} of 8" in after.wait_cycle[0]


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


def test_the_message_of_a_wrong_order() -> None:
    """The third `make` finds the queue full, and `use`, which would empty it, comes after all four."""
    assert str(deadlock(alternating((("make", 4), ("use", 4))))) == (
        "section 'shared' is in deadlock from cycle 2 on; each of these waits for the next:\n"
        "  'make' at firing 3 of 4 needs 1 places in 's' (depth 2), which has 0 free; 'use' frees them\n"
        "  'use' at firing 1 of 4 waits for its turn on 'u' after 'make'\n"
        "and behind them:\n"
        "  'last' at firing 1 of 1 needs 4 tokens of 't', which holds 0; 'use' gives them\n"
        "ways out: stream 's': depth 3 lets 'make' go on"
    )


def test_the_wait_cycle_begins_where_it_closes() -> None:
    """`last` is listed first and waits for a task of the cycle, but none of the cycle waits for it."""
    section = alternating((("make", 4), ("use", 4)))
    found = deadlock(replace(section, tasks=section.tasks[::-1]))
    assert [line.split("'")[1] for line in found.wait_cycle] == ["use", "make"]
    assert [line.split("'")[1] for line in found.others] == ["last"]


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


def test_no_order_that_starves_has_a_depth_for_a_way_out() -> None:
    found = deadlock(alternating((("use", 4), ("make", 4))))
    assert found.ways_out == ()
    assert found.wait_cycle == (
        "'make' at firing 1 of 4 waits for its turn on 'u' after 'use'",
        "'use' at firing 1 of 4 needs 1 tokens of 's', which holds 0; 'make' gives them",
    )


def test_first_come_finds_an_order_by_itself() -> None:
    """The same wrong order on a unit that serves first come is no order at all."""
    assert simulate(alternating((("use", 4), ("make", 4))), arbitration="first_come").cycles == 9


def loop(*, initial: int, early: int = 0) -> Section:
    """Two tasks in a circle; the second gives at firing `early` at the earliest, whatever it takes."""
    return Section(
        "loop",
        (
            task("a", "source", 4, takes={"back": 1}, gives={"forth": 1}),
            task("b", "joiner", 4 + early, takes={"forth": sequence((0, early), (1, 4))},
                 gives={"back": sequence((1, 4), (0, early))}),
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


def test_a_task_may_wait_for_itself_alone() -> None:
    """Its queue is full: the place of the token taken comes free at the end of the firing that needs another."""
    alone = Section("sum", (task("a", "u", 3, takes={"s": 1}, gives={"s": 1}),), (Stream("s", 1, initial=1),))
    found = deadlock(alone)
    assert found.wait_cycle == (
        "'a' at firing 1 of 3 needs 1 places in 's' (depth 1), which has 0 free; 'a' frees them",
    )
    assert found.ways_out == ("stream 's': depth 2 lets 'a' go on",)
    assert simulate(replace(alone, streams=(Stream("s", 2, initial=1),))).cycles == 3


@pytest.mark.parametrize("arbitration", ["in_order", "first_come"])
def test_a_task_with_several_full_outputs_needs_all_of_them_deeper(arbitration: str) -> None:
    """One deeper queue alone changes nothing."""
    tasks = (task("a", "u", 2, takes={"s": 1, "t": 2}, gives={"s": 1, "t": 2}),)

    def section(s: int, t: int) -> Section:
        return Section("sums", tasks, (Stream("s", s, initial=1), Stream("t", t, initial=2)))

    assert deadlock(section(1, 3), arbitration=arbitration).ways_out == (
        "stream 's': depth 2 and stream 't': depth 4 lets 'a' go on",
    )
    deadlock(section(2, 3), arbitration=arbitration)
    deadlock(section(1, 4), arbitration=arbitration)
    assert simulate(section(2, 4), arbitration=arbitration).cycles == 2


def test_a_firing_that_needs_several_places_is_told_how_many_are_missing() -> None:
    """Five tokens are needed for the sum, three come at a time: two firings of row need six places."""
    tasks = (
        task("row", "source", 5, gives={"to sum": 3, "past": 3}),
        task("sum", "reducer", 3, takes={"to sum": 5}, gives={"scale": 1}),
        task("join", "joiner", 3, takes={"scale": 1, "past": 5}),
    )

    def section(depth: int) -> Section:
        return Section("rows", tasks, (Stream("to sum", 20), Stream("past", depth), Stream("scale", 2)))

    found = deadlock(section(5))
    assert found.wait_cycle[0] == (
        "'row' at firing 2 of 5 needs 3 places in 'past' (depth 5), which has 2 free; 'join' frees them"
    )
    assert found.ways_out == ("stream 'past': depth 6 lets 'row' go on",)
    further = deadlock(section(6))
    assert "'row' at firing 4 of 5 needs 3 places in 'past' (depth 6), which has 2 free" in further.wait_cycle[0]
    assert further.ways_out == ("stream 'past': depth 7 lets 'row' go on",)
    assert simulate(section(7)).firings == 11
