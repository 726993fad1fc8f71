"""SelectionSummary: the cached keys and values that a selection keeps in a step, where they lie, and the quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataflow.errors import ScheduleError, refuse
from dataflow.forms import COUNT, FINITE, NOTES, TEXT, misfits, optional

SUMMARY = {
    **dict.fromkeys(("given", "algorithm", "keys", "memory"), TEXT), "beyond": optional(TEXT), "kept": FINITE,
    **dict.fromkeys(("resident_tokens", "hit_bytes", "miss_bytes", "requests"), COUNT),
    **dict.fromkeys(("mass_recall", "top_recall", "output_error"), optional(FINITE)),
    "assumed": NOTES, "fitted": NOTES,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SelectionSummary:
    """The cached keys and values that a step attends to, all layers and sequences together.

    `kept` is their share of all that were cached before the step. Of the kept bytes `hit_bytes` lie in `memory`, the
    accelerator's own, which holds the newest `resident_tokens` of each sequence; `miss_bytes` are fetched from the
    memory `beyond` in `requests` requests. Quality is measured in one layer, on the keys that the selection ran on:
    `mass_recall` is the share of the dense attention's mass, `top_recall` the share of the highest scores (as many as
    are kept), `output_error` is relative to dense attention. Quality is None where the share kept was given, or the
    choice was predicted from another layer. `assumed` (path -> why) and `fitted` (path -> point) are those of the
    selection's own numbers, and `given` is its file, as it was named.
    """

    given: str = field(compare=False)
    algorithm: str
    keys: str  # those that the selection ran on: recorded or random
    kept: float
    memory: str
    beyond: str | None  # None where the tiers of the design end with the main memory
    resident_tokens: int
    hit_bytes: int
    miss_bytes: int
    requests: int
    mass_recall: float | None = None
    top_recall: float | None = None
    output_error: float | None = None
    assumed: Mapping[str, str] = field(default_factory=dict)
    fitted: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse([f"selected: {told}" for told in misfits(self, SUMMARY)], ScheduleError)

    @property
    def hit_rate(self) -> float | None:
        """Share of the kept bytes that need no fetch; None where nothing is kept."""
        kept = self.hit_bytes + self.miss_bytes
        return self.hit_bytes / kept if kept else None
