"""References of the selections that carry data from step to step: choices, sums of attention, blocks, frames.

Plain torch and Python in FP64, written from the rules. positions_and_scores.py has the shared parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels.lazy_torch import torch
from kernels.selection.accumulated import HeavyHitters
from kernels.selection.algorithm import CacheShape, Counters
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.pages import GatedPages
from kernels.selection.references.positions_and_scores import gate_reaches, reference, top

if TYPE_CHECKING:
    from kernels.selection.references.positions_and_scores import Found, Steps


@reference
def gated_pages(shape: CacheShape, options: GatedPages, stream: Steps) -> Found:
    """Return the trace of GatedPages: a new choice at every `reuse`-th step, kept as a set of pages per head."""
    full = gate_reaches(options.gates, shape.kv_heads, options.sparsity)
    share, width, page = shape.heads // shape.kv_heads, shape.head_dim, options.page
    chosen: dict[int, set[int]] = {}
    seen = 0
    for index, (k, q, new) in enumerate(stream):
        subs, pages = -(-len(k) // options.sub_chunk), -(-len(k) // page)
        counts = Counters(comparisons=2 * new * sum(full) * width)
        held = 2 * subs * sum(full) * width * shape.element_bytes
        if index % options.reuse == 0:
            seen, chosen = pages, {h: set() for h in range(shape.heads)}
            for head in range(shape.heads):
                for query in q[:, head]:
                    own = [p.split(options.sub_chunk) for p in k[:, head // share].split(page)][:-1]
                    # Without the last page, which is always kept.
                    best = [max(_bound(query, s) for s in parts) for parts in own]
                    chosen[head] |= set(top(torch.tensor(best), options.pages - 1).tolist()) | {pages - 1}
            # Only heads that retrieve are scored.
            rows = q.shape[0] * share * sum(full)
            compared = rows * (subs * (width + 1) + pages)
            counts += Counters(held, multiply_adds=2 * rows * subs * width, comparisons=compared)
        mask = torch.zeros(shape.heads, len(k), dtype=torch.bool)
        for head in range(shape.heads):
            for t in range(len(k)):
                ends = t < options.sinks or len(k) - t <= options.recent
                paged = t // page in chosen[head] or t // page >= seen
                mask[head, t] = paged if full[head // share] else ends
        yield mask, counts, held


def _bound(query: torch.Tensor, keys: torch.Tensor) -> float:
    return float(torch.maximum(query * keys.amin(dim=0), query * keys.amax(dim=0)).sum())


@reference
def heavy_hitters(shape: CacheShape, options: HeavyHitters, stream: Steps) -> Found:
    """Return the trace of HeavyHitters: a dict of survivors per KV head, and a softmax per query head and row."""
    share = shape.heads // shape.kv_heads
    received = [dict[int, float]() for _ in range(shape.kv_heads)]
    for k, q, new in stream:
        compared = 0
        for head in range(shape.kv_heads):
            received[head] |= dict.fromkeys(range(len(k) - new, len(k)), 0.0)
            outside = sorted(t for t in received[head] if t < len(k) - options.recent)
            compared += len(outside)
            # Highest sums first and the older of equals first; those beyond `heavy` are evicted.
            for _, t in sorted((-received[head][t], t) for t in outside)[options.heavy :]:
                del received[head][t]
            left = sorted(received[head])
            for query in q[:, head * share : (head + 1) * share].reshape(-1, shape.head_dim):
                for t, p in zip(left, (k[left, head] @ query * shape.head_dim**-0.5).softmax(dim=0), strict=True):
                    received[head][t] += float(p)
        mask = torch.zeros(shape.kv_heads, len(k), dtype=torch.bool)
        for head in range(shape.kv_heads):
            mask[head, list(received[head])] = True
        held = 4 * sum(len(r) for r in received)
        additions = sum(len(r) for r in received) * share * q.shape[0]
        yield mask, Counters(held, additions=additions, comparisons=compared), held


@reference
def block_means(shape: CacheShape, options: BlockMeans, stream: Steps) -> Found:
    """Return the trace of BlockMeans: sums of q . k token by token, blocks closed as they leave the window."""
    share, first = shape.heads // shape.kv_heads, options.sinks
    attended = torch.zeros(shape.tokens, shape.kv_heads, dtype=torch.float64)
    means: list[torch.Tensor] = []
    for k, q, _ in stream:
        loose = range(first + len(means) * options.block, len(k))
        for t in loose:
            for head in range(shape.heads):
                attended[t, head // share] += (q[:, head] @ k[t, head // share]).sum()
        # Sums come first: the queries of this chunk still count for a block that closes now.
        old = len(means)
        while len(k) - options.window >= first + (len(means) + 1) * options.block:
            block = slice(first + len(means) * options.block, first + (len(means) + 1) * options.block)
            best = [top(attended[block, h], options.representatives) for h in range(shape.kv_heads)]
            means.append(torch.stack([k[block][best[h], h].mean(dim=0) for h in range(shape.kv_heads)]))
        scores = [sum(float((q[:, h] @ m[h // share]).sum()) for h in range(shape.heads)) for m in means]
        kept = top(torch.tensor(scores), options.blocks).tolist()
        end = first + len(means) * options.block
        row = [t < first or t >= end or (t - first) // options.block in kept for t in range(len(k))]
        made, rows = (len(means) - old) * shape.kv_heads, q.shape[0] * shape.heads
        held, products = (n * len(means) * shape.head_dim for n in (shape.kv_heads * shape.element_bytes, rows))
        added = rows * len(loose) + made * options.representatives * shape.head_dim
        compared = len(means) + made * options.block
        counts = Counters(held, multiply_adds=products, additions=added, comparisons=compared)
        yield torch.tensor([row] * shape.kv_heads), counts, held


@reference
def frame_means(shape: CacheShape, options: FrameMeans, stream: Steps) -> Found:
    """Return the trace of FrameMeans: one vector over all query heads, with K repeated for each as in the source."""
    for k, q, new in stream:
        complete = len(k) // options.frame
        long = k.repeat_interleave(shape.heads // shape.kv_heads, dim=1).flatten(1)
        sums = [long[f * options.frame : (f + 1) * options.frame].sum(dim=0) for f in range(complete)]
        scores = [float(s @ q.sum(dim=0).flatten()) for s in sums]
        kept = top(torch.tensor(scores), options.frames).tolist()
        row = [t // options.frame in kept or t // options.frame == complete for t in range(len(k))]
        held = complete * long.shape[1] * shape.element_bytes
        added = q.numel() + new * shape.kv_heads * shape.head_dim
        counts = Counters(held, multiply_adds=complete * long.shape[1], additions=added, comparisons=complete)
        yield torch.tensor([row] * shape.kv_heads), counts, held
