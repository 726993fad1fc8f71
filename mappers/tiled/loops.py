"""Loops: how an op is mapped, as lines for people: its loops with what moves between them, and what that is estimated.

Knows nests and operands. Does not know how the mapping was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from archsim.mapping import OpMapping
from dataflow.graph import Op
from dataflow.tiling import TiledOperand, Tiling
from mappers.tiled.nest import Nest
from mappers.tiled.operands import Moved


class Planned(NamedTuple):
    """An op, or one of equal ones in several layers, as it is mapped; `cycles` and `bytes` are estimated for one."""

    op: Op
    layers: int
    mapping: OpMapping
    nest: Nest
    moved: Sequence[Moved]
    cycles: int
    bytes: int


def tiling_of(key: str, planned: Planned) -> Tiling:
    """The op as a report has it."""
    mapping, nest = planned.mapping, planned.nest
    operands = tuple(
        TiledOperand(one.tensor, str(one.role), one.way, one.again(nest), one.moved(nest)) for one in planned.moved
    )
    turning = tuple(axis for axis in nest.order if nest.trips[axis] > 1)
    return Tiling(
        key, mapping.unit, mapping.servers, mapping.tile, turning, nest.steps, operands, planned.cycles
    )  # fmt: skip


def told_of_sums(planned: Iterable[Planned]) -> Iterator[str]:
    """How sums that leave before they are complete are simplified."""
    formats = {one.format.name for each in planned for one in each.moved if one.made and one.again(each.nest) > 1}
    for name in sorted(formats):
        yield f"sums that leave before they are complete move in the format of the result, {name}"


def lines_of(key: str, planned: Planned) -> list[str]:
    """The op with those of its loops that turn; each operand stands in the loop in which its tile is another one."""
    mapping, nest = planned.mapping, planned.nest
    on = mapping.unit if mapping.servers == 1 else f"{mapping.servers} servers of {mapping.unit}"
    tiles = "1 tile" if nest.steps == 1 else f"{nest.steps:,} tiles"
    each = "" if planned.layers == 1 else f", in each of {planned.layers} layers"
    moved = f"{planned.bytes:,} B over all hops" if planned.moved else "nothing moves"
    title = f"{key} on {on}: {tiles}{each}; estimated: {planned.cycles:,} cycles, {moved}"
    turning = [axis for axis in nest.order if nest.trips[axis] > 1]
    return [title, *(f"  {line}" for line in _inside(planned, turning, 0))]


def _inside(planned: Planned, loops: Sequence[str], depth: int) -> Iterator[str]:
    """What is done inside so many loops: tiles come, the next loop turns or the tile is computed, tiles leave."""
    nest = planned.nest
    here = [one for one in planned.moved if sum(axis in loops for axis in nest.outside(one.axes)) == depth]
    for one in here:
        if not one.made:
            yield f"load {one.role} {one.tensor}, {' > '.join(one.way)}: {_amount(nest, one, one.again(nest))}"
        elif one.again(nest) > 1:
            back = one.again(nest) - 1
            yield f"load sums of {one.tensor}, {' > '.join(one.way)}: {_amount(nest, one, back)}"
    if depth < len(loops):
        axis = loops[depth]
        (size, _), *rest = nest.parts(axis)
        yield f"for {axis} in {nest.trips[axis]} x {size}" + (f", the last one {rest[0][0]}" if rest else "")
        yield from (f"  {line}" for line in _inside(planned, loops, depth + 1))
    else:
        yield f"{planned.op.kind} of {', '.join(f'{axis} {size}' for axis, size in nest.tile.items())}"
    for one in here:
        if one.made:
            way = " > ".join(reversed(one.way))
            yield f"store {one.role} {one.tensor}, {way}: {_amount(nest, one, one.again(nest))}"


def _amount(nest: Nest, one: Moved, times: int) -> str:
    """Tiles, their bytes, how often each comes or leaves, and the bytes in all over each hop."""
    shapes = nest.shapes(one.axes)
    tiles, once = sum(n for _, n in shapes), sum(one.bytes(sizes) * n for sizes, n in shapes)
    size = f"{tiles:,} tiles of {one.largest(nest):,} B" if tiles > 1 else f"{once:,} B"
    often = "once" if times == 1 else f"{times:,} times each" if tiles > 1 else f"{times:,} times"
    total = "" if tiles == times == 1 else f", {once * times:,} B in all"
    return f"{size}, {often}{total}"
