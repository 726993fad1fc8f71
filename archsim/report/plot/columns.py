"""Columns of a time axis: what is too narrow to draw becomes a share of its column, or a range within it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

MOST = 1000  # columns: about as many as a figure has pixels


def edges_of(start: int, end: int) -> np.ndarray:
    """The edges of the columns of a window, as whole cycles: columns of one cycle where it is short."""
    n = min(MOST, end - start)
    return np.array([start + (end - start) * i // n for i in range(n + 1)], dtype=np.int64)


def sums_in(edges: np.ndarray, starts: np.ndarray, ends: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each column, the cycles of spans that lie in it, times their weights. Exact.

    >>> sums_in(np.array([0, 4, 8]), np.array([1, 3]), np.array([2, 7]), np.array([1, 2])).tolist()
    [3, 6]
    """
    return np.diff(_until(edges, starts, weights) - _until(edges, ends, weights))


def _until(edges: np.ndarray, begun: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each edge, the cycles since the spans before it began, times their weights."""
    order = np.argsort(begun, kind="stable")
    times, weight = begun[order], weights[order]
    n = np.searchsorted(times, edges)
    counts, moments = (np.concatenate([[0], np.cumsum(part)]) for part in (weight, weight * times))
    return edges * counts[n] - moments[n]


def ranges_in(
    edges: np.ndarray, levels: Iterable[tuple[int, int, np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """For each column, the least and the most of a level; 0 where none is given.

    `levels` are pieces (start, end, when it changes, its value from then on).

    >>> low, high = ranges_in(np.array([0, 2, 4]), [(0, 4, np.array([0, 3]), np.array([5, 7]))])
    >>> low.tolist(), high.tolist()
    ([5, 5], [5, 7])
    """
    low, high = np.full(len(edges) - 1, 2**62), np.full(len(edges) - 1, -1)
    for start, end, times, values in levels:
        column = np.searchsorted(edges, times, side="right") - 1
        inside = (column >= 0) & (column < len(low))
        np.minimum.at(low, column[inside], values[inside])
        np.maximum.at(high, column[inside], values[inside])
        # The level with which each column begins.
        begins = np.arange(len(low))[(edges[:-1] >= start) & (edges[:-1] < end)]
        value = values[np.searchsorted(times, edges[begins], side="right") - 1]
        low[begins], high[begins] = np.minimum(low[begins], value), np.maximum(high[begins], value)
    none = high < 0
    low[none], high[none] = 0, 0
    return low, high
