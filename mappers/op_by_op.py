"""Lowers any graph onto units that each do some op kinds: ops one after another, weights loaded from memory.

The plainest mapping: the next op starts when the one before has ended; activations stay on chip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Memory
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Work, work
from dataflow.pattern import every, sequence
from dataflow.schedule import Schedule, Section
from dataflow.task import Task
from mappers.build.layers import groups
from mappers.build.operands import bytes_loaded, bytes_stored, loaded, unit_for
from mappers.build.section_builder import Sketch

Buffering = Literal["single", "double"]


def lower_one_by_one(graph: Graph, design: Design, *, weight_buffering: Buffering) -> Schedule:
    """The schedule that runs the ops in order, each on the unit that does its kind, by name the first.

    Raises MappingError where no unit does a kind, or the tensors do not fit the memory.
    """
    memory, capacity = _memory(design)
    demand = graph.bytes_of("weight", "embedding", "lm_head", "cache", "norm")
    if demand > capacity:
        raise MappingError(
            f"weights and cache of '{graph.name}'",
            resource=f"units.{memory}.capacity",
            demand=demand,
            capacity=capacity,
            dimension="bytes",
            ways_out=("a smaller model", "a larger capacity"),
        )
    ops = [op for op in graph.ops.values() if not OP_KINDS[op.kind].free]
    first = {op.kind: op.name for op in reversed(ops)}
    units = {kind: unit_for(kind, design, where=f"op '{name}'") for kind, name in reversed(first.items())}
    return Schedule(
        graph,
        design.name,
        "temporal",
        tuple(_section(graph, group, scopes, units, memory, weight_buffering) for group, scopes in groups(ops)),
        approximated=("activations stay on chip: only weights, tables and caches move",),
        options={"weight_buffering": weight_buffering},
    )


def at_context(schedule: Schedule, graph: Graph) -> Schedule:
    """The schedule of a decode step that differs from this schedule's in its context alone.

    Equal to lowering it anew; only the work of attention and of its load is made, the rest is shared. Whether the
    context fits is not asked again: it does where a longer one did.
    """
    sections = []
    for section in schedule.sections:
        tasks = tuple(_again(task, graph) for task in section.tasks)
        same = all(new is old for new, old in zip(tasks, section.tasks, strict=True))
        sections.append(section if same else replace(section, tasks=tasks, like=section))
    return replace(schedule, graph=graph, sections=tuple(sections))


def _again(task: Task, graph: Graph) -> Task:
    """The task with the work that this graph asks of it, where it is attention's."""
    if task.name == "attention":
        return replace(task, work=every(graph.ops[task.ops[0]].work))
    if task.name == "load attention":
        return replace(task, work=every(work("read", bytes=bytes_loaded(graph, graph.ops["layer0.attention"]))))
    return task


def _memory(design: Design) -> tuple[str, int]:
    for name, unit in sorted(design.of_kind(Memory).items()):
        return name, unit.capacity
    raise MappingError(f"design '{design.name}' has no unit of kind memory", ways_out=("a memory for the weights",))


def _section(
    graph: Graph, ops: list[Op], scopes: tuple[str, ...], units: dict[str, str], memory: str, buffering: Buffering
) -> Section:
    sketch = Sketch(scopes)
    loads = {op.name: bytes_loaded(graph, op) for op in ops}
    previous: str | None = None
    before_that: str | None = None
    for op in ops:
        name = op.name.removeprefix(scopes[0])
        waits = [previous] if previous else []
        if loads[op.name]:
            ahead = [before_that] if before_that else []
            _load(graph, op, name, sketch, memory, loads[op.name], ahead if buffering == "double" else waits)
        _compute(op, name, sketch, units[op.kind], [*waits, *([f"load {name}"] if loads[op.name] else [])])
        stored = bytes_stored(graph, op)
        if stored:
            store = sketch.task(f"store {name}", memory, 1, work("write", bytes=stored), role="cache")
            sketch.stream(name, store, 1, gives=sequence((0, sketch.tasks[name].firings - 1), (1, 1)))
        before_that, previous = previous, name
    return sketch.section("layers" if len(scopes) > 1 else ops[0].name)


def _load(graph: Graph, op: Op, name: str, sketch: Sketch, memory: str, size: int, after: list[str]) -> None:
    sketch.part = "weight load"
    roles = dict.fromkeys(graph.tensors[t].role for t in op.inputs if loaded(graph, op, t))
    load = sketch.task(f"load {name}", memory, 1, work("read", bytes=size), role=next(iter(roles)))
    sketch.finals[load] = [load]
    for call in after:
        sketch.after(call, [load])


def _compute(op: Op, name: str, sketch: Sketch, unit: str, after: list[str]) -> None:
    sketch.part = op.kind
    sketch.task(name, unit, *_row_by_row(op), op=name, tiles=_tiles(op))
    sketch.finals[name] = [name]
    for call in after:
        sketch.after(call, [name])


def _row_by_row(op: Op) -> tuple[int, Work]:
    """A firing per row; attention is one firing, because its rows differ."""
    if op.kind == "attention":
        return 1, op.work
    rows = OP_KINDS[op.kind].extents[0]
    one = {n: (1 if n == rows else op.work[n]) for n in OP_KINDS[op.kind].extents}
    return op.work[rows], work(op.kind, **one)


def _tiles(op: Op) -> tuple[tuple[range, range], ...]:
    if op.kind in ("attention", "embedding"):
        return ()
    rows = op.work[OP_KINDS[op.kind].extents[0]]
    width = op.work["k"] if op.kind == "ternary_matmul" else op.work.elements // rows
    return ((range(rows), range(0, width, width)),)
