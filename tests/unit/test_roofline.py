"""The roofline: compulsory work over peak rates, by hand and never above what a run takes."""

import pytest

import archsim
import dataflow
import mappers
from archsim import Design
from archsim.files.document import read_text
from dataflow import FORMATS, Graph, Tensor

HAND = """\
name: hand
source: counted by hand
clock: 1 MHz
mapping: {order: time, tile: whole, buffers: 1, ahead: op}
units:
  mm: {kind: matmul_array, macs_per_cycle: 1024}
  ddr: {kind: memory, capacity: 1 MiB, bandwidth: 64 B/cycle, request_bytes: 64 B, request_overhead: 1 cycles}
"""


def cube(size: int) -> Graph:
    graph = Graph("cube")
    graph.add_tensor(Tensor("x", (size, size), FORMATS["fp16"], "input"))
    graph.add_tensor(Tensor("w", (size, size), FORMATS["fp16"], "weight"))
    graph.add("y", "matmul", ("x", "w"), format=FORMATS["fp16"])
    return graph


def test_a_product_row_by_row_is_as_far_from_the_roofline_as_its_load_takes() -> None:
    design = Design.read(read_text(HAND, path="hand.yaml"))
    report = archsim.simulate(mappers.lower(cube(512), design), design)
    # 512^3 MACs at 1024 a cycle; before them 512 KiB in requests of 64 B, each a cycle of bytes and one of overhead.
    assert report.roofline == (131_072, "mm")
    assert report.cycles == 131_072 + 2 * 8192
    assert "roofline    at least 131 ms, 89% of the time, with these ops on these units; the work" in str(report)


def test_a_memory_that_is_slower_than_the_array_is_the_roofline() -> None:
    design = Design.read(read_text(HAND, path="hand.yaml")).with_({"units.ddr.bandwidth": "1 B/cycle"})
    report = archsim.simulate(mappers.lower(cube(64), design), design)
    assert report.roofline == (64 * 64 * 2, "ddr")
    assert "compulsory bytes over the peak rate of ddr" in str(report)


def test_servers_share_the_work() -> None:
    design = Design.read(read_text(HAND, path="hand.yaml")).with_({"units.mm.count": 4})
    report = archsim.simulate(mappers.lower(cube(512), design), design)
    assert report.roofline == (131_072 // 4, "mm")


def test_the_table_lookup_accelerator_reads_its_weights_far_below_the_peak() -> None:
    design, model = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")
    report = mappers.run(design, model, phase="decode", context=128)
    graph = dataflow.decode(model, context=128)
    stored = graph.bytes_of("weight", "lm_head") + 24 * 2 * 127 * 1536 * 2  # and the keys and values of 127 tokens
    assert report.roofline == (-(-stored * 250_000_000 // 17_100_000_000), "ddr")
    assert 0.29 < report.roofline[0] / report.cycles < 0.30


RUNS = [
    ("toy", "toy_llm", {"phase": "decode", "context": 16}), ("toy", "toy_llm", {"phase": "prefill", "prompt": 8}),
    ("toy_retrieval", "toy_video", {"phase": "frame", "context": 40}),
    ("tellme_kv260", "bitnet_b158_large", {"phase": "prefill", "prompt": 40}),
    ("a100", "llama3_8b", {"phase": "decode", "context": 512}),
    ("a100", "llama3_8b", {"phase": "prefill", "prompt": 16, "mapper": "tiled"}),
    ("vrex8", "videollm_online_8b", {"phase": "frame", "context": 1010}),
    ("vrex8", "videollm_online_8b", {"phase": "decode", "context": 9000, "selection": archsim.load_selection("quest")}),
    ("vrex48", "llama3_8b", {"phase": "question", "context": 4000, "prompt": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("design", "model", "asked"), RUNS)
def test_no_run_beats_its_roofline(design, model, asked) -> None:
    report = mappers.run(archsim.load_design(design), archsim.load_model(model), **asked)
    assert report.roofline is not None
    assert 0 < report.roofline[0] <= report.cycles


def test_where_no_unit_does_an_op_whole_and_no_memory_is_read_there_is_none() -> None:
    machine, model = archsim.load_design("streaming_machine"), archsim.load_model("toy_llm")
    report = mappers.run(machine, model, phase="attention", prompt=4, context=4)
    assert report.roofline is None
    assert "roofline" not in str(report)


def test_a_phase_of_many_steps_has_none() -> None:
    toy, model = archsim.load_design("toy"), archsim.load_model("toy_llm")
    report = mappers.run(toy, model, phase="generate", prompt=2, tokens=3)
    assert report.roofline is None
