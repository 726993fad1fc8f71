"""Product: what is asked of a search: an op, the unit and its servers, what moves, and the room for its tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from archsim.design.design import Design
from archsim.mapping import OpMapping
from archsim.units import Memory
from dataflow.graph import Op
from dataflow.op import OP_KINDS
from mappers.tiled.nest import Nest
from mappers.tiled.operands import Moved


@dataclass(frozen=True)
class Product:
    """A product to be mapped: its op, the unit and its servers, what moves, and the room of each memory for tiles.

    An operand has at most `buffers` places for tiles, what is made as many as one of `results`; weights that are loaded
    `ahead` have as many for the next op, and their own are there `before` the op, in the room that there is then.
    `tile` has the extents of a tile that are given, and `order` the order of the loops if it is; the others are chosen.
    The loops over `outer`, if any, stand outside the others, in this order.
    """

    op: Op
    design: Design
    unit: str
    servers: int
    moved: Sequence[Moved]
    room: Mapping[str, int]
    buffers: int
    results: tuple[int, ...]
    ahead: bool
    tile: Mapping[str, int] = field(default_factory=dict)
    order: tuple[str, ...] | None = None
    outer: tuple[str, ...] = ()
    before: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The axes of the op."""
        return OP_KINDS[self.op.kind].axes

    @cached_property
    def extents(self) -> dict[str, int]:
        """The extents of the op by axis."""
        return {axis: self.op.work[axis] for axis in self.axes}

    @cached_property
    def kind(self) -> object:
        """What products that are mapped alike have in common."""
        moved = tuple([replace(one, tensor="") for one in self.moved])
        given = (*self.tile.items(), self.order, self.outer)
        return self.op.work, self.unit, self.servers, moved, self.buffers, self.results, self.ahead, given

    @cached_property
    def lie_in(self) -> tuple[str, ...]:
        """For each operand the memory in which its tiles wait."""
        return tuple(lies_in(self.design, one) for one in self.moved)


def lies_in(design: Design, one: Moved) -> str:
    """The memory nearest to the unit, in which tiles of the operand wait; empty where they come straight from home."""
    memories = [hop for hop in one.way[1:] if isinstance(design.units[hop], Memory)]
    return memories[-1] if memories else ""


def nest_of(op: Op, one: OpMapping) -> Nest:
    """The loops over the tiles of an op."""
    return Nest({axis: op.work[axis] for axis in OP_KINDS[op.kind].axes}, one.tile, one.order)
