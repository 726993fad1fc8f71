"""SelectionStep: what one layer's selection keeps in a step, and what choosing takes.

Knows tokens kept, hit and missed, and the kinds of work of choosing. Does not know how a rule runs (rule_run.py), in
which memory tokens lie, or how long anything takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from archsim.selection.layer_cache import LayerCache
from archsim.selection.selection import Selection, Use
from dataflow.op import Work

if TYPE_CHECKING:
    import numpy as np

    from archsim.selection.rule_run import RuleRun


@dataclass(frozen=True, slots=True)
class SelectionStep:
    """What one layer's selection keeps of the tokens cached before the step, for one sequence, and what choosing takes.

    kept: tokens kept, summed over the KV heads · hits: kept tokens among the newest `resident`; the others are misses ·
    miss_stretches: runs of missed tokens without a gap in time, summed over the KV heads · miss_groups: clusters with a
    missed token, for a memory where the tokens of a cluster lie side by side; equal to miss_stretches for rules without
    clusters · hit_stretches, hit_groups: the same for hits · works: score, hash_compare, threshold and compare, without
    empty ones · metadata_read_bytes: what choosing reads beside K and V of the kept tokens · mass_recall, top_recall
    (of as many highest scores as are kept), output_error: means over the newest rows of the step and the query heads of
    the first and the last KV head; None where a share is given or no keys are known. `below_budget`: the cache holds
    less than the rule would keep, so that all of it is kept without choosing.
    """

    kept: int
    hits: int
    miss_stretches: int
    miss_groups: int
    hit_stretches: int
    hit_groups: int
    works: tuple[Work, ...]
    metadata_read_bytes: int
    mass_recall: float | None
    top_recall: float | None
    output_error: float | None
    below_budget: bool = False


def selection_step(selection: Selection, cache: LayerCache, *, use: Use, resident: int) -> SelectionStep:
    """What the selection keeps of the cached tokens for the new rows; the newest `resident` of them lie near.

    The rule runs on the recorded stream, or on one drawn as the selection says: first the cached tokens in segments of
    320 (not frame by frame), then the new rows in one step. Rules that learn from queries get those of the last 10
    tokens of each segment. Where needles are hidden, the rows of a question or text ask for them in turn. New tokens
    are always attended to and not counted. A cache below the rule's budget is kept whole. Where `kept` gives a share p,
    the kept tokens are spread evenly over the ages, the rule runs only for its work, and stretches are counted as if
    each token were chosen independently: misses x (1 - p). Raises InputError for settings that the rule or a cache of
    this length cannot have, and for a recording of another shape.
    """
    share = (selection.kept or {}).get(use)
    run = None
    if cache.cached and selection.algorithm != "full":
        # Imported only where a rule runs, because the import compiles kernels.
        from archsim.selection.rule_run import run_rule
        from kernels.selection.algorithm import BudgetBeyondCache

        try:
            run = run_rule(selection, cache, use=use, judged=share is None)
        except BudgetBeyondCache:
            return replace(_given(None, None, cache, resident), below_budget=True)
    if run is None or share is not None:
        return _given(share, run, cache, resident)
    missed, near = range(cache.cached - resident), range(cache.cached - resident, cache.cached)
    kept, misses = int(run.mask[:, : cache.cached].sum()), int(run.mask[:, : len(missed)].sum())
    requests = (*_requests(run, missed), *_requests(run, near))
    return SelectionStep(kept, kept - misses, *requests, run.works, run.metadata_bytes, *run.quality)


def _given(share: float | None, run: RuleRun | None, cache: LayerCache, resident: int) -> SelectionStep:
    """The step that keeps a given share, or everything, spread evenly over the ages."""
    whole = cache.cached * cache.kv_heads
    kept = whole if share is None else round(share * whole)
    hits = round(kept * resident / cache.cached) if cache.cached else 0
    group_tokens = run.group_tokens if run else 1

    def requests(tokens: int) -> tuple[int, int]:
        # A kept token starts a stretch where the one before is not kept; each head with a token has at least one.
        apart = max(min(cache.kv_heads, tokens), math.ceil(Fraction(tokens * (whole - kept), whole or 1)))
        return apart, min(apart, math.ceil(tokens / group_tokens))

    works, metadata = (run.works, run.metadata_bytes) if run else ((), 0)
    # All tokens kept is dense attention; of a bare share no keys are known to judge by.
    quality = (1.0, 1.0, 0.0) if share is None else (None, None, None)
    return SelectionStep(kept, hits, *requests(kept - hits), *requests(hits), works, metadata, *quality)


def _requests(run: RuleRun, tokens: range) -> tuple[int, int]:
    """Stretches of kept tokens in this range, and clusters with such a token; without clusters, the stretches twice."""
    kept = run.mask[:, tokens.start : tokens.stop]
    if run.clusters is None:
        return stretches(kept), stretches(kept)
    clusters = run.clusters[:, tokens.start : tokens.stop]
    return stretches(kept), sum(len(set(ids[head].tolist())) for ids, head in zip(clusters, kept, strict=True))


def stretches(kept: np.ndarray) -> int:
    """Runs of True along the rows of bool [kv_heads, tokens].

    >>> import numpy as np
    >>> stretches(np.array([[True, True, False, True], [False, False, True, True]]))
    3
    """
    return int(kept[:, :1].sum() + (kept[:, 1:] & ~kept[:, :-1]).sum())
