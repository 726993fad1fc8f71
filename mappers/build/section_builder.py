"""SectionBuilder: collects the tasks and streams of a section while a mapper joins them; `section` freezes them.

A call is a group of tasks that a design starts as one: it starts when all calls before it have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Memory
from dataflow.graph import Graph, Op
from dataflow.op import Box, Work, work
from dataflow.pattern import Pattern, every, sequence
from dataflow.role import Role
from dataflow.section import Section
from dataflow.task import Stream, Task
from mappers.build.checks import check_fits
from mappers.build.pieces import PLACES, OpPiece, best_size, cut
from mappers.build.placement import Way, unit_for

OpNames = str | tuple[str, ...]  # an op's name within a scope, or its full name for each repetition of the section
Runs = Sequence[tuple[Work, int]]  # works and how many firings each has, one after another
Tokens = Pattern[int] | int  # tokens of each firing, or of every firing alike
Piece = tuple[int, int, int]  # requests of a piece, tokens of each request, how many such pieces follow one another
Buffering = Literal["single", "double"]
WEIGHT_BUFFERING = "a matrix is loaded before its linear, or during the linear before, which needs room for two"

# The memory on chip holds this many pieces. Four flows may share it (weights of an op and of the next, resident cached
# keys, fetched ones), each with two pieces that have arrived and two that the cores read.
PIECES = 16


@dataclass(slots=True)
class SectionBuilder:
    """A section in the making: ops of the graph as tasks on the design's units, repeated once for each of `scopes`.

    A scope is the prefix of the names of a layer's ops, such as "layer3.". `part` is the part of a report to which the
    tasks added from now on belong, as in Task. `lying`: bytes of the tensors whose home a memory is.
    """

    graph: Graph
    design: Design
    scopes: tuple[str, ...]
    tasks: dict[str, Task] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    part: str | None = None
    lying: Mapping[str, int] = field(default_factory=dict)
    _last: dict[str, list[str]] = field(default_factory=dict)

    def task(
        self,
        name: str,
        unit: str,
        works: Work | Runs,
        *,
        firings: int | None = None,
        op: OpNames = "",
        tiles: tuple[Box, ...] = (),
        role: Role | None = None,
        expression: str = "",
    ) -> str:
        """Adds a task and returns its name.

        `works` is the work of every firing, or runs of (work, number of firings). `firings` is their sum unless they
        repeat. `op` is the op's name within a scope, or its full name for each repetition.
        """
        runs = [(works, firings or 1)] if isinstance(works, Work) else works
        pattern = every(works) if isinstance(works, Work) else sequence(*runs)
        if isinstance(op, str):
            op = tuple(scope + op for scope in self.scopes) if op else ()
        count = sum(n for _, n in runs) if firings is None else firings
        self.tasks[name] = Task(name, unit, count, pattern, {}, {}, op, tiles, role, expression, self.part)
        return name

    def stream(
        self,
        producer: str,
        consumer: str,
        depth: int,
        *,
        gives: Tokens = 1,
        takes: Tokens = 1,
        token_bytes: int = 0,
        name: str = "",
        fifo: str = "",
    ) -> None:
        """Joins two tasks by a queue; `fifo` names the hardware queue where calls share one, one after another."""
        name = name or f"{producer} > {consumer}"
        self.streams.append(Stream(name, depth, token_bytes, fifo=fifo))
        # Replaced in place: tasks are frozen, and their order decides the order of firings on a unit.
        source = self.tasks[producer]
        self.tasks[producer] = replace(source, gives={**source.gives, name: _pattern(gives)})
        sink = self.tasks[consumer]
        self.tasks[consumer] = replace(sink, takes={**sink.takes, name: _pattern(takes)})

    def call(self, name: str, after: Sequence[str] = (), *, first: Sequence[str] = (), last: Sequence[str] = ()) -> str:
        """Makes a call of tasks already added, which starts when the calls of `after` have ended; returns its name.

        `first` and `last` are its first and last tasks, by default the task that has the call's name. Each last task of
        an earlier call signals to each first task of this one.
        """
        for earlier in after:
            for ended in self._last[earlier]:
                for task in first or (name,):
                    ends, begins = self.tasks[ended].firings, self.tasks[task].firings
                    # A token without bytes: the last firing of one task gives it, the first of the other takes it.
                    gives, takes = sequence((0, ends - 1), (1, 1)), sequence((1, 1), (0, begins - 1))
                    self.stream(ended, task, 1, gives=gives, takes=takes, name=f"{ended} done > {task}")
        self._last[name] = list(last or (name,))
        return name

    def section(self, name: str) -> Section:
        """The section of all tasks, repeated once for each scope."""
        return Section(name, tuple(self.tasks.values()), tuple(self.streams), len(self.scopes))

    def unit_for(self, kind: str, where: str, op: Op | None = None) -> str:
        """The unit that does this op in all its repetitions, or work of this kind that the mapper adds.

        Raises MappingError as unit_for, and where rules place the op of one layer elsewhere than that of another.
        """
        found = unit_for(self.design, kind, where, op=op, graph=self.graph)
        if op is not None and any(rule.ops for rule in self.design.place):
            name = op.name.removeprefix(self.scopes[0])
            for same in (self.graph.ops[scope + name] for scope in self.scopes):
                other = unit_for(self.design, kind, where, op=same, graph=self.graph)
                if other != found:
                    raise MappingError(
                        f"'{op.name}' is placed on '{found}', '{same.name}' on '{other}'; layers that repeat run alike",
                        ways_out=("a rule under place for all layers, such as ops: ['layer*.q']",),
                    )
        return found

    def compute(
        self, name: str, runs: Runs, after: Sequence[str], *, unit: str, op: OpNames = "", tiles: tuple[Box, ...] = ()
    ) -> int:
        """Makes a call of one task on the unit, which begins with a launch where the unit has one.

        Returns how many firings come before those of `runs`: 1 with a launch, else 0.
        """
        one, enter = self.design.units[unit], work("enter")
        launch = [(enter, 1)] if "enter" in one.does and one.cycles(enter) else []
        self.task(name, unit, [*launch, *runs], op=op, tiles=tiles)
        self.call(name, after)
        return len(launch)

    def piece_bytes(self, memory: str) -> int:
        """Bytes of a piece of operands on its way through this memory, beside the tensors whose home it is."""
        return max(0, self._free(memory)) // PIECES

    def _free(self, memory: str) -> int:
        return int(self.design.units[memory].capacity) - self.lying.get(memory, 0)  # type: ignore[attr-defined]

    def room(self, way: Way, size: int) -> int:
        """Bytes of the largest piece that the memories on the way inward have room for; `size` where there are none."""
        memories = [hop for hop in way[1:] if isinstance(self.design.units[hop], Memory)]
        return min(map(self.piece_bytes, memories), default=size)

    def pieces(self, op: Op, size: int, way: Way, unit: str) -> tuple[Sequence[OpPiece], tuple[Box, ...]]:
        """The op cut into pieces of the `size` bytes that come over this way to the unit, and its tiles, if any."""
        stages = [self.design.units[name] for name in (*way, unit)]
        piece = best_size(size, self.room(way, size), lambda bytes_: cut(op, size, bytes_, stages[-1])[0], stages)
        return cut(op, size, piece, stages[-1])

    def bring(
        self, name: str, way: Way, pieces: Sequence[Piece], reader: str, *, ahead: int, role: Role, token_bytes: int = 1
    ) -> str:
        """Adds the tasks that bring tokens from their home to the reader, hop by hop, in pieces; returns the first one.

        Each of the reader's firings after the first `ahead` takes one piece.
        """
        sizes = [(requests * each * token_bytes, times) for requests, each, times in pieces]
        count, largest = sum(n for _, n in sizes), max(size for size, _ in sizes)
        last = self.task(name, way[0], gathers(pieces, token_bytes), role=role)
        for hop in way[1:]:
            passed = f"{name} on chip" if hop == way[-1] else f"{name} through {hop}"
            if isinstance(self.design.units[hop], Memory):
                check_fits(
                    f"'{name}': {PIECES} pieces of {largest} B lie in '{hop}' at once", f"units.{hop}.capacity",
                    PIECES * largest, self._free(hop), "a larger capacity", dimension="bytes",
                )  # fmt: skip
                self.task(passed, hop, each_size("read", sizes), role=role)
            else:
                self.task(passed, hop, each_size("move", sizes))
            self.stream(last, passed, PLACES, token_bytes=largest)
            last = passed
        self.stream(last, reader, PLACES, takes=sequence((0, ahead), (1, count)), token_bytes=largest)
        return name


def _pattern(tokens: Tokens) -> Pattern[int]:
    return every(tokens) if isinstance(tokens, int) else tokens


def gathers(pieces: Sequence[Piece], token_bytes: int) -> list[tuple[Work, int]]:
    """A gather for each of the pieces."""
    return [(work("gather", requests=n, bytes=each * token_bytes), times) for n, each, times in pieces]


def each_size(kind: str, sizes: Sequence[tuple[int, int]]) -> list[tuple[Work, int]]:
    """A movement for each of the sizes (bytes, how many such)."""
    return [(work(kind, bytes=size), count) for size, count in sizes]
