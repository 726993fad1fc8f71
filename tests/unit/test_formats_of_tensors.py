"""Bytes of a tensor come from its own format, on every mapper; what an accelerator cannot hold is refused."""

import pytest

import archsim
import dataflow
import mappers
from archsim import MappingError
from dataflow import FORMATS
from dataflow.models.model import Model

BITNET = archsim.load_model("bitnet_b158_large").model_copy(update={"layers": 1})
VIDEO = archsim.load_model("toy_video")
RUNS = [
    ("tellme_kv260", BITNET), ("a100", BITNET), ("toy", archsim.load_model("toy_llm")), ("vrex8", VIDEO),
    ("systolic_two_level", VIDEO),
]  # fmt: skip


def of(model: Model, **formats: str) -> Model:
    return model.model_copy(update=formats)


@pytest.mark.parametrize("cache", ["int8", "fp16"])
@pytest.mark.parametrize("embedding", ["int8", "fp16", "fp32"])
@pytest.mark.parametrize(("design", "model"), RUNS, ids=[design for design, _ in RUNS])
def test_bytes_that_are_read_follow_the_format_of_each_tensor(design, model, cache, embedding) -> None:
    graph = dataflow.decode(of(model, cache=cache, embedding=embedding, lm_head="int8"), context=33)
    report = archsim.simulate(mappers.lower(graph, archsim.load_design(design)), archsim.load_design(design))
    memory = {"tellme_kv260": "ddr", "toy": "ddr"}.get(design, "dram")
    moved = report.traffic[memory]
    assert moved["read", "lm_head"] == graph.bytes_of("lm_head")
    assert moved["read", "embedding"] == graph.tensors["embedding"].shape[1] * FORMATS[embedding].bytes((1,))
    width = graph.tensors["layer0.k_cache"].shape[1]
    layers = sum(op.kind == "attention" for op in graph.ops.values())
    row = layers * 2 * width * FORMATS[cache].bytes((1,))
    assert moved["written", "cache"] == row
    # Retrieval attends to the new row where it is made; the others read all 33 of them.
    assert moved["read", "cache"] == (32 if design in ("a100", "vrex8") else 33) * row


@pytest.mark.parametrize("cache", ["int8", "fp16"])
@pytest.mark.parametrize("prompt", [8, 16])
def test_a_prefill_on_table_look_up_writes_its_cache_in_its_format(cache, prompt) -> None:
    on = archsim.load_design("tellme_kv260")
    report = mappers.run(on, of(BITNET, cache=cache), phase="prefill", prompt=prompt)
    assert report.traffic["ddr"]["written", "cache"] == prompt * 2 * 1536 * FORMATS[cache].bytes((1,))


@pytest.mark.parametrize(
    ("formats", "told"),
    [
        ({"cache": "fp32"}, "op 'layer0.attention': keys and values in fp32, activations in fp16; the attention"),
        ({"cache": "ternary"}, "op 'layer0.attention': keys and values in ternary, activations in fp16; the attention"),
        ({"activations": "fp32"}, "a vector of 16 activations in fp32; links.input.token_bits asked 512 bit, there is"),
    ],
)
def test_what_the_queues_and_engines_cannot_hold_is_refused(formats, told) -> None:
    with pytest.raises(MappingError) as refused:
        mappers.run(archsim.load_design("tellme_kv260"), of(BITNET, **formats), phase="decode", context=4)
    assert str(refused.value).startswith(told)
