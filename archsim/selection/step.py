"""LayerStep: what one layer's selection keeps in a step, and what choosing takes.

Knows tokens kept and missed and the kinds of work that choosing is made of. Does not know how a rule is run
(chosen.py), where what is kept lies, nor how long anything takes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from archsim.selection.selection import Selection, Use
from dataflow.op import Work

if TYPE_CHECKING:
    import numpy as np

    from archsim.selection.rule_run import Chosen, Quality


@dataclass(frozen=True, slots=True)
class LayerStep:
    """What one layer's selection keeps, for one sequence, of the tokens cached before the step, and what that takes.

    kept: tokens kept, summed over the KV heads · hits: of these, among the newest `resident` tokens · runs: stretches
    of missed tokens that lie side by side in the order of time, summed over the KV heads · groups: the same where the
    tokens of a cluster lie side by side, a stretch for each; those of a page, block or frame do in the order of time ·
    works: score, hash_compare, threshold, compare: those with something to do · metadata_read_bytes: what choosing
    reads beside K and V of what is kept · mass_recall, top_recall (of as many highest scores as are kept),
    output_error: means over the last rows of the step and the query heads of the first and the last KV head; None where
    nothing is chosen, or no keys are known · near_runs, near_groups: as runs and groups, of the hits.
    """

    kept: int
    hits: int
    runs: int
    groups: int
    works: tuple[Work, ...]
    metadata_read_bytes: int
    mass_recall: float | None
    top_recall: float | None
    output_error: float | None
    near_runs: int = 0
    near_groups: int = 0


def layer_step(
    selection: Selection,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    element_bytes: int,
    cached: int,
    rows: int,
    use: Use,
    resident: int,
) -> LayerStep:
    """What the selection keeps of `cached` tokens, of which the newest `resident` are near, for `rows` new ones.

    The rule runs on the recorded stream, or on one drawn as the selection says: first the cached tokens, a part of 320
    at a time and not frame by frame, then the new rows in one step. Rules that learn from queries are given those of
    the last 10 tokens of each part. Where needles are hidden, the rows of a question or text ask for them in turn. New
    tokens are always attended and not counted. Where the share p is given, what is kept is spread evenly over the ages,
    the rule runs for its work alone, and stretches are as many as of tokens chosen each by itself: misses x (1 - p).
    Raises InputError for settings that the rule or a cache of this length cannot have, or a recording that is of
    another shape.
    """
    share = (selection.kept or {}).get(use)
    chosen = None
    if cached and selection.algorithm != "full":
        from archsim.selection.rule_run import chosen_by, state_of

        said = selection.model_dump(exclude={"source", "kept", "resident", "assumed", "fitted"})
        said["read"] = [state_of(path) for path in (selection.recording, selection.recorded_selection)]
        shape = (cached + rows, heads, kv_heads, head_dim, element_bytes)
        chosen = chosen_by(json.dumps(said, sort_keys=True), shape, rows, use, share is None)
    if chosen is None or share is not None:
        return _given(share, chosen, cached=cached, kv_heads=kv_heads, resident=resident)
    missed, near = range(cached - resident), range(cached - resident, cached)
    kept, misses = int(chosen.mask[:, :cached].sum()), int(chosen.mask[:, : len(missed)].sum())
    runs, near_runs = (stretches(chosen.mask[:, of.start : of.stop]) for of in (missed, near))
    groups, near_groups = (_groups(chosen, of) for of in (missed, near))
    works, metadata, quality = chosen.works, chosen.metadata_bytes, chosen.quality
    return LayerStep(kept, kept - misses, runs, groups, works, metadata, *quality, near_runs, near_groups)


def _given(share: float | None, chosen: Chosen | None, *, cached: int, kv_heads: int, resident: int) -> LayerStep:
    """The step that keeps a given share, or everything, evenly over the ages."""
    whole = cached * kv_heads
    kept = whole if share is None else round(share * whole)
    hits = round(kept * resident / cached) if cached else 0
    misses = kept - hits
    runs, near_runs = (
        max(min(kv_heads, n), math.ceil(Fraction(n * (whole - kept), whole or 1))) for n in (misses, hits)
    )
    together = 1 if chosen is None else chosen.group_tokens
    groups, near_groups = min(runs, math.ceil(misses / together)), min(near_runs, math.ceil(hits / together))
    works, metadata = (chosen.works, chosen.metadata_bytes) if chosen else ((), 0)
    quality: Quality = (1.0, 1.0, 0.0) if share is None else (None, None, None)
    return LayerStep(kept, hits, runs, groups, works, metadata, *quality, near_runs, near_groups)


def stretches(missed: np.ndarray) -> int:
    """Runs of True along the rows of missed, bool [kv_heads, tokens].

    >>> import numpy as np
    >>> stretches(np.array([[True, True, False, True], [False, False, True, True]]))
    3
    """
    return int(missed[:, :1].sum() + (missed[:, 1:] & ~missed[:, :-1]).sum())


def _groups(chosen: Chosen, tokens: range) -> int:
    """Clusters with a kept token of these, summed over the KV heads; stretches where there are no clusters."""
    kept = chosen.mask[:, tokens.start : tokens.stop]
    if chosen.clusters is None:
        return stretches(kept)
    clusters = chosen.clusters[:, tokens.start : tokens.stop]
    return sum(len(set(of[which].tolist())) for of, which in zip(clusters, kept, strict=True))
