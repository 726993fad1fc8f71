"""The fewest of the highest scores whose weighted sum exceeds a share of the total: by sorting, or bucket by bucket.

Knows one row of scores at a time and how many passes the buckets took. Does not know what a score stands for.
"""

import numpy as np

from kernels.limits import BUCKETS
from kernels.machine_code import compiled
from kernels.selection.algorithm import check_count, check_share

# Compiled code gets the place in this tuple instead of the name.
NEGATIVE = ("raw", "clamp", "shift", "exp")


@compiled(nogil=True)
def _weigh(scores: np.ndarray, negative: int, scale: float, values: np.ndarray) -> None:
    """Write the weights of a row of scores into values: as they are, at least 0, above the lowest, or as in softmax."""
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


@compiled(nogil=True)
def _bucket(value: float, low: float, width: float, buckets: int) -> int:
    """Return b with low + b width <= value < low + (b + 1) width, as FP64 computes it; the last includes its end."""
    # All scores are equal, and the first pass, over the top bucket, takes them.
    if width == 0:
        return buckets - 1
    # The rounding of the division can put a value beside its bucket, so the bounds themselves decide.
    b = min(max(int((value - low) / width), 0), buckets - 1)
    while b > 0 and value < low + b * width:
        b -= 1
    while b < buckets - 1 and value >= low + (b + 1) * width:
        b += 1
    return b


@compiled(nogil=True)
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
    # A counting sort, so that each pass visits its own bucket alone, in the order of the columns.
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


@compiled(nogil=True)
def _by_sorting(values: np.ndarray, counts: np.ndarray, limit: float, kept: np.ndarray) -> float:
    running = 0.0
    # A stable sort, so that equal scores go by index.
    for j in np.argsort(-values, kind="mergesort"):
        running += values[j] * counts[j]
        kept[j] = True
        if running > limit:
            break
    return running


@compiled(nogil=True)
def _rows(
    scores: np.ndarray, counts: np.ndarray, ratio: float, buckets: int, negative: int, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which columns any row keeps, and the running sum and the passes of each row; buckets 0 means sorting."""
    kept = np.zeros(scores.shape[1], dtype=np.bool_)
    sums, passes = np.zeros(len(scores)), np.zeros(len(scores), dtype=np.int64)
    values = np.empty(scores.shape[1])
    for row in range(len(scores)):
        _weigh(scores[row], negative, scale, values)
        total = 0.0
        for j in range(len(values)):
            total += values[j] * counts[j]
        # A partial sum can exceed the total, by negative scores after it or by rounding, and ratio 1 takes all.
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

    scores float64 [rows, columns], counts int64 [columns]. Per row, with weights S and counts n: the highest S are
    taken until their sum of S n exceeds ratio times the sum of all S n, strictly; ratio 1 takes all. buckets None
    sorts, equal scores by index, and reports 0 passes. A number divides min to max into that many buckets of equal
    width and takes whole buckets from the top. `negative` gives the weight of a score s: "raw" s, "clamp" max(s, 0),
    "shift" s - min, "exp" exp((s - max) scale). FP64. Source: arXiv 2512.12284. Raises ValueError for a ratio outside
    0 to 1, buckets outside 1 to limits.BUCKETS, or another `negative`.

    Scores 9, 8, 7 with counts 4, 3, 3, and 14 for the rest: of 36, 60, 81, the last exceeds 0.8 * 95 = 76.

    >>> scores, counts = np.array([[9.0, 8.0, 7.0, 2.0]]), np.array([4, 3, 3, 7])
    >>> kept, sums, passes = keep_to_ratio(scores, counts, ratio=0.8)
    >>> kept.tolist(), sums.tolist()
    ([True, True, True, False], [81.0])
    """
    check_share("ratio", ratio)
    if buckets is not None:
        check_count("buckets", buckets, most=BUCKETS, of="buckets", holder="a row of scores has at most")
    if negative not in NEGATIVE:
        raise ValueError(f"negative: {negative!r} offers no score; take one of {', '.join(NEGATIVE)}")
    return _rows(scores.astype(np.float64), counts, ratio, buckets or 0, NEGATIVE.index(negative), scale)
