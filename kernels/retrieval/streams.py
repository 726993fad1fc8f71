"""Streams of keys, values and queries of one layer: drawn like a video with needles, or recorded as arrays.

Knows correlations and where needles are. Does not know a model: the drawn channels stand for no trained features.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.retrieval.selection import CacheShape, check_count, check_share


@dataclass(frozen=True, slots=True)
class Stream:
    """Tokens of one layer in order of time, after RoPE.

    keys, values: float32 [tokens, kv_heads, d] · queries: float32 [tokens, heads, d], of the same tokens ·
    frame: tokens of a frame; the last may have fewer · questions: float32 [needles, heads, d], each for one needle ·
    needles: int64 [needles], positions · mass: the dense attention mass that each question has on its needle.
    """

    keys: np.ndarray
    values: np.ndarray
    queries: np.ndarray
    frame: int
    questions: np.ndarray
    needles: np.ndarray
    mass: float = 0.0

    @property
    def shape(self) -> CacheShape:
        """The cache that holds all of it, in BF16."""
        tokens, kv_heads, width = self.keys.shape
        return CacheShape(tokens, self.queries.shape[1], kv_heads, width)

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield keys and queries frame by frame, as update and select take them."""
        for first in range(0, len(self.keys), self.frame):
            yield self.keys[first : first + self.frame], self.queries[first : first + self.frame]


def _alike(rng: np.random.Generator, shape: tuple[int, ...], agreement: float) -> np.ndarray:
    """Return unit normals float32 [..., heads, d] whose heads are that correlated."""
    common = rng.standard_normal((*shape[:-2], 1, shape[-1]), dtype=np.float32)
    own = rng.standard_normal(shape, dtype=np.float32)
    return np.float32(math.sqrt(agreement)) * common + np.float32(math.sqrt(1 - agreement)) * own


def _similar(noise: np.ndarray, *, temporal: float, spatial: float) -> np.ndarray:
    """Return noise float32 [frames, places, heads, d] with neighbours in time and place that correlated."""
    noise = noise.copy()
    for axis, share in ((1, spatial), (0, temporal)):
        along, fresh = np.moveaxis(noise, axis, 0), np.float32(math.sqrt(1 - share * share))
        for i in range(1, len(along)):
            along[i] = np.float32(share) * along[i - 1] + fresh * along[i]
    return noise


def _needle_directions(rng: np.random.Generator, needles: int, *, kv_heads: int, width: int) -> np.ndarray:
    """Return orthonormal directions float64 [kv_heads, needles, d]."""
    return np.linalg.qr(rng.standard_normal((kv_heads, width, needles)))[0].transpose(0, 2, 1)


def video_stream(
    seed: int,
    frames: int,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    frame: int = 10,
    temporal: float = 0.99,
    spatial: float = 0.9,
    agreement: float = 0.9,
    focus: float = 0.9,
    sharpness: float = 1.0,
    needles: int = 0,
    mass: float = 0.9,
) -> Stream:
    """Return a stream of frames whose tokens are alike in time and place, and questions for needles hidden among them.

    Each channel of K and V is a unit normal with correlation `temporal` to the same place of the frame before,
    `spatial` to the place before, first-order in both, and `agreement` to the same channel of another KV head. A query
    is sharpness * (focus * the key of its token + sqrt(1 - focus**2) * noise), the noise of heads as much in agreement.
    Needle i is one token at a drawn place; its key, per KV head, is a direction u of length sqrt(d) to which all other
    keys are made orthogonal, and question i is a multiple of u, so that its logit is log(mass (n - 1) / (1 - mass)) at
    the needle and 0 elsewhere: dense attention of the whole stream of n tokens puts `mass` on it, and a selection
    recalls mass * kept + (1 - mass) * (other kept tokens) / (n - 1). The same seed gives the same stream.
    Derived: no source; the frame of 10 tokens is that of arXiv 2512.12284, and the other defaults are such that its
    selection at its settings keeps about a third of 4000 tokens, as it is said to. Not modelled: RoPE, heads of
    different kinds, keys with a large common mean, scene cuts.
    Raises ValueError for shares outside 0 to 1, a mass of 0 or 1, or more needles than channels or tokens.

    >>> stream = video_stream(0, 3, heads=2, kv_heads=1, head_dim=8, frame=4, needles=1)
    >>> stream.keys.shape, stream.queries.shape, stream.questions.shape, [len(keys) for keys, _ in stream.frames()]
    ((12, 1, 8), (12, 2, 8), (1, 2, 8), [4, 4, 4])
    """
    check_count("frames", frames)
    check_count("frame", frame)
    shape = CacheShape(frames * frame, heads, kv_heads, head_dim)
    for name, value in (("temporal", temporal), ("spatial", spatial), ("agreement", agreement), ("focus", focus)):
        check_share(name, value)
    check_count("needles", needles, least=0)
    if needles > min(head_dim, shape.tokens - 1):
        most = min(head_dim, shape.tokens - 1)
        raise ValueError(f"needles: {needles} in {shape.tokens} tokens of {head_dim} channels; take at most {most}")
    if not 0 < mass < 1:
        raise ValueError(f"mass: {mass} is not between 0 and 1; take a number between, such as 0.9")
    rng = np.random.default_rng(seed)
    rows = (frames, frame, kv_heads, head_dim)
    keys, values = (
        _similar(_alike(rng, rows, agreement), temporal=temporal, spatial=spatial).reshape(-1, kv_heads, head_dim)
        for _ in range(2)
    )
    noise = _alike(rng, (shape.tokens, heads, head_dim), agreement)
    own = np.repeat(keys, shape.share, axis=1)
    queries = (sharpness * (focus * own + math.sqrt(1 - focus * focus) * noise)).astype(np.float32)
    places = np.sort(rng.choice(shape.tokens, needles, replace=False))
    directions = _needle_directions(rng, needles, kv_heads=kv_heads, width=head_dim)
    keys = _hide(keys, directions, places)
    logit = math.log(mass * (shape.tokens - 1) / (1 - mass)) if needles else 0.0
    questions = np.repeat(directions.transpose(1, 0, 2), shape.share, axis=1) * logit
    return Stream(keys, values, queries, frame, questions.astype(np.float32), places, mass if needles else 0.0)


def _hide(keys: np.ndarray, directions: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return keys [tokens, kv_heads, d] without any part along the directions, with the needles in their places."""
    along = np.einsum("nhd,hmd->nhm", keys, directions)
    hidden = keys - np.einsum("nhm,hmd->nhd", along, directions)
    hidden[places] = directions.transpose(1, 0, 2) * math.sqrt(keys.shape[2])
    return hidden.astype(np.float32)


def recorded_stream(
    keys: np.ndarray,
    values: np.ndarray,
    *,
    queries: np.ndarray,
    frame: int,
    questions: np.ndarray | None = None,
    needles: np.ndarray | None = None,
    mass: float = 0.0,
) -> Stream:
    """Return a stream of arrays recorded elsewhere, after RoPE; float32.

    Raises ValueError for shapes that do not fit each other, elements that are not finite, or needles that are no
    positions of the stream.

    >>> recorded_stream(np.ones((5, 1, 2)), np.ones((5, 1, 2)), queries=np.ones((5, 3, 2)), frame=2).shape.heads
    3
    """
    heads, width = (queries.shape[1], queries.shape[2]) if queries.ndim == 3 else (0, 0)
    if keys.ndim != 3 or values.shape != keys.shape:
        raise ValueError(f"values: shape {values.shape} beside keys {keys.shape}; give [tokens, kv_heads, d] twice")
    if len(queries) != len(keys) or width != keys.shape[2]:
        wanted = f"[{len(keys)}, heads, {keys.shape[2]}]"
        raise ValueError(f"queries: shape {queries.shape} beside keys {keys.shape}; give {wanted}")
    CacheShape(len(keys), heads, keys.shape[1], width)
    check_count("frame", frame, most=len(keys), holder="the stream holds")
    questions = np.zeros((0, heads, width)) if questions is None else questions
    needles = np.zeros(0, dtype=np.int64) if needles is None else needles
    if questions.shape != (len(needles), heads, width):
        wanted = f"[{len(needles)}, {heads}, {width}]"
        raise ValueError(f"questions: shape {questions.shape} for {len(needles)} needles; give {wanted}")
    if len(needles) and not 0 <= needles.min() <= needles.max() < len(keys):
        raise ValueError(f"needles: positions {needles.tolist()}; take from 0 to {len(keys) - 1}")
    arrays = [np.ascontiguousarray(a, dtype=np.float32) for a in (keys, values, queries, questions)]
    for name, array in zip(("keys", "values", "queries", "questions"), arrays, strict=True):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} elements are not finite; give finite numbers")
    return Stream(arrays[0], arrays[1], arrays[2], frame, arrays[3], needles.astype(np.int64), mass)
