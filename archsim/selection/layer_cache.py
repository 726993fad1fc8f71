"""LayerCache: the extents of the cache that a step of one layer and one sequence attends to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Heads, widths and tokens: `cached` lie in the cache before the step, `rows` are new; bytes are of one KV head."""

    heads: int
    kv_heads: int
    head_dim: int
    element_bytes: int
    cached: int
    rows: int

    @property
    def tokens(self) -> int:
        """Tokens in the cache after the step."""
        return self.cached + self.rows

    @property
    def token_bytes(self) -> int:
        """Bytes of a token's key and value."""
        return 2 * self.head_dim * self.element_bytes
