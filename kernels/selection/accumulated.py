"""Selection by the attention that a token has received so far, with permanent eviction.

Knows the sums and which tokens are evicted. Recomputes the attention probabilities instead of taking them from a run.
"""

from dataclasses import dataclass

import numpy as np

from kernels.selection.algorithm import Algorithm, CacheShape, Counters, State
from kernels.selection.positions import check_budget
from kernels.selection.ranking import keep_highest, scores_of

# The sums are counted as FP32 numbers in memory, although they are computed in FP64 here.
ACCUMULATOR_BYTES = 4


@dataclass(frozen=True, slots=True)
class Survivors:
    """The tokens that were not evicted, in the order of their positions, and the attention they received.

    positions: int64 [kv_heads, kept], rising · received: float64 [kv_heads, kept], sums of attention probabilities ·
    keys: float32 [kv_heads, kept, d].
    """

    positions: np.ndarray
    received: np.ndarray
    keys: np.ndarray

    def without_evicted(self, stays: np.ndarray) -> "Survivors":
        """Return the tokens where stays, bool [kv_heads, kept], is True: the same number in each KV head."""
        # nonzero lists the columns head by head, and equal numbers per head make them a matrix.
        column = np.nonzero(stays)[1].reshape(len(stays), -1)
        head = np.arange(len(stays))[:, None]
        return Survivors(self.positions[head, column], self.received[head, column], self.keys[head, column])


def _attention(keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the attention of queries [rows, heads, d] to keys [kv_heads, kept, d], float64 [kv_heads, kept]."""
    rows, heads, width = queries.shape
    logits = scores_of(queries, keys.transpose(1, 0, 2)).astype(np.float64) * width**-0.5
    logits -= logits.max(axis=2, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=2, keepdims=True)
    return logits.reshape(len(keys), heads // len(keys) * rows, -1).sum(axis=1)


@dataclass(frozen=True, slots=True)
class HeavyHitters(Algorithm):
    """Keep the last `recent` tokens and, of the others, the `heavy` that received the most attention, per KV head.

    An update adds the new tokens, evicts, and then adds the attention of its queries to the tokens left; an update
    without queries adds nothing. Among equals the older token stays. Evicted tokens never return. Bytes per KV head and
    step: 2 (heavy + recent) d b; the FP32 accumulators are read in the update. Work: an addition per query head, row
    and kept token; a comparison per token outside `recent`. Source: H2O, arXiv 2306.14048, heavy = recent; the default
    budget is not from there. Attention is summed over the query heads of a group: derived, the source has one KV head
    per query head. Raises ValueError when heavy + recent is more than the cache holds.

    The second token receives more attention from the first query, so the first token is evicted:

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> state = start(CacheShape(3, 1, 1, 1), HeavyHitters(heavy=1, recent=1))
    >>> state = update(state, np.array([[[0.0]], [[1.0]]]), queries=np.ones((1, 1, 1)))
    >>> select(update(state, np.zeros((1, 1, 1))), np.ones((1, 1, 1))).mask.tolist()
    [[False, True, True]]
    """

    learns_from_queries = True

    heavy: int = 2048
    recent: int = 2048

    def check(self, shape: CacheShape) -> None:
        check_budget(shape, heavy=self.heavy, recent=self.recent)

    def begin(self, shape: CacheShape) -> Survivors:
        none = (shape.kv_heads, 0)
        keys = np.zeros((*none, shape.head_dim), dtype=np.float32)
        return Survivors(np.zeros(none, dtype=np.int64), np.zeros(none), keys)

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Survivors, Counters]:
        held: Survivors = state.held
        kv_heads, tokens = state.shape.kv_heads, state.tokens + len(keys)
        joining = np.tile(np.arange(state.tokens, tokens), (kv_heads, 1))
        candidates = Survivors(
            np.concatenate([held.positions, joining], axis=1),
            np.concatenate([held.received, np.zeros(joining.shape)], axis=1),
            np.concatenate([held.keys, keys.transpose(1, 0, 2)], axis=1),
        )
        # Positions rise and recent tokens are never evicted, so the last columns are the recent tokens.
        rest = candidates.positions.shape[1] - min(self.recent, tokens)
        kept = candidates
        if rest > self.heavy:
            stays = np.ones(candidates.positions.shape, dtype=bool)
            # Ranked in FP32, as keep_highest requires: sums that agree in FP32 are equal, and the older token stays.
            stays[:, :rest] = keep_highest(candidates.received[:, :rest].astype(np.float32)[:, None], self.heavy)
            kept = candidates.without_evicted(stays)
        counts = Counters(comparisons=kv_heads * rest)
        if queries is None:
            return kept, counts
        received = kept.received + _attention(kept.keys, queries)
        additions = queries.shape[0] * queries.shape[1] * received.shape[1]
        counts += Counters(metadata_read_bytes=ACCUMULATOR_BYTES * received.size, additions=additions)
        return Survivors(kept.positions, received, kept.keys), counts

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        mask = np.zeros((state.shape.kv_heads, state.tokens), dtype=bool)
        np.put_along_axis(mask, state.held.positions, True, axis=1)
        return mask, Counters()

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Survivors) -> int:
        return ACCUMULATOR_BYTES * held.positions.size
