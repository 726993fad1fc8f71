"""Mistakes in a schedule or a graph that a user writes in Python: each is refused at its place, in words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import archsim
import dataflow
import mappers
from archsim import GraphError, InputError, MappingError, ScheduleError, simulate
from dataflow import FORMATS, Graph, Tensor
from dataflow.op import work
from dataflow.pattern import every
from dataflow.section import Section
from dataflow.task import Served, Stream

TOY = archsim.load_design("toy")
MADE = mappers.lower(dataflow.decode(archsim.load_model("toy_llm"), context=5), TOY)
FIRST = MADE.sections[0]
LINK = "load embedding done > embedding"
TURNED = Graph("turned")
TURNED.add_tensor(Tensor("x", (4, 8), FORMATS["fp16"]))
TURNED.add("t", "transpose", ("x",), format=FORMATS["fp16"], axes=[1, 0])


def with_task(**changed: Any) -> Any:
    return with_section(replace(FIRST, tasks=(replace(FIRST.tasks[0], **changed), *FIRST.tasks[1:])))


def with_stream(**changed: Any) -> Any:
    return with_section(replace(FIRST, streams=(replace(FIRST.streams[0], **changed), *FIRST.streams[1:])))


def with_section(section: Section) -> Any:
    return simulate(replace(MADE, sections=(section, *MADE.sections[1:])), TOY)


MISTAKES: dict[str, tuple[type[InputError], Callable[[], Any], str]] = {
    "unknown unit": (ScheduleError, lambda: with_task(unit="ddrr"), "design 'toy' has no unit 'ddrr'; units are: mm"),
    "a unit of another kind": (
        ScheduleError, lambda: with_task(unit="vec"), "task 'load embedding': unit 'vec' of kind vector does no read"
    ),
    "firings": (ScheduleError, lambda: with_task(firings="3"), "firings are '3'; a whole number is expected"),
    "no firing": (ScheduleError, lambda: with_task(firings=0), "is fired 0 times; a task is fired at least once"),
    "no work": (ScheduleError, lambda: with_task(work=None), "'work' is nothing; a Pattern such as every"),
    "one work": (ScheduleError, lambda: with_task(work=work("read", bytes=3)), "'work' is a Work; a Pattern such as"),
    "a role of no tensor": (ScheduleError, lambda: with_task(role="weights"), "role 'weights'; did you mean 'weight"),
    "other tokens": (ScheduleError, lambda: with_task(gives={LINK: every(2)}), "gives 2 tokens in all and 'embedding'"),
    "half tokens": (ScheduleError, lambda: with_task(gives={LINK: every(1.5)}), f"tokens of '{LINK}' are 1.5; whole"),
    "a number of tokens": (ScheduleError, lambda: with_task(gives={LINK: 3}), f"'{LINK}' is 3; a Pattern such as"),
    "depth as text": (ScheduleError, lambda: with_stream(depth="3"), "depth is '3'; a whole number is expected"),
    "half a depth": (ScheduleError, lambda: with_stream(depth=2.5), "depth is 2.5; a whole number is expected"),
    "half bytes": (ScheduleError, lambda: with_stream(bytes_per_token=0.5), "bytes_per_token is 0.5; a whole number"),
    "true tokens": (ScheduleError, lambda: with_stream(initial=True), "initial is true; a whole number is expected"),
    "a memory of no design": (
        ScheduleError, lambda: with_stream(bytes_per_token=4, memory="dddr"), "'dddr' is to hold queues 4 B"
    ),
    "an op of no graph": (
        ScheduleError, lambda: with_task(serves=(Served(("emb",)),)), "a task serves op 'emb', which graph"
    ),
    "repeat": (ScheduleError, lambda: with_section(replace(FIRST, repeat="2")), "repeat is '2'; a whole number"),
    "no section": (ScheduleError, lambda: simulate(replace(MADE, sections=()), TOY), "exp: scheduled 0, the graph"),
    "no time": (
        ScheduleError, lambda: simulate(replace(MADE, graph=TURNED, sections=()), TOY), "no firing takes a cycle"
    ),
    "no op": (MappingError, lambda: mappers.lower(Graph("none"), TOY), "graph 'none' has no op that takes time"),
    "free ops": (MappingError, lambda: mappers.lower(TURNED, TOY), "graph 'turned' has no op that takes time"),
    "another design": (
        ScheduleError, lambda: simulate(MADE, archsim.load_design("vrex8")), "design 'vrex8' has no unit 'ddr', 'vec'"
    ),
    "a name for a design": (InputError, lambda: simulate(MADE, "toy"), "design: expected a Design, got 'toy'"),
    "a name for a schedule": (InputError, lambda: simulate("toy", TOY), "schedule: expected a Schedule, got 'toy'"),
    "a name for a graph": (InputError, lambda: mappers.lower("toy", TOY), "graph: expected a Graph, got 'toy'"),
    "lowered on a name": (InputError, lambda: mappers.lower(MADE.graph, "toy"), "design: expected a Design, got 'toy'"),
    "an extent of no kind": (GraphError, lambda: work("read", size=3), "takes the extents (bytes), got (size)"),
    "a negative extent": (GraphError, lambda: work("read", bytes=-1), "extents are whole numbers >= 0, got bytes=-1"),
    "an extent asked for": (GraphError, lambda: work("read", bytes=3)["byte"], "has no extent 'byte'; did you mean"),
    "a role of no kind": (GraphError, lambda: Tensor("x", (1, 2), FORMATS["fp16"], "weights"), "role 'weights'"),
    "a format's name": (GraphError, lambda: Tensor("x", (1, 2), "fp16"), "expected a Format such as FORMATS['fp16']"),
    "no phase": (InputError, lambda: archsim.simulate_steps([MADE], TOY, phase="decode"), "phase: expected a Phase"),
    "no schedules": (
        InputError, lambda: archsim.simulate_steps(None, TOY, phase=MADE.graph.phase), "expected an Iterable"
    ),
    "no schedule": (
        InputError, lambda: archsim.simulate_steps([None], TOY, phase=MADE.graph.phase), "expected a Schedule"
    ),
    "an op's number": (InputError, lambda: simulate(MADE, TOY).op([]), "no op a list; ops are"),
    "rows of nothing": (InputError, lambda: mappers.pareto(None, most=["seconds"]), "rows: expected an Iterable"),
    "rows of dicts": (InputError, lambda: mappers.pareto([{}], most=["seconds"]), "rows: expected a Row, got"),
    "no measures": (InputError, lambda: mappers.pareto([], most=None), "most: expected an Iterable, got nothing"),
    "a measure of lists": (InputError, lambda: mappers.pareto([], least=[[]]), "unknown figure '[]'"),
    "no tasks": (ScheduleError, lambda: replace(FIRST, tasks=None), "tasks are nothing; a tuple of Task is expected"),
    "a stream": (ScheduleError, lambda: replace(FIRST, streams=1), "streams are 1; a tuple of Stream is expected"),
    "orders": (ScheduleError, lambda: replace(FIRST, orders=1.5), "orders are 1.5; a mapping from unit to runs"),
    "no inputs": (GraphError, lambda: Graph("g").add("a", "add", None, format=None), "got 'add' of nothing"),
    "a kind of lists": (GraphError, lambda: Graph("g").add("a", [], [], format=None), "got a list of a list"),
    "jobs": (
        InputError, lambda: mappers.sweep(TOY, "toy_llm", phase="decode", over={"context": [4]}, jobs=10**18),
        "jobs: 1000000000000000000 processes; take at most 4096",
    ),
    "an extent of text": (
        GraphError, lambda: Graph("g").add_tensor(Tensor("x", (1, "2"), FORMATS["fp16"])), "whole numbers >= 1, got [1,"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "make", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_in_words(error: type[InputError], make: Callable[[], Any], told: str) -> None:
    with pytest.raises(error) as refused:
        make()
    assert told in str(refused.value)


def test_a_section_checks_only_what_changed_and_that_wholly() -> None:
    with pytest.raises(ScheduleError, match="firings are 'x'"):
        FIRST.with_tasks({"embedding": replace(FIRST.tasks[1], firings="x")})  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="depth is nothing"):
        Section("alone", FIRST.tasks, (Stream(LINK, None),))  # type: ignore[arg-type]


def test_time_without_a_heading_stands_under_the_name_of_the_task() -> None:
    tasks = tuple(replace(task, part=None) for task in FIRST.tasks)
    report = with_section(replace(FIRST, tasks=tasks))
    assert {"load embedding", "embedding"} <= set(report.parts)
    assert sum(report.parts.values()) == report.cycles
