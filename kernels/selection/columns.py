"""Selections by scores of single tokens: exact scores, or scores from a few channels or rotated columns of the keys.

Know the scores, the budget, and how a calibration set gives channels and rotations. Do not know models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.selection.algorithm import Algorithm, CacheShape, Counters, Growing, State, check_count, check_share
from kernels.selection.ranking import keep_highest, keep_scored, keep_within


class Columns(Algorithm):
    """A rule that scores every token by columns of its key: all, as in the cache, or some that are stored beside it."""

    def _width(self, shape: CacheShape) -> int:
        return shape.head_dim

    def _columns(self, shape: CacheShape, rows: np.ndarray) -> np.ndarray:
        """Return the columns of rows [n, heads or kv_heads, d] that are scored."""
        return rows

    def begin(self, shape: CacheShape) -> Growing:
        return Growing(shape.tokens, (shape.kv_heads, self._width(shape)))

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Growing, Counters]:
        return state.held.append(self._columns(state.shape, keys), state.tokens), Counters()

    def _keep(
        self, state: State, queries: np.ndarray, keep: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, Counters]:
        """Return the mask that `keep` makes of the scores, and the counts of scoring and comparing each token once."""
        mask = keep_scored(self._columns(state.shape, queries), state.held.array[: state.tokens], keep)
        scores = queries.shape[0] * queries.shape[1] * state.tokens
        return mask, Counters(state.metadata_bytes, multiply_adds=scores * self._width(state.shape), comparisons=scores)

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Growing) -> int:
        return tokens * shape.kv_heads * self._width(shape) * shape.element_bytes


@dataclass(frozen=True, slots=True)
class HighestScores(Columns):
    """Keep the `tokens` tokens of the highest q . k, per query head and row: the best choice for a given budget.

    Bytes per KV head: n d b of K for the scores, and d b of V for each kept token. The default budget has no source.
    Raises ValueError for a budget larger than the cache.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> keys = np.array([0, 4, 1, 4]).reshape(4, 1, 1)
    >>> kept = select(update(start(CacheShape(4, 1, 1, 1), HighestScores(tokens=2)), keys), np.ones((1, 1, 1)))
    >>> kept.mask.tolist(), kept.counts.kv_read_bytes, kept.counts.multiply_adds
    ([[False, True, False, True]], 12, 4)
    """

    tokens: int = 2048

    def check(self, shape: CacheShape) -> None:
        check_count("tokens", self.tokens, most=shape.tokens)

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        mask, counts = self._keep(state, queries, lambda scores: keep_highest(scores, self.tokens))
        # select() adds K and V of the kept tokens; the scores read K of the others too.
        left = int((~mask.reshape(state.shape.kv_heads, -1, state.tokens).any(axis=1)).sum())
        return mask, counts + Counters(kv_read_bytes=left * state.shape.row_bytes)

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Growing) -> int:
        return 0


def rank_channels(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the channels of each KV head by falling mean of |q_c k_c|, int64 [kv_heads, d]; ties by index.

    queries float [rows, heads, d], keys float [tokens, kv_heads, d]: a calibration set. The mean over all pairs equals
    the product of the two means. Source: Double Sparsity, arXiv 2408.07092.

    >>> rank_channels(np.array([[[1.0, -3.0]]]), np.array([[[2.0, 1.0]]])).tolist()
    [[1, 0]]
    """
    grouped = np.abs(queries).reshape(len(queries), keys.shape[1], -1, keys.shape[2])
    products = grouped.mean(axis=(0, 2)) * np.abs(keys).mean(axis=0)
    return np.argsort(-products, axis=1, kind="stable")


@dataclass(frozen=True, slots=True)
class LabelChannels(Columns):
    """Keep the `tokens` tokens of the highest score from ceil(d / group) channels, per query head and row.

    channels: those of the label cache for each KV head, from rank_channels. () takes the first channels, which gives
    the traffic but not the quality. Bytes per KV head: n (d/g) b + 2 k d b for one query head per KV head; work n d/g
    multiply-adds. Source: Double Sparsity, arXiv 2408.07092; g = 16 and the budget are assumed. Not modelled:
    labels of 4 bits.
    Raises ValueError for a budget larger than the cache, or channels that are not ceil(d / group) per KV head.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> keys = np.array([[9, 0], [0, 2], [0, 1]]).reshape(3, 1, 2)
    >>> options = LabelChannels(group=2, tokens=1, channels=((1,),))
    >>> kept = select(update(start(CacheShape(4, 1, 1, 2), options), keys), np.ones((1, 1, 2)))
    >>> kept.mask.tolist(), kept.counts.metadata_read_bytes, kept.counts.multiply_adds
    ([[False, True, False]], 6, 3)
    """

    group: int = 16
    tokens: int = 2048
    channels: tuple[tuple[int, ...], ...] = ()

    def _width(self, shape: CacheShape) -> int:
        return -(-shape.head_dim // self.group)

    def _columns(self, shape: CacheShape, rows: np.ndarray) -> np.ndarray:
        first = np.tile(np.arange(self._width(shape)), (shape.kv_heads, 1))
        own = np.array(self.channels) if self.channels else first
        return np.take_along_axis(rows, np.repeat(own, rows.shape[1] // shape.kv_heads, axis=0)[None], axis=2)

    def check(self, shape: CacheShape) -> None:
        check_count("group", self.group, most=shape.head_dim, of="channels", holder="a head has")
        check_count("tokens", self.tokens, most=shape.tokens)
        lengths = {len(row) for row in self.channels}
        if self.channels and (len(self.channels) != shape.kv_heads or lengths != {self._width(shape)}):
            raise ValueError(
                f"channels: {len(self.channels)} rows of {sorted(lengths)} channels do not fit; "
                f"give {shape.kv_heads} rows of {self._width(shape)}"
            )
        for row in self.channels:
            if len(set(row)) < len(row) or not set(row) <= set(range(shape.head_dim)):
                raise ValueError(f"channels: {row} are not all different channels; take from 0 to {shape.head_dim - 1}")

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        return self._keep(state, queries, lambda scores: keep_highest(scores, self.tokens))


def dominant_rotation(queries: np.ndarray, *, kv_heads: int) -> np.ndarray:
    """Return per KV head the orthogonal matrix that rotates queries so that their first columns are the largest.

    queries float [rows, heads, d]: a calibration set; returns float32 [kv_heads, d, d], right singular vectors of the
    queries of the KV head's group, by falling singular value. q . k = (q R) . (k R). Source: InfiniGen,
    arXiv 2406.19707, which folds the rotation into the projections beforehand.

    >>> np.abs(dominant_rotation(np.array([[[0.0, 5.0]], [[1.0, 0.0]]]), kv_heads=1)[0]).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    grouped = queries.transpose(1, 0, 2).reshape(kv_heads, -1, queries.shape[2])
    # Full matrices, so that the rotation is square even with fewer queries than channels.
    return np.linalg.svd(grouped, full_matrices=True)[2].transpose(0, 2, 1).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class PartialColumns(Columns):
    """Keep the tokens whose score from a few rotated columns is within alpha of the row's highest, at most limit n.

    Per query head and row. columns: share of the columns of K that is stored again, rotated: round(columns d), at least
    one. rotation: float32 [kv_heads, d, d], from dominant_rotation; None does not rotate, which gives the traffic but
    not the quality. Scores are logits, q . k / sqrt(d). If more tokens are within alpha, the highest floor(limit n) are
    kept, at least one. Bytes per KV head: 0.2 n d b resident and 2 k d b for one query head per KV head; work 0.2 n d
    multiply-adds, two comparisons per token. Source: InfiniGen, arXiv 2406.19707: alpha 4, at most 20 %, 20 % of the
    columns. The source predicts the query from the previous layer's input: the caller passes that query. Not modelled:
    one number of tokens for all heads. The rotation takes no work, since the source folds it into the projections.
    Raises ValueError for shares outside 0 to 1, a negative alpha, or a rotation of another shape.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> keys = np.array([0, 9, 6, 4]).reshape(4, 1, 1)
    >>> options = PartialColumns(columns=1, alpha=4, limit=1)
    >>> select(update(start(CacheShape(4, 1, 1, 1), options), keys), np.ones((1, 1, 1))).mask.tolist()
    [[False, True, True, False]]
    """

    columns: float = 0.2
    alpha: float = 4.0
    limit: float = 0.2
    rotation: np.ndarray | None = None

    def _width(self, shape: CacheShape) -> int:
        return max(1, round(self.columns * shape.head_dim))

    def check(self, shape: CacheShape) -> None:
        check_share("columns", self.columns)
        check_share("limit", self.limit)
        check_share("alpha", self.alpha, most=math.inf)
        expected = (shape.kv_heads, shape.head_dim, shape.head_dim)
        if self.rotation is not None and self.rotation.shape != expected:
            raise ValueError(f"rotation: shape {self.rotation.shape} does not fit the cache; give {expected}")

    def _columns(self, shape: CacheShape, rows: np.ndarray) -> np.ndarray:
        """Return the first columns of rows [n, heads or kv_heads, d], rotated head by head."""
        width = self._width(shape)
        if self.rotation is None:
            return np.ascontiguousarray(rows[:, :, :width])
        # Only the columns in use are multiplied: the columns of a rotated row do not depend on each other.
        own = np.repeat(self.rotation[:, :, :width].astype(np.float32), rows.shape[1] // shape.kv_heads, axis=0)
        return np.ascontiguousarray(np.matmul(rows.transpose(1, 0, 2), own).transpose(1, 0, 2))

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        # alpha is a distance of logits; the scores here are not divided by sqrt(d).
        reach = self.alpha * math.sqrt(state.shape.head_dim)
        keep = max(1, math.floor(self.limit * state.tokens))
        mask, counts = self._keep(state, queries, lambda scores: keep_within(scores, reach, keep=keep))
        # Each score is compared twice: for the highest of the row, then with the edge below it.
        return mask, counts + Counters(comparisons=counts.comparisons)
