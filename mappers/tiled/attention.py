"""Attention in three passes on units side by side: scores and sums on one, the softmax between them on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from archsim.design.design import Design
from dataflow.graph import Op
from dataflow.kinds.attention import THREE_PASSES
from dataflow.mask import EVERY_KEY
from dataflow.op import Work
from dataflow.pattern import sequence
from dataflow.role import Role
from dataflow.section import Section
from mappers.build.op_builder import OVERLAPPED, Operand
from mappers.build.pieces import PLACES, OpPiece, even
from mappers.build.placement import nearest_memory
from mappers.tiled.builder import TiledBuilder
from mappers.tiled.gang import servers_of
from mappers.tiled.turns import Turn

SCORES, SOFTMAX, SUMS = THREE_PASSES


def in_passes(design: Design) -> bool:
    """True where no unit does attention whole and some unit does its first pass."""
    does = {kind for unit in design.units.values() for kind in unit.does}
    return "attention" not in does and SCORES in does


@dataclass(frozen=True, slots=True)
class _Passes:
    """The units of the passes as one that does attention, a piece at a time; the passes of several pieces overlap."""

    builder: TiledBuilder
    products: str
    softmax: str
    count: int = 1
    latency_cycles: int = 0
    does: tuple[str, ...] = ("attention",)

    def cycles(self, work: Work, servers: int = 1) -> int:
        """Cycles of the slower unit."""
        units = self.builder.design.units
        products, softmax = units[self.products], units[self.softmax]
        first, last = replace(work, kind=SCORES), replace(work, kind=SUMS)
        together = servers_of(products, first)
        both = products.cycles(first, together) + products.cycles(last, together)
        return max(both, softmax.cycles(replace(work, kind=SOFTMAX)))


def add_attention(builder: TiledBuilder, op: Op, name: str, *, after: Sequence[str]) -> list[str]:
    """Adds attention in pieces, each of which passes both units. Returns the calls after which the next op may begin.

    The scores of a piece lie in the memory nearest to the array until they have been summed up. Where keys are cut, the
    sums of a piece are corrected as later ones come, which is not counted.
    """
    where = f"op '{op.name}'"
    products, softmax = builder.unit_for(SCORES, where), builder.unit_for(SOFTMAX, where)
    operands, results = builder.operands(op, products), builder.results(op, products)
    spilled = [one for one in results if one.role is not Role.CACHE]
    pieces = _pieces(builder, op, [*operands, *spilled], _Passes(builder, products, softmax), bool(spilled))
    builder.part = op.kind
    scores, weights = f"{name} scores", f"{name} softmax"
    together = servers_of(builder.design.units[products], replace(op.work, kind=SCORES))
    firsts = [
        builder.compute(
            task, [(replace(item, kind=kind), n) for item, _, n in pieces], before, unit=unit, op=name,
            servers=together if unit == products else 1,
        )
        for task, kind, unit, before in (
            (scores, SCORES, products, after), (weights, SOFTMAX, softmax, ()), (name, SUMS, products, ())
        )
    ]  # fmt: skip
    count = sum(n for _, _, n in pieces)
    size = builder.graph.tensors[op.inputs[0]].format.bytes((max(item.elements for item, _, _ in pieces),))
    for (first, giver), (second, taker) in pairwise(zip(firsts, (scores, weights, name), strict=True)):
        builder.stream(
            giver, taker, PLACES, gives=sequence((0, first), (1, count)), takes=sequence((0, second), (1, count)),
            token_bytes=size, memory=nearest_memory(builder.design, products, Role.ACTIVATION, where),
        )  # fmt: skip
    # The sums of a piece run after the scores of the next one, so that its softmax runs beside these.
    builder.together.append((Turn(scores, 0, 1), Turn(name, 1, 1)))
    _bring(builder, op, name, scores, operands, pieces, firsts[0], after)
    stores = [(one, builder.leave(op, name, one, firsts[2])) for one in results]
    return [name, *(store for one, store in stores if one.role is not Role.CACHE)]


def told_of_attention(sections: Sequence[Section]) -> Iterator[str]:
    """How attention in passes is simplified."""
    works = [item for section in sections for task in section.tasks for item, _ in task.work if item.kind == SUMS]
    if any(item.mask is not None and item.mask != EVERY_KEY and item["queries"] > 1 for item in works):
        yield "attention on an array takes the whole rectangle of queries and keys: what a mask hides is not skipped"
    if works:
        yield "attention in pieces of keys: the correction of sums as later keys come takes no time"


def _pieces(
    builder: TiledBuilder, op: Op, passing: Sequence[Operand], passes: _Passes, stored: bool
) -> Sequence[OpPiece]:
    """The pieces; without operands that pass a memory one for each KV head of a sequence, so that passes overlap."""
    if passing:
        return builder.pieces(op, passing, passes, least=OVERLAPPED if stored else 1)[0]
    whole, parts = op.work, op.work["batch"] * op.work["kv_heads"]
    sizes = {name: whole[name] for name in ("queries", "keys", "qk_dim", "v_dim")}
    one = whole.part(whole.mask, heads=whole["heads"] // whole["kv_heads"], kv_heads=1, **sizes)
    return [(one, 0, parts)]


def _bring(
    builder: TiledBuilder, op: Op, name: str, reader: str, operands: Sequence[Operand], pieces: Sequence[OpPiece],
    first: int, after: Sequence[str],
) -> None:  # fmt: skip
    """Adds the loads of queries, keys and values: the largest of them by pieces, the others as evenly as they go."""
    firings = sum(n for _, _, n in pieces)
    largest = max(operands, key=lambda one: one.size, default=None)
    for operand in operands:
        parts = even(operand.size, firings)
        if operand is largest and any(size for _, size, _ in pieces):
            parts = [(size, n) for _, size, n in pieces if size]
        load = builder.load_name(name, operand, operands)
        builder.part = builder.part_of_load(operand.role)
        read = [(1, size, n) for size, n in parts]
        builder.bring(load, operand.way, read, reader, ahead=first, role=operand.role)
        builder.call(load, [*after, *builder.stores_before(op, operand)])
