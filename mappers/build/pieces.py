"""Ops cut into pieces of their operands, so that the pieces stream through the memory on chip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from dataflow.graph import Op
from dataflow.op import OP_KINDS, Box, Work, computes, work

PLACES = 2  # of pieces between two stages
MOST_PIECES = 1024  # beyond, the first piece and the last are a thousandth of the whole
SLACK = 1000  # a larger piece may cost this part of the time: fewer pieces are fewer firings



class Worker(Protocol):
    """What does work in pieces: a unit, or several that pass them on."""

    @property
    def count(self) -> int:
        """Identical servers."""

    @property
    def latency_cycles(self) -> int:
        """Cycles from the end of a piece until it is there."""

    @property
    def does(self) -> tuple[str, ...]:
        """The op kinds that it does."""

    def cycles(self, work: Work, servers: int = 1) -> int:
        """Cycles of a piece."""


OpPiece = tuple[Work, int, int]  # work of a piece, bytes of the operands that it reads, how many such pieces


def chunks(total: int, size: int) -> list[tuple[int, int]]:
    """`total` in equal chunks and the rest: [(size, how many), (rest, 1)], empty ones left out.

    >>> chunks(10, 4), chunks(8, 4), chunks(3, 4)
    ([(4, 2), (2, 1)], [(4, 2)], [(3, 1)])
    """
    whole, rest = divmod(total, size)
    return [run for run in ((size, whole), (rest, 1)) if run[0] and run[1]]


def best_size(
    size: int, most: int, cut: Callable[[int], Sequence[OpPiece]], stages: Sequence[Worker], *, places: int = PLACES,
    beside: Sequence[Sequence[int]] = (),
) -> tuple[int, int]:  # fmt: skip
    """The bytes of a piece, at most `most`, with which `size` bytes pass the stages soonest; the largest of equals.

    With the cycles that this is estimated to take. `places`: of the queues of pieces.

    `cut` gives the pieces of a size; `stages` are the home, the hops inward and the unit that computes. `beside` has
    for each stage but the last the bytes of all else that passes it, in as many pieces. Sizes are the whole and its
    halves, quarters and so on, so that more room only adds to the choice. Equal is what differs by less than a part in
    SLACK.
    """
    sizes = dict.fromkeys(-(-size // (1 << halvings)) for halvings in range(MOST_PIECES.bit_length()))
    times: dict[int, int] = {}
    for one in sizes:
        if 0 < one <= most:
            pieces = cut(one)
            # Bytes are whole, so that the last of very small pieces would read nothing.
            if all(bytes_ for _, bytes_, _ in pieces):
                times[one] = _time(pieces, stages, places, beside)
    if not times:  # so little room that there are more than MOST_PIECES
        return most, _time(cut(most), stages, places, beside) // places
    least = min(times.values())
    chosen = next(one for one, time in times.items() if (time - least) * SLACK <= least)
    return chosen, times[chosen] // places


def _time(
    pieces: Sequence[OpPiece], stages: Sequence[Worker], places: int, beside: Sequence[Sequence[int]] = ()
) -> int:
    """Cycles, times the places of a queue, until all pieces have passed the stages one after another."""
    *carriers, unit = stages
    firings = sum(count for _, _, count in pieces)
    turns = [0] * len(carriers)  # of what a carrier serves beside a piece
    for i, sizes in enumerate(beside):
        turns[i] = sum(_carries(carriers[i], -(-size // firings)) for size in sizes)
    free = [0] * len(stages)  # when each stage can begin its next piece
    done = 0
    for item, size, count in pieces:
        own = [places * (_carries(c, size) + turn) for c, turn in zip(carriers, turns, strict=True)]
        own.append(places * unit.cycles(item))
        late = [places * c.latency_cycles for c in carriers]
        # A place is taken from the start of a piece in one stage to its end in the next, latency included.
        held = [(own[i] + late[i] + own[i + 1]) // places for i in range(len(carriers))]
        periods = [max(own[i] // stages[i].count, held[i]) for i in range(len(carriers))]
        periods.append(own[-1] // unit.count)
        walked = min(count, len(stages) + 1)  # from then on every piece takes a period of the slowest stage
        for _ in range(walked):
            arrives = 0
            for i in range(len(stages)):
                begins = max(arrives, free[i])
                free[i] = begins + periods[i]
                arrives = begins + own[i] + (late[i] if i < len(carriers) else 0)
            done = arrives
        rest = (count - walked) * max(periods)
        free, done = [time + rest for time in free], done + rest
    return done


def _carries(carrier: Worker, size: int) -> int:
    return carrier.cycles(work(carrier.does[0], bytes=size)) if size else 0


def cut(op: Op, size: int, most: int) -> tuple[list[OpPiece], tuple[Box, ...]]:
    """An op that is no product, cut so that each piece reads at most `most` of its `size` bytes; its tiles, if any.

    Where the kind cannot be cut, it is one piece.
    """
    if OP_KINDS[op.kind].rows == ("rows",) and size:
        return _cut_rows(op, size, most)
    if op.kind == "attention" and size:
        return _with_bytes(cut_attention(op.work, size, most), size), ()
    return [(op.work, size, 1)], ()


def _cut_rows(op: Op, size: int, most: int) -> tuple[list[OpPiece], tuple[Box, ...]]:
    """An op that works row by row, in stretches of rows."""
    rows, others = op.work["rows"], {name: op.work[name] for name in OP_KINDS[op.kind].extents if name != "rows"}
    each = max(1, most * rows // size)
    parts = [(op.work.part(rows=n, **others), n, times) for n, times in chunks(rows, each)]
    tiled = OP_KINDS[op.kind].tile is not None and computes(op.work)
    whole = tuple(range(0, op.work[axis], op.work[axis]) for axis in OP_KINDS[op.kind].axes[1:])
    return _with_bytes(parts, size), tuple((along, *whole) for along in _stretches(rows, each)) if tiled else ()


def cut_attention(whole: Work, size: int, most: int) -> list[OpPiece]:
    """Attention cut by KV heads and sequences, then along the keys that all queries see, with bytes by keys.

    The last keys of a causal mask, which each query sees in part, are cut along the queries; under a window so are all.
    """
    mask = whole.mask
    assert mask is not None
    queries, keys = whole["queries"], whole["keys"]
    heads, parts = whole["heads"] // whole["kv_heads"], whole["batch"] * whole["kv_heads"]
    one = {"heads": heads, "kv_heads": 1} | {name: whole[name] for name in ("qk_dim", "v_dim")}
    if size <= most * parts:  # a part is the keys and values of a KV head of a sequence
        together = chunks(parts, most * parts // size)
        seen = {"queries": queries, "keys": keys}
        return [(whole.part(mask, batch=n, **seen, **one), n * keys, times) for n, times in together]
    if queries == 1:
        shared, last = mask.pairs(1, keys), 0
    elif mask.window is not None:
        shared, last = 0, keys
    else:
        shared, last = (keys - queries, queries) if mask.causal else (keys, 0)
    each = max(1, most * parts * (shared + last) // size)  # keys of a piece
    pieces = [(whole.part(queries=queries, keys=n, **one), n, times * parts) for n, times in chunks(shared, each)]
    if not last:
        return pieces
    # Each stretch of queries has the keys that its queries see, beyond those that all see.
    rows = max(1, queries * each // last)
    for start in range(0, queries, rows):
        stop = min(queries, start + rows)
        first, beyond = mask.seen(start, queries=queries, keys=keys), mask.seen(stop - 1, queries=queries, keys=keys)
        own = beyond.stop - max(first.start, shared)
        item = whole.part(mask, queries=stop - start, keys=own, **one)
        pieces.append((item, last * stop // queries - last * start // queries, parts))
    return pieces


def _stretches(total: int, size: int) -> list[range]:
    """The ranges, in steps of a piece, of all whole pieces and of the rest.

    >>> _stretches(10, 4), _stretches(3, 4)
    ([range(0, 8, 4), range(8, 10, 2)], [range(0, 3, 3)])
    """
    whole = total // size * size
    return [range(start, stop, min(size, stop - start)) for start, stop in ((0, whole), (whole, total)) if stop > start]


def even(total: int, parts: int) -> list[tuple[int, int]]:
    """`total` in so many parts, as even as whole numbers allow and none empty: [(size, how many)], the larger first.

    >>> even(10, 4), even(3, 3), even(2, 3), even(0, 0)
    ([(3, 2), (2, 2)], [(1, 3)], [(1, 2)], [])
    """
    parts = min(parts, total)
    if not parts:
        return []
    each, larger = divmod(total, parts)
    return [(size, count) for size, count in ((each + 1, larger), (each, parts - larger)) if count]


def _with_bytes(parts: list[tuple[Work, int, int]], whole: int) -> list[OpPiece]:
    """The works with shares of the bytes, by the extents beside them, rounded up; the last get less."""
    found: list[OpPiece] = []
    total = sum(extent * count for _, extent, count in parts)
    # The shares must add up exactly: a law holds bytes read against bytes stored.
    left = whole
    for item, extent, count in parts:
        size = -(-whole * extent // total)
        fits = min(count, left // size) if size else count
        found += [(item, size, fits)] if fits else []
        left -= size * fits
        for _ in range(count - fits):
            found.append((item, min(size, left), 1))
            left -= min(size, left)
    return found
