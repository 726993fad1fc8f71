"""A rule of selection: the newest tokens, and every so many of the older ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.selection.algorithm import CacheShape, Counters, State, check_count
from kernels.selection.positions import Stateless
from mappers import extend


@dataclass(frozen=True, slots=True)
class RecentAndStrided(Stateless):
    """Keep the last `recent` tokens and each `stride`-th token from the first on, in every KV head."""

    recent: int = 64
    stride: int = 8

    def check(self, shape: CacheShape) -> None:
        check_count("recent", self.recent, most=shape.tokens)
        check_count("stride", self.stride, most=shape.tokens)

    def choose(self, state: State, queries: np.ndarray) -> tuple[np.ndarray, Counters]:
        position = np.arange(state.tokens)
        kept = (position >= state.tokens - self.recent) | (position % self.stride == 0)
        return np.tile(kept, (state.shape.kv_heads, 1)), Counters()


extend(rules={"recent_and_strided": RecentAndStrided})
