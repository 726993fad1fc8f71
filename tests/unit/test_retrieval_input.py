"""What a selection, a stream or a recording cannot be is said in clear words, and recordings come back as they were."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kernels.selection import ALGORITHMS, rule
from kernels.selection.accumulated import HeavyHitters
from kernels.selection.algorithm import CacheShape, Counters, SelectedKeys, select, start, update, walk
from kernels.selection.blocks import BlockMeans, FrameMeans
from kernels.selection.clusters import HashClusters
from kernels.selection.columns import HighestScores, LabelChannels, PartialColumns
from kernels.selection.pages import GatedPages, PageBounds
from kernels.selection.positions import GatedHeads, SinkWindow
from kernels.selection.quality import mass_recall, top_recall
from kernels.selection.recordings import Replay, load_selection, load_stream, save_selection, save_stream
from kernels.selection.streams import recorded_stream, video_stream
from kernels.selection.threshold import keep_to_ratio

SHAPE = CacheShape(100, 4, 2, 8)
TURN = np.zeros((1, 8, 8))

WRONG = [
    (SinkWindow(4, 512), "sinks + window: 516 tokens, the cache holds 100; take 1 to 100"),
    (SinkWindow(-1, 5), "sinks: -1 is no whole number from 0 on; take 0 or more"),
    (SinkWindow(1, 2.5), "window: 2.5 is no whole number from 1 on; take 1 or more"),
    (GatedHeads(), "sinks + recent: 384 tokens, the cache holds 100; take 1 to 100"),
    (GatedHeads(1, 1, 1.5), "sparsity: 1.5 is outside 0 to 1; take a number from 0 to 1"),
    (GatedHeads(1, 1, gates=(0.5,)), "gates: 1 given, the cache has 2 KV heads; give one for each"),
    (GatedHeads(1, 1, gates=(0.5, 2.0)), "gates[1]: 2.0 is outside 0 to 1; take a number from 0 to 1"),
    (HighestScores(101), "tokens: 101 tokens, the cache holds 100; take 1 to 100"),
    (HighestScores(True), "tokens: True is no whole number from 1 on; take 1 or more"),
    (HeavyHitters(60, 41), "heavy + recent: 101 tokens, the cache holds 100; take 1 to 100"),
    (PageBounds(16, 8), "pages: 8 pages of 16 tokens, the cache holds 7; take 1 to 7"),
    (PageBounds(101, 1), "page: 101 tokens, the cache holds 100; take 1 to 100"),
    (GatedPages(60, 16, 1), "page: 60 is no multiple of the sub_chunk 16; take a multiple"),
    (GatedPages(32, 16, 5), "pages: 5 pages of 32 tokens, the cache holds 4; take 1 to 4"),
    (GatedPages(32, 16, 1, 0), "reuse: 0 is no whole number from 1 on; take 1 or more"),
    (BlockMeans(), "sinks + window + blocks * block: 6272 tokens, the cache holds 100; take 1 to 100"),
    (BlockMeans(1, 1, 4, 1, 5), "representatives: 5 keys of a block, a block holds 4; take 1 to 4"),
    (FrameMeans(20, 6), "frames: 6 frames of 20 tokens, the cache holds 5; take 1 to 5"),
    (LabelChannels(9, 5), "group: 9 channels, a head has 8; take 1 to 8"),
    (LabelChannels(4, 500), "tokens: 500 tokens, the cache holds 100; take 1 to 100"),
    (LabelChannels(4, 5, ((1, 2),)), "channels: 1 rows of [2] channels do not fit; give 2 rows of 2"),
    (LabelChannels(4, 5, ((1, 1), (1, 2))), "channels: (1, 1) are not all different channels; take from 0 to 7"),
    (LabelChannels(4, 5, ((1, 8), (1, 2))), "channels: (1, 8) are not all different channels; take from 0 to 7"),
    (PartialColumns(1.2), "columns: 1.2 is outside 0 to 1; take a number from 0 to 1"),
    (PartialColumns(limit=-0.1), "limit: -0.1 is outside 0 to 1; take a number from 0 to 1"),
    (PartialColumns(alpha=-1), "alpha: -1 is outside 0 to inf; take a number from 0 to inf"),
    (PartialColumns(alpha=float("nan")), "alpha: nan is outside 0 to inf; take a number from 0 to inf"),
    (PartialColumns(rotation=TURN), "rotation: shape (1, 8, 8) does not fit the cache; give (2, 8, 8)"),
    (HashClusters(ratio=1.01), "ratio: 1.01 is outside 0 to 1; take a number from 0 to 1"),
    (HashClusters(ratio=-0.3), "ratio: -0.3 is outside 0 to 1; take a number from 0 to 1"),
    (HashClusters(bits=65), "bits: 65 bits, a hash holds 64; take 1 to 64"),
    (HashClusters(hamming=34), "hamming: 34 bits, hashes of 32 bits need at most 33; take 0 to 33"),
    (HashClusters(buckets=0), "buckets: 0 is no whole number from 1 on; take 1 or more"),
    (HashClusters(negative="abs"), "negative: 'abs' offers no score; take one of raw, clamp, shift, exp"),
    (HashClusters(ties="last"), "ties: 'last' decides nothing; take 'nearest' or 'first'"),
    (HashClusters(seed=-1), "seed: -1 is no whole number from 0 on; take 0 or more"),
    (HashClusters(recent=101), "recent: 101 tokens, the cache holds 100; take 0 to 100"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message for _, message in WRONG])
def test_options_that_cannot_be_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        start(SHAPE, options)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_defaults_fit_a_cache_of_40_000_tokens(name: str) -> None:
    state = start(CacheShape(40_000, 8, 2, 16), rule(name)())
    state = update(state, np.ones((1, 2, 16)), queries=np.ones((1, 8, 16)))
    assert select(state, np.ones((1, 8, 16))).mask.all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    state = start(SHAPE, HighestScores(5))
    for keys, message in (
        (np.ones((3, 4, 8)), r"keys: shape \(3, 4, 8\) does not fit the cache; give \[rows, 2, 8\]"),
        (np.ones((0, 2, 8)), r"keys: shape \(0, 2, 8\) does not fit"),
        (np.full((3, 2, 8), np.nan), r"keys: 48 elements are not finite; give finite numbers"),
        (np.ones((101, 2, 8)), r"keys: 101 more tokens, the cache has room for 100; start a larger cache"),
    ):
        with pytest.raises(ValueError, match=message):
            update(state, keys)
    with pytest.raises(ValueError, match="state: the cache holds 0 tokens; update it before selecting"):
        select(state, np.ones((1, 4, 8)))
    state = update(state, np.ones((3, 2, 8)))
    with pytest.raises(ValueError, match=r"queries: shape \(1, 2, 8\) does not fit the cache; give \[rows, 4, 8\]"):
        select(state, np.ones((1, 2, 8)))
    with pytest.raises(ValueError, match="heads: 3 is no multiple of the 2 kv_heads; take a multiple"):
        CacheShape(10, 3, 2, 8)
    with pytest.raises(ValueError, match="head_dim: 0 is no whole number from 1 on; take 1 or more"):
        CacheShape(10, 2, 2, 0)


def test_quality_and_threshold_refuse_what_does_not_fit() -> None:
    ones = np.ones((3, 2, 4))
    with pytest.raises(ValueError, match=r"mask: shape \(2, 4\) does not fit 2 heads and 3 tokens; give one for each"):
        mass_recall(ones, ones, mask=np.ones((2, 4), dtype=bool))
    with pytest.raises(ValueError, match="top: 0 tokens; take 1 or more"):
        top_recall(ones, ones, mask=np.ones((2, 3), dtype=bool), top=0)
    with pytest.raises(ValueError, match="ratio: 2 is outside 0 to 1"):
        keep_to_ratio(np.ones((1, 1)), np.ones(1), ratio=2)
    with pytest.raises(ValueError, match="negative: 'no' offers no score; take one of raw, clamp, shift, exp"):
        keep_to_ratio(np.ones((1, 1)), np.ones(1), ratio=0.5, negative="no")


def test_streams_refuse_what_cannot_be() -> None:
    extents = {"heads": 2, "kv_heads": 1, "head_dim": 4}
    for options, message in (
        ({"temporal": 1.1}, "temporal: 1.1 is outside 0 to 1"),
        ({"agreement": -1}, "agreement: -1 is outside 0 to 1"),
        ({"common": 2}, "common: 2 is outside 0 to 1"),
        ({"needles": 5}, "needles: 5 in 20 tokens of 4 channels; take at most 4"),
        ({"needles": 1, "mass": 1.0}, "mass: 1.0 is not between 0 and 1; take a number between, such as 0.9"),
        ({"frame": 0}, "frame: 0 is no whole number from 1 on"),
    ):
        with pytest.raises(ValueError, match=message):
            video_stream(0, 2, **extents, **options)
    ones = np.ones((5, 2, 4))
    for change, message in (
        (
            {"values": ones[:4]},
            r"values: shape \(4, 2, 4\) beside keys \(5, 2, 4\); give \[tokens, kv_heads, d\] twice",
        ),
        ({"queries": ones[:4]}, r"queries: shape \(4, 2, 4\) beside keys \(5, 2, 4\); give \[5, heads, 4\]"),
        ({"queries": np.ones((5, 3, 4))}, "heads: 3 is no multiple of the 2 kv_heads"),
        ({"frame": 6}, "frame: 6 tokens, the stream holds 5; take 1 to 5"),
        ({"needles": np.array([1])}, r"questions: shape \(0, 2, 4\) for 1 needles; give \[1, 2, 4\]"),
        ({"needles": np.array([5]), "questions": ones[:1]}, r"needles: positions \[5\]; take from 0 to 4"),
        ({"keys": ones * np.inf}, "keys: 40 elements are not finite; give finite numbers"),
    ):
        arrays = {"keys": ones, "values": ones, "queries": ones, "frame": 2} | change
        with pytest.raises(ValueError, match=message):
            recorded_stream(arrays.pop("keys"), arrays.pop("values"), **arrays)


def test_a_stream_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    stream = video_stream(1, 4, heads=4, kv_heads=2, head_dim=8, needles=2)
    save_stream(tmp_path / "a.stream", stream)
    back = load_stream(tmp_path / "a.stream", shape=stream.shape)
    for field in dataclasses.fields(stream):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(stream, field.name))
    for shape, message in (
        (CacheShape(40, 8, 2, 8), "heads: the recording has 4, the model 8; record one of 8"),
        (CacheShape(40, 4, 1, 8), "kv_heads: the recording has 2, the model 1; record one of 1"),
        (CacheShape(40, 4, 2, 16), "head_dim: the recording has 8, the model 16; record one of 16"),
        (CacheShape(39, 4, 2, 8), "tokens: 40 recorded, the cache holds 39; take a larger cache"),
    ):
        with pytest.raises(ValueError) as caught:
            load_stream(tmp_path / "a.stream", shape=shape)
        assert str(caught.value) == f"{tmp_path / 'a.stream'}: {message}"


def test_a_selection_comes_back_and_is_replayed(tmp_path: Path) -> None:
    stream = video_stream(2, 5, heads=4, kv_heads=2, head_dim=8)
    chunks = {"keys": stream.keys, "queries": stream.queries, "chunk": 10}
    steps = list(walk(stream.shape, PageBounds(4, 3), **chunks))
    save_selection(tmp_path / "kept.npz", steps)
    back = load_selection(tmp_path / "kept.npz")
    again = list(walk(stream.shape, Replay(back), **chunks))
    for a, b, c in zip(steps, back, again, strict=True):
        assert a.counts == b.counts == c.counts
        np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_array_equal(a.mask, c.mask)
    state = start(stream.shape, Replay(back[:1]))
    with pytest.raises(
        ValueError, match=r"steps\[0\]: recorded for 10 tokens, the cache has 9; replay the same chunks"
    ):
        select(update(state, stream.keys[:9]), stream.queries[:1])
    state = update(update(state, stream.keys[:10]), stream.keys[10:])
    with pytest.raises(ValueError, match="steps: 1 recorded, this is step 2; replay at most as many"):
        select(state, stream.queries[:1])
    with pytest.raises(ValueError, match=r"steps\[0\]: a mask of shape \(4, 10\) does not fit; give 1 or 2 heads"):
        start(CacheShape(50, 2, 1, 8), Replay(back))


def test_the_sets_of_a_selection_come_back(tmp_path: Path) -> None:
    stream = video_stream(2, 5, heads=4, kv_heads=2, head_dim=8)
    options = HashClusters(apart=True)
    steps = list(walk(stream.shape, options, keys=stream.keys, queries=stream.queries, chunk=10))
    save_selection(tmp_path / "kept.npz", steps)
    assert [step.counts for step in load_selection(tmp_path / "kept.npz")] == [step.counts for step in steps]
    assert all(len(step.counts.hashed) == len(step.counts.ranked) == 2 for step in steps)


def test_an_older_file_with_two_cycle_counts_a_step_comes_back(tmp_path: Path) -> None:
    counts = Counters(1, 2, 3, 4, 5, 6, ((2, 3, 32),), ((4, 5, 6),))
    save_selection(tmp_path / "kept.npz", [SelectedKeys(np.ones((2, 5), dtype=bool), counts)])
    arrays = dict(np.load(tmp_path / "kept.npz"))
    assert arrays["counts"].tolist() == [[1, 2, 3, 4, 5, 6]]
    np.savez(tmp_path / "older.npz", **(arrays | {"counts": np.array([[1, 2, 3, 4, 5, 6, 70, 80]])}))
    (back,) = load_selection(tmp_path / "older.npz")
    assert back.counts == counts
    # A file written when each step still had eight numbers.
    (written,) = load_selection(Path(__file__).parents[1] / "errors" / "selection_of_8_tokens.npz")
    assert len(written.counts.numbers()) == 6


def test_nothing_selected_is_a_selection(tmp_path: Path) -> None:
    save_selection(tmp_path / "none.npz", [])
    assert load_selection(tmp_path / "none.npz") == ()


def test_files_that_are_no_recordings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    stream = video_stream(1, 2, heads=2, kv_heads=1, head_dim=4)
    save_stream(path, stream)
    arrays = dict(np.load(path))
    for load in (load_stream, load_selection):
        for content in (b"", b"no archive", path.read_bytes()[:300]):
            (tmp_path / "bad.npz").write_bytes(content)
            with pytest.raises(
                ValueError, match=r"bad.npz: cannot be read as .npz \(.*give a file that was saved here"
            ):
                load(tmp_path / "bad.npz")
        with pytest.raises(ValueError, match=r"missing\.npz: cannot be read as \.npz"):
            load(tmp_path / "missing.npz")
        np.save(tmp_path / "array.npy", np.ones(3))
        with pytest.raises(ValueError, match=r"array\.npy: cannot be read as \.npz"):
            load(tmp_path / "array.npy")
        np.savez(path, keys=np.array([{}], dtype=object), other=np.ones(1))
        with pytest.raises(ValueError, match=r"file\.npz: no array '"):
            load(path)
    for change, message in (
        ({"keys": arrays["keys"][:5]}, "values: shape"),
        ({"keys": np.array([None])}, "cannot be read as"),
        ({"keys": np.array(["a"])}, "keys: elements of <U1; give numbers"),
        ({"frame": np.ones(3)}, r"frame: shape \(3,\) of float64; give one number"),
        ({"needles": np.ones((1, 1))}, r"needles: shape \(1, 1\); give \[needles\]"),
    ):
        np.savez(path, **(arrays | change))
        with pytest.raises(ValueError, match=f"file.npz: {message}"):
            load_stream(path)


def test_selections_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    save_selection(path, [SelectedKeys(np.ones((2, 5), dtype=bool), Counters())])
    arrays = dict(np.load(path))
    for change, message in (
        ({"bits": arrays["bits"][:1]}, r"bits: shape \(1,\) of uint8; give 2 bytes for 10 bits"),
        ({"heads": np.array([2, 2])}, "differ in steps"),
        ({"counts": np.ones((1, 7), dtype=int)}, r"counts \(1, 7\) differ in steps; give .*\[steps, 6\]"),
        ({"tokens": np.array([0])}, "no whole numbers from 1 on"),
        ({"tokens": np.array([5.0])}, "no whole numbers from 1 on"),
        ({"hashed": np.ones((1, 3), dtype=int)}, r"hashed: shape \(1, 3\) of int64; give whole numbers \[sets, 4\]"),
        ({"ranked": np.ones((1, 4))}, r"ranked: shape \(1, 4\) of float64; give whole numbers \[sets, 4\]"),
        (
            {"ranked": np.ones((1, 4), dtype=int)},
            "ranked: a set of no step or of negative numbers; the steps are 0 to 0",
        ),
    ):
        np.savez(path, **(arrays | change))
        with pytest.raises(ValueError, match=f"kept.npz: .*{message}"):
            load_selection(path)
