"""Selections of whole blocks, each ranked by one vector: the mean of its most attended keys, or of a whole frame.

Know the vectors and the budget. Do not know whether a frame is a picture.
"""

from dataclasses import dataclass

import numpy as np

from kernels.selection.algorithm import Algorithm, CacheShape, Counters, Growing, State, check_count
from kernels.selection.positions import sink_and_recent
from kernels.selection.ranking import keep_highest, scores_of


def _sum_of_groups(queries: np.ndarray, kv_heads: int) -> np.ndarray:
    """Return the sum over rows and over the query heads of each KV head, float32 [1, kv_heads, d]."""
    # Summing queries first replaces the sum of all q . k by one product.
    return queries.sum(axis=0).reshape(kv_heads, -1, queries.shape[2]).sum(axis=1)[None]


def _best(queries: np.ndarray, vectors: np.ndarray, keep: int) -> np.ndarray:
    """Return which of vectors [n, kv_heads, d] have the highest products with all queries, summed up, bool [n]."""
    scores = scores_of(_sum_of_groups(queries, vectors.shape[1]), vectors).sum(axis=(0, 1))
    return keep_highest(scores[None, None], keep)[0]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Data of BlockMeans: one vector per complete block, and the tokens that are not in a block yet.

    means: rows float32 [kv_heads, d], the first `complete` of them in use · pending: keys float32 [tokens, kv_heads, d]
    of those tokens, without the sinks · attended: float32 [tokens, kv_heads], their sums of q . k.
    """

    means: Growing
    complete: int
    pending: np.ndarray
    attended: np.ndarray


@dataclass(frozen=True, slots=True)
class BlockMeans(Algorithm):
    """Keep the first `sinks` tokens, the last `window`, and the `blocks` blocks whose vectors score highest.

    A block is `block` tokens between sinks and window. Its vector, per KV head, is the mean of its `representatives`
    keys with the highest sum of q . k over the queries given while they were in the window. All heads and rows share
    one choice: the score of a block is the sum of q . vector over them. Tokens older than the window that do not fill a
    block are kept. Bytes per KV head: c d b for c complete blocks (at most n/128) + 2 (128 + 4096 + 16 x 128) d b.
    Work: c d multiply-adds per query head and row; an addition per pair of query and window token, whose product the
    attention computes anyway. Source: InfLLM, arXiv 2402.04617. Not modelled: the source gives all tokens beyond the
    window the same position. Raises ValueError when sinks + window + blocks * block is more than the cache holds.

    Of the blocks (5, 1) and (2, 3), the first has the key with the highest score for q = 1:

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> options = BlockMeans(sinks=1, window=1, block=2, blocks=1, representatives=1)
    >>> keys, query = np.array([0, 5, 1, 2, 3, 0]).reshape(6, 1, 1), np.ones((1, 1, 1))
    >>> state = update(start(CacheShape(6, 1, 1, 1), options), keys, queries=query)
    >>> select(state, query).mask.tolist()
    [[True, True, True, False, False, True]]
    """

    learns_from_queries = True
    groups_by = "block"

    sinks: int = 128
    window: int = 4096
    block: int = 128
    blocks: int = 16
    representatives: int = 4

    def check(self, shape: CacheShape) -> None:
        check_count("sinks", self.sinks, least=0)
        check_count("window", self.window)
        check_count("block", self.block)
        check_count("blocks", self.blocks, least=0)
        most, of = self.block, "keys of a block"
        check_count("representatives", self.representatives, most=most, of=of, holder="a block holds")
        budget = self.sinks + self.window + self.blocks * self.block
        check_count("sinks + window + blocks * block", budget, most=shape.tokens)

    def begin(self, shape: CacheShape) -> Blocks:
        means = Growing(shape.tokens // self.block, (shape.kv_heads, shape.head_dim))
        pending = np.zeros((0, shape.kv_heads, shape.head_dim), dtype=np.float32)
        return Blocks(means, 0, pending, np.zeros((0, shape.kv_heads), dtype=np.float32))

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Blocks, Counters]:
        held: Blocks = state.held
        # Sinks are always kept, so they are in no block.
        new = keys[max(0, self.sinks - state.tokens) :]
        pending = np.concatenate([held.pending, new])
        attended = np.concatenate([held.attended, np.zeros(new.shape[:2], dtype=np.float32)])
        counts = Counters(additions=0 if queries is None else len(pending) * queries.shape[0] * queries.shape[1])
        if queries is not None:
            attended += scores_of(_sum_of_groups(queries, keys.shape[1]), pending)[:, 0].T
        # A block closes when its last token leaves the window, since until then attention adds to its sums.
        complete = max(0, len(pending) - self.window) // self.block
        gone = complete * self.block
        means = np.array([self._mean(pending[i : i + self.block], attended[i : i + self.block])
                          for i in range(0, gone, self.block)], dtype=np.float32)  # fmt: skip
        table = held.means.append(means.reshape(-1, *keys.shape[1:]), held.complete)
        # Each token of a closed block is a candidate for its representatives, whose keys are then added up.
        counts += Counters(comparisons=gone * keys.shape[1], additions=complete * self.representatives * keys[0].size)
        return Blocks(table, held.complete + complete, pending[gone:], attended[gone:]), counts

    def _mean(self, keys: np.ndarray, attended: np.ndarray) -> np.ndarray:
        """Return the vectors float32 [kv_heads, d] of a block of keys [block, kv_heads, d]."""
        chosen = keep_highest(np.ascontiguousarray(attended.T)[:, None], self.representatives)
        return np.where(chosen.T[:, :, None], keys, np.float32(0)).sum(axis=0) / np.float32(self.representatives)

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        held: Blocks = state.held
        # Pending tokens are the window and those before it that do not fill a block.
        row = sink_and_recent(state.tokens, self.sinks, len(held.pending))
        chosen = np.repeat(_best(queries, held.means.array[: held.complete], self.blocks), self.block)
        row[self.sinks : self.sinks + len(chosen)] |= chosen
        products, compared = queries.size * held.complete, held.complete
        counts = Counters(state.metadata_bytes, multiply_adds=products, comparisons=compared)
        return np.tile(row, (state.shape.kv_heads, 1)), counts

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Blocks) -> int:
        return held.complete * shape.kv_heads * shape.row_bytes


@dataclass(frozen=True, slots=True)
class Frames:
    """Data of FrameMeans: sums of the keys of each complete frame, rows float32 [kv_heads, d], and of the open frame.

    Sums rank the frames as means do, since all complete frames have the same number of tokens.
    """

    sums: Growing
    open_sum: np.ndarray


@dataclass(frozen=True, slots=True)
class FrameMeans(Algorithm):
    """Keep the `frames` frames whose mean key, of all heads concatenated, has the highest product with the mean query.

    A frame is `frame` tokens; tokens of an incomplete frame are kept. The mean query is the mean over rows. All heads
    share one choice. Bytes: (n/196) Hq d b once per question, since the source stores the mean once per query head,
    then 2 x 64 x 196 Hkv d b. Work: n/196 products of Hq d. Source: ReKV, arXiv 2503.00540: frames of 196 tokens,
    64 of them. Not modelled: the local window in which the video is encoded.
    Raises ValueError for more frames than the cache has.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> keys = np.array([1, 1, 4, 0, 7]).reshape(5, 1, 1)
    >>> state = update(start(CacheShape(6, 1, 1, 1), FrameMeans(frame=2, frames=1)), keys)
    >>> select(state, np.ones((1, 1, 1))).mask.tolist()
    [[False, False, True, True, True]]
    """

    groups_by = "frame"

    frame: int = 196
    frames: int = 64

    def check(self, shape: CacheShape) -> None:
        check_count("frame", self.frame, most=shape.tokens)
        check_count("frames", self.frames, most=-(-shape.tokens // self.frame), of=f"frames of {self.frame} tokens")

    def begin(self, shape: CacheShape) -> Frames:
        row = (shape.kv_heads, shape.head_dim)
        return Frames(Growing(shape.tokens // self.frame, row), np.zeros(row, dtype=np.float32))

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Frames, Counters]:
        held: Frames = state.held
        complete, inside = divmod(state.tokens, self.frame)
        # The first run of new keys completes, or continues, the open frame.
        starts = np.concatenate([[0], np.arange(self.frame - inside, len(keys), self.frame)])
        sums = np.add.reduceat(keys, starts, axis=0)
        sums[0] += held.open_sum
        # The last frame came out complete, so the open one starts at zero.
        if (state.tokens + len(keys)) % self.frame == 0:
            sums = np.concatenate([sums, np.zeros_like(sums[:1])])
        counts = Counters(additions=keys.size)
        return Frames(held.sums.append(sums[:-1], complete), sums[-1]), counts

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        complete = state.tokens // self.frame
        row = np.ones(state.tokens, dtype=bool)
        best = _best(queries, state.held.sums.array[:complete], self.frames)
        row[: complete * self.frame] = np.repeat(best, self.frame)
        products, added = complete * queries[0].size, queries.size
        counts = Counters(state.metadata_bytes, multiply_adds=products, additions=added, comparisons=complete)
        return np.tile(row, (state.shape.kv_heads, 1)), counts

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Frames) -> int:
        return tokens // self.frame * shape.heads * shape.row_bytes
