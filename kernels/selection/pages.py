"""Selections by pages, ranked by the smallest and largest key of each channel; for all heads or for gated heads.

Know min, max and the budget in pages. Do not know how a page lies in memory.
"""

from dataclasses import dataclass

import numpy as np

from kernels.selection.algorithm import Algorithm, CacheShape, Counters, Growing, State, check_count
from kernels.selection.positions import check_budget, check_gates, retrieving_heads, sink_and_recent
from kernels.selection.ranking import keep_highest, scores_of


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and largest keys, per channel, of closed pages and of the open page, which has the newest token.

    low, high: rows float32 [kv_heads, d], the first `closed` of them in use · open_low, open_high: float32
    [1, kv_heads, d], of the open page · closed: number of closed pages.
    """

    low: Growing
    high: Growing
    open_low: np.ndarray
    open_high: np.ndarray
    closed: int

    def above(self, queries: np.ndarray) -> np.ndarray:
        """Return an upper bound of q . k over the keys of each page, float32 [heads, rows, pages], the open page last.

        queries float32 [rows, heads, d]. Never below the largest q . k of the page, except by FP32 rounding.
        Formula: sum over channels of max(q min, q max) = sum of max(q, 0) max + min(q, 0) min.
        """
        # The sign of q alone decides between min and max, which leaves two matrix products.
        positive, negative = np.maximum(queries, 0), np.minimum(queries, 0)
        closed = (self.high.array[: self.closed], self.low.array[: self.closed])
        pairs = (closed, (self.open_high, self.open_low))
        return np.concatenate([scores_of(positive, high) + scores_of(negative, low) for high, low in pairs], axis=2)


def no_bounds(capacity: int, page: int, *, kv_heads: int, width: int) -> Bounds:
    """Return the bounds of an empty cache with a capacity in tokens, in pages of `page`."""
    low, high = (Growing(-(-capacity // page), (kv_heads, width)) for _ in range(2))
    # The neutral elements of min and max, so that the first key replaces both.
    highest = np.full((1, kv_heads, width), np.inf, dtype=np.float32)
    return Bounds(low, high, highest, -highest, 0)


def widen(bounds: Bounds, keys: np.ndarray, *, page: int, tokens: int) -> Bounds:
    """Return the bounds after keys [new, kv_heads, d] joined a cache of `tokens` tokens, in pages of `page`.

    >>> keys = np.array([1, 5, 3], dtype=np.float32).reshape(3, 1, 1)
    >>> bounds = widen(no_bounds(4, 2, kv_heads=1, width=1), keys, page=2, tokens=0)
    >>> bounds.low.array[0].item(), bounds.high.array[0].item(), bounds.open_low.item(), bounds.open_high.item()
    (1.0, 5.0, 3.0, 3.0)
    """
    # Tokens in the open page. A full page stays open until the next token comes: it has the newest one until then.
    inside = tokens - bounds.closed * page
    starts = np.arange(page - inside, len(keys), page)
    if inside < page:
        starts = np.concatenate([[0], starts])
    low, high = np.minimum.reduceat(keys, starts), np.maximum.reduceat(keys, starts)
    if inside < page:
        low[:1], high[:1] = np.minimum(low[:1], bounds.open_low), np.maximum(high[:1], bounds.open_high)
    else:
        low, high = np.concatenate([bounds.open_low, low]), np.concatenate([bounds.open_high, high])
    closed = bounds.closed
    return Bounds(
        bounds.low.append(low[:-1], closed), bounds.high.append(high[:-1], closed), low[-1:].astype(np.float32),
        high[-1:].astype(np.float32), closed + len(low) - 1,
    )  # fmt: skip


def _check_pages(pages: int, page: int, shape: CacheShape) -> None:
    check_count("page", page, most=shape.tokens)
    check_count("pages", pages, most=-(-shape.tokens // page), of=f"pages of {page} tokens")


def _highest_pages(scores: np.ndarray, pages: int) -> np.ndarray:
    """Return which pages are kept, bool [heads, pages]: the highest of each row, always with the last page."""
    scores[:, :, -1] = np.inf
    return keep_highest(scores, pages)


@dataclass(frozen=True, slots=True)
class PageBounds(Algorithm):
    """Keep the `pages` pages with the highest upper bound of q . k, per query head and row.

    The page of the newest token, full or not, is always kept. Bytes per KV head and step: (2 d n/p + 2 k p d) b for one
    query head per KV head, n a multiple of p; with more query heads or rows, all pages that any of them keeps are read.
    Work: 2 multiply-adds and a comparison per channel and page, and one comparison per page. Source: Quest,
    arXiv 2406.10774: page 16, keys after RoPE; 128 pages are a budget of 2048 tokens. Not modelled: layers 0 and 1,
    which stay dense in the source: use Everything for them. Raises ValueError for more pages than the cache has.

    Keys 0, 4 | 1, 1 | 0, and q = 1: bounds 4 and 1, so the first page is kept besides the open one.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> keys = np.array([0, 4, 1, 1, 0]).reshape(5, 1, 1)
    >>> state = update(start(CacheShape(6, 1, 1, 1), PageBounds(page=2, pages=2)), keys)
    >>> select(state, np.ones((1, 1, 1))).mask.tolist()
    [[True, True, False, False, True]]
    """

    groups_by = "page"

    page: int = 16
    pages: int = 128

    def check(self, shape: CacheShape) -> None:
        _check_pages(self.pages, self.page, shape)

    def begin(self, shape: CacheShape) -> Bounds:
        return no_bounds(shape.tokens, self.page, kv_heads=shape.kv_heads, width=shape.head_dim)

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Bounds, Counters]:
        held = widen(state.held, keys, page=self.page, tokens=state.tokens)
        return held, Counters(comparisons=2 * keys.size)

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        scores, width = state.held.above(queries), state.shape.head_dim
        products, compared = 2 * width * scores.size, (width + 1) * scores.size
        kept = np.repeat(_highest_pages(scores, self.pages), self.page, axis=1)[:, : state.tokens]
        return kept, Counters(state.metadata_bytes, multiply_adds=products, comparisons=compared)

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Bounds) -> int:
        return 2 * -(-tokens // self.page) * shape.kv_heads * shape.row_bytes


@dataclass(frozen=True, slots=True)
class Gated:
    """Data of GatedPages: bounds of the retrieving heads, and the pages chosen `age` updates ago, if any."""

    bounds: Bounds
    choice: np.ndarray | None
    age: int


@dataclass(frozen=True, slots=True)
class GatedPages(Algorithm):
    """KV heads whose gate reaches the quantile keep `pages` pages for `reuse` steps; the others keep sinks and recent.

    A page ranks by the best bound of its sub-chunks. Every `reuse`-th update with queries chooses, and the selects use
    that choice until the next one; pages begun since are kept. After an update without queries, each select makes its
    own choice. Gates and sparsity as in GatedHeads. Bytes per step, for one query head per KV head: half of the heads
    (2 d n/16) b every 4th step and 2 * 4096 d b each step, the others 2 * 384 d b.
    Source: LServe, arXiv 2502.14866: page 64, sub-chunk 16, 4096 tokens, 4 steps. Not modelled: quantised K and V.
    Raises ValueError for a page that is no multiple of the sub-chunk, or a budget larger than the cache.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> options = GatedPages(page=2, sub_chunk=1, pages=2, sinks=1, recent=1, gates=(0.0, 1.0))
    >>> keys = np.array([0, 4, 1, 1, 0]).reshape(5, 1, 1).repeat(2, axis=1)
    >>> state = update(start(CacheShape(6, 2, 2, 1), options), keys)
    >>> select(state, np.ones((1, 2, 1))).mask.astype(int).tolist()
    [[1, 0, 0, 0, 1], [1, 1, 0, 0, 1]]
    """

    groups_by = "page"

    page: int = 64
    sub_chunk: int = 16
    pages: int = 64
    reuse: int = 4
    sinks: int = 128
    recent: int = 256
    sparsity: float = 0.5
    gates: tuple[float, ...] = ()

    def check(self, shape: CacheShape) -> None:
        check_count("sub_chunk", self.sub_chunk)
        if self.page % self.sub_chunk:
            raise ValueError(f"page: {self.page} is no multiple of the sub_chunk {self.sub_chunk}; take a multiple")
        _check_pages(self.pages, self.page, shape)
        check_count("reuse", self.reuse)
        check_gates(self.gates, shape, sparsity=self.sparsity)
        check_budget(shape, sinks=self.sinks, recent=self.recent)

    def _retrieving(self, shape: CacheShape) -> np.ndarray:
        return retrieving_heads(self.gates, shape.kv_heads, sparsity=self.sparsity)

    def begin(self, shape: CacheShape) -> Gated:
        kv_heads = int(self._retrieving(shape).sum())
        return Gated(no_bounds(shape.tokens, self.sub_chunk, kv_heads=kv_heads, width=shape.head_dim), None, 0)

    def _choice(self, shape: CacheShape, bounds: Bounds, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        """Return which pages the retrieving query heads keep, bool [heads, pages], and the counts."""
        heads = self._retrieving(shape)
        scores = bounds.above(queries[:, np.repeat(heads, shape.share)])
        # page is a multiple of sub_chunk, so no sub-chunk lies in two pages.
        best = np.maximum.reduceat(scores, np.arange(0, scores.shape[2], self.page // self.sub_chunk), axis=2)
        read = 2 * scores.shape[2] * int(heads.sum()) * shape.row_bytes
        products, compared = 2 * shape.head_dim * scores.size, (shape.head_dim + 1) * scores.size + best.size
        return _highest_pages(best, self.pages), Counters(read, multiply_adds=products, comparisons=compared)

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Gated, Counters]:
        held: Gated = state.held
        own = keys[:, self._retrieving(state.shape)]
        bounds = widen(held.bounds, own, page=self.sub_chunk, tokens=state.tokens)
        counts = Counters(comparisons=2 * own.size)
        # Without queries there is nothing to choose by, and the old choice does not know the new keys.
        if queries is None:
            return Gated(bounds, None, 0), counts
        if held.choice is not None and held.age + 1 < self.reuse:
            return Gated(bounds, held.choice, held.age + 1), counts
        choice, more = self._choice(state.shape, bounds, queries)
        return Gated(bounds, choice, 0), counts + more

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        shape, held, counts = state.shape, state.held, Counters()
        choice = held.choice
        if choice is None:
            choice, counts = self._choice(shape, held.bounds, queries)
        pages = -(-state.tokens // self.page)
        # Pages newer than the choice were not ranked; dropping them would lose the newest tokens.
        begun_since = np.ones((len(choice), pages - choice.shape[1]), dtype=bool)
        by_page = np.repeat(np.concatenate([choice, begun_since], axis=1), self.page, axis=1)[:, : state.tokens]
        mask = np.tile(sink_and_recent(state.tokens, self.sinks, self.recent), (shape.heads, 1))
        mask[np.repeat(self._retrieving(shape), shape.share)] = by_page
        return mask, counts

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Gated) -> int:
        return 2 * -(-tokens // self.sub_chunk) * int(self._retrieving(shape).sum()) * shape.row_bytes
