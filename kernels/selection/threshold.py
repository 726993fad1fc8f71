"""The fewest of the highest scores whose weighted sum passes a share of the total: by sorting, or bucket by bucket.

Knows one row of scores at a time and how many passes the buckets took. Does not know what a score stands for.
"""

import numpy as np
from numba import njit

from kernels.selection.algorithm import check_share

LANES = 16
NEGATIVE = ("raw", "clamp", "shift", "exp")


@njit(cache=True, nogil=True)
def _offered(scores: np.ndarray, negative: int, scale: float, values: np.ndarray) -> None:
    """Write into values what a row of scores offers: as it is, at least 0, above the lowest, or as a softmax does."""
    low, high = scores.min(), scores.max()
    for j in range(len(scores)):
        if negative == 0:
            values[j] = scores[j]
        elif negative == 1:
            values[j] = max(scores[j], 0.0)
        elif negative == 2:
            values[j] = scores[j] - low
        else:
            values[j] = np.exp((scores[j] - high) * scale)


@njit(cache=True, nogil=True)
def _bucket(value: float, low: float, width: float, buckets: int) -> int:
    """Return b with low + b width <= value < low + (b + 1) width, in just that arithmetic; the last holds its end."""
    if width == 0:
        return buckets - 1
    b = min(max(int((value - low) / width), 0), buckets - 1)
    while b > 0 and value < low + b * width:
        b -= 1
    while b < buckets - 1 and value >= low + (b + 1) * width:
        b += 1
    return b


@njit(cache=True, nogil=True)
def _by_buckets(
    values: np.ndarray, counts: np.ndarray, limit: float, buckets: int, kept: np.ndarray
) -> tuple[float, int]:
    """Keep whole buckets from the top until the running sum passes limit; return it and the number of passes."""
    low = values.min()
    width = (values.max() - low) / buckets
    place = np.empty(len(values), dtype=np.int64)
    first = np.zeros(buckets + 1, dtype=np.int64)
    for j in range(len(values)):
        place[j] = _bucket(values[j], low, width, buckets)
        first[place[j] + 1] += 1
    first = np.cumsum(first)
    order, following = np.empty(len(values), dtype=np.int64), first.copy()
    for j in range(len(values)):
        order[following[place[j]]] = j
        following[place[j]] += 1
    running, passes = 0.0, 0
    for b in range(buckets - 1, -1, -1):
        passes += 1
        for i in range(first[b], first[b + 1]):
            running += values[order[i]] * counts[order[i]]
            kept[order[i]] = True
        if running > limit:
            break
    return running, passes


@njit(cache=True, nogil=True)
def _by_sorting(values: np.ndarray, counts: np.ndarray, limit: float, kept: np.ndarray) -> float:
    running = 0.0
    for j in np.argsort(-values, kind="mergesort"):
        running += values[j] * counts[j]
        kept[j] = True
        if running > limit:
            break
    return running


@njit(cache=True, nogil=True)
def _rows(
    scores: np.ndarray, counts: np.ndarray, ratio: float, buckets: int, negative: int, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which columns any row keeps, and the running sum and the passes of each row; buckets 0 means sorting."""
    kept = np.zeros(scores.shape[1], dtype=np.bool_)
    sums, passes = np.zeros(len(scores)), np.zeros(len(scores), dtype=np.int64)
    values = np.empty(scores.shape[1])
    for row in range(len(scores)):
        _offered(scores[row], negative, scale, values)
        total = 0.0
        for j in range(len(values)):
            total += values[j] * counts[j]
        limit = total * ratio if ratio < 1 else np.inf
        if buckets:
            sums[row], passes[row] = _by_buckets(values, counts, limit, buckets, kept)
        else:
            sums[row] = _by_sorting(values, counts, limit, kept)
    return kept, sums, passes


def keep_to_ratio(
    scores: np.ndarray,
    counts: np.ndarray,
    *,
    ratio: float,
    buckets: int | None = None,
    negative: str = "raw",
    scale: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which columns any row keeps, bool [columns], and per row the sum reached and the passes, [rows] each.

    scores float64 [rows, columns], counts int64 [columns]. Per row: Sum = sum of S n; the highest S are taken until
    their partial sum of S n exceeds ratio * Sum, strictly; ratio 1 takes all. buckets None sorts, equal scores by
    index, in no passes; a number divides min to max into that many buckets of one width, and takes whole buckets from
    the top. What a score S offers is `negative`: "raw" S, "clamp" max(S, 0), "shift" S - min, "exp" exp((S - max)
    scale). FP64. Source: arXiv 2512.12284. Raises ValueError for a ratio outside 0 to 1 or another `negative`.

    Scores 9, 8, 7 with counts 4, 3, 3 and a rest of 14: 36, 60, 81 passes 0.8 * 95 = 76.

    >>> scores, counts = np.array([[9.0, 8.0, 7.0, 2.0]]), np.array([4, 3, 3, 7])
    >>> kept, sums, passes = keep_to_ratio(scores, counts, ratio=0.8)
    >>> kept.tolist(), sums.tolist()
    ([True, True, True, False], [81.0])
    """
    check_share("ratio", ratio)
    if negative not in NEGATIVE:
        raise ValueError(f"negative: {negative!r} offers no score; take one of {', '.join(NEGATIVE)}")
    return _rows(scores.astype(np.float64), counts, ratio, buckets or 0, NEGATIVE.index(negative), scale)


def threshold_cycles(columns: int, passes: np.ndarray) -> int:
    """Return the cycles of one threshold unit of 16 lanes over all rows.

    Formula: sum over rows of ceil(columns / 16) * (1 + passes): one pass for sum, min, max and threshold, and one per
    bucket from the top until the threshold is passed. Source: arXiv 2512.12284.

    >>> threshold_cycles(17, np.array([3]))
    8
    """
    return -(-columns // LANES) * int((1 + passes).sum())
