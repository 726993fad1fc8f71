"""Graphs of video frames and of the questions about them, counted by hand."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest

from archsim import load_model
from dataflow import Graph, GraphError, Model, Vision, frame, prefill, question
from dataflow.mask import Mask

VIDEO = load_model("videollm_online_8b")
TOY = load_model("toy_video")


def macs(graph: Graph, *, start: str = "", kind: str | None = None) -> int:
    ops = (op for op in graph.ops.values() if op.name.startswith(start) and kind in (None, op.kind))
    return sum(op.work.counts().get("mac", 0) for op in ops)


def encoder_macs(*, side: int, patch: int, layers: int, hidden: int, ffn: int) -> int:
    """Multiply-adds of an encoder on one frame: L p (4 h^2 + 2 h f + 2 p h) in the layers, p h 3 s^2 before them."""
    p = (side // patch) ** 2
    return p * hidden * 3 * patch**2 + layers * p * (4 * hidden**2 + 2 * hidden * ffn + 2 * p * hidden)


# The published model --------------------------------------------------------------------------------------------------


def test_keys_and_values_of_a_token_are_128_kib() -> None:
    """Two of 8 heads x 128 in 2 bytes over 32 layers; ten tokens a frame."""
    graph = frame(VIDEO, context=50)
    assert graph.bytes_of("cache") == 50 * 131_072 == 50 * 2 * 8 * 128 * 2 * 32
    assert graph.tensors["layer31.k_cache.past"].shape == (40, 1024)
    assert graph.tensors["layer31.k_cache"].shape == (50, 1024)


def test_parameters_of_the_decoder_and_of_the_encoder() -> None:
    """8.03 B, 16.06 GB in BF16. Encoder: 24 x 12 x 1024^2 and 768 x 1024; connector: 1024 x 4096 and 4096^2."""
    decoder = VIDEO.model_copy(update={"vision": None}).parameters
    assert decoder == 8_029_995_008 == 32 * 218_103_808 + 2 * 128_256 * 4096
    assert decoder == load_model("llama3_8b").parameters
    assert prefill(VIDEO, prompt=1).bytes_of("weight", "lm_head", "embedding") == 16_059_990_016
    encoder, connector = 24 * 12 * 1024**2 + 768 * 1024, 1024 * 4096 + 4096**2
    assert VIDEO.parameters - decoder == encoder + connector == 323_747_840
    embedded = frame(VIDEO, context=10).bytes_of("weight", "lm_head") + 2 * 128_256 * 4096
    assert embedded == 2 * VIDEO.parameters


def test_the_encoder_s_work_on_one_frame() -> None:
    """576 patches of 768 numbers in 24 layers; ten rows through the connector; every patch sees every patch."""
    graph = frame(VIDEO, context=10)
    encoder = encoder_macs(side=384, patch=16, layers=24, hidden=1024, ffn=4096)
    assert macs(graph, start="vision.") == encoder + 10 * (1024 * 4096 + 4096 * 4096)
    assert encoder == 190_706_614_272
    assert graph.tensors["vision.pixels"].shape == (576, 768)
    attention = graph.ops["vision.layer23.attention"]
    assert (attention.work.pairs, attention.work["heads"], attention.work["qk_dim"]) == (576 * 576, 16, 64)
    assert attention.attributes["causal"] is False


@pytest.mark.parametrize("context", [10, 11, 40_000])
def test_the_decoder_s_work_on_one_frame(context: int) -> None:
    """Ten rows through the layers, one through the LM head; the pairs are those of ten queries after the cache."""
    graph = frame(VIDEO, context=context)
    assert macs(graph, start="layer", kind="matmul") == 10 * 6_979_321_856
    assert macs(graph, start="lm_head") == 128_256 * 4096
    pairs = sum(context - 10 + i for i in range(1, 11))
    assert macs(graph, start="layer", kind="attention") == 32 * 2 * pairs * 4096
    assert graph.ops["layer0.q_rope"].attributes["past"] == context - 10
    assert ("layer0.k_cache.past" in graph.tensors) == (context > 10)


# The toy: 4 patches of 12 numbers, width 6, 3 tokens a frame, connector 5, decoder of width 4 -------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_of_the_toy_s_frame(batch: int) -> None:
    graph = frame(TOY, context=10, batch=batch)
    shapes = {name: graph.tensors[name].shape for name in graph.ops if name.startswith(("vision.", "layer1."))}
    wide, rows = batch * 4, batch * 3
    of_layer = {
        "input_norm": 6, "q": 6, "k": 6, "v": 6, "attention": 6, "o": 6, "attention_residual": 6, "ffn_norm": 6,
        "up": 7, "gelu": 7, "down": 6, "ffn_residual": 6,
    }  # fmt: skip
    expected = {"vision.patch_embedding": (wide, 6)}
    for layer in range(2):
        expected |= {f"vision.layer{layer}.{name}": (wide, width) for name, width in of_layer.items()}
    expected |= {"vision.final_norm": (wide, 6), "vision.pool": (rows, 6)}
    expected |= {"vision.connect_in": (rows, 5), "vision.connect_gelu": (rows, 5), "vision.connect_out": (rows, 4)}
    decoder = {
        "input_norm": 4, "q": 4, "k": 2, "v": 2, "q_rope": 4, "k_rope": 2, "k_cache": 2, "v_cache": 2, "attention": 4,
        "o": 4, "attention_residual": 4, "ffn_norm": 4, "up": 6, "gate": 6, "silu": 6, "down": 4, "ffn_residual": 4,
    }  # fmt: skip
    expected |= {
        f"layer1.{name}": (batch * 10 if name.endswith("cache") else rows, width) for name, width in decoder.items()
    }
    assert shapes == expected
    assert list(shapes) == list(expected)
    assert graph.tensors["layer0.v_cache.past"].shape == (batch * 7, 2)
    assert graph.ops["vision.pool"].attributes == {"batch": batch, "tokens": 3}
    assert graph.ops["layer0.input_norm"].inputs == ("vision.connect_out", "layer0.input_norm.w")
    assert [name for name in graph.ops if "." not in name] == ["final_norm", "last_row", "lm_head"]
    assert graph.tensors["lm_head"].shape == (batch, 8)


def test_work_of_the_toy_s_frame() -> None:
    """flop: 4 patches x (5 norms x 6 x 6, 4 adds x 6, 2 GELUs x 8 x 7), pool 4 x 6, GELU 3 x 8 x 5; MACs as above."""
    graph = frame(TOY, context=10, batch=2)
    encoder = [op.work.counts() for op in graph.ops.values() if op.name.startswith("vision.")]
    assert sum(counts.get("flop", 0) for counts in encoder) == 2 * (4 * (180 + 24 + 112) + 24 + 120)
    by_hand = 4 * 12 * 6 + 2 * 4 * (4 * 36 + 2 * 42 + 2 * 4 * 6) + 3 * (6 * 5 + 5 * 4)
    assert macs(graph, start="vision.") == 2 * by_hand == 2 * 2646
    assert encoder_macs(side=4, patch=2, layers=2, hidden=6, ffn=7) == 2646 - 150
    assert sum(counts.get("exp", 0) for counts in encoder) == 2 * 2 * 16 * 3


def test_pixels_and_weights_say_what_they_are_to_memory() -> None:
    graph = frame(TOY, context=3, batch=2)
    role = {name: tensor.role for name, tensor in graph.tensors.items() if name.startswith("vision.")}
    assert role.pop("vision.pixels") == "input"
    assert {name for name, r in role.items() if r == "norm"} == {
        "vision.final_norm.w", *(f"vision.layer{i}.{n}_norm.w" for i in range(2) for n in ("input", "ffn"))
    }  # fmt: skip
    assert {name for name, r in role.items() if r == "weight"} == {
        f"{op.name}.w" for op in graph.ops.values() if op.kind == "matmul" and op.name.startswith("vision.")
    }
    assert "ids" not in graph.tensors
    stored = sum(prod(tensor.shape) for name, tensor in graph.tensors.items() if role.get(name) == "weight")
    assert stored == TOY.parameters - TOY.model_copy(update={"vision": None}).parameters


def test_an_encoder_of_a_ternary_network_is_ternary() -> None:
    graph = frame(TOY.model_copy(update={"weights": "ternary"}), context=3)
    mine = {op.name: op.kind for op in graph.ops.values() if op.name.startswith("vision.")}
    assert "matmul" not in mine.values()
    assert list(mine.values()).count("ternary_matmul") == 3 + 2 * 6 == list(mine.values()).count("dequantize")
    assert list(mine.values()).count("quantize") == 3 + 2 * 4
    assert mine["vision.patch_input"] == mine["vision.connect_out_input"] == "quantize"


# Phases ---------------------------------------------------------------------------------------------------------------


def test_what_a_frame_and_a_question_say_about_themselves() -> None:
    one, other = frame(TOY, context=9, batch=2), question(TOY, context=9, prompt=4, batch=2)
    assert (one.phase.name, one.phase.frames, other.phase.name, other.phase.frames) == ("frame", 2, "question", None)
    assert one.phase.facts() == {"prompt": None, "context": 9, "batch": 2, "mask": None}
    assert other.phase.facts() == {"prompt": 4, "context": 9, "batch": 2, "mask": None}
    assert other.phase.title() == ["question", "prompt 4", "context 9", "batch 2"]
    assert (one.tokens, other.tokens) == (6, 8)
    assert one.weight_bytes == other.weight_bytes == TOY.weight_bytes


@pytest.mark.parametrize("batch", [1, 3])
def test_a_question_stands_after_what_is_cached(batch: int) -> None:
    graph = question(TOY, context=9, prompt=4, batch=batch)
    assert graph.tensors["ids"].shape == (batch * 4,)
    assert graph.tensors["layer1.k_cache.past"].shape == (batch * 5, 2)
    assert graph.tensors["layer1.k_cache"].shape == (batch * 9, 2)
    assert graph.ops["layer1.k_rope"].attributes["past"] == 5
    assert graph.ops["layer1.attention"].work.pairs == batch * (6 + 7 + 8 + 9)
    assert graph.tensors["lm_head"].shape == (batch, 8)
    weights = TOY.layers * sum(n * k for n, k in TOY.linears.values())
    assert macs(graph, start="layer", kind="matmul") == batch * 4 * weights


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_and_questions_are_pieces_of_one_causal_triangle(batch: int) -> None:
    pieces = [frame(TOY, context=3, batch=batch), frame(TOY, context=6, batch=batch)]
    pieces.append(question(TOY, context=11, prompt=5, batch=batch))
    assert sum(piece.ops["layer0.attention"].work.pairs for piece in pieces) == batch * Mask().pairs(11, 11)


@pytest.mark.parametrize(
    "phase, asked, problems",
    [
        (frame, {"context": 2}, ["context: the 3 tokens of a frame attend to each other; expected 3 or more, got 2"]),
        (frame, {"context": 65}, ["context: model 'toy_video' takes 1 to 64 tokens, got 65"]),
        (
            frame, {"context": 0, "batch": 0},
            ["context: model 'toy_video' takes 1 to 64 tokens, got 0", "batch: at least one sequence, got 0"],
        ),
        (
            question, {"context": 3, "prompt": 4},
            ["context: the 4 tokens of the prompt attend to each other; expected 4 or more, got 3"],
        ),
        (
            question, {"context": 65, "prompt": 0},
            [
                "prompt: model 'toy_video' takes 1 to 64 tokens, got 0",
                "context: model 'toy_video' takes 1 to 64 tokens, got 65",
            ],
        ),
    ],
)  # fmt: skip
def test_tokens_that_cannot_be_are_refused(phase: Any, asked: dict[str, int], problems: list[str]) -> None:
    with pytest.raises(GraphError) as raised:
        phase(TOY, **asked)
    assert list(raised.value.problems) == problems


def test_the_least_and_the_most_that_fit_are_taken() -> None:
    assert frame(TOY, context=3).ops
    assert frame(TOY, context=64).ops
    assert question(TOY, context=64, prompt=64).ops


def test_a_model_without_vision_takes_no_frames() -> None:
    with pytest.raises(GraphError) as raised:
        frame(load_model("toy_llm"), context=3)
    assert str(raised.value) == "vision: model 'toy_llm' has none; a frame takes a model with a vision encoder"
    assert question(load_model("toy_llm"), context=3, prompt=2).ops


# Dimensions -----------------------------------------------------------------------------------------------------------


def written(**changes: int) -> dict[str, Any]:
    assert TOY.vision is not None
    return {**TOY.vision.model_dump(), **changes}


@pytest.mark.parametrize(
    "changes, key",
    [({"image": 5}, "image"), ({"heads": 4}, "hidden"), ({"frame_tokens": 5}, "frame_tokens"), ({"rows": 1}, "rows")],
)
def test_a_vision_that_contradicts_itself_is_refused(changes: dict[str, int], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Vision(**written(**changes))
    assert Vision(**written()) == TOY.vision


def test_an_assumed_path_leads_to_a_key_of_the_vision() -> None:
    fields = TOY.model_dump()
    for path in ("hidden", "vision", "vision.connector"):
        assert Model(**{**fields, "assumed": {path: "why"}}).assumed
    for path in ("vision.width", "hidden.connector", "vision.connector.wide", ""):
        with pytest.raises(ValueError, match="no such key in this file"):
            Model(**{**fields, "assumed": {path: "why"}})
    with pytest.raises(ValueError, match="no such key in this file"):
        Model(**{**fields, "vision": None, "assumed": {"vision": "why"}})


WEIGHTS = ("weight", "norm", "embedding", "lm_head")


@pytest.mark.parametrize("name", ["toy_video", "videollm_online_8b", "toy_llm", "bitnet_b158_large"])
def test_bytes_of_the_whole_model_are_those_of_all_its_phases(name: str) -> None:
    model = load_model(name)
    graphs = [prefill(model, prompt=2), *([frame(model, context=30)] if model.vision else [])]
    stored = {t.name: t.bytes for graph in graphs for t in graph.tensors.values() if t.role in WEIGHTS}
    assert model.weight_bytes == sum(stored.values())
    assert all(graph.weight_bytes == model.weight_bytes for graph in graphs)
