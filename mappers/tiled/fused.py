"""Fused groups: ops that run together, some rows at a time, so that what passes between them is never there whole.

Knows ops whose rows are independent: products by m, and ops of rows. Does not choose how many rows pass at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Mapping, OpMapping
from archsim.units import Memory
from archsim.units.unit import ceil_div
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Box, Work, computes
from dataflow.pattern import Pattern, repeating
from dataflow.role import Role
from mappers.build.layers import Group, key_of, name_within
from mappers.build.op_builder import QUEUES, Operand
from mappers.build.pieces import chunks
from mappers.build.placement import path_of
from mappers.tiled.builder import TiledBuilder, at_begins, at_ends
from mappers.tiled.nest import Nest
from mappers.tiled.operands import PRODUCTS, Moved
from mappers.tiled.turns import Turn, launches_of

MOST_HALVINGS = 6  # finer than in 64 parts weights come again too often


class Member(NamedTuple):
    """An op of a group on its unit; of a product how it is mapped and what moves, of another op no mapping."""

    op: Op
    unit: str
    mapped: OpMapping | None
    moved: Sequence[Moved]

    @property
    def name(self) -> str:
        """The name within the layer."""
        return name_within(self.op)


class Rows(NamedTuple):
    """How many rows pass a group of ops at a time."""

    ops: tuple[str, ...]
    at_once: int
    total: int

    def __str__(self) -> str:
        """As people read it."""
        return f"fused: {', '.join(self.ops)}: {ceil_div(self.total, self.at_once)} x {self.at_once} rows"


def groups_of(mapping: Mapping, ops: Sequence[Op]) -> dict[int, list[Op]]:
    """The ops of a section that run together, by the places of their groups in the mapping."""
    found = {
        place: [op for op in ops if any(mapping.names(key, op) for key in group.ops)]
        for place, group in enumerate(mapping.fuse)
    }
    return {place: members for place, members in found.items() if members}


def passing_of(mapping: Mapping, graph: Graph, groups: Sequence[Group]) -> set[str]:
    """The tensors that only ops of the group read in which they are made: in all layers."""
    if not mapping.fuse:
        return set()
    readers: dict[str, set[str]] = {}
    for op in graph.ops.values():
        for name in op.inputs:
            readers.setdefault(name, set()).add(op.name)
    found: set[str] = set()
    for ops, scopes in groups:
        for members in groups_of(mapping, ops).values():
            for scope in scopes:
                here = {scope + name_within(op) for op in members}
                found |= {name for name in here if readers.get(name) and readers[name] <= here}
    return found


def rows_of(op: Op) -> int | None:
    """The independent rows of an op; None where it has none."""
    kind = OP_KINDS[op.kind]
    if op.kind in PRODUCTS:
        batched = op.kind == "matmul" and op.work["batch"] > 1
        return None if batched else op.work["m"]
    return op.work["rows"] if kind.rows == ("rows",) and kind.elementwise else None


def halves(total: int) -> list[int]:
    """Rows at a time: all, half, a quarter and so on.

    >>> halves(20)
    [20, 10, 5, 3, 2, 1]
    """
    return list(dict.fromkeys(ceil_div(total, 1 << times) for times in range(MOST_HALVINGS + 1)))


def misfits_of_groups(mapping: Mapping, graph: Graph, groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """Paths of fused groups, and what is wrong there."""
    names = [key_of(op, scopes) for ops, scopes in groups for op in ops]
    every = [op for ops, _ in groups for op in ops]
    for place, group in enumerate(mapping.fuse):
        for i, key in enumerate(group.ops):
            if not any(mapping.names(key, op) for op in every):
                yield (
                    f"fuse.{place}.ops.{i}",
                    f"names no op of '{graph.name}'; {guess(key, names, otherwise='ops are')}",
                )
    taken: dict[str, int] = {}
    for ops, _ in groups:
        for place, members in groups_of(mapping, ops).items():
            where = f"fuse.{place}"
            if len(members) == 1:
                yield where, f"'{members[0].name}' would run alone; name two ops at least that follow one another"
            yield from ((where, told) for told in _apart(ops, members))
            yield from _without_rows(where, mapping, place, members)
            for op in members:
                if taken.setdefault(op.name, place) != place:
                    yield where, f"'{op.name}' is in fuse.{taken[op.name]} too; name it once"


def _apart(ops: Sequence[Op], members: Sequence[Op]) -> Iterator[str]:
    """Ops that stand between those of a group."""
    named = [op.name for op in members]
    first, last = (next(i for i, op in enumerate(ops) if op.name == name) for name in (named[0], named[-1]))
    if between := [op.name for op in ops[first : last + 1] if op.name not in named]:
        yield f"'{between[0]}' runs between '{named[0]}' and '{named[-1]}'; name it too, or fewer ops"


def _without_rows(where: str, mapping: Mapping, place: int, members: Sequence[Op]) -> Iterator[tuple[str, str]]:
    """Ops that share no outer extent with the others of their group."""
    first, shared = members[0], "ops of a group share their outermost loop, over rows"
    if alone := next((op for op in members if rows_of(op) is None), None):
        yield where, f"'{alone.name}' is {alone.kind}, whose rows are not independent; {shared}"
        return
    for op in members[1:]:
        if rows_of(op) != rows_of(first):
            yield where, f"'{first.name}' has {rows_of(first)} rows, '{op.name}' {rows_of(op)}; {shared}"
    rows, total = mapping.fuse[place].rows, rows_of(first) or 0
    if rows is not None and rows > total:
        yield f"{where}.rows", f"{rows} of {total} rows in '{first.name}'; expected at most that"
    for op in members:
        if op.kind in PRODUCTS:
            yield from _turned_otherwise(mapping, op, place)


def _turned_otherwise(mapping: Mapping, op: Op, place: int) -> Iterator[tuple[str, str]]:
    """What the entry of a product says against its group."""
    key = next((key for key in mapping.ops if mapping.names(key, op)), "")
    entry, rows = mapping.entry(op), mapping.fuse[place].rows
    outer = [axis for axis in entry.order or () if axis != "batch" and entry.tile.get(axis, 0) < op.work[axis]]
    if outer and outer[0] != "m" and (rows is None or rows < op.work["m"]):
        yield (
            f"ops.{key}.order",
            f"{outer[0]} turns outside m; ops of fuse.{place} share their outermost loop, over rows",
        )
    given = entry.tile.get("m", rows)
    if given != rows:
        turns = f"turns by {rows} rows" if rows else "chooses its rows"
        yield f"ops.{key}.tile.m", f"{given}, and fuse.{place} {turns}; give rows: {given} there"


def between(builder: TiledBuilder, members: Sequence[Member], rows: int, *, buffers: int) -> dict[str, int]:
    """Bytes, by memory, of so many rows of all that passes between the members, and of what ops of rows move."""
    found: dict[str, int] = {}
    lags, inside = lags_of(members, buffers), {member.name for member in members}
    for member in members:
        memory, whole = nearest(builder.design, member), rows_of(member.op) or 1
        if readers := [one for one in members if member.op.name in one.op.inputs]:
            size = _places(lags, member, readers, buffers) * _bytes(builder.graph, member.op.name, rows, whole)
            found[memory] = found.get(memory, 0) + size
        if member.op.kind in PRODUCTS:
            continue
        moved = builder.operands(member.op, member.unit, passing=inside) + builder.results(member.op, member.unit)
        for one in moved:
            size = one.size if _at_once(one) else ceil_div(one.size * rows, whole)
            for hop in one.way[1:]:
                found[hop] = found.get(hop, 0) + QUEUES * builder.lying.queue_places * size
    return found


def lags_of(members: Sequence[Member], buffers: int) -> dict[str, int]:
    """How many rounds each member is behind the first ones: one more wherever rows go on to another unit.

    With one place for rows nothing runs ahead.
    """
    found: dict[str, int] = {}
    units = {member.op.name: member.unit for member in members}
    for member in members:
        before = [name for name in member.op.inputs if name in found]
        moved = [found[name] + (buffers > 1 and units[name] != member.unit) for name in before]
        found[member.op.name] = max(moved, default=0)
    return found


def _places(lags: dict[str, int], member: Member, readers: Sequence[Member], buffers: int) -> int:
    """Places for the rows that a member makes: as many as lie between its turn and that of its last reader."""
    return max(buffers, *(lags[one.op.name] - lags[member.op.name] + 1 for one in readers))


def _bytes(graph: Graph, name: str, rows: int, whole: int) -> int:
    return ceil_div(graph.tensors[name].bytes * rows, whole)


def nearest(design: Design, member: Member) -> str:
    """The memory nearest to a unit; empty where its path is ideal."""
    path = path_of(design, member.unit, Role.ACTIVATION, f"op '{member.op.name}'")
    return next((hop for hop in path if isinstance(design.units[hop], Memory)), "")


def add_fused(
    builder: TiledBuilder, members: Sequence[Member], rows: int, *, buffers: int, after: Sequence[str]
) -> list[str]:  # fmt: skip
    """Adds the ops of a group, each `rows` rows at a time in its turn. Returns the calls to wait for.

    Rows that pass from one op to another lie on chip, in `buffers` places or as many as the turns need. Raises
    MappingError for units without a nearest memory in common.
    """
    near = {member.unit: nearest(builder.design, member) for member in members}
    if len(set(near.values())) > 1:
        told = "; ".join(f"'{unit}' reads {memory or 'nothing'}" for unit, memory in near.items())
        raise MappingError(
            f"ops that run together pass rows through the memory nearest to their units; {told}",
            where=f"op '{members[0].op.name}'", ways_out=("one memory nearest to these units", "fuse: none"),
        )  # fmt: skip
    done = [call for member in members for call in _add(builder, members, member, rows, after)]
    lags = lags_of(members, buffers)
    rounds = ceil_div(rows_of(members[0].op) or 1, rows)
    for member in members:
        readers = [one for one in members if member.op.name in one.op.inputs]
        if readers:
            _join(builder, member, readers, rounds, rows, _places(lags, member, readers, buffers), near[member.unit])
    turns = tuple(
        Turn(one.name, lags[one.op.name], _firings(builder, one.name) // rounds) for one in members
    )  # fmt: skip
    builder.together.append(turns)
    return done


def _firings(builder: TiledBuilder, name: str) -> int:
    """The firings of a task but its launches."""
    return builder.tasks[name].firings - launches_of(builder.tasks[name])


def _add(
    builder: TiledBuilder, members: Sequence[Member], member: Member, rows: int, after: Sequence[str]
) -> list[str]:  # fmt: skip
    """Adds one op, with what it reads from outside the group and what it makes for ops outside."""
    op, name, unit = member.op, member.name, member.unit
    made = {one.op.name for one in members}
    if member.mapped is not None:
        one = member.mapped
        nest = Nest({axis: op.work[axis] for axis in OP_KINDS[op.kind].axes}, one.tile, one.order)
        moved = [each for each in member.moved if each.made or each.tensor not in made]
        return builder.tiled(
            op, name, unit, moved, nest, servers=one.servers, buffers=one.buffers, results=one.results, after=after,
            early=None,
        )  # fmt: skip
    operands = builder.operands(op, unit, passing={one.name for one in members})
    return _by_rows(builder, op, name, unit, operands, rows, after)


def _by_rows(
    builder: TiledBuilder, op: Op, name: str, unit: str, operands: Sequence[Operand], rows: int, after: Sequence[str]
) -> list[str]:  # fmt: skip
    """Adds an op of rows: what it reads of weights whole before the first rows, the rest as they pass."""
    parts, whole = chunks(op.work["rows"], rows), op.work["rows"]
    builder.part = op.kind
    runs = [(_with_rows(op, size), n) for size, n in parts]
    first = builder.compute(name, runs, after, unit=unit, op=name, tiles=_tiles(op, parts))
    for operand in operands:
        load = builder.load_name(name, operand, operands)
        builder.part = builder.part_of_load(operand.role)
        pieces = [(1, operand.size, 1)] if _at_once(operand) else _by_share(operand.size, parts, whole)
        flow = f"{name} {operand.flow}"
        builder.bring(load, operand.way, pieces, name, ahead=first, role=operand.role, flow=flow)
        builder.call(load, [*after, *builder.stores_before(op, operand)])
    results = [one for one in builder.results(op, unit) if one.size]
    stores = [(one, builder.leave(op, name, one, first, own=f"{name} ")) for one in results]
    return [name, *(store for one, store in stores if one.role is not Role.CACHE)]


def _at_once(operand: Operand) -> bool:
    """True for what every row needs whole."""
    return operand.role.learned and not operand.role.gathered


def _tiles(op: Op, parts: Sequence[tuple[int, int]]) -> tuple[Box, ...]:
    """The tiles of an op in parts of its rows; none where the kind has no tiles, or computes nothing."""
    kind = OP_KINDS[op.kind]
    if kind.tile is None or not computes(op.work):
        return ()
    whole = tuple(range(0, op.work[axis], op.work[axis]) for axis in kind.axes[1:])
    starts = accumulate((size * n for size, n in parts), initial=0)
    along = [range(start, start + size * n, size) for start, (size, n) in zip(starts, parts, strict=False)]
    return tuple((one, *whole) for one in along)


def _with_rows(op: Op, rows: int) -> Work:
    names = OP_KINDS[op.kind].extents
    sizes = tuple(rows if name == "rows" else n for name, n in zip(names, op.work.extents, strict=True))
    return replace(op.work, extents=sizes)


def _by_share(size: int, parts: Sequence[tuple[int, int]], whole: int) -> list[tuple[int, int, int]]:
    """Bytes in pieces by the rows of each part; the last piece takes what rounding leaves."""
    pieces, left = [], size
    for rows, n in parts:
        each = size * rows // whole
        pieces.append((1, each, n))
        left -= each * n
    if left:
        (_, each, n), *_ = pieces[-1:]
        pieces[-1:] = [(1, each, n - 1), (1, each + left, 1)]
    return [piece for piece in pieces if piece[2] and piece[1]]


def _join(
    builder: TiledBuilder, member: Member, readers: Sequence[Member], rounds: int, rows: int, places: int, memory: str
) -> None:  # fmt: skip
    """Joins an op with those that read its rows: in each round they begin when it has ended, and give a place back."""

    def tokens(task: str, at: Callable[[int, int, int], list[tuple[int, int]]]) -> Pattern[int]:
        """A token in each round, after the launches."""
        launches = launches_of(builder.tasks[task])
        return repeating((0, launches), *at(1, _firings(builder, task) // rounds, rounds))

    name, size = member.name, _bytes(builder.graph, member.op.name, rows, rows_of(member.op) or 1)
    first, *others = (one.name for one in readers)
    stream = f"{name} > {first} rows"
    builder.stream(
        name, first, places, gives=tokens(name, at_ends), takes=tokens(first, at_begins), token_bytes=size,
        memory=memory, name=stream,
    )  # fmt: skip
    for other in others:
        builder.also(stream, other, tokens(other, at_begins))
    # A place is taken from the first firing that makes its rows to the last one that reads them.
    for reader in (first, *others):
        builder.stream(
            reader, name, places, gives=tokens(reader, at_ends), takes=tokens(name, at_begins), initial=places,
            name=f"{name} freed, of {places}, by {reader}",
        )  # fmt: skip
