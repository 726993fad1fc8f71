"""Mask: which keys a query attends to: all, those up to its own position (causal), or the last few (a window)."""

from __future__ import annotations

from dataclasses import dataclass

from dataflow.errors import GraphError, quoted


@dataclass(frozen=True, slots=True)
class Mask:
    """Causal: the queries of a sequence are the newest positions of its keys, and none sees a later key.

    With a `window` each query sees that many keys at most, its own included. Raises GraphError.
    """

    causal: bool = True
    window: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.causal, bool):
            raise GraphError(f"a mask is causal or not, true or false; got {quoted(self.causal)}")
        if self.window is not None and not (self.causal and type(self.window) is int and self.window >= 1):
            told = f"got a window of {quoted(self.window)}"
            raise GraphError(f"a window of one key or more, and only where it is causal; {told}")

    def seen(self, query: int, *, queries: int, keys: int) -> range:
        """The keys that a query of a sequence sees.

        >>> [Mask().seen(i, queries=3, keys=4) for i in range(3)]
        [range(0, 2), range(0, 3), range(0, 4)]
        >>> Mask(window=2).seen(2, queries=3, keys=4), EVERY_KEY.seen(0, queries=3, keys=4)
        (range(2, 4), range(0, 4))
        """
        end = keys - queries + query + 1 if self.causal else keys
        return range(0 if self.window is None else max(0, end - self.window), end)

    def pairs(self, queries: int, keys: int) -> int:
        """(query, key) pairs that attention scores: the sum over queries of len(seen).

        >>> Mask().pairs(3, 3), Mask().pairs(1, 10), Mask(window=2).pairs(3, 3), EVERY_KEY.pairs(3, 4)
        (6, 10, 5, 12)
        """
        if not self.causal:
            return queries * keys
        queries = min(queries, keys)  # more queries than keys: the oldest ones stand before the first key
        # Query i sees past + i + 1 keys until the window cuts it, so the first `whole` queries sum to a triangle.
        width, past = keys if self.window is None else self.window, keys - queries
        whole = min(queries, max(0, width - past))  # queries that the window does not cut
        return whole * past + whole * (whole + 1) // 2 + (queries - whole) * width

    def needed(self, queries: int, keys: int) -> int:
        """Keys that any query sees, the newest ones: what attention reads of a sequence's cache.

        >>> Mask().needed(3, 9), Mask(window=2).needed(3, 9), Mask(window=20).needed(3, 9)
        (9, 4, 9)
        """
        return keys if self.window is None else min(keys, queries - 1 + self.window)

    def __str__(self) -> str:
        return f"window of {self.window}" if self.window else "causal" if self.causal else "full"


EVERY_KEY = Mask(causal=False)
