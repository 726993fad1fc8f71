"""Capacity: what lies in each memory fits it, in every section; what does not fit spills where the design says so."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archsim
import mappers
from archsim import Design, MappingError, ScheduleError
from archsim.files.document import read_text
from archsim.run.capacity import NOWHERE, QUEUES, held, overfull
from archsim.units.fifo_memory import bytes_on_chip
from dataflow import FORMATS, OP_KINDS, Graph, Schedule, Tensor, phase_named
from dataflow.mask import EVERY_KEY, Mask
from dataflow.op import work
from dataflow.pattern import every
from dataflow.section import Section
from dataflow.task import UNLIMITED, Stream, Task
from mappers.build.layers import layers_of, name_within
from mappers.build.lying import lay
from mappers.build.pieces import cut_attention
from mappers.tiled.operands import PRODUCTS

HEAD = """\
name: hand
source: counted by hand
clock: 1 MHz
mapping: {order: time}
units:
  mm: {kind: matmul_array, macs_per_cycle: 1}
  vec: {kind: vector, ops: [embedding, rmsnorm, quantize, dequantize, add, silu_mul, gelu, rope], lanes: 1}
  sram: {kind: memory, capacity: 576 B, bandwidth: 4 B/cycle}
  ddr: {kind: memory, capacity: 1 MiB, bandwidth: 1 B/cycle}
paths: {mm: [sram, ddr], vec: [sram, ddr]}
"""
HOMES = "home: {weight: ddr, cache: ddr, activation: [sram, ddr], input: ddr}\n"
TOY = archsim.load_design("toy")


def design(*more: str) -> Design:
    return Design.read(read_text(HEAD + "".join(more), path="hand.yaml"))


def chain(widths: list[int], rows: int) -> Graph:
    """Products one after another: an input [rows, widths[0]] in FP16 to [rows, widths[1]] and so on."""
    graph = Graph("chain")
    graph.add_tensor(Tensor("x0", (rows, widths[0]), FORMATS["fp16"], "input"))
    for i, (k, n) in enumerate(pairwise(widths)):
        graph.add_tensor(Tensor(f"w{i}", (n, k), FORMATS["fp16"], "weight"))
        graph.add(f"x{i + 1}", "matmul", (f"x{i}", f"w{i}"), format=FORMATS["fp16"])
    return graph


def signal(*streams: Stream) -> Section:
    """Two tasks joined by these streams, one token each."""
    names = dict.fromkeys((s.name for s in streams), every(1))
    give = Task("give", "ddr", 1, every(work("read", bytes=1)), {}, names)
    take = Task("take", "ddr", 1, every(work("read", bytes=1)), names, {})
    return Section("joined", (give, take), streams)


def test_queues_of_one_fifo_count_once_and_signals_nothing() -> None:
    section = signal(
        Stream("a", 2, 8, fifo="f", memory="sram"), Stream("b", 3, 4, fifo="f", memory="sram"),
        Stream("c", 5, 2, memory="sram"), Stream("d", 7, 0, memory="sram"), Stream("e", 1, 9),
    )  # fmt: skip
    assert section.queues() == {"sram": 16 + 10, "": 9}


def test_queues_that_say_where_they_lie_count_to_the_last_byte() -> None:
    section = signal(
        Stream("a", 2, 8, memory="sram", at=0), Stream("b", 3, 4, memory="sram", at=10),
        Stream("c", 5, 2, memory="sram"), Stream("d", 1, 4, fifo="f", memory="sram"),
    )  # fmt: skip
    assert section.queues() == {"sram": 10 + 12 + 10 + 4}


@pytest.mark.parametrize(("memory", "at"), [("sram", -1), ("", 0)])
def test_a_queue_lies_at_a_byte_of_a_named_memory(memory: str, at: int) -> None:
    with pytest.raises(ScheduleError, match="expected one from 0 on, of a named memory"):
        signal(Stream("a", 1, 1, memory=memory, at=at))


def test_what_lies_in_a_memory_is_compared_with_its_capacity() -> None:
    inside = held({("ddr", "weight"): 2**20, (NOWHERE, "activation"): 2**60}, {("ddr", "cache"): 1}, queues={"mm": 1})
    found = list(overfull(inside, TOY))
    assert [(one.memory, one.demand, one.capacity) for one in found] == [("ddr", 2**20 + 1, 2**20), ("mm", 1, 0)]
    assert not list(overfull(held({("ddr", "weight"): 2**20}), TOY))


def test_a_schedule_by_hand_that_holds_too_much_is_refused() -> None:
    """By the mapper's own sections, whose queues are made one byte too large for what is left."""
    graph = chain([4, 4], rows=1)
    made = mappers.lower(graph, TOY)
    room = 2**20 - 32
    for size, fits in ((room, True), (room + 1, False)):
        one = made.sections[0]
        stream = replace(one.streams[0], bytes_per_token=size, memory="ddr")
        schedule = replace(made, sections=(replace(one, streams=(stream, *one.streams[1:])),))
        if fits:
            report = archsim.simulate(schedule, TOY)
            assert report.held["ddr"] == {"weight": 32, QUEUES: room}
        else:
            with pytest.raises(ScheduleError, match=r"'ddr' is to hold weight 32 B, queues .*, which holds 1 MiB"):
                archsim.simulate(schedule, TOY)


def test_streams_of_one_fifo_that_overlap_are_refused() -> None:
    section = signal(Stream("a", 1, 1, fifo="f"), Stream("b", 1, 1, fifo="f"))
    schedule = Schedule(Graph("none"), "toy", "by hand", (section,))
    with pytest.raises(ScheduleError, match="FIFO 'f': 'b' uses it from cycle 0 on, 'a' until cycle 2"):
        archsim.simulate(schedule, TOY)


def test_a_queue_lies_at_a_byte_or_in_a_fifo() -> None:
    with pytest.raises(ScheduleError, match="lies at byte 0 and in the FIFO 'f'; give one of the two"):
        signal(Stream("a", 1, 1, fifo="f", memory="sram", at=0))


@pytest.mark.parametrize(("first", "second", "apart"), [(0, 3, False), (3, 0, False), (0, 4, True), (4, 0, True)])
def test_streams_whose_places_overlap_are_refused(first: int, second: int, apart: bool) -> None:
    """Two places of two bytes each; by hand, both streams are used from cycle 0 to 2."""
    streams = (Stream("a", 2, 2, memory="ddr", at=first), Stream("b", 2, 2, memory="ddr", at=second))
    told = "'ddr': 'b' uses places from cycle 0 on, 'a' some of these until cycle 2"
    assert refused_for(signal(*streams)) == ([] if apart else [told])


def test_places_that_overlap_may_be_used_one_after_another() -> None:
    reads = every(work("read", bytes=1))
    tasks = (
        Task("one", "ddr", 1, reads, {}, {"a": every(1)}),
        Task("two", "ddr", 1, reads, {"a": every(1)}, {"then": every(1)}),
        Task("three", "ddr", 1, reads, {"then": every(1)}, {"b": every(1)}),
        Task("four", "ddr", 1, reads, {"b": every(1)}),
    )
    a, b = Stream("a", 1, 9, memory="ddr", at=0), Stream("b", 1, 9, memory="ddr", at=8)
    assert not refused_for(Section("in turn", tasks, (a, Stream("then", 1), b)))


def refused_for(section: Section) -> list[str]:
    """The lines with which a run of this section on the toy is refused."""
    schedule = Schedule(Graph("none"), "toy", "by hand", (section,))
    try:
        archsim.simulate(schedule, TOY)
    except ScheduleError as refused:
        return [line.partition(": ")[2] for line in refused.problems]
    return []


def test_activations_spill_to_the_next_memory_and_move_once_out_and_once_to_each_reader() -> None:
    # A third is kept for pieces. Of the 480 B between the two products 384 fit, so that 96 go out and back.
    # Of each tile the same part moves: of 120 B 24.
    graph = chain([2, 60, 2], rows=4)
    on = design(HOMES).with_({"mapping.tile": {"m": 4, "n": 15, "k": 15}, "mapping.ahead": "op"})
    report = archsim.simulate(mappers.lower(graph, on), on)
    weights, inputs, results = 2 * 2 * 60 * 2, 16, 16
    assert report.traffic["ddr"] == {
        ("read", "weight"): weights, ("read", "input"): inputs, ("read", "activation"): 96,
        ("written", "activation"): 96 + results,
    }  # fmt: skip
    assert report.traffic["sram"] == report.traffic["ddr"]
    assert report.held["sram"]["activation"] == 384
    assert report.held["ddr"]["activation"] == 96 + results
    told = str(report)
    assert "activations in 'sram' are used in place: the rates of the units cover their bytes" in told
    assert "activations in 'ddr' are written once, and read once by each op that reads them;" in told


def test_a_spill_takes_time_and_a_larger_memory_ends_it() -> None:
    graph, cycles = chain([2, 60, 2], rows=4), []
    for capacity in (576, 1152, 2304):
        on = design(HOMES).with_({"units.sram.capacity": f"{capacity} B"})
        report = archsim.simulate(mappers.lower(graph, on), on)
        cycles.append(report.cycles)
        assert (("written", "activation") in report.traffic["ddr"]) == (capacity == 576)
    # At a byte a cycle the memory is what the run waits for: 480 B of weights, 16 of inputs, 112 out and 96 back.
    assert cycles[0] >= 480 + 16 + 112 + 96
    assert cycles[0] > cycles[1] >= cycles[2] >= 480 + 16


def test_a_home_further_out_holds_whole_activations() -> None:
    graph, on = chain([2, 60, 2], rows=4), design(HOMES.replace("[sram, ddr]", "ddr"))
    report = archsim.simulate(mappers.lower(graph, on), on)
    assert report.traffic["ddr"]["written", "activation"] == 480 + 16
    assert report.traffic["ddr"]["read", "activation"] == 480
    assert report.held["sram"] == {QUEUES: report.held["sram"][QUEUES]}


def test_one_memory_for_all_is_read_and_written_by_each_op() -> None:
    one = HEAD.replace("[sram, ddr]", "[ddr]") + "home: {weight: ddr, activation: ddr, input: ddr}\n"
    on, graph = Design.read(read_text(one, path="one.yaml")), chain([2, 3, 2], rows=4)
    report = archsim.simulate(mappers.lower(graph, on), on)
    assert report.traffic["ddr"] == {
        ("read", "weight"): 24, ("read", "input"): 16, ("read", "activation"): 24, ("written", "activation"): 24 + 16
    }  # fmt: skip


def test_without_a_home_activations_take_no_room_and_the_report_says_how_many_bytes() -> None:
    graph, on = chain([2, 60, 2], rows=4), design("home: {weight: ddr}\n")
    report = archsim.simulate(mappers.lower(graph, on), on)
    assert report.held[NOWHERE] == {"input": 16, "activation": 480 + 16}
    assert "in no memory" in str(report)
    assert "activations have no home: they take no room and move no bytes" in str(report)


def test_an_activation_that_fits_nowhere_is_refused_with_the_line_to_write() -> None:
    on = design(HOMES.replace("[sram, ddr]", "sram"))
    with pytest.raises(MappingError) as refused:
        mappers.lower(chain([2, 60, 2], rows=4), on)
    assert str(refused.value) == (
        "op 'x1': activation 'x1' fits nowhere beside what lies there already; room in 'sram' asked 480 B, there is "
        "384 B; ways out: home: {activation: [sram, ddr]} in the design, a larger capacity, a shorter prompt or a "
        "smaller batch"
    )
    with pytest.raises(MappingError, match=r"activation 'x1' fits nowhere .*; room in 'sram' and 'ddr' asked 2 MB"):
        mappers.lower(chain([2, 2, 2], rows=500_000), design(HOMES.replace(", input: ddr", "")))


def test_homes_are_memories_on_a_path_and_stored_roles_have_one() -> None:
    wrong = "home: {weight: [sram, ddr], activation: [sram, sram], cache: mm, input: [], state: 3}\n"
    with pytest.raises(archsim.DesignError) as refused:
        design(wrong)
    told = str(refused.value)
    for part in (
        "home.input: expected a memory, or a list of memories from the unit outward, got a list",
        "home.state: expected a",
    ):
        assert part in told
    with pytest.raises(archsim.DesignError) as refused:
        design(wrong.replace(", input: [], state: 3", ""))
    told = str(refused.value)
    for part in (
        "home.weight: weight lies in one memory, got a list; only activations and inputs spill",
        "home.activation: 'sram' stands twice",
        "home.cache: 'mm' is a matmul_array",
    ):
        assert part in told


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Ops that each read one or two earlier activations of [rows, 4] in FP16."""
    rows = draw(st.integers(1, 6))
    graph = Graph("drawn")
    graph.add_tensor(Tensor("x", (rows, 4), FORMATS["fp16"], "activation"))
    graph.add_tensor(Tensor("w", (4, 4), FORMATS["fp16"], "weight"))
    made = ["x"]
    for i in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["matmul", "add", "gelu", "reshape"]))
        first, second = (draw(st.sampled_from(made)) for _ in "ab")
        more = {"shape": (rows, 4)} if kind == "reshape" else {}
        inputs = {"matmul": (first, "w"), "add": (first, second)}.get(kind, (first,))
        made.append(graph.add(f"op{i}", kind, inputs, format=FORMATS["fp16"], **more))
    return graph


def live_by_walking(graph: Graph) -> dict[str, int]:
    """Bytes of activations that must exist while each op runs: made before or by it, and read by it or later.

    What a free op gives is what it reads. An op of rows may write over what it reads last.
    """
    ops = list(graph.ops.values())
    real = {name: name for name in graph.tensors}
    for op in ops:
        if OP_KINDS[op.kind].free:
            real[op.name] = real[op.inputs[0]]
    reads = [set() if OP_KINDS[op.kind].free else {real[name] for name in op.inputs} for op in ops]
    found = {}
    for i, op in enumerate(ops):
        if OP_KINDS[op.kind].free:
            continue
        before = {real[n] for n in ["x", *(earlier.name for earlier in ops[:i])]}
        later = set().union(*reads[i + 1 :])
        read_here = set() if OP_KINDS[op.kind].elementwise else reads[i]
        results = {n for n in before if not any(n in r for r in reads)}  # what only free ops give is a result too
        live = {n for n in before if n in later or n in read_here or (n in results and n != "x")} | {op.name}
        found[op.name] = sum(graph.tensors[n].bytes for n in live)
    return found


@settings(max_examples=300, deadline=None)
@given(graphs(), st.integers(0, 400))
def test_activations_lie_from_the_op_that_makes_them_to_the_last_that_reads_them(graph: Graph, capacity: int) -> None:
    on = design(HOMES).with_({"units.sram.capacity": f"{capacity + 1} B"})
    lying = lay(graph, on, layers_of(graph.ops.values()), {})
    for parts in lying.parts.values():
        assert all(size > 0 for size in parts.values())
    assert {name: sum(parts.values()) for name, parts in lying.parts.items()} == {
        name: graph.tensors[name].bytes for name in lying.parts
    }
    expected = live_by_walking(graph)
    assert {op: sum(sizes.values()) for op, sizes in lying.live.items()} == expected
    for op, sizes in lying.live.items():
        on_chip = sizes.get(("sram", "activation"), 0)
        assert on_chip <= capacity + 1
        # Nothing lies outside while it all fits.
        if max(expected.values()) <= capacity + 1:
            assert on_chip == expected[op]


MODELS = {name: archsim.load_model(name) for name in ("toy_llm", "toy_video")}
PLAIN = HEAD.replace("gelu, rope]", "gelu, rope, layernorm, pool]")
NOC = "  noc: {kind: channel, bandwidth: 4 B/cycle}\n"
WITH_NOC = PLAIN.replace("  sram:", f"{NOC}  sram:").replace("[sram,", "[noc, sram,")
THREE = PLAIN.replace("  ddr:", "  mid: {kind: memory, capacity: 300 B, bandwidth: 2 B/cycle}\n  ddr:").replace(
    "[sram, ddr]", "[sram, mid, ddr]"
)
ONE = PLAIN.replace("[sram, ddr]", "[ddr]")
SPILLED = "home: {weight: ddr, cache: ddr, activation: [sram, ddr]}\n"
OUTSIDE = "home: {weight: ddr, cache: ddr, activation: ddr, input: ddr}\n"
SPILLS = {
    "fewer bytes than rows": (PLAIN + SPILLED, "800 B", "toy_llm", {"phase": "prefill", "prompt": 20}),
    "rows under the mapper of tiers": (PLAIN + SPILLED, "2 KiB", "toy_video", {"phase": "prefill", "prompt": 64}),
    "two memories that both move": (WITH_NOC + SPILLED, "400 B", "toy_video", {"phase": "prefill", "prompt": 4}),
    "three memories": (
        THREE + SPILLED.replace("[sram, ddr]", "[mid, ddr]"), "2 KiB", "toy_video", {"phase": "frame", "context": 24}
    ),
    "all outside": (PLAIN + OUTSIDE, "1 KiB", "toy_video", {"phase": "frame", "context": 9, "batch": 2}),
    "one memory": (ONE + OUTSIDE, "1 KiB", "toy_video", {"phase": "prefill", "prompt": 5}),
}  # fmt: skip


@pytest.mark.parametrize("mapper", ["tiled", "retrieval"])
@pytest.mark.parametrize(("text", "capacity", "model", "asked"), SPILLS.values(), ids=SPILLS)
def test_what_spills_is_written_and_then_read_by_every_reader(text, capacity, model, asked, mapper) -> None:
    on = Design.read(read_text(text, path="x")).with_({"units.sram.capacity": capacity})
    if mapper == "retrieval" and (model != "toy_video" or len(on.paths["mm"]) < 2):
        return
    report = mappers.run(on, MODELS[model], mapper=mapper, **asked)  # a run checks the laws of capacity and queues
    assert report.cycles == mappers.run(on, MODELS[model], mapper=mapper, engine="simpy", **asked).cycles
    if "activation: ddr" not in text:
        return
    # Every activation is written once, and read once by each op that reads it: by a product the rows that it needs, by
    # others whole. Under `tiled` attention reads new rows as the cache.
    graph = phase_named(asked["phase"], {k: v for k, v in asked.items() if k != "phase"}).graph(MODELS[model])
    real = {name: name for name in graph.tensors}
    for op in graph.ops.values():
        if OP_KINDS[op.kind].free and (op.kind != "append" or mapper == "retrieval"):
            real[op.name] = real[op.inputs[0]]
    ops = [op for op in graph.ops.values() if not OP_KINDS[op.kind].free]
    rows = {op.name for op in ops if op.kind in PRODUCTS and mapper == "tiled"}
    read = [name if op.name in rows else real[name] for op in ops for name in dict.fromkeys(op.inputs)]
    appended = {op.inputs[0] for op in graph.ops.values() if op.kind == "append"}
    written = [op.name for op in ops if op.name in read or op.name not in appended]
    moved = report.traffic["ddr"]
    for role, way, names in (("activation", "read", read), ("input", "read", read), ("activation", "written", written)):
        sizes = [graph.tensors[name].bytes for name in names if graph.tensors[name].role == role]
        # Tiles may come again.
        found = moved.get((way, role), 0)
        assert found == sum(sizes) or (found > sum(sizes) and mapper == "tiled" and way == "read"), (role, way)


@pytest.mark.parametrize("text", [ONE + OUTSIDE, PLAIN + OUTSIDE, PLAIN + SPILLED], ids=["one", "outside", "spilled"])
@pytest.mark.parametrize("ahead", ["op", "next_op"])
@pytest.mark.parametrize("model", MODELS)
def test_each_step_of_a_generation_is_that_of_a_decode(text, ahead, model) -> None:
    on = Design.read(read_text(text, path="x")).with_({"units.sram.capacity": "2 KiB", "mapping.ahead": ahead})
    report = mappers.run(on, MODELS[model], phase="generate", prompt=4, tokens=6)
    alone = [mappers.run(on, MODELS[model], phase="decode", context=n).cycles for n, _ in report.steps]
    assert [cycles for _, cycles in report.steps] == alone


def test_a_selection_counts_weights_where_each_role_lies() -> None:
    shipped = archsim.load_design("vrex8")
    on = shipped.with_({"home.lm_head": "buffer", "home.weight": "dram", "home.cache": "dram"})
    with pytest.raises(MappingError, match=r"'buffer' is to hold lm_head 1002 MiB; units\.buffer\.capacity asked"):
        mappers.run(on, archsim.load_model("videollm_online_8b"), phase="decode", context=1000)


def test_a_spill_makes_way_for_pieces_before_it_is_refused() -> None:
    """With a third of 1 MiB the pieces of this prompt do not fit; with two thirds they do."""
    on = archsim.load_design("vrex8").with_({"units.buffer.capacity": "1 MiB"})
    model = archsim.load_model("videollm_online_8b")
    report = mappers.run(on, model, phase="prefill", prompt=700, mapper="tiled")
    assert report.held["buffer"].get("activation", 0) < 2**20 // 2
    outside = mappers.run(on.with_({"home.activation": "dram"}), model, phase="prefill", prompt=700, mapper="tiled")
    assert report.cycles <= outside.cycles


def test_the_path_of_a_role_that_an_op_does_not_read_is_not_asked_for() -> None:
    pim = PLAIN.replace("  vec:", "  pim: {kind: matmul_array, macs_per_cycle: 1}\n  vec:")
    pim = pim.replace("paths: {", "paths: {pim: [ddr], ") + OUTSIDE.replace("input: ddr", "input: sram")
    pim += "place: [{kinds: [attention], unit: pim}, {unit: mm}]\n"
    report = mappers.run(Design.read(read_text(pim, path="x")), MODELS["toy_video"], phase="decode", context=5)
    assert report.op("layer0.attention").unit == "pim"


def test_during_a_first_fetch_there_lies_what_the_layer_reads() -> None:
    toy, model = archsim.load_design("toy_retrieval"), MODELS["toy_video"]
    graph = phase_named("decode", {"context": 24}).graph(model)
    chosen = archsim.load_selection("resv").with_({"resident": 0.2})
    made = mappers.lower(graph, toy, selection=chosen, prediction="previous")
    first = next(section for section in made.sections if section.name == "first fetch")
    assert first.holds["buffer", "activation"] >= graph.tensors["embedding"].bytes


@pytest.mark.parametrize("capacity", ["3 MiB", "7 MiB", "64 MiB"])
@pytest.mark.parametrize(("phase", "asked"), [("frame", {"context": 1000}), ("prefill", {"prompt": 700})])
def test_a_layer_stands_for_those_that_follow(phase, asked, capacity) -> None:
    """As a walk over each layer by itself, for what lies in each memory and for what moves."""
    on = archsim.load_design("vrex8").with_({"units.buffer.capacity": capacity})
    graph = phase_named(phase, asked).graph(archsim.load_model("videollm_online_8b"))
    groups = layers_of(graph.ops.values())
    apart = [
        ([graph.ops[scope + name_within(op)] for op in ops], (scope,)) for ops, scopes in groups for scope in scopes
    ]
    found, expected = (lay(graph, on, each, {}, passed=["buffer"]) for each in (groups, apart))
    assert found.twins
    for ops, scopes in groups:
        every = [(op, scope, graph.ops[scope + name_within(op)]) for op in ops for scope in scopes]
        most: dict[tuple[str, str], int] = {}
        for op, scope, own in every:
            for at, size in expected.live[own.name].items():
                most[at] = max(most.get(at, 0), size)
            stands = graph.ops[next(found.same(op, [scope]))]
            for names in (own.inputs, own.outputs):
                theirs = stands.inputs if names is own.inputs else stands.outputs
                assert found.parts_of(theirs) == expected.parts_of(names)
        assert found.during(ops, scopes) == most


MASKS = [Mask(), Mask(window=1), Mask(window=3), Mask(window=100), EVERY_KEY]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(MASKS), st.integers(1, 9), st.integers(0, 12), st.integers(1, 3), st.integers(1, 3),
    st.integers(1, 2), st.integers(1, 4000), st.integers(1, 4000),
)  # fmt: skip
def test_attention_in_pieces_scores_each_pair_once(mask, queries, past, kv_heads, group, batch, size, most) -> None:
    whole = work(
        "attention", mask, batch=batch, heads=kv_heads * group, kv_heads=kv_heads, queries=queries,
        keys=queries + past, qk_dim=4,
    )  # fmt: skip
    pieces = cut_attention(whole, size, most)
    counts = whole.counts()
    for what in ("mac", "exp"):
        assert sum(item.counts()[what] * n for item, _, n in pieces) == counts[what]
    extent = sum(share * n for _, share, n in pieces)
    least = max(1, queries and size // (batch * kv_heads) // (queries + past))  # of one key of a KV head
    for _, share, _ in pieces:
        assert size * share // extent <= max(most, 2 * least + size // (batch * kv_heads * queries))


def test_bytes_that_an_fpga_could_hold() -> None:
    budget = archsim.load_design("tellme_kv260").resources.budget
    assert bytes_on_chip(budget) == (117_120 * 32 + 144 * 36 * 1024 + 64 * 288 * 1024) // 8
    assert bytes_on_chip({"lut": 10, "dsp": 3}) is None


def test_queues_without_a_limit_are_told_as_such() -> None:
    machine, model = archsim.load_design("streaming_machine"), archsim.load_model("toy_llm")
    report = mappers.run(machine, model, phase="attention", prompt=4, context=4, options={"form": "naive"})
    assert report.held[NOWHERE][QUEUES] >= UNLIMITED
    assert "in no memory           no limit: queues without limit" in str(report)
