"""Reference of the selection by hash clusters, in plain Python: bits in lists, clusters as lists of tokens.

Written from the rule alone; goes token by token, row by row and bucket by bucket.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernels.lazy_torch import torch
from kernels.selection.algorithm import CacheShape, Counters
from kernels.selection.clusters import HashClusters
from kernels.selection.references.positions_and_scores import reference

if TYPE_CHECKING:
    from kernels.selection.references.positions_and_scores import Found, Steps


@dataclass(slots=True)
class Cluster:
    """One cluster.

    tokens: positions of its members · hash: its bits.
    """

    tokens: list[int]
    hash: list[bool]


def _hash(key: torch.Tensor, planes: torch.Tensor) -> list[bool]:
    return (planes @ key.flatten() > 0).tolist()


def _join(clusters: list[Cluster], k: torch.Tensor, new: int, options: HashClusters, planes: torch.Tensor) -> None:
    """Let the last `new` of keys k [n, heads, d] join clusters."""
    # The hashes of the clusters as they were before the chunk, then those of the new keys.
    candidates = [(cluster.hash, cluster) for cluster in clusters]
    touched = []
    for token in range(len(k) - new, len(k)):
        own = _hash(k[token], planes)
        distances = [(sum(a != b for a, b in zip(own, other, strict=True)), c) for other, c in candidates]
        near = [(distance, c) for distance, c in distances if distance < options.hamming]
        if not near:
            near = [(0, Cluster([], own))]
            clusters.append(near[0][1])
        # min and near[0] both take the earliest of equals.
        cluster = min(near, key=lambda pair: pair[0])[1] if options.ties == "nearest" else near[0][1]
        cluster.tokens.append(token)
        candidates.append((own, cluster))
        touched.append(cluster)
    if options.rehash:
        for cluster in touched:
            cluster.hash = _hash(k[cluster.tokens].sum(dim=0), planes)


def _weights(scores: list[float], negative: str, scale: float) -> list[float]:
    low, high = min(scores), max(scores)
    return [
        {"raw": s, "clamp": max(s, 0.0), "shift": s - low, "exp": math.exp((s - high) * scale)}[negative]
        for s in scores
    ]


def _passes(values: list[float], buckets: int | None) -> list[list[int]]:
    """Return the clusters that each pass adds: bucket by bucket from the top, or one by one where sorted."""
    if buckets is None:
        return [[j] for j in sorted(range(len(values)), key=lambda j: -values[j])]
    low = min(values)
    width = (max(values) - low) / buckets
    if width == 0:
        return [list(range(len(values)))] + [[]] * (buckets - 1)
    # A value belongs to the last bucket whose lower edge it reaches, in the same FP64 arithmetic as the algorithm.
    edges = [low + b * width for b in range(buckets)]
    place = [max([b for b in range(buckets) if v >= edges[b]], default=0) for v in values]
    return [[j for j in range(len(values)) if place[j] == b] for b in reversed(range(buckets))]


def keep_row(
    scores: list[float], counts: list[int], *, ratio: float, buckets: int | None, negative: str, scale: float
) -> tuple[set[int], float, int]:
    """Return the clusters that one row keeps, the sum they reach, and the passes."""
    values = _weights(scores, negative, scale)
    # Added one by one as the algorithm does: from Python 3.12 on, sum() compensates rounding errors.
    total = 0.0
    for value, count in zip(values, counts, strict=True):
        total += value * count
    kept: set[int] = set()
    running, passes = 0.0, 0
    for added in _passes(values, buckets):
        passes += 1
        for j in added:
            running += values[j] * counts[j]
        kept |= set(added)
        if ratio < 1 and running > total * ratio:
            break
    return kept, running, passes


def keep_to_ratio(
    scores: np.ndarray, counts: np.ndarray, *, ratio: float, buckets: int | None, negative: str, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return threshold.keep_to_ratio, row by row."""
    rows = [
        keep_row(row, counts.tolist(), ratio=ratio, buckets=buckets, negative=negative, scale=scale)
        for row in scores.astype(np.float64).tolist()
    ]
    kept = [any(j in row[0] for row in rows) for j in range(scores.shape[1])]
    passes = [row[2] if buckets else 0 for row in rows]
    return np.array(kept), np.array([row[1] for row in rows]), np.array(passes)


@reference
def hash_clusters(shape: CacheShape, options: HashClusters, stream: Steps) -> Found:
    """Return the trace of HashClusters."""
    sets = [[h] for h in range(shape.kv_heads)] if options.apart else [list(range(shape.kv_heads))]
    dims = len(sets[0]) * shape.head_dim
    planes = torch.tensor(np.random.default_rng(options.seed).standard_normal((options.bits, dims)))
    tables: list[list[Cluster]] = [[] for _ in sets]
    for k, q, new in stream:
        mask = torch.zeros(shape.kv_heads, len(k), dtype=torch.bool)
        mask[:, max(0, len(k) - options.recent) :] = True
        counts, held = Counters(), 0
        for heads, clusters in zip(sets, tables, strict=True):
            old = [len(cluster.tokens) for cluster in clusters]
            _join(clusters, k[:, heads], new, options, planes)
            kept, passes = _kept(clusters, k, q, options, heads)
            for tokens in kept:
                for head in heads:
                    mask[head, tokens] = True
            counts += _counts(clusters, old, new, options, passes=passes, shape=shape)
            # Per cluster an id of 4 B, the hash, a count of 2 B and the mean; per token an id of 4 B.
            held += len(clusters) * (4 + -(-options.bits // 8) + 2 + dims * shape.element_bytes) + 4 * len(k)
        yield mask, counts, held


def _kept(
    clusters: list[Cluster], k: torch.Tensor, q: torch.Tensor, options: HashClusters, heads: list[int]
) -> tuple[list[list[int]], np.ndarray]:
    """Return the tokens of the clusters that any row of these KV heads keeps, and the passes of each row."""
    share, sizes, scores = q.shape[1] // k.shape[1], [len(c.tokens) for c in clusters], []
    for head in heads:
        for query in q[:, head * share : (head + 1) * share].flatten(0, 1):
            sums = [float(k[c.tokens, head].sum(dim=0) @ query) for c in clusters]
            scores.append([total / size for total, size in zip(sums, sizes, strict=True)])
    kept, _, passes = keep_to_ratio(
        np.array(scores), np.array(sizes), ratio=options.ratio, buckets=options.buckets, negative=options.negative,
        scale=k.shape[2] ** -0.5,
    )  # fmt: skip
    return [clusters[j].tokens for j in np.flatnonzero(kept)], passes


def _counts(
    clusters: list[Cluster], old: list[int], new: int, options: HashClusters, *, passes: np.ndarray, shape: CacheShape
) -> Counters:
    # A cluster that has more tokens than before was joined, so its mean is read and hashed again.
    grown, dims = [len(c.tokens) for c in clusters], shape.head_dim * (1 if options.apart else shape.kv_heads)
    joined = sum(a < b for a, b in zip(old, grown, strict=False))
    hashed = new + (joined + len(grown) - len(old) if options.rehash else 0)
    compared = sum(len(old) + i for i in range(new))
    rows, walked = len(passes), int(passes.sum())
    read = len(old) * -(-options.bits // 8) + (joined + len(grown)) * dims * shape.element_bytes
    return Counters(
        metadata_read_bytes=read, multiply_adds=hashed * dims * options.bits + rows * len(grown) * shape.head_dim,
        additions=new * dims, comparisons=(walked + rows) * len(grown), hash_comparisons=compared,
        hashed=((new, len(old), options.bits),), ranked=((rows, len(grown), walked),) if options.buckets else (),
    )  # fmt: skip
