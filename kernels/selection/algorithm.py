"""The parts shared by all selections of cached tokens: cache shape, kept tokens, counters, and the three calls.

Knows start, update and select, their checks, and the bytes of K and V. Does not know any rule: options do,
and say of themselves what they learn from and what they keep together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The extents of the K and V cache of one layer.

    tokens: its capacity · heads: query heads, a multiple of kv_heads; head h reads KV head
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
    """Operations and bytes of an update or a select, over all heads of the layer; integers, added up with +.

    metadata_read_bytes: bytes that the rule reads beside K and V · kv_read_bytes: bytes of K and V; in each KV head,
    tokens that any row or query head keeps are read once · multiply_adds: multiplications that are added to a sum ·
    additions: all others · comparisons: of two channels, or of a score with a threshold (a candidate of a top-k counts
    as one; how many a sorting circuit makes is not modelled) · hash_comparisons: of two whole hashes.

    Two fields list sets, from which a unit of any width derives its cycles: hashed: (new, cached, bits), summed up in
    hash_comparisons · ranked: (rows, columns, passes beyond each row's first), summed up in comparisons.
    """

    metadata_read_bytes: int = 0
    kv_read_bytes: int = 0
    multiply_adds: int = 0
    additions: int = 0
    comparisons: int = 0
    hash_comparisons: int = 0
    hashed: tuple[tuple[int, int, int], ...] = ()
    ranked: tuple[tuple[int, int, int], ...] = ()

    def __add__(self, other: "Counters") -> "Counters":
        """Return the sums of the numbers, and the sets of both.

        >>> (Counters(comparisons=2) + Counters(comparisons=3, additions=1)).comparisons
        5
        """
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def numbers(self) -> tuple[int, ...]:
        """Return the fields that are one number, in their order: all but hashed and ranked, the last two."""
        return tuple(getattr(self, f.name) for f in fields(self)[:-2])


@dataclass(frozen=True, slots=True)
class SelectedKeys:
    """The tokens that the queries of a chunk attend to, and the counts of choosing and reading them.

    mask: bool [kv_heads, tokens] or [query heads, tokens], depending on the rule; all rows of the chunk share it.
    """

    mask: np.ndarray
    counts: Counters

    def of_kv_heads(self, kv_heads: int) -> np.ndarray:
        """Return the tokens that each KV head has to read, bool [kv_heads, tokens]: those that any query head keeps.

        >>> SelectedKeys(np.array([[True, False], [False, False]]), Counters()).of_kv_heads(1).tolist()
        [[True, False]]
        """
        return np.any(self.mask.reshape(kv_heads, -1, self.mask.shape[1]), axis=1)


@dataclass(frozen=True, slots=True)
class State:
    """The state of an algorithm after the tokens so far; an update returns a new state and leaves this one valid.

    tokens: tokens in the cache · held: the rule's own data · counts: those of the update that made this state ·
    metadata_bytes: bytes that the rule holds beside K and V, all heads.
    """

    shape: CacheShape
    options: "Algorithm"
    tokens: int
    held: Any
    counts: Counters
    metadata_bytes: int


class Algorithm(Protocol):
    """A rule: a frozen dataclass whose fields are its options. start, update and select check arguments and call it.

    A rule inherits from this class and states what differs from a rule of single tokens that learns from keys alone.
    learns_from_queries: True where queries of an update change what is kept after later updates without queries ·
    groups_by: the option that says how many tokens are kept together, such as "page"; "" for single tokens or clusters.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    learns_from_queries: ClassVar[bool] = False
    groups_by: ClassVar[str] = ""

    def check(self, shape: CacheShape) -> None:
        """Raise ValueError for options that are wrong for every cache or for this one."""

    def begin(self, shape: CacheShape) -> Any:
        """Return the rule's data for an empty cache."""

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Any, Counters]:
        """Return the rule's data after keys [new, kv_heads, head_dim] joined, and the counts."""

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        """Return the mask for queries [rows, heads, head_dim], and the counts without K and V of the kept tokens."""

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Any) -> int:
        """Return the bytes held beside K and V, all heads."""

    def check_timed(self) -> None:
        """Raise ValueError for options with which the rule does work that no unit has a time for."""
        return

    def clusters(self, state: State) -> np.ndarray | None:
        """Return the cluster of each token in each KV head, int64 [kv_heads, tokens] from 0 on; None without clusters.

        KV heads that cluster apart have numbers of their own.
        """
        return None

    def group_tokens(self, clusters: np.ndarray | None) -> float:
        """Return the average tokens of a cluster, given those of a state, or of a page, block or frame; else 1."""
        if clusters is not None:
            return float(np.mean(clusters.shape[1] / (clusters.max(axis=1) + 1)))
        return float(getattr(self, self.groups_by)) if self.groups_by else 1.0


class Growing:
    """Rows that are only appended: successive states share one array, and each uses the first rows of it.

    Appending to the newest state writes behind the rows of the older ones. Appending to an older state copies.
    """

    def __init__(self, capacity: int, row: tuple[int, ...], dtype: Any = np.float32) -> None:
        self.array = np.zeros((capacity, *row), dtype=dtype)
        self.used = 0

    def append(self, rows: np.ndarray, used: int) -> "Growing":
        """Return the first `used` rows followed by `rows`.

        >>> one = Growing(3, (), np.int64).append(np.array([1, 2]), 0)
        >>> two, other = one.append(np.array([3]), 2), one.append(np.array([4]), 2)
        >>> two.array.tolist(), other.array.tolist(), two is one, other is one
        ([1, 2, 3], [1, 2, 4], True, False)
        """
        # A newer state has rows behind these already, and they must stay as they are.
        target = self
        if used != self.used:
            target = Growing(len(self.array), self.array.shape[1:], self.array.dtype)
            target.array[:used] = self.array[:used]
        target.array[used : used + len(rows)] = rows
        target.used = used + len(rows)
        return target


CACHE_HOLDS = "the cache holds"


class BudgetBeyondCache(ValueError):
    """The rule would keep more tokens than the cache holds."""


def check_count(
    name: str,
    value: int,
    *,
    least: int = 1,
    most: int | None = None,
    of: str = "tokens",
    holder: str = CACHE_HOLDS,
) -> None:
    """Raise ValueError unless value is a whole number from least to most; `of` and `holder` word the message.

    >>> check_count("window", 9, most=8)
    Traceback (most recent call last):
    kernels.selection.algorithm.BudgetBeyondCache: window: 9 tokens, the cache holds 8; take 1 to 8
    """
    # bool is a subclass of int, and an option True is a slip.
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: {value!r} is no whole number from {least} on; take {least} or more")
    if most is not None and value > most:
        error = BudgetBeyondCache if holder == CACHE_HOLDS else ValueError
        raise error(f"{name}: {value} {of}, {holder} {most}; take {least} to {most}")


def check_share(name: str, value: float, *, least: float = 0, most: float = 1) -> None:
    """Raise ValueError unless least <= value <= most.

    >>> check_share("ratio", 1.5)
    Traceback (most recent call last):
    ValueError: ratio: 1.5 is outside 0 to 1; take a number from 0 to 1
    """
    # Written so that NaN fails too.
    if not least <= value <= most:
        raise ValueError(f"{name}: {value} is outside {least} to {most}; take a number from {least} to {most}")


def _check_rows(name: str, rows: np.ndarray, *, heads: int, head_dim: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 3 or rows.shape[1:] != (heads, head_dim) or len(rows) == 0:
        raise ValueError(f"{name}: shape {rows.shape} does not fit the cache; give [rows, {heads}, {head_dim}]")
    # One dtype and layout, so that compiled code is compiled once and every rule sums in FP32.
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    # NaN has no place in a ranking.
    if not np.isfinite(rows).all():
        raise ValueError(f"{name}: {int((~np.isfinite(rows)).sum())} elements are not finite; give finite numbers")
    return rows


def start(shape: CacheShape, options: Algorithm) -> State:
    """Return the state of an empty cache of that shape under these options.

    Raises ValueError for options that are wrong for every cache, or ask for more than this one can hold.
    """
    options.check(shape)
    held = options.begin(shape)
    return State(shape, options, 0, held, Counters(), options.metadata_bytes(shape, 0, held))


def update(state: State, keys: np.ndarray, *, queries: np.ndarray | None = None) -> State:
    """Return the state after a chunk of new tokens.

    keys float [new, kv_heads, head_dim], after RoPE; queries float [rows, heads, head_dim] of the same chunk, for the
    rules that learn from attention or keep a choice for several steps; other rules ignore them. The state's counts are
    those of this update. Raises ValueError for shapes that do not fit, elements that are not finite, or more tokens
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
    """Return the cached tokens that a chunk of queries attends to, and the counts of choosing and reading them.

    queries float [rows, heads, head_dim]. Where the rule chooses row by row, a token is kept when any row keeps it.
    Rows are not masked against newer tokens of their own chunk. The counts of a step are state.counts + kept.counts.
    kv_read_bytes = 2 * kept tokens of each KV head * head_dim * element_bytes, plus the K read for scores.
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


def advance(state: State, keys: np.ndarray, queries: np.ndarray) -> tuple[State, SelectedKeys]:
    """Return update and then select for one chunk; the kept tokens have the counts of both."""
    state = update(state, keys, queries=queries)
    kept = select(state, queries)
    return state, SelectedKeys(kept.mask, state.counts + kept.counts)


def walk(
    shape: CacheShape, options: Algorithm, *, keys: np.ndarray, queries: np.ndarray, chunk: int
) -> Iterator[SelectedKeys]:
    """Yield the kept tokens of each chunk of a recorded stream, with the counts of update and select together.

    keys float [tokens, kv_heads, head_dim], queries float [tokens, heads, head_dim]: one query row per token.
    Raises ValueError as start, update and select.
    """
    state = start(shape, options)
    for first in range(0, len(keys), chunk):
        state, kept = advance(state, keys[first : first + chunk], queries[first : first + chunk])
        yield kept
