"""Paths, homes and rules of placement: what a design says decides where bytes come from; names and orders never do."""

import pytest
import yaml

import archsim
import dataflow
import mappers
from archsim import Design, MappingError
from archsim.check import check_file
from archsim.files.document import read_text
from archsim.report.report import Report
from archsim.units import Memory
from contracts.renamed import renamed
from dataflow import FORMATS, Graph, Schedule, Tensor
from dataflow.role import Role
from mappers import MAPPERS
from mappers.build import OpBuilder
from mappers.build.pieces import SLACK, best_size, cut
from mappers.build.placement import unit_for, way_in

HEAD = """\
name: hand
source: counted by hand
clock: 1 MHz
mapping: {order: time, tile: whole, buffers: 1, ahead: op}
units:
  mm: {kind: matmul_array, macs_per_cycle: 1}
  vec: {kind: vector, ops: [embedding, rmsnorm, quantize, dequantize, add, silu_mul, rope], lanes: 1}
  sram: {kind: memory, capacity: 512 B, bandwidth: 2 B/cycle}
  bus: {kind: channel, bandwidth: 4 B/cycle}
  ddr: {kind: memory, capacity: 1 MiB, bandwidth: 1 B/cycle}
"""
SEARCHED = {"mapping": {"order": "time"}}
PATHS = "paths: {mm: [sram, bus, ddr], vec: [sram, bus, ddr]}\n"
HOME = "home: {weight: ddr, cache: ddr}\n"
MODELS = {name: archsim.load_model(name) for name in ("toy_llm", "toy_video", "bitnet_b158_large", "llama3_8b")}


def design(*more: str) -> Design:
    return Design.read(read_text(HEAD + "".join(more), path="hand.yaml"))


def product(k: int, n: int, *, role: str = "weight") -> Graph:
    """One row times an FP16 matrix n x k, of 2 k n bytes."""
    graph = Graph("product")
    graph.add_tensor(Tensor("x", (1, k), FORMATS["fp16"], "input"))
    graph.add_tensor(Tensor("w", (n, k), FORMATS["fp16"], role))
    graph.add("y", "matmul", ("x", "w"), format=FORMATS["fp16"])
    return graph


def run(graph: Graph, on: Design, **asked) -> Report:
    return archsim.simulate(mappers.lower(graph, on, **asked), on)


def test_weights_come_from_their_home_hop_by_hop() -> None:
    # Tiles of one weight: each takes 2 cycles on ddr, and less elsewhere, so that 128 of them take 256; the last one
    # then takes a cycle on the bus, and one in sram while the array works on it.
    report = run(product(8, 16), design(PATHS, HOME).with_(SEARCHED))
    assert report.cycles == 256 + 1 + 1
    assert [report.traffic[name] for name in ("ddr", "sram")] == 2 * [{("read", "weight"): 256}]
    assert report.carried["bus"] == {"weight": 256}


def test_a_home_on_chip_is_read_there() -> None:
    # Over one hop the matrix is loaded whole, 256 B at 2 B a cycle, and the row of 128 MACs follows.
    report = run(product(8, 16), design(PATHS, "home: {weight: sram}\n"))
    assert report.cycles == 128 + 128
    assert (report.bytes_moved("sram", "read"), report.bytes_moved("ddr", "read")) == (256, 0)


@pytest.mark.parametrize("more", ["paths: {mm: []}\n", PATHS + "home: {cache: ddr}\n"], ids=["ideal", "no home"])
def test_an_ideal_memory_and_a_role_without_a_home_move_no_bytes_and_the_report_says_so(more) -> None:
    report = run(product(8, 16), design(more))
    assert report.cycles == 128
    assert [report.bytes_moved(name, "read") for name in ("ddr", "sram")] == [0, 0]
    assert "bytes of an ideal memory, or of roles without a home" in str(report)
    assert "256" in str(report)


def test_paths_and_homes_differ_by_role() -> None:
    by_role = "paths: {mm: {cache: [ddr], default: [sram, bus, ddr]}}\n"
    on = design(by_role, HOME)
    assert way_in(on, "mm", Role.CACHE) == ("ddr",)
    assert way_in(on, "mm", Role.WEIGHT) == way_in(on, "mm", Role.LM_HEAD) == ("ddr", "bus", "sram")
    assert way_in(on, "mm", Role.ACTIVATION) == ()
    assert way_in(design(PATHS, "home: {weight: ddr, lm_head: sram}\n"), "mm", Role.LM_HEAD) == ("sram",)
    assert way_in(archsim.load_design("a100"), "gpu", Role.WEIGHT) == ("dram", "buffer")


RULES = [
    ("{unit: two}", True),
    ("{unit: two, kinds: [matmul]}", True),
    ("{unit: two, kinds: [attention]}", False),
    ("{unit: two, ops: ['layer*.q', y]}", True),
    ("{unit: two, ops: ['layer*']}", False),
    ("{unit: two, roles: [weight, cache]}", True),
    ("{unit: two, roles: [expert]}", False),
    ("{unit: two, phase: decode}", False),
    ("{unit: two, extents: {n: {below: 17}}}", True),
    ("{unit: two, extents: {n: {below: 16}}}", False),
    ("{unit: two, extents: {n: {from: 16, below: 17}, k: {from: 8}}}", True),
    ("{unit: two, extents: {n: {from: 17}}}", False),
]


@pytest.mark.parametrize(("rule", "holds"), RULES, ids=[rule for rule, _ in RULES])
def test_the_first_rule_that_matches_places_an_op(rule, holds) -> None:
    two = HEAD.replace("  vec:", "  two: {kind: matmul_array, macs_per_cycle: 2}\n  vec:")
    on = Design.read(read_text(f"{two}place: [{rule}, {{unit: mm}}]\n", path="two.yaml"))
    graph = product(8, 16)
    assert unit_for(on, "matmul", "op 'y'", op=graph.ops["y"], graph=graph) == ("two" if holds else "mm")


AMBIGUOUS = {
    "two units": (
        HEAD.replace("  vec:", "  two: {kind: matmul_array, macs_per_cycle: 2}\n  vec:") + PATHS + HOME,
        "op 'y': 'mm' and 'two' do 'matmul', and no rule under place tells them apart; ways out: place: [{kinds: "
        "[matmul], unit: mm}] in the design, place: [{kinds: [matmul], unit: two}] in the design",
    ),
    "two memories": (
        HEAD,
        "op 'y': 'sram' and 'ddr' are memories, and no path says which of them 'mm' reads; ways out: paths: {mm: "
        "[sram, ddr]} "
        "in the design, from the unit outward",
    ),
    "no home": (
        HEAD + PATHS,
        "op 'y': 'sram' and 'ddr' stand on the path of 'mm', and no home says which holds weight; ways out: home: "
        "{weight: "
        "ddr} in the design",
    ),
    "no path": (
        HEAD + "paths: {vec: [ddr]}\n",
        "op 'y': 'mm' reads weight, and no path says through which memories; ways out: paths: {mm: [a memory on chip, "
        "the "
        "main memory]} in the design, paths: {mm: []} for an ideal memory",
    ),
    "home off the path": (
        HEAD + "paths: {mm: [sram], vec: [ddr]}\n" + HOME,
        "op 'y': the path of 'mm' for weight is [sram], and the home of weight is 'ddr'; ways out: home: {weight: "
        "sram} in the "
        "design, a path of 'mm' to 'ddr'",
    ),
    "memory on chip of 1 B": (
        HEAD.replace("512 B", "1 B") + PATHS + HOME,
        "op 'y': its tile of batch 1, m 1, k 8, n 16 has no room with buffers: 1; room in 'sram' asked 256 B, "
        "there is 1 B; ways out: a smaller tile, fewer buffers, a larger capacity",
    ),
    "home too small": (
        HEAD.replace("512 B", "255 B") + PATHS + "home: {weight: sram}\n",
        "'product': 'sram' is to hold weight 256 B; units.sram.capacity asked 256 B, there is 255 B; ways out: a "
        "smaller model, a larger capacity",
    ),
}


@pytest.mark.parametrize(("text", "told"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_is_left_open_is_refused_with_the_line_to_write(text, told) -> None:
    with pytest.raises(MappingError) as refused:
        mappers.lower(product(8, 16), Design.read(read_text(text, path="open.yaml")))
    assert str(refused.value) == told


def attended(*, queries: int) -> Graph:
    """Attention of 4 query heads over 4 cached keys of 2 KV heads, 2 wide in FP16: 32 B a KV head."""
    graph = Graph("attended")
    for name, shape, role in (("q", (queries, 8), "input"), ("k", (4, 4), "cache"), ("v", (4, 4), "cache")):
        graph.add_tensor(Tensor(name, shape, FORMATS["fp16"], role))
    graph.add("y", "attention", ("q", "k", "v"), format=FORMATS["fp16"], batch=1, heads=4, kv_heads=2)
    return graph


@pytest.mark.parametrize(
    ("queries", "piece", "firings"),
    [(1, 64, 1), (2, 64, 1), (1, 32, 2), (2, 32, 2), (1, 16, 4), (1, 8, 8), (1, 24, 4), (2, 16, 4), (3, 24, 4)],
)
def test_attention_streams_its_cache_by_heads_and_along_the_keys_that_all_queries_see(queries, piece, firings) -> None:
    on, graph = design(PATHS, HOME).with_({"units.sram.capacity": f"{16 * piece} B"}), attended(queries=queries)
    pieces, _ = cut(graph.ops["y"], 64, piece)
    assert sum(n for _, _, n in pieces) == firings
    assert sum(size * n for _, size, n in pieces) == 64
    assert max(size for _, size, _ in pieces) <= piece
    counts = graph.counts()
    for what in ("mac", "exp"):
        assert sum(item.counts()[what] * n for item, _, n in pieces) == counts[what]
    report = run(graph, on)
    assert report.traffic["ddr"] == {("read", "cache"): 64}


@pytest.mark.parametrize("most", [8, 16, 20, 32, 64, 10_000])
@pytest.mark.parametrize("clock", [{}, {"units.ddr.request_overhead": "9 cycles"}, {"units.ddr.latency_cycles": 40}])
def test_a_piece_is_the_largest_of_about_the_least_time(most, clock) -> None:
    on, graph = design(PATHS, HOME).with_(clock), attended(queries=1)
    stages = [on.units[name] for name in ("ddr", "bus", "sram", "mm")]
    chosen, estimated = best_size(64, most, lambda size: cut(graph.ops["y"], 64, size)[0], stages)
    assert chosen <= most
    assert estimated > 0
    times = {}
    for size in (64, 32, 16, 8, 4, 2, 1):
        if size <= most:
            large = on.with_({"units.sram.capacity": "1 MiB"})
            pieces, _ = cut(graph.ops["y"], 64, size)
            builder = OpBuilder(graph, large, ("",))
            builder.compute("y", [(item, n) for item, _, n in pieces], [], unit="mm", op="y")
            read = [(1, piece_bytes, n) for _, piece_bytes, n in pieces]
            builder.bring("w", ("ddr", "bus", "sram"), read, "y", ahead=0, role=Role.CACHE)
            schedule = Schedule(graph, "hand", "by hand", (builder.section("all"),))
            times[size] = archsim.simulate(schedule, large).cycles
    # What runs is what is estimated, but for the last pieces, which may be smaller.
    assert times[chosen] <= min(times.values()) * (1 + 2 / SLACK) + 2


MEMORIES = [
    ("toy_retrieval", "toy_video", {"phase": "decode", "context": 64}),
    ("toy_retrieval", "toy_video", {"phase": "frame", "context": 64}),
    ("toy", "toy_llm", {"phase": "decode", "context": 16}),
    ("vrex8", "videollm_online_8b", {"phase": "frame", "context": 5000}),
    ("vrex8", "videollm_online_8b", {"phase": "prefill", "prompt": 500}),
    ("vrex48", "llama3_8b", {"phase": "decode", "context": 4000}),
    ("agx_orin", "llama3_8b", {"phase": "decode", "context": 4000, "mapper": "tiled"}),
    ("a100", "llama3_8b", {"phase": "question", "context": 4000, "prompt": 9}),
    ("tellme_kv260", "bitnet_b158_large", {"phase": "decode", "context": 64}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model", "asked"), MEMORIES)
def test_a_larger_memory_is_not_slower(name, model, asked) -> None:
    shipped, network = archsim.load_design(name), archsim.load_model(model)
    for memory in shipped.of_kind(Memory):
        before = mappers.run(shipped, network, **asked).cycles
        for doubled in (2, 4, 8):
            capacity = f"{shipped.units[memory].capacity * doubled} B"
            cycles = mappers.run(shipped.with_({f"units.{memory}.capacity": capacity}), network, **asked).cycles
            assert cycles <= 1.001 * before, (memory, doubled)
            before = min(before, cycles)


def test_on_the_gpu_weights_come_from_the_main_memory_by_every_mapper() -> None:
    gpu, graph = archsim.load_design("a100"), dataflow.decode(MODELS["llama3_8b"], context=512)
    weights = graph.bytes_of("weight", "lm_head")
    for mapper in ("tiled", "retrieval"):
        report = run(graph, gpu, mapper=mapper)
        for role, size in (("weight", graph.bytes_of("weight")), ("lm_head", graph.bytes_of("lm_head"))):
            assert report.traffic["dram"]["read", role] == size
        # At 1935 GB/s the weights alone take 7.76 ms.
        assert report.seconds > weights / 1935e9
    assert weights == 15_009_316_864


RUNS = [
    ("toy", "toy_llm", "decode", "tiled"), ("toy", "toy_llm", "prefill", "tiled"),
    ("toy_retrieval", "toy_video", "decode", "retrieval"), ("toy_retrieval", "toy_video", "frame", "retrieval"),
    ("tellme_kv260", "bitnet_b158_large", "decode", "table_lookup"),
    ("tellme_kv260", "bitnet_b158_large", "prefill", "table_lookup"),
    ("a100", "llama3_8b", "decode", "retrieval"), ("a100", "llama3_8b", "decode", "tiled"),
    ("agx_orin", "llama3_8b", "decode", "retrieval"), ("agx_orin", "llama3_8b", "decode", "tiled"),
    ("vrex8", "llama3_8b", "decode", "retrieval"), ("vrex8", "llama3_8b", "decode", "tiled"),
    ("vrex48", "llama3_8b", "decode", "retrieval"), ("vrex48", "llama3_8b", "prefill", "tiled"),
    ("streaming_machine", "toy_llm", "attention", "spatial"),
]  # fmt: skip
FIELDS = {"decode": {"context": 64}, "prefill": {"prompt": 8}, "frame": {"context": 12},
          "attention": {"prompt": 4, "context": 8}}  # fmt: skip


@pytest.mark.parametrize(("name", "model", "phase", "mapper"), RUNS)
def test_names_of_units_and_the_order_of_keys_change_no_number(name, model, phase, mapper) -> None:
    shipped = archsim.load_design(name)
    expected = mappers.run(shipped, MODELS[model], phase=phase, mapper=mapper, **FIELDS[phase])
    for seed in (1, 2):
        other, names = renamed(shipped, seed=seed)
        found = mappers.run(other, MODELS[model], phase=phase, mapper=mapper, **FIELDS[phase])
        assert (found.cycles, found.lower_bound_cycles) == (expected.cycles, expected.lower_bound_cycles)
        assert found.energy_joules == expected.energy_joules
        for unit, report in expected.units.items():
            other_report = found.units[names[unit]]
            assert (other_report.busy_cycles, other_report.idle_cycles) == (report.busy_cycles, report.idle_cycles)
        for unit, moved in expected.traffic.items():
            assert found.traffic[names[unit]] == moved


def test_works_that_a_mapper_adds_take_rules_of_kinds_alone() -> None:
    two = HEAD.replace("  vec:", "  two: {kind: matmul_array, macs_per_cycle: 2}\n  vec:")
    on = Design.read(read_text(f"{two}place: [{{unit: two, ops: ['*']}}, {{unit: mm}}]\n", path="two.yaml"))
    assert unit_for(on, "matmul", "the selection") == "mm"


def as_paths(name: str, **more) -> Design:
    """A shipped design with tiers, written with paths and homes instead."""
    shipped = archsim.load_design(name)
    data = {key: value for key, value in shipped.document.data.items() if key != "tiers"}
    able = [unit for unit, one in shipped.units.items() if not {"read", "move"} & set(one.does)]
    data["paths"] = {unit: list(shipped.tiers) for unit in able}
    spilled = {role: list(memories) for role, memories in shipped.home.items()}
    data["home"] = {"weight": shipped.tiers[1], "cache": shipped.tiers[1]} | spilled
    return Design.read(read_text(yaml.safe_dump(data | more, sort_keys=False), path="paths.yaml"))


@pytest.mark.parametrize("mapper", ["retrieval", "tiled"])
@pytest.mark.parametrize(
    ("name", "model", "asked"),
    [
        ("toy_retrieval", "toy_video", {"phase": "frame", "context": 40}),
        ("vrex8", "llama3_8b", {"phase": "decode", "context": 4000}),
        ("a100", "llama3_8b", {"phase": "decode", "context": 512}),
    ],
)
def test_tiers_are_a_short_form_of_paths(name, model, asked, mapper) -> None:
    reports = [
        mappers.run(on, MODELS[model], mapper=mapper, **asked) for on in (archsim.load_design(name), as_paths(name))
    ]
    assert reports[0].cycles == reports[1].cycles
    assert reports[0].traffic == reports[1].traffic


def test_a_selection_runs_where_weights_and_cache_lie_apart() -> None:
    units = archsim.load_design("vrex8").document.data["units"]
    flash = {"kind": "memory", "capacity": "64 GB", "bandwidth": "100 GB/s"}
    weight = {"weight": ["buffer", "flash"], "default": ["buffer", "dram", "pcie", "ssd"]}
    home = {"weight": "flash", "cache": "dram"}
    on = as_paths("vrex8", units=units | {"flash": flash}, paths={"lxe": weight}, home=home)
    asked = {"phase": "decode", "context": 8000, "selection": archsim.load_selection("quest")}
    report = mappers.run(on, MODELS["llama3_8b"], **asked)
    graph = dataflow.decode(MODELS["llama3_8b"], context=8000)
    assert report.traffic["flash"]["read", "weight"] == graph.bytes_of("weight")
    assert {role for (_, role) in report.traffic["dram"]} == {"cache", "metadata"}
    together = mappers.run(archsim.load_design("vrex8"), MODELS["llama3_8b"], **asked)
    assert report.traffic["dram"]["read", "cache"] == together.traffic["dram"]["read", "cache"]


LIKE_TOY = """\
name: like_toy
source: counted by hand
clock: 1 MHz
mapping: {order: time, tile: whole, buffers: 1, ahead: op}
units:
  mm: {kind: matmul_array, macs_per_cycle: 16}
  pim: {kind: matmul_array, macs_per_cycle: 1}
  vec: {kind: vector, ops: [embedding, rmsnorm, quantize, dequantize, add, silu_mul, rope], lanes: 8}
  sram: {kind: memory, capacity: 8 KiB, bandwidth: 16 B/cycle}
  ddr: {kind: memory, capacity: 1 MiB, bandwidth: 8 B/cycle}
"""
ALONE = "place: [{kinds: [matmul, ternary_matmul, attention], unit: mm}]\n"
GENERATED = {
    "a rule of keys": "paths: {mm: [ddr], pim: [ddr], vec: [ddr]}\n"
    "place: [{kinds: [attention], extents: {keys: {below: 20}}, unit: pim}, {unit: mm}]\n",
    "a cache without a home": "paths: {mm: [ddr], vec: [ddr]}\nhome: {weight: ddr}\n" + ALONE,
    "an ideal cache": "paths: {mm: {cache: [], default: [ddr]}, vec: [ddr]}\nhome: {weight: ddr, cache: ddr}\n" + ALONE,
    "two hops": "paths: {mm: [sram, ddr], vec: [sram, ddr]}\nhome: {weight: ddr, cache: ddr}\n" + ALONE,
}


@pytest.mark.parametrize("more", GENERATED.values(), ids=GENERATED)
def test_each_step_of_a_generation_is_that_of_a_decode(more) -> None:
    on = Design.read(read_text(LIKE_TOY + more, path="like_toy.yaml"))
    report = mappers.run(on, MODELS["toy_llm"], phase="generate", prompt=16, tokens=6)
    alone = [mappers.run(on, MODELS["toy_llm"], phase="decode", context=context).cycles for context, _ in report.steps]
    assert [cycles for _, cycles in report.steps] == alone


WRONG_RULES = {
    "{unit: ddr}": "place.0.unit: 'ddr' is a memory; a rule names a unit that does ops",
    "{unit: mm, phase: generate}": "place.0.phase: 'generate' runs as its steps, and no op is of it; name the phase of",
    "{unit: mm, extents: {m: {from: 8, below: 3}}}": "place.0.extents.m: nothing is from 8 on and below 3; give a",
    "{unit: mm, extents: {m: {below: 1}}}": "place.0.extents.m: nothing is from 1 on and below 1; give a",
    "{unit: mm, kinds: [rope]}": "place.0.kinds.0: 'mm' does not do 'rope'; it does: ",
}


@pytest.mark.parametrize(("rule", "told"), WRONG_RULES.items(), ids=WRONG_RULES)
def test_a_rule_that_can_mean_no_op_is_refused(rule, told) -> None:
    with pytest.raises(archsim.DesignError) as refused:
        design(PATHS, HOME, f"place: [{rule}]\n")
    assert told in str(refused.value)


def test_a_rule_that_decides_nothing_is_noted(tmp_path) -> None:
    path = tmp_path / "hand.yaml"
    path.write_text(HEAD + PATHS + HOME + "place: [{unit: vec, kinds: [rope, add]}]\n")
    note = "  note: place.0: decides nothing, because 'vec' alone does rope, add"
    assert note in check_file(str(path), mappers=MAPPERS)
    two = HEAD.replace("  vec:", "  two: {kind: matmul_array, macs_per_cycle: 2}\n  vec:")
    path.write_text(two + PATHS + HOME + "place: [{unit: two}]\n")
    assert not any("place.0" in line for line in check_file(str(path), mappers=MAPPERS))


def test_a_rule_that_places_layers_apart_is_refused() -> None:
    paths = "paths: {mm: [ddr], pim: [ddr], vec: [ddr]}\n"
    for layer in ("layer0.*", "layer1.*"):
        on = Design.read(
            read_text(f"{LIKE_TOY}{paths}place: [{{ops: ['{layer}'], unit: pim}}, {{unit: mm}}]\n", path="x")
        )
        with pytest.raises(
            MappingError, match=r"'layer0.q' is placed on '\w+', 'layer1.q' on '\w+'; layers that repeat run"
        ):
            mappers.run(on, MODELS["toy_llm"], phase="decode", context=4)


def test_new_rows_of_a_cache_are_written_where_it_is_read() -> None:
    """Keys and values are made on the vector unit and go out through its memory on chip."""
    paths = "paths: {mm: [ddr], vec: [sram, ddr]}\nhome: {weight: ddr, cache: ddr}\n"
    on = Design.read(read_text(LIKE_TOY + paths + ALONE, path="x"))
    report = mappers.run(on, MODELS["toy_llm"], phase="prefill", prompt=16)
    assert report.bytes_moved("ddr", "written") == 2 * 2 * 16 * 2 * 2
    assert report.traffic["sram"]["written", "cache"] == 2 * 2 * 16 * 2 * 2
    short = LIKE_TOY + "paths: {mm: [ddr], vec: [sram]}\n" + ALONE
    with pytest.raises(MappingError, match=r"the path of 'vec' for cache is \[sram\], and the home of cache is 'ddr'"):
        mappers.run(Design.read(read_text(short, path="x")), MODELS["toy_llm"], phase="prefill", prompt=16)


def test_tensors_at_home_leave_less_room_for_pieces() -> None:
    more = "paths: {mm: [sram, ddr], vec: [sram, ddr]}\nhome: {weight: sram, cache: ddr}\n" + ALONE
    on = Design.read(read_text(LIKE_TOY + more, path="x"))
    tight = on.with_({"units.sram.capacity": "240 B"})
    assert mappers.run(on, MODELS["toy_llm"], phase="decode", context=64).cycles > 0
    with pytest.raises(
        MappingError, match=r"lm_head 32 B, queues 32 B; units\.sram\.capacity asked 262 B, there is 240 B"
    ):
        mappers.run(tight, MODELS["toy_llm"], phase="decode", context=64)


def test_operands_of_two_roles_are_each_read_as_their_own() -> None:
    graph = Graph("two")
    for name, shape, role in (("k", (4, 8), "cache"), ("w", (4, 8), "weight")):
        graph.add_tensor(Tensor(name, shape, FORMATS["fp16"], role))
    graph.add("y", "matmul", ("k", "w"), format=FORMATS["fp16"])
    report = run(graph, archsim.load_design("toy"))
    assert report.traffic["ddr"] == {("read", "cache"): 64, ("read", "weight"): 64}
    assert run(graph, design(PATHS, HOME)).traffic["sram"] == report.traffic["ddr"]


def test_no_piece_is_empty_and_a_small_rest_hides_no_tail() -> None:
    slow = HEAD.replace("bandwidth: 4 B/cycle", "bandwidth: 1 B/cycle") + PATHS + HOME
    on = Design.read(read_text(slow, path="x")).with_(SEARCHED)
    assert mappers.run(on, MODELS["toy_llm"], phase="decode", context=4).cycles > 0
    # No tile divides 257 outputs, and a small last one hides no tail.
    text = LIKE_TOY.replace("8 B/cycle", "16 B/cycle, request_overhead: 5 cycles, request_bytes: 64 B")
    before = None
    for capacity in (6160, 24_640, 394_752, 1_579_008):
        more = "paths: {mm: [sram, ddr], vec: [sram, ddr]}\nhome: {weight: ddr, cache: ddr}\n" + ALONE
        changes = {"units.sram.capacity": f"{capacity} B", **SEARCHED}
        large = Design.read(read_text(text + more, path="x")).with_(changes)
        cycles = run(product(96, 257), large).cycles
        assert before is None or cycles <= 1.001 * before, capacity
        before = cycles if before is None else min(before, cycles)


def test_mappers_that_find_units_by_links_refuse_paths() -> None:
    for name, model, asked in (
        ("tellme_kv260", "bitnet_b158_large", {"phase": "decode", "context": 4}),
        ("streaming_machine", "toy_llm", {"phase": "attention", "prompt": 2, "context": 2}),
    ):
        shipped = archsim.load_design(name)
        able = [unit for unit, one in shipped.units.items() if not {"read", "move"} & set(one.does)]
        data = shipped.document.data | {"place": [{"unit": able[0]}]}
        on = Design.read(read_text(yaml.safe_dump(data), path="x"))
        with pytest.raises(MappingError, match="place: this mapper finds its units by their kinds and links"):
            mappers.run(on, MODELS[model], **asked)


def test_table_look_up_takes_its_memory_from_paths_and_homes() -> None:
    """A second memory is told apart by the path of the look-up; several hops, or two homes, are refused."""
    shipped, asked = archsim.load_design("tellme_kv260"), {"phase": "decode", "context": 4}
    data = dict(shipped.document.data)
    spare = {"kind": "memory", "capacity": "1 GiB", "bandwidth": "1 GB/s"}
    data["units"] = {"a_spare": spare, **data["units"]}

    def on(**more) -> Design:
        return Design.read(read_text(yaml.safe_dump(data | more, sort_keys=False), path="two.yaml"))

    alone = mappers.run(shipped, MODELS["bitnet_b158_large"], **asked)
    chosen = on(paths={"tlmm": ["ddr"]}, home={"weight": "ddr", "cache": "ddr", "activation": "ddr"})
    found = mappers.run(chosen, MODELS["bitnet_b158_large"], **asked)
    assert (found.cycles, found.traffic["ddr"]) == (alone.cycles, alone.traffic["ddr"])
    refusals = {
        "'a_spare' and 'ddr' are memories, and no path says which of them 'tlmm' reads": on(),
        r"reads weight over \[ddr, a_spare\], cache over .*; its ports read one memory": on(
            paths={"tlmm": ["a_spare", "ddr"]}, home={"weight": "ddr", "cache": "ddr"}
        ),
        r"cache over \[ddr\], activation over \[a_spare\]; its ports read one memory, in which all lies": on(
            paths={"tlmm": ["ddr"], "norm": ["a_spare"]},
            home={"weight": "ddr", "cache": "ddr", "activation": "a_spare"},
        ),
    }
    for told, design_of in refusals.items():
        with pytest.raises(MappingError, match=told):
            mappers.run(design_of, MODELS["bitnet_b158_large"], **asked)
