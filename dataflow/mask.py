"""Which keys a query attends to: all, those up to its own position (causal), or the last few of those (a window)."""

from __future__ import annotations


def seen_keys(query: int, *, queries: int, keys: int, causal: bool = True, window: int | None = None) -> range:
    """The keys that a query of a sequence sees; in causal attention the queries are the newest positions of the keys.

    >>> [seen_keys(i, queries=3, keys=4) for i in range(3)]
    [range(0, 2), range(0, 3), range(0, 4)]
    >>> seen_keys(2, queries=3, keys=4, window=2), seen_keys(0, queries=3, keys=4, causal=False)
    (range(2, 4), range(0, 4))
    """
    end = keys - queries + query + 1 if causal else keys
    return range(0 if window is None else max(0, end - window), end)


def causal_pairs(queries: int, keys: int, *, window: int | None = None) -> int:
    """(query, key) pairs that causal attention scores: sum over queries of len(seen_keys).

    >>> causal_pairs(3, 3), causal_pairs(1, 10), causal_pairs(3, 3, window=2)
    (6, 10, 5)
    """
    # Query i sees past + i + 1 keys until the window cuts it, so the first `whole` queries sum to a triangle.
    width, past = keys if window is None else min(window, keys), keys - queries
    whole = min(queries, max(0, width - past))  # queries that the window does not cut
    return whole * past + whole * (whole + 1) // 2 + (queries - whole) * width
