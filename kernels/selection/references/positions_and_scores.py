"""References of the selections by position and score: plain torch in FP64, from all tokens at each step, row by row.

Knows the rules and the formulas of the bytes. Keeps no state except what a rule itself carries from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from kernels.lazy_torch import torch
from kernels.selection.algorithm import Algorithm, CacheShape, Counters, select, start, update
from kernels.selection.columns import HighestScores, LabelChannels, PartialColumns
from kernels.selection.pages import PageBounds
from kernels.selection.positions import Everything, GatedHeads, SinkWindow

Trace = tuple[np.ndarray, np.ndarray, np.ndarray]
if TYPE_CHECKING:  # names of PyTorch, which is loaded when a reference first uses it
    Choice = Callable[[torch.Tensor, torch.Tensor], torch.Tensor | list[int]]
    Steps = Iterator[tuple[torch.Tensor, torch.Tensor, int]]
    Found = Iterator[tuple[torch.Tensor, Counters, int]]


def trace(shape: CacheShape, options: Algorithm, *, keys: np.ndarray, queries: np.ndarray, chunk: int) -> Trace:
    """Return the masks, counts and metadata bytes of an algorithm, chunk by chunk, which the references must equal.

    keys float [tokens, kv_heads, d], queries float [tokens, heads, d]. Returns all masks in one row, bool; the counts
    of update and select, int64, first each step's numbers, then its sets; the metadata bytes, int64 [steps].
    """
    found, state = [], start(shape, options)
    for first in range(0, len(keys), chunk):
        rows = queries[first : first + chunk]
        state = update(state, keys[first : first + chunk], queries=rows)
        kept = select(state, rows)
        found.append((kept.mask, state.counts + kept.counts, state.metadata_bytes))
    return _joined(found)


def _joined(steps: Iterable[tuple[np.ndarray, Counters, int]]) -> Trace:
    masks, counts, held = zip(*steps, strict=True)
    flat = [n for c in counts for n in (*c.numbers(), *chain(*c.hashed), *chain(*c.ranked))]
    return np.concatenate([mask.ravel() for mask in masks]), np.array(flat, np.int64), np.array(held, np.int64)


def steps(keys: np.ndarray, queries: np.ndarray, chunk: int) -> Steps:
    """Yield at each step the keys so far [n, kv_heads, d], the queries of the chunk, and how many tokens are new."""
    for first in range(0, len(keys), chunk):
        last = min(first + chunk, len(keys))
        yield torch.tensor(keys[:last]).double(), torch.tensor(queries[first:last]).double(), last - first


def top(values: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices of the highest values, the earlier of equals first."""
    # torch.topk does not say which of two equals it takes.
    return torch.sort(values, descending=True, stable=True).indices[:count]


def reference(found: Callable[..., Found]) -> Callable[..., Trace]:
    """Return the reference that joins what `found` yields: mask, counts without K and V of kept tokens, metadata bytes.

    `found` takes the shape, the options and the steps.
    """

    @wraps(found)
    def of_steps(shape: CacheShape, options: Algorithm, *, keys: np.ndarray, queries: np.ndarray, chunk: int) -> Trace:
        return _joined(
            (mask.numpy(), counts + _reading(mask, shape), metadata)
            for mask, counts, metadata in found(shape, options, steps(keys, queries, chunk))
        )

    return of_steps


def _reading(mask: torch.Tensor, shape: CacheShape) -> Counters:
    # A KV head reads a token once, however many of its query heads keep it.
    kept = int(mask.reshape(shape.kv_heads, -1, mask.shape[1]).any(dim=1).sum())
    return Counters(kv_read_bytes=2 * kept * shape.head_dim * shape.element_bytes)


def by_row(shape: CacheShape, keys: torch.Tensor, queries: torch.Tensor, choose: Choice) -> torch.Tensor:
    """Return the mask [heads, n] of the tokens that choose(query [d], keys [n, d]) returns for any row of a head."""
    mask = torch.zeros(shape.heads, len(keys), dtype=torch.bool)
    for head in range(shape.heads):
        own = keys[:, head // (shape.heads // shape.kv_heads)]
        for query in queries[:, head]:
            mask[head, torch.as_tensor(choose(query, own), dtype=torch.int64)] = True
    return mask


@reference
def everything(shape: CacheShape, options: Everything, stream: Steps) -> Found:
    """Return the trace of Everything."""
    for k, _, _ in stream:
        yield torch.ones(shape.kv_heads, len(k), dtype=torch.bool), Counters(), 0


@reference
def sink_window(shape: CacheShape, options: SinkWindow, stream: Steps) -> Found:
    """Return the trace of SinkWindow, position by position."""
    for k, _, _ in stream:
        row = [p < options.sinks or len(k) - p <= options.window for p in range(len(k))]
        yield torch.tensor([row] * shape.kv_heads), Counters(), 0


def gate_reaches(gates: tuple[float, ...], kv_heads: int, sparsity: float) -> list[bool]:
    """Return for each KV head whether its gate is at or above the quantile of the gates."""
    values = torch.tensor(gates if gates else list(range(kv_heads)), dtype=torch.float64)
    return (values >= torch.quantile(values, sparsity)).tolist()


@reference
def gated_heads(shape: CacheShape, options: GatedHeads, stream: Steps) -> Found:
    """Return the trace of GatedHeads, head by head and position by position."""
    full = gate_reaches(options.gates, shape.kv_heads, options.sparsity)
    for k, _, _ in stream:
        ends = [p < options.sinks or len(k) - p <= options.recent for p in range(len(k))]
        yield torch.tensor([[True] * len(k) if f else ends for f in full]), Counters(), 0


@reference
def highest_scores(shape: CacheShape, options: HighestScores, stream: Steps) -> Found:
    """Return the trace of HighestScores: a sort per row."""
    for k, q, _ in stream:
        mask = by_row(shape, k, q, lambda query, own: top(own @ query, options.tokens))
        scores = q.shape[0] * shape.heads * len(k)
        union = mask.reshape(shape.kv_heads, -1, len(k)).any(dim=1)
        # Scores read K of all tokens; report adds K and V of the kept ones.
        k_only = int((~union).sum()) * shape.head_dim * shape.element_bytes
        counts = Counters(kv_read_bytes=k_only, multiply_adds=scores * shape.head_dim, comparisons=scores)
        yield mask, counts, 0


@reference
def label_channels(shape: CacheShape, options: LabelChannels, stream: Steps) -> Found:
    """Return the trace of LabelChannels: all other channels are set to zero."""
    # The full product with zeros, so that no index into channels is shared with the algorithm.
    width = -(-shape.head_dim // options.group)
    labels = torch.zeros(shape.kv_heads, shape.head_dim, dtype=torch.float64)
    for head, channels in enumerate(options.channels or [range(width)] * shape.kv_heads):
        labels[head, list(channels)] = 1
    for k, q, _ in stream:
        mask = by_row(shape, k * labels, q, lambda query, own: top(own @ query, options.tokens))
        scores = q.shape[0] * shape.heads * len(k)
        held = len(k) * shape.kv_heads * width * shape.element_bytes
        yield mask, Counters(held, multiply_adds=scores * width, comparisons=scores), held


@reference
def partial_columns(shape: CacheShape, options: PartialColumns, stream: Steps) -> Found:
    """Return the trace of PartialColumns: rotates all columns, then uses the first ones."""
    width = max(1, round(options.columns * shape.head_dim))
    turn = torch.eye(shape.head_dim).repeat(shape.kv_heads, 1, 1).double()
    if options.rotation is not None:
        turn = torch.tensor(options.rotation).double()

    def choose(query: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        scores = own @ query
        near = (scores >= scores.max() - options.alpha * shape.head_dim**0.5).nonzero()[:, 0]
        most = max(1, int(options.limit * len(own)))
        return near if len(near) <= most else top(scores, most)

    for k, q, _ in stream:
        turned = torch.einsum("nhd,hde->nhe", k, turn)[:, :, :width]
        asked = torch.einsum("rhd,hde->rhe", q, turn.repeat_interleave(shape.heads // shape.kv_heads, dim=0))
        mask = by_row(shape, turned, asked[:, :, :width], choose)
        scores = q.shape[0] * shape.heads * len(k)
        held = len(k) * shape.kv_heads * width * shape.element_bytes
        yield mask, Counters(held, multiply_adds=scores * width, comparisons=2 * scores), held


@reference
def page_bounds(shape: CacheShape, options: PageBounds, stream: Steps) -> Found:
    """Return the trace of PageBounds: bounds channel by channel; the newest page is not ranked."""
    page, width = options.page, shape.head_dim

    def choose(query: torch.Tensor, own: torch.Tensor) -> list[int]:
        parts = own.split(page)
        bounds = [torch.maximum(query * p.amin(dim=0), query * p.amax(dim=0)).sum() for p in parts[:-1]]
        best = top(torch.stack(bounds), options.pages - 1).tolist() if bounds else []
        return [t for t in range(len(own)) if t // page in best or t // page == len(parts) - 1]

    for k, q, new in stream:
        pages = -(-len(k) // page)
        scored = q.shape[0] * shape.heads * pages
        held = pages * shape.kv_heads * 2 * width * shape.element_bytes
        compared = scored * (width + 1) + 2 * new * shape.kv_heads * width
        # Per bound a comparison per channel and one in the ranking; per new token a minimum and a maximum per channel.
        counts = Counters(metadata_read_bytes=held, multiply_adds=2 * width * scored, comparisons=compared)
        yield by_row(shape, k, q, choose), counts, held


def attend_reference(
    queries: np.ndarray, keys: np.ndarray, *, values: np.ndarray, mask: np.ndarray | None = None, causal: bool = False
) -> np.ndarray:
    """Return attend by torch, in FP64."""
    rows, heads, tokens = queries.shape[0], queries.shape[1], len(keys)
    q, k, v = (torch.tensor(a).double().transpose(0, 1)[None] for a in (queries, keys, values))
    seen = torch.ones(rows, tokens, dtype=torch.bool).tril(tokens - rows if causal else tokens)
    kept = torch.ones(heads, tokens).bool() if mask is None else torch.tensor(mask)
    kept = kept.repeat_interleave(heads // len(kept), dim=0)[:, None] & seen
    attention = torch.nn.functional.scaled_dot_product_attention
    output = attention(q, k, v, attn_mask=kept[None], enable_gqa=True)[0]
    # A row without any token is NaN there, and zeros by the definition of attend.
    return output.where(kept.any(dim=2, keepdim=True), 0).transpose(0, 1).float().numpy()
