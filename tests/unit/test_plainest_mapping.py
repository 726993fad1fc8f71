"""Ops one after another, whole: counted by hand on the toy; exact figures of the table-lookup accelerator; laws."""

import pytest

import archsim
import mappers
from dataflow.op import computes

TOY, TOY_LLM = archsim.load_design("toy"), archsim.load_model("toy_llm")
TELLME, BITNET = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")

# Decode at a context of 3: every op in order as (bytes loaded before it, cycles of its own). Two bytes an activation,
# 5/3 bit a weight rounded up once per matrix.
BEFORE = [(4 * 2, 4)]  # embedding: one row of 4
LAYER = [
    (4 * 2, 4), (0, 4),  # input norm and its weights, quantise
    (4, 16), (0, 4),  # q 4 x 4 and its scale
    (2, 8), (0, 2),  # k 2 x 4
    (2, 8), (0, 2),  # v 2 x 4
    (0, 4), (0, 2),  # rope of q and k
    (1 * 2 * 2 + 2 * 3 * 2 * 2, 2 * 3 * 2 * 2),  # the new key row is stored, the caches read; q k and p v for 2 heads
    (4 * 2, 4), (0, 4),  # norm before o, quantise
    (4, 16), (0, 4), (0, 4),  # o, scale, residual
    (4 * 2, 4), (0, 4),  # ffn norm, quantise
    (5, 24), (0, 6), (5, 24), (0, 6), (0, 6),  # up and gate 6 x 4, their scales, SiLU
    (6 * 2, 6), (0, 6),  # norm before down, quantise
    (5, 24), (0, 4), (0, 4),  # down, scale, residual
]  # fmt: skip
AFTER = [(4 * 2, 4), (8 * 4, 8 * 4)]  # final norm, LM head of 8 x 4 in INT8


def test_toy_decode_counted_by_hand():
    report = mappers.run(TOY, TOY_LLM, phase="decode", context=3)
    layer = sum(load + own for load, own in LAYER)
    assert [cycles for _, _, cycles in report.sections] == [12, layer, 8 + 4 + 32 + 32]
    assert report.cycles == sum(load + own for load, own in BEFORE + 2 * LAYER + AFTER)
    assert report.bytes_moved("ddr", "read") == 8 + 2 * (8 + 4 + 2 + 2 + 24 + 8 + 4 + 8 + 5 + 5 + 12 + 5) + 8 + 32
    assert report.bytes_moved("ddr", "written") == 2 * 2 * 2 * 2
    assert report.energy_joules is None
    assert report.power_watts is None


def test_loads_ahead_hide_each_load_behind_the_op_before():
    report = mappers.run(TOY.with_({"mapping.ahead": "next_op"}), TOY_LLM, phase="decode", context=3)
    single = mappers.run(TOY, TOY_LLM, phase="decode", context=3)
    # The last section: the norm's 8 bytes, the head's 32 beside the norm's 4 cycles, then the head.
    assert report.sections[-1][2] == 8 + 32 + 32
    assert report.cycles < single.cycles


def test_energy_is_the_sum_of_what_is_counted():
    energy = {
        "units.mm.energy": {"mac": "1 J", "exp": "0 J"},
        "units.vec.energy": {"flop": "2 J"},
        "units.ddr.energy": {"read": "3 J", "written": "4 J"},
    }
    report = mappers.run(TOY.with_(energy), TOY_LLM, phase="decode", context=3)
    counts = mappers.lower(dataflow_decode(3), TOY).counts()
    joules = counts["mac"] + 2 * counts["flop"] + 3 * counts["read"] + 4 * counts["written"]
    assert report.energy_joules == joules
    assert report.units["mm"].energy_joules == counts["mac"]


def dataflow_decode(context, model=TOY_LLM):
    import dataflow

    return dataflow.decode(model, context=context)


@pytest.mark.parametrize("phase", [{"phase": "prefill", "prompt": 8}, {"phase": "decode", "context": 9}])
def test_weight_bytes_of_a_pass_are_exact(phase):
    report = mappers.run(TELLME, BITNET, **phase)
    assert report.traffic["ddr"]["read", "weight"] == 175_279_104


def test_macs_of_a_token_are_exact():
    report = mappers.lower(dataflow_decode(1, BITNET), TELLME)
    ternary = sum(
        item["m"] * item["k"] * item["n"] * n * section.repeat
        for section in report.sections
        for task in section.tasks
        for item, n in task.work.counted(task.firings)
        if item.kind == "ternary_matmul"
    )
    assert ternary == 679_477_248


def test_blocks_are_padded_to_the_stored_layout():
    section = mappers.lower(dataflow_decode(1, BITNET), TELLME).sections[1]
    taken = {}
    for task in section.tasks:
        if task.unit == "tlmm":
            taken[task.name] = sum(item["d"] * n for item, n in task.work.counted(task.firings) if item.kind == "take")
    assert taken["q.lookup"] == 1596
    assert taken["down.lookup"] == 4116


def test_tables_and_buffer_have_the_published_size():
    tlmm, buffer = TELLME.units["tlmm"], TELLME.units["weight_buffer"]
    assert tlmm.table_bits == 120_960
    assert tlmm.block_inputs * tlmm.readers_per_table == 1344
    assert buffer.resources()["uram"] == 48
    used = {resource: float(TELLME.used(resource)) for resource in TELLME.resources.budget}
    assert used == {"lut": 98_303, "ff": 136_721, "dsp": 610, "bram36": 98.5, "uram": 60}


@pytest.mark.parametrize("order", ["reversed", "plain"])
@pytest.mark.parametrize("prompt, steps", [(8, {"reversed": 8, "plain": 8}), (13, {"reversed": 24, "plain": 32}),
                                           (128, {"reversed": 1088, "plain": 2048})])  # fmt: skip
def test_attention_steps(prompt, steps, order):
    import dataflow

    schedule = mappers.lower(dataflow.prefill(BITNET, prompt=prompt), TELLME, attention_order=order)
    (attend,) = [t for t in schedule.sections[1].tasks if t.name == "attention"]
    counted = sum(n for item, n in attend.work.counted(attend.firings) if item.kind == "attention")
    assert counted == steps[order]
    (served,) = attend.serves
    assert len(list(served.slices())) == counted


@pytest.mark.parametrize("design, model", [(TOY, TOY_LLM), (TELLME, BITNET)], ids=["toy", "tellme"])
@pytest.mark.parametrize("phase", [("prefill", 5), ("decode", 5)])
def test_every_op_is_served_and_every_computing_firing_has_its_slice(design, model, phase):
    import dataflow

    name, tokens = phase
    graph = dataflow.prefill(model, prompt=tokens) if name == "prefill" else dataflow.decode(model, context=tokens)
    schedule = mappers.lower(graph, design)
    for section in schedule.sections:
        for task in section.tasks:
            for served in task.serves:
                if served.tiles:
                    computing = sum(n for item, n in task.work.counted(task.firings) if computes(item))
                    assert len(list(served.slices())) == computing
                    assert served.ops
    asked, done = graph.counts(), schedule.counts()
    for what, n in asked.items():
        assert done[what] == n + schedule.recomputed.get(what, 0)


def test_two_lowerings_are_the_same():
    assert mappers.lower(dataflow_decode(7, BITNET), TELLME) == mappers.lower(dataflow_decode(7, BITNET), TELLME)


def test_stalls_add_up_and_parts_add_up():
    report = mappers.run(TELLME, BITNET, phase="decode", context=16)
    for unit in report.units.values():
        assert unit.total_cycles == unit.count * report.cycles
        assert sum(unit.waits.values()) == unit.starved_cycles + unit.blocked_cycles
    assert sum(report.parts.values()) == report.cycles
    assert report.cycles >= report.lower_bound_cycles


def any_graph():
    import dataflow

    graph = dataflow.Graph("pair")
    graph.add_tensor(dataflow.Tensor("x", (3, 4), dataflow.FORMATS["fp16"], "input"))
    graph.add_tensor(dataflow.Tensor("w", (5, 4), dataflow.FORMATS["int8"], "weight"))
    graph.add("y", "matmul", ("x", "w"), format=dataflow.FORMATS["fp32"])
    return graph


def test_any_graph_runs_one_by_one():
    report = archsim.simulate(mappers.lower(any_graph(), TOY), TOY)
    assert report.cycles == 5 * 4 + 3 * 4 * 5
    assert report.tokens is None
    assert report.tokens_per_second is None
    assert "no tokens" in str(report)


def test_a_graph_that_is_no_decoder_is_refused_by_the_table_lookup_accelerator():
    with pytest.raises(archsim.MappingError, match=r"has no op 'layer0\.q'"):
        mappers.lower(any_graph(), TELLME)
