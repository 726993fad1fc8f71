"""Fused groups: ops that run together, some rows at a time; times and bytes by hand, the same numbers, refusals."""

from math import ceil

import pytest

import archsim
import dataflow
import mappers
from archsim import MappingError
from archsim.design.design import Design
from archsim.files.document import read_text
from archsim.mapping import Mapping
from dataflow import FORMATS, Graph, Tensor

ROWS, WIDE, INNER = 96, 64, 48

# Every rate is 1, one memory on chip and one outside; activations lie outside between ops.
NPU = """
name: npu
source: a test
clock: 1 MHz
mapping: {order: time}
units:
  mm:   {kind: matmul_array, macs_per_cycle: MACS}
  vec:  {kind: vector, ops: [relu, add, mul], lanes: 1}
  sram: {kind: memory, capacity: SRAM, bandwidth: 1 MB/cycle}
  dram: {kind: memory, capacity: 1 GiB, bandwidth: 1 MB/cycle}
paths: PATHS
home: {weight: dram, input: dram, activation: dram}
"""
BOTH = "{mm: [sram, dram], vec: [sram, dram]}"


def npu(*, macs: int = 64, sram: str = "1 MiB", paths: str = BOTH) -> Design:
    text = NPU.replace("MACS", str(macs)).replace("SRAM", sram).replace("PATHS", paths)
    return Design.read(read_text(text, path="npu.yaml"))


IDEAL = npu(paths="{mm: [], vec: []}")


def chain(rows: int = ROWS) -> Graph:
    """x w1, relu, times w2, plus x: x is read twice, the rest passes on."""
    bf16, graph = FORMATS["bf16"], Graph("chain")
    graph.add_tensor(Tensor("x", (rows, WIDE), bf16, "input"))
    graph.add_tensor(Tensor("w1", (INNER, WIDE), bf16, "weight"))
    graph.add_tensor(Tensor("w2", (WIDE, INNER), bf16, "weight"))
    graph.add("up", "matmul", ("x", "w1"), format=bf16)
    graph.add("act", "relu", ("up",), format=bf16)
    graph.add("down", "matmul", ("act", "w2"), format=bf16)
    graph.add("out", "add", ("down", "x"), format=bf16)
    return graph


OPS = ("up", "act", "down", "out")


def fused(design: Design, rows: int | None = None, ops: tuple[str, ...] = OPS, **more: object) -> Design:
    group = {"ops": list(ops)} | ({"rows": rows} if rows else {})
    return design.with_({"mapping.fuse": [group], **{f"mapping.{key}": value for key, value in more.items()}})


def by_hand(rows: int, at_once: int, *, macs: int, lags: dict[str, int]) -> int:
    """The end of the last op. An op begins a round when its unit is free, its rows are made, and a place is free.

    A place of as many as lie between its turn and that of its reader, two at least where it may run ahead.
    """
    unit = {"up": "mm", "down": "mm", "act": "vec", "out": "vec"}
    before = {"up": "", "act": "up", "down": "act", "out": "down"}
    reader = {"up": "act", "act": "down", "down": "out"}
    places = 2 if any(lags.values()) else 1
    each = {"up": WIDE * INNER, "down": WIDE * INNER, "act": INNER, "out": WIDE}
    rounds, free, ended = ceil(rows / at_once), {"mm": 0, "vec": 0}, {}
    for at in range(rounds + max(lags.values())):
        for op in OPS:
            done = at - lags[op]
            if 0 <= done < rounds:
                many = min(at_once, rows - done * at_once)
                cycles = ceil(many * each[op] / (macs if unit[op] == "mm" else 1))
                start = max(
                    free[unit[op]], ended.get((before[op], done), 0), ended.get((reader.get(op), done - places), 0)
                )  # fmt: skip
                free[unit[op]] = ended[op, done] = start + cycles
    return max(ended.values())


@pytest.mark.parametrize("macs", [16, 64, 1000])
@pytest.mark.parametrize("at_once", [1, 7, 16, 32, 60, 96])
def test_units_of_a_group_work_side_by_side(macs, at_once):
    on = npu(macs=macs, paths="{mm: [], vec: []}")
    report = mappers.run(fused(on, at_once), chain())
    assert report.cycles == by_hand(ROWS, at_once, macs=macs, lags={"up": 0, "act": 1, "down": 2, "out": 3})
    alone = mappers.run(on, chain())
    assert report.cycles <= alone.cycles
    if at_once == ROWS:  # one round, so one after another
        assert report.cycles == alone.cycles


def test_with_one_place_for_rows_nothing_runs_ahead():
    report = mappers.run(fused(IDEAL, 8, buffers=1), chain())
    assert report.cycles == by_hand(ROWS, 8, macs=64, lags=dict.fromkeys(OPS, 0)) > mappers.run(
        fused(IDEAL, 8), chain()
    ).cycles  # fmt: skip


def test_what_passes_within_a_group_leaves_the_chip_no_more():
    fewest = {"mapping.cost": "bytes"}
    apart, together = (mappers.run(on.with_(fewest), chain()) for on in (npu(), fused(npu(), 16)))
    made = {name: ROWS * width * 2 for name, width in (("up", INNER), ("act", INNER), ("down", WIDE), ("out", WIDE))}
    assert apart.traffic["dram"]["written", "activation"] == sum(made.values())
    assert apart.traffic["dram"]["read", "activation"] == made["up"] + made["act"] + made["down"]
    assert together.traffic["dram"]["written", "activation"] == made["out"]
    assert ("read", "activation") not in together.traffic["dram"]
    for report in (apart, together):  # both products keep their weights on chip
        assert report.traffic["dram"]["read", "weight"] == 2 * WIDE * INNER * 2
        assert report.traffic["dram"]["read", "input"] == 2 * ROWS * WIDE * 2


def test_rows_that_pass_lie_on_chip_in_as_many_places_as_the_turns_need():
    section = mappers.lower(chain(), fused(npu(), 16)).sections[0]
    lie = {s.name: (s.depth, s.bytes_per_token, s.memory) for s in section.streams if s.name.endswith(" rows")}
    assert lie == {
        "up > act rows": (2, 16 * INNER * 2, "sram"), "act > down rows": (2, 16 * INNER * 2, "sram"),
        "down > out rows": (2, 16 * WIDE * 2, "sram"),
    }  # fmt: skip
    three = mappers.lower(chain(), fused(npu(), 16, buffers=3)).sections[0]
    assert {s.depth for s in three.streams if s.name.endswith(" rows")} == {3}


@pytest.mark.parametrize("rows", [None, 5, 16, 96])
def test_a_group_is_part_of_the_mapping_and_runs_alike_again(rows):
    design, graph = fused(npu(), rows), chain()
    mapping = mappers.plan(graph, design)
    again = Mapping.read(read_text(mapping.written(), path="mapping.yaml"))
    planned, replayed = mappers.lower(graph, design), mappers.lower(graph, npu(), mapping=again)
    assert replayed.sections == planned.sections
    assert replayed.options["mapping"] is again
    [group] = again.fuse
    assert group.rows == rows or rows is None
    assert {again.ops[key].tile["m"] for key in ("up", "down")} == {group.rows}
    cycles = {archsim.simulate(planned, design, engine=engine).cycles for engine in ("simpy", "compiled")}
    assert len(cycles) == 1


def test_a_group_without_rows_takes_those_that_are_estimated_to_take_least():
    cycles = {rows: mappers.run(fused(npu(), rows), chain()).cycles for rows in (96, 48, 24, 12, 6, 3, 2)}
    assert mappers.run(fused(npu()), chain()).cycles <= 1.05 * min(cycles.values())


def test_a_group_that_has_no_room_is_refused():
    assert mappers.run(fused(npu(sram="16 KiB"), 8), chain()).cycles > 0
    with pytest.raises(MappingError, match=r"room in 'sram' asked"):
        mappers.run(fused(npu(sram="16 KiB"), 96), chain())


def test_a_group_of_each_layer():
    model = archsim.load_model("toy_video").model_copy(update={"hidden": 64, "ffn": 160, "layers": 3})
    design, graph = archsim.load_design("systolic_two_level"), dataflow.prefill(model, prompt=40)
    ops = ["layer*.up", "layer*.gate", "layer*.silu", "layer*.down", "layer*.ffn_residual"]
    on = fused(design, 8, tuple(ops))
    schedule = mappers.lower(graph, on)
    [layers] = [section for section in schedule.sections if section.repeat == 3]
    assert {"vector", "array"} <= set(layers.orders)
    report, apart = archsim.simulate(schedule, on), mappers.run(design, graph)
    moved = [one.traffic["dram"]["written", "activation"] for one in (report, apart)]
    assert moved[1] - moved[0] == 3 * 40 * (3 * 160 + 64) * 2  # up, gate, silu and down of three layers
    [told] = [told for told in report.approximated if "layer*.up" in told]
    assert told.startswith(f"fused: {', '.join(ops)}: 5 times 8 rows")


def gated(rows: int = ROWS) -> Graph:
    """Two products of one input, and what is made of both: no op needs whole rows."""
    bf16, graph = FORMATS["bf16"], Graph("gated")
    graph.add_tensor(Tensor("x", (rows, WIDE), bf16, "input"))
    for name in ("up", "gate"):
        graph.add_tensor(Tensor(f"{name}.w", (INNER, WIDE), bf16, "weight"))
        graph.add(name, "matmul", ("x", f"{name}.w"), format=bf16)
    graph.add("act", "relu", ("gate",), format=bf16)
    graph.add("out", "mul", ("act", "up"), format=bf16)
    return graph


GATED = ("up", "gate", "act", "out")


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(32, 16), (96, 5), (7, 48), (40, 20)])
def test_columns_are_cut_too_where_no_op_needs_whole_rows(rows, columns, outside):
    """Bytes by hand: x comes again for each part of the columns outside, weights for each part of the rows outside."""
    group, graph = {"ops": list(GATED), "rows": rows, "columns": columns}, gated()
    order = ["batch", *(("n", "m") if outside else ("m", "n")), "k"]
    own = npu().with_({"mapping.fuse": [group]})
    mapping = own.own_mapping("gated").with_({f"ops.{name}.order": order for name in ("up", "gate")} | {
        f"ops.{name}.tile.k": WIDE for name in ("up", "gate")})  # fmt: skip
    schedule = mappers.lower(graph, own, mapping=mapping)
    report = archsim.simulate(schedule, own)
    down, across = ceil(ROWS / rows), ceil(INNER / columns)
    moved = report.traffic["dram"]
    assert moved["read", "input"] == 2 * ROWS * WIDE * 2 * (across if outside and down > 1 else 1)
    assert moved["read", "weight"] == 2 * INNER * WIDE * 2 * (down if not outside and across > 1 else 1)
    assert moved["written", "activation"] == ROWS * INNER * 2
    assert ("read", "activation") not in moved
    again = mappers.lower(graph, npu(), mapping=mappers.plan(graph, own, mapping=mapping))
    assert again.sections == schedule.sections
    assert report.cycles == archsim.simulate(schedule, own, engine="simpy").cycles
    [section] = schedule.sections
    [passes] = [s for s in section.streams if s.name == "act > out rows"]
    assert (passes.bytes_per_token, passes.memory) == (rows * columns * 2, "sram")


def test_a_group_without_rows_may_cut_columns_where_that_takes_less():
    graph, small = gated(768), npu(sram="24 KiB")
    [chosen] = mappers.plan(graph, fused(small, None, GATED)).fuse
    assert chosen.columns is not None
    cycles = mappers.run(fused(small, None, GATED), graph).cycles
    assert cycles < mappers.run(small, graph).cycles
    for rows in (768, 384, 192, 96, 48, 24, 12):
        try:
            assert cycles <= 1.02 * mappers.run(fused(small, rows, GATED), graph).cycles
        except MappingError:  # so many whole rows have no room
            assert rows > 24


REFUSED = {
    "fuse.0.columns: 'down' sums over whole rows of what passes; leave columns out": ("act", "down"),
    "fuse.0: 'up' has 96 rows, 'other' 7; ops of a group share their outermost loop": (*OPS, "other"),
    "fuse.0: 'act' runs between 'up' and 'down'; name it too, or fewer ops": ("up", "down"),
    "fuse.0: 'act' would run alone": ("act",),
    "fuse.0.ops.1: names no op of 'chain'; did you mean 'down'": ("act", "dow"),
    "fuse.1: 'act' is in fuse.0 too; name it once": ("up", "act"),
    "ops.up.order: k turns outside m; ops of fuse.0 share their outermost loop": ("up", "act"),
    "ops.up.tile.m: 32, and fuse.0 turns by 16 rows; give rows: 32 there": ("up", "act"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_a_group_that_cannot_run_together_is_refused(told):
    graph, rows, more = chain(), 16, {}
    if "other" in told:
        graph.add_tensor(Tensor("y", (7, WIDE), FORMATS["bf16"], "input"))
        graph.add("other", "matmul", ("y", "w1"), format=FORMATS["bf16"])
    if "order" in told:
        more["ops.up.order"] = ["batch", "k", "m", "n"]
        more["ops.up.tile"] = {"m": 16, "k": 8}
    if "tile.m" in told:
        more["ops.up.tile.m"] = 32
    design = fused(npu(), rows, REFUSED[told])
    mapping = design.own_mapping("chain").with_(more) if more else None
    if "columns" in told:
        design = design.with_({"mapping.fuse": [{"ops": list(REFUSED[told]), "rows": rows, "columns": 64}]})
    if "fuse.1" in told:
        design = design.with_({"mapping.fuse": [{"ops": ["up", "act"]}, {"ops": ["act", "down"]}]})
    with pytest.raises(MappingError) as refused:
        mappers.run(design, graph, mapping=mapping)
    assert told in str(refused.value)


def test_attention_has_no_rows_that_pass_one_by_one():
    model = archsim.load_model("toy_video")
    on = fused(archsim.load_design("systolic_two_level"), None, ("layer*.attention", "layer*.o"))
    with pytest.raises(MappingError, match=r"'layer0\.attention' is attention, whose rows are not independent"):
        mappers.run(on, dataflow.prefill(model, prompt=8))


def test_more_rows_or_columns_than_there_are_are_all_of_them():
    """So that one mapping serves a prefill and its decode steps."""
    for ops, graph, parts in ((OPS, chain(), {"rows": ROWS}), (GATED, gated(), {"rows": ROWS, "columns": INNER})):
        many = {what: 50 * size for what, size in parts.items()}
        one, other = (npu().with_({"mapping.fuse": [{"ops": list(ops), **sizes}]}) for sizes in (parts, many))
        assert mappers.lower(graph, one).sections == mappers.lower(graph, other).sections


def test_a_mapping_of_the_design_may_be_about_other_graphs_too():
    others = {"mapping.fuse": [{"ops": ["layer*.up", "layer*.act"]}], "mapping.ops": {"layer*.q": {"buffers": 3}}}
    own = npu().with_(others)
    report = mappers.run(own, gated())
    assert "the design's mapping says ops.layer*.q, which this graph does not have" in str(report)
    with pytest.raises(MappingError, match=r"ops\.layer\*\.q: names no op of 'gated'"):
        mappers.run(npu(), gated(), mapping=own.own_mapping("other"))


def test_the_rows_of_a_group_are_set_and_swept_by_their_path():
    own = fused(npu(), 16)
    rows = mappers.sweep(own, chain(), over={"mapping.fuse.0.rows": [8, 32]})
    cycles = [mappers.run(fused(npu(), size), chain()).cycles for size in (8, 32)]
    assert [row["cycles"] for row in rows] == cycles
    changed = own.own_mapping("chain").with_({"fuse.0.rows": 8})
    assert changed.changed() == {"fuse.0.rows": 8}
    assert mappers.run(npu(), chain(), mapping=changed).cycles == cycles[0]
    for path in ("fuse.1.rows", "fuse.x.rows", "fuse.-1.rows"):
        with pytest.raises(archsim.InputError, match="no "):
            own.own_mapping("chain").with_({path: 8})


def test_the_shipped_groups_move_less_in_less_time():
    """As the file says of the whole model: 1.1 % less, .35 % less time; here of two layers and the head."""
    design, model = archsim.load_design("systolic_two_level"), archsim.load_model("llama2_7b")
    graph = dataflow.prefill(model.model_copy(update={"layers": 2}), prompt=512)
    apart, together = (mappers.run(design, graph, mapping=mapping) for mapping in (None, "llama_residuals"))
    moved = [sum(report.traffic["dram"].values()) for report in (apart, together)]
    assert moved[1] < 0.99 * moved[0]
    assert 0.99 < together.cycles / apart.cycles < 1


def test_a_group_of_two_kinds_of_layers_is_refused():
    """Each would be cut otherwise, and a mapping has one cut for a group."""
    graph = dataflow.Frame(context=8).graph(archsim.load_model("toy_video"))
    gpu = archsim.load_design("a100")
    both = gpu.own_mapping("both").with_({"fuse": [{"ops": ["*layer*.down", "*layer*.ffn_residual"]}]})
    told = r"fuse\.0: names 'vision\.layer0\.down' and 'layer0\.down', which repeat apart"
    with pytest.raises(MappingError, match=told):
        mappers.lower(graph, gpu, mapper="tiled", mapping=both)
    apart = [{"ops": [f"{family}*.down", f"{family}*.ffn_residual"]} for family in ("vision.layer", "layer")]
    schedule = mappers.lower(graph, gpu, mapper="tiled", mapping=gpu.own_mapping("apart").with_({"fuse": apart}))
    assert sum("fused" in told for told in schedule.approximated) == 2


@pytest.mark.parametrize(("key", "named", "other"), [("layer0", "layer0", "layer2"), ("layer[12]", "layer2", "layer0")])
def test_a_group_in_some_layers_of_several_is_refused(key, named, other):
    graph = dataflow.prefill(archsim.load_model("toy_video").model_copy(update={"layers": 3}), prompt=8)
    on = fused(archsim.load_design("systolic_two_level"), None, (f"{key}.up", f"{key}.gate"))
    told = rf"names '{named}\.up' and not '{other}\.up'; layers that repeat run alike; write layer\*\.up"
    with pytest.raises(MappingError, match=told):
        mappers.run(on, graph)


def test_what_is_read_by_way_of_a_part_is_refused():
    """The head reads the last row of the norm: none of its rows is one of the norm's."""
    graph = dataflow.decode(archsim.load_model("toy_video"), context=5)
    design = archsim.load_design("systolic_two_level").with_({"mapping.fuse": [{"ops": ["final_norm", "lm_head"]}]})
    with pytest.raises(MappingError, match="'lm_head' reads 'last_row', a part of what 'final_norm' makes"):
        mappers.lower(graph, design)
