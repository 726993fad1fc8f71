"""The critical path: counted by hand, and by laws over drawn sections that any such path keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawn import Drawn, drawn
from hypothesis import assume, given, settings

from archsim import Design, load_design
from archsim.engine import ENGINES, attempt
from archsim.engine.flat import Flat, FlatTask, flatten
from archsim.engine.result import SectionResult
from archsim.explain.path import CriticalPath, Stretch, critical_path
from dataflow import Schedule, Section, Stream, Task, every, work
from dataflow.graph import Graph


def path_of(section: Section, on: Design, *, engine: str = "simpy") -> CriticalPath:
    return critical_path(Schedule(Graph("drawn"), on.name, "by hand", (section,)), on, engine=engine)


def ended(flat: Flat) -> SectionResult:
    found = attempt(flat, engine="simpy")
    assume(isinstance(found, SectionResult))
    assert isinstance(found, SectionResult)
    return found


@settings(max_examples=300, derandomize=True, deadline=None)
@given(case=drawn())
def test_the_path_adds_up_to_the_cycles_and_holds_no_unit_longer_than_it_was_busy(case: Drawn) -> None:
    result = ended(flatten(case.section, case.design))
    found = path_of(case.section, case.design)
    assert path_of(case.section, case.design, engine="compiled") == found
    assert found.unseen == 0
    assert found.cycles == result.cycles == sum(found.stretches.values())
    for (_, task, what), n in found.stretches.items():
        assert n > 0
        assert what == "latency" or n <= result.tasks[task].busy_cycles


@settings(max_examples=300, derandomize=True, deadline=None)
@given(case=drawn(arbitrations=("in_order",)))
def test_tasks_that_are_not_on_the_path_cannot_make_the_run_shorter(case: Drawn) -> None:
    """With every order fixed and one server a unit, the path is a chain of dependences, which bounds the run."""
    case = case.with_every_unit(count=1)
    section = replace(case.section, tasks=tuple(replace(task, servers=1) for task in case.section.tasks))
    flat = flatten(section, case.design)
    result = ended(flat)
    found = path_of(section, case.design)
    on = {stretch.task for stretch in found.stretches}

    def at_once(task: FlatTask) -> FlatTask:
        return replace(task, runs=tuple(replace(run, cycles=0) for run in task.runs))

    faster = replace(flat, tasks=tuple(task if task.name in on else at_once(task) for task in flat.tasks))
    assert ended(faster).cycles == result.cycles


LANE = {"kind": "vector", "ops": [], "lanes": 1}


def copies(name: str, unit: str, firings: int, cycles: int, **streams: object) -> Task:
    given = {end: {s: every(1) for s in streams.get(end, ())} for end in ("takes", "gives")}  # type: ignore[attr-defined]
    return Task(name, unit, firings, every(work("copy", d=cycles)), given["takes"], given["gives"])


def pair(depth: int, first: int, then: int, firings: int) -> Section:
    made = copies("make", "u", firings, first, gives=("s",))
    used = copies("use", "v", firings, then, takes=("s",))
    return Section("x", (made, used), (Stream("s", depth),))


def on(**units: dict[str, object]) -> Design:
    return load_design("toy").with_({"units": {name: {**LANE, **changes} for name, changes in units.items()}})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_slow_consumer_is_the_path(engine: str) -> None:
    """The first token after 2 cycles, then four uses of 5."""
    found = path_of(pair(2, 2, 5, 4), on(u={}, v={}), engine=engine)
    assert found.stretches == {Stretch("v", "use", "busy"): 20, Stretch("u", "make", "busy"): 2}
    assert found.by_unit() == {"v": 20, "u": 2}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("compute, made, used", [(4, 30, 4), (14, 10, 42)])
def test_the_example_of_the_module(engine: str, compute: int, made: int, used: int) -> None:
    found = path_of(pair(2, 10, compute, 3), on(u={}, v={}), engine=engine)
    assert found.by_unit() == {"u": made, "v": used}


@pytest.mark.parametrize("engine", ENGINES)
def test_with_one_place_making_and_using_alternate(engine: str) -> None:
    """Each of four rounds makes a token in 2 cycles, which is seen 3 later, and uses it in 5."""
    found = path_of(pair(1, 2, 5, 4), on(u={"latency_cycles": 3}, v={}), engine=engine)
    assert found.cycles == 4 * (2 + 3 + 5)
    assert found.stretches == {
        Stretch("u", "make", "busy"): 8, Stretch("u", "make", "latency"): 12, Stretch("v", "use", "busy"): 20,
    }  # fmt: skip


def test_sections_count_as_often_as_they_repeat() -> None:
    section = replace(pair(2, 2, 5, 4), repeat=7)
    assert path_of(section, on(u={}, v={})).stretches == {
        Stretch("v", "use", "busy"): 140, Stretch("u", "make", "busy"): 14,
    }  # fmt: skip


def test_of_a_section_with_too_many_firings_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsim.explain.path.MOST_FIRINGS", 1000)
    found = path_of(pair(2, 2, 5, 100_000), on(u={}, v={}), engine="compiled")
    assert 0 < found.unseen < found.cycles == 500_002
    assert sum(found.stretches.values()) == found.cycles - found.unseen
