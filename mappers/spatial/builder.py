"""SpaceBuilder: a section whose ops are stages side by side, with all that they read and make.

Knows which stage reads what. Does not know why these ops are in a section, nor how many tiles serve best.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dataflow.format import Format
from dataflow.graph import Op, Tensor
from dataflow.op import work
from dataflow.pattern import Pattern, every, sequence
from dataflow.role import Role
from mappers.build.layers import name_within
from mappers.build.pieces import chunks, even
from mappers.build.placement import Way
from mappers.spatial.attention import add_pass
from mappers.spatial.reading import behind
from mappers.spatial.row_wiring import RowWiring
from mappers.spatial.stages import Stage, once, piece_of
from mappers.spatial.wiring import LAST, Sizes


class Matrix(NamedTuple):
    """A matrix of a stage: the way from its home, and its pieces."""

    stage: str
    way: Way
    role: Role
    sizes: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class SpaceBuilder(RowWiring):
    """A section of stages.

    `resident`: matrices are loaded once and stay; otherwise they come again with each token. The section before has
    loaded the matrices of the stages that are `held`; this one loads those `ahead` for the next. `matrices` are all of
    its own, `kept` the activations that go to memory.
    """

    resident: bool = field(kw_only=True)
    held: Collection[str] = field(kw_only=True)
    ahead: Sequence[Matrix] = field(kw_only=True)
    matrices: list[Matrix] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def lay(self, stages: Sequence[Stage]) -> None:
        """Adds these stages, in the order of their ops, with what they read and what they make for each other."""
        for stage in stages:
            self.stages[stage.name], self.part = stage, stage.op.kind
            unit = self.fabric.tail if stage.tail_of else self.fabric.compute
            self.task(
                stage.name, unit, stage.runs, op=name_within(stage.op), tiles=stage.boxes,
                servers=self.servers[stage.name],
            )  # fmt: skip
            if stage.op.kind == "attention" and stage.kind != "attention":
                add_pass(self, stage)
            else:
                self._read(stage)
            if stage.last:
                self._make(stage)

    def finish(self, launch: Sequence[str]) -> None:
        """Adds the loads for the next section, the launch of the kernel by work of these kinds, if any, and streams."""
        for matrix in self.ahead:
            self._load_ahead(matrix)
        if launch and self.fabric.launcher:
            self.launch(launch)
        self.join()

    def _read(self, stage: Stage) -> None:
        for place, name in enumerate(stage.op.inputs):
            tensor = self.graph.in_memory(name)
            if tensor.role.gathered:
                self._looked_up(stage, tensor, place)
            elif tensor.role.stored:
                self._stored(stage, tensor, place)
            else:
                self.rows_of(stage, behind(self.graph, name), place)

    def _looked_up(self, stage: Stage, tensor: Tensor, place: int) -> None:
        """Rows of a table, one for each row that the op makes."""
        sizes, role = self.by_token(tensor.format, self.graph.tensors[stage.op.name].shape), tensor.role
        if way := self.way(role, stage.op, reads=sum(size for size, _ in sizes)):
            self.bring(f"load {stage.name}", way, role, stage, sizes, once(stage), places=self.buffers, place=place)

    def _stored(self, stage: Stage, tensor: Tensor, place: int) -> None:
        """A matrix, or the scales of a norm, in pieces: once before the first token, or again with each token."""
        role = tensor.role
        if not (way := self.way(role, stage.op, reads=tensor.bytes)):
            return
        again = role.multiplied and not self.resident
        # The stage makes a token in as many parts as pieces come again.
        whole, room = tensor.bytes, self.fabric.holding.holds_bytes
        sizes = even(whole, stage.parts) if again else chunks(whole, piece_of(whole, room))
        pieces = sum(n for _, n in sizes)
        takes = every(1) if again else sequence((pieces, 1), (0, stage.firings - 1))
        name = f"load {stage.name}" if role.multiplied else f"load {stage.name} {role}"
        if role.multiplied and role.learned:
            self.matrices.append(Matrix(stage.name, way, role, tuple(sizes)))
            if stage.name in self.held:
                self._held(stage, sizes, takes, place)
                return
        places = self.places if again else pieces
        self.bring(name, way, role, stage, sizes * self.count if again else sizes, takes, places=places, place=place)

    def _held(self, stage: Stage, sizes: Sizes, takes: Pattern[int], place: int) -> None:
        """A matrix that lies in memory tiles since the section before."""
        name, pieces = f"{stage.name} in tiles", sum(n for _, n in sizes)
        self.part = "weight load"
        self._in_tiles(name, "load", pieces)
        self.edge(name, name, max(size for size, _ in sizes), pieces, places=pieces)
        self.take(name, stage, takes, place)

    def _load_ahead(self, matrix: Matrix) -> None:
        """Loads a matrix of the next section, after all that this one waits for."""
        pieces, name = sum(n for _, n in matrix.sizes), f"{matrix.stage} ahead in tiles"
        last = self.come(f"load {matrix.stage} ahead", matrix.way, matrix.role, matrix.sizes, LAST)
        self._in_tiles(name, "store", pieces)
        edge = self.edge(name, last, max(size for size, _ in matrix.sizes), pieces, places=pieces)
        edge.takes[name] = every(1)

    def _in_tiles(self, name: str, kind: str, pieces: int) -> None:
        """A task that stands for pieces which lie in the tiles of a stream: to have them there takes no time."""
        there = work(kind, vectors=0, stride=1)
        self.task(name, self.fabric.memory, there, firings=pieces, servers=self.fabric.sockets)

    def _make(self, stage: Stage) -> None:
        """Adds the edge that carries what an op makes; sums over sockets are exchanged first."""
        op, tensor = stage.op, self.graph.tensors[stage.op.name]
        sizes, gives = self.by_token(tensor.format, tensor.shape), sequence((0, stage.parts - 1), (1, 1))
        each, producer, last = max(size for size, _ in sizes), stage.name, gives
        if op.name in self.fabric.sharing.summed:
            # Each socket has sums over its part of the inputs, as large as the whole.
            self.edge(f"{op.name} partial", producer, each * self.fabric.sockets, self.count, gives=gives)
            producer = self.exchange(f"sum {stage.name}", "reduce_scatter", f"{op.name} partial", sizes)
            last = every(1)
        self.edge(op.name, producer, each, self.count, gives=last).rate = self.rate(stage, -1)

    def store(self, op: Op, role: Role, format: Format) -> None:
        """Adds the way out of what an op makes, to where its role lies; new rows of a cache in the cache's format."""
        if (way := self.way(role, op)) and op.name in self.edges:
            sizes = self.by_token(format, self.graph.tensors[op.name].shape)
            name = f"store {name_within(op)}" + (f" {role}" if role is Role.CACHE else "")
            self.kept += [scope + self.within(op.name) for scope in self.scopes if role is Role.ACTIVATION]
            self.go(name, way, role, sizes, self.edges[op.name])

