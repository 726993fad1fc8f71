"""Laws of the selections: bytes as the published table has them, bounds that hold, states that stay valid."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim.units.selector import HashComparator
from dataflow.op import work
from kernels import PAIRS
from kernels.selection import ALGORITHMS, draws
from kernels.selection.accumulated import HeavyHitters
from kernels.selection.algorithm import CacheShape, Counters, SelectedKeys, State, select, start, update
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.clusters import HashClusters
from kernels.selection.columns import HighestScores, LabelChannels, PartialColumns
from kernels.selection.pages import GatedPages, PageBounds
from kernels.selection.positions import Everything, GatedHeads, SinkWindow
from kernels.selection.ranking import scores_of

# One query head per KV head and one row, as the table counts; d and b as in BF16 and head_dim 128, n a multiple of all.
N, H, D, B = 6400, 4, 20, 2
SHAPE = CacheShape(N, H, H, D)
FULL = 2 * N * D * B

# name: options, bytes read per step and KV head (metadata, K and V), metadata held per KV head.
TABLE = {
    "full": (Everything(), 0, FULL, 0),
    "streaming_llm": (SinkWindow(4, 512), 0, 2 * (4 + 512) * D * B, 0),
    "duo_attention": (GatedHeads(128, 256), 0, 0.5 * FULL + 0.5 * 2 * (128 + 256) * D * B, 0),
    "topk": (HighestScores(100), 0, N * D * B + 100 * D * B, 0),
    "h2o": (HeavyHitters(100, 60), 0, 2 * (100 + 60) * D * B, 4 * 160),
    "quest": (PageBounds(16, 20), 2 * D * N / 16 * B, 2 * 20 * 16 * D * B, FULL / 16),
    "rekv": (FrameMeans(200, 5), N / 200 * D * B, 2 * 5 * 200 * D * B, N / 200 * D * B),
    "infinigen": (PartialColumns(0.2, np.inf, 0.25), 0.2 * N * D * B, 2 * 0.25 * N * D * B, 0.1 * FULL),
    "double_sparsity": (LabelChannels(4, 100), N * D / 4 * B, 2 * 100 * D * B, N * D / 4 * B),
    "lserve": (
        GatedPages(64, 16, 10),
        0.5 * 2 * D * N / 16 * B,
        0.5 * 2 * 640 * D * B + 0.5 * 2 * 384 * D * B,
        0.5 * FULL / 16,
    ),
}


def drawn(seed: int, tokens: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((tokens, H, D), dtype=np.float32), rng.standard_normal((1, H, D), dtype=np.float32)


@pytest.mark.parametrize("name", TABLE)
def test_bytes_are_those_of_the_published_table(name: str) -> None:
    options, metadata, kv, held = TABLE[name]
    keys, query = drawn(0)
    state = update(start(SHAPE, options), keys)
    counts = select(state, query).counts
    assert counts.metadata_read_bytes == H * metadata
    assert counts.kv_read_bytes == H * kv
    assert state.metadata_bytes == H * held


def test_bytes_of_blocks_are_those_of_the_published_table() -> None:
    blocks = 10
    keys, query = drawn(1)
    sinks, window = 128, N - 128 - blocks * 128
    state = update(start(SHAPE, BlockMeans(sinks, window, 128, 3)), keys, queries=query)
    counts = select(state, query).counts
    assert counts.metadata_read_bytes == state.metadata_bytes == H * blocks * D * B
    assert counts.kv_read_bytes == H * 2 * (sinks + window + 3 * 128) * D * B


def test_the_vector_of_a_block_is_the_mean_of_its_most_attended_keys() -> None:
    keys = np.array([0, 5, 1, 4, 9, 7], dtype=np.float32).reshape(6, 1, 1)
    state = start(CacheShape(6, 1, 1, 1), BlockMeans(1, 1, 4, 0, 2))
    state = update(state, keys[:4], queries=np.ones((1, 1, 1)))  # tokens 1, 2, 3 receive 5, 1, 4
    state = update(state, keys[4:], queries=-np.ones((1, 1, 1)))  # then 0, 0, 0, and token 4 -9
    assert state.held.means.array[0].item() == np.float32(5 + 1) / 2  # all 0: the first two
    state = update(start(state.shape, state.options), keys, queries=np.ones((2, 1, 1)))
    assert state.held.means.array[0].item() == (5 + 9) / 2


def test_a_frame_mean_is_held_once_per_query_head() -> None:
    state = update(start(CacheShape(20, 6, 2, 8), FrameMeans(10, 1)), np.ones((20, 2, 8)))
    assert state.metadata_bytes == select(state, np.ones((3, 6, 8))).counts.metadata_read_bytes == 2 * 6 * 8 * 2


def test_a_cluster_table_is_1_67_percent_of_the_cache_at_32_tokens_a_cluster() -> None:
    shape = CacheShape(3200, 32, 8, 128)
    directions = np.random.default_rng(2).standard_normal((100, 8, 128), dtype=np.float32)
    state = update(start(shape, HashClusters(hamming=1)), np.repeat(directions, 32, axis=0))
    table = state.held.tables[0]
    assert table.counts.tolist() == [32] * 100
    assert state.metadata_bytes == 100 * (4 + 8 * 128 * 2 + 4 + 2 + 32 * 4)
    assert round(100 * state.metadata_bytes / (3200 * 4096), 2) == 1.67
    kept = select(state, np.ones((1, 32, 128)))
    assert kept.counts.metadata_read_bytes == 3200 // 32 * 8 * 128 * 2
    apart = update(start(shape, HashClusters(hamming=1, apart=True)), np.repeat(directions, 32, axis=0))
    assert round(100 * apart.metadata_bytes / (3200 * 4096), 1) == 2.4


def test_a_comparator_of_16_bits_takes_two_cycles_per_comparison_of_32_bits() -> None:
    comparator = HashComparator.model_validate(
        {
            "kind": "hash_comparator",
            "cores": 1,
            "bits_per_cycle": "16 bit",
            "current_buffer": "1 MiB",
            "cached_buffer": "1 MiB",
            "fill_cycles": 0,
        }
    )

    def cycles(counts: Counters) -> int:
        sets = [work("hash_compare", current=new, cached=old, bits=bits) for new, old, bits in counts.hashed]
        return sum(comparator.cycles(item) for item in sets)

    keys = np.random.default_rng(3).standard_normal((30, 1, 64))
    shape = CacheShape(30, 1, 1, 64)
    # Nothing is nearer than 0: each key opens a cluster, so the second chunk meets 10 and the third 20 of them.
    state = start(shape, HashClusters(hamming=0))
    for first, comparisons in ((0, 45), (10, 145), (20, 245)):
        state = update(state, keys[first : first + 10])
        assert (state.counts.hash_comparisons, cycles(state.counts)) == (comparisons, 2 * comparisons)
    state = update(start(shape, HashClusters(hamming=0, bits=33)), keys)
    assert cycles(state.counts) == 3 * state.counts.hash_comparisons == 3 * 30 * 29 // 2


def test_a_reused_choice_costs_nothing_until_the_next() -> None:
    keys, query = drawn(4)
    state = update(start(SHAPE, GatedPages(64, 16, 10)), keys[:-10])
    read = []
    for token in range(N - 10, N):
        state = update(state, keys[token : token + 1], queries=query)
        kept = select(state, query)
        read.append((state.counts + kept.counts).metadata_read_bytes)
    assert [r > 0 for r in read] == [True, False, False, False] * 2 + [True, False]
    assert read[0] == 2 * -(-(N - 9) // 16) * (H // 2) * D * B


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 40))
def test_a_page_bound_is_never_below_the_largest_score_of_the_page(seed: int, size: int) -> None:
    for name in ("page_bounds", "gated_pages"):
        drawn = draws.with_stream(getattr(draws, name))(np.random.default_rng(seed), size)
        options = drawn["options"]
        if name == "gated_pages":
            options = PageBounds(options.sub_chunk, 1)
        state = update(start(drawn["shape"], options), drawn["keys"])
        bounds = state.held.above(drawn["queries"])
        scores = scores_of(drawn["queries"], drawn["keys"])
        largest = np.maximum.reduceat(scores, np.arange(0, len(drawn["keys"]), options.page), axis=2)
        assert bounds.shape == largest.shape
        assert (bounds >= largest).all()  # whole numbers, so no rounding
        if options.page == 1:
            np.testing.assert_array_equal(bounds, largest)


def test_a_page_bound_of_real_numbers_is_above_but_for_rounding() -> None:
    keys, query = drawn(5)
    bounds = update(start(SHAPE, PageBounds(16, 1)), keys).held.above(query)
    largest = scores_of(query, keys).reshape(H, 1, -1, 16).max(axis=3)
    # FP32 sums of 20 products around 1.
    assert (bounds >= largest - 1e-5).all()
    assert bounds.mean() < 4 * largest.mean()


def same(a: SelectedKeys, b: SelectedKeys) -> bool:
    return np.array_equal(a.mask, b.mask) and a.counts == b.counts


def some(name: str, seed: int) -> dict:
    (pair,) = (pair for pair in PAIRS if pair.name == name)
    return pair.inputs(np.random.default_rng(seed), 30)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_older_state_stays_valid_when_newer_ones_grow_from_it(name: str) -> None:
    for seed in range(10):
        a = some(name, seed)
        if len(a["keys"]) < 4:
            continue
        keys, queries, half = a["keys"], a["queries"], len(a["keys"]) // 2
        old = update(start(a["shape"], a["options"]), keys[:half], queries=queries[:half])
        before = select(old, queries[:1])
        one = update(old, keys[half:], queries=queries[half:])
        first = select(one, queries[-1:])
        other = update(old, -keys[half:], queries=queries[half:])
        select(other, queries[-1:])
        assert same(select(old, queries[:1]), before)
        assert same(select(one, queries[-1:]), first)
        assert same(select(update(old, keys[half:], queries=queries[half:]), queries[-1:]), first)


def grown(a: dict, chunk: int) -> State:
    state = start(a["shape"], a["options"])
    for first in range(0, len(a["keys"]), chunk):
        state = update(state, a["keys"][first : first + chunk])
    return state


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("h2o", "resv")])
def test_without_queries_the_chunks_of_the_updates_do_not_matter(name: str) -> None:
    for seed in range(10):
        a = some(name, seed)
        states = [grown(a, chunk) for chunk in (1, 3, len(a["keys"]))]
        kept = [select(state, a["queries"][-2:]) for state in states]
        assert same(kept[0], kept[1])
        assert same(kept[1], kept[2])
        assert len({state.metadata_bytes for state in states}) == 1


@pytest.mark.parametrize("name", ["topk", "quest", "double_sparsity", "rekv", "infinigen", "infllm"])
def test_a_larger_budget_keeps_what_a_smaller_one_kept(name: str) -> None:
    larger = {
        "topk": lambda b: HighestScores(10 * b),
        "quest": lambda b: PageBounds(8, 2 * b),
        "double_sparsity": lambda b: LabelChannels(4, 10 * b),
        "rekv": lambda b: FrameMeans(20, b),
        "infinigen": lambda b: PartialColumns(0.5, 0.3 * b, 1),
        "infllm": lambda b: BlockMeans(1, 9, 8, 3 * b),
    }[name]
    keys, query = drawn(6, 200)
    masks = [select(update(start(CacheShape(200, H, H, D), larger(b)), keys), query).mask for b in (1, 3, 6)]
    assert masks[0].sum() < masks[1].sum() < masks[2].sum()
    assert not (masks[0] & ~masks[1]).any()
    assert not (masks[1] & ~masks[2]).any()


@pytest.mark.parametrize("buckets", [20, None])
def test_a_higher_ratio_keeps_more_clusters(buckets: int | None) -> None:
    keys, query = drawn(7, 200)
    options = [HashClusters(ratio=ratio, buckets=buckets) for ratio in (0.01, 0.1, 0.3, 1)]
    masks = [select(update(start(CacheShape(200, H, H, D), o), keys), query).mask for o in options]
    sizes = [int(mask.sum()) for mask in masks]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == H * 200
    assert not any((less & ~more).any() for less, more in pairwise(masks))


def test_evicted_tokens_never_return() -> None:
    keys, _ = drawn(8, 200)
    queries = drawn(9, 200)[0]
    state, gone = start(CacheShape(200, H, H, D), HeavyHitters(10, 5)), np.zeros((H, 0), dtype=bool)
    for first in range(0, 200, 7):
        state = update(state, keys[first : first + 7], queries=queries[first : first + 7])
        mask = select(state, queries[:1]).mask
        assert not (mask[:, : gone.shape[1]] & gone).any()
        assert (mask.sum(axis=1) <= 15).all()
        assert mask[:, -5:].all()
        gone = ~mask
