"""Decoders in tiles, as numbers: each op of a tiled schedule equals the op evaluated, on designs of several kinds."""

from __future__ import annotations

import pytest
from test_replay import check

import archsim
import dataflow
import mappers

SMALL = archsim.load_model("toy_video").model_copy(
    update={"name": "small", "hidden": 24, "ffn": 40, "heads": 4, "head_dim": 6, "vocab": 30, "layers": 2}
)
TERNARY = archsim.load_model("toy_llm").model_copy(
    update={"name": "ternary", "hidden": 24, "ffn": 40, "heads": 4, "kv_heads": 2, "head_dim": 6, "vocab": 30}
)
MODELS = {
    "grouped": SMALL.model_copy(update={"kv_heads": 2}),
    "each its own": SMALL.model_copy(update={"kv_heads": 4}),
    "window": SMALL.model_copy(update={"kv_heads": 1, "window": 3}),
    "ternary": TERNARY,
}
# Memories on chip so small that products are cut along each axis.
SMALL_SRAM = {"units.array.rows": 4, "units.array.columns": 4, "units.sram.capacity": "2 KiB"}
DESIGNS = {
    "systolic_array": archsim.load_design("systolic_array"),
    "systolic_two_level": archsim.load_design("systolic_two_level").with_(SMALL_SRAM),
    "toy": archsim.load_design("toy"),
    "toy_retrieval": archsim.load_design("toy_retrieval"),
    "a100": archsim.load_design("a100"),
}
CASES = [
    (design, model)
    for design in DESIGNS
    for model in MODELS
    if model != "ternary" or design in ("toy", "a100")
]  # fmt: skip


@pytest.mark.parametrize(("design", "model"), CASES)
def test_a_decoder_in_tiles_gives_its_numbers(design: str, model: str) -> None:
    on, network = DESIGNS[design], MODELS[model]
    for graph in (dataflow.prefill(network, prompt=7), dataflow.decode(network, context=9)):
        schedule = mappers.lower(graph, on, mapper="tiled")
        if design == "systolic_two_level":
            assert max(task.firings for section in schedule.sections for task in section.tasks) > 8
        check(schedule, seed=3)
