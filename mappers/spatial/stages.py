"""Stages: what an op does on tiles of its own, token by token. Knows works and tiles of ops. Does not know servers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, product

from dataflow.graph import Graph, Op
from dataflow.kinds.attention import THREE_PASSES
from dataflow.op import OP_KINDS, Box, Work, computes
from dataflow.pattern import Pattern, sequence
from mappers.build.layers import name_within
from mappers.spatial.tokens import Tokens

PIECES = 32  # of a matrix: its columns come in so many at least, or fewer where it is small
LEAST_PIECE = 1 << 16  # bytes: a smaller piece would be more of a request than of data
PART = 128  # a piece takes such a part of all memory tiles at most
SAMPLES = 8  # tokens by which a stage is judged where they differ
ROWS = ("rows", "m", "queries")  # axes along which tokens follow one another


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a section with tiles of its own: an op, or a pass of attention.

    `parts` firings make a token; `runs` are the works of all firings, one after another, and `boxes` their tiles. A
    pass of attention may be `alone` in its section, so that memory lies between it and the others. `tail_of` names the
    stage on the tails of whose tiles it runs; empty for a stage with tiles of its own.
    """

    name: str
    op: Op
    kind: str
    parts: int
    runs: tuple[tuple[Work, int], ...]
    boxes: tuple[Box, ...]
    alone: bool = False
    tail_of: str = ""

    @property
    def last(self) -> bool:
        """True of what makes the result of its op: of attention the last pass."""
        return self.kind in (self.op.kind, THREE_PASSES[-1])

    @property
    def tokens(self) -> int:
        """Tokens that pass it."""
        tokens, rest = divmod(self.firings, self.parts)
        assert rest == 0, f"{self.name}: {self.firings} firings of {self.parts} parts"
        return tokens

    @property
    def firings(self) -> int:
        """Firings of all tokens."""
        return sum(n for _, n in self.runs)

    def samples(self) -> tuple[tuple[tuple[Work, int], ...], ...]:
        """The works of some tokens, evenly spread over all: of each, works and how many firings have them."""
        if len(self.runs) == 1:
            return (((self.runs[0][0], self.parts),),)
        ends, tokens = [*accumulate(n for _, n in self.runs)], self.tokens
        chosen = range(tokens) if tokens <= SAMPLES else [tokens * (2 * i + 1) // (2 * SAMPLES) for i in range(SAMPLES)]
        found = []
        for token in chosen:
            each: dict[Work, int] = {}
            for firing in range(token * self.parts, (token + 1) * self.parts):
                item = self.runs[bisect_right(ends, firing)][0]
                each[item] = each.get(item, 0) + 1
            found.append(tuple(each.items()))
        return tuple(found)


def tokens_of(op: Op, graph: Graph) -> tuple[int, int] | None:
    """Sequences and the rows of each that pass the op; None where it has no rows, so that it runs whole."""
    axes = OP_KINDS[op.kind].axes
    along = next((axis for axis in ROWS if axis in axes), None)
    if along is None or (op.kind != "attention" and op.work.mask is not None):
        return None
    if along == "queries":
        return op.work["batch"], op.work["queries"]
    if "batch" in axes and op.work["batch"] > 1:
        return None
    rows, batch = op.work[along], graph.phase.batch
    return (batch, rows // batch) if rows % batch == 0 else (1, rows)


def stages_of(op: Op, tokens: Tokens | None, *, pieces: int, sockets: int) -> list[Stage]:
    """The stages of an op. A product makes a token in so many `pieces` of its columns, attention head by head.

    Without tokens the op runs whole.
    """
    name, axes = name_within(op), OP_KINDS[op.kind].axes
    if tokens is None:
        return [Stage(name, op, op.kind, 1, ((op.work, 1),), ())]
    if op.kind == "attention":
        return _passes(op, name, tokens, sockets)
    along = next(axis for axis in ROWS if axis in axes)
    columns = axes[-1]
    step = -(-op.work[columns] // pieces)
    boxes = tuple(
        tuple(
            span if axis == along else range(0, op.work[axis], step if axis == columns else max(1, op.work[axis]))
            for axis in axes
        )
        for span in tokens.spans()
    )
    runs = _runs(
        op.work.part(**{axis: len(rows if axis == along else part) for axis, part in zip(axes, cut, strict=True)})
        for span, box in zip(tokens.spans(), boxes, strict=True)
        for rows in _cut(span)
        for cut in product(*(_cut(one) if axis != along else [rows] for axis, one in zip(axes, box, strict=True)))
    )
    # Only a firing with arithmetic has a tile.
    return [Stage(name, op, op.kind, len(range(0, op.work[columns], step)), runs, boxes if computes(op.work) else ())]


def _cut(along: range) -> list[range]:
    return [range(start, min(start + along.step, along.stop)) for start in along]


def _runs(works: Iterator[Work] | Sequence[Work]) -> tuple[tuple[Work, int], ...]:
    return tuple((item, len([*same])) for item, same in groupby(works))


def heads_at_once(op: Op, sockets: int) -> int:
    """KV heads of a firing of attention: one on each socket."""
    most = min(sockets, op.work["kv_heads"])
    return next(n for n in range(most, 0, -1) if op.work["kv_heads"] % n == 0)


def _passes(op: Op, name: str, tokens: Tokens, sockets: int) -> list[Stage]:
    """The three passes of attention, a firing for the heads of some KV heads, of the queries of a token.

    All keys that a query of the firing sees are in it, so that a row of scores is whole.
    """
    whole, mask, kv = op.work, op.work.mask, heads_at_once(op, sockets)
    assert mask is not None
    share, keys = whole["heads"] // whole["kv_heads"], whole["keys"]
    widths = {"qk_dim": whole["qk_dim"], "v_dim": whole["v_dim"]}
    groups = whole["kv_heads"] // kv
    boxes, works = [], []
    for rows in tokens.ranges():
        for one in range(rows.start // tokens.rows, -(-rows.stop // tokens.rows)):
            first = one * tokens.rows
            queries = range(max(rows.start - first, 0), min(rows.stop - first, tokens.rows))
            seen = [mask.seen(i, queries=tokens.rows, keys=keys) for i in (queries[0], queries[-1])]
            along = range(seen[0].start, seen[-1].stop)
            heads = range(0, whole["heads"], kv * share)
            boxes.append((range(one, one + 1), heads, _whole(queries), _whole(along)))
            item = whole.part(mask, heads=kv * share, kv_heads=kv, queries=len(queries), keys=len(along), **widths)
            works += [item] * groups
    parts = groups * max(1, tokens.sequences)
    return [
        Stage(
            name if kind == THREE_PASSES[-1] else f"{name} {kind.removeprefix('attention_')}", op, kind, parts,
            _runs([replace(item, kind=kind) for item in works]), tuple(boxes),
        )
        for kind in THREE_PASSES
    ]  # fmt: skip


def _whole(along: range) -> range:
    return range(along.start, along.stop, max(1, len(along)))


def once(stage: Stage) -> Pattern[int]:
    """One token with the first firing of each."""
    return sequence((1, 1), (0, stage.parts - 1))


def piece_of(size: int, room: int) -> int:
    """Bytes of a piece of a matrix, of so many bytes, where memory tiles hold `room` bytes together.

    >>> piece_of(1 << 24, room=1 << 29), piece_of(1 << 30, room=1 << 29), piece_of(1000, room=1 << 29)
    (524288, 4194304, 1000)
    """
    return min(size, max(LEAST_PIECE, min(-(-size // PIECES), room // PART)))
