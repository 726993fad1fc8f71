"""Routes: groups of tiles placed on a mesh in the order of the stages, and the ways of streams between them.

Ways are of dimension order: along the row of the source, then along the column of the sink. Knows places and bytes.
Does not know time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

import numpy as np

from archsim.errors import MappingError
from dataflow.floor import Floor, Spot
from mappers.spatial.fabric import Fabric
from mappers.spatial.stages import Stage

EAST, WEST, SOUTH, NORTH = DIRECTIONS = range(4)
LEAST = 1e-6  # bytes: less is the rest of a subtraction
STEPS = {EAST: (0, 1), WEST: (0, -1), SOUTH: (1, 0), NORTH: (-1, 0)}


class Ends(NamedTuple):
    """What a stream joins: its producer and its consumers by name, and the memory tiles of its places.

    `bytes` pass for each token of the section, in `tokens` tokens of the stream. `spread`: of some consumers in how
    many parts it goes, each to as many of their tiles; of others each tile has a part of its own.
    """

    producer: str
    consumers: tuple[str, ...]
    tiles: int
    bytes: float
    tokens: float
    spread: Mapping[str, int]


class Run(NamedTuple):
    """Links in a line: a direction, the row or column that it lies in, the first spot along it and the last one."""

    direction: int
    line: int
    start: int
    end: int
    bytes: float

    @property
    def hops(self) -> int:
        """Links of the run."""
        return abs(self.end - self.start)


@dataclass(slots=True)
class Routes:
    """The streams of a section on a mesh. What is on no tile passes the edge of the mesh, in the row of its places."""

    fabric: Fabric
    computing: dict[str, list[Spot]] = field(default_factory=dict)  # by stage
    holding: dict[str, list[Spot]] = field(default_factory=dict)  # by stream
    reader: dict[str, str] = field(default_factory=dict)  # of a stream the first stage that reads it, or its producer
    runs: dict[str, list[Run]] = field(default_factory=dict)  # by stream
    hops: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    busiest: dict[str, int] = field(default_factory=dict)
    loads: list[np.ndarray] = field(default_factory=list)  # by direction, [rows, columns]: bytes that leave a spot

    @classmethod
    def of(
        cls, fabric: Fabric, stages: Sequence[Stage], servers: Mapping[str, int], streams: Mapping[str, Ends], *,
        at_once: bool,
    ) -> Routes:  # fmt: skip
        """Places stages with these tiles of all sockets, and streams, in order.

        Streams flow `at_once`, or one after another. Raises MappingError for a mesh too small.
        """
        routes = cls(fabric)
        routes._place(stages, servers, streams)
        for name, ends in streams.items():
            routes._lead(name, ends)
        routes._load(at_once)
        return routes

    def _place(self, stages: Sequence[Stage], servers: Mapping[str, int], streams: Mapping[str, Ends]) -> None:
        sockets, own = self.fabric.sockets, {stage.name: stage for stage in stages if not stage.tail_of}
        compute, memory = self._spots()
        computing = _spread(compute, sum(servers[name] for name in own) // sockets)
        holding = _spread(memory, sum(ends.tiles for ends in streams.values()))
        left = dict(streams)
        names = {stage.name for stage in stages}
        self.reader = {
            name: next((one for one in ends.consumers if one in names), ends.producer) for name, ends in streams.items()
        }
        for stage in stages:
            if stage.tail_of:
                self.computing[stage.name] = self.computing[stage.tail_of]
                continue
            self.computing[stage.name] = [next(computing) for _ in range(servers[stage.name] // sockets)]
            for name in [name for name, ends in left.items() if stage.name in (ends.producer, *ends.consumers)]:
                self.holding[name] = [next(holding) for _ in range(left.pop(name).tiles)]
        for name, ends in left.items():
            self.holding[name] = [next(holding) for _ in range(ends.tiles)]

    def _spots(self) -> tuple[list[Spot], list[Spot]]:
        """The spots of all compute tiles and of all memory tiles of a socket: both take turns along the walk."""
        sockets, fabric, spots = self.fabric.sockets, self.fabric, self.fabric.net.rows * self.fabric.net.columns
        compute, memory = fabric.computing.count // sockets, fabric.holding.count // sockets
        if compute + memory > spots:
            raise MappingError(
                f"'{fabric.mesh}' has {fabric.net.rows} rows x {fabric.net.columns} columns, with a tile beside each "
                f"switch; '{fabric.compute}' and '{fabric.memory}' have no place for all tiles of a socket",
                resource=f"units.{fabric.mesh}.rows x columns", demand=compute + memory, capacity=spots,
                ways_out=(f"more units.{fabric.mesh}.rows or columns", f"fewer units.{fabric.compute}.count"),
            )  # fmt: skip
        both = compute + memory
        first = [(i + 1) * compute // both > i * compute // both for i in range(both)]
        sorts = list(zip(self._walk(), first, strict=False))
        return [spot for spot, computes in sorts if computes], [spot for spot, computes in sorts if not computes]

    def _walk(self) -> Iterator[Spot]:
        """All spots, column by column, down and up."""
        for column in range(self.fabric.net.columns):
            rows = range(self.fabric.net.rows)
            for row in rows if column % 2 == 0 else reversed(rows):
                yield row, column

    def _lead(self, name: str, ends: Ends) -> None:
        """The ways of a stream from its producer to the tiles of its places, and on to each consumer."""
        places = self.holding[name]
        if ends.producer not in self.computing and not any(one in self.computing for one in ends.consumers):
            return
        legs = [self._between(self.computing.get(ends.producer), places, ends.bytes)]
        for consumer in ends.consumers:
            spots = self.computing.get(consumer)
            if spots and consumer in ends.spread:
                legs.append(_in_parts(places, spots, ends.spread[consumer], ends.bytes / len(places)))
            else:
                legs.append(self._between(spots, places, ends.bytes, back=True))
        self.runs[name] = [run for leg in legs for run in leg]
        first, *others = map(_farthest, legs)
        self.hops[name], self.tokens[name] = first + max(others, default=0), ends.tokens

    def _between(
        self, spots: Sequence[Spot] | None, places: Sequence[Spot], size: float, *, back: bool = False
    ) -> list[Run]:
        """Runs between tiles and places, each with its part; over the edge of the mesh where there are no tiles."""
        if not spots:
            found = []
            for i, (row, column) in enumerate(places):
                edge = -1 if i % 2 else self.fabric.net.columns  # both edges take turns
                ends = ((row, column), (row, edge)) if back else ((row, edge), (row, column))
                found += _way(*ends, size / len(places))
            return found
        # Row by row on both sides, so that most parts go along a row.
        spots, places, many = sorted(spots), sorted(places), max(len(spots), len(places))
        pairs = [(spots[i * len(spots) // many], places[i * len(places) // many]) for i in range(many)]
        return [run for a, b in pairs for run in _way(*((b, a) if back else (a, b)), size / many)]

    def _load(self, at_once: bool) -> None:
        """The loads of all links, and of each stream what it waits for at the busiest of its own."""
        own = {name: self._loads(runs) for name, runs in self.runs.items()}
        if not own:
            self.loads = self._loads(())
            return
        self.loads = [np.sum([each[d] for each in own.values()], axis=0) for d in DIRECTIONS]
        streams = [np.sum([each[d] > LEAST for each in own.values()], axis=0) for d in DIRECTIONS]
        for name, each in own.items():
            # Links serve streams in turn: one waits for as much of every other as it sends, and for no more than all.
            others = [streams[d] if at_once else 1 for d in DIRECTIONS]
            shares = [np.where(each[d] > LEAST, np.minimum(self.loads[d], others[d] * each[d]), 0) for d in DIRECTIONS]
            self.busiest[name] = ceil(max(share.max() for share in shares) / self.tokens[name])

    def _loads(self, runs: Sequence[Run]) -> list[np.ndarray]:
        """Bytes that these runs send over each link, by direction, line and place in it."""
        rows, columns = self.fabric.net.rows, self.fabric.net.columns
        # Differences along each line, one spot wider at each end for what comes over the edge.
        found = [np.zeros((rows, columns + 3) if d in (EAST, WEST) else (columns, rows + 3)) for d in DIRECTIONS]
        for run in runs:
            low, high = min(run.start, run.end), max(run.start, run.end)
            # Place i + 1 is the link between spots i and i + 1.
            found[run.direction][run.line, low + 1] += run.bytes
            found[run.direction][run.line, high + 1] -= run.bytes
        return [np.cumsum(each, axis=1) for each in found]

    def way(self, name: str) -> tuple[int, int] | None:
        """Hops of a stream, and the bytes for which each of its tokens waits at the busiest link; None for no way."""
        return (self.hops[name], self.busiest[name]) if name in self.busiest else None

    def floor(self) -> Floor:
        """The placed tiles, and the loads of links within the mesh."""
        loads, spots = {}, set(self._walk())
        for direction, (down, right) in STEPS.items():
            passed = self.loads[direction]
            for line, at in zip(*(map(int, each) for each in np.nonzero(passed > LEAST)), strict=True):
                along = at - 1 if direction in (EAST, SOUTH) else at  # the link behind the spot, or before it
                row, column = (line, along) if direction in (EAST, WEST) else (along, line)
                to = row + down, column + right
                if {(row, column), to} <= spots:
                    loads[(row, column), to] = float(passed[line, at])
        # A tail lies where its body does, which comes first and gives the name.
        computing: dict[Spot, str] = {}
        for stage, lies_on in self.computing.items():
            computing |= {spot: stage for spot in lies_on if spot not in computing}
        holding = {spot: self.reader[stream] for stream, lies_in in self.holding.items() for spot in lies_in}
        return Floor(self.fabric.net.rows, self.fabric.net.columns, self.fabric.sockets, computing, holding, loads)


def _spread(spots: Sequence[Spot], n: int) -> Iterator[Spot]:
    """So many of the spots, evenly over all."""
    return (spots[i * len(spots) // n] for i in range(n))


def _way(source: Spot, sink: Spot, size: float) -> list[Run]:
    """The runs from a source to a sink: along the row of the source, then along the column of the sink.

    >>> [run[:4] for run in _way((0, 0), (2, 3), 1.0)]
    [(0, 0, 0, 3), (2, 3, 0, 2)]
    """
    (row, column), (to_row, to_column) = source, sink
    found = []
    if column != to_column:
        found.append(Run(EAST if to_column > column else WEST, row, column, to_column, size))
    if row != to_row:
        found.append(Run(SOUTH if to_row > row else NORTH, to_column, row, to_row, size))
    return found


def _in_parts(places: Sequence[Spot], sinks: Sequence[Spot], parts: int, size: float) -> list[Run]:
    """Runs of a broadcast in parts: what lies in a place goes to all tiles that need this part, or these parts."""
    parts, found = min(parts, len(sinks)), []
    for i, place in enumerate(places):
        # The parts of which this place has a share.
        first, last = i * parts // len(places), max(i * parts // len(places) + 1, -(-(i + 1) * parts // len(places)))
        found += _tree(place, sinks[first * len(sinks) // parts : last * len(sinks) // parts], size)
    return found


def _tree(source: Spot, sinks: Sequence[Spot], size: float) -> list[Run]:
    """The runs of a broadcast, which duplicates what it carries where its ways part: each link carries it once."""
    row, column = source
    columns = [c for _, c in sinks]
    found = [run for end in (max(columns), min(columns)) for run in _way(source, (row, end), size)]
    if min(columns) > column or max(columns) < column:  # both ends on one side: the longer run has the other
        found = [max(found, key=lambda run: run.hops)] if found else []
    rows: dict[int, list[int]] = {}
    for r, c in sinks:
        rows.setdefault(c, []).append(r)
    for c, ends in rows.items():
        for end in {max(max(ends), row), min(min(ends), row)}:
            found += _way((row, c), (end, c), size)
    return found


def _farthest(leg: Sequence[Run]) -> int:
    """Hops of the longest way, at most: the longest run along a row, and the longest along a column."""
    longest = dict.fromkeys(DIRECTIONS, 0)
    for run in leg:
        longest[run.direction] = max(longest[run.direction], run.hops)
    return max(longest[EAST], longest[WEST]) + max(longest[SOUTH], longest[NORTH])
