"""The keys, queries and values that a selection runs on: drawn segment by segment as they are needed, or recorded.

Knows streams and positions. Does not know rules. Segment i holds the tokens from i * SEGMENT on.
"""

from __future__ import annotations

import numpy as np

from kernels.selection.streams import Needles, Stream, Video

SEGMENT = 320  # tokens, a whole number of drawn frames


def sampled_heads(kv_heads: int) -> list[int]:
    """Return the first and the last KV head, or the only one.

    >>> sampled_heads(8), sampled_heads(1)
    ([0, 7], [0])
    """
    return sorted({0, kv_heads - 1})


class DrawnKeys:
    """A stream drawn from a Video, segment by segment; the segments before the latest call are let go.

    Keys [tokens, kv_heads, d], queries [tokens, heads, d], and values of the first and the last KV head.
    questions: float32 [needles, heads, d], one for each needle if any are hidden.
    """

    def __init__(self, video: Video, needles: Needles, questions: np.ndarray) -> None:
        self._video, self._needles, self.questions = video, needles, questions
        frames, heads = SEGMENT // video.frame, sampled_heads(video.kv_heads)
        # Each head has its own generator, so the values of the sampled heads can be drawn alone.
        self._drawn, self._valued = video.keys(frames), video.values(frames, kv_heads=heads)
        self._held: dict[int, np.ndarray] = {}
        self._sampled: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def _segment(self, index: int) -> np.ndarray:
        # Of every segment only the sampled heads stay, for quality; all heads are held while a call may ask for them.
        keys = self._sampled[0]
        while len(keys) <= index:
            drawn = self._needles.hide(next(self._drawn), len(keys) * SEGMENT)
            self._held[len(keys)] = drawn
            keys.append(drawn[:, sampled_heads(self._video.kv_heads)])
        return self._held[index]

    def keys(self, first: int, last: int) -> np.ndarray:
        """Return the keys of tokens first to last, last excluded; a later call must not begin in an earlier segment."""
        segments = range(first // SEGMENT, -(-last // SEGMENT))
        self._held = {i: keys for i, keys in self._held.items() if i >= segments.start}
        rows = [self._segment(i)[max(0, first - i * SEGMENT) : last - i * SEGMENT] for i in segments]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def queries(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return the queries of the tokens from `first` on, which have these keys."""
        return self._video.queries(keys, first)

    def sampled(self, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and values of the tokens before `last` in the sampled KV heads, [last, 1 or 2, d]."""
        # Values are drawn only when quality asks for them, as many segments as there are of keys.
        keys, values = self._sampled
        while len(values) < len(keys):
            values.append(next(self._valued))
        return np.concatenate(keys)[:last], np.concatenate(values)[:last]


class RecordedKeys:
    """A recorded stream, with the arrays of DrawnKeys."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self.questions = stream, stream.questions

    def keys(self, first: int, last: int) -> np.ndarray:
        """Return the keys of tokens first to last, last excluded."""
        return self._stream.keys[first:last]

    def queries(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return the queries of the tokens from `first` on, which have these keys."""
        return self._stream.queries[first : first + len(keys)]

    def sampled(self, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and values of the sampled heads."""
        heads = sampled_heads(self._stream.keys.shape[1])
        return self._stream.keys[:last, heads], self._stream.values[:last, heads]


KeySource = DrawnKeys | RecordedKeys
