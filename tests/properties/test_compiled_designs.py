"""The compiled engine on the shipped designs: every section that a mapper writes gives the SimPy engine's integers.

Prefill and decode of the table-lookup accelerator and variants of it, the toy, and attention as streams in every form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from archsim import Design, load_design, load_model, simulate
from archsim.engine import simpy_engine
from archsim.engine.compiled.engine import run
from archsim.engine.flat import flatten
from archsim.engine.result import Stuck
from archsim.report.json import as_json
from dataflow import CASCADES, Graph, Model, Schedule, attention, decode, prefill
from mappers import lower
from mappers.experiment import run as pipeline
from mappers.spatial.mapper import Spatial

BITNET, TOY_LLM = load_model("bitnet_b158_large"), load_model("toy_llm")
LOOKUP, TOY, MACHINE = load_design("tellme_kv260"), load_design("toy"), load_design("streaming_machine")
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "42 tables": {"units.tlmm.num_tables": 42},
    "14 tables": {"units.tlmm.num_tables": 14},
    "two inputs a table": {"units.tlmm.group_size": 2, "units.weight_buffer.word_bits": "168 bit",
                           "units.loader.vectors_per_beat": 4, "resources.budget.uram": 84},
    "depths 4": {"links.int8.depth": 4, "links.output.depth": 4},
    "depths 1": {f"links.{name}.depth": 1 for name in LOOKUP.links},
    "depths 64": {f"links.{name}.depth": 64 for name in LOOKUP.links},
    "two servers": {"units.norm.count": 2, "units.ddr.latency_cycles": 1},
    "slow memory": {"units.ddr.bandwidth": "2 GB/s", "units.ddr.request_bytes": "4 KiB"},
    "room for two": {"units.weight_buffer.regions": 6, "resources.budget.uram": 108},
}  # fmt: skip


def agreed(schedule: Schedule, design: Design) -> tuple[int, int, int]:
    """Sections that ended, sections that were stuck, and firings skipped, the engines being equal on each."""
    ended = stuck = skipped = 0
    for section in schedule.sections:
        flat = flatten(section, design)
        expected, found = simpy_engine.run(flat), run(flat)
        assert found == expected, section.name
        assert run(flat, skip=False) == expected, section.name
        if isinstance(found, Stuck):
            stuck += 1
        else:
            ended, skipped = ended + 1, skipped + found.skipped
    return ended, stuck, skipped


def graph_of(model: Model, phase: str, tokens: int) -> Graph:
    return prefill(model, prompt=tokens) if phase == "prefill" else decode(model, context=tokens)


@pytest.mark.parametrize("phase, tokens", [("prefill", 8), ("decode", 16)])
def test_a_model_on_the_table_lookup_accelerator(phase: str, tokens: int) -> None:
    ended, stuck, skipped = agreed(lower(graph_of(BITNET, phase, tokens), LOOKUP), LOOKUP)
    assert (ended, stuck) == (3, 0)
    assert skipped > 0


@pytest.mark.parametrize("phase, tokens", [("prefill", 2), ("decode", 16)])
def test_a_report_differs_in_how_it_was_found_alone(phase: str, tokens: int) -> None:
    schedule = lower(graph_of(BITNET, phase, tokens), LOOKUP)
    reports = {engine: as_json(simulate(schedule, LOOKUP, engine=engine)) for engine in ("compiled", "simpy")}
    fewer, all_of_them = (report.pop("firings_run") for report in reports.values())
    assert fewer < all_of_them
    assert {engine: report.pop("engine") for engine, report in reports.items()} == {e: e for e in reports}
    assert reports["compiled"] == reports["simpy"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_variants_of_it(variant: str, phase: str) -> None:
    """Short ones: a token of prefill and of decode each."""
    design = LOOKUP.with_(VARIANTS[variant])
    options = {"weight_buffering": "double"} if variant == "room for two" else {}
    ended, stuck, _ = agreed(lower(graph_of(BITNET, phase, 1), design, **options), design)
    assert ended >= 3
    assert stuck == 0


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("ahead", ["op", "next_op"])
def test_the_toy(ahead: str, phase: str, tokens: int) -> None:
    for changes in ({}, {"units.mm.macs_per_cycle": 3, "units.ddr.latency_cycles": 5}):
        design = TOY.with_({"mapping.ahead": ahead, **changes})
        ended, stuck, _ = agreed(lower(graph_of(TOY_LLM, phase, tokens), design), design)
        assert ended > 0
        assert stuck == 0


MASKS: dict[str, dict[str, Any]] = {"full": {"causal": False}, "causal": {}, "window": {"window": 5}}
HEADS: dict[str, dict[str, Any]] = {
    "one": {}, "sequential": {"heads": 4, "kv_heads": 2}, "parallel": {"heads": 3, "batch": 2},
}  # fmt: skip


def machine(latency: int, fifos: Mapping[str, int | str]) -> Design:
    """The streaming machine with nodes of latency L and FIFOs of these depths."""
    return MACHINE.with_({**{f"units.{name}.latency_cycles": latency - 1 for name in MACHINE.units}, "fifos": fifos})


@pytest.mark.parametrize("form", CASCADES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("heads", HEADS)
def test_attention_as_streams(form: str, mask: str, heads: str) -> None:
    """With room enough, with FIFOs that slow it down, and with some that are too short; over nodes of two latencies."""
    n, r = 17, 9
    graph = attention(queries=r, keys=n, head_dim=2, **MASKS[mask], **HEADS[heads])
    seen = []
    for latency, long, short in ((1, "inf", "inf"), (1, "inf", 2), (3, n + 1, 2), (1, 4, 1)):
        design = machine(latency, {"long": long, "short": short})
        layout = "parallel" if heads == "parallel" else "sequential"
        seen.append(agreed(Spatial(form=form, heads=layout).lower(graph, design), design))  # type: ignore[arg-type]
    assert [ended for ended, _, _ in seen[:3]] == [1, 1, 1]
    assert seen[3][1] == (form in ("naive", "scaled", "reordered"))


@pytest.mark.parametrize("form", CASCADES)
def test_rows_long_enough_to_be_skipped(form: str) -> None:
    design = machine(2, {"long": "inf", "short": 2})
    graph = attention(queries=30, keys=64, head_dim=1, causal=False)
    ended, _, skipped = agreed(Spatial(form=form).lower(graph, design), design)  # type: ignore[arg-type]
    assert ended == 1
    assert skipped > 5_000


@pytest.mark.heavy
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("phase, tokens", [("prefill", 33), ("decode", 700)])
def test_longer_phases_of_variants(variant: str, phase: str, tokens: int) -> None:
    design = LOOKUP.with_(VARIANTS[variant])
    options = {"weight_buffering": "double"} if variant == "room for two" else {}
    assert agreed(lower(graph_of(BITNET, phase, tokens), design, **options), design)[1] == 0


@pytest.mark.parametrize(
    "design, model, asked",
    [
        ("toy", "toy_llm", {"phase": "prefill", "prompt": 3}),
        ("toy", "toy_llm", {"phase": "generate", "prompt": 2, "tokens": 4}),
        ("toy", "bitnet_b158_large", {"phase": "decode", "context": 3}),
        ("tellme_kv260", "bitnet_b158_large", {"phase": "generate", "prompt": 2, "tokens": 4}),
        ("streaming_machine", "toy_llm", {"phase": "attention", "prompt": 5, "context": 9}),
        ("streaming_machine", "llama3_8b", {"phase": "attention", "prompt": 2, "context": 17, "mask": "4"}),
    ],
)
def test_a_whole_run_is_the_same_by_either_engine(design: str, model: str, asked: dict[str, Any]) -> None:
    wide = {"units.ddr.capacity": "1 TiB"} if design == "toy" else {}
    machine, network = load_design(design).with_(wide), load_model(model)
    found = {}
    for engine in ("compiled", "simpy"):
        found[engine] = as_json(pipeline.run(machine, network, engine=engine, **asked))
    for report in found.values():
        del report["engine"], report["firings_run"]
    assert found["compiled"] == found["simpy"]
