"""Tiled operands: what a product reads and makes, with the axes along which it is cut and the way that its tiles go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from archsim.run.capacity import NOWHERE
from dataflow.format import Format
from dataflow.graph import Op
from dataflow.role import Role
from mappers.build.lying import Lying
from mappers.build.op_builder import OpBuilder
from mappers.build.placement import Way, way_in, way_of_activation
from mappers.tiled.nest import Nest, Sizes

# The axes of the operands of a product: both factors, then what it makes.
AXES = (("batch", "m", "k"), ("batch", "n", "k"), ("batch", "m", "n"))
PRODUCTS = ("matmul", "ternary_matmul")
ROWS_D = ("rows", "d")  # the axes of ops of rows


@dataclass(frozen=True, slots=True)
class Moved:
    """An operand of an op whose tiles move: its axes and format, and the way from where it lies inward to the unit.

    Of an activation that has spilled in part only this part of each tile moves; the rest of it lies beside the unit.
    What is `complete` leaves only when it is summed up, because another way takes the sums before.
    """

    tensor: str
    axes: tuple[str, ...]
    format: Format
    way: Way
    role: Role
    made: bool  # by the op
    part: Fraction = Fraction(1)
    complete: bool = False

    def bytes(self, sizes: Sizes) -> int:
        """Bytes that move of a tile of these sizes along the axes."""
        whole = self.format.bytes(sizes)
        return whole if self.part == 1 else -(-whole * self.part.numerator // self.part.denominator)

    def places(self, nest: Nest, buffers: int) -> int:
        """Places for its tiles, of so many at most: one is enough for a single tile that stays throughout."""
        return min(buffers, self.stays(nest))

    def again(self, nest: Nest) -> int:
        """How often each tile comes, or leaves."""
        return 1 if self.complete else nest.again(self.axes)

    def stays(self, nest: Nest) -> int:
        """How often a tile comes, or leaves, in all."""
        return nest.stays(self.axes) // nest.again(self.axes) * self.again(nest)

    def largest(self, nest: Nest) -> int:
        """Bytes of the largest tile."""
        return self.bytes(tuple([min(nest.tile[axis], nest.extents[axis]) for axis in self.axes]))

    def comes(self, nest: Nest) -> list[tuple[int, int]]:
        """The bytes of the tiles as they come or leave: (bytes, how many in a row)."""
        if self.complete:
            return [(self.bytes(sizes), n) for (sizes, _, good), n in nest.visits(self.axes) if good]
        return [(self.bytes(sizes), n) for sizes, n in nest.runs(self.axes, through=self.axes)]

    def moved(self, nest: Nest) -> int:
        """Bytes that move in all, one way."""
        once = sum(self.bytes(sizes) * n for sizes, n in nest.shapes(self.axes))
        return once * self.again(nest)


def moved_by(builder: OpBuilder, op: Op, unit: str) -> list[Moved]:
    """The operands of a product, or an op of rows, that come from a memory or go to one; others lie beside the unit."""
    return [*_read(builder, op, unit), *_made(builder, op, unit)]


def axes_of(op: Op, place: int, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The axes of the operand at this place; one product alone has no batch, and what all rows need is a vector."""
    if op.kind not in PRODUCTS:
        return ROWS_D if len(shape) == len(ROWS_D) else ROWS_D[1:]
    batched = op.kind == "matmul" and op.work["batch"] > 1
    return AXES[place] if batched else AXES[place][1:]


def _read(builder: OpBuilder, op: Op, unit: str) -> Iterator[Moved]:
    graph, where = builder.graph, f"op '{op.name}'"
    for place, name in enumerate(op.inputs):
        tensor, part = graph.in_memory(name), Fraction(1)
        if tensor.role.stored:
            way = way_in(builder.design, unit, tensor.role, where)
            if not way:
                builder.ideal[tensor.role] += tensor.bytes * len(builder.scopes)
        else:
            way, part = _of_activation(builder, op, unit, (one.inputs[place] for one in _same(builder, op)))
        if way:
            yield Moved(name, axes_of(op, place, tensor.shape), tensor.format, way, tensor.role, made=False, part=part)


def _made(builder: OpBuilder, op: Op, unit: str) -> Iterator[Moved]:
    tensor = builder.graph.tensors[op.name]
    way, part = _of_activation(builder, op, unit, (one.name for one in _same(builder, op)))
    made = Moved(op.name, axes_of(op, 2, tensor.shape), tensor.format, way, tensor.role, made=True, part=part)
    if way:
        yield made
    for rows in builder.rows(op, unit):
        cached = builder.format_of_rows(op)
        yield replace(made, way=rows.way, role=rows.role, format=cached, part=Fraction(1), complete=bool(way))


def _same(builder: OpBuilder, op: Op) -> Iterator[Op]:
    """The op in all layers in which its operands may lie elsewhere."""
    return (builder.graph.ops[name] for name in builder.lying.same(op, builder.layers))


def _of_activation(builder: OpBuilder, op: Op, unit: str, names: Iterator[str]) -> tuple[Way, Fraction]:
    """The longest way of these activations and the largest part that moves: one operand in layers that run alike."""
    if not builder.lying.places:
        return (), Fraction(0)
    ways: list[Way] = [()]
    parts = [Fraction(0)]
    for name in names:
        lies = {at: size for at, size in builder.lying.parts_of([name]).items() if at[0] != NOWHERE}
        moving = 0
        for (memory, role), size in lies.items():
            way = way_of_activation(builder.design, memory, unit, Role(role), f"op '{op.name}'")
            ways.append(way)
            moving += size if way else 0
        if moving:
            parts.append(Fraction(moving, sum(lies.values())))
    return max(ways, key=len), max(parts)


def told_of_parts(lying: Lying) -> Iterator[str]:
    """How activations of which a part has spilled are simplified."""
    spilled = {tuple(memory for memory, _ in parts) for parts in lying.parts.values() if len(parts) > 1}
    for memories in sorted(spilled):
        shown = " and ".join(f"'{memory}'" for memory in memories)
        yield f"an activation that lies in {shown} has the same part of each tile in '{memories[0]}'"
