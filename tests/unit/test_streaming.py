"""What the streaming mapper refuses, and what it says of what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsim import InputError, MappingError, ScheduleError, load_design, load_model, simulate, size_fifos
from archsim.report.json import as_json
from dataflow import Graph, Tensor, attention, decode
from dataflow.format import FP16, FP32
from dataflow.numeric.replay_streams import replay_streams
from mappers import lower
from mappers.spatial.mapper import Spatial

MACHINE = load_design("streaming_machine")
TOY = load_design("toy")


def test_a_design_with_links_is_refused_as_nothing_would_read_them() -> None:
    link = {"from": "map", "to": "zip", "depth": 2, "token_bits": "32 bit"}
    with pytest.raises(MappingError, match="links: this mapper joins any two nodes by a FIFO; ways out: depths under"):
        Spatial().lower(attention(queries=2, keys=2, head_dim=2), MACHINE.with_({"links": {"a": link}}))


def test_fifos_without_a_mapper_that_reads_them_are_refused() -> None:
    with pytest.raises(MappingError, match="fifos: this mapper joins units by the design's links"):
        lower(decode(load_model("toy_llm"), context=3), TOY.with_({"fifos": {"long": 3}}))


def test_two_attentions_are_two_sections_one_after_another() -> None:
    graph = Graph("twice")
    for name, rows in (("q", 3), ("k", 5), ("v", 5), ("r", 2)):
        graph.add_tensor(Tensor(name, (rows, 4), FP16))
    masks = {"batch": 1, "heads": 2, "kv_heads": 2, "causal": False}
    graph.add("first", "attention", ("q", "k", "v"), format=FP16, **masks)
    graph.add("second", "attention", ("r", "k", "v"), format=FP16, **masks)
    report = simulate(Spatial().lower(graph, MACHINE), MACHINE)
    assert report.sections == (("first", 1, 3 * 5 + 4), ("second", 1, 2 * 5 + 4))
    assert [op.name for op in report.ops] == ["first", "second"]


@pytest.mark.parametrize("form, widest", [("naive", 2 * 64), ("memory_free", 2 * 64)])
def test_tokens_are_as_wide_as_what_they_hold(form: str, widest: int) -> None:
    """FP16 scalars of 2 B, a pair of 4 B, rows of 64 scalars."""
    schedule = Spatial(form=form).lower(attention(queries=2, keys=3, head_dim=64, format=FP16), MACHINE)  # type: ignore[arg-type]
    widths = {s.name: s.bytes_per_token for s in schedule.sections[0].streams}
    assert max(widths.values()) == widths["output > sink"] == widest
    assert widths.get("weight > sum", 4) == 4
    assert widths[next(iter(widths))] == 2


def test_what_is_computed_beyond_the_products_is_declared() -> None:
    """12 scores in 3 rows: a second exponential each; three flop a weight, two a sum, eight a rescaled row."""
    schedule = Spatial().lower(attention(queries=3, keys=4, head_dim=8, causal=False), MACHINE)
    assert schedule.recomputed == {"exp": 12, "flop": 12 * (3 + 2 + 8) + 3 * 8}


@pytest.mark.parametrize("changes", [{}, {"units.zip.count": 9}])
def test_the_bottleneck_is_the_busiest_node_and_not_the_mean_of_many(changes: dict[str, Any]) -> None:
    """Every interval 2 but the zip's 3: its exp node is always busy, its output node once a row."""
    intervals = {f"units.{name}.interval_cycles": 2 for name in MACHINE.units}
    design = MACHINE.with_({**intervals, "units.zip.interval_cycles": 3, "fifos.short": 8, **changes})
    graph = attention(queries=8, keys=64, head_dim=1, causal=False)
    report = simulate(Spatial(form="reordered").lower(graph, design), design)
    assert report.bottleneck == "zip"
    assert report.units["zip"].busiest_cycles == 8 * 64 * 3
    assert report.units["zip"].busy_cycles == 8 * 64 * 3 + 8 * 3
    assert report.units["zip"].count == changes.get("units.zip.count", 2)
    faster = design.with_({"units.zip.interval_cycles": 2})
    assert simulate(Spatial(form="reordered").lower(graph, faster), faster).cycles < report.cycles - 400


def test_what_was_set_is_no_longer_called_assumed_for_its_old_reason() -> None:
    changed = MACHINE.with_({"fifos.long": 7})
    assert changed.assumptions()["fifos.long"] == "set in this variant"
    assert changed.with_({"fifos": {"short": 3, "long": 3}}).assumptions()["fifos.short"] == "set in this variant"
    assert changed.assumptions()["fifos.short"] == MACHINE.assumed["fifos.short"]


def test_graphs_without_attention_or_with_a_cache_in_memory_are_refused() -> None:
    with pytest.raises(MappingError, match="graph 'empty': no attention op"):
        Spatial().lower(Graph("empty"), MACHINE)
    graph = Graph("cached")
    for name, rows, role in (("q", 1, "activation"), ("new", 1, "activation"), ("past", 3, "cache")):
        graph.add_tensor(Tensor(name, (rows, 4), FP16, role))
    graph.add("keys", "append", ("new", "past"), format=FP16, role="cache", batch=1)
    graph.add("a", "attention", ("q", "keys", "keys"), format=FP16, batch=1, heads=1, kv_heads=1)
    with pytest.raises(MappingError, match="tensor 'past' lies in memory, which this machine has none of"):
        Spatial().lower(graph, MACHINE)


def test_options_are_checked_where_the_mapper_is_called_by_itself() -> None:
    with pytest.raises(InputError) as raised:
        Spatial(form="flash", heads="both").lower(attention(queries=2, keys=2, head_dim=2), MACHINE)  # type: ignore[arg-type]
    assert str(raised.value) == (
        "option form: expected memory_free or naive or scaled or reordered or reordered_without_max, got 'flash'\n"
        "option heads: expected parallel or sequential, got 'both'"
    )


def test_two_units_of_one_pattern_are_refused() -> None:
    slow = {"kind": "node", "ops": ["map"], "interval_cycles": 5}
    design = MACHINE.with_({"units": {**MACHINE.document.data["units"], "a_slow": slow}})
    with pytest.raises(MappingError, match="units 'map', 'a_slow' of 'streaming_machine' all do map"):
        Spatial(form="naive").lower(attention(queries=2, keys=2, head_dim=2), design)


def test_what_size_fifos_rests_on_is_said() -> None:
    schedule = Spatial(form="naive").lower(attention(queries=2, keys=4, head_dim=2, window=3), MACHINE)
    sizes = size_fifos(schedule, MACHINE)
    assert "options     form=naive, heads=parallel" in str(sizes)
    assert "mask window of 3" in str(sizes)
    assert "simplified  fifos.long of 'streaming_machine' is assumed inf: 'exp > divide' never fills" in str(sizes)
    assert sizes.as_json()["options"] == {"form": "naive", "heads": "parallel"}
    report = as_json(simulate(schedule, MACHINE))
    assert report["mask"] == "window of 3"
    assert {name: stream["depth"] for name, stream in report["streams"].items() if stream["depth"] != 2} == {
        "attention: exp > divide": None
    }


@pytest.mark.parametrize("target", [30, "30", "30 cycles"])
def test_a_target_in_cycles_with_or_without_the_word(target: Any) -> None:
    schedule = Spatial().lower(attention(queries=2, keys=4, head_dim=2), MACHINE)
    assert size_fifos(schedule, MACHINE, target=target).target_cycles == 30


def test_arrays_that_do_not_fit_the_graph_are_refused_before_anything_runs() -> None:
    schedule = Spatial().lower(attention(queries=2, keys=3, head_dim=2, causal=False), MACHINE)
    right = {"q": np.ones((2, 2)), "k": np.ones((3, 2)), "v": np.ones((3, 2))}
    for changed, message in (
        ({"k": np.ones((9, 2))}, r"tensor 'k': given as float64 \[9, 2\]; expected floats \[3, 2\]"),
        ({"q": np.ones((2, 2), int)}, r"tensor 'q': given as int64 \[2, 2\]; expected floats \[2, 2\]"),
    ):
        with pytest.raises(ScheduleError, match=message):
            replay_streams(schedule, {**right, **changed})
    with pytest.raises(ScheduleError, match="tensor 'v': not given; op 'attention' reads it"):
        replay_streams(schedule, {"q": right["q"], "k": right["k"]})
    with pytest.raises(ScheduleError, match="a schedule of mapper 'tiled' names no form; forms are: naive"):
        replay_streams(lower(decode(load_model("toy_llm"), context=3), TOY), right)


def test_an_attention_may_read_what_another_made() -> None:
    graph = attention(queries=3, keys=3, head_dim=2)
    graph.add("next", "attention", ("attention", "k", "v"), format=FP32, batch=1, heads=1, kv_heads=1)
    tensors = {name: np.random.default_rng(1).normal(size=(3, 2)) for name in "qkv"}
    found = replay_streams(Spatial().lower(graph, MACHINE), tensors)
    alone = attention(queries=3, keys=3, head_dim=2)
    again = replay_streams(Spatial().lower(alone, MACHINE), {**tensors, "q": found["attention"]})["attention"]
    np.testing.assert_array_equal(found["next"], again)
