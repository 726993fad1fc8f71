"""Attention with windows and with values of another width than keys, from the graph to the bytes of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import archsim
import mappers
from archsim import GraphError, MappingError, ScheduleError
from archsim.report.json import as_json
from dataflow import (
    CASCADES,
    FORMATS,
    Graph,
    Mask,
    Model,
    Schedule,
    Section,
    Served,
    Task,
    Tensor,
    attention,
    decode,
    frame,
    prefill,
    question,
    sequence,
    work,
)
from dataflow.numeric.evaluate import evaluate, random_tensors, replay
from dataflow.numeric.replay_streams import replay_streams
from mappers.registry import lower_step
from mappers.spatial.mapper import Spatial

# FP32 against FP64: a few hundred roundings of 6e-8 each, of elements around one.
TOLERANCE = 1e-5
FP16, FP32, INT8 = (FORMATS[name] for name in ("fp16", "fp32", "int8"))
AHEAD = {"mapping.ahead": "next_op", "mapping.buffers": 2}
TOY, TELLME, TIERS = (archsim.load_design(name) for name in ("toy", "tellme_kv260", "toy_retrieval"))
TOY_LLM, VIDEO, LLAMA = (archsim.load_model(name) for name in ("toy_llm", "toy_video", "llama3_8b"))
TINY = TOY_LLM.model_copy(
    update={"name": "tiny", "layers": 1, "hidden": 16, "ffn": 16, "heads": 2, "kv_heads": 1, "head_dim": 16, "vocab": 8}
)
SMALL = TOY_LLM.model_copy(
    update={"name": "small", "hidden": 96, "ffn": 176, "heads": 2, "kv_heads": 1, "head_dim": 48, "vocab": 40}
)
FULL, BEYOND, CHOSEN = (archsim.load_selection(name) for name in ("full", "flexgen", "resv"))


def windowed(model: Model, window: int | None, **changes: Any) -> Model:
    return model.model_copy(update={"window": window, **changes})


# Attention alone ------------------------------------------------------------------------------------------------------

BATCH, HEADS, KV_HEADS, KEY, VALUE = 2, 4, 2, 8, 5


def narrow_values(queries: int, keys: int, window: int | None) -> Graph:
    """Attention of two sequences, whose values are narrower than their keys."""
    return attention(
        queries=queries, keys=keys, head_dim=KEY, v_dim=VALUE, heads=HEADS, kv_heads=KV_HEADS, window=window,
        batch=BATCH,
    )  # fmt: skip


def by_torch(graph: Graph, tensors: dict[str, np.ndarray]) -> np.ndarray:
    q, k, v = (
        torch.tensor(tensors[name]).double().reshape(BATCH, -1, tensors[name].shape[1] // width, width).transpose(1, 2)
        for name, width in (("q", KEY), ("k", KEY), ("v", VALUE))
    )
    age = torch.arange(k.shape[2] - q.shape[2], k.shape[2])[:, None] - torch.arange(k.shape[2])
    seen = (age >= 0) & (age < (graph.ops["attention"].attributes["window"] or k.shape[2]))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    return out.transpose(1, 2).reshape(len(tensors["q"]), HEADS * VALUE).numpy()


WINDOWS = [None, 1, 3, 7, 9]
EXTENTS = [(1, 7), (3, 3), (4, 7), (7, 7)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("queries", "keys"), EXTENTS)
def test_evaluated_it_equals_torch(queries: int, keys: int, window: int | None) -> None:
    graph = narrow_values(queries, keys, window)
    tensors = random_tensors(graph, seed=keys)
    np.testing.assert_allclose(evaluate(graph, tensors)["attention"], by_torch(graph, tensors), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("form", CASCADES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("heads", ["parallel", "sequential"])
def test_streamed_it_equals_torch(form: Any, heads: Any, window: int | None) -> None:
    graph = narrow_values(4, 7, window)
    tensors = random_tensors(graph, seed=1)
    schedule = Spatial(form=form, heads=heads).lower(graph, archsim.load_design("streaming_machine"))
    found = replay_streams(schedule, tensors)["attention"]
    np.testing.assert_allclose(found, by_torch(graph, tensors), rtol=0, atol=TOLERANCE)


def in_tiles(graph: Graph, *, queries: int, order: str, passes: bool) -> Schedule:
    """Groups of queries that see one key a step: in one pass with every key, or in two, with those needed."""
    item = graph.ops["attention"].work
    outer = (range(0, BATCH, BATCH), range(0, HEADS, HEADS))
    groups, all_keys = [], range(item["keys"])
    for first in range(0, item["queries"], queries):
        group = range(first, min(first + queries, item["queries"]))
        needed = [key for query in group for key in item.mask.seen(query, queries=item["queries"], keys=item["keys"])]
        keys = range(min(needed), max(needed) + 1) if passes else all_keys
        if order == "reversed":  # queries and keys count from the newest on
            group, keys = (range(extent - along.stop, extent - along.start)
                           for along, extent in ((group, item["queries"]), (keys, item["keys"])))  # fmt: skip
        groups.append(((*outer, range(group.start, group.stop, len(group)), keys), len(group), len(keys)))
    tiles = tuple(box for box, _, _ in groups)

    def runs(kind: str, *, drains: bool) -> list[tuple[Any, int]]:
        extents = {"batch": BATCH, "heads": HEADS, "kv_heads": KV_HEADS, "keys": 1, "qk_dim": KEY, "v_dim": VALUE}
        each = [[(work(kind, queries=rows, **extents), n), (work("drain", d=rows), 1)] for _, rows, n in groups]
        return [run for group in each for run in (group if drains else group[:1])]

    def task(name: str, runs: list[tuple[Any, int]]) -> Task:
        return Task(name, "unit", sum(n for _, n in runs), sequence(*runs), serves=(Served(("attention",), tiles),))

    tasks = [task("attend", runs("attention", drains=True))]
    if passes:
        tasks = [task(kind, runs(kind, drains=False)) for kind in ("attention_scores", "attention_values")]
    sections = tuple(Section(one.name, (one,), ()) for one in tasks)
    return Schedule(graph, "design", "mapper", sections, options={"attention_order": order})


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("passes", [False, True], ids=["one pass", "two passes"])
@pytest.mark.parametrize("order", ["plain", "reversed"])
def test_replayed_in_tiles_it_equals_what_is_evaluated(order: str, passes: bool, window: int | None) -> None:
    for queries, keys in EXTENTS:
        graph = narrow_values(queries, keys, window)
        tensors = random_tensors(graph, seed=2)
        schedule = in_tiles(graph, queries=2, order=order, passes=passes)
        found = replay(schedule, tensors)["attention"]
        np.testing.assert_allclose(found, evaluate(graph, tensors)["attention"], rtol=0, atol=TOLERANCE)


def test_keys_and_values_of_other_widths_are_refused_where_a_token_has_one() -> None:
    told = r"op 'layer0\.attention': keys of 2 elements and values of 3; .* ways out: values as wide as keys"
    for model, design in ((VIDEO, TIERS), (SMALL, TELLME)):
        graph = decode(model, context=5)
        for name, op in list(graph.ops.items()):
            if op.kind == "attention":
                extents = {**dict(zip(("batch", "heads", "kv_heads", "queries", "keys", "qk_dim", "v_dim"),
                                      op.work.extents, strict=True)), "qk_dim": 2, "v_dim": 3}  # fmt: skip
                graph.ops[name] = replace(op, work=work("attention", Mask(), **extents))
        with pytest.raises(MappingError, match=told):
            mappers.lower(graph, design)


# Ops that no decoder has ----------------------------------------------------------------------------------------------

WIDER = TOY.with_({
    "units.vec.ops": ["softmax", "mul", "relu", "square", "max_pool"],
    "units.mm": {"kind": "matmul_array", "macs_per_cycle": 1},
})  # fmt: skip


def other_ops() -> Graph:
    """Scores of two sequences of 4 rows, gated and pooled, then a product with a matrix that lies in memory turned."""
    graph = Graph("others")
    graph.add_tensor(Tensor("x", (8, 6), FP32, "input"))
    graph.add_tensor(Tensor("y", (2, 5, 6), FP32, "weight"))
    graph.add_tensor(Tensor("w", (5, 3), INT8, "weight"))
    graph.add("x3", "reshape", ("x",), format=FP32, shape=(2, 4, 6))
    graph.add("scores", "matmul", ("x3", "y"), format=FP32)
    graph.add("flat", "reshape", ("scores",), format=FP32, shape=(8, 5))
    graph.add("weights", "softmax", ("flat",), format=FP32)
    graph.add("positive", "relu", ("flat",), format=FP32)
    graph.add("squares", "square", ("positive",), format=FP32)
    graph.add("gated", "mul", ("weights", "squares"), format=FP32)
    graph.add("pooled", "max_pool", ("gated",), format=FP32, batch=2, tokens=2)
    graph.add("turned", "transpose", ("w",), format=INT8, axes=(1, 0))
    graph.add("out", "matmul", ("pooled", "turned"), format=FP32)
    return graph


def test_other_ops_equal_torch_and_run_row_by_row() -> None:
    graph = other_ops()
    tensors = random_tensors(graph, seed=3)
    x, y, w = (torch.tensor(np.asarray(tensors[name])).double() for name in "xyw")
    scores = torch.einsum("bmk,bnk->bmn", x.reshape(2, 4, 6), y)
    flat = scores.reshape(8, 5)
    gated = torch.softmax(flat, dim=1) * torch.relu(flat) ** 2
    pooled = torch.nn.functional.adaptive_max_pool1d(gated.reshape(2, 4, 5).transpose(1, 2), 2)
    pooled = pooled.transpose(1, 2).reshape(4, 5)
    expected = {"scores": scores, "weights": torch.softmax(flat, dim=1), "gated": gated, "turned": w.T,
                "pooled": pooled, "out": pooled @ w * float(tensors["w_scale"])}  # fmt: skip
    evaluated = evaluate(graph, {**tensors, "turned_scale": tensors["w_scale"]})
    for name, wanted in expected.items():
        np.testing.assert_allclose(evaluated[name], wanted.numpy(), rtol=0, atol=TOLERANCE, err_msg=name)
    schedule = mappers.lower(graph, WIDER)
    replayed = replay(schedule, {**tensors, "turned_scale": tensors["w_scale"]})
    for name, array in evaluated.items():
        np.testing.assert_allclose(replayed[name], array, rtol=0, atol=TOLERANCE, err_msg=name)
    report = archsim.simulate(schedule, WIDER)
    # A cycle for each multiply-add, each element and each byte, one op after another.
    macs, elements = 2 * 4 * 5 * 6 + 4 * 5 * 3, 4 * 8 * 5 + 8 * 5
    assert report.bytes_moved("ddr", "read") == 2 * 5 * 6 * 4 + 5 * 3
    assert report.cycles == macs + elements + 2 * 5 * 6 * 4 + 5 * 3


# Models with a window -------------------------------------------------------------------------------------------------


def cache_bytes(model: Model, keys: int, *, batch: int = 1) -> int:
    """Keys and values of this many tokens in all layers, of two bytes an element."""
    return model.layers * batch * keys * 2 * model.kv_heads * model.head_dim * 2


def cache_read(report: Any, memory: str) -> int:
    """Bytes read under the role cache; the memory reads nothing more of a cache under another role but fetches."""
    return int(report.traffic[memory].get(("read", "cache"), 0))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("window", [1, 5, 39, 40, 41, None])
def test_op_by_op_a_decode_reads_the_keys_of_the_window(window: int | None, batch: int) -> None:
    report = mappers.run(TOY, windowed(TOY_LLM, window), phase="decode", context=40, batch=batch)
    assert cache_read(report, "ddr") == cache_bytes(TOY_LLM, min(window or 40, 40), batch=batch)


@pytest.mark.parametrize("window", [1, 5, 39, 40, 41, None])
def test_row_by_row_a_decode_reads_the_keys_of_the_window(window: int | None) -> None:
    report = mappers.run(TELLME, windowed(SMALL, window), phase="decode", context=40)
    assert cache_read(report, "ddr") == cache_bytes(SMALL, min(window or 40, 40))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("window", [1, 5, 39, 40, 41, None])
@pytest.mark.parametrize("prediction", ["this", "previous"])
@pytest.mark.parametrize("selection", [FULL, BEYOND], ids=lambda selection: selection.name)
def test_over_tiers_a_decode_reads_the_cached_keys_of_the_window(
    selection: Any, prediction: str, window: int | None, batch: int
) -> None:
    """Its own key is on chip: 39 lie in the cache. All of the cache stays stored: what is not resident leaves."""
    asked = {"selection": selection, "options": {"prediction": prediction}}
    report = mappers.run(TIERS, windowed(VIDEO, window), phase="decode", context=40, batch=batch, **asked)
    read = cache_bytes(VIDEO, min(window or 40, 40) - 1, batch=batch)
    assert cache_read(report, "dram") == read
    fetched = read if selection is BEYOND else 0
    assert report.traffic["ssd"].get(("read", "fetched"), 0) == fetched
    assert report.traffic["dram"].get(("written", "fetched"), 0) == fetched
    assert report.traffic["dram"]["written", "cache"] == cache_bytes(VIDEO, 1, batch=batch)
    evicted = cache_bytes(VIDEO, 1, batch=batch) if selection is BEYOND else 0
    assert report.traffic["ssd"].get(("written", "evicted"), 0) == evicted
    assert not report.skipped


LONG, WINDOW = 32_768, 4096


def test_a_long_context_op_by_op() -> None:
    model = windowed(LLAMA, WINDOW, max_context=LONG)
    report = mappers.run(TOY.with_({"units.ddr.capacity": "64 GiB"}), model, phase="decode", context=LONG)
    assert cache_read(report, "ddr") == 32 * 4096 * 2 * 8 * 128 * 2 == 536_870_912


def test_a_long_context_row_by_row_is_limited_by_its_window() -> None:
    """The scores of the window wait between the passes: 4096, whatever the context."""
    model = windowed(archsim.load_model("bitnet_b158_large"), WINDOW, max_context=LONG, layers=2)
    design = TELLME.with_({"units.decode_attention.score_depth": WINDOW})
    report = mappers.run(design, model, phase="decode", context=LONG)
    assert cache_read(report, "ddr") == 2 * 4096 * 2 * 16 * 96 * 2
    told = r"a window of 4096 tokens; units\.decode_attention\.score_depth asked 4096, there is 4095"
    with pytest.raises(MappingError, match=told):
        mappers.run(design.with_({"units.decode_attention.score_depth": WINDOW - 1}), model, phase="decode",
                    context=LONG)  # fmt: skip


@pytest.mark.parametrize("resident", [1.0, 0.0625])
def test_a_long_context_over_tiers(resident: float) -> None:
    """Of 32,767 cached tokens the step sees 4,095; of those the newest 2,048 are near where a sixteenth of all is."""
    model, design = windowed(LLAMA, WINDOW, max_context=LONG), archsim.load_design("vrex48")
    selection = FULL.with_({"resident": resident})
    report = mappers.run(design, model, phase="decode", context=LONG, selection=selection)
    token = 32 * 2 * 8 * 128 * 2
    assert cache_read(report, "dram") == 4095 * token
    near = 2048 if resident < 1 else 4095
    assert report.selected.resident_tokens == round(resident * 32_767)
    assert (report.selected.hit_bytes, report.selected.miss_bytes) == (near * token, (4095 - near) * token)
    assert report.traffic[design.tiers[-1]].get(("read", "fetched"), 0) == (4095 - near) * token


def test_memories_hold_the_whole_cache_whatever_the_window() -> None:
    """Half of 40 tokens lie near and half beyond; the step sees 2 of the near ones and fetches nothing."""
    graph, selection = decode(windowed(VIDEO, 3), context=40), FULL.with_({"resident": 0.5})
    half, region = 20 * cache_bytes(VIDEO, 1), {"units.dram.cache_region": "1 kB"}
    for path, least in (("units.dram.capacity", VIDEO.weight_bytes + half), ("units.ssd.capacity", half)):
        mappers.lower(graph, TIERS.with_({path: f"{least} B", **region}), selection=selection)
        with pytest.raises(MappingError, match=path):
            mappers.lower(graph, TIERS.with_({path: f"{least - 1} B", **region}), selection=selection)
    with pytest.raises(MappingError, match="no memory holds 20 of the 40 cached tokens"):
        mappers.lower(graph, TIERS.with_({"tiers": ["buffer", "dram"]}), selection=selection)


def test_a_rule_chooses_among_the_tokens_of_the_window() -> None:
    """Half of the 8 cached tokens that a window of 9 shows; dense attention in it is what the share is of."""
    published = archsim.load_selection("resv_published")
    half = published.with_({"kept": {"frame": 0.5, "question": 0.5, "text": 0.5}, "resident": 1.0})
    report = mappers.run(TIERS, windowed(VIDEO, 9), phase="decode", context=40, selection=half)
    token = cache_bytes(VIDEO, 1)
    assert report.selected.kept == 0.5
    assert cache_read(report, "dram") == 4 * token
    pairs = 4 * VIDEO.layers * VIDEO.heads
    (counts,) = report.skipped.values()
    assert counts == {"mac": pairs * 2 * VIDEO.head_dim, "exp": pairs, "cache": 4 * token}
    told = "the selection runs on the tokens that the window shows, as if there were no older ones"
    assert told in report.approximated
    # The rule's own work is that of a cache as long as the window.
    chosen, short = (
        mappers.run(TIERS, windowed(VIDEO, window), phase="decode", context=context, selection=CHOSEN)
        for window, context in ((20, 60), (None, 20))
    )
    assert told not in short.approximated
    for what in ("kept", "mass_recall", "top_recall"):
        assert getattr(chosen.selected, what) == getattr(short.selected, what)
    assert chosen.recomputed == short.recomputed
    assert chosen.traffic["dram"]["read", "metadata"] == short.traffic["dram"]["read", "metadata"]


@pytest.mark.parametrize("phase", [question, frame], ids=["question", "frame"])
def test_new_rows_that_see_different_cached_tokens_are_refused(phase: Any) -> None:
    rows = {"prompt": 3} if phase is question else {}
    with pytest.raises(MappingError) as raised:
        mappers.lower(phase(windowed(VIDEO, 9), context=10, **rows), TIERS)
    assert str(raised.value) == (
        "op 'layer0.attention': a window of 9 shows each of the 3 new rows of a sequence other ones of the 7 cached "
        "tokens; a selection chooses for all rows together; ways out: one new row, as a decode step has, a context of "
        "at most 9 tokens, no window"
    )
    assert mappers.run(TIERS, windowed(VIDEO, 9), phase=phase.__name__, context=9, **rows).selected.kept == 1


@pytest.mark.parametrize("window", [1, 4, 9, 20])
def test_a_prompt_over_tiers_has_no_cached_tokens_to_choose_from(window: int) -> None:
    report = mappers.run(TIERS, windowed(VIDEO, window), phase="prefill", prompt=9, batch=2)
    assert report.selected is None
    assert cache_read(report, "dram") == 0
    assert not report.skipped
    assert not report.recomputed


# What moves less than it must breaks a law ----------------------------------------------------------------------------


def test_a_mapping_that_reads_fewer_keys_than_the_window_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    one = cache_bytes(VIDEO, 1)
    seen = "mappers.retrieval.cache._visible"
    monkeypatch.setattr(seen, lambda op, cached: 3)
    with pytest.raises(ScheduleError, match=f"cache: {3 * one} bytes are read, what is stored and needed is {4 * one}"):
        mappers.run(TIERS, windowed(VIDEO, 5), phase="decode", context=40)
    monkeypatch.undo()
    loads = Graph.loads
    monkeypatch.setattr(Graph, "loads", lambda graph, op: {role: n // 2 for role, n in loads(graph, op).items()})
    with pytest.raises(ScheduleError, match=r"cache: \d+ bytes are read, what is stored and needed is"):
        mappers.run(TOY, windowed(TOY_LLM, 5), phase="decode", context=40)
    monkeypatch.undo()
    monkeypatch.setattr("mappers.table_lookup.shapes.Shapes.seen", property(lambda shapes: range(4)))
    one = cache_bytes(SMALL, 1)
    with pytest.raises(ScheduleError, match=f"cache: {4 * one} bytes are read, what is stored and needed is {5 * one}"):
        mappers.run(TELLME, windowed(SMALL, 6), phase="decode", context=40)


# A window that cuts nothing, and one that begins to cut ---------------------------------------------------------------

MACHINES = [
    pytest.param(TOY, TOY_LLM, {}, id="op by op"),
    pytest.param(TOY.with_(AHEAD), TOY_LLM, {}, id="op by op, loads ahead"),
    pytest.param(TELLME, SMALL, {}, id="row by row"),
    pytest.param(TELLME, SMALL, {"options": {"attention_order": "plain"}}, id="row by row, plain"),
    *(
        pytest.param(TIERS, VIDEO, {"selection": s, "options": {"prediction": p}}, id=f"tiers, {s.name}, {p}")
        for s in (FULL, BEYOND, CHOSEN)
        for p in ("this", "previous")
    ),
]


@pytest.mark.parametrize("design, model, asked", MACHINES)
@pytest.mark.parametrize("phase", [{"phase": "prefill", "prompt": 12}, {"phase": "decode", "context": 12}],
                         ids=["prefill", "decode"])  # fmt: skip
def test_a_window_of_the_whole_context_changes_nothing(
    phase: dict[str, Any], design: Any, model: Model, asked: dict[str, Any]
) -> None:
    without = as_json(mappers.run(design, model, **phase, **asked))
    for window in (12, 64):
        assert as_json(mappers.run(design, windowed(model, window), **phase, **asked)) == without


@pytest.mark.parametrize("design, model, asked", MACHINES)
def test_a_generation_in_which_the_window_begins_to_cut_is_its_steps(
    design: Any, model: Model, asked: dict[str, Any]
) -> None:
    model, contexts = windowed(model, 6), range(6, 9)
    whole = mappers.run(design, model, phase="generate", prompt=5, tokens=4, **asked)
    parts = [mappers.run(design, model, phase="decode", context=context, **asked) for context in contexts]
    assert whole.steps == tuple(step for part in parts for step in part.steps)
    parts = [mappers.run(design, model, phase="prefill", prompt=5, **asked), *parts]
    assert whole.cycles == sum(part.cycles for part in parts)
    assert whole.mapped == sum(part.mapped for part in parts)
    for unit, traffic in whole.traffic.items():
        assert traffic == sum((Counter(part.traffic[unit]) for part in parts), Counter()), unit


@pytest.mark.parametrize("design, model, asked", MACHINES)
def test_the_schedule_of_a_step_is_the_one_lowered_anew(design: Any, model: Model, asked: dict[str, Any]) -> None:
    model = windowed(model, 4)
    options = {**asked.get("options", {}), **{key: asked[key] for key in asked if key == "selection"}}
    schedule = mappers.lower(decode(model, context=2), design, **options)
    for context in range(3, 8):
        schedule = lower_step(decode(model, context=context), design, previous=schedule)
        assert schedule == mappers.lower(decode(model, context=context), design, **options)


# A windowed prompt row by row -----------------------------------------------------------------------------------------


def keys_of_groups(prompt: int, window: int | None, *, group: int = 8) -> list[int]:
    """For each group of a prompt padded to whole groups, the newest first: the keys that one of its queries sees."""
    padded = -(-prompt // group) * group
    found = []
    for newest in range(padded, 0, -group):
        queries = range(newest - group, newest)
        seen = {key for query in queries for key in range(padded) if 0 <= query - key < (window or padded)}
        found.append(len(seen))
    return found


@pytest.mark.parametrize("prompt", [40, 37])
@pytest.mark.parametrize("window", [1, 7, 8, 9, 40, 64, None])
@pytest.mark.parametrize("order", ["reversed", "plain"])
def test_pairs_that_a_windowed_prompt_is_scored_for(order: str, window: int | None, prompt: int) -> None:
    """A step scores one key for a group of 8 queries; keys that none of them sees are left out in reversed order."""
    model = windowed(SMALL, window)
    graph = prefill(model, prompt=prompt)
    schedule = mappers.lower(graph, TELLME, attention_order=order)
    by_group = keys_of_groups(prompt, window)
    if order == "plain":
        by_group = [8 * len(by_group)] * len(by_group)
    tasks = {task.name: task for task in schedule.sections[1].tasks}
    steps = tasks["attention"].work.counted(tasks["attention"].firings)
    assert sum(n for item, n in steps if item.kind == "attention") == sum(by_group)
    assert tasks["attention.k.read"].firings == tasks["attention.v.read"].firings == sum(by_group)
    asked = sum(0 <= query - key < (window or prompt) for query in range(prompt) for key in range(prompt))
    each = model.layers * model.heads  # pairs of all heads
    assert graph.counts()["exp"] == each * asked
    assert schedule.recomputed.get("exp", 0) == each * (8 * sum(by_group) - asked)
    read = schedule.sections[1].repeat * sum(tasks[f"attention.{rows}.read"].counts()["read"] for rows in "kv")
    assert read == cache_bytes(SMALL, sum(by_group))


def test_keys_of_groups_counted_by_hand() -> None:
    assert keys_of_groups(40, 1) == [8, 8, 8, 8, 8]
    assert keys_of_groups(40, 7) == [14, 14, 14, 14, 8]
    assert keys_of_groups(40, 9) == [16, 16, 16, 16, 8]
    assert keys_of_groups(40, None) == keys_of_groups(40, 40) == [40, 32, 24, 16, 8]


@pytest.mark.parametrize("window", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("order", ["reversed", "plain"])
def test_a_windowed_prompt_replayed_equals_what_is_evaluated(order: str, window: int) -> None:
    """Ops without integers agree closely; quantised ones may fall the other way at a tie, so attention is compared."""
    graph = prefill(windowed(TINY, window), prompt=40 if window > 1 else 37)
    tensors = random_tensors(graph, seed=window)
    schedule = mappers.lower(graph, TELLME, attention_order=order)
    found, evaluated = replay(schedule, tensors), evaluate(graph, tensors)
    np.testing.assert_allclose(found["layer0.attention"], evaluated["layer0.attention"], rtol=0, atol=TOLERANCE)


# Mistakes -------------------------------------------------------------------------------------------------------------


def test_a_window_of_no_key_is_refused() -> None:
    with pytest.raises(GraphError, match="a window of one key or more, and only where it is causal"):
        narrow_values(3, 3, 0)
    with pytest.raises(ValueError, match="window"):
        Model(**{**TOY_LLM.model_dump(), "window": 0})
