"""A mapping as data: what is planned is written, read back, edited and used again."""

import pytest

import archsim
import dataflow
import mappers
from archsim import InputError, MappingError
from archsim.design.design import Design
from archsim.files.document import read_text, write
from archsim.mapping import Mapping, Room
from dataflow import frame
from dataflow.models.phases import graph_of, phase_named

ARRAY = archsim.load_design("systolic_two_level")
GEMM = archsim.load_workload("gemm:512x512x512")

NPU = """
name: npu
source: a test
clock: 1 GHz
mapper: tiled
units:
  array:  {kind: array, rows: 32, columns: 32, dataflow: output_stationary, folds: serial}
  pim:    {kind: matmul_array, macs_per_cycle: 64}
  vector: {kind: vector, ops: [embedding, rmsnorm, quantize, dequantize, add, mul, silu_mul, rope], lanes: 32}
  sram:   {kind: memory, capacity: SRAM, bandwidth: 128 B/cycle}
  dram:   {kind: memory, capacity: 32 GiB, bandwidth: 64 B/cycle}
place: [{kinds: [attention], unit: pim}, {kinds: [matmul], unit: UNIT}]
paths: {array: [sram, dram], pim: [sram, dram], vector: [sram, dram]}
home: {weight: dram, cache: dram, activation: [sram, dram]}
"""


# Small, so that plans are found at once.
SMALL = archsim.load_model("llama3_8b").model_copy(
    update={"layers": 2, "hidden": 512, "heads": 8, "kv_heads": 2, "head_dim": 64, "ffn": 1536, "vocab": 2000}
)


def npu(*, sram: str = "96 KiB", unit: str = "pim") -> Design:
    return Design.read(read_text(NPU.replace("SRAM", sram).replace("UNIT", unit), path="npu.yaml"))


TOY, TOY_VIDEO = archsim.load_design("toy_retrieval"), archsim.load_model("toy_video")


def step(phase: str, **fields: int):
    return graph_of(phase_named(phase, fields), SMALL)


def read_back(mapping: Mapping) -> Mapping:
    return Mapping.read(read_text(mapping.written(), path="mapping.yaml"))


CASES = {
    "product": (ARRAY, GEMM),
    "product that no tile divides": (ARRAY, archsim.load_workload("gemm:100x3x7")),
    "product of one row": (ARRAY, archsim.load_workload("gemm:1x4096x4096")),
    # Activations spill, so that the memory on chip is shared as serves best.
    "prefill beside activations": (npu(), step("prefill", prompt=128)),
    "decode": (npu(), step("decode", context=200)),
    "layers around a cache": (archsim.load_design("vrex8"), step("prefill", prompt=128)),
    "layers whose tiles are small": (TOY, frame(TOY_VIDEO, context=24)),
}


@pytest.mark.parametrize(("design", "graph"), CASES.values(), ids=CASES)
def test_a_planned_mapping_written_and_read_back_gives_the_same_schedule(design, graph):
    mapping = mappers.plan(graph, design)
    again = read_back(mapping)
    assert again.written() == mapping.written()
    planned, replayed = mappers.lower(graph, design), mappers.lower(graph, design, mapping=again)
    assert replayed.sections == planned.sections
    assert replayed.holds == planned.holds
    assert replayed.options["mapping"] is again
    assert archsim.simulate(replayed, design).cycles == archsim.simulate(planned, design).cycles


@pytest.mark.parametrize(("design", "graph"), CASES.values(), ids=CASES)
def test_a_plan_is_deterministic(design, graph):
    assert mappers.plan(graph, design).written() == mappers.plan(graph, design).written()


def test_how_memories_are_shared_is_part_of_the_mapping():
    design, graph = CASES["prefill beside activations"]
    mapping = mappers.plan(graph, design)
    assert mapping.room == Room(kept="1/3", piece="7/8", places=1)
    planned = mappers.lower(graph, design, mapping=mapping)
    # Of tiles that are given more room is left, which other ops then take.
    assert mappers.lower(graph, design, mapping=mapping.with_({"room": None})).sections != planned.sections


def test_more_room_is_kept_where_the_smallest_tiles_need_it():
    assert mappers.plan(step("prefill", prompt=64), npu(sram="48 KiB")).room == Room(kept="2/3", piece="7/8", places=1)


def test_ops_that_repeat_in_layers_have_one_entry():
    mapping = mappers.plan(step("decode", context=20), npu())
    assert {"layer*.q", "layer*.down", "lm_head"} < set(mapping.ops)
    assert not [key for key in mapping.ops if key.startswith("layer0")]


def test_a_key_with_dots_is_edited_by_its_path():
    design, graph = npu(), step("decode", context=20)
    mapping = mappers.plan(graph, design)
    edited = mapping.with_({"ops.layer*.q.tile.k": 16, "ops.layer*.q.ahead": "op"})
    assert (edited.ops["layer*.q"].tile["k"], edited.ops["layer*.q"].ahead) == (16, "op")
    assert edited.ops["layer*.k"] == mapping.ops["layer*.k"]
    assert str(edited) == f"{mapping.name} (ops.layer*.q.tile.k=16, ops.layer*.q.ahead=op)"
    assert str(read_back(edited)) == str(edited)
    used = mappers.lower(graph, design, mapping=edited)
    assert used.options["mapping"] is edited
    with pytest.raises(MappingError, match=r"ops\.layer\*\.z: names no op of"):
        mappers.lower(graph, design, mapping=mapping.with_({"ops.layer*.z.tile.m": 16}))


def test_edits_change_the_cycles():
    mapping = mappers.plan(GEMM, ARRAY)
    turned = {"ops.gemm.order": ["batch", "m", "n", "k"], "ops.gemm.tile.k": 64}
    changes = ({}, {"ops.gemm.tile.m": 8}, {"ops.gemm.buffers": 1}, turned)
    cycles = [mappers.run(ARRAY, GEMM, mapping=mapping.with_(change)).cycles for change in changes]
    assert len(set(cycles)) == len(changes)
    assert cycles[0] == mappers.run(ARRAY, GEMM).cycles
    assert min(cycles[1:3]) > cycles[0]


def test_an_op_that_the_mapping_does_not_name_is_mapped():
    design, graph = npu(), step("decode", context=20)
    whole = mappers.plan(graph, design)
    data = {**whole.document.data, "ops": {"layer*.q": whole.document.data["ops"]["layer*.q"]}}
    for left_out in ({}, {"room": None}):
        part = Mapping.read(read_text(write({**data, **left_out}), path="part.yaml"))
        completed = mappers.plan(graph, design, mapping=part)
        assert set(completed.ops) == set(whole.ops)
        assert completed.ops["layer*.q"] == whole.ops["layer*.q"]
        assert (completed.name, completed.source) == (whole.name, whole.source)
        assert completed.room is not None


def test_a_mapping_is_used_on_another_design_or_refused_with_the_reason():
    mapping = mappers.plan(GEMM, ARRAY)
    larger = ARRAY.with_({"units.sram.capacity": "4 MiB"})
    assert mappers.run(larger, GEMM, mapping=mapping).cycles == mappers.run(ARRAY, GEMM).cycles
    smaller = ARRAY.with_({"units.sram.capacity": "64 KiB"})
    with pytest.raises(MappingError, match=r"op 'gemm': its tile of .* room in 'sram' asked .*a smaller tile"):
        mappers.run(smaller, GEMM, mapping=mapping)
    assert mappers.run(smaller, GEMM).cycles > 0


def test_a_mapping_names_the_unit_where_the_design_leaves_it_open():
    two = npu().with_({"place": [{"kinds": ["attention"], "unit": "pim"}]})
    graph = step("decode", context=20)
    with pytest.raises(MappingError, match="pim"):
        mappers.plan(graph, two)
    schedule = mappers.lower(graph, two, mapping=mappers.plan(graph, npu(unit="array")))
    assert {t.unit for s in schedule.sections for t in s.tasks if t.name == "q"} == {"array"}


def test_a_mapper_without_a_mapping_is_refused():
    machine = archsim.load_design("tellme_kv260")
    graph = dataflow.decode(archsim.load_model("bitnet_b158_large").model_copy(update={"layers": 1}), context=3)
    told = "mapper 'table_lookup' takes no mapping; mappers that take one: retrieval, spatial, tiled"
    with pytest.raises(InputError, match=told):
        mappers.plan(graph, machine)
    with pytest.raises(InputError, match=told):
        mappers.lower(graph, machine, mapping=mappers.plan(GEMM, ARRAY))
    with pytest.raises(InputError, match=told):
        mappers.sweep(machine, graph, over={"mapping.ops.q.tile.m": [1]})
    both = machine.with_({"mapping": {"buffers": 3}})
    with pytest.raises(MappingError, match="mapper 'table_lookup', which the design names, takes no mapping"):
        mappers.lower(graph, both)


def test_nodes_have_no_more_to_map_than_their_order():
    machine, graph = archsim.load_design("streaming_machine"), dataflow.attention(queries=2, keys=4, head_dim=4)
    with pytest.raises(MappingError, match="mapper 'spatial' chooses nothing on 'streaming_machine'"):
        mappers.plan(graph, machine)
    with pytest.raises(MappingError, match=r"mapping\.buffers: on nodes each expression has a node of its own"):
        mappers.lower(graph, machine.with_({"mapping.buffers": 3}))
    with pytest.raises(MappingError, match="on nodes each expression has a node of its own"):
        mappers.lower(graph, machine, mapping=mappers.plan(GEMM, ARRAY))


def test_a_mapping_is_given_by_name_and_path(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(mappers.plan(GEMM, ARRAY).written())
    assert mappers.run(ARRAY, GEMM, mapping=str(path)).cycles == mappers.run(ARRAY, GEMM).cycles
    assert mappers.load_mapping("gemm_4096").ops["gemm"].unit == "array"
    with pytest.raises(InputError, match="mapping: expected a Mapping, a shipped name or a path, got 3"):
        mappers.run(ARRAY, GEMM, mapping=3)


def test_sweeps_edit_the_mapping_that_is_given_or_planned():
    given = mappers.plan(GEMM, ARRAY).with_({"ops.gemm.buffers": 1})
    over = {"mapping.ops.gemm.tile.m": [32, 64, 513]}
    planned = mappers.sweep(ARRAY, GEMM, over=over)
    edited = mappers.sweep(ARRAY, GEMM, over=over, mapping=given)
    for rows, mapping in ((planned, ARRAY.own_mapping(GEMM.name)), (edited, given)):
        for row in rows[:2]:
            change = {"ops.gemm.tile.m": row.settings["mapping.ops.gemm.tile.m"]}
            assert row["cycles"] == mappers.run(ARRAY, GEMM, mapping=mapping.with_(change)).cycles
        assert "513 of an extent of 512" in rows[2].problem
    names = mappers.sweep(ARRAY, GEMM, over={"mapping": [given, mappers.plan(GEMM, ARRAY)]})
    cycles = [mappers.run(ARRAY, GEMM, mapping=mapping).cycles for mapping in (given, mappers.plan(GEMM, ARRAY))]
    assert [row["cycles"] for row in names] == cycles
    for over in ({"mapping": ["gemm_409"]}, {"mapping.ops.gemm.tyle.m": [1]}, {"mapping": [3]}):
        with pytest.raises(InputError, match=r"^mapping"):
            mappers.sweep(ARRAY, GEMM, over=over, **({} if "mapping" in over else {"mapping": given}))


def test_parts_are_read_and_written_exactly():
    room = Room(kept="2/6", piece=1, places=1)
    assert room.written() == {"kept": "1/3", "piece": 1, "places": 1}
    for wrong in ("0/3", "4/3", "1/0", 0.5, 0, 2, True, "a third", None):
        with pytest.raises(ValueError, match="expected a part such as 1/3"):
            Room(kept=wrong, piece=1, places=1)


@pytest.mark.parametrize("change", [{"tile": "whole"}, {"tile": {"m": 8}}, {"cost": "bytes"}])
def test_what_is_set_and_changes_nothing_is_refused(change):
    whole = mappers.plan(GEMM, ARRAY)
    with pytest.raises(MappingError, match="every product has a tile and an order of its own"):
        mappers.lower(GEMM, ARRAY, mapping=whole.with_(change))
    large = ARRAY.with_({"units.sram.capacity": "4 MiB"})
    assert mappers.run(large, GEMM, mapping=large.own_mapping(GEMM.name).with_({"buffers": 1, **change})).cycles > 0
    assert mappers.run(ARRAY, GEMM, mapping=whole.with_({"buffers": 1})).cycles > mappers.run(ARRAY, GEMM).cycles
