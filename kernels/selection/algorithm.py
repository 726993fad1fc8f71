"""What selections of cached tokens share: the shape of a cache, what is kept, what that cost, and the three calls.

Knows start, update and select, their checks, and the bytes of K and V. Does not know any rule: the options do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The extents of the K and V cache of one layer.

    tokens: the most that it can hold · heads: query heads, a multiple of kv_heads; head h reads KV head
    h // (heads / kv_heads) · head_dim: channels of a head · element_bytes: bytes of a stored element, 2 for BF16.
    Raises ValueError for an extent below 1 or heads that are no multiple.

    >>> shape = CacheShape(tokens=40_000, heads=32, kv_heads=8, head_dim=128)
    >>> shape.share, shape.row_bytes, 2 * shape.kv_heads * shape.row_bytes
    (4, 256, 4096)
    """

    tokens: int
    heads: int
    kv_heads: int
    head_dim: int
    element_bytes: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            check_count(field.name, getattr(self, field.name))
        if self.heads % self.kv_heads:
            raise ValueError(f"heads: {self.heads} is no multiple of the {self.kv_heads} kv_heads; take a multiple")

    @property
    def share(self) -> int:
        """Query heads that read one KV head."""
        return self.heads // self.kv_heads

    @property
    def row_bytes(self) -> int:
        """Bytes of the key, or of the value, of one token in one KV head."""
        return self.head_dim * self.element_bytes


@dataclass(frozen=True, slots=True)
class Counters:
    """What an update or a select did, over all heads of the layer; integers, added up with +.

    metadata_read_bytes: bytes of what the rule keeps beside K and V · kv_read_bytes: bytes of K and V, of each KV head
    the tokens that any of its rows and query heads keeps, once · multiply_adds: multiplications, each with the addition
    that takes it up · additions: others · comparisons: of two channels, or of a score with a threshold (a candidate of
    a top-k counts as one; how many a sorting circuit makes is not modelled) · hash_comparisons: of two whole hashes ·
    hash_cycles, threshold_cycles: of one comparator of 16 bits and one unit of 16 lanes, where the rule has them.

    Two of them set by set, for a unit of other widths: hashed: (new, cached, bits) whose comparisons hash_comparisons
    adds up · ranked: (rows, columns, passes beyond each row's first) of the threshold unit, which comparisons and
    threshold_cycles add up.
    """

    metadata_read_bytes: int = 0
    kv_read_bytes: int = 0
    multiply_adds: int = 0
    additions: int = 0
    comparisons: int = 0
    hash_comparisons: int = 0
    hash_cycles: int = 0
    threshold_cycles: int = 0
    hashed: tuple[tuple[int, int, int], ...] = ()
    ranked: tuple[tuple[int, int, int], ...] = ()

    def __add__(self, other: "Counters") -> "Counters":
        """Field by field, one set after the other.

        >>> (Counters(comparisons=2) + Counters(comparisons=3, additions=1)).comparisons
        5
        """
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def numbers(self) -> tuple[int, ...]:
        """Return the fields that are one number, in their order; hashed and ranked are the last two."""
        return tuple(getattr(self, f.name) for f in fields(self)[:-2])


@dataclass(frozen=True, slots=True)
class SelectedKeys:
    """The tokens that the queries of a chunk attend to, and what it cost to choose and to read them.

    mask: bool [kv_heads or query heads, tokens]; the rule says which. The rows of a chunk share it.
    """

    mask: np.ndarray
    counts: Counters

    def of_kv_heads(self, kv_heads: int) -> np.ndarray:
        """Return what has to be in reach of each KV head, bool [kv_heads, tokens]: all that its query heads keep.

        >>> SelectedKeys(np.array([[True, False], [False, False]]), Counters()).of_kv_heads(1).tolist()
        [[True, False]]
        """
        return np.any(self.mask.reshape(kv_heads, -1, self.mask.shape[1]), axis=1)

    def ratio(self, kv_heads: int) -> float:
        """Return the kept share of all tokens of all KV heads, 0 to 1: the retrieval ratio."""
        return float(self.of_kv_heads(kv_heads).mean())


@dataclass(frozen=True, slots=True)
class State:
    """What an algorithm holds after the tokens so far; an update returns a new one and leaves this one valid.

    tokens: how many are in the cache · held: what the rule remembers · counts: what the update that made this state did
    · metadata_bytes: bytes that the rule holds beside K and V, all heads.
    """

    shape: CacheShape
    options: "Algorithm"
    tokens: int
    held: Any
    counts: Counters
    metadata_bytes: int


class Algorithm(Protocol):
    """A rule: a frozen dataclass whose fields are its options. Called by start, update and select, which check."""

    def check(self, shape: CacheShape) -> None:
        """Raise ValueError for options that no cache, or not this one, can have."""

    def begin(self, shape: CacheShape) -> Any:
        """Return what is held of an empty cache."""

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Any, Counters]:
        """Return what is held after keys [new, kv_heads, head_dim] joined, and what that took."""

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        """Return the mask for queries [rows, heads, head_dim], and what choosing took, K and V of the kept aside."""

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Any) -> int:
        """Return the bytes held beside K and V, all heads."""


class Growing:
    """Rows that are only ever appended: states share one array, of which each sees its own first rows.

    Appending to the newest state writes behind what the older ones see; appending to an older one copies.
    """

    def __init__(self, capacity: int, row: tuple[int, ...], dtype: Any = np.float32) -> None:
        self.array = np.zeros((capacity, *row), dtype=dtype)
        self.used = 0

    def append(self, rows: np.ndarray, used: int) -> "Growing":
        """Return the first `used` rows with `rows` behind them.

        >>> one = Growing(3, (), np.int64).append(np.array([1, 2]), 0)
        >>> two, other = one.append(np.array([3]), 2), one.append(np.array([4]), 2)
        >>> two.array.tolist(), other.array.tolist(), two is one, other is one
        ([1, 2, 3], [1, 2, 4], True, False)
        """
        target = self
        if used != self.used:
            target = Growing(len(self.array), self.array.shape[1:], self.array.dtype)
            target.array[:used] = self.array[:used]
        target.array[used : used + len(rows)] = rows
        target.used = used + len(rows)
        return target


def check_count(
    name: str,
    value: int,
    *,
    least: int = 1,
    most: int | None = None,
    of: str = "tokens",
    holder: str = "the cache holds",
) -> None:
    """Raise ValueError unless value is a whole number from least to most, of which the holder has no more.

    >>> check_count("window", 9, most=8)
    Traceback (most recent call last):
    ValueError: window: 9 tokens, the cache holds 8; take 1 to 8
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: {value!r} is no whole number from {least} on; take {least} or more")
    if most is not None and value > most:
        raise ValueError(f"{name}: {value} {of}, {holder} {most}; take {least} to {most}")


def check_share(name: str, value: float, *, least: float = 0, most: float = 1) -> None:
    """Raise ValueError unless least <= value <= most.

    >>> check_share("ratio", 1.5)
    Traceback (most recent call last):
    ValueError: ratio: 1.5 is outside 0 to 1; take a number from 0 to 1
    """
    if not least <= value <= most:
        raise ValueError(f"{name}: {value} is outside {least} to {most}; take a number from {least} to {most}")


def _check_rows(name: str, rows: np.ndarray, *, heads: int, head_dim: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 3 or rows.shape[1:] != (heads, head_dim) or len(rows) == 0:
        raise ValueError(f"{name}: shape {rows.shape} does not fit the cache; give [rows, {heads}, {head_dim}]")
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(f"{name}: {int((~np.isfinite(rows)).sum())} elements are not finite; give finite numbers")
    return rows


def start(shape: CacheShape, options: Algorithm) -> State:
    """Return the state of an empty cache of that shape under these options.

    Raises ValueError for options that are wrong in themselves, or ask for more than the cache can hold.
    """
    options.check(shape)
    held = options.begin(shape)
    return State(shape, options, 0, held, Counters(), options.metadata_bytes(shape, 0, held))


def update(state: State, keys: np.ndarray, *, queries: np.ndarray | None = None) -> State:
    """Return the state after a chunk of new tokens.

    keys float [new, kv_heads, head_dim], after RoPE; queries float [rows, heads, head_dim] of the same chunk, for the
    rules that learn from attention or keep a choice for several steps; the others ignore them. The state's counts are
    what this update did. Raises ValueError for shapes that do not fit, elements that are not finite, or more tokens
    than the cache can hold.
    """
    shape = state.shape
    keys = _check_rows("keys", keys, heads=shape.kv_heads, head_dim=shape.head_dim)
    if queries is not None:
        queries = _check_rows("queries", queries, heads=shape.heads, head_dim=shape.head_dim)
    tokens = state.tokens + len(keys)
    if tokens > shape.tokens:
        room = shape.tokens - state.tokens
        raise ValueError(f"keys: {len(keys)} more tokens, the cache has room for {room}; start a larger cache")
    held, counts = state.options.absorb(state, keys, queries)
    return State(shape, state.options, tokens, held, counts, state.options.metadata_bytes(shape, tokens, held))


def select(state: State, queries: np.ndarray) -> SelectedKeys:
    """Return the tokens of the cache that a chunk of queries attends to, and what choosing and reading them takes.

    queries float [rows, heads, head_dim]. Where the rule chooses row by row, a token is kept when any row keeps it.
    Rows are not masked against newer tokens of their own chunk. What a step takes is state.counts + kept.counts.
    kv_read_bytes = 2 * kept tokens of each KV head * head_dim * element_bytes, and what scoring reads of K.
    Raises ValueError for a shape that does not fit, or an empty cache.
    """
    shape = state.shape
    queries = _check_rows("queries", queries, heads=shape.heads, head_dim=shape.head_dim)
    if state.tokens == 0:
        raise ValueError("state: the cache holds 0 tokens; update it before selecting")
    mask, counts = state.options.choose(state, queries)
    kept = SelectedKeys(mask, counts)
    read = 2 * int(kept.of_kv_heads(shape.kv_heads).sum()) * shape.row_bytes
    return SelectedKeys(mask, counts + Counters(kv_read_bytes=read))


def walk(
    shape: CacheShape, options: Algorithm, *, keys: np.ndarray, queries: np.ndarray, chunk: int
) -> Iterator[SelectedKeys]:
    """Yield what is kept chunk by chunk of a recorded stream; the counts are those of the whole step.

    keys float [tokens, kv_heads, head_dim], queries float [tokens, heads, head_dim]: a query row for each token.
    Raises ValueError as start, update and select.
    """
    state = start(shape, options)
    for first in range(0, len(keys), chunk):
        rows = queries[first : first + chunk]
        state = update(state, keys[first : first + chunk], queries=rows)
        kept = select(state, rows)
        yield SelectedKeys(kept.mask, state.counts + kept.counts)
