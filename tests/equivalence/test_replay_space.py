"""Layers laid out in space, run on arrays tile by tile: the numbers of the evaluated graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archsim
import mappers
from archsim import Design, ScheduleError
from dataflow import FORMATS, Graph, Schedule, Tensor, attention, decode, frame, prefill
from dataflow.models.model import Model
from dataflow.numeric.evaluate import evaluate, random_tensors, replay
from dataflow.op import OP_KINDS, computes
from mappers.spatial.stages import ROWS

# Sums of a few terms in another order, relative to the largest element.
TOLERANCE = 2e-6
HOW: dict[str, dict[str, Any]] = {"fused": {}, "looped": {"loop": "layers"}, "unfused": {"sections": "op"}}


def reduced(name: str, **changes: Any) -> Model:
    """A layer or more of a model with its heads, and everything else an eighth of its size or less."""
    whole = archsim.load_model(name)
    sizes = {"layers": 2, "hidden": 48, "ffn": 80, "heads": min(whole.heads, 16), "head_dim": 6, "vocab": 64}
    sizes["kv_heads"] = sizes["heads"] * whole.kv_heads // whole.heads
    return whole.model_copy(update={**sizes, **changes})


def check(schedule: Schedule, seed: int = 0) -> None:
    tensors = random_tensors(schedule.graph, seed)
    expected, found = evaluate(schedule.graph, tensors), replay(schedule, tensors)
    for name, array in expected.items():
        if array.dtype.kind in "iu":
            assert np.array_equal(found[name], array), name
        else:
            np.testing.assert_allclose(found[name], array, rtol=0, atol=TOLERANCE * max(1.0, np.abs(array).max()))


def lowered(graph: Graph, on: Design, how: str, rows: int | None = None) -> Schedule:
    mapping = on.own_mapping(graph.name).with_(HOW[how]) if HOW[how] else on.own_mapping(graph.name)
    if rows is not None:
        chosen = mappers.plan(graph, on, mapping=mapping).document.data["fuse"]
        layers = [{"ops": one["ops"], "rows": rows} for one in chosen if one["ops"][0].startswith("layer")]
        mapping = mapping.with_({"fuse": layers})
    return mappers.lower(graph, on, mapping=mapping)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("design", ["plasticine", "sn40l", "sn40l_node"])
@pytest.mark.parametrize("name", ["llama2_7b", "llama2_70b", "llama3_8b"])
def test_a_layer_of_each_model_gives_the_numbers_of_its_graph(name: str, design: str, how: str) -> None:
    network, on = reduced(name), archsim.load_design(design)
    for graph in (prefill(network, prompt=37), decode(network, context=21, batch=2)):
        schedule = lowered(graph, on, how)
        check(schedule)
        archsim.simulate(schedule, on)  # which checks the laws


@pytest.mark.parametrize("rows", [1, 4, 5, 12])
def test_tokens_of_any_rows_give_the_same_numbers(rows: int) -> None:
    on = archsim.load_design("sn40l_node")
    schedule = lowered(prefill(reduced("llama3_8b"), prompt=12, batch=2), on, "fused", rows)
    firings = {task.firings for s in schedule.sections for task in s.tasks if task.name == "up"}
    assert firings == {2 * -(-12 // rows)}
    check(schedule)


@settings(max_examples=25, deadline=None)
@given(
    prompt=st.integers(1, 20), batch=st.integers(1, 3), window=st.one_of(st.none(), st.integers(1, 9)),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 1), (5, 5)]), how=st.sampled_from([*HOW]), seed=st.integers(0, 99),
    data=st.data(),
)  # fmt: skip
def test_prompts_batches_windows_and_heads_as_they_come(
    prompt: int, batch: int, window: int | None, heads: tuple[int, int], how: str, seed: int, data: Any
) -> None:
    network = reduced("llama3_8b", heads=heads[0], kv_heads=heads[1], window=window, hidden=12, ffn=10)
    on = archsim.load_design(data.draw(st.sampled_from(["plasticine", "sn40l", "sn40l_node"])))
    rows = data.draw(st.one_of(st.none(), st.integers(1, prompt)))
    check(lowered(prefill(network, prompt=prompt, batch=batch), on, how, rows if how == "fused" else None), seed)
    check(lowered(decode(network, context=prompt, batch=batch), on, how), seed)


def test_attention_over_all_keys_and_a_vision_tower() -> None:
    """A frame has attention without a mask, norms of another kind, and pools."""
    for design in ("plasticine", "sn40l"):
        on = archsim.load_design(design)
        check(lowered(frame(archsim.load_model("toy_video"), context=9), on, "fused"))


@pytest.mark.parametrize("design", ["plasticine", "sn40l", "sn40l_node"])
@pytest.mark.parametrize(("rows", "batch"), [(33, 1), (65, 3), (300, 1)])
def test_passes_that_stand_apart_read_what_the_pass_before_has_made(design: str, rows: int, batch: int) -> None:
    """All three have tokens of as many rows, so that scores are one rectangle, with the mapping that is printed too."""
    on = archsim.load_design(design)
    heads = attention(queries=rows, keys=rows, head_dim=6, heads=4, batch=batch, format=FORMATS["fp16"])
    for graph in (heads, prefill(reduced("llama2_7b"), prompt=rows, batch=batch)):
        schedule = lowered(graph, on, "unfused")
        check(schedule)
        moved: dict[str, dict[str, int]] = {"load": {}, "store": {}}
        for task in (task for section in schedule.sections for task in section.tasks):
            way, _, name = task.name.partition(" ")
            if way in moved and name.endswith(("attention scores", "attention softmax")):
                size = sum(item["bytes"] * n for item, n in task.work.counted(task.firings))
                moved[way][name] = moved[way].get(name, 0) + size
        assert moved["load"] == moved["store"]
        assert len(moved["load"]) == 2
        assert mappers.lower(graph, on, mapping=schedule.options["mapping"]).sections == schedule.sections


def test_what_is_read_after_its_tokens_is_refused() -> None:
    """The replay is no formality: without the stream of values it finds that the sums read what is not there."""
    on = archsim.load_design("sn40l")
    schedule = lowered(prefill(reduced("llama2_7b", layers=1), prompt=9), on, "fused")
    at = next(i for i, s in enumerate(schedule.sections) if any(task.name == "attention" for task in s.tasks))
    section = schedule.sections[at]
    (values,) = [s.name for s in section.streams if section.ends[s.name][1][0] == "attention"
                 and section.ends[s.name][0].startswith("v")]  # fmt: skip
    tasks = tuple(replace(t, takes={s: p for s, p in t.takes.items() if s != values},
                          gives={s: p for s, p in t.gives.items() if s != values}) for t in section.tasks)  # fmt: skip
    streams = tuple(s for s in section.streams if s.name != values)
    broken = replace(section, tasks=tasks, streams=streams)
    changed = replace(schedule, sections=(*schedule.sections[:at], broken, *schedule.sections[at + 1 :]))
    with pytest.raises(ScheduleError, match=r"task 'attention': reads 'layer0\.v'"):
        check(changed)


def rows_needed(schedule: Schedule) -> list[str]:
    """Firings of placed stages that read rows whose tokens they have not taken yet."""
    late = []
    for section in schedule.sections:
        tasks = {task.name: task for task in section.tasks}
        ends = section.ends
        for task in (t for t in section.tasks if t.serves and any(computes(item) for item, _ in t.work)):
            op = schedule.graph.ops[task.serves[0].ops[0]]
            axes = OP_KINDS[op.kind].axes
            along = next((axes.index(a) for a in ROWS if a in axes), None)
            for stream, takes in task.takes.items():
                makers = [tasks[ends[stream][0]]]
                while makers[-1].unit in ("mesh", "ring"):
                    (before,) = makers[-1].takes
                    makers.append(tasks[ends[before][0]])
                source = makers[-1]
                if along is None or not source.serves or op.kind == "attention" or not task.serves[0].tiles:
                    continue
                taken, last = 0, -1
                for firing, box in enumerate(task.serves[0].slices()):
                    taken += takes.at(firing)
                    if box[along].stop - 1 > last:
                        last = box[along].stop - 1
                        made = OP_KINDS[schedule.graph.ops[source.serves[0].ops[0]].kind].axes
                        at = next(made.index(a) for a in ROWS if a in made)
                        known = sorted({(one[at].start, one[at].stop) for one in source.serves[0].slices()})
                        if source.serves[0].tiles and known[taken - 1][1] <= last:
                            late.append(f"{task.name} {firing}")
    return late


@pytest.mark.parametrize("design", ["plasticine", "sn40l_node"])
def test_no_stage_starts_a_token_before_it_has_taken_its_rows(design: str) -> None:
    """The replay runs task by task; here the rows of each firing are among those of the tokens taken by then."""
    on = archsim.load_design(design)
    for how in HOW:
        assert not rows_needed(lowered(prefill(reduced("llama3_8b"), prompt=64), on, how))


def test_a_reshape_between_two_ops_parts_their_sections() -> None:
    """Rows of one are no rows of the other."""
    fp16, graph = FORMATS["fp16"], Graph("turned")
    graph.add_tensor(Tensor("x", (8, 4), fp16))
    graph.add("a", "relu", ("x",), format=fp16)
    graph.add("t", "transpose", ("a",), format=fp16, axes=[1, 0])
    graph.add("r", "reshape", ("t",), format=fp16, shape=[8, 4])
    graph.add("b", "square", ("r",), format=fp16)
    on = archsim.load_design("sn40l")
    schedule = mappers.lower(graph, on)
    assert [section.name for section in schedule.sections] == ["a", "b"]
    check(schedule)
