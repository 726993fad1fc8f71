"""Fit: whether a mapping that was made for some graph and design says what can be done on these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Mapping, OpMapping
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS
from kernels.limits import LISTED, beyond
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


def refuse_misfits(mapping: Mapping, graph: Graph, design: Design, groups: Sequence[Group]) -> None:
    """Raises MappingError with all that the mapping says and this graph does not have or this design cannot do."""
    keys = {key_of(op, scopes): op for ops, scopes in groups for op in ops if op.kind in PRODUCTS}
    found: list[str] = []
    for key, one in mapping.ops.items():
        ops = [op for op in graph.ops.values() if mapping.names(key, op) and op.kind in PRODUCTS]
        if ops:
            # Layers alike would all say the same.
            told = {path: what for op in reversed(ops) for path, what in _misfits(one, op, design)}
            found += [mapping.document.problem(f"ops.{key}.{path}", what) for path, what in told.items()]
        else:
            hint = guess(key, keys, otherwise="products are") if keys else "it has none"
            found.append(mapping.document.problem(f"ops.{key}", f"names no product of '{graph.name}'; {hint}"))
    if found:
        raise MappingError("\n".join(found))


def _misfits(one: OpMapping, op: Op, design: Design) -> Iterator[tuple[str, str]]:
    """Paths below the entry of the op, and what is wrong there."""
    axes = OP_KINDS[op.kind].axes
    unit = design.units.get(one.unit)
    able = [name for name, other in design.units.items() if op.kind in other.does]
    if unit is None:
        yield "unit", f"design '{design.name}' has no unit '{one.unit}'; {guess(one.unit, able, otherwise='units are')}"
    elif op.kind not in unit.does:
        yield "unit", f"'{one.unit}' does no {op.kind}; units that do: {', '.join(able) or 'none'}"
    elif one.servers > unit.count:
        yield "servers", f"{one.servers} of '{one.unit}', which has {unit.count}; expected at most that"
    elif one.servers not in (1, unit.count):
        yield "servers", f"{one.servers} of '{one.unit}', which its ops share; expected 1, or all {unit.count}"
    if sorted(one.order) != sorted(axes):
        yield "order", f"expected each of {', '.join(axes)} once, got {', '.join(one.order) or 'none'}"
    tiles = prod(-(-op.work[axis] // one.tile[axis]) for axis in axes if axis in one.tile)
    if told := beyond(tiles, LISTED, of="tiles", instead="take larger ones"):
        yield "tile", told
    if {*one.tile} != {*axes}:
        yield "tile", f"expected an extent of each of {', '.join(axes)}, got {', '.join(one.tile) or 'none'}"
    for axis, size in one.tile.items():
        if axis in axes and size > op.work[axis]:
            yield f"tile.{axis}", f"{size} of an extent of {op.work[axis]} in '{op.name}'; expected at most that"


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
