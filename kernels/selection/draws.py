"""Arguments for the selections in kernels.PAIRS, drawn at random up to a size.

Keys and queries are small whole numbers, so that every sum is exact in FP32 and equal scores occur. Where a softmax
decides they are normal numbers, because sums equal in one order of additions could differ in another.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.selection.accumulated import HeavyHitters
from kernels.selection.algorithm import Algorithm, CacheShape
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.clusters import HashClusters
from kernels.selection.columns import HighestScores, LabelChannels, PartialColumns
from kernels.selection.pages import GatedPages, PageBounds
from kernels.selection.positions import Everything, GatedHeads, SinkWindow
from kernels.selection.threshold import NEGATIVE

Arguments = dict[str, Any]


def _upto(rng: np.random.Generator, most: int, *, least: int = 1) -> int:
    return int(rng.integers(least, most + 1))


def _stream(rng: np.random.Generator, size: int, *, whole: bool = True) -> tuple[CacheShape, Arguments]:
    """Return a shape, and the arguments except options: keys and queries of up to 2 * size tokens, at most 7 chunks."""
    if size == 1:
        shape, tokens = CacheShape(1, 1, 1, 1), 1
    else:
        tokens, kv_heads = _upto(rng, 2 * size), _upto(rng, 3)
        # Up to 9 places stay free, so that rules cannot take the capacity for the number of tokens.
        room, heads = tokens + _upto(rng, 9, least=0), kv_heads * _upto(rng, 3)
        shape = CacheShape(room, heads, kv_heads, _upto(rng, min(size, 9)))
    keys, queries = (
        rng.integers(-4, 5, (tokens, heads, shape.head_dim)).astype(np.float32)
        if whole
        else rng.standard_normal((tokens, heads, shape.head_dim), dtype=np.float32)
        for heads in (shape.kv_heads, shape.heads)
    )
    return shape, {"shape": shape, "keys": keys, "queries": queries, "chunk": -(-tokens // _upto(rng, min(size, 7)))}


def with_stream(
    options: Callable[[np.random.Generator, CacheShape], Algorithm], *, whole: bool = True, most: int | None = None
) -> Callable[[np.random.Generator, int], Arguments]:
    """Return the draw of a stream, of a size of at most `most`, and of options that fit its shape."""

    def drawn(rng: np.random.Generator, size: int) -> Arguments:
        shape, stream = _stream(rng, min(size, most or size), whole=whole)
        # Sharp queries where a softmax decides, so that the scale of the logits decides which token receives more.
        queries = stream["queries"] if whole else 4 * stream["queries"]
        return {**stream, "queries": queries, "options": options(rng, shape)}

    return drawn


def _gates(rng: np.random.Generator, shape: CacheShape) -> Arguments:
    """Return gates in sixteenths, or none, and a sparsity in quarters."""
    gates = tuple((rng.integers(0, 17, shape.kv_heads) / 16).tolist()) if rng.integers(2) else ()
    return {"gates": gates, "sparsity": _upto(rng, 4, least=0) / 4}


def _parts(rng: np.random.Generator, most: int) -> tuple[int, int]:
    """Return a number of at least 0 and one of at least 1, with a sum of at most `most`."""
    first = int(rng.integers(0, most))
    return first, _upto(rng, most, least=first + 1) - first


def everything(rng: np.random.Generator, shape: CacheShape) -> Everything:
    """Return the rule that keeps everything."""
    return Everything()


def sink_window(rng: np.random.Generator, shape: CacheShape) -> SinkWindow:
    """Return sinks and a window within the cache."""
    return SinkWindow(*_parts(rng, shape.tokens))


def gated_heads(rng: np.random.Generator, shape: CacheShape) -> GatedHeads:
    """Return gates, sinks and recent tokens."""
    return GatedHeads(*_parts(rng, shape.tokens), **_gates(rng, shape))


def highest_scores(rng: np.random.Generator, shape: CacheShape) -> HighestScores:
    """Return a budget of tokens."""
    return HighestScores(_upto(rng, shape.tokens))


def label_channels(rng: np.random.Generator, shape: CacheShape) -> LabelChannels:
    """Return a budget, and the first channels or drawn ones."""
    group = _upto(rng, shape.head_dim)
    width = -(-shape.head_dim // group)
    drawn = tuple(tuple(rng.permutation(shape.head_dim)[:width].tolist()) for _ in range(shape.kv_heads))
    return LabelChannels(group, _upto(rng, shape.tokens), drawn if rng.integers(2) else ())


def partial_columns(rng: np.random.Generator, shape: CacheShape) -> PartialColumns:
    """Return shares in quarters, and no rotation or one that permutes and flips channels."""
    # Permutations and signs keep whole numbers whole.
    eye = np.eye(shape.head_dim, dtype=np.float32)
    turns = np.stack([eye[rng.permutation(shape.head_dim)] * rng.choice([-1, 1]) for _ in range(shape.kv_heads)])
    columns, limit = _upto(rng, 4, least=0) / 4, _upto(rng, 4, least=0) / 4
    rotation = turns.astype(np.float32) if rng.integers(2) else None
    return PartialColumns(columns, float(rng.uniform(0, 20)), limit, rotation)


def heavy_hitters(rng: np.random.Generator, shape: CacheShape) -> HeavyHitters:
    """Return a budget of half of the cache."""
    return HeavyHitters(*_parts(rng, -(-shape.tokens // 2)))


def page_bounds(rng: np.random.Generator, shape: CacheShape) -> PageBounds:
    """Return a page and a budget of pages."""
    page = _upto(rng, min(shape.tokens, 9))
    return PageBounds(page, _upto(rng, -(-shape.tokens // page)))


def gated_pages(rng: np.random.Generator, shape: CacheShape) -> GatedPages:
    """Return pages of one to three sub-chunks, gates, and a reuse of one to four steps."""
    sub_chunk = _upto(rng, min(shape.tokens, 4))
    page = sub_chunk * _upto(rng, min(3, shape.tokens // sub_chunk))
    pages, ends = _upto(rng, -(-shape.tokens // page)), _parts(rng, shape.tokens)
    return GatedPages(page, sub_chunk, pages, _upto(rng, 4), *ends, **_gates(rng, shape))


def block_means(rng: np.random.Generator, shape: CacheShape) -> BlockMeans:
    """Return blocks with 1, 2 or 4 representatives."""
    # A quotient by a power of two is exact.
    sinks, window = _parts(rng, -(-shape.tokens // 3))
    block = _upto(rng, max(1, shape.tokens // 8))
    blocks = _upto(rng, (shape.tokens - sinks - window) // block, least=0)
    return BlockMeans(sinks, window, block, blocks, int(rng.choice([r for r in (1, 2, 4) if r <= block])))


def frame_means(rng: np.random.Generator, shape: CacheShape) -> FrameMeans:
    """Return frames of up to 9 tokens and a budget of frames."""
    frame = _upto(rng, min(shape.tokens, 9))
    return FrameMeans(frame, _upto(rng, -(-shape.tokens // frame)))


def hash_clusters(rng: np.random.Generator, shape: CacheShape) -> HashClusters:
    """Return any options."""
    bits = _upto(rng, 64)
    return HashClusters(
        bits=bits, hamming=_upto(rng, bits // 2 + 1, least=0), ratio=_upto(rng, 8, least=0) / 8,
        buckets=None if rng.integers(2) else _upto(rng, 25), negative=str(rng.choice(NEGATIVE)),
        ties=("nearest", "first")[int(rng.integers(2))], rehash=bool(rng.integers(2)), apart=bool(rng.integers(2)),
        recent=_upto(rng, shape.tokens, least=0), seed=_upto(rng, 99),
    )  # fmt: skip


def weighted_rows(rng: np.random.Generator, size: int) -> Arguments:
    """Return rows of whole scores with counts, a ratio in eighths, and 1 to 25 buckets or none."""
    rows, columns = _upto(rng, size), _upto(rng, size)
    return {
        "scores": rng.integers(-20, 40, (rows, columns)).astype(np.float64), "counts": rng.integers(1, 9, columns),
        "ratio": _upto(rng, 8, least=0) / 8, "buckets": None if rng.integers(2) else _upto(rng, 25),
        "negative": str(rng.choice(NEGATIVE)), "scale": 0.125,
    }  # fmt: skip


def masked(rng: np.random.Generator, size: int) -> Arguments:
    """Return queries and a cache, a mask of KV or query heads or None, and whether the queries are the newest rows."""
    _, stream = _stream(rng, size, whole=False)
    keys = stream["keys"]
    queries = stream["queries"][-_upto(rng, len(keys)) :]
    heads = keys.shape[1] if rng.integers(2) else queries.shape[1]
    mask = rng.integers(0, 2, (heads, len(keys))).astype(bool) if rng.integers(4) else None
    values = rng.standard_normal(keys.shape, dtype=np.float32)
    return {"queries": queries, "keys": keys, "values": values, "mask": mask, "causal": bool(rng.integers(2))}
