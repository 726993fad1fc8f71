"""Selections of cached tokens: everything kept is dense attention, and the worked examples of the source come out."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch

import kernels
from archsim.units.selector import ThresholdUnit
from dataflow.op import work
from kernels import selection as retrieval
from kernels.selection import ALGORITHMS, rule
from kernels.selection.accumulated import HeavyHitters
from kernels.selection.algorithm import CacheShape, select, start, update
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.clusters import HashClusters
from kernels.selection.columns import HighestScores, LabelChannels, PartialColumns, dominant_rotation, rank_channels
from kernels.selection.pages import GatedPages, PageBounds
from kernels.selection.positions import Everything, GatedHeads, SinkWindow
from kernels.selection.quality import attend, mass_recall, output_error, top_recall
from kernels.selection.ranking import keep_highest, keep_within, scores_of
from kernels.selection.threshold import keep_to_ratio

TOKENS, HEADS, KV_HEADS, WIDTH = 77, 6, 3, 8
SHAPE = CacheShape(TOKENS, HEADS, KV_HEADS, WIDTH)
ALL = {
    "full": [Everything()],
    "topk": [HighestScores(TOKENS)],
    "streaming_llm": [SinkWindow(0, TOKENS), SinkWindow(TOKENS - 1, 1)],
    "duo_attention": [GatedHeads(1, 1, gates=(1.0, 1.0, 1.0)), GatedHeads(1, 1, sparsity=0), GatedHeads(7, TOKENS - 7)],
    "h2o": [HeavyHitters(TOKENS - 1, 1), HeavyHitters(0, TOKENS)],
    "quest": [PageBounds(16, 5), PageBounds(1, TOKENS), PageBounds(TOKENS, 1)],
    "infllm": [BlockMeans(5, 8, 8, 8), BlockMeans(0, TOKENS, 8, 0), BlockMeans(0, 1, 4, 19)],
    "rekv": [FrameMeans(10, 8), FrameMeans(TOKENS, 1), FrameMeans(1, TOKENS)],
    "infinigen": [PartialColumns(0.5, np.inf, 1.0), PartialColumns(1, np.inf, 1)],
    "double_sparsity": [LabelChannels(8, TOKENS), LabelChannels(3, TOKENS)],
    "lserve": [GatedPages(8, 4, 10, sinks=1, recent=1, gates=(0.5, 0.5, 0.5))],
    "resv": [
        HashClusters(ratio=1.0, buckets=buckets, negative=negative, apart=apart)
        for buckets in (20, 1, None)
        for negative in ("raw", "clamp", "shift", "exp")
        for apart in (False, True)
    ],
}


def drawn(seed: int = 0, rows: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(
        rng.standard_normal(extents, dtype=np.float32)
        for extents in ((TOKENS, KV_HEADS, WIDTH), (TOKENS, KV_HEADS, WIDTH), (rows, HEADS, WIDTH))
    )


def dense(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    tensors = (torch.tensor(a).double().transpose(0, 1)[None] for a in (q, k, v))
    output = torch.nn.functional.scaled_dot_product_attention(*tensors, enable_gqa=True)
    return output[0].transpose(0, 1).float().numpy()


def test_every_algorithm_is_listed_with_a_pair_and_has_a_whole_budget_here() -> None:
    assert set(ALL) == set(ALGORITHMS) <= {pair.name for pair in kernels.PAIRS}
    assert all(type(options) is rule(name) for name, several in ALL.items() for options in several)


@pytest.mark.parametrize(
    "options", [options for several in ALL.values() for options in several], ids=lambda options: repr(options)[:60]
)
def test_with_everything_kept_it_is_dense_attention(options) -> None:
    k, v, q = drawn()
    state = start(SHAPE, options)
    for first in range(0, TOKENS, 10):
        state = update(state, k[first : first + 10], queries=q)
        kept = select(state, q)
        assert kept.mask.all()
        assert kept.of_kv_heads(KV_HEADS).all()
    # FP32 against FP64: sums of 77 terms with 6e-8 each, and FP32 weights.
    np.testing.assert_allclose(attend(q, k, values=v, mask=kept.mask), dense(q, k, v), rtol=0, atol=2e-6)
    np.testing.assert_allclose(mass_recall(q, k, mask=kept.mask), 1, rtol=1e-12)
    assert (top_recall(q, k, mask=kept.mask, top=9) == 1).all()
    assert (output_error(q, k, values=v, mask=kept.mask) == 0).all()


def test_the_first_worked_example_stops_after_three_clusters() -> None:
    scores, counts = np.array([[9.0, 8.0, 7.0, 2.0]]), np.array([4, 3, 3, 7])
    kept, sums, _ = keep_to_ratio(scores, counts, ratio=0.8)
    assert (scores[0] * counts).sum() == 95
    assert kept.tolist() == [True, True, True, False]
    assert sums.tolist() == [81]
    # Th is 76: what has reached 60 goes on, what has reached 81 stops; 60 / 95 is the edge of stopping earlier.
    assert keep_to_ratio(scores, counts, ratio=0.63)[1].tolist() == [60]
    assert keep_to_ratio(scores, counts, ratio=0.64)[1].tolist() == [81]
    # The rule is "exceeds": a partial sum of exactly half of the total goes on.
    assert keep_to_ratio(np.array([[2.0, 1.0]]), np.array([1, 2]), ratio=0.5)[1].tolist() == [4]


def test_the_second_worked_example_stops_in_the_bucket_from_28_to_30() -> None:
    # Scores from 0 to 40 in 20 buckets of width 2, sum 1000: [30, 40] holds 774, [28, 30) another 28, the rest 198.
    scores = np.array([[40.0, 30.0, 28.0, 27.0, 9.0, 0.0]])
    counts = np.array([12, 9, 1, 7, 1, 5])
    scores[0, 1] = (774 - 480) / 9
    assert (scores[0] * counts).tolist() == pytest.approx([480, 294, 28, 189, 9, 0])
    kept, sums, passes = keep_to_ratio(scores, counts, ratio=0.8, buckets=20, negative="shift")
    assert kept.tolist() == [True, True, True, False, False, False]
    assert sums[0] == pytest.approx(802)
    assert passes.tolist() == [6]
    unit = ThresholdUnit.model_validate(
        {
            "kind": "threshold_unit",
            "cores": 1,
            "lanes": 16,
            "score_buffer": "1 MiB",
            "count_buffer": "1 MiB",
            "element_bits": "16 bit",
            "buckets": 20,
            "fill_cycles": 0,
        }
    )
    assert unit.cycles(work("threshold", rows=1, columns=6, passes=int(passes.sum()))) == 7
    assert unit.cycles(work("threshold", rows=2, columns=33, passes=6 + 1)) == 3 * (7 + 2)


def test_what_a_negative_score_offers() -> None:
    scores, counts = np.array([[3.0, 1.0, -2.0]]), np.array([1, 1, 1])
    sums = {way: keep_to_ratio(scores, counts, ratio=1, negative=way)[1][0] for way in ("raw", "clamp", "shift", "exp")}
    assert (sums["raw"], sums["clamp"]) == (2, 4)
    assert sums["shift"] == 5 + 3
    assert sums["exp"] == pytest.approx(1 + np.exp(-2) + np.exp(-5))


def test_long_rows_are_ranked_as_a_stable_sort_ranks_them() -> None:
    rng = np.random.default_rng(1)
    for n, keep in ((8192, 1), (8192, 100), (9001, 9000), (20_000, 4000), (8200, 8199)):
        for row in (
            rng.standard_normal(n),
            rng.integers(-2, 3, n),
            np.where(np.arange(n) % 16, rng.standard_normal(n), -9),
            np.where(np.arange(n) % 16, rng.standard_normal(n), 9),
            1000 + rng.standard_normal(n) / 1000,
            np.where(rng.integers(2, size=n), -0.0, 0.0),
        ):
            scores = row.astype(np.float32)[None, None]
            expected = np.zeros(n, dtype=bool)
            expected[np.argsort(-scores[0, 0], kind="stable")[:keep]] = True
            np.testing.assert_array_equal(keep_highest(scores, keep)[0], expected)
            np.testing.assert_array_equal(keep_within(scores, np.inf, keep=keep)[0], expected)


def test_many_heads_at_once_are_scored_as_one_after_the_other() -> None:
    rng = np.random.default_rng(2)
    shape = CacheShape(9000, 32, 4, 16)
    keys = rng.integers(-4, 5, (9000, 4, 16)).astype(np.float32)
    queries = rng.integers(-4, 5, (7, 32, 16)).astype(np.float32)
    mask = select(update(start(shape, HighestScores(500)), keys), queries).mask
    scores = np.einsum("rhd,nhd->hrn", queries, np.repeat(keys, 8, axis=1))
    np.testing.assert_array_equal(scores_of(queries, keys), scores)
    np.testing.assert_array_equal(mask, keep_highest(scores, 500))


def test_a_rotation_keeps_products_and_puts_the_largest_columns_first() -> None:
    k, _, q = drawn(3, rows=40)
    q = q * np.linspace(0.1, 3, WIDTH, dtype=np.float32)
    turn = dominant_rotation(q, kv_heads=KV_HEADS)
    # FP32 products of 8 terms.
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(WIDTH), (KV_HEADS, 1, 1)), atol=1e-6)
    turned = np.einsum("rhd,hde->rhe", q, np.repeat(turn, 2, axis=0))
    sizes = np.square(turned).sum(axis=0).reshape(KV_HEADS, 2, WIDTH).sum(axis=1)
    assert (np.diff(sizes, axis=1) < 0).all()
    options = PartialColumns(1, 0.5, 1, turn)
    plain = PartialColumns(1, 0.5, 1)
    masks = [select(update(start(SHAPE, o), k), q).mask for o in (options, plain)]
    np.testing.assert_array_equal(*masks)


def test_ranked_channels_recall_more_than_the_first_ones() -> None:
    k, _, q = drawn(4, rows=1)
    k *= np.linspace(0.1, 3, WIDTH, dtype=np.float32)
    channels = tuple(tuple(row[:2]) for row in rank_channels(q, k).tolist())
    masks = [select(update(start(SHAPE, LabelChannels(4, 10, c)), k), q).mask for c in (channels, ())]
    ranked, first = (top_recall(q, k, mask=mask, top=10).mean() for mask in masks)
    assert ranked > first + 0.2


EXAMPLES = [retrieval.__name__, *(m.name for m in pkgutil.iter_modules(retrieval.__path__, "kernels.selection."))]


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_examples_of_retrieval(name: str) -> None:
    module = importlib.import_module(name)
    things = [t for t in vars(module).values() if callable(t) and getattr(t, "__module__", "") == module.__name__]
    assert [t.__name__ for t in things if not t.__doc__ and not t.__name__.startswith("_")] == []
    assert doctest.testmod(module).failed == 0
