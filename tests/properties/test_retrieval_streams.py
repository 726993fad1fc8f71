"""Drawn streams have the correlations asked for, and needles whose recall is known in closed form."""

import numpy as np
import pytest

from kernels.selection import ALGORITHMS, rule
from kernels.selection.algorithm import CacheShape, SelectedKeys, select, start, update
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.clusters import HashClusters
from kernels.selection.columns import HighestScores
from kernels.selection.pages import PageBounds
from kernels.selection.positions import SinkWindow
from kernels.selection.quality import attend, attention_weights, mass_recall, output_error, top_recall
from kernels.selection.streams import Stream, Video, video_stream

HEADS = {"heads": 6, "kv_heads": 3, "head_dim": 32}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize(("temporal", "spatial", "agreement"), [(0.9, 0.5, 0.25), (0, 0.8, 1), (0.5, 0, 0)])
def test_neighbours_are_as_alike_as_asked(temporal: float, spatial: float, agreement: float) -> None:
    alike = {"temporal": temporal, "spatial": spatial, "agreement": agreement}
    stream = video_stream(3, 1000, **alike, focus=0.6, sharpness=3.0, common=0.0, **HEADS)
    for array in (stream.keys, stream.values):
        frames = array.reshape(1000, 10, 3, 32)
        # About 1e5 independent numbers, fewer where neighbours are alike: 0.02 is three standard errors.
        assert frames.std() == pytest.approx(1, abs=0.02)
        assert correlation(frames[1:], frames[:-1]) == pytest.approx(temporal, abs=0.02)
        assert correlation(frames[:, 1:], frames[:, :-1]) == pytest.approx(spatial, abs=0.02)
        assert correlation(frames[:, :, 0], frames[:, :, 2]) == pytest.approx(agreement, abs=0.02)
        assert correlation(frames[2:], frames[:-2]) == pytest.approx(temporal**2, abs=0.02)
    assert correlation(stream.queries[:, 1], stream.keys[:, 0]) == pytest.approx(0.6, abs=0.02)
    assert correlation(stream.keys, stream.values) == pytest.approx(0, abs=0.02)
    assert stream.queries.std() == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("common", [0.0, 0.1, 0.5])
def test_keys_and_queries_share_a_direction(common: float) -> None:
    options = {"temporal": 0.5, "spatial": 0.5, "agreement": 0.9, "focus": 0.0, "sharpness": 1.0, "common": common}
    stream = video_stream(4, 2000, heads=2, kv_heads=2, head_dim=256, **options)
    own = np.square(stream.keys.mean(axis=0)).mean()
    shared = own / (own + 1 - common)
    # Of 256 channels the mean's square is drawn with a standard error of sqrt(2 / 256), 9 %; the rest is smaller.
    assert own == pytest.approx(common, rel=0.3, abs=0.005)
    assert correlation(stream.keys[:10_000], stream.keys[10_000:]) == pytest.approx(shared, abs=0.01)
    assert correlation(stream.queries[:10_000], stream.keys[10_000:]) == pytest.approx(shared, abs=0.01)
    np.testing.assert_allclose(stream.values.mean(axis=0), 0, atol=0.1)


def test_a_longer_stream_begins_as_a_shorter_one_and_a_head_is_drawn_alone() -> None:
    video = Video(seed=3, heads=4, kv_heads=2, head_dim=8)
    for drawn in (video.keys, video.values):
        whole = next(drawn(64))
        np.testing.assert_array_equal(whole, np.concatenate([part for part, _ in zip(drawn(32), "ab", strict=False)]))
        np.testing.assert_array_equal(next(drawn(64, kv_heads=[1]))[:, 0], whole[:, 1])
    whole = next(video.keys(64))
    np.testing.assert_array_equal(video.queries(whole[37:52], 37), video.queries(whole, 0)[37:52])


def test_the_defaults_are_near_what_the_published_selection_keeps() -> None:
    clusters, frames, rows = [], [], []
    for seed in range(6):
        video = Video(seed=seed, heads=32, kv_heads=8, head_dim=128)
        keys = next(video.keys(501))
        state = start(CacheShape(5010, 32, 8, 128), HashClusters(negative="raw"))
        for first in range(0, 5000, 250):
            state = update(state, keys[first : first + 250])
        clusters.append(5000 / len(state.held.tables[0].counts))
        for new, shares in ((10, frames), (1, rows)):
            step = update(state, keys[5000 : 5000 + new])
            kept = select(step, video.queries(keys[5000 : 5000 + new], 5000))
            shares.append(kept.of_kv_heads(8)[:, :5000].mean())
    # Published: 32 tokens, 32.7 % and 2.5 %; a stationary stream comes this near.
    assert 25 < np.mean(clusters) < 40
    assert 0.25 < np.mean(frames) < 0.5
    assert np.mean(rows) < np.mean(frames) / 4


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second, other = (video_stream(seed, 3, needles=2, **HEADS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.keys, second.keys)
    np.testing.assert_array_equal(first.questions, second.questions)
    assert first.queries.tobytes() == second.queries.tobytes() != other.queries.tobytes()
    assert [len(keys) for keys, _ in first.frames()] == [10, 10, 10]


def held(stream: Stream, options, question: np.ndarray) -> SelectedKeys:
    state = start(stream.shape, options)
    for keys, queries in stream.frames():
        state = update(state, keys, queries=queries)
    return select(state, question)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.95])
def test_the_mass_on_a_needle_is_known(mass: float) -> None:
    stream = video_stream(5, 40, needles=4, mass=mass, **HEADS)
    weights = attention_weights(stream.questions, stream.keys)
    for i, place in enumerate(stream.needles):
        # Logits of FP32 products: an error of 1e-5 in the exponent.
        np.testing.assert_allclose(weights[:, i, place], mass, rtol=1e-4)
        np.testing.assert_allclose(np.delete(weights[:, i], place, axis=1), (1 - mass) / 399, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (HighestScores(20), True),
        (PageBounds(2, 20), True),
        (FrameMeans(10, 3), True),
        (SinkWindow(1, 1), False),
        (HashClusters(ratio=0.5, negative="clamp"), True),
        (HashClusters(ratio=0.5, negative="clamp", buckets=None, apart=True), True),
        (BlockMeans(1, 1, 10, 3, 10), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_selection_recalls_of_a_question_is_known(options, found: bool) -> None:
    stream = video_stream(6, 40, needles=3, mass=0.9, temporal=0.5, **HEADS)
    for i, place in enumerate(stream.needles):
        assert 0 < place < 390
        question = stream.questions[i : i + 1]
        mask = np.repeat(held(stream, options, question).of_kv_heads(3), 2, axis=0)
        assert mask[:, place].all() == mask[:, place].any() == found
        others = mask.sum(axis=1) - mask[:, place]
        recall = mass_recall(question, stream.keys, mask=mask)[0]
        np.testing.assert_allclose(recall, 0.9 * found + 0.1 * others / 399, rtol=1e-4)
        assert (top_recall(question, stream.keys, mask=mask, top=1) == found).all()
        error = output_error(question, stream.keys, values=stream.values, mask=mask)
        assert (error < 0.2).all() if found else (error > 0.5).all()


def test_exact_highest_scores_recall_the_most() -> None:
    stream = video_stream(7, 40, **HEADS)
    query = stream.queries[-1:]
    best = held(stream, HighestScores(40), query).mask
    assert (top_recall(query, stream.keys, mask=best, top=40) == 1).all()
    most = mass_recall(query, stream.keys, mask=best)
    for options in (PageBounds(10, 4), FrameMeans(10, 4), SinkWindow(4, 36)):
        mask = held(stream, options, query).mask
        assert (mass_recall(query, stream.keys, mask=mask) <= most + 1e-12).all()


def test_causal_rows_see_no_newer_token() -> None:
    stream = video_stream(8, 3, **HEADS)
    everything = np.ones((3, 30), dtype=bool)
    last = stream.queries[-10:]
    outputs = attend(last, stream.keys, values=stream.values, causal=True)
    for row in range(10):
        seen = slice(0, 21 + row)
        alone = attend(last[row : row + 1], stream.keys[seen], values=stream.values[seen])
        # FP32 weights and products in another order.
        np.testing.assert_allclose(outputs[row], alone[0], rtol=0, atol=1e-6)
    assert (top_recall(last, stream.keys, mask=everything, top=25, causal=True) == 1).all()
    none = np.zeros((3, 30), dtype=bool)
    assert (attend(last, stream.keys, values=stream.values, mask=none) == 0).all()
    assert (output_error(last, stream.keys, values=stream.values, mask=none) == 1).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_walks_a_stream_longer_than_its_budgets(name: str) -> None:
    budgets = {
        "topk": {"tokens": 30},
        "streaming_llm": {"window": 30},
        "duo_attention": {"sinks": 4, "recent": 20},
        "h2o": {"heavy": 20, "recent": 20},
        "quest": {"pages": 3},
        "infllm": {"sinks": 4, "window": 20, "block": 10, "blocks": 2},
        "rekv": {"frame": 10, "frames": 3},
        "double_sparsity": {"tokens": 30},
        "lserve": {"page": 16, "pages": 2, "sinks": 4, "recent": 20},
    }
    stream = video_stream(9, 20, **HEADS)
    kept = held(stream, rule(name)(**budgets.get(name, {})), stream.queries[-1:])
    assert kept.mask.shape in ((3, 200), (6, 200))
    assert kept.of_kv_heads(3).any()
    assert kept.of_kv_heads(3).all() == (name == "full")
    assert kept.counts.kv_read_bytes >= 2 * kept.of_kv_heads(3).sum() * 64
    shape = CacheShape(200, **HEADS)
    assert stream.shape == shape
