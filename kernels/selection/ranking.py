"""Scores of queries against rows of a cache, and the highest of each row of scores.

Knows ties: the lower index wins. Does not know what a row stands for: a token, a page, a block.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kernels.machine_code import compiled

# From this many multiply-adds on, OpenBLAS splits one product over threads, which wait longer than they work where the
# cores are shared. Smaller products, many in one call, are as fast in one thread.
ONE_THREAD = 1 << 17
_THREADED = 1 << 20
_SAMPLED = 1 << 13
_STRIDE = 16
# One bin for each value of 12 bits.
_BINS = 4096


def scores_of(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return q . k of each query head and the rows of its KV head, float32 [heads, queries, rows].

    queries float32 [queries, heads, d], rows float32 [rows, kv_heads, d].

    >>> queries, rows = np.array([[[1, 2], [0, 1]]], dtype=np.float32), np.array([[[3, 4]]], dtype=np.float32)
    >>> scores_of(queries, rows).tolist()
    [[[11.0]], [[4.0]]]
    """
    count, heads, width = queries.shape
    kv_heads, number = rows.shape[1], len(rows)
    grouped = queries.transpose(1, 0, 2).reshape(kv_heads, heads // kv_heads * count, width)
    scores = np.empty((kv_heads, grouped.shape[1], number), dtype=np.float32)
    block = max(1, ONE_THREAD // (grouped.shape[1] * width))
    blocks, whole = number // block, number // block * block
    tiles = rows[:whole].reshape(blocks, block, kv_heads, width).transpose(2, 0, 3, 1)
    # Splitting the last axis gives a view, so that matmul writes into scores itself.
    into = scores[:, :, :whole].reshape(kv_heads, grouped.shape[1], blocks, block).transpose(0, 2, 1, 3)
    np.matmul(grouped[:, None], tiles, out=into)
    if whole < number:
        np.matmul(grouped, rows[whole:].transpose(1, 2, 0), out=scores[:, :, whole:])
    return scores.reshape(heads, count, number)


@compiled(nogil=True)
def _rank(bits: np.uint32) -> np.uint32:
    """Map the bits of a float32 to a number of the same order; -0 is 0."""
    # Negative floats order backwards as integers, so their bits are inverted; positive ones go above them.
    if bits >> np.uint32(31):
        return ~bits if bits != np.uint32(0x80000000) else bits
    return bits | np.uint32(0x80000000)


@compiled(nogil=True)
def _digit(bits: np.uint32, level: int) -> np.uint32:
    """Return the first 12, the next 12 or the last 8 bits of the rank."""
    rank = _rank(bits)
    if level == 0:
        return rank >> np.uint32(20)
    return (rank >> np.uint32(8)) & np.uint32(0xFFF) if level == 1 else rank & np.uint32(0xFF)


@compiled(nogil=True)
def _edge(histogram: np.ndarray, keep: int) -> tuple[int, int]:
    """Return the bin that holds the keep-th score from the top, and how many scores lie above that bin."""
    edge, above = _BINS - 1, 0
    while edge > 0 and above + histogram[edge] < keep:
        above += int(histogram[edge])
        edge -= 1
    return edge, above


@compiled(nogil=True)
def _candidates(bits: np.ndarray, keep: int, spare: np.ndarray, histogram: np.ndarray) -> int:
    """Write the indices of at least `keep` of the highest scores into spare, rising, and return how many.

    A sample of every 16th of many scores guesses the lowest bin to take. If the guess is too high, or the scores are
    few, all indices are candidates.
    """
    if len(bits) >= _SAMPLED:
        # A margin of a quarter, and of 8 for a small sample, makes a guess that is too high rare.
        histogram[:] = 0
        for i in range(0, len(bits), _STRIDE):
            histogram[_digit(bits[i], 0)] += 1
        lowest = np.uint32(_edge(histogram, keep // _STRIDE + keep // (4 * _STRIDE) + 8)[0]) << np.uint32(20)
        found = 0
        for i in range(len(bits)):
            # Written first and counted after, which takes no branch.
            spare[found] = i
            found += int(_rank(bits[i]) >= lowest)
        if found >= keep:
            return found
    for i in range(len(bits)):
        spare[i] = i
    return len(bits)


@compiled(nogil=True)
def _mark(bits: np.ndarray, keep: int, mask: np.ndarray, spare: np.ndarray, histogram: np.ndarray) -> None:
    """Set mask [n] at the `keep` highest of n floats, given by their bits; among equals at the first.

    A radix select: by 12, 12 and 8 bits of the rank, candidates above the bin of the last kept score are marked, those
    below are dropped, and those inside go on to the next bits.
    """
    left = _candidates(bits, keep, spare, histogram)
    for level in range(3):
        histogram[:] = 0
        for i in range(left):
            histogram[_digit(bits[spare[i]], level)] += 1
        edge, above = _edge(histogram, keep)
        keep -= above
        inside = 0
        for i in range(left):
            place, digit = spare[i], _digit(bits[spare[i]], level)
            if digit > edge:
                mask[place] = True
            spare[inside] = place
            inside += digit == edge
        left = inside
        # All that are left are kept, so the lower bits decide nothing.
        if left == keep:
            break
    # What is left is equal or all kept, and in rising order, so the first ones win.
    for i in range(keep):
        mask[spare[i]] = True


@compiled(nogil=True)
def _mark_rows(bits: np.ndarray, keep: int, mask: np.ndarray) -> None:
    spare = np.empty(bits.shape[2] + 1, dtype=np.int32)
    histogram = np.empty(_BINS, dtype=np.int32)
    for head in range(bits.shape[0]):
        for row in range(bits.shape[1]):
            _mark(bits[head, row], keep, mask[head], spare, histogram)


@compiled(nogil=True, fastmath={"nnan", "nsz"})
def _highest(values: np.ndarray) -> np.float32:
    """Return the largest of values, none of them NaN; fastmath may assume that, which allows SIMD."""
    highest = values[0]
    for i in range(len(values)):
        highest = max(highest, values[i])
    return highest


@compiled(nogil=True)
def _at_least(edge: float) -> np.float32:
    """Return the lowest float32 that is no less than a float64."""
    # A float32 reaches the FP64 edge exactly when it reaches this one; the nearest float32 may lie below the edge.
    near = np.float32(edge)
    return near if np.float64(near) >= edge else np.nextafter(near, np.float32(np.inf))


@compiled(nogil=True)
def _mark_within(scores: np.ndarray, bits: np.ndarray, reach: float, keep: int, mask: np.ndarray) -> None:
    """Set mask [heads, n] at each row's scores within reach of its highest, at most at its `keep` highest."""
    spare = np.empty(scores.shape[2] + 1, dtype=np.int32)
    histogram = np.empty(_BINS, dtype=np.int32)
    for head in range(scores.shape[0]):
        for row in range(scores.shape[1]):
            values = scores[head, row]
            edge = _at_least(np.float64(_highest(values)) - reach)
            number = 0
            for i in range(len(values)):
                number += values[i] >= edge
            if number > keep:
                _mark(bits[head, row], keep, mask[head], spare, histogram)
                continue
            for i in range(len(values)):
                mask[head, i] |= values[i] >= edge


def keep_highest(scores: np.ndarray, keep: int) -> np.ndarray:
    """Return which columns are among the `keep` highest of any row of their head, bool [heads, n].

    scores float32 [heads, rows, n], not NaN; among equals the lower index is kept. keep of n or more keeps all.

    >>> keep_highest(np.array([[[1, 3, 3, 2]], [[5, 0, 0, 0]]], dtype=np.float32), 2).tolist()
    [[False, True, True, False], [True, True, False, False]]
    """
    # The compiled ranking needs keep <= n: with more, it would read past its candidates.
    mask = np.full((len(scores), scores.shape[2]), keep >= scores.shape[2])
    if 0 < keep < scores.shape[2]:
        _mark_rows(np.ascontiguousarray(scores).view(np.uint32), keep, mask)
    return mask


def keep_within(scores: np.ndarray, reach: float, *, keep: int) -> np.ndarray:
    """Return which columns are within reach of the highest of any row of their head, bool [heads, n].

    scores float32 [heads, rows, n], not NaN, n >= 1; a row with more than `keep` of them gives its `keep` highest.

    >>> scores = np.array([[[1, 4, 3, 2]]], dtype=np.float32)
    >>> keep_within(scores, 2, keep=4).tolist(), keep_within(scores, 2, keep=1).tolist()
    ([[False, True, True, True]], [[False, True, False, False]])
    """
    mask = np.zeros((len(scores), scores.shape[2]), dtype=bool)
    scores = np.ascontiguousarray(scores)
    _mark_within(scores, scores.view(np.uint32), reach, keep, mask)
    return mask


def keep_scored(queries: np.ndarray, rows: np.ndarray, keep: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return keep(scores_of(queries, rows)), bool [heads, rows], one KV head at a time; many scores in two threads.

    >>> queries, rows = np.array([[[1, 2], [0, 1]]], dtype=np.float32), np.array([[[3, 4]]], dtype=np.float32)
    >>> keep_scored(queries, rows, lambda scores: scores[:, 0] > 4).tolist()
    [[True], [False]]
    """
    # The scores of all heads at once would not stay in the cache of a core, which takes twice as long.
    kv_heads = rows.shape[1]
    share = queries.shape[1] // kv_heads

    def of_head(head: int) -> np.ndarray:
        return keep(scores_of(queries[:, head * share : (head + 1) * share], rows[:, head : head + 1]))

    if queries.shape[0] * queries.shape[1] * len(rows) < _THREADED:
        return np.concatenate([of_head(head) for head in range(kv_heads)])
    # Matrix products and the compiled ranking release the GIL, so two threads do run at once.
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(of_head, range(kv_heads))))
