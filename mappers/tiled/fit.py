"""Fit: whether a mapping that was made for some graph and design says what can be done on these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Mapping, OpMapping
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS
from mappers.build.layers import Group, name_within
from mappers.tiled.nest import Nest
from mappers.tiled.operands import PRODUCTS
from mappers.tiled.search import Product


def key_of(op: Op, scopes: Sequence[str]) -> str:
    """What a mapping calls the op: its name, or a pattern for all layers in which it repeats."""
    return op.name if len(scopes) == 1 else f"{scopes[0].rstrip('0123456789.')}*.{name_within(op)}"


def nest_of(op: Op, one: OpMapping) -> Nest:
    """The loops over the tiles of an op."""
    return Nest({axis: op.work[axis] for axis in OP_KINDS[op.kind].axes}, one.tile, one.order)


def misfits(mapping: Mapping, graph: Graph, design: Design, groups: Sequence[Group]) -> list[str]:
    """What of the mapping this graph does not have or this design cannot do."""
    keys = {key_of(op, scopes): op for ops, scopes in groups for op in ops if op.kind in PRODUCTS}
    found = []
    for key, one in mapping.ops.items():
        ops = [op for op in graph.ops.values() if mapping.names(key, op) and op.kind in PRODUCTS]
        where = f"mapping '{mapping.name}': ops.{key}"
        if not ops:
            hint = guess(key, keys, otherwise="products are") if keys else "it has no products"
            found.append(f"{where}: names no product of graph '{graph.name}'; {hint}")
        else:
            found += dict.fromkeys(f"{where}{told}" for op in ops for told in _misfits(one, op, design))
    return found


def _misfits(one: OpMapping, op: Op, design: Design) -> Iterator[str]:
    axes = OP_KINDS[op.kind].axes
    unit = design.units.get(one.unit)
    if unit is None:
        hint = guess(one.unit, design.units, otherwise="units are")
        yield f".unit: design '{design.name}' has no unit '{one.unit}'; {hint}"
    elif op.kind not in unit.does:
        yield f".unit: '{one.unit}' does not do '{op.kind}'; it does: {', '.join(unit.does)}"
    elif one.servers > unit.count:
        yield f".servers: {one.servers} of '{one.unit}', which has {unit.count}; give at most so many"
    if sorted(one.order) != sorted(axes):
        yield f".order: [{', '.join(one.order)}]; each of {', '.join(axes)} stands in it once"
    if {*one.tile} != {*axes}:
        yield f".tile: of {', '.join(one.tile)}; an extent is given for each of {', '.join(axes)}"
    for axis, size in one.tile.items():
        if axis in axes and size > op.work[axis]:
            yield f".tile.{axis}: {size} of an extent of {op.work[axis]} in '{op.name}'; give at most that"


def refuse_tile_beyond_memory(asked: Product, nest: Nest) -> None:
    """Raises MappingError where the places for the tiles of an op alone have no room in a memory."""
    for memory, demand in asked.demand(nest).items():
        if demand > asked.room[memory]:
            tile = ", ".join(f"{axis} {size}" for axis, size in nest.tile.items())
            raise MappingError(
                f"its tile of {tile} has no room in {asked.buffers} places for each operand",
                where=f"op '{asked.op.name}'", resource=f"room in '{memory}'", demand=demand,
                capacity=asked.room[memory], dimension="bytes",
                ways_out=("a smaller tile", "fewer buffers", "a larger capacity"),
            )  # fmt: skip
