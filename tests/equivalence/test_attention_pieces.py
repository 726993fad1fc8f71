"""Attention in pieces, as numbers: the partial sums of all pieces, merged, are attention over all keys that are seen.

The walk places each piece by itself: pieces give extents and masks, no positions.
"""

from __future__ import annotations

import numpy as np
import pytest

import archsim
import dataflow
import mappers
from dataflow import Mask, work
from dataflow.op import Work
from mappers.build.pieces import cut_attention
from mappers.tiled.attention import SCORES, SOFTMAX, SUMS


class Merged:
    """The running maximum, sum and weighted values of each query of each part (a KV head of a sequence)."""

    def __init__(self, whole: Work, seed: int) -> None:
        self.whole, self.parts = whole, whole["batch"] * whole["kv_heads"]
        self.rows, self.heads = whole["queries"], whole["heads"] // whole["kv_heads"]
        rng = np.random.default_rng(seed)
        self.scores = rng.normal(size=(self.parts, self.heads, self.rows, whole["keys"]))
        self.values = rng.normal(size=(self.parts, whole["keys"], whole["v_dim"]))
        self.most = np.full((self.parts, self.heads, self.rows), -np.inf)
        self.sum = np.zeros_like(self.most)
        self.taken = np.zeros((*self.most.shape, whole["v_dim"]))
        self.seen = np.zeros((self.parts, self.rows, whole["keys"]), dtype=int)

    def take(self, part: int, query: int, keys: range) -> None:
        """The keys for a query of a part, merged into what there is."""
        if not keys:
            return
        self.seen[part, query, keys.start : keys.stop] += 1
        scores = self.scores[part, :, query, keys.start : keys.stop]
        most = np.maximum(self.most[part, :, query], scores.max(axis=-1))
        keep, new = np.exp(self.most[part, :, query] - most), np.exp(scores - most[:, None])
        self.sum[part, :, query] = self.sum[part, :, query] * keep + new.sum(axis=-1)
        weighted = new @ self.values[part, keys.start : keys.stop]
        self.taken[part, :, query] = self.taken[part, :, query] * keep[:, None] + weighted
        self.most[part, :, query] = most

    def expected(self) -> np.ndarray:
        """Attention over all keys that the mask shows, in one."""
        shown = np.full((self.rows, self.whole["keys"]), -np.inf)
        for query in range(self.rows):
            keys = self.whole.mask.seen(query, queries=self.rows, keys=self.whole["keys"])
            shown[query, keys.start : keys.stop] = 0
        weights = np.exp(self.scores + shown)
        return (weights / weights.sum(axis=-1, keepdims=True)) @ self.values[:, None]


def walk(whole: Work, pieces: list[tuple[Work, int]], seed: int) -> Merged:
    """Places the pieces one after another: parts together, then stretches of keys, then stretches of queries."""
    merged, part, key, query = Merged(whole, seed), 0, 0, 0
    for piece, times in pieces:
        together, rows, keys = piece["batch"] * piece["kv_heads"], piece["queries"], piece["keys"]
        if rows == whole["queries"] and keys == whole["keys"]:  # whole parts
            for _ in range(times * together):
                for row in range(rows):
                    merged.take(part, row, whole.mask.seen(row, queries=rows, keys=keys))
                part += 1
            continue
        assert times % merged.parts == 0
        for _ in range(times // merged.parts):
            if rows == whole["queries"] and query == 0 and not piece.mask.causal and key + keys <= whole["keys"]:
                start = key if rows > 1 else whole["keys"] - whole.mask.pairs(1, whole["keys"]) + key
                spans = {row: range(start, start + keys) for row in range(rows)}
                key += keys
            else:  # its last key is the last that its last query sees
                end = whole.mask.seen(query + rows - 1, queries=whole["queries"], keys=whole["keys"]).stop
                shift = end - keys
                own = {row: piece.mask.seen(row, queries=rows, keys=keys) for row in range(rows)}
                spans = {query + row: range(one.start + shift, one.stop + shift) for row, one in own.items()}
                query += rows
            for each in range(merged.parts):
                for row, span in spans.items():
                    merged.take(each, row, span)
    return merged


def check(whole: Work, pieces: list[tuple[Work, int]], seed: int) -> None:
    merged = walk(whole, pieces, seed)
    for query in range(whole["queries"]):
        keys = whole.mask.seen(query, queries=whole["queries"], keys=whole["keys"])
        expected = np.zeros(whole["keys"], dtype=int)
        expected[keys.start : keys.stop] = 1
        assert (merged.seen[:, query] == expected).all(), f"query {query}"
    np.testing.assert_allclose(merged.taken / merged.sum[..., None], merged.expected(), rtol=1e-12, atol=1e-12)


MASKS = [Mask(causal=True), Mask(causal=False), Mask(causal=True, window=5)]


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 37), (5, 5), (7, 29), (12, 40)])
@pytest.mark.parametrize("part", [1, 2, 3, 7, 20, 1000])
def test_pieces_of_any_size_merge_into_attention(mask, queries, keys, part):
    whole = work("attention", mask, batch=2, heads=4, kv_heads=2, queries=queries, keys=keys, qk_dim=6, v_dim=6)
    size = 2 * 2 * keys * 12
    check(whole, [(item, n) for item, _, n in cut_attention(whole, size, max(1, size // part))], seed=part)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("design", ["systolic_two_level", "a100", "tpu_v4i"])
def test_the_attention_of_a_schedule_merges_into_attention(design, phase):
    """On an array a piece has its scores, its softmax and its sums; elsewhere it is one firing."""
    small = {"layers": 1, "hidden": 24, "heads": 4, "kv_heads": 2, "head_dim": 6, "ffn": 40, "vocab": 30}
    model = archsim.load_model("llama3_8b").model_copy(update=small)
    graph = dataflow.prefill(model, prompt=24) if phase == "prefill" else dataflow.decode(model, context=40)
    on = archsim.load_design(design)
    if design == "systolic_two_level":
        on = on.with_({"units.sram.capacity": "4 KiB", "units.array.rows": 4, "units.array.columns": 4})
    schedule = mappers.lower(graph, on, mapper="tiled")
    [op] = [op for op in graph.ops.values() if op.kind == "attention"]
    works = {
        kind: [(item, n) for s in schedule.sections for task in s.tasks for item, n in task.work if item.kind == kind]
        for kind in ("attention", SCORES, SOFTMAX, SUMS)
    }
    for kind, pieces in works.items():
        if pieces:
            check(op.work, pieces, seed=len(kind))
    assert sum(map(bool, works.values())) in (1, 3)
    if design == "systolic_two_level":
        assert sum(n for _, n in works[SCORES]) > 1
