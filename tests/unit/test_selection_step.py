"""What one layer's selection keeps and takes: counted by plain loops over the same stream, or by hand where given."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archsim.errors import InputError
from archsim.selection import rule_run
from archsim.selection.layer_cache import LayerCache
from archsim.selection.selection import load_selection
from archsim.selection.step import SelectionStep, selection_step, stretches
from archsim.units.selector import HashComparator, ThresholdUnit
from kernels.selection import rule
from kernels.selection.algorithm import CacheShape, Counters, SelectedKeys, select, start, update, walk
from kernels.selection.clusters import HashClusters
from kernels.selection.quality import mass_recall, output_error, top_recall
from kernels.selection.recordings import save_selection, save_stream
from kernels.selection.streams import Stream, video_stream

TINY = {"heads": 4, "kv_heads": 2, "head_dim": 16, "element_bytes": 2}
ONE = {"cores": 1, "fill_cycles": 0}
SMALL = {
    "topk": {"tokens": 30},
    "streaming_llm": {"sinks": 4, "window": 30},
    "duo_attention": {"sinks": 4, "recent": 20},
    "h2o": {"heavy": 20, "recent": 20},
    "quest": {"pages": 3},
    "infllm": {"sinks": 4, "window": 20, "block": 10, "blocks": 2},
    "rekv": {"frame": 10, "frames": 3},
    "infinigen": {},
    "double_sparsity": {"tokens": 30},
    "lserve": {"page": 16, "pages": 2, "sinks": 4, "recent": 20},
    "resv": {"ratio": 0.3, "negative": "raw"},
}


def small(name: str, **changes):
    settings = {f"settings.{key}": value for key, value in SMALL[name].items()}
    return load_selection(name).with_({**settings, **changes})


def step(selection, *, cached=500, rows=10, use="frame", resident=200, **extents) -> SelectionStep:
    cache = LayerCache(**(TINY | extents), cached=cached, rows=rows)
    return selection_step(selection, cache, use=use, resident=resident)


def stream(tokens: int, **options) -> Stream:
    drawn = {"heads": 4, "kv_heads": 2, "head_dim": 16, **options}
    return video_stream(0, -(-tokens // 10), **drawn)


def ran(name: str, drawn: Stream, *, cached: int, rows: int):
    """The rule's states before and after the step and what is kept, part by part as selection_step promises."""
    options = rule(name)(**SMALL[name])
    state = start(CacheShape(cached + rows, 4, 2, 16), options)
    for first in range(0, cached, 320):
        last = min(first + 320, cached)
        learned = drawn.queries[last - 10 : last] if name in ("h2o", "infllm") else None
        state = update(state, drawn.keys[first:last], queries=learned)
    queries = drawn.queries[cached : cached + rows]
    after = update(state, drawn.keys[cached : cached + rows], queries=queries)
    return state, after, select(after, queries)


def counted(kept: SelectedKeys, clusters: list | None, *, cached: int, resident: int) -> tuple[int, ...]:
    """kept, hits, runs, groups, and runs and groups of the hits, one token after the other."""
    mask = kept.of_kv_heads(2).tolist()
    total, tokens = 0, {"missed": 0, "hit": 0}
    runs, groups = dict.fromkeys(tokens, 0), dict.fromkeys(tokens, 0)
    for head in range(2):
        seen, before = {"missed": set(), "hit": set()}, ""
        for token in range(cached):
            here = ("missed" if token < cached - resident else "hit") if mask[head][token] else ""
            total += bool(here)
            if here:
                tokens[here] += 1
                runs[here] += here != before
                seen[here].add(clusters[head][token] if clusters else None)
            before = here
        for where, of in seen.items():
            groups[where] += len(of)
    both = groups if clusters else runs
    return total, tokens["hit"], runs["missed"], both["missed"], runs["hit"], both["hit"]


def clusters_one_by_one(state) -> list | None:
    if not isinstance(state.options, HashClusters):
        return None
    tables = state.held.tables
    return [tables[head % len(tables)].members.array[: state.tokens].tolist() for head in range(2)]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("cached", "rows", "resident"), [(500, 10, 200), (640, 1, 0), (333, 25, 333), (401, 7, 400)])
def test_what_is_kept_is_what_loops_count(name: str, cached: int, rows: int, resident: int) -> None:
    _, after, kept = ran(name, stream(cached + rows), cached=cached, rows=rows)
    found = step(small(name), cached=cached, rows=rows, resident=resident)
    expected = counted(kept, clusters_one_by_one(after), cached=cached, resident=resident)
    near = found.hit_stretches, found.hit_groups
    assert (found.kept, found.hits, found.miss_stretches, found.miss_groups, *near) == expected
    assert found.hits <= 2 * resident
    assert (found.miss_stretches == 0) == (found.kept == found.hits)
    counts = after.counts + kept.counts
    left_over = counts.kv_read_bytes - 2 * int(kept.of_kv_heads(2).sum()) * 32
    assert found.metadata_read_bytes == counts.metadata_read_bytes + left_over
    assert (left_over > 0) == (name == "topk")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("buckets", [20, 3])
def test_works_are_what_the_kernel_counts_and_take_the_cycles_of_a_hand_count(apart: bool, buckets: int) -> None:
    selection = small("resv", **{"settings.apart": apart, "settings.buckets": buckets, "settings.bits": 40})
    drawn = stream(510)
    state = start(CacheShape(510, 4, 2, 16), HashClusters(negative="raw", apart=apart, buckets=buckets, bits=40))
    for first, last in ((0, 320), (320, 500), (500, 510)):
        state = update(state, drawn.keys[first:last])
    counts = state.counts + select(state, drawn.queries[500:]).counts
    works = step(selection).works
    of = {kind: [w for w in works if w.kind == kind] for kind in ("score", "hash_compare", "threshold", "compare")}
    assert sum(w["mac"] for w in of["score"]) == counts.multiply_adds
    hashes = [w["current"] * w["cached"] + w["current"] * (w["current"] - 1) // 2 for w in of["hash_compare"]]
    assert sum(hashes) == counts.hash_comparisons > 0
    # Of 40 bits, 16 at a time; a row is scanned once for its sum and range, and once per pass, 16 lanes at a time.
    hash_cycles = counts.hash_comparisons * 3
    threshold_cycles = sum(-(-columns // 16) * (rows + passes) for rows, columns, passes in counts.ranked)
    assert sum(h * -(-w["bits"] // 16) for h, w in zip(hashes, of["hash_compare"], strict=True)) == hash_cycles
    passed = [-(-w["columns"] // 16) * (w["rows"] + w["passes"]) for w in of["threshold"]]
    assert sum(passed) == threshold_cycles > 0
    ranked = sum(w["columns"] * (w["rows"] + w["passes"]) for w in of["threshold"])
    assert sum(w["comparisons"] for w in of["compare"]) == counts.comparisons - ranked + counts.additions
    assert len(of["hash_compare"]) == (2 if apart else 1)
    assert len(of["threshold"]) == (2 if apart else 1)
    # The units of the machines agree, where one cycle is one set of 16 bits and one pass over 16 lanes.
    comparator = HashComparator.model_validate(
        {
            **ONE,
            "kind": "hash_comparator",
            "bits_per_cycle": "16 bit",
            "current_buffer": "1 MiB",
            "cached_buffer": "1 MiB",
        }
    )
    assert sum(comparator.cycles(w) for w in of["hash_compare"]) == hash_cycles
    ranking = ThresholdUnit.model_validate(
        {
            **ONE,
            "kind": "threshold_unit",
            "lanes": 16,
            "score_buffer": "1 MiB",
            "count_buffer": "1 MiB",
            "element_bits": "16 bit",
            "buckets": 20,
        }
    )
    assert sum(ranking.cycles(w) for w in of["threshold"]) == threshold_cycles


def test_rules_without_work_have_none() -> None:
    assert step(small("streaming_llm")).works == step(small("duo_attention")).works == ()
    assert step(small("streaming_llm")).metadata_read_bytes == 0
    assert [w.kind for w in step(small("quest")).works] == ["score", "compare"]


def test_ratio_one_keeps_everything() -> None:
    found = step(small("resv", **{"settings.ratio": 1.0}))
    assert (found.kept, found.hits, found.miss_stretches) == (1000, 400, 2)
    assert (found.mass_recall, found.top_recall, found.output_error) == (pytest.approx(1, abs=1e-12), 1, 0)


def test_full_needs_no_rule() -> None:
    whole = load_selection("full")
    assert step(whole) == SelectionStep(1000, 400, 2, 2, 2, 2, (), 0, 1.0, 1.0, 0.0)
    assert step(whole, resident=500) == SelectionStep(1000, 1000, 0, 0, 2, 2, (), 0, 1.0, 1.0, 0.0)
    given = SelectionStep(300, 120, 126, 126, 84, 84, (), 0, None, None, None)
    assert step(whole.with_({"kept.text": 0.3}), use="text") == given
    assert step(whole.with_({"kept.text": 0.3}), use="frame").kept == 1000
    assert step(small("resv"), cached=0, resident=0) == SelectionStep(0, 0, 0, 0, 0, 0, (), 0, 1.0, 1.0, 0.0)


def test_a_given_share_is_spread_evenly_over_the_ages() -> None:
    given = small("resv", **{"kept.frame": 0.33, "kept.text": 1.0})
    decided, found = step(small("resv")), step(given)
    # 0.33 * 500 * 2 = 330, of which 200 / 500 are near; 198 are missed, in 198 * 0.67 stretches.
    assert (found.kept, found.hits, found.miss_stretches) == (330, 132, 133)
    assert (found.mass_recall, found.top_recall, found.output_error) == (None, None, None)
    assert (found.works, found.metadata_read_bytes) == (decided.works, decided.metadata_read_bytes)
    _, after, _ = ran("resv", stream(510), cached=500, rows=10)
    clusters = len(after.held.tables[0].counts)
    assert found.miss_groups == -(-198 * clusters // 510)
    assert (found.hit_stretches, found.hit_groups) == (89, -(-132 * clusters // 510))  # 132 * 0.67 stretches
    assert step(given.with_({"kept.frame": 0.9}), resident=0).miss_groups == -(-900 * clusters // 510)
    assert step(given, use="text").kept == 1000
    assert (step(given, use="text").miss_stretches, step(given, use="text").miss_groups) == (2, 2)
    assert step(given, use="question") == step(small("resv"), use="question")
    frames = small("rekv", **{"kept.frame": 0.33})
    assert (step(frames).miss_stretches, step(frames).miss_groups) == (133, 20)  # frames of 10 tokens
    assert step(small("infinigen", **{"kept.frame": 0.33})).miss_groups == 133  # single tokens


def test_quality_is_that_of_the_last_rows() -> None:
    """Row by row over what each sees: the newest of four rows everything, the one before it all but the last token."""
    heads = {"heads": 6, "kv_heads": 3}
    drawn = stream(510, **heads)
    state = start(CacheShape(510, 6, 3, 16), rule("quest")(page=4, pages=3))
    state = update(state, drawn.keys)
    mask = select(state, drawn.queries[500:]).mask
    mask[:, 500:] = True
    masses, tops, errors = [], [], []
    for row in range(506, 510):
        for head in [0, 1, 4, 5]:  # query heads of the first and the last KV head
            own = slice(head // 2, head // 2 + 1)
            q, k = drawn.queries[row : row + 1, head : head + 1], drawn.keys[: row + 1, own]
            kept = mask[head : head + 1]
            most = int(kept[:, :507].sum())
            masses.append(mass_recall(q, k, mask=kept[:, : row + 1]).item())
            tops.append(top_recall(q, k, mask=kept[:, : row + 1], top=most).item())
            errors.append(output_error(q, k, values=drawn.values[: row + 1, own], mask=kept[:, : row + 1]).item())
    found = step(small("quest", **{"settings.page": 4}), **heads)
    # FP32 products of one row or of several.
    assert found.mass_recall == pytest.approx(np.mean(masses), rel=1e-5)
    assert found.output_error == pytest.approx(np.mean(errors), rel=1e-4)
    assert found.top_recall == pytest.approx(np.mean(tops))


def test_a_question_asks_for_a_needle() -> None:
    selection = small("topk", **{"stream.needles": 3})
    asked, shown = step(selection, use="question", rows=3), step(selection, rows=3)
    assert asked.mass_recall == pytest.approx(0.9, abs=0.02)  # and of the rest 30 of 500 equal tokens
    assert shown.mass_recall != asked.mass_recall
    assert step(small("streaming_llm", **{"stream.needles": 3}), use="text", rows=1).mass_recall < 0.2


def test_a_step_is_not_run_again_for_other_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    selection = small("resv", **{"stream.seed": 5})
    first = step(selection)
    monkeypatch.setattr(rule_run, "_chosen", None)  # would be called
    assert step(selection) == first
    assert step(selection, resident=0).kept == first.kept
    assert step(selection.with_({"resident": 0.1}), resident=100).kept == first.kept


def test_the_next_step_of_a_generation_is_that_of_a_fresh_run() -> None:
    grown = [step(small("resv", **{"stream.seed": 6}), cached=650 + i, rows=1, use="text") for i in range(3)]
    rule_run._run_rule.cache_clear()
    rule_run._history.cache_clear()
    assert grown[2] == step(small("resv", **{"stream.seed": 6}), cached=652, rows=1, use="text")
    assert grown[0] == step(small("resv", **{"stream.seed": 6}), cached=650, rows=1, use="text")


def test_stretches_lie_in_one_head() -> None:
    missed = np.random.default_rng(0).integers(0, 2, (3, 40)).astype(bool)
    loop = sum(row[i] and not (i and row[i - 1]) for row in missed.tolist() for i in range(40))
    assert stretches(missed) == loop
    assert stretches(missed[:, :0]) == 0


def test_a_recording_takes_the_place_of_the_drawn_stream(tmp_path: Path) -> None:
    path = tmp_path / "stream.npz"
    save_stream(path, stream(510))
    recorded = small("resv", **{"recording": str(path), "stream.seed": 99})
    assert step(recorded) == step(small("resv"))
    assert step(recorded, cached=300, resident=0) == step(small("resv"), cached=300, resident=0)


def test_a_recorded_selection_is_replayed(tmp_path: Path) -> None:
    drawn = stream(510)
    save_stream(tmp_path / "stream.npz", drawn)
    options = HashClusters(negative="raw")
    kept = list(walk(drawn.shape, options, keys=drawn.keys, queries=drawn.queries, chunk=10))
    save_selection(tmp_path / "kept.npz", kept)
    replay = small("resv", recorded_selection=str(tmp_path / "kept.npz"))
    found = step(replay)
    total, hits, runs, *_ = counted(kept[-1], None, cached=500, resident=200)
    assert (found.kept, found.hits, found.miss_stretches, found.miss_groups) == (total, hits, runs, runs)
    assert found.mass_recall is None
    (compared,) = (w for w in found.works if w.kind == "hash_compare")
    assert compared["current"] * compared["cached"] + 45 == kept[-1].counts.hash_comparisons
    judged = step(replay.with_({"recording": str(tmp_path / "stream.npz")}))
    assert judged.mass_recall is not None
    assert (judged.kept, judged.works) == (found.kept, found.works)


def told(selection, **asked) -> str:
    with pytest.raises(InputError) as caught:
        step(selection, **asked)
    return str(caught.value)


@pytest.mark.parametrize("name", ["quest", "streaming_llm"])
def test_a_cache_below_the_budget_is_kept_whole_without_choosing(name) -> None:
    found = step(load_selection(name))
    assert replace(found, below_budget=False) == step(load_selection("full"))
    assert found.below_budget
    assert not step(load_selection("full")).below_budget


def test_a_generation_passes_the_budget_of_its_rule() -> None:
    """Of 516 tokens: up to a cache of that many everything is kept, beyond it less."""
    kept = {}
    for cached in (500, 505, 506, 507, 600):
        cache = LayerCache(4, 2, 16, 2, cached, 10)
        found = selection_step(load_selection("streaming_llm"), cache, use="text", resident=0)
        kept[cached] = found.kept / (2 * cached), found.below_budget
    assert [whole for _, whole in kept.values()] == [True, True, False, False, False]
    assert [share for share, _ in kept.values()][:2] == [1.0, 1.0]
    assert kept[600][0] < 1


def test_settings_that_cannot_be_are_told_by_their_path() -> None:
    resv = load_selection("resv")
    for selection, message in (
        (
            resv.with_({"settings.ratio": 1.5}),
            "selection 'resv': settings.ratio: 1.5 is outside 0 to 1; take a number from 0 to 1",
        ),
        (
            resv.with_({"settings.ratios": 0.5, "settings.x": 1}),
            "selection 'resv': settings.ratios: unknown setting; did you mean 'ratio'?\n"
            "selection 'resv': settings.x: unknown setting; settings are: bits, hamming, ratio, buckets, negative, "
            "ties, rehash, apart, recent, seed",
        ),
        (
            resv.with_({"settings.ratio": "much"}),
            "selection 'resv': settings.ratio: expected a number, got 'much'",
        ),
        (
            resv.with_({"settings.buckets": True, "settings.rehash": 1}),
            "selection 'resv': settings.buckets: expected a whole number or nothing, got true\n"
            "selection 'resv': settings.rehash: expected true or false, got 1",
        ),
        (
            load_selection("infinigen").with_({"settings.rotation": 2}),
            "selection 'infinigen': settings.rotation: unknown setting; settings are: columns, alpha, limit",
        ),
        (
            small("quest", **{"stream.needles": 17}),
            "selection 'quest': stream.needles: 17 in 510 tokens of 16 channels; take at most 16",
        ),
    ):
        assert told(selection) == message


def test_recordings_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = tmp_path / "stream.npz"
    save_stream(path, stream(510))
    recorded = small("resv", recording=str(path))
    assert told(recorded, heads=8) == (
        f"selection 'resv': recording: {path}: heads: the recording has 4, the model 8; record one of 8"
    )
    assert told(recorded, cached=505, resident=0) == (
        f"selection 'resv': recording: {path}: tokens: 510 recorded, the step has 515; record as many or take a "
        "shorter context"
    )
    assert told(small("resv", recording="nowhere.npz")).startswith(
        "selection 'resv': recording: nowhere.npz: cannot be read as .npz ("
    )
    kept = tmp_path / "kept.npz"
    save_selection(kept, [SelectedKeys(np.ones((2, 20), dtype=bool), Counters())])
    assert told(small("resv", recorded_selection=str(kept))) == (
        f"selection 'resv': recorded_selection: {kept}: 1 steps recorded, of 20 tokens and 2 heads; give one of 510 "
        "tokens, the step's own among them, and 2 or 4 heads"
    )


def test_a_recorded_choice_whose_counts_cannot_be_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    save_selection(path, [SelectedKeys(np.ones((2, 510), dtype=bool), Counters(comparisons=-3))])
    told_ = told(small("resv", recorded_selection=str(path)))
    assert told_.startswith(f"selection 'resv': recorded_selection: {path}: the step's counts cannot be (work of kind")
    assert told_.endswith("; record them anew")


def test_another_file_under_the_same_path_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    found = []
    for share in (1, 3, 10):
        mask = np.zeros((2, 510), dtype=bool)
        mask[:, ::share] = True
        save_selection(path, [SelectedKeys(mask, Counters())])
        os.utime(path, ns=(share, share))  # two writes within one tick of the clock are told apart by their size alone
        found.append(step(small("resv", recorded_selection=str(path))).kept)
    assert found == [1000, 334, 100]
