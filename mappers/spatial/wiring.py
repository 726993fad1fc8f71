"""Wiring: a section in the making whose tasks are joined by edges; `join` makes streams of them when all are there.

Knows ways, pieces and places. Does not know which stage reads what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from math import ceil

from archsim.units import ComputeTile
from archsim.units.array import product_of
from archsim.units.compute_tile import PRODUCTS
from dataflow.graph import Op
from dataflow.op import work
from dataflow.pattern import Pattern, every, sequence
from dataflow.role import Role
from mappers.build.placement import Way, homes_of, way_from, way_in
from mappers.build.section_builder import SectionBuilder
from mappers.spatial.fabric import Fabric
from mappers.spatial.routes import Ends, Routes
from mappers.spatial.stages import Stage

Sizes = Sequence[tuple[int, int]]  # bytes of pieces, and how many follow one another
LAST = 1 << 20  # the priority of loads for which nothing in the section waits


@dataclass(slots=True)
class Edge:
    """A stream in the making: `tokens` of `bytes` at most from a task to others, each with what it takes in a firing.

    `places` are its depth; none stands for as many as are under way between its ends. `wait`: so many tokens more are
    under way, because a consumer starts with the last of them. `rate`: bytes a cycle at which tiles read or write it.
    `spread`: of consumers that need it in several tiles, in how many parts; each part goes to as many of the tiles.
    `direct`: it passes within tiles, from their bodies to their tails.
    """

    producer: str
    gives: Pattern[int]
    bytes: int
    tokens: int
    places: int | None
    takes: dict[str, Pattern[int]] = field(default_factory=dict)
    rate: int = 0
    wait: int = 0
    spread: dict[str, int] = field(default_factory=dict)
    direct: bool = False


@dataclass(slots=True)
class Wiring(SectionBuilder):
    """A section of tasks on a fabric. `servers` are the compute tiles of each stage.

    `buffers` are the places of streams between neighbours, `passing_cycles` those in which all tokens are expected to
    pass. With `routed` streams pass the mesh, if there is one.
    """

    fabric: Fabric = field(kw_only=True)
    servers: Mapping[str, int] = field(kw_only=True)
    buffers: int = field(kw_only=True)
    passing_cycles: int = field(kw_only=True)
    routed: bool = field(kw_only=True)
    stages: dict[str, Stage] = field(default_factory=dict)
    ideal: Counter[str] = field(default_factory=Counter)  # bytes that no memory reads, by role
    routes: Routes | None = None
    edges: dict[str, Edge] = field(default_factory=dict)  # by the tensor that each carries, or by its ends

    def edge(
        self, name: str, producer: str, size: int, tokens: int, *, gives: Pattern[int] | None = None,
        places: int | None = None,
    ) -> Edge:  # fmt: skip
        """Adds an edge, to which consumers are added later."""
        self.edges[name] = Edge(producer, gives or every(1), size, tokens, places)
        return self.edges[name]

    def take(self, name: str, stage: Stage, takes: Pattern[int], place: int) -> None:
        """Makes a stage a consumer of an edge: what it carries is the operand at this place."""
        edge = self.edges[name]
        edge.takes[stage.name] = takes
        edge.rate = max(edge.rate, self.rate(stage, place))
        if place == 0 and stage.kind == "matmul":
            split = self.fabric.computing.split(stage.runs[0][0], self.servers[stage.name] // self.fabric.sockets)
            edge.spread[stage.name] = {"m": split.lanes, "n": split.stages, "k": 1}[split.lanes_along]
        edge.direct |= stage.tail_of == edge.producer

    def way(self, role: Role, op: Op, *, reads: int = 0) -> Way:
        """The way of a tensor of this role from its home to the compute tiles; empty where it moves no bytes.

        Then the bytes that the op `reads` of it are those of an ideal memory.
        """
        where = f"op '{op.name}'"
        if role.stored:
            way = way_in(self.design, self.fabric.compute, role, where)
            self.ideal[role] += 0 if way else reads * len(self.scopes)
            return way
        homes = homes_of(self.design, role)
        return way_from(self.design, homes[0], self.fabric.compute, role, where) if homes else ()

    def within(self, name: str) -> str:
        """The name of a tensor within its layer."""
        return name.removeprefix(self.scopes[0])

    def before(self, stage: Stage) -> int:
        """The priority of what a stage waits for: loads for earlier stages come first."""
        return [*self.stages].index(stage.name)

    def bring(
        self, name: str, way: Way, role: Role, stage: Stage, sizes: Sizes, takes: Pattern[int], *, places: int,
        place: int,
    ) -> None:  # fmt: skip
        """Adds the way of pieces from their home to a stage."""
        last = self.come(name, way, role, sizes, self.before(stage))
        self.edge(name, last, _largest(sizes), _many(sizes), places=places)
        self.take(name, stage, takes, place)

    def come(self, name: str, way: Way, role: Role, sizes: Sizes, priority: int) -> str:
        """Adds the tasks that bring pieces inward over all hops; returns the last one."""
        self.part = f"{'weight' if role.learned else role} load"
        last = ""
        for hop in way:
            passed = name if hop == way[0] else f"{name} through {hop}"
            last = self._hop(passed, hop, "read", sizes, role, last, priority)
        return last

    def go(self, name: str, way: Way, role: Role, sizes: Sizes, edge: Edge) -> None:
        """Adds the tasks that take what an edge carries outward over all hops."""
        self.part, last = f"{role} store", ""
        for hop in reversed(way):
            passed = self._hop(name if hop == way[0] else f"{name} through {hop}", hop, "write", sizes, role, last, 0)
            if not last:
                edge.takes[passed] = every(1)
            last = passed

    def _hop(self, name: str, hop: str, kind: str, sizes: Sizes, role: Role, last: str, priority: int) -> str:
        unit = self.design.units[hop]
        runs = [(work(kind if kind in unit.does else "move", bytes=size), n) for size, n in sizes]
        self.task(name, hop, runs, role=role, servers=unit.count, priority=priority)
        if last:
            # Between two hops a piece has places in the memory tiles that it comes from, or goes to.
            between = self.edge(f"{last} > {name}", last, _largest(sizes), _many(sizes), places=self.buffers)
            between.takes[name] = every(1)
        return name

    def exchange(self, name: str, kind: str, source: str, sizes: Sizes) -> str:
        """Adds an exchange between sockets of what an edge carries; returns its task."""
        self.part, sockets = "exchange", self.fabric.sockets
        runs = [(work(kind, bytes=size, sockets=sockets), n) for size, n in sizes]
        self.task(name, self.fabric.sharing.ring, runs)
        self.edges[source].takes[name] = every(1)
        return name

    def launch(self, kinds: Sequence[str]) -> None:
        """Adds the launch of the kernel by work of these kinds; what waits for nothing else waits for it."""
        taken = {task for edge in self.edges.values() for task in edge.takes}
        first = [name for name in self.tasks if name not in taken]
        self.part = "launch"
        self.task("launch", self.fabric.launcher, [(work(kind), 1) for kind in kinds])
        edge = self.edge("launch", "launch", 0, 1, gives=sequence((0, len(kinds) - 1), (1, 1)), places=1)
        edge.takes |= {name: sequence((1, 1), (0, self.tasks[name].firings - 1)) for name in first}

    def rate(self, stage: Stage, place: int) -> int:
        """Bytes a cycle that the tiles of a stage read of its operand at this place, or write (-1)."""
        servers, op, unit = self.servers[stage.name], stage.op, self.fabric.unit_of(stage)
        item = max((item for item, _ in stage.runs), key=lambda item: item.elements)
        name = op.inputs[min(place, len(op.inputs) - 1)] if place >= 0 else op.name
        eight = self.graph.tensors[name].format.bytes((8,))  # bytes of eight elements: one may be less than a byte
        if stage.tail_of:
            # A tail works as its body does, over all of the time that this takes.
            body = self.stages[stage.tail_of].runs[0][0]
            return ceil(item.elements * eight / 8 / max(1, self.fabric.computing.cycles(body, servers)))
        if not isinstance(unit, ComputeTile) or stage.kind not in PRODUCTS:
            return unit.lanes * servers * eight // 8
        if place < 0:
            # Outputs leave when their sums are complete.
            return ceil(item.elements * eight / 8 / max(1, unit.cycles(item, servers)))
        split = unit.split(item, servers)
        if split.lanes_along == "k":
            return unit.lanes * servers * eight // 8
        on_lanes = (place == 0) == (split.lanes_along == "m")
        elements = split.lanes * unit.lanes if on_lanes else split.stages * unit.stages
        return min(servers, product_of(item)[0]) * elements * eight // 8

    def join(self) -> None:
        """Makes streams of the edges; each has the places that its tokens take while they are under way."""
        edges = {name: edge for name, edge in self.edges.items() if edge.takes}
        level = self._levels(edges)
        places, tiles = {}, {}
        for name, edge in edges.items():
            apart = max(level[task] for task in edge.takes) - level[edge.producer]
            places[name] = min(edge.tokens, apart + self.buffers - 1) if edge.places is None else edge.places
            places[name] = min(edge.tokens, places[name] + self._in_flight(edge))
            tiles[name] = self._tiles(edge, places[name])
        self.routes = self._routes(edges, tiles)
        for name, edge in edges.items():
            self._stream(name, edge, places[name], tiles[name])

    def _in_flight(self, edge: Edge) -> int:
        """Tokens that are sent during the latency of the producer's unit, which a place holds too."""
        task = self.tasks[edge.producer]
        unit, item = self.design.units[task.unit], max((item for item, _ in task.work), key=lambda item: item.elements)
        return unit.latency_cycles // max(1, unit.cycles(item, task.servers), self.passing_cycles // edge.tokens)

    def _stream(self, name: str, edge: Edge, places: int, tiles: int) -> None:
        told = f"{edge.producer} > {next(iter(edge.takes)) if len(edge.takes) == 1 else self.within(name)}"
        producer, gives = edge.producer, edge.gives
        if self.routes is not None and (way := self.routes.way(name)) is not None:
            producer, gives = self._route(told, edge, way), every(1)
        (first, takes), *others = edge.takes.items()
        self.stream(
            producer, first, places, gives=gives, takes=takes, token_bytes=edge.bytes if tiles else 0, name=told,
            memory=self.fabric.memory if tiles else "", tiles=tiles,
        )  # fmt: skip
        for task, pattern in others:
            self.also(told, task, pattern)

    def _route(self, name: str, edge: Edge, way: tuple[int, int]) -> str:
        """Adds the task that takes tokens over the mesh: the hops with the first, the bytes with each."""
        (hops, load), self.part = way, "mesh"
        sizes = [(work("route", bytes=edge.bytes, hops=h, load=load), n) for h, n in ((hops, 1), (0, edge.tokens - 1))]
        task = self.task(f"{name} over the mesh", self.fabric.mesh, [run for run in sizes if run[1]])
        # Vectors go as they are made: what is under way lies in no buffer.
        self.stream(edge.producer, task, self.buffers, gives=edge.gives)
        return task

    def _routes(self, edges: dict[str, Edge], tiles: dict[str, int]) -> Routes | None:
        if not (self.routed and self.fabric.mesh):
            return None
        sockets, tokens = self.fabric.sockets, max(stage.tokens for stage in self.stages.values())
        ends = {
            name: Ends(
                edge.producer, tuple(edge.takes), tiles[name] // sockets, edge.bytes * edge.tokens / sockets / tokens,
                edge.tokens / tokens, edge.spread,
            )
            for name, edge in edges.items() if tiles[name]
        }  # fmt: skip
        return Routes.of(self.fabric, [*self.stages.values()], self.servers, ends, at_once=tokens > 1)

    def _levels(self, edges: dict[str, Edge]) -> dict[str, int]:
        """For each task the tasks before it on the longest way, and the tokens for which it waits."""
        waits: dict[str, dict[str, int]] = {name: {} for name in self.tasks}
        for edge in edges.values():
            for task in edge.takes:
                waits[task][edge.producer] = max(waits[task].get(edge.producer, 0), 1 + edge.wait)
        level: dict[str, int] = {}
        for name in TopologicalSorter(waits).static_order():
            level[name] = max((level[source] + more for source, more in waits[name].items()), default=0)
        return level

    def _tiles(self, edge: Edge, places: int) -> int:
        """Memory tiles that hold the places, and are read and written at the rate of the stages."""
        if not edge.bytes or edge.direct:
            return 0
        tile, sockets = self.fabric.holding, self.fabric.sockets
        turn = tile.cycles(work("load", vectors=1, stride=1))
        paced = -(-edge.rate * turn // (tile.vector_bytes * sockets))
        return max(self.fabric.tiles_for(places * edge.bytes), sockets * paced)

    @property
    def memory_tiles(self) -> int:
        """Memory tiles of all streams."""
        return sum(stream.tiles for stream in self.streams)

    @property
    def holding_tiles(self) -> int:
        """Memory tiles that all streams take at least, however slowly they are read."""
        return sum(self.fabric.tiles_for(stream.bytes) for stream in self.streams if stream.tiles)


def _largest(sizes: Sizes) -> int:
    return max(size for size, _ in sizes)


def _many(sizes: Sizes) -> int:
    return sum(n for _, n in sizes)
