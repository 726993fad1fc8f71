"""Fused groups: ops that run together, a part of their rows and columns at a time, so that what passes between them is
never there whole.

Knows ops whose rows are independent: products by m, and ops of rows. Columns are cut too where no op needs whole rows.
Does not choose how large the parts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Mapping, OpMapping
from archsim.units.unit import ceil_div
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS
from dataflow.pattern import Pattern, repeating
from dataflow.role import Role
from mappers.build.layers import Group, name_within
from mappers.build.placement import nearest_memory
from mappers.tiled.builder import TiledBuilder, at_begins, at_ends
from mappers.tiled.nest import Nest
from mappers.tiled.operands import PRODUCTS, ROWS_D, Moved
from mappers.tiled.product import lies_in, nest_of
from mappers.tiled.turns import Turn, launches_of

MOST_HALVINGS = 6  # finer than in 64 parts weights come again too often
FEW_HALVINGS = 4  # of a tile that serves one of the products, along each axis


@dataclass(frozen=True, slots=True)
class Cut:
    """How a group is cut: rows at a time, columns or all of them, and which of the two loops is the outer one."""

    rows: int
    columns: int | None = None
    columns_outside: bool = False

    @property
    def loops(self) -> tuple[str, ...]:
        """The outer loops of a product in the group."""
        if self.columns is None:
            return ("m",)
        return ("n", "m") if self.columns_outside else ("m", "n")

    def tile(self) -> dict[str, int]:
        """The extents of a product's tile that follow."""
        return {"m": self.rows} if self.columns is None else {"m": self.rows, "n": self.columns}

    def nest(self, op: Op) -> Nest:
        """The loops over an op of rows."""
        tile = {"rows": self.rows, "d": self.columns or op.work["d"]}
        order = ("d", "rows") if self.columns_outside else ROWS_D
        return Nest({axis: op.work[axis] for axis in ROWS_D}, tile, order)

    def rounds(self, op: Op) -> int:
        """How often the ops of the group take their turn; the same for each."""
        rows, columns = shape_of(op) or (1, 1)
        return ceil_div(rows, self.rows) * ceil_div(columns, self.columns or columns)


class Member(NamedTuple):
    """An op of a group on its unit, what moves, and of a product how it is mapped."""

    op: Op
    unit: str
    moved: Sequence[Moved]
    mapped: OpMapping | None = None

    @property
    def name(self) -> str:
        """The name within the layer."""
        return name_within(self.op)


class Together(NamedTuple):
    """A group as it was cut, for people and for the mapping."""

    ops: tuple[str, ...]
    cut: Cut
    rounds: int

    def __str__(self) -> str:
        """As people read it."""
        cut = self.cut
        across = "" if cut.columns is None else f" x {cut.columns} columns{' outside' if cut.columns_outside else ''}"
        return f"fused: {', '.join(self.ops)}: {self.rounds:,} times {cut.rows} rows{across}"


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


def shape_of(op: Op) -> tuple[int, int] | None:
    """The independent rows of an op, and its columns; None where it has none."""
    kind = OP_KINDS[op.kind]
    if op.kind in PRODUCTS:
        batched = op.kind == "matmul" and op.work["batch"] > 1
        return None if batched else (op.work["m"], op.work["n"])
    rowwise = kind.axes == ROWS_D and kind.elementwise and kind.tile is not None and op.kind != "embedding"
    return (op.work["rows"], op.work["d"]) if rowwise else None


def whole_rows(ops: Sequence[Op]) -> str:
    """Why the columns of a group cannot be cut; empty where they can."""
    made = {op.name for op in ops}
    for op in ops:
        if op.kind in PRODUCTS and made & {*op.inputs}:
            return f"'{op.name}' sums over whole rows of what passes"
        if op.kind not in PRODUCTS and not OP_KINDS[op.kind].pointwise:
            return f"'{op.name}' is {op.kind}, which needs whole rows"
    shapes = {shape[1]: op.name for op in ops if (shape := shape_of(op))}
    return "" if len(shapes) == 1 else f"{' and '.join(map(repr, shapes.values()))} differ in columns"


def cuts_of(
    ops: Sequence[Op], *, rows: int | None, columns: int | None, outside: bool | None, tiles: Iterable[Cut]
) -> list[Cut]:  # fmt: skip
    """The cuts worth a look, with what is given: whole rows in halves, and the tiles of the products in halves.

    `tiles` are cuts that would serve one of the products by itself.
    """
    total, width = shape_of(ops[0]) or (1, 1)
    if rows is not None or columns is not None or whole_rows(ops):
        rows = rows and min(rows, total)
        columns = columns and min(columns, width)
        turns = (False,) if columns is None else (False, True) if outside is None else (outside,)
        return [Cut(size, columns, out) for size in ([rows] if rows else halves(total)) for out in turns]
    found = {Cut(size): None for size in halves(total)}
    for one in tiles:
        assert one.columns is not None
        for down in halves(one.rows, FEW_HALVINGS):
            for across in halves(one.columns, FEW_HALVINGS):
                found[Cut(down, across, one.columns_outside)] = None
    return [*found]


def halves(total: int, times: int = MOST_HALVINGS) -> list[int]:
    """All, half, a quarter and so on.

    >>> halves(20)
    [20, 10, 5, 3, 2, 1]
    """
    return list(dict.fromkeys(ceil_div(total, 1 << time) for time in range(times + 1)))


def between(builder: TiledBuilder, members: Sequence[Member], cut: Cut, *, buffers: int) -> dict[str, int]:
    """Bytes, by memory, of all that passes between the members, and of what ops of rows move."""
    found: dict[str, int] = {}
    lags = lags_of(members, buffers)
    for member in members:
        if readers := [one for one in members if member.op.name in one.op.inputs]:
            memory = _nearest(builder.design, member)
            size = _places(lags, member, readers, buffers) * _bytes(builder.graph, member.op, cut)
            found[memory] = found.get(memory, 0) + size
        for one in () if member.op.kind in PRODUCTS else member.moved:
            memory, nest = lies_in(builder.design, one), cut.nest(member.op)
            found[memory] = found.get(memory, 0) + one.places(nest, buffers) * one.largest(nest)
    return found


def lags_of(members: Sequence[Member], buffers: int) -> dict[str, int]:
    """How many rounds each member is behind the first ones: one more wherever what passes goes on to another unit.

    With one place for it nothing runs ahead.
    """
    found: dict[str, int] = {}
    units = {member.op.name: member.unit for member in members}
    for member in members:
        before = [name for name in member.op.inputs if name in found]
        moved = [found[name] + (buffers > 1 and units[name] != member.unit) for name in before]
        found[member.op.name] = max(moved, default=0)
    return found


def _places(lags: dict[str, int], member: Member, readers: Sequence[Member], buffers: int) -> int:
    """Places for what a member makes in a round: as many as lie between its turn and that of its last reader."""
    return max(buffers, *(lags[one.op.name] - lags[member.op.name] + 1 for one in readers))


def _bytes(graph: Graph, op: Op, cut: Cut) -> int:
    """Bytes of what an op makes in a round."""
    _, columns = shape_of(op) or (1, 1)
    return graph.tensors[op.name].format.bytes((cut.rows, cut.columns or columns))


def _nearest(design: Design, member: Member) -> str:
    return nearest_memory(design, member.unit, Role.ACTIVATION, f"op '{member.op.name}'")


def add_fused(
    builder: TiledBuilder, members: Sequence[Member], cut: Cut, *, buffers: int, after: Sequence[str]
) -> list[str]:  # fmt: skip
    """Adds the ops of a group, each for a part at a time in its turn. Returns the calls to wait for.

    What passes from one op to another lies on chip, in `buffers` places or as many as the turns need. Raises
    MappingError for units without a nearest memory in common.
    """
    near = {member.unit: _nearest(builder.design, member) for member in members}
    if len(set(near.values())) > 1:
        told = "; ".join(f"'{unit}' reads {memory or 'nothing'}" for unit, memory in near.items())
        raise MappingError(
            f"ops that run together pass rows through the memory nearest to their units; {told}",
            where=f"op '{members[0].op.name}'", ways_out=("one memory nearest to these units", "fuse: none"),
        )  # fmt: skip
    done = [call for member in members for call in _add(builder, member, cut, buffers, after)]
    lags, rounds = lags_of(members, buffers), cut.rounds(members[0].op)
    for member in members:
        if readers := [one for one in members if member.op.name in one.op.inputs]:
            places = _places(lags, member, readers, buffers)
            _join(builder, member, readers, rounds, _bytes(builder.graph, member.op, cut), places, near[member.unit])
    builder.together.append(
        tuple(Turn(one.name, lags[one.op.name], _firings(builder, one.name) // rounds) for one in members)
    )
    return done


def _add(builder: TiledBuilder, member: Member, cut: Cut, buffers: int, after: Sequence[str]) -> list[str]:
    """Adds one op, with what it reads from outside the group and what it makes for ops outside."""
    op, one = member.op, member.mapped
    if one is None:
        nest, servers, results = cut.nest(op), 1, buffers
    else:
        nest = nest_of(op, one)
        servers, buffers, results = one.servers, one.buffers, one.results
    return builder.tiled(
        op, member.name, member.unit, member.moved, nest, servers=servers, buffers=buffers, results=results,
        after=after, early=None,
    )  # fmt: skip


def _firings(builder: TiledBuilder, name: str) -> int:
    """The firings of a task but its launches."""
    return builder.tasks[name].firings - launches_of(builder.tasks[name])


def _join(
    builder: TiledBuilder, member: Member, readers: Sequence[Member], rounds: int, size: int, places: int, memory: str
) -> None:  # fmt: skip
    """Joins an op with those that read what it makes: in each round they begin when it has ended, and free a place."""

    def tokens(task: str, at: Callable[[int, int, int], list[tuple[int, int]]]) -> Pattern[int]:
        """A token in each round, after the launches."""
        launches = launches_of(builder.tasks[task])
        return repeating((0, launches), *at(1, _firings(builder, task) // rounds, rounds))

    name = member.name
    first, *others = (one.name for one in readers)
    stream = f"{name} > {first} rows"
    builder.stream(
        name, first, places, gives=tokens(name, at_ends), takes=tokens(first, at_begins), token_bytes=size,
        memory=memory, name=stream,
    )  # fmt: skip
    for other in others:
        builder.also(stream, other, tokens(other, at_begins))
    # A place is taken from the first firing that makes a part to the last one that reads it.
    for reader in (first, *others):
        builder.stream(
            reader, name, places, gives=tokens(reader, at_ends), takes=tokens(name, at_begins), initial=places,
            name=f"{name} freed, of {places}, by {reader}",
        )  # fmt: skip
