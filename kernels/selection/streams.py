"""Streams of keys, values and queries of one layer: drawn like a video with needles, or recorded as arrays.

Knows correlations and where needles are. Does not know a model: drawn channels are not trained features.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.machine_code import compiled
from kernels.selection.algorithm import CacheShape, check_count, check_share

# Squares of elements, summed over 10^8 of them, still are FP32 numbers. Trained models stay below 10^4.
LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Stream:
    """Tokens of one layer in order of time, after RoPE.

    keys, values: float32 [tokens, kv_heads, d] · queries: float32 [tokens, heads, d], of the same tokens ·
    frame: tokens per frame; the last may have fewer · questions: float32 [needles, heads, d], one for each needle ·
    needles: int64 [needles], their positions · mass: the dense attention mass of each question on its needle.
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
        """The shape of a cache that holds the whole stream, in BF16."""
        tokens, kv_heads, width = self.keys.shape
        return CacheShape(tokens, self.queries.shape[1], kv_heads, width)

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield keys and queries frame by frame, as update and select take them."""
        for first in range(0, len(self.keys), self.frame):
            yield self.keys[first : first + self.frame], self.queries[first : first + self.frame]


@compiled(nogil=True)
def _correlate(
    common: np.ndarray,
    own: np.ndarray,
    last: np.ndarray,
    into: np.ndarray,
    mean: np.ndarray,
    rest: np.float32,
    temporal: np.float32,
    spatial: np.float32,
    agreement: np.float32,
    started: bool,
) -> None:
    """Write a head's channels [frames, places, d] from noise shared by all heads and its own; last is [places, d]."""
    # Weights whose squares add up to 1 keep every channel a unit normal.
    shared, apart = np.float32(math.sqrt(agreement)), np.float32(math.sqrt(1 - agreement))
    here, now = np.float32(math.sqrt(1 - spatial * spatial)), np.float32(math.sqrt(1 - temporal * temporal))
    for f in range(own.shape[0]):
        for p in range(own.shape[1]):
            for c in range(own.shape[2]):
                fresh = shared * common[f, p, c] + apart * own[f, p, c]
                if p:
                    fresh = spatial * own[f, p - 1, c] + here * fresh
                # Stored before the temporal mix: the next place correlates with the noise of this frame alone.
                own[f, p, c] = fresh
                # The first frame of all has no frame before it, and mixing with zeros would shrink it.
                if started or f:
                    fresh = temporal * last[p, c] + now * fresh
                last[p, c] = fresh
                into[f, p, c] = mean[c] + rest * fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Draws streams of frames with tokens that correlate in time and place; the same seed gives the same stream.

    Each channel of K and V is a unit normal with correlation `temporal` to the same place of the frame before,
    `spatial` to the place before, first-order in both, and `agreement` to the same channel of another KV head. A query
    is sharpness * (focus * the key of its token + sqrt(1 - focus**2) * noise), with the same agreement of the noise
    between heads. All keys and all noise share one direction, which gives any two of them a correlation of `common`.
    Every head has its own generator, so a longer stream begins like a shorter one and a head can be drawn alone.
    Derived: no source, except for the frame of 10 tokens, arXiv 2512.12284. The other defaults are calibrated to the
    selection of that paper (clusters of 32 tokens; 32.7 % kept per frame, 2.5 % per text token). With its settings and
    raw scores, over six seeds and 1000 to 40,000 tokens, clusters have 25 to 39 tokens; a frame keeps 64 % at 1000
    tokens (40 clusters are few), 41 % at 5000 and 35 to 29 % beyond; one row keeps 4 to 7 %. A single step deviates by
    up to half of that, a row from 0 to 17 %. `sharpness` is not calibrated: it sets how far attention concentrates.
    Not modelled: RoPE, heads of different kinds, scene cuts, text queries unlike those of frames.
    Raises ValueError for shares outside 0 to 1.
    """

    seed: int
    heads: int
    kv_heads: int
    head_dim: int
    frame: int = 10
    temporal: float = 0.96
    spatial: float = 0.2
    agreement: float = 0.99
    focus: float = 0.2
    sharpness: float = 2.0
    common: float = 0.004

    def __post_init__(self) -> None:
        check_count("frame", self.frame)
        for name in ("temporal", "spatial", "agreement", "focus", "common"):
            check_share(name, getattr(self, name))

    def keys(self, frames: int, *, kv_heads: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield keys, `frames` frames at a time and without end, float32 [frames * frame, kv_heads, d]."""
        return self._channels(0, frames, range(self.kv_heads) if kv_heads is None else kv_heads)

    def values(self, frames: int, *, kv_heads: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield values, in the same shape as keys."""
        return self._channels(1, frames, range(self.kv_heads) if kv_heads is None else kv_heads)

    def _channels(self, part: int, frames: int, kv_heads: Sequence[int]) -> Iterator[np.ndarray]:
        temporal, spatial, agreement = map(np.float32, (self.temporal, self.spatial, self.agreement))
        # The second number of a seed: 0 keys, 1 values, 2 noise of queries, 3 needles, 4 the common direction.
        shared, *own = (np.random.default_rng([self.seed, part, g]) for g in (0, *(1 + h for h in kv_heads)))
        places = (self.frame, self.head_dim)
        common, noise = (np.empty((frames, *places), dtype=np.float32) for _ in range(2))
        last, started = np.zeros((len(kv_heads), *places), dtype=np.float32), False
        mean, rest = self._mean(), np.float32(math.sqrt(1 - self.common))
        # Values have no common direction: attention averages them and compares only keys.
        if part:
            mean, rest = np.zeros_like(mean), np.float32(1)
        while True:
            rows = np.empty((frames, self.frame, len(kv_heads), self.head_dim), dtype=np.float32)
            shared.standard_normal(dtype=np.float32, out=common)
            for i, (h, rng) in enumerate(zip(kv_heads, own, strict=True)):
                rng.standard_normal(dtype=np.float32, out=noise)
                _correlate(common, noise, last[i], rows[:, :, i], mean[h], rest, temporal, spatial, agreement, started)
            started = True
            yield rows.reshape(-1, len(kv_heads), self.head_dim)

    def queries(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return the queries of tokens from position `first` on, given their keys, float32 [rows, heads, d]."""
        # Noise comes frame by frame, so that the queries of a token do not depend on where a chunk begins.
        frames = range(first // self.frame, -(-(first + len(keys)) // self.frame))
        noise = np.concatenate([self._noise(frame) for frame in frames])
        share = self.heads // self.kv_heads
        noise = np.float32(math.sqrt(1 - self.common)) * noise[first % self.frame :][: len(keys)]
        noise += np.repeat(self._mean(), share, axis=0)
        own = np.repeat(keys, share, axis=1)
        focus, rest = self.sharpness * self.focus, self.sharpness * math.sqrt(1 - self.focus * self.focus)
        return np.float32(focus) * own + np.float32(rest) * noise

    def _noise(self, frame: int) -> np.ndarray:
        """Return the noise of a frame's queries, unit normals [frame, heads, d]."""
        return self._agreeing([self.seed, 2, frame], self.frame, self.heads)

    def _mean(self) -> np.ndarray:
        """Return the direction of all keys, float32 [kv_heads, d]."""
        return np.float32(math.sqrt(self.common)) * self._agreeing([self.seed, 4], 1, self.kv_heads)[0]

    def _agreeing(self, seed: list[int], rows: int, heads: int) -> np.ndarray:
        drawn = np.random.default_rng(seed).standard_normal((rows, 1 + heads, self.head_dim), dtype=np.float32)
        shared, own = np.float32(math.sqrt(self.agreement)), np.float32(math.sqrt(1 - self.agreement))
        return shared * drawn[:, :1] + own * drawn[:, 1:]


@dataclass(frozen=True, slots=True)
class Needles:
    """Tokens hidden in a stream, with keys orthogonal to those of all other tokens.

    places: int64 [needles], rising · directions: float64 [kv_heads, needles, d] of their keys, orthonormal per KV head.
    """

    places: np.ndarray
    directions: np.ndarray

    def hide(self, keys: np.ndarray, first: int) -> np.ndarray:
        """Return keys [rows, kv_heads, d] of tokens from `first` on, with needles placed and other keys orthogonal."""
        if not len(self.places):
            return keys
        along = np.einsum("nhd,hmd->nhm", keys, self.directions)
        hidden = keys - np.einsum("nhm,hmd->nhd", along, self.directions)
        here = (self.places >= first) & (self.places < first + len(keys))
        # Of length sqrt(d), like a key of unit normal channels.
        own = self.directions[:, here].transpose(1, 0, 2)
        hidden[self.places[here] - first] = own * math.sqrt(keys.shape[2])
        return hidden.astype(np.float32)

    def questions(self, heads: int, *, tokens: int, mass: float) -> np.ndarray:
        """Return a question per needle, float32 [needles, heads, d], with attention mass `mass` on it of all tokens."""
        logit = math.log(mass * (tokens - 1) / (1 - mass)) if len(self.places) else 0.0
        # The key has length sqrt(d), so the product over sqrt(d) of a question of length `logit` is `logit`.
        share = heads // len(self.directions)
        return (np.repeat(self.directions.transpose(1, 0, 2), share, axis=1) * logit).astype(np.float32)


def drawn_needles(video: Video, needles: int, *, tokens: int) -> Needles:
    """Return needles at random places of a stream of `tokens` tokens. Raises ValueError for more than fit."""
    check_count("needles", needles, least=0)
    # Orthonormal directions are at most as many as channels, and one token has to remain beside the needles.
    most = min(video.head_dim, tokens - 1)
    if needles > most:
        raise ValueError(f"needles: {needles} in {tokens} tokens of {video.head_dim} channels; take at most {most}")
    rng = np.random.default_rng([video.seed, 3])
    places = np.sort(rng.choice(tokens, needles, replace=False))
    drawn = rng.standard_normal((video.kv_heads, video.head_dim, needles))
    # The Q of a QR decomposition: orthonormal columns of a random direction.
    return Needles(places, np.linalg.qr(drawn)[0].transpose(0, 2, 1))


def video_stream(
    seed: int,
    frames: int,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    needles: int = 0,
    mass: float = 0.9,
    **options: float,
) -> Stream:
    """Return a stream of frames drawn by Video, with questions for needles hidden among its tokens.

    Needle i is one token at a random place. Its key, per KV head, is a vector u of length sqrt(d), and all other keys
    are made orthogonal to it. Question i is a multiple of u with the logit log(mass (n - 1) / (1 - mass)) at the needle
    and 0 elsewhere. So dense attention over the n tokens of the stream puts `mass` on the needle, and a selection
    recalls mass * (1 if the needle is kept, else 0) + (1 - mass) * (other kept tokens) / (n - 1).
    Raises ValueError for shares outside 0 to 1, a mass of 0 or 1, or more needles than channels or tokens.

    >>> stream = video_stream(0, 3, heads=2, kv_heads=1, head_dim=8, frame=4, needles=1)
    >>> stream.keys.shape, stream.queries.shape, stream.questions.shape, [len(keys) for keys, _ in stream.frames()]
    ((12, 1, 8), (12, 2, 8), (1, 2, 8), [4, 4, 4])
    """  # fmt: skip
    check_count("frames", frames)
    video = Video(seed=seed, heads=heads, kv_heads=kv_heads, head_dim=head_dim, **options)  # type: ignore[arg-type]
    tokens = CacheShape(frames * video.frame, heads, kv_heads, head_dim).tokens
    if not 0 < mass < 1:
        raise ValueError(f"mass: {mass} is not between 0 and 1; take a number between, such as 0.9")
    hidden = drawn_needles(video, needles, tokens=tokens)
    keys, values = next(video.keys(frames)), next(video.values(frames))
    queries = video.queries(keys, 0)
    questions = hidden.questions(heads, tokens=tokens, mass=mass)
    places, mass = hidden.places, mass if needles else 0.0
    return Stream(hidden.hide(keys, 0), values, queries, video.frame, questions, places, mass)


def check_extents(keys: Any, values: Any, *, queries: Any, questions: Any, needles: Any) -> CacheShape:
    """Return the shape of a cache that holds these arrays of a stream; only their shape and dtype are read.

    Raises ValueError for shapes that do not fit each other and for elements that are no numbers.
    """
    if needles.ndim != 1:
        raise ValueError(f"needles: shape {needles.shape}; give [needles]")
    named = {"keys": keys, "values": values, "queries": queries, "questions": questions, "needles": needles}
    for name, array in named.items():
        # An empty list of needles is an array of float64.
        if array.dtype.kind not in ("iu" if name == "needles" and needles.shape[0] else "iuf"):
            expected = "whole numbers" if name == "needles" else "numbers"
            raise ValueError(f"{name}: elements of {array.dtype}; give {expected}")
    heads, width = (queries.shape[1], queries.shape[2]) if queries.ndim == 3 else (0, 0)
    if keys.ndim != 3 or values.shape != keys.shape:
        raise ValueError(f"values: shape {values.shape} beside keys {keys.shape}; give [tokens, kv_heads, d] twice")
    tokens, kv_heads, channels = keys.shape
    if queries.shape[:1] != (tokens,) or width != channels:
        wanted = f"[{tokens}, heads, {channels}]"
        raise ValueError(f"queries: shape {queries.shape} beside keys {keys.shape}; give {wanted}")
    # Checks the extents, and that heads is a multiple of kv_heads.
    shape = CacheShape(tokens, heads, kv_heads, width)
    if questions.shape != (needles.shape[0], heads, width):
        wanted = f"[{needles.shape[0]}, {heads}, {width}]"
        raise ValueError(f"questions: shape {questions.shape} for {needles.shape[0]} needles; give {wanted}")
    return shape


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
    """Return a stream of arrays recorded elsewhere, after RoPE, as float32.

    Raises ValueError for shapes that do not fit each other, elements that are not finite or so large that FP32 does not
    hold their products, a frame or a mass that cannot be, or needles that are not positions of the stream.

    >>> recorded_stream(np.ones((5, 1, 2)), np.ones((5, 1, 2)), queries=np.ones((5, 3, 2)), frame=2).shape.heads
    3
    """
    needles = np.zeros(0, dtype=np.int64) if needles is None else needles
    questions = np.zeros((0, *queries.shape[1:])) if questions is None else questions
    check_extents(keys, values, queries=queries, questions=questions, needles=needles)
    check_count("frame", frame, most=len(keys), holder="the stream holds")
    check_share("mass", mass)
    if len(needles) and not 0 <= needles.min() <= needles.max() < len(keys):
        raise ValueError(f"needles: positions {needles.tolist()}; take from 0 to {len(keys) - 1}")
    arrays = []
    for name, array in (("keys", keys), ("values", values), ("queries", queries), ("questions", questions)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} elements are not finite; give finite numbers")
        largest = max(float(array.max(initial=0)), -float(array.min(initial=0)))
        if largest > LARGEST:
            raise ValueError(f"{name}: an element of size {largest:.3g}; give at most {LARGEST:g}")
        arrays.append(np.ascontiguousarray(array, dtype=np.float32))
    return Stream(arrays[0], arrays[1], arrays[2], frame, arrays[3], needles.astype(np.int64), mass)
