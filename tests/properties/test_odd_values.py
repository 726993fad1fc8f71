"""Is every value that a user may give to a field either taken, and then the run ends, or refused in words?"""

import json
from collections.abc import Callable
from copy import copy
from dataclasses import fields, replace
from typing import Any

import pytest

import archsim
import dataflow
import mappers
from archsim import InputError, simulate
from archsim.report.json import as_json
from dataflow import FORMATS, Graph, Tensor
from dataflow.errors import quoted
from dataflow.format import Format
from dataflow.graph import Op
from dataflow.mask import Mask
from dataflow.op import Work, work
from dataflow.order import Repeat
from dataflow.pattern import Pattern, every
from dataflow.schedule import Schedule, Skipped
from dataflow.section import Section
from dataflow.selection_summary import SelectionSummary
from dataflow.task import Served, Stream, Task

NAN, INF = float("nan"), float("inf")
# What nobody writes on purpose. The value that a message has to show is what is odd inside, where there is one.
ODD: list[tuple[Any, Any]] = [
    *[(value, value) for value in (None, 3, -1, 1.5, True, NAN, INF, "x", b"x", [], {}, object(), print, 10**30)],
    *[([3], 3), ((NAN,), NAN), (("x",), "x"), ({3: 3}, 3), ({"x": NAN}, NAN), ({"mac": 1.5}, 1.5), ({"x": None}, None)],
    *[({("x", "y"): INF}, INF), ({("x", "y"): 2}, "x"), (((1, 2, 3),), 3)],
]
TOY = archsim.load_design("toy")
MADE = mappers.lower(dataflow.decode(archsim.load_model("toy_llm"), context=5), TOY)
SECTION = MADE.sections[0]
LOAD, TASK = SECTION.tasks[:2]
FP16 = FORMATS["fp16"]
SUMMARY = SelectionSummary("mine", "all", "drawn", 1.0, "ddr", None, 4, 8, 0, 0)


def run(schedule: Schedule) -> None:
    report = simulate(schedule, TOY)
    assert str(report)
    assert repr(schedule)
    json.dumps(as_json(report), allow_nan=False)


def with_section(section: Section) -> None:
    run(replace(MADE, sections=(section, *MADE.sections[1:])))


def with_task(task: Task) -> None:
    with_section(replace(SECTION, tasks=(LOAD, task, *SECTION.tasks[2:])))


def with_stream(**given: Any) -> None:
    with_section(replace(SECTION, streams=(replace(SECTION.streams[0], **given), *SECTION.streams[1:])))


def with_served(**given: Any) -> None:
    with_task(replace(TASK, serves=(replace(TASK.serves[0], **given),)))


def with_order(order: Any) -> None:
    with_section(replace(SECTION, orders={TASK.unit: order}))


def with_repeat(**given: Any) -> None:
    with_order((replace(Repeat(((TASK.name, TASK.firings),), 1), **given),))


def lowered(graph: Graph) -> None:
    run(mappers.lower(graph, TOY))
    assert repr(graph)


def sum_of(tensor: Tensor, **given: Any) -> Graph:
    graph = Graph(**{"name": "g", **given})
    name = graph.add_tensor(tensor)
    graph.add("y", "add", [name, name], format=FP16)
    return graph


def with_op(op: Op) -> None:
    graph = sum_of(Tensor("x", (1, 8), FP16))
    lowered(replace(graph, ops={"y": op}))


def added(**given: Any) -> None:
    graph = sum_of(Tensor("x", (1, 8), FP16))
    graph.add(**{"name": "z", "kind": "add", "inputs": ["x", "y"], "format": FP16, "role": "activation", **given})
    lowered(graph)


OP = sum_of(Tensor("x", (1, 8), FP16)).ops["y"]
FIRING = TASK.work.at(0)
GIVEN: dict[type, Callable[..., None]] = {
    Task: lambda **given: with_task(replace(TASK, **given)),
    Stream: with_stream,
    Section: lambda **given: with_section(replace(SECTION, **given)),
    Schedule: lambda **given: run(replace(MADE, **given)),
    Served: with_served,
    Repeat: with_repeat,
    Pattern: lambda **given: with_task(replace(TASK, work=Pattern(**given))),
    Skipped: lambda **given: run(replace(MADE, skipped=(replace(Skipped("a reason", {"mac": 0}), **given),))),
    SelectionSummary: lambda **given: run(replace(MADE, selected=replace(SUMMARY, **given))),
    Work: lambda **given: with_task(replace(TASK, work=every(replace(FIRING, **given)))),
    Mask: lambda **given: with_task(replace(TASK, work=every(replace(FIRING, mask=Mask(**given))))),
    Format: lambda **given: lowered(sum_of(Tensor("x", (1, 8), replace(FP16, **given)))),
    Tensor: lambda **given: lowered(sum_of(replace(Tensor("x", (1, 8), FP16), **given))),
    Op: lambda **given: with_op(replace(OP, **given)),
    Graph: lambda **given: lowered(sum_of(Tensor("x", (1, 8), FP16), **given)),
}
# What lies inside a field, and what a call takes.
INSIDE: dict[str, Callable[[Any], object]] = {
    **{f"Task.{end}": lambda v, end=end: with_task(replace(TASK, **{end: dict.fromkeys(getattr(TASK, end), v)}))
       for end in ("takes", "gives")},
    "tokens": lambda v: with_task(replace(TASK, takes=dict.fromkeys(TASK.takes, every(v)))),
    "work": lambda v: with_task(replace(TASK, work=every(v))),
    "a serve": lambda v: with_task(replace(TASK, serves=(v,))),
    "tiles a firing": lambda v: with_served(per_firing=every(v)),
    "op": lambda v: with_served(ops=(v,)),
    "box": lambda v: with_served(tiles=(v,)),
    "range": lambda v: with_served(tiles=((v, v),)),
    "count of a run": lambda v: Pattern(((1, v),)),
    "run": lambda v: Pattern((v,)),
    "order": with_order,
    "run of an order": lambda v: with_order((v,)),
    "firings of an order": lambda v: with_order(((TASK.name, v),)),
    "bytes of a section": lambda v: with_section(replace(SECTION, holds={("ddr", "activation"): v})),
    "bytes of a schedule": lambda v: run(replace(MADE, holds={("ddr", "weight"): v})),
    "a role that is held": lambda v: run(replace(MADE, holds=dict.fromkeys([("ddr", v)], 1))),
    "recomputed mac": lambda v: run(replace(MADE, recomputed={"mac": v})),
    "recomputed read": lambda v: run(replace(MADE, recomputed={"read": v})),
    "skipped mac": lambda v: run(replace(MADE, skipped=(Skipped("a reason", {"mac": v}),))),
    "option": lambda v: run(replace(MADE, options={"a": v})),
    "part of an option": lambda v: run(replace(MADE, options={"a": (1, {"b": v})})),
    "approximated": lambda v: run(replace(MADE, approximated=(v,))),
    "section": lambda v: run(replace(MADE, sections=(v,))),
    "op of a graph": lambda v: lowered(replace(sum_of(Tensor("x", (1, 8), FP16)), ops={"y": v})),
    "tensor of a graph": lambda v: lowered(replace(sum_of(Tensor("x", (1, 8), FP16)), tensors={"x": v})),
    "tensor to add": lambda v: Graph("g").add_tensor(v),
    **{f"add({name})": lambda v, name=name: added(**{name: v})
       for name in ("name", "kind", "inputs", "format", "role")},
    "extent of a tensor": lambda v: Tensor("x", (1, v), FP16),
    "kind of work": lambda v: work(v, bytes=1),
    "mask of work": lambda v: work("read", v, bytes=1),
    "extent": lambda v: work("read", bytes=v),
    "tasks to replace": SECTION.with_tasks,
    "task to replace": lambda v: SECTION.with_tasks({TASK.name: v}),
    **{f"with_tasks({f.name})": lambda v, name=f.name: SECTION.with_tasks({TASK.name: replace(TASK, **{name: v})})
       for f in fields(Task)},
    "depths": MADE.with_depths,
    "depth": lambda v: MADE.with_depths({next(iter(MADE.fifos())): v}),
}  # fmt: skip
FIELDS = {
    f"{kind.__name__}.{f.name}": lambda v, give=give, name=f.name: give(**{name: v})
    for kind, give in GIVEN.items()
    for f in fields(kind)  # type: ignore[arg-type]
}
PLACES = (
    "section ", "task ", "stream ", "schedule of ", "design ", "units.", "work ", "pattern", "selected", "graph ",
    "op ", "tensor ", "format ", "depths ", "a mask ", "a window ", "unknown op kind",
)  # fmt: skip
# What a value of the right type breaks has other words, which need not show it.
RULES = (
    "negative", "not declared", "needs a", "no task", "served by no task", "got [", "no mask", "()", "none of them",
    "000", "asks", "has the firings", "names 0 ops", "must be equal", "without runs",
)  # fmt: skip


@pytest.mark.parametrize("place", [*FIELDS, *INSIDE])
def test_an_odd_value_is_taken_or_refused_at_its_place(place: str) -> None:
    give, raw, silent = {**INSIDE, **FIELDS}[place], [], []
    for given, odd in ODD:
        value = copy(given)  # a graph fills the mapping that it is made with
        try:
            give(value)
        except InputError as refused:
            told = str(refused)
            shown = (quoted(given), quoted(odd), *RULES)
            if not any(name in told for name in PLACES) or not any(one in told for one in shown) or " at 0x" in told:
                silent.append((given, told))
        except Exception as fault:
            if "unhashable" in str(fault) and place == "a role that is held":
                continue  # no key of a mapping
            raw.append((value, repr(fault)))
    assert (raw, silent) == ([], [])


def test_what_has_no_end_is_in_no_report() -> None:
    held = {("", "weight"): INF}
    for schedule in ({"recomputed": {"read": NAN}}, {"options": {"a": ({"b": INF},)}}, {"holds": held}):
        with pytest.raises(InputError, match=r"schedule of 'toy_llm' by 'tiled': .*(nan|inf); .* is expected"):
            replace(MADE, **schedule)  # type: ignore[arg-type]
    for graph in ({"tokens": NAN}, {"weight_bytes": INF}):
        with pytest.raises(InputError, match=r"graph 'g': .* are (nan|inf); a whole number >= 0 or None is"):
            Graph("g", **graph)  # type: ignore[arg-type]
