"""Replays a streaming schedule on arrays, token by token, to see that its nodes compute attention.

Knows which tokens each firing takes and gives, and which rows of q, k and v it reads. Does not know time: each task
runs to its end before the next. Timing cannot change the tokens, because each stream has one producer and one consumer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import chain, product
from typing import Any

import numpy as np

from dataflow.cascade import CASCADES, Cascade
from dataflow.errors import ScheduleError, refuse
from dataflow.graph import Graph, Op
from dataflow.numeric.replay import dependence_order
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import Task
from kernels.stream_nodes import NODES


def replay_streams(schedule: Schedule, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every attention op's output [batch x queries, heads x head_dim] by name, in the type of its q.

    `tensors` are the op's q, k and v by their names in the graph. Raises ScheduleError if a task computes no expression
    of the schedule's form, a token is missing, left over or of another row, an output row is missing, or a tensor is
    missing or has another shape or type.
    """
    form = str(schedule.options.get("form"))
    if form not in CASCADES:
        raise ScheduleError(f"a schedule of mapper '{schedule.mapper}' names no form; forms are: {', '.join(CASCADES)}")
    cascade = CASCADES[form]
    outputs: dict[str, np.ndarray] = {}
    for section in schedule.sections:
        names = sorted({name for task in section.tasks for name in task.ops})
        if len(names) != 1 or names[0] not in schedule.graph.ops:
            told = ", ".join(map(repr, names)) or "none"
            raise ScheduleError(f"section '{section.name}': computes {told}; a section streams one op of the graph")
        (name,) = names
        if name in outputs:
            raise ScheduleError(f"section '{section.name}': op '{name}' is computed by a section before it")
        op = schedule.graph.ops[name]
        # A form without the maximum overflows at large scores; that is its result, and nothing to warn of here.
        with np.errstate(over="ignore", invalid="ignore"):
            outputs[name] = _Run(section, cascade, _operands(op, schedule.graph, {**tensors, **outputs})).output()
    lacking = [op.name for op in schedule.graph.ops.values() if op.kind == "attention" and op.name not in outputs]
    refuse([f"op '{name}': no section computes it" for name in lacking], ScheduleError)
    return outputs


Row = tuple[int, int, int]  # sequence, head, query


def _operands(op: Op, graph: Graph, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """q, k and v of an op as [sequence, query or key, head, width]."""
    missing = [f"tensor '{name}': not given; op '{op.name}' reads it" for name in op.inputs if name not in tensors]
    refuse(missing, ScheduleError)
    found = {}
    for operand, width, name in zip("qkv", ("qk_dim", "qk_dim", "v_dim"), op.inputs, strict=True):
        array, shape = np.asarray(tensors[name]), graph.tensors[name].shape
        if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
            raise ScheduleError(
                f"tensor '{name}': given as {array.dtype} {list(array.shape)}; expected floats {list(shape)}"
            )
        found[operand] = array.reshape(op.work["batch"], -1, shape[1] // op.work[width], op.work[width])
    return found


class _Run:
    """A section run on its operands; `tokens` are the pairs (row, value) that lie in each stream."""

    def __init__(self, section: Section, cascade: Cascade, operands: Mapping[str, np.ndarray]) -> None:
        self.section, self.cascade, self.operands = section, cascade, operands
        self.tokens: dict[str, deque[tuple[Row, Any]]] = {stream.name: deque() for stream in section.streams}
        named = {task.name: task.expression for task in section.tasks}
        self.makers = {stream: named[producer] for stream, (producer, _) in section.ends.items()}

    def output(self) -> np.ndarray:
        """The rows that the sinks take, put in their places in the output."""
        q, v = self.operands["q"], self.operands["v"]
        out = np.full((*q.shape[:3], v.shape[3]), np.nan, q.dtype)
        rows: list[Row] = []
        for task, _ in dependence_order(self.section):
            if task.expression == "sink":
                (stream,) = task.takes
                while self.tokens[stream]:
                    (sequence, head, query), out_row = self.tokens[stream].popleft()
                    out[sequence, query, head] = out_row
                    rows.append((sequence, head, query))
            else:
                self.fire(task)
        left = sorted(name for name, queue in self.tokens.items() if queue)
        if left:
            raise ScheduleError(f"section '{self.section.name}': tokens are left in {', '.join(map(repr, left))}")
        if sorted(rows) != list(product(range(q.shape[0]), range(q.shape[2]), range(q.shape[1]))):
            raise ScheduleError(f"section '{self.section.name}': {len(rows)} rows come out, not each of the op's once")
        return out.reshape(q.shape[0] * q.shape[1], -1)

    def fire(self, task: Task) -> None:
        """Runs every firing of a node: takes its tokens, computes, gives the value to each stream."""
        if all(e.name != task.expression for e in self.cascade.expressions):
            raise ScheduleError(
                f"task '{task.name}': '{task.expression}' is no expression of the {self.cascade.name} form; those are: "
                f"{', '.join(e.name for e in self.cascade.expressions)}"
            )
        e = self.cascade[task.expression]
        step = NODES[e.function]
        held: dict[str, Any] = {}
        state: Any = None
        last: Row | None = None
        slices = chain.from_iterable(served.slices() for served in task.serves)
        for i, (sequences, heads, queries, keys) in enumerate(slices):
            row = (sequences.start, heads.start, queries.start)
            if row != last:
                state, last = None, row  # scans and reductions start anew with each row
                held.clear()  # a value of one row serves no other
            for stream, pattern in task.takes.items():
                for _ in range(pattern.at(i)):
                    held[self.makers[stream]] = self.take(task, stream, row)
            # A token taken once per row, such as the row's maximum, stays held for all keys of the row.
            values = [held[r] if r in held else self.operand(task, r, row, keys.start) for r in e.reads]
            state, value = step(state, *values)
            for stream, pattern in task.gives.items():
                self.tokens[stream].extend([(row, value)] * pattern.at(i))

    def operand(self, task: Task, name: str, row: Row, key: int) -> np.ndarray:
        """The vector [width] of q at this row, or of k or v at this key for the row's head."""
        if name not in self.cascade.operands:
            raise ScheduleError(f"task '{task.name}': reads '{name}' before it has taken any")
        (sequence, head, query), array = row, self.operands[name]
        share = self.operands["q"].shape[2] // array.shape[2]  # query heads of a KV head (GQA); 1 for q itself
        found: np.ndarray = array[sequence, query if name == "q" else key, head // share]
        return found

    def take(self, task: Task, stream: str, row: Row) -> Any:
        """The next token of a stream, which must belong to the task's current row."""
        if not self.tokens[stream]:
            raise ScheduleError(f"task '{task.name}': takes more tokens of '{stream}' than are given")
        token_row, value = self.tokens[stream].popleft()
        if token_row != row:
            at, of = (f"(sequence {s}, head {h}, query {q})" for s, h, q in (row, token_row))
            raise ScheduleError(f"task '{task.name}': at {at} it takes a token of {of} from '{stream}'")
        return value
