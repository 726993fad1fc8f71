"""SelectionSummary: what a choice among cached keys keeps in a step, where that lies, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SelectionSummary:
    """The keys and values that a step attends to of those cached before it, all layers and sequences together.

    `kept` is their share of all that were cached. Of the bytes kept `hit_bytes` lie in `memory`, the accelerator's own,
    which holds those of the newest `resident_tokens` of each sequence, and `miss_bytes` are fetched from the memory
    `beyond` in `requests` requests. Quality is that of one layer on the stream that the choice was made on, None where
    what is kept was given, or predicted from another layer: `mass_recall` of the dense attention's mass, `top_recall`
    of as many highest scores, `output_error` relative to dense attention. `assumed` (path -> why) and `fitted` (path ->
    point) are those of the selection's own numbers.
    """

    algorithm: str
    kept: float
    memory: str
    beyond: str | None
    resident_tokens: int
    hit_bytes: int
    miss_bytes: int
    requests: int
    mass_recall: float | None = None
    top_recall: float | None = None
    output_error: float | None = None
    assumed: Mapping[str, str] = field(default_factory=dict)
    fitted: Mapping[str, str] = field(default_factory=dict)

    @property
    def hit_rate(self) -> float | None:
        """Share of the bytes kept that need no fetch; None where nothing is kept."""
        kept = self.hit_bytes + self.miss_bytes
        return self.hit_bytes / kept if kept else None
