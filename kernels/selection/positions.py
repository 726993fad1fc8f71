"""Selections by position alone: everything, the first and last tokens, and one or the other for each head.

They use no keys and no queries, hold nothing and compare nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.selection.algorithm import Algorithm, CacheShape, Counters, State, check_count, check_share


def sink_and_recent(tokens: int, sinks: int, recent: int) -> np.ndarray:
    """Return which of `tokens` positions are among the first `sinks` or the last `recent`, bool [tokens].

    >>> sink_and_recent(5, 1, 2).tolist()
    [True, False, False, True, True]
    """
    position = np.arange(tokens)
    return (position < sinks) | (position >= tokens - recent)


def check_budget(shape: CacheShape, **parts: int) -> None:
    """Raise ValueError unless the first part is at least 0, the second at least 1, and the cache holds the sum."""
    for least, (name, tokens) in enumerate(parts.items()):
        check_count(name, tokens, least=least)
    check_count(" + ".join(parts), sum(parts.values()), most=shape.tokens)


class Stateless(Algorithm):
    """A rule that learns nothing from the keys and holds nothing: it needs `choose`, and `check` for its options."""

    def check(self, shape: CacheShape) -> None:
        pass

    def begin(self, shape: CacheShape) -> Any:
        return None

    def absorb(self, state: State, keys: np.ndarray, queries: np.ndarray | None) -> tuple[Any, Counters]:
        return None, Counters()

    def metadata_bytes(self, shape: CacheShape, tokens: int, held: Any) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Everything(Stateless):
    """Keep all tokens: full attention, 2 n d b bytes per KV head.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> state = update(start(CacheShape(8, 1, 1, 2), Everything()), np.ones((3, 1, 2)))
    >>> kept = select(state, np.ones((1, 1, 2)))
    >>> kept.mask.tolist(), kept.counts.kv_read_bytes
    ([[True, True, True]], 24)
    """

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        return np.ones((state.shape.kv_heads, state.tokens), dtype=bool), Counters()


@dataclass(frozen=True, slots=True)
class SinkWindow(Stateless):
    """Keep the first `sinks` and the last `window` tokens, per KV head: 2 (S + W) d b bytes.

    Source: StreamingLLM, arXiv 2309.17453, S = 4 and W = 512. Not modelled: the source applies RoPE by the slot in the
    cache, not by the position in the text; a caller who wants that rotates the kept keys by their order.
    Raises ValueError when sinks + window is more than the cache holds.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> state = update(start(CacheShape(8, 1, 1, 2), SinkWindow(sinks=1, window=2)), np.ones((5, 1, 2)))
    >>> select(state, np.ones((1, 1, 2))).mask.tolist()
    [[True, False, False, True, True]]
    """

    sinks: int = 4
    window: int = 512

    def check(self, shape: CacheShape) -> None:
        check_budget(shape, sinks=self.sinks, window=self.window)

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        row = sink_and_recent(state.tokens, self.sinks, self.window)
        return np.tile(row, (state.shape.kv_heads, 1)), Counters()


def check_gates(gates: tuple[float, ...], shape: CacheShape, *, sparsity: float) -> None:
    """Raise ValueError unless sparsity is from 0 to 1 and gates is empty or has one such number per KV head."""
    check_share("sparsity", sparsity)
    if gates and len(gates) != shape.kv_heads:
        raise ValueError(f"gates: {len(gates)} given, the cache has {shape.kv_heads} KV heads; give one for each")
    for index, gate in enumerate(gates):
        check_share(f"gates[{index}]", gate)


def retrieving_heads(gates: tuple[float, ...], kv_heads: int, *, sparsity: float) -> np.ndarray:
    """Return which KV heads have a gate at or above the quantile `sparsity` of the gates, bool [kv_heads].

    Without gates, heads rank by their index. Formula: gate >= quantile(gates, sparsity), linear between two gates.

    >>> retrieving_heads((0.1, 0.9, 0.3, 0.8), 4, sparsity=0.5).tolist()
    [False, True, False, True]
    """
    values = np.array(gates or range(kv_heads), dtype=np.float64)
    return values >= np.quantile(values, sparsity)


@dataclass(frozen=True, slots=True)
class GatedHeads(Stateless):
    """KV heads whose gate reaches the quantile keep everything, the others the first `sinks` and the last `recent`.

    gates: one per KV head of this layer, 0 to 1, known beforehand. () ranks the heads by their index, which gives the
    traffic but not the quality of a trained model. sparsity: the quantile, 0.5 (models with grouped queries) or 0.75.
    Bytes: r 2 n d b + (1 - r) 2 (S + W) d b where a share r of the heads keeps everything. Source: DuoAttention,
    arXiv 2410.10819. Not modelled: a quantile over all layers, as in the source; here it is over one layer's heads.
    Raises ValueError for gates that are not one per KV head or outside 0 to 1, or sinks + recent beyond the cache.

    >>> from kernels.selection.algorithm import CacheShape, select, start, update
    >>> options = GatedHeads(sinks=1, recent=1, gates=(0.2, 1.0))
    >>> state = update(start(CacheShape(8, 2, 2, 1), options), np.ones((3, 2, 1)))
    >>> select(state, np.ones((1, 2, 1))).mask.tolist()
    [[True, False, True], [True, True, True]]
    """

    sinks: int = 128
    recent: int = 256
    sparsity: float = 0.5
    gates: tuple[float, ...] = ()

    def check(self, shape: CacheShape) -> None:
        check_gates(self.gates, shape, sparsity=self.sparsity)
        check_budget(shape, sinks=self.sinks, recent=self.recent)

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        heads = retrieving_heads(self.gates, state.shape.kv_heads, sparsity=self.sparsity)
        return heads[:, None] | sink_and_recent(state.tokens, self.sinks, self.recent), Counters()
