"""Ops that are not products: whole or row by row where all comes over one hop, else in pieces that stream.

Knows one op at a time. Does not know the order of ops.
"""

from __future__ import annotations

from math import prod

from dataflow.graph import Op
from dataflow.op import OP_KINDS, Box, Work, computes, work
from dataflow.role import Role
from mappers.build.op_builder import OpBuilder, Operand


def add_op(
    builder: OpBuilder, op: Op, name: str, unit: str, operands: list[Operand], results: list[Operand], *,
    after: list[str],
) -> list[str]:  # fmt: skip
    """Adds the op in pieces where its operands pass a memory on the way or what it makes leaves, else whole."""
    moved = any(one.role is not Role.CACHE for one in results)
    if moved or any(len(one.way) > 1 for one in (*operands, *results)):
        return builder.streamed(op, name, unit, operands, results, after=after)
    return _whole(builder, op, name, unit, operands, results, after)


def _whole(
    builder: OpBuilder, op: Op, name: str, unit: str, operands: list[Operand], rows: list[Operand],
    after: list[str],
) -> list[str]:  # fmt: skip
    """Adds the op, row by row, after its operands are loaded whole and before new rows of its cache are stored."""
    loads: list[str] = []
    for operand in operands:
        builder.part = builder.part_of_load(operand.role)
        load = builder.load_name(name, operand, operands)
        builder.task(load, operand.way[0], work("read", bytes=operand.size), role=operand.role)
        loads.append(builder.call(load, [*after, *builder.stores_before(op, operand)]))
    builder.part = op.kind
    count, each = _row_by_row(op)
    builder.compute(name, [(each, count)], [*after, *loads], unit=unit, op=name, tiles=_tiles(op))
    for one in rows:
        builder.leave(op, name, one, 0)
    return [name]


def _row_by_row(op: Op) -> tuple[int, Work]:
    """One firing for each row; attention is one firing, because its rows see different numbers of keys."""
    kind = OP_KINDS[op.kind]
    if not kind.rows:
        return 1, op.work
    row = {name: 1 if name in kind.rows else op.work[name] for name in kind.extents}
    return prod(op.work[name] for name in kind.rows), op.work.part(**row)


def _tiles(op: Op) -> tuple[Box, ...]:
    """A tile for each row; none where the kind has no tiles, or computes nothing."""
    kind = OP_KINDS[op.kind]
    if kind.tile is None or not computes(op.work):
        return ()
    return (tuple(range(0, op.work[axis], 1 if axis in kind.rows else op.work[axis]) for axis in kind.axes),)
