"""Whether the fused groups of a mapping can run together on a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Entries
from typing import TypeVar

from archsim.errors import MappingError
from archsim.mapping import Mapping
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS
from mappers.build.layers import Group, key_of, name_within
from mappers.tiled.builder import TiledBuilder
from mappers.tiled.fused import Cut, groups_of, shape_of, whole_rows
from mappers.tiled.operands import PRODUCTS

T = TypeVar("T")
Misfits = Iterator[tuple[str, str]]  # paths in the mapping, and what is wrong there
SHARED = "ops of a group share their outermost loop, over rows"


def misfits_of_groups(mapping: Mapping, graph: Graph, groups: Sequence[Group]) -> Misfits:
    """Paths of fused groups, and what is wrong there."""
    keys = [key_of(op, scopes) for ops, scopes in groups for op in ops]
    for place, group in enumerate(mapping.fuse):
        for i, key in enumerate(group.ops):
            named = [op for op in graph.ops.values() if mapping.names(key, op)]
            if not named or all(OP_KINDS[op.kind].free for op in named):
                yield f"fuse.{place}.ops.{i}", not_named(key, named, graph, keys)
        here = {op.name for op in graph.ops.values() if any(mapping.names(key, op) for key in group.ops)}
        yield from ((f"fuse.{place}", told) for _, told in uneven(groups, here.__contains__))
    taken: dict[str, int] = {}
    sections: dict[int, str] = {}
    for ops, _ in groups:
        for place, members in groups_of(mapping, ops).items():
            where = f"fuse.{place}"
            if (other := sections.setdefault(place, members[0].name)) != members[0].name:
                told = f"names '{other}' and '{members[0].name}', which repeat apart"
                yield where, f"{told}; give each a group of its own"
            if len(members) == 1:
                yield where, f"'{members[0].name}' would run alone; name two ops at least that follow one another"
            yield from ((where, told) for told in _apart(ops, members))
            yield from ((where, told) for told in _through(graph, members))
            yield from _unlike(where, mapping, place, members)
            for op in members:
                if taken.setdefault(op.name, place) != place:
                    yield where, f"'{op.name}' is in fuse.{taken[op.name]} too; name it once"


def _through(graph: Graph, members: Sequence[Op]) -> Iterator[str]:
    """Ops that read what another makes by way of an op that needs no unit: its rows are others."""
    made = {op.name for op in members}
    for op in members:
        for name in op.inputs:
            behind = name
            while behind in graph.ops and OP_KINDS[graph.ops[behind].kind].free:
                behind = graph.ops[behind].inputs[0]
            if behind != name and behind in made:
                yield f"'{op.name}' reads '{name}', a part of what '{behind}' makes; leave one of the two out"


def not_named(key: str, named: Sequence[Op], graph: Graph, keys: Sequence[str]) -> str:
    """What is wrong with a key that names no op, or `named` ones that need no unit; `keys` are right ones."""
    if named:
        return f"'{named[0].name}' is {named[0].kind}, which needs no unit; leave it out"
    return f"names no op of '{graph.name}'; {guess(key, keys, otherwise='ops are')}"


def uneven(groups: Sequence[Group], said: Callable[[str], T]) -> Iterator[tuple[T, str]]:
    """Ops of which is `said`, by name, in some layers of several that repeat what is not in others: it, and the words.

    What is said is false where nothing is.
    """
    for ops, scopes in groups:
        for op in ops:
            names = {said(scope + name_within(op)): scope + name_within(op) for scope in scopes}
            if len(names) > 1:
                one = next(what for what in names if what)
                other = next(name for what, name in names.items() if what != one)
                told = f"names '{names[one]}' and not '{other}'; layers that repeat run alike"
                yield one, f"{told}; write {key_of(op, scopes)}"


def refuse_group_beyond_memory(builder: TiledBuilder, ops: Sequence[Op], cut: Cut, taken: Entries[str, int]) -> None:
    """Raises MappingError where what passes between the ops of a group has no room in a memory."""
    for memory, demand in taken.items():
        if memory and demand > (room := builder.room_for_tiles(memory)):
            columns = "" if cut.columns is None else f" and {cut.columns} columns"
            raise MappingError(
                f"{cut.rows} rows{columns} of what passes between the ops of a group have no room",
                where=f"op '{ops[0].name}'", resource=f"room in '{memory}'", demand=demand, capacity=room,
                dimension="bytes", ways_out=("fewer rows", "fewer buffers", "a larger capacity"),
            )  # fmt: skip


def _apart(ops: Sequence[Op], members: Sequence[Op]) -> Iterator[str]:
    """Ops that stand between those of a group."""
    named = [op.name for op in members]
    first, last = (next(i for i, op in enumerate(ops) if op.name == name) for name in (named[0], named[-1]))
    if between := [op.name for op in ops[first : last + 1] if op.name not in named]:
        yield f"'{between[0]}' runs between '{named[0]}' and '{named[-1]}'; name it too, or fewer ops"


def _unlike(where: str, mapping: Mapping, place: int, members: Sequence[Op]) -> Misfits:
    """Ops that share no outer extent with the others of their group, and sizes beyond it."""
    shapes = {op.name: shape_of(op) for op in members}
    if alone := next((op for op in members if shapes[op.name] is None), None):
        yield where, f"'{alone.name}' is {alone.kind}, whose rows are not independent; {SHARED}"
        return
    (first, (total, _)), *others = ((name, shape) for name, shape in shapes.items() if shape)
    for name, (rows, _) in others:
        if rows != total:
            yield where, f"'{first}' has {total} rows, '{name}' {rows}; {SHARED}"
    group = mapping.fuse[place]
    if group.columns is not None and (why := whole_rows(members)):
        yield f"{where}.columns", f"{why}; leave columns out"
    for op in members:
        if op.kind in PRODUCTS:
            yield from _turned_otherwise(mapping, op, place)


def _turned_otherwise(mapping: Mapping, op: Op, place: int) -> Misfits:
    """What the mapping says of a product against its group."""
    key, entry, group = mapping.key_of(op), mapping.entry(op), mapping.fuse[place]
    whole = {axis: op.work[axis] for axis in ("m", "k", "n")}
    tile, where = mapping.tile_of(op), f"ops.{key}.tile" if entry.tile else "tile"
    outer = [axis for axis in entry.order or () if axis in whole and tile.get(axis, whole[axis]) < whole[axis]]
    own = [axis for axis in outer if axis == "k" or (axis == "n" and group.columns is None)]
    if own and "m" in outer[outer.index(own[0]) :]:
        yield f"ops.{key}.order", f"{own[0]} turns outside m; {SHARED.replace('a group', f'fuse.{place}')}"
    if entry.ahead == "next_op":
        yield f"ops.{key}.ahead", f"next_op, and loads of fuse.{place} begin with it; leave ahead out"
    for axis, what, size in (("m", "rows", group.rows), ("n", "columns", group.columns)):
        turned = size and min(size, whole[axis])
        # Of whole rows each product cuts its own columns.
        if axis in tile and tile[axis] != turned and not (axis == "n" and size is None and group.rows is not None):
            turns = f"turns by {turned} {what}" if turned else f"chooses its {what}"
            yield f"{where}.{axis}", f"{tile[axis]}, and fuse.{place} {turns}; give {what}: {tile[axis]} there"
