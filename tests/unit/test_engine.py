"""Tiny sections on a design whose every rate is 1; every answer here was counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from archsim import InputError, ScheduleError, load_design
from archsim.engine import ENGINES, run
from archsim.engine.flat import flatten, merged
from archsim.engine.result import SectionResult, StreamResult, TaskResult, UnitResult
from dataflow import Pattern, Section, Stream, Task, every, sequence, work

Simulate = Callable[..., SectionResult]


def task(
    name: str,
    unit: str,
    firings: int,
    cycles: int | list[int],
    takes: Mapping[str, int | Pattern[int]] | None = None,
    gives: Mapping[str, int | Pattern[int]] | None = None,
) -> Task:
    """A task whose firings hold a unit of one lane for so many cycles each."""
    each = [cycles] if isinstance(cycles, int) else cycles
    works = Pattern(tuple((work("copy", d=n), 1) for n in each))
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, unit, firings, works, taken, given)


@pytest.fixture(params=ENGINES)
def simulate(request: pytest.FixtureRequest, tmp_path: Path) -> Simulate:
    """Runs tasks and streams on units of one lane; `units` maps each name to further keys as YAML."""

    def ran(
        units: Mapping[str, str],
        tasks: list[Task],
        streams: list[Stream] | None = None,
        orders: Mapping[str, tuple[tuple[str, int], ...]] | None = None,
    ) -> SectionResult:
        lines = ["name: lanes", "source: counted by hand", "clock: 1 MHz", "mapping: {order: time}", "units:"]
        lines += [f"  {name}: {{kind: vector, ops: [], lanes: 1{keys and ', '}{keys}}}" for name, keys in units.items()]
        path = tmp_path / "lanes.yaml"
        path.write_text("\n".join(lines))
        section = Section("x", tuple(tasks), tuple(streams or ()), orders=orders or {})
        return run(flatten(section, load_design(str(path))), engine=request.param)

    return ran


TWO = {"ua": "", "ub": ""}


def test_one_task_is_its_firings_one_after_another(simulate: Simulate) -> None:
    result = simulate({"u": ""}, [task("a", "u", 5, 3)])
    assert result == SectionResult(15, 5, {"u": UnitResult(15, 0, {})}, {"a": TaskResult(0, 15, 15)}, {})


def test_firings_follow_the_pattern_of_their_work(simulate: Simulate) -> None:
    assert simulate({"u": ""}, [task("a", "u", 5, [3, 1])]).cycles == 3 + 1 + 3 + 1 + 3


def test_one_place_allows_no_overlap(simulate: Simulate) -> None:
    """Each token: 3 cycles to make, 2 to use, and its place is held all the while: 5 x (3 + 2)."""
    tasks = [task("a", "ua", 5, 3, gives={"s": 1}), task("b", "ub", 5, 2, takes={"s": 1})]
    result = simulate(TWO, tasks, [Stream("s", 1)])
    assert result.cycles == 25
    assert result.units["ua"] == UnitResult(15, 2, {("blocked", "s"): 8})
    assert result.units["ub"] == UnitResult(10, 0, {("starved", "s"): 15})
    assert result.tasks == {"a": TaskResult(0, 23, 15), "b": TaskResult(3, 25, 10)}
    assert result.streams == {"s": StreamResult(5, 5, 1)}


def test_two_places_overlap(simulate: Simulate) -> None:
    """The slower end sets the pace: 5 x 3, then the last use."""
    tasks = [task("a", "ua", 5, 3, gives={"s": 1}), task("b", "ub", 5, 2, takes={"s": 1})]
    result = simulate(TWO, tasks, [Stream("s", 2)])
    assert result.cycles == 17
    assert result.units["ua"] == UnitResult(15, 2, {})
    assert result.units["ub"] == UnitResult(10, 0, {("starved", "s"): 7})
    assert result.streams == {"s": StreamResult(5, 5, 2)}


@pytest.mark.parametrize("use", [0, 1])
@pytest.mark.parametrize("latency", [0, 1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_a_pipeline_needs_a_place_for_each_token_in_it(
    simulate: Simulate, latency: int, depth: int, use: int
) -> None:
    """A place is held for 1 + latency + use cycles: so many places give full rate, fewer share that time."""
    held, n = 1 + latency + use, 12
    tasks = [task("a", "ua", n, 1, gives={"s": 1}), task("b", "ub", n, use, takes={"s": 1})]
    result = simulate({"ua": f"latency_cycles: {latency}", "ub": ""}, tasks, [Stream("s", depth)])
    last = n - 1
    last_start = last if depth >= held else last // depth * held + last % depth
    assert result.cycles == last_start + held
    assert (result.cycles == last + held) == (depth >= held)


def test_latency_delays_tokens_and_not_the_unit(simulate: Simulate) -> None:
    """Firings end at 2, 4, 6; their tokens are seen at 7, 9, 11, and used for a cycle each."""
    tasks = [task("a", "ua", 3, 2, gives={"s": 1}), task("b", "ub", 3, 1, takes={"s": 1})]
    result = simulate({"ua": "latency_cycles: 5", "ub": ""}, tasks, [Stream("s", 9)])
    assert result.cycles == 12
    assert result.tasks == {"a": TaskResult(0, 6, 6), "b": TaskResult(7, 12, 3)}
    assert result.units["ub"] == UnitResult(3, 0, {("starved", "s"): 9})


def test_latency_of_firings_that_give_nothing_is_not_waited_for(simulate: Simulate) -> None:
    assert simulate({"u": "latency_cycles: 9"}, [task("a", "u", 2, 3)]).cycles == 6


def test_a_token_that_nothing_waits_for_still_arrives_before_the_end(simulate: Simulate) -> None:
    """`b` has used the initial token and is done at 1; the token of `a` becomes visible at 2 + 7."""
    tasks = [task("a", "ua", 1, 2, gives={"s": 1}), task("b", "ub", 1, 1, takes={"s": 1})]
    result = simulate({"ua": "latency_cycles: 7", "ub": ""}, tasks, [Stream("s", 2, initial=1)])
    assert result.cycles == 9
    assert result.units["ub"] == UnitResult(1, 8, {})


def test_tasks_of_one_unit_follow_one_another_as_listed(simulate: Simulate) -> None:
    result = simulate({"u": ""}, [task("x", "u", 2, 3), task("y", "u", 2, 1)])
    assert result.tasks == {"x": TaskResult(0, 6, 6), "y": TaskResult(6, 8, 2)}


def test_a_given_order_of_firings_is_kept(simulate: Simulate) -> None:
    turns = (("x", 1), ("y", 1), ("x", 1), ("y", 1))
    result = simulate({"u": ""}, [task("x", "u", 2, 3), task("y", "u", 2, 1)], orders={"u": turns})
    assert result.tasks == {"x": TaskResult(0, 7, 6), "y": TaskResult(3, 8, 2)}


@pytest.mark.parametrize("arbitration, first, cycles", [("in_order", "x", 12), ("first_come", "y", 9)])
def test_in_order_waits_for_its_turn_and_first_come_does_not(
    simulate: Simulate, arbitration: str, first: str, cycles: int
) -> None:
    """`x` is listed first but has its token at 5 only. In order: x 5 to 9, y 9 to 12. Else: y 0 to 3, x 5 to 9."""
    tasks = [task("p", "up", 1, 5, gives={"s": 1}), task("x", "u", 1, 4, takes={"s": 1}), task("y", "u", 1, 3)]
    result = simulate({"up": "", "u": f"arbitration: {arbitration}"}, tasks, [Stream("s", 1)])
    assert result.cycles == cycles
    assert min(("x", "y"), key=lambda name: result.tasks[name].start_cycle) == first


def test_first_come_serves_the_longest_ready(simulate: Simulate) -> None:
    """Ready since: a1 0, a2 0 (when a1 starts), c 2, b 3, a3 5 (when a2 starts). The listing has b before c."""
    tasks = [
        task("three", "u3", 1, 3, gives={"s": 1}), task("two", "u2", 1, 2, gives={"t": 1}),
        task("b", "m", 1, 5, takes={"s": 1}), task("c", "m", 1, 5, takes={"t": 1}), task("a", "m", 3, 5),
    ]  # fmt: skip
    result = simulate(
        {"m": "arbitration: first_come", "u3": "", "u2": ""}, tasks, [Stream("s", 1), Stream("t", 1)]
    )
    assert result.tasks["a"] == TaskResult(0, 25, 15)
    assert result.tasks["c"] == TaskResult(10, 15, 5)
    assert result.tasks["b"] == TaskResult(15, 20, 5)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("z", "m", "k")])
def test_ties_go_by_the_place_in_the_schedule(simulate: Simulate, names: tuple[str, ...]) -> None:
    """All are ready at 0; so is the second firing of the first, as its first starts at 0. Then by the time since when:

    first 0, first 0, second 0 (its next: 4), third 0 (its next: 6), second 4, third 6.
    """
    result = simulate({"m": "arbitration: first_come"}, [task(name, "m", 2, 2) for name in names])
    first, second, third = (result.tasks[name] for name in names)
    assert [t.start_cycle for t in (first, second, third)] == [0, 4, 6]
    assert [t.end_cycle for t in (first, second, third)] == [4, 10, 12]


@pytest.mark.parametrize("prefix", ["a", "zz"])
@pytest.mark.parametrize("before", [True, False])
def test_names_and_units_that_have_no_part_in_it_change_nothing(
    simulate: Simulate, prefix: str, before: bool
) -> None:
    """Ready since: p 0, p 0, q 0, p 2, q 4, q 9."""
    clients = [task("p", "m", 3, 2), task("q", "m", 3, 3)]
    other = [task(f"{prefix}1", f"{prefix}u", 7, 2)]
    units = {"m": "arbitration: first_come"}
    result = simulate({f"{prefix}u": "", **units} if before else {**units, f"{prefix}u": ""},
                      other + clients if before else clients + other)  # fmt: skip
    assert (result.tasks["p"], result.tasks["q"]) == (TaskResult(0, 9, 6), TaskResult(4, 15, 9))


def test_first_come_says_why_a_server_is_free(simulate: Simulate) -> None:
    """Blocked speaks before starved, and idle is what follows the last firing.

    `w` fills the only place of s at 0; `slow` holds it from 2 to 12, so the second `w` waits for room from 2 on, while
    `r` waits for `late` until 7. From 14 on `m` has nothing left to do; `slow` ends at 24.
    """
    tasks = [
        task("r", "m", 1, 1, takes={"t": 1}), task("w", "m", 2, 2, gives={"s": 1}),
        task("slow", "us", 2, 10, takes={"s": 1}), task("late", "ul", 1, 7, gives={"t": 1}),
    ]  # fmt: skip
    result = simulate(
        {"m": "arbitration: first_come", "us": "", "ul": ""}, tasks, [Stream("s", 1), Stream("t", 1)]
    )
    assert result.cycles == 24
    assert result.units["m"] == UnitResult(5, 10, {("blocked", "s"): 9})
    assert result.units["ul"] == UnitResult(7, 17, {})
    assert result.tasks["r"] == TaskResult(7, 8, 1)


@pytest.mark.parametrize("arbitration", ["in_order", "first_come"])
@pytest.mark.parametrize("count, cycles", [(1, 20), (2, 12), (3, 8), (4, 8), (5, 4), (6, 4)])
def test_servers_work_side_by_side(simulate: Simulate, arbitration: str, count: int, cycles: int) -> None:
    """Five firings of 4 cycles in rounds of `count`."""
    result = simulate({"u": f"count: {count}, arbitration: {arbitration}"}, [task("a", "u", 5, 4)])
    assert result.cycles == cycles
    assert result.units["u"] == UnitResult(20, count * cycles - 20, {})


def test_of_two_servers_one_may_end_first(simulate: Simulate) -> None:
    """Firings of 5, 1, 1 cycles start at 0, 0, 1 and end at 5, 1, 2; tokens are seen in the order of the ends."""
    tasks = [task("a", "ua", 3, [5, 1, 1], gives={"s": 1}), task("b", "ub", 3, 1, takes={"s": 1})]
    result = simulate({"ua": "count: 2", "ub": ""}, tasks, [Stream("s", 3)])
    assert result.cycles == 6
    assert result.tasks == {"a": TaskResult(0, 5, 7), "b": TaskResult(1, 6, 3)}
    assert result.units["ua"] == UnitResult(7, 5, {})
    assert result.units["ub"] == UnitResult(3, 0, {("starved", "s"): 3})


def test_a_reduce_gives_with_every_third_firing(simulate: Simulate) -> None:
    """r fires from 1 on; its third and sixth end at 4 and 7."""
    tasks = [
        task("p", "up", 6, 1, gives={"s": 1}),
        task("r", "ur", 6, 1, takes={"s": 1}, gives={"t": sequence((0, 2), (1, 1))}),
        task("q", "uq", 2, 1, takes={"t": 1}),
    ]
    result = simulate({"up": "", "ur": "", "uq": ""}, tasks, [Stream("s", 2), Stream("t", 2)])
    assert result.cycles == 8
    assert result.units["uq"] == UnitResult(2, 0, {("starved", "t"): 6})
    assert result.streams == {"s": StreamResult(6, 6, 2), "t": StreamResult(2, 2, 1)}


def test_only_the_firing_that_gives_needs_room(simulate: Simulate) -> None:
    """q holds the only place from 4 to 14; firings 4 and 5 of r go on at 4 and 5, and the sixth waits from 6 to 14."""
    tasks = [
        task("p", "up", 6, 1, gives={"s": 1}),
        task("r", "ur", 6, 1, takes={"s": 1}, gives={"t": sequence((0, 2), (1, 1))}),
        task("q", "uq", 2, 10, takes={"t": 1}),
    ]
    result = simulate({"up": "", "ur": "", "uq": ""}, tasks, [Stream("s", 2), Stream("t", 1)])
    assert result.cycles == 25
    assert result.units["ur"] == UnitResult(6, 10, {("blocked", "t"): 8, ("starved", "s"): 1})


def test_a_firing_may_take_and_give_several_tokens(simulate: Simulate) -> None:
    """a ends at 2 and 4 with three tokens each; b takes two at a time: from 2, from 4, from 5."""
    tasks = [task("a", "ua", 2, 2, gives={"s": 3}), task("b", "ub", 3, 1, takes={"s": 2})]
    result = simulate(TWO, tasks, [Stream("s", 6)])
    assert result.tasks["b"] == TaskResult(2, 6, 3)
    assert result.units["ub"] == UnitResult(3, 0, {("starved", "s"): 3})
    assert result.streams == {"s": StreamResult(6, 6, 6)}


@pytest.mark.parametrize("initial, cycles", [(1, 20), (2, 14)])
def test_a_loop_runs_on_its_initial_tokens(simulate: Simulate, initial: int, cycles: int) -> None:
    """One token: 2 + 3 cycles for each of four rounds. Two: the slower of both sets the pace, 2 + 4 x 3."""
    tasks = [
        task("a", "ua", 4, 2, takes={"back": 1}, gives={"s": 1}),
        task("b", "ub", 4, 3, takes={"s": 1}, gives={"back": 1}),
    ]
    result = simulate(TWO, tasks, [Stream("s", 2), Stream("back", 2, initial=initial)])
    assert result.cycles == cycles


def test_a_task_may_feed_itself(simulate: Simulate) -> None:
    """A sum that needs its last value: two servers and a latency of 2 do not help; 4 x (3 + 2)."""
    tasks = [task("a", "u", 4, 3, takes={"sum": 1}, gives={"sum": 1})]
    assert simulate({"u": "count: 2, latency_cycles: 2"}, tasks, [Stream("sum", 2, initial=1)]).cycles == 20


def test_firings_of_no_cycles_take_no_time(simulate: Simulate) -> None:
    tasks = [
        task("a", "ua", 3, 0, gives={"s": 1}),
        task("b", "ub", 3, 0, takes={"s": 1}, gives={"t": 1}),
        task("c", "uc", 3, 0, takes={"t": 1}),
    ]
    result = simulate({**TWO, "uc": ""}, tasks, [Stream("s", 1), Stream("t", 1)])
    assert result.cycles == 0
    assert result.units["ub"] == UnitResult(0, 0, {})
    assert result.streams == {"s": StreamResult(3, 3, 0), "t": StreamResult(3, 3, 0)}


def test_a_step_of_no_cycles_between_two_others_costs_nothing(simulate: Simulate) -> None:
    tasks = [
        task("a", "ua", 4, 2, gives={"s": 1}),
        task("b", "ub", 4, 0, takes={"s": 1}, gives={"t": 1}),
        task("c", "uc", 4, 2, takes={"t": 1}),
    ]
    assert simulate({**TWO, "uc": ""}, tasks, [Stream("s", 2), Stream("t", 2)]).cycles == 10


def test_a_firing_of_no_cycles_is_refused_where_clients_compete(simulate: Simulate) -> None:
    with pytest.raises(ScheduleError) as raised:
        simulate({"m": "arbitration: first_come"}, [task("a", "m", 2, [1, 0])])
    assert str(raised.value) == (
        "task 'a': a firing of zero cycles on 'm', which serves first come; its clients could not be told apart in time"
    )


@pytest.mark.parametrize("depth, cycles", [(1, 10 + 30 + 20 + 49 * 50), (2, 10 + 30 * 50 + 20), (3, 1530)])
def test_stages_of_a_coarse_pipeline(simulate: Simulate, depth: int, cycles: int) -> None:
    """The first tile passes every stage, each of the rest costs the slowest; one place couples neighbours: 30 + 20."""
    tasks = [
        task("load", "u1", 50, 10, gives={"s": 1}),
        task("compute", "u2", 50, 30, takes={"s": 1}, gives={"t": 1}),
        task("store", "u3", 50, 20, takes={"t": 1}),
    ]
    result = simulate({"u1": "", "u2": "", "u3": ""}, tasks, [Stream("s", depth), Stream("t", depth)])
    assert result.cycles == cycles


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_a_slow_end_pushes_back_with_its_own_pace(simulate: Simulate, k: int) -> None:
    """Each further tile costs k cycles, through three units of which the last takes k."""
    found = []
    for n in (6, 7, 8, 20):
        tasks = [
            task("a", "ua", n, 1, gives={"s": 1}),
            task("b", "ub", n, 1, takes={"s": 1}, gives={"t": 1}),
            task("c", "uc", n, k, takes={"t": 1}),
        ]
        result = simulate({**TWO, "uc": ""}, tasks, [Stream("s", 2), Stream("t", 2)])
        assert result.cycles == 2 + n * k
        found.append(sum(result.units["ua"].stalls.values()))
    assert found[1] - found[0] == found[2] - found[1] == k - 1


def test_a_unit_that_waits_for_several_streams_names_the_first_that_it_lacks(simulate: Simulate) -> None:
    """Tokens come at 2 and 5: until 2 it is the first stream of the task, then the second."""
    tasks = [
        task("p", "up", 1, 2, gives={"s": 1}), task("q", "uq", 1, 5, gives={"t": 1}),
        task("c", "uc", 1, 1, takes={"s": 1, "t": 1}),
    ]  # fmt: skip
    result = simulate({"up": "", "uq": "", "uc": ""}, tasks, [Stream("s", 1), Stream("t", 1)])
    assert result.units["uc"] == UnitResult(1, 0, {("starved", "s"): 2, ("starved", "t"): 3})


def test_free_servers_of_a_unit_are_all_accounted_for(simulate: Simulate) -> None:
    """Three servers, a token each second cycle, work of 2 cycles: from the first token on two servers have none."""
    tasks = [task("a", "ua", 3, 2, gives={"s": 1}), task("b", "ub", 3, 2, takes={"s": 1})]
    result = simulate({"ua": "", "ub": "count: 3"}, tasks, [Stream("s", 3)])
    assert result.cycles == 8
    assert result.units["ub"] == UnitResult(6, 2 * 2, {("starved", "s"): 3 * 2 + 2 * 2 + 2 * 2})


@pytest.mark.parametrize("units", [("ua", "ub"), ("ub", "ua")])
def test_places_taken_do_not_depend_on_which_unit_is_written_first(simulate: Simulate, units: tuple[str, ...]) -> None:
    """Each cycle one token is used while the next is made: two places, though for an instant it may look like three."""
    tasks = [task("a", "ua", 4, 1, gives={"s": 1}), task("b", "ub", 4, 1, takes={"s": 1})]
    result = simulate(dict.fromkeys(units, ""), tasks, [Stream("s", 3, initial=1)])
    assert result.streams == {"s": StreamResult(4, 4, 2)}


@pytest.mark.parametrize("units", [("ua", "ub"), ("ub", "ua")])
def test_places_that_are_taken_until_others_come_free_are_counted(simulate: Simulate, units: tuple[str, ...]) -> None:
    """Until 3, two places are used and one is filled; at 3 the two come free and another is filled."""
    tasks = [task("a", "ua", 2, 3, gives={"s": 1}), task("b", "ub", 1, 3, takes={"s": 2})]
    result = simulate(dict.fromkeys(units, ""), tasks, [Stream("s", 4, initial=2)])
    assert result.streams == {"s": StreamResult(2, 2, 3)}


def test_work_on_a_unit_that_is_not_there_is_refused(simulate: Simulate) -> None:
    with pytest.raises(ScheduleError) as raised:
        simulate(TWO, [task("a", "uc", 1, 1), task("b", "ua", 1, 1), task("c", "ud", 1, 1)])
    assert str(raised.value) == "section 'x': design 'lanes' has no unit 'uc', 'ud'; units are: ua, ub"


def test_an_unknown_engine_is_refused() -> None:
    flat = flatten(Section("x", (task("a", "vec", 1, 1),), ()), load_design("toy"))
    with pytest.raises(InputError, match="unknown engine 'fast'; engines are: auto, compiled, simpy, recurrence"):
        run(flat, engine="fast")
    assert run(flat, engine="auto") == run(flat, engine="simpy")


def merged_runs(firings: int, works: Pattern[Any], taken: Pattern[int], given: Pattern[int]) -> list[tuple[int, ...]]:
    found = merged(Task("a", "u", firings, works, {"s": taken}, {"t": given}))
    return [(count, item["d"], s, t) for count, (item, (s,), (t,)) in found]


def test_patterns_are_merged_into_runs_of_equal_firings() -> None:
    """Periods 1, 2 and 3: six firings until they begin together again, fewer where the task is done before."""
    alternate, third, long = sequence((1, 1), (0, 1)), sequence((0, 2), (1, 1)), sequence((5, 1000), (6, 1))
    one = every(work("copy", d=1))
    six = [(1, 1, 1, 0), (1, 1, 0, 0), (1, 1, 1, 1), (1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 0, 1)]
    assert merged_runs(60, one, alternate, third) == six
    assert merged_runs(4, one, alternate, third) == six[:4]
    assert merged_runs(5000, one, every(2), long) == [(1000, 1, 2, 5), (1, 1, 2, 6)]
    assert merged_runs(700, one, every(2), long) == [(700, 1, 2, 5)]


def test_cycles_of_a_task_are_counted_without_walking_it() -> None:
    tasks = (task("a", "vec", 10**12 + 1, [2, 3]),)
    flat = flatten(Section("x", tasks, ()), load_design("toy"))
    assert flat.tasks[0].busy_cycles == 5 * 10**12 // 2 + 2
