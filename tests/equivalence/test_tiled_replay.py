"""Decoders in tiles, as numbers: each op of a tiled schedule equals the op evaluated, on designs of several kinds."""

from __future__ import annotations

import pytest
from test_replay import check

import archsim
import dataflow
import mappers
from archsim import MappingError
from archsim.files.data_folder import shipped

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


# A layer of each shipped decoder, made small; those with ternary weights need a unit for these products.
ON = ("systolic_array", "systolic_two_level", "tpu_v4i", "a100", "agx_orin", "toy", "vrex8", "vrex48")
FOR_TERNARY = {"a100", "agx_orin", "toy"}


@pytest.mark.parametrize("model", shipped("models"))
@pytest.mark.parametrize("design", ON)
def test_a_layer_of_each_decoder_on_each_design_gives_its_numbers(design: str, model: str) -> None:
    network = archsim.load_model(model)
    heads = 2 * min(network.heads // network.kv_heads, 4)
    sizes = {"layers": 1, "kv_heads": 2, "heads": heads, "head_dim": 6, "hidden": 6 * heads, "ffn": 40, "vocab": 30}
    small, on = network.model_copy(update=sizes), archsim.load_design(design)
    for graph in (dataflow.prefill(small, prompt=7), dataflow.decode(small, context=9)):
        if design not in FOR_TERNARY and any(op.kind == "ternary_matmul" for op in graph.ops.values()):
            with pytest.raises(MappingError, match=r"no unit of .* does 'ternary_matmul'"):
                mappers.lower(graph, on, mapper="tiled")
        else:
            check(mappers.lower(graph, on, mapper="tiled"), seed=3)


def test_fused_groups_give_the_same_numbers() -> None:
    on = DESIGNS["systolic_two_level"]
    group = ["layer*.ffn_norm", "layer*.up", "layer*.gate", "layer*.silu", "layer*.down", "layer*.ffn_residual"]
    for rows in (1, 3, 7):
        design = on.with_({"mapping.fuse": [{"ops": group, "rows": rows}], "units.sram.capacity": "8 KiB"})
        check(mappers.lower(dataflow.prefill(MODELS["grouped"], prompt=7), design), seed=rows)
