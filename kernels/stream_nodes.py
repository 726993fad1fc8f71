"""The nodes of streaming attention: what each computes on one token, in NumPy and in the dtype of its inputs.

Knows scalars and rows, one step at a time. Does not know which tokens come when (dataflow/numeric/replay_streams.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# A token: a scalar, a row [d], or the pair (weight, rescale) of the running maximum.
Token = Any
Step = Callable[..., tuple[Token, Token]]


def score(state: Token, query: np.ndarray, key: np.ndarray) -> tuple[Token, Token]:
    """Return q . k / sqrt(d) of rows [d]; keeps no state.

    >>> score(None, np.ones(4), np.ones(4))[1]
    np.float64(2.0)
    """
    return None, (query @ key) * query.dtype.type(len(query) ** -0.5)


def exp(state: Token, value: Token) -> tuple[Token, Token]:
    """Return exp(s); infinite where that overflows the dtype, with bits lost or 0 where it underflows.

    In float32 it overflows above 88.7 and loses bits below -87.3; it is 0 below -103.97, and a row of zeros gives NaN.
    """
    return None, np.exp(value)


def exp_below_max(state: Token, value: Token, maximum: Token) -> tuple[Token, Token]:
    """Return exp(s - m), at most 1."""
    return None, np.exp(value - maximum)


def maximum(state: Token, value: Token) -> tuple[Token, Token]:
    """Return max(m, s), the largest so far."""
    largest = value if state is None else max(state, value)
    return largest, largest


def total(state: Token, value: Token) -> tuple[Token, Token]:
    """Return l + e, the sum so far."""
    added = value if state is None else state + value
    return added, added


def divide(state: Token, value: Token, by: Token) -> tuple[Token, Token]:
    """Return e / l; e is a scalar or a row."""
    return None, value / by


def weighted_sum(state: Token, weight: Token, row: np.ndarray) -> tuple[Token, Token]:
    """Return o + p v, the sum of the rows [d] so far, each times its weight."""
    added = weight * row if state is None else state + weight * row
    return added, added


def running_max(state: Token, value: Token) -> tuple[Token, Token]:
    """Return the pair (exp(s - m'), exp(m - m')) with m' = max(m, s), the largest so far.

    The first pair of a row is (1, 0), since nothing is summed yet.
    Source: online softmax, arXiv 1805.02867.

    >>> running_max(2.0, 1.0)
    (2.0, (np.float64(0.36787944117144233), np.float64(1.0)))
    """
    # value - value is a 0 in the dtype of the inputs, where a literal would be a Python float.
    if state is None:
        return value, (np.exp(value - value), value - value)
    largest = max(state, value)
    return largest, (np.exp(value - largest), np.exp(state - largest))


def rescaled_sum(state: Token, pair: tuple[Token, Token]) -> tuple[Token, Token]:
    """Return l d + e for a pair (e, d)."""
    weight, rescale = pair
    added = weight if state is None else state * rescale + weight
    return added, added


def rescaled_weighted_sum(state: Token, pair: tuple[Token, Token], row: np.ndarray) -> tuple[Token, Token]:
    """Return o d + e v for a pair (e, d) and rows [d]."""
    weight, rescale = pair
    added = weight * row if state is None else state * rescale + weight * row
    return added, added


# Each takes (state, *tokens) and returns (state, token); the state is None before the first step of a row.
NODES: Mapping[str, Step] = {
    "score": score, "exp": exp, "exp_below_max": exp_below_max, "max": maximum, "sum": total, "divide": divide,
    "weighted_sum": weighted_sum, "running_max": running_max, "rescaled_sum": rescaled_sum,
    "rescaled_weighted_sum": rescaled_weighted_sum,
}  # fmt: skip
