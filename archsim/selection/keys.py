"""Where a selection's keys, queries and values come from: drawn part by part as far as they are needed, or recorded.

Knows streams and positions. Does not know what is done with them. Part i holds the tokens from i * PART on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from kernels.selection.streams import Needles, Stream, Video

PART = 320  # tokens, a whole number of drawn frames


class Keys(Protocol):
    """Keys [tokens, kv_heads, d], queries [tokens, heads, d] and, of the first and the last KV head, values.

    questions: float32 [needles, heads, d], for the needles if any are hidden.
    """

    questions: np.ndarray

    def keys(self, first: int, last: int) -> np.ndarray:
        """Return those of the tokens first to last; no later call may begin in a part before that of `first`."""

    def queries(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return those of the tokens from `first` on that have these keys."""

    def sampled(self, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and values of the tokens up to last in the first and the last KV head, [last, 1 or 2, d]."""


def sampled_heads(kv_heads: int) -> list[int]:
    """Return the first and the last KV head, once where they are one.

    >>> sampled_heads(8), sampled_heads(1)
    ([0, 7], [0])
    """
    return sorted({0, kv_heads - 1})


class Drawn:
    """A stream drawn as a Video says, one part after the other; what lies before the newest call is held no more."""

    def __init__(self, video: Video, needles: Needles, questions: np.ndarray) -> None:
        self._video, self._needles, self.questions = video, needles, questions
        frames, heads = PART // video.frame, sampled_heads(video.kv_heads)
        self._drawn, self._valued = video.keys(frames), video.values(frames, kv_heads=heads)
        self._held: dict[int, np.ndarray] = {}
        self._sampled: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def _part(self, index: int) -> np.ndarray:
        keys = self._sampled[0]
        while len(keys) <= index:
            drawn = self._needles.hide(next(self._drawn), len(keys) * PART)
            self._held[len(keys)] = drawn
            keys.append(drawn[:, sampled_heads(self._video.kv_heads)])
        return self._held[index]

    def keys(self, first: int, last: int) -> np.ndarray:
        """Return those of the tokens first to last."""
        parts = range(first // PART, -(-last // PART))
        self._held = {i: part for i, part in self._held.items() if i >= parts.start}
        rows = [self._part(i)[max(0, first - i * PART) : last - i * PART] for i in parts]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def queries(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return those of the tokens from `first` on."""
        return self._video.queries(keys, first)

    def sampled(self, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and values of the sampled heads."""
        keys, values = self._sampled
        while len(values) < len(keys):
            values.append(next(self._valued))
        return np.concatenate(keys)[:last], np.concatenate(values)[:last]


class Recorded:
    """A stream that was recorded."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self.questions = stream, stream.questions

    def keys(self, first: int, last: int) -> np.ndarray:
        """Return those of the tokens first to last."""
        return self._stream.keys[first:last]

    def queries(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return those of the tokens from `first` on."""
        return self._stream.queries[first : first + len(keys)]

    def sampled(self, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and values of the sampled heads."""
        heads = sampled_heads(self._stream.keys.shape[1])
        return self._stream.keys[:last, heads], self._stream.values[:last, heads]
