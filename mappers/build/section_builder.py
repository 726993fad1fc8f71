"""SectionBuilder: collects the tasks and streams of a section while a mapper joins them; `section` freezes them.

A call is a group of tasks that a design starts as one: it starts when all calls before it have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.run.capacity import Holds
from dataflow.graph import Graph, Op
from dataflow.op import Box, Work, work
from dataflow.order import Order
from dataflow.pattern import Pattern, every, repeating, sequence
from dataflow.role import Role
from dataflow.section import Section
from dataflow.task import Served, Stream, Task
from mappers.build.layers import name_within
from mappers.build.placement import unit_for

OpNames = str | tuple[str, ...]  # an op's name within a scope, or its full name for each repetition of the section
Runs = Sequence[tuple[Work, int]]  # works and how many firings each has, one after another
ONE = every(1)
Tokens = Pattern[int] | int  # tokens, or tiles of an op, of each firing, or of every firing alike


NO_ORDERS: Mapping[str, Order] = {}
MOST_MADE = 256
# The section that was made last, by graph and name, for the points of a sweep; the oldest goes first.
_made: dict[object, Section] = {}


@dataclass(slots=True)
class SectionBuilder:
    """A section in the making: ops of the graph as tasks on the design's units, repeated once for each of `scopes`.

    A scope is the prefix of the names of a layer's ops, such as "layer3.". `part` is the part of a report to which the
    tasks added from now on belong, as in Task. `holds`: as in Section.
    """

    graph: Graph
    design: Design
    scopes: tuple[str, ...]
    tasks: dict[str, Task] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    part: str | None = None
    holds: Holds = field(default_factory=dict)
    _last: dict[str, list[str]] = field(default_factory=dict)
    # What tasks take and give, by task and stream: the tasks have these dicts, which grow as streams are added.
    _takes: dict[str, dict[str, Pattern[int]]] = field(default_factory=dict)
    _gives: dict[str, dict[str, Pattern[int]]] = field(default_factory=dict)

    def task(
        self,
        name: str,
        unit: str,
        works: Work | Runs,
        *,
        firings: int | None = None,
        op: OpNames = "",
        tiles: tuple[Box, ...] = (),
        serves: tuple[Served, ...] = (),
        role: Role | None = None,
        expression: str = "",
        servers: int = 1,
        priority: int = 0,
    ) -> str:
        """Adds a task and returns its name; `servers` of the unit do each of its firings together.

        `works` is the work of every firing, or runs of (work, number of firings). `firings` is their sum unless they
        repeat. `op` is the op's name within a scope, or its full name for each repetition, and `tiles` are its tiles; a
        task of several ops `serves` what `served` gives for each, instead.
        """
        runs = [(works, firings or 1)] if isinstance(works, Work) else works
        pattern = every(works) if isinstance(works, Work) else repeating(*runs)
        if op:
            serves = (self.served(op, tiles), *serves)
        count = sum(n for _, n in runs) if firings is None else firings
        takes: dict[str, Pattern[int]] = {}
        gives: dict[str, Pattern[int]] = {}
        self._takes[name], self._gives[name] = takes, gives
        self.tasks[name] = Task(
            name, unit, count, pattern, takes, gives, serves, role, expression, self.part, servers=servers,
            priority=priority,
        )  # fmt: skip
        return name

    def served(self, op: OpNames, tiles: tuple[Box, ...] = (), *, per_firing: Tokens = 1) -> Served:
        """An op as Served, by its name within a scope, or its full name for each repetition."""
        names = tuple(scope + op for scope in self.scopes) if isinstance(op, str) else op
        return Served(names, tiles, _pattern(per_firing))

    def stream(
        self,
        producer: str,
        consumer: str,
        depth: int,
        *,
        gives: Tokens = 1,
        takes: Tokens = 1,
        token_bytes: int = 0,
        initial: int = 0,
        name: str = "",
        fifo: str = "",
        memory: str = "",
        tiles: int = 0,
    ) -> None:
        """Joins two tasks by a queue; `initial`, `fifo`, `memory` and `tiles` as in Stream."""
        name = name or f"{producer} > {consumer}"
        self.streams.append(Stream(name, depth, token_bytes, initial, fifo=fifo, memory=memory, tiles=tiles))
        self._gives[producer][name] = _pattern(gives)
        self._takes[consumer][name] = _pattern(takes)

    def also(self, stream: str, consumer: str, takes: Tokens = 1) -> None:
        """Makes the task one more consumer of a stream, which is a broadcast then: each takes all tokens."""
        self._takes[consumer][stream] = _pattern(takes)

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
                    gives = ONE if ends == 1 else sequence((0, ends - 1), (1, 1))
                    takes = ONE if begins == 1 else sequence((1, 1), (0, begins - 1))
                    self.stream(ended, task, 1, gives=gives, takes=takes, name=f"{ended} done > {task}")
        self._last[name] = list(last or (name,))
        return name

    def section(self, name: str, *, orders: Mapping[str, Order] = NO_ORDERS) -> Section:
        """The section of all tasks, repeated once for each scope, with these orders of units.

        Where the last one of this name for such a graph is equal, it is that one, whose rules have been checked. The
        builder is done with it: its tasks have the dicts to which streams are added.
        """
        tasks, streams, repeat = tuple(self.tasks.values()), tuple(self.streams), len(self.scopes)
        key = self.graph.name, self.graph.phase, name
        last = _made.get(key)
        if last is not None and (last.tasks, last.streams, last.repeat, last.orders, last.holds) == (
            tasks, streams, repeat, orders, self.holds
        ):  # fmt: skip
            return last
        if key not in _made and len(_made) == MOST_MADE:
            del _made[next(iter(_made))]
        _made[key] = Section(name, tasks, streams, repeat, orders=orders, holds=self.holds)
        return _made[key]

    def unit_for(self, kind: str, where: str, op: Op | None = None) -> str:
        """The unit that does this op in all its repetitions, or work of this kind that the mapper adds.

        Raises MappingError as unit_for, and where rules place the op of one layer elsewhere than that of another.
        """
        found = unit_for(self.design, kind, where, op=op, graph=self.graph)
        if op is not None and any(rule.ops for rule in self.design.place):
            name = name_within(op)
            for same in (self.graph.ops[scope + name] for scope in self.scopes):
                other = unit_for(self.design, kind, where, op=same, graph=self.graph)
                if other != found:
                    raise MappingError(
                        f"'{op.name}' is placed on '{found}', '{same.name}' on '{other}'; layers that repeat run alike",
                        ways_out=("a rule under place for all layers, such as ops: ['layer*.q']",),
                    )
        return found

    def compute(
        self, name: str, runs: Runs, after: Sequence[str], *, unit: str, op: OpNames = "",
        tiles: tuple[Box, ...] = (), serves: tuple[Served, ...] = (), servers: int = 1,
    ) -> int:  # fmt: skip
        """Makes a call of one task on the unit, which begins with a launch where the unit has one.

        Returns how many firings come before those of `runs`: 1 with a launch, else 0.
        """
        one = self.design.units[unit]
        launch: list[tuple[Work, int]] = []
        if "enter" in one.does and one.cycles(enter := work("enter")):
            launch.append((enter, 1))
        self.task(name, unit, [*launch, *runs], op=op, tiles=tiles, serves=serves, servers=servers)
        self.call(name, after)
        return len(launch)

def _pattern(tokens: Tokens) -> Pattern[int]:
    if isinstance(tokens, int):
        return ONE if tokens == 1 else every(tokens)
    return tokens
