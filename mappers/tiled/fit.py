"""Fit: whether a mapping that was made for some graph and design says what can be done on these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Entries
from math import prod

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Entry, Mapping
from archsim.units import Unit
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS
from kernels.limits import LISTED, beyond
from mappers.build.layers import Group, key_of
from mappers.tiled.estimate import Singles
from mappers.tiled.fused_fit import misfits_of_groups, not_named, uneven
from mappers.tiled.nest import Nest
from mappers.tiled.operands import PRODUCTS
from mappers.tiled.product import Product


def of_other_graphs(mapping: Mapping, graph: Graph) -> list[str]:
    """What the mapping says of ops that this graph does not have, by path."""

    def absent(key: str) -> bool:
        return not any(mapping.names(key, op) for op in graph.ops.values())

    fused = [f"fuse.{place}" for place, group in enumerate(mapping.fuse) if all(map(absent, group.ops))]
    return [*(f"ops.{key}" for key in mapping.ops if absent(key)), *fused]


def refuse_misfits(mapping: Mapping, graph: Graph, design: Design, groups: Sequence[Group], *, own: bool) -> None:
    """Raises MappingError with all that the mapping says and this graph does not have or this design cannot do.

    A design's `own` mapping may say more, of other graphs that run on it.
    """
    keys = [key_of(op, scopes) for ops, scopes in groups for op in ops]
    ops = [op for op in graph.ops.values() if not OP_KINDS[op.kind].free]
    first = {op.name: mapping.key_of(op) for op in ops}
    found: list[tuple[str, str]] = []
    if mapping.order != "time":
        found.append(("order", f"'{mapping.order}'; this mapper runs ops one after another; write 'order: time'"))
    found += [(name, "is of ops in space; ops one after another have no sections") for name in _in_space(mapping)]
    for key, one in mapping.ops.items():
        named = [op for op in ops if mapping.names(key, op)]
        if not named:
            free = [op for op in graph.ops.values() if mapping.names(key, op)]
            found.append((f"ops.{key}", not_named(key, free, graph, keys)))
        elif not any(first[op.name] == key for op in named):
            found.append((f"ops.{key}", f"'{first[named[0].name]}' stands before it and names all that it names"))
        # Layers alike would all say the same.
        told = {path: what for op in reversed(named) for path, what in _misfits(one, op, design)}
        found += [(f"ops.{key}.{path}", what) for path, what in told.items()]
    found += [(f"ops.{key}", told) for key, told in uneven(groups, first.__getitem__)]
    found += misfits_of_groups(mapping, graph, groups)
    found += [*_beyond_axes(mapping, ops), *_of_no_use(mapping, ops)]
    others = of_other_graphs(mapping, graph) if own else []
    found = [(path, what) for path, what in found if not any(f"{path}.".startswith(f"{one}.") for one in others)]
    if found:
        raise MappingError("\n".join(mapping.document.problem(path, what) for path, what in found))


def _in_space(mapping: Mapping) -> list[str]:
    """What the mapping says of sections in space."""
    return [name for name in ("sections", "loop") if name in mapping.document.data and mapping.order == "time"]


def _of_no_use(mapping: Mapping, ops: Sequence[Op]) -> Iterator[tuple[str, str]]:
    """What was set for products that leave nothing open."""
    entries = [mapping.entry(op) for op in ops if op.kind in PRODUCTS]
    if all(one.order is not None and len(one.tile) == len(one.order) for one in entries):
        for name in {path.split(".")[0] for path in mapping.changed()} & {"tile", "cost"}:
            yield name, "every product has a tile and an order of its own; set those, or give no mapping file"


def _beyond_axes(mapping: Mapping, ops: Sequence[Op]) -> Iterator[tuple[str, str]]:
    """Axes of the tile of all ops that no product has."""
    axes = dict.fromkeys(axis for op in ops if op.kind in PRODUCTS for axis in OP_KINDS[op.kind].axes)
    for axis in () if isinstance(mapping.tile, str) else mapping.tile:
        if axis not in axes:
            yield f"tile.{axis}", f"no product has it; {guess(axis, axes, otherwise='axes are')}"


def _misfits(one: Entry, op: Op, design: Design) -> Iterator[tuple[str, str]]:
    """Paths below the entry of the op, and what is wrong there."""
    able = [name for name, other in design.units.items() if op.kind in other.does]
    unit = None if one.unit is None else design.units.get(one.unit)
    if one.unit is not None and unit is None:
        yield "unit", f"design '{design.name}' has no unit '{one.unit}'; {guess(one.unit, able, otherwise='units are')}"
    elif unit is not None and op.kind not in unit.does:
        yield "unit", f"'{one.unit}' does no {op.kind}; units that do: {', '.join(able) or 'none'}"
    elif one.servers is not None and unit is not None and (told := too_many(one.servers, one.unit or "", unit)):
        yield "servers", told
    if op.kind in PRODUCTS:
        yield from _misfits_of_loops(one, op)
    elif extra := ", ".join(name for name in Entry.model_fields if name != "unit" and name in one.model_fields_set):
        yield extra.split(",")[0], f"'{op.name}' is {op.kind}, which is not cut in tiles; say {extra} of products alone"


def too_many(servers: int, name: str, unit: Unit) -> str:
    """What is wrong with so many servers of a unit; empty where nothing is."""
    if servers > unit.count:
        return f"{servers} of '{name}', which has {unit.count}; expected at most that"
    if servers not in (1, unit.count):
        return f"{servers} of '{name}', which its ops share; expected 1, or all {unit.count}"
    return ""


def _misfits_of_loops(one: Entry, op: Op) -> Iterator[tuple[str, str]]:
    axes = OP_KINDS[op.kind].axes
    if one.order is not None and sorted(one.order) != sorted(axes):
        yield "order", f"expected each of {', '.join(axes)} once, got {', '.join(one.order) or 'none'}"
    tiles = prod(-(-op.work[axis] // one.tile[axis]) for axis in axes if axis in one.tile)
    if told := beyond(tiles, LISTED, of="tiles", instead="take larger ones"):
        yield "tile", told
    for axis, size in one.tile.items():
        if axis not in axes:
            yield f"tile.{axis}", f"{op.kind} has no such axis; {guess(axis, axes, otherwise='axes are')}"
        elif size > op.work[axis]:
            yield f"tile.{axis}", f"{size} of an extent of {op.work[axis]} in '{op.name}'; expected at most that"


def refuse_tile_beyond_memory(asked: Product, nest: Nest, room: Entries[str, int], singles: Singles) -> None:
    """Raises MappingError where the places for the tiles of an op alone have no such room in a memory."""
    for memory, demand in singles.demand(nest, asked.results[0]).items():
        if demand > room[memory]:
            tile = ", ".join(f"{axis} {size}" for axis, size in nest.tile.items())
            raise MappingError(
                f"its tile of {tile} has no room with buffers: {asked.buffers}",
                where=f"op '{asked.op.name}'", resource=f"room in '{memory}'", demand=demand,
                capacity=room[memory], dimension="bytes",
                ways_out=("a smaller tile", "fewer buffers", "a larger capacity"),
            )  # fmt: skip


def refuse_weights_ahead(asked: Product, nest: Nest, singles: Singles) -> None:
    """Raises MappingError where the tiles of weights that are loaded ahead have no room beside the op before."""
    for memory, demand in singles.before(nest).items() if asked.ahead else ():
        if demand > asked.before.get(memory, demand):
            tile = ", ".join(f"{axis} {size}" for axis, size in nest.tile.items())
            raise MappingError(
                f"weights of its tile of {tile}, which are loaded ahead, have no room beside the op before",
                where=f"op '{asked.op.name}'", resource=f"room in '{memory}'", demand=demand,
                capacity=asked.before[memory], dimension="bytes",
                ways_out=("ahead: op", "a smaller tile", "fewer buffers", "a larger capacity"),
            )  # fmt: skip
