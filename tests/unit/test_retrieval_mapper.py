"""The retrieval mapper: what moves where, what overlaps what, counted by hand or by formulas written apart."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import archsim
import mappers
from archsim import InputError, MappingError, ScheduleError, load_design, load_model, load_selection
from archsim.files.data_folder import shipped
from archsim.run.laws import LawBroken
from archsim.selection.step import selection_step
from archsim.units import Channel
from dataflow import decode, frame, prefill, question, work
from dataflow.numeric.evaluate import evaluate, random_tensors, replay
from mappers.retrieval.cache import Tiers, plan_cache

TOY, VIDEO = load_design("toy_retrieval"), load_model("toy_video")
FULL, GIVEN, CHOSEN = load_selection("full"), load_selection("resv_published"), load_selection("resv")
BEYOND = load_selection("flexgen")
CONTEXT, FRAME = 35, 3  # of the toy: 32 tokens lie in the cache before a frame
TOKEN_BYTES, LAYERS = 2 * 2 * 2, 2  # key and value of a head of 2 in FP16
MEASURES = ("mass_recall", "top_recall", "output_error")


def variant(design, **written):
    """The design with units replaced (None: without it)."""
    units = {**design.document.data["units"], **written}
    return design.with_({"units": {name: unit for name, unit in units.items() if unit is not None}})


# Everything takes a cycle a firing but the link, which takes one for each byte.
LINK_BOUND = variant(
    TOY,
    lxe={"kind": "core_array", "cores": 1000, "trees": 1000, "inputs": 1000, "lanes": 1000},
    buffer={"kind": "memory", "capacity": "1 KiB", "bandwidth": "1 MB/cycle"},
    dram={"kind": "memory", "capacity": "1 MiB", "bandwidth": "1 MB/cycle"},
    ssd={"kind": "memory", "capacity": "1 GiB", "bandwidth": "1 MB/cycle"},
)


def run(design, selection, graph=None, **options):
    graph = frame(VIDEO, context=CONTEXT) if graph is None else graph
    return archsim.simulate(mappers.lower(graph, design, selection=selection, **options), design)


def given(share, resident):
    return GIVEN.with_({"kept": {"frame": share, "question": share, "text": share}, "resident": resident})


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", ["clustered", "scattered"])
@pytest.mark.parametrize("prediction", ["this", "previous"])
@pytest.mark.parametrize("selection", [FULL, BEYOND, GIVEN, CHOSEN, given(0.5, 0.25)], ids=lambda s: s.name)
def test_every_byte_that_is_kept_moves_once(selection, prediction, layout, batch):
    for graph in (
        frame(VIDEO, context=CONTEXT, batch=batch),
        question(VIDEO, context=CONTEXT, prompt=4, batch=batch),
        decode(VIDEO, context=CONTEXT, batch=batch),
    ):
        report = run(TOY, selection, graph, prediction=prediction, layout=layout)
        new = {"frame": FRAME, "question": 4, "decode": 1}[graph.phase.name]
        kept, cached = report.selected, (CONTEXT - new) * LAYERS * batch * TOKEN_BYTES
        assert kept.hit_bytes + kept.miss_bytes == round(kept.kept * cached)
        assert report.traffic["dram"]["read", "cache"] == kept.hit_bytes + kept.miss_bytes
        assert report.traffic["ssd"].get(("read", "fetched"), 0) == kept.miss_bytes
        assert report.traffic["dram"].get(("written", "fetched"), 0) == kept.miss_bytes
        assert report.traffic["dram"]["written", "cache"] == new * LAYERS * batch * TOKEN_BYTES
        stays = round(selection.resident * CONTEXT) - round(selection.resident * (CONTEXT - new))
        evicted = (new - stays) * LAYERS * batch * TOKEN_BYTES
        assert report.traffic["ssd"].get(("written", "evicted"), 0) == evicted
        assert report.units["pcie"].busy_cycles == kept.miss_bytes + evicted  # 1 B a cycle
        skipped = report.skipped.get("work on keys that the selection does not keep", {})
        assert len(report.skipped) <= 1
        dense = graph.counts()["mac"] - skipped.get("mac", 0)
        left = round((1 - kept.kept) * cached)

        assert skipped.get("cache", 0) == left
        assert graph.counts()["mac"] - dense == left // TOKEN_BYTES * new * 2 * 2 * 2


def test_prediction_from_this_layer_adds_the_fetch_and_from_the_one_before_hides_it():
    for resident, context in itertools.product((0.0, 0.5), (35, 64)):
        graph, selection = frame(VIDEO, context=context), FULL.with_({"resident": resident})
        missed = round((context - FRAME) * (1 - resident)) * TOKEN_BYTES
        evicted = (FRAME - round(resident * context) + round(resident * (context - FRAME))) * TOKEN_BYTES
        alone = dict(_sections(run(LINK_BOUND, FULL, graph)))["layers"]
        this = dict(_sections(run(LINK_BOUND, selection, graph, prediction="this")))["layers"]
        ahead = dict(_sections(run(LINK_BOUND, selection, graph, prediction="previous")))
        firings = 40  # at a cycle each: issue, fetch, write, read and attention of each piece, and the launch of each
        assert missed + evicted <= this <= alone + missed + evicted + firings
        assert max(missed + evicted, alone) <= ahead["layers"] <= max(missed + evicted, alone) + firings
        assert missed <= ahead["first fetch"] <= missed + firings
        assert ahead["last layer"] <= alone + evicted + firings
        assert this > alone + missed - firings


def _sections(report):
    return [(name, cycles) for name, _, cycles in report.sections]


@pytest.mark.parametrize("prediction", ["this", "previous"])
def test_more_of_anything_is_never_slower(prediction):
    """But for a ten-thousandth, which the order of the clients of a memory that serves first come may change."""

    def sorted_nearly(times):
        return all(later <= earlier * 1.0001 for earlier, later in itertools.pairwise(times))

    engine, graph = load_design("vrex8"), frame(load_model("videollm_online_8b"), context=500)
    rising = {
        "units.pcie.bandwidth": ["0.1 GB/s", "1 GB/s", "4 GB/s", "32 GB/s"],
        "units.dram.bandwidth": ["51.2 GB/s", "204.8 GB/s", "819.2 GB/s"],
        "units.ssd.bandwidth": ["1 GB/s", "7 GB/s", "14 GB/s"],
        "units.ssd.request_overhead": ["100 us", "10 us", "1 us", "0 s"],
        "units.ssd.request_bytes": ["4 KiB", "16 KiB", "128 KiB"],
        "units.lxe.cores": [1, 2, 8, 48],
        "units.wtu.lanes": [1, 2, 16],
        "units.hcu.bits_per_cycle": ["1 bit", "2 bit", "16 bit"],
        "units.kvmu.requests_per_cycle": [1, 2],
    }
    # What runs beside the layer before is moved by memories and links alone.
    moved_by = ("units.pcie", "units.dram", "units.ssd")
    for path, values in rising.items():
        if prediction == "previous" and not path.startswith(moved_by):
            continue
        times = [run(engine.with_({path: v}), given(0.6, 0.3), graph, prediction=prediction).cycles for v in values]
        assert sorted_nearly(times), path
    shares = [run(engine, given(0.6, r), graph, prediction=prediction).cycles for r in (0.0, 0.25, 0.5, 1.0)]
    assert sorted_nearly(shares)
    kept = [run(engine, given(k, 0.3), graph, prediction=prediction).cycles for k in (0.1, 0.3, 0.6, 1.0)]
    assert sorted_nearly(kept[::-1])


def test_a_request_for_each_cluster_or_each_token():
    slow = TOY.with_({"units.ssd.request_overhead": "1000 us"})  # 1000 cycles a request
    selection = given(0.5, 0.0)
    side_by_side = run(slow, selection, layout="clustered")
    # of 32 tokens 16 are kept; chosen each by itself they lie in 8 stretches
    scattered = run(slow, selection, layout="scattered")
    assert scattered.selected.requests == 8 * LAYERS > side_by_side.selected.requests
    for report in (side_by_side, scattered):
        asked = report.selected.miss_bytes + 1000 * report.selected.requests
        evicted = FRAME * TOKEN_BYTES * LAYERS + 1000 * LAYERS  # a request of its own in each layer
        assert report.units["ssd"].busy_cycles == asked + evicted
    assert run(slow, BEYOND, layout="scattered").selected.requests == LAYERS  # all of it is one stretch


def test_resident_tokens_are_read_cluster_by_cluster_or_stretch_by_stretch():
    """A request of the main memory costs 1000 cycles here; only what is kept of the cache is read in several."""
    slow = TOY.with_({"units.dram.request_overhead": "1000 us", "units.buffer.capacity": "64 KiB"})
    near = CHOSEN.with_({"settings.ratio": 0.1, "resident": 1.0})
    step = plan_of_toy(near).step
    busy = {layout: run(slow, near, layout=layout).units["dram"].busy_cycles for layout in ("clustered", "scattered")}
    assert step.hit_stretches > step.hit_groups
    assert busy["scattered"] - busy["clustered"] == 1000 * LAYERS * (step.hit_stretches - step.hit_groups)


def test_the_region_bounds_what_is_resident():
    graph = frame(VIDEO, context=CONTEXT)
    tokens = 5
    region = tokens * LAYERS * TOKEN_BYTES
    limited = TOY.with_({"units.dram.cache_region": f"{region} B"})
    assert run(limited, FULL, graph).selected.resident_tokens == tokens
    assert run(limited, FULL.with_({"resident": 0.1}), graph).selected.resident_tokens == 3
    assert run(TOY, FULL, graph).selected.resident_tokens == CONTEXT - FRAME
    two = frame(VIDEO, context=CONTEXT, batch=2)  # shared by the sequences
    assert run(limited, FULL, two).selected.resident_tokens == tokens // 2
    hits = run(limited, given(0.5, 1.0), graph).selected
    assert hits.hit_rate == pytest.approx(round(16 * tokens / 32) / 16)


def test_phases_without_a_cache_choose_nothing():
    for graph, rows in ((prefill(VIDEO, prompt=20), 20), (decode(VIDEO, context=1), 1)):
        for selection in (CHOSEN, FULL, BEYOND):
            report = run(TOY, selection, graph)
            assert report.selected is None
            assert not report.skipped
            assert report.traffic["ssd"].get(("read", "fetched"), 0) == 0
            evicted = (rows - round(selection.resident * rows)) * LAYERS * TOKEN_BYTES  # what is not resident leaves
            assert report.traffic["ssd"].get(("written", "evicted"), 0) == evicted


def test_a_design_without_selection_hardware_compares_on_its_cores():
    plain = variant(TOY, hcu=None, wtu=None, kvmu=None)
    report, served = run(plain, CHOSEN), run(TOY, CHOSEN)
    assert report.selected == served.selected
    assert served.units["hcu"].busy_cycles > 0
    assert served.units["wtu"].busy_cycles > 0
    assert report.units["lxe"].busy_cycles > served.units["lxe"].busy_cycles
    none = variant(plain, lxe={"kind": "matmul_array", "macs_per_cycle": 1})
    with pytest.raises(MappingError, match="no unit of 'toy_retrieval' does"):
        run(none, CHOSEN)


def test_what_does_not_fit_is_refused():
    graph = frame(VIDEO, context=CONTEXT)
    with pytest.raises(MappingError, match="tiers: 'toy' does not say in which memories the cache lies"):
        mappers.lower(graph, load_design("toy"), mapper="retrieval")
    near = TOY.with_({"tiers": ["buffer", "dram"]})
    assert run(near, FULL, graph).selected.miss_bytes == 0
    with pytest.raises(MappingError, match="no memory holds 17 of the 35 cached tokens of 'toy_video'"):
        run(near, FULL.with_({"resident": 0.5}), graph)
    with pytest.raises(MappingError, match=r"lm_head 64 B, cache 560 B; units\.dram\.capacity asked"):
        run(TOY.with_({"units.dram.capacity": "1 kB", "units.dram.cache_region": "1 kB"}), FULL, graph)
    with pytest.raises(MappingError, match=r"is to hold cache 560 B; units\.ssd\.capacity asked 560 B, there is 256 B"):
        run(TOY.with_({"units.ssd.capacity": "256 B"}), BEYOND, graph)
    with pytest.raises(InputError, match="mapper 'tiled' has no option 'selection'"):
        mappers.lower(prefill(load_model("toy_llm"), prompt=2), load_design("toy"), selection=FULL)


def test_the_same_tiles_are_the_same_numbers():
    graph = frame(VIDEO, context=CONTEXT, batch=2)
    tensors = random_tensors(graph, 3)
    expected = evaluate(graph, tensors)
    for selection in (FULL, BEYOND):
        schedule = mappers.lower(graph, TOY, selection=selection)
        for name, array in replay(schedule, tensors).items():
            # FP32 sums of whole matrices and of their pieces are added in other orders.
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-5, err_msg=name)
    with pytest.raises(ScheduleError, match=r"leaves out work .*: work on keys that the selection does not keep"):
        replay(mappers.lower(graph, TOY, selection=given(0.5, 1.0)), tensors)


def test_a_link_never_carries_more_than_it_can(monkeypatch):
    monkeypatch.setattr(Channel, "_cycles", lambda self, work: 1)  # a link that takes no time for its bytes
    with pytest.raises(LawBroken, match=r"unit 'pcie': \d+ bytes in a time in which it carries"):
        run(LINK_BOUND, BEYOND)


@pytest.mark.parametrize("prediction", ["this", "previous"])
@pytest.mark.parametrize("prompt", [1, 3, 20])
@pytest.mark.parametrize("selection", [given(0.5, 0.5), CHOSEN], ids=lambda s: s.name)
def test_generated_tokens_choose_anew_at_each_step(selection, prompt, prediction):
    """Also where one step fetches and the next does not, so that they have different tasks."""
    asked = {"selection": selection, "options": {"prediction": prediction}}
    report = mappers.run(TOY, VIDEO, phase="generate", prompt=prompt, tokens=5, **asked)
    contexts = range(prompt + 1, prompt + 5)
    alone = [mappers.run(TOY, VIDEO, phase="decode", context=c, **asked) for c in contexts]
    assert [cycles for _, cycles in report.steps] == [step.cycles for step in alone]
    busy = sum(step.op("layer1.attention").busy_cycles for step in alone)
    assert report.op("decode: layer1.attention").busy_cycles == busy
    for name, peak in report.peaks.items():
        if name.startswith("decode: "):
            of_steps = [step.peaks[name.removeprefix("decode: ")][0] for step in alone if name[8:] in step.peaks]
            assert peak[0] == max(of_steps)


def test_tiles_fill_the_trees_whatever_the_memory_on_chip():
    """2048 rows multiply for longer than their weights take: all trees are busy, so a larger memory saves bytes."""
    design, model = load_design("vrex8"), load_model("videollm_online_8b")
    graph = prefill(model, prompt=2048)
    at_peak = graph.counts()["mac"] / (8 * 64 * 64)
    sizes = ("3 MiB", "7 MiB", "18 MiB", "300 MiB", "700 MiB", "2 GiB")
    times = [run(design.with_({"units.buffer.capacity": size}), FULL, graph) for size in sizes]
    for report in times:
        assert at_peak < report.units["lxe"].busy_cycles < 1.02 * at_peak
    assert all(smaller.cycles >= larger.cycles for smaller, larger in itertools.pairwise(times))
    # Of the larger ones no activation spills: nothing stays to be saved but what is computed before all has come.
    assert [("written", "activation") in r.traffic["dram"] for r in times] == 3 * [True] + 3 * [False]
    assert len({r.cycles for r in times[3:]}) == 1
    weights = [report.traffic["dram"]["read", "weight"] for report in times]
    assert graph.bytes_of("weight") <= min(weights)
    assert max(weights[3:]) < 1.05 * graph.bytes_of("weight")


def test_what_asks_no_query_is_fetched_from_the_start():
    """All of the cache is wanted in any case; a rule that scores waits for the query."""
    ends = {}
    for selection in (BEYOND, CHOSEN.with_({"settings.ratio": 1.0, "resident": 0.0})):
        schedule = mappers.lower(frame(VIDEO, context=CONTEXT), TOY, selection=selection)
        section = next(s for s in schedule.sections if s.name == "layers")
        issue = next(task for task in section.tasks if task.name == "issue")
        ends[selection.name] = bool(issue.takes)
    assert ends == {"flexgen": False, "resv": True}


def test_a_cache_of_bits_and_a_variant_s_power_are_told():
    ternary = VIDEO.model_copy(update={"cache": "ternary"})
    with pytest.raises(MappingError, match="5/3 bit; keys of a head are fetched in whole bytes"):
        run(TOY, FULL, frame(ternary, context=CONTEXT))
    int8 = VIDEO.model_copy(update={"weights": "int8"})
    report = run(TOY, FULL, frame(int8, context=8))
    assert "weights or keys in int8 are multiplied at the rate of 16-bit ones" in report.approximated
    told = "power is published of what was built, and units.pcie.bandwidth differs: power and energy are not known"
    engine = load_design("vrex8")
    assert told in engine.with_({"units.pcie.bandwidth": "8 GB/s"}).not_derived()[0]
    assert engine.not_derived() == engine.with_({"power": "30 W"}).not_derived() == ()


def lowered(design, selection, graph=None, **options):
    graph = frame(VIDEO, context=CONTEXT) if graph is None else graph
    schedule = mappers.lower(graph, design, selection=selection, **options)
    (layers,) = (s for s in schedule.sections if s.name == "layers")
    return {task.name: task for task in layers.tasks}


def waits_for(tasks, name):
    """The tasks whose tokens the first firing of this one takes."""
    streams = {stream for stream, pattern in tasks[name].takes.items() if pattern.at(0)}
    return {task.name for task in tasks.values() if streams & set(task.gives)}


@pytest.mark.parametrize("manager", [TOY.document.data["units"]["kvmu"], None], ids=["with kvmu", "without"])
def test_nothing_starts_before_what_it_needs_is_known(manager):
    tasks = lowered(variant(TOY, kvmu=manager), CHOSEN)
    last = max((name for name in tasks if name.startswith("select")), key=lambda name: int(name.split()[1]))
    assert waits_for(tasks, "issue" if manager else "fetch") == {last}
    assert waits_for(tasks, "attention") == {last}
    assert waits_for(tasks, "read kept") == {last}
    assert waits_for(tasks, "attention to fetched") >= {"attention"}
    assert waits_for(tasks, "read fetched") == {"fetched"}
    assert waits_for(tasks, "fetched") == {"fetch over pcie"}
    assert waits_for(tasks, "o") >= {"attention to fetched"}
    assert waits_for(tasks, "store k_rope through buffer") == {"k_rope"}
    assert waits_for(tasks, "store v through buffer") == {"v"}
    assert waits_for(tasks, "evict") == {last}
    assert waits_for(tasks, "read metadata") == {"k_rope"}
    assert waits_for(tasks, "select 1 score") == {"k_rope", "read metadata"}


def test_what_choosing_reads_and_does_is_that_of_each_sequence():
    one, two = (run(TOY, CHOSEN, frame(VIDEO, context=CONTEXT, batch=batch)) for batch in (1, 2))
    assert two.traffic["dram"]["read", "metadata"] == 2 * one.traffic["dram"]["read", "metadata"] > 0
    assert two.units["hcu"].busy_cycles == 2 * one.units["hcu"].busy_cycles
    assert two.units["wtu"].busy_cycles == 2 * one.units["wtu"].busy_cycles
    assert two.recomputed["mac"] == 2 * one.recomputed["mac"]
    assert two.selected.requests == 2 * one.selected.requests
    assert two.selected.kept == one.selected.kept


def test_without_units_of_its_own_choosing_is_comparisons():
    """One a cycle on the toy: hashes with those cached and among the new, scores in each pass."""
    schedule = mappers.lower(frame(VIDEO, context=CONTEXT), variant(TOY, hcu=None, wtu=None), selection=CHOSEN)
    (layers,) = (s for s in schedule.sections if s.name == "layers")
    done = {task.name: task.counts for task in layers.tasks if task.name.startswith("select")}
    found = [item for task in layers.tasks if task.name.startswith("select") for item, _ in task.work]
    plan = plan_of_toy()
    hashes = next(w for w in plan.step.works if w.kind == "hash_compare")
    passes = next(w for w in plan.step.works if w.kind == "threshold")
    new, old = hashes["current"], hashes["cached"]
    expected = [new * old + new * (new - 1) // 2, passes["columns"] * (passes["rows"] + passes["passes"])]
    compares = [w["comparisons"] for w in found if w.kind == "compare"]
    assert compares[:2] == expected
    assert len(done) == len(plan.step.works)


def plan_of_toy(selection=CHOSEN):
    graph = frame(VIDEO, context=CONTEXT)
    return plan_cache(graph, TOY, Tiers.of(graph, TOY), selection, 0, prediction="this", layout="clustered")


def test_buckets_on_both_sides_of_the_gate():
    every = CHOSEN.with_({"settings.ratio": 1.0})  # every row makes a pass of each of its 20 buckets
    run(TOY.with_({"units.wtu.buckets": 20}), every)
    with pytest.raises(MappingError, match=r"units\.wtu\.buckets asked 20, there is 19"):
        run(TOY.with_({"units.wtu.buckets": 19}), every)


@pytest.mark.parametrize("prediction, staged", [("this", 1), ("previous", 2)])
def test_memories_on_both_sides_of_their_capacity(prediction, staged):
    graph = frame(VIDEO, context=CONTEXT, batch=2)
    selection = FULL.with_({"resident": 0.5})
    weights = VIDEO.weight_bytes
    near, missed = round(0.5 * CONTEXT), CONTEXT - FRAME - round(0.5 * (CONTEXT - FRAME))
    held = weights + 2 * TOKEN_BYTES * (LAYERS * near + staged * missed)
    beyond = 2 * TOKEN_BYTES * LAYERS * (CONTEXT - near)
    for path, least in (("units.dram.capacity", held), ("units.ssd.capacity", beyond)):
        region = {"units.dram.cache_region": "1 kB"}
        run(TOY.with_({path: f"{least} B", **region}), selection, graph, prediction=prediction)
        with pytest.raises(MappingError, match=path):
            run(TOY.with_({path: f"{least - 1} B", **region}), selection, graph, prediction=prediction)


def test_without_a_region_the_cache_has_what_weights_leave():
    graph = frame(VIDEO, context=CONTEXT)
    weights, tokens = VIDEO.weight_bytes, 5
    room = weights + (tokens * LAYERS + 1) * TOKEN_BYTES  # and a token that a layer fetches
    one_token = given(1 / 32, 1.0)
    assert run(TOY.with_({"units.dram.capacity": f"{room} B"}), one_token, graph).selected.resident_tokens == tokens
    with pytest.raises(MappingError, match="lm_head 64 B, cache 80 B, fetched 216 B"):
        run(TOY.with_({"units.dram.capacity": f"{room} B"}), FULL, graph)


def test_each_phase_keeps_its_own_share():
    selection = GIVEN.with_({"kept": {"frame": 0.25, "question": 0.5, "text": 0.75}})
    graphs = (
        frame(VIDEO, context=CONTEXT), question(VIDEO, context=36, prompt=4), decode(VIDEO, context=33),
    )  # fmt: skip
    assert [run(TOY, selection, graph).selected.kept for graph in graphs] == [0.25, 0.5, 0.75]


def test_layers_that_differ_are_refused():
    graph = frame(VIDEO, context=CONTEXT)
    op = graph.ops["layer1.q"]
    graph.ops["layer1.q"] = replace(op, work=work("matmul", m=1, k=1, n=1))
    with pytest.raises(MappingError, match=r"the ops of 'layer1\.' differ from those of 'layer0\.'"):
        mappers.lower(graph, TOY, selection=FULL)


def test_a_report_says_what_is_given_and_what_is_drawn():
    def notes(selection, **options):
        return " ".join(run(TOY, selection, **options).approximated)

    assert "the kept share (50.0% of the cached tokens) is given" in notes(given(0.5, 0.5))
    assert "keys drawn at random (seed 0), not on keys of the model" in notes(CHOSEN)
    assert "drawn" not in notes(FULL)
    assert "the quality of such a prediction is not known" in notes(CHOSEN, prediction="previous")
    assert run(TOY, CHOSEN, prediction="previous").selected.mass_recall is None
    assert run(TOY, CHOSEN).selected.mass_recall is not None
    assert run(TOY, FULL, prediction="previous").selected.mass_recall == 1.0


@pytest.mark.parametrize("error", [-1e-9, 1e-9])
def test_measures_have_the_digits_that_every_machine_gives(error, monkeypatch):
    """Sums of float32 in another order, as on more threads, differ in the ninth digit."""

    def on_another_machine(*given, **asked):
        step = selection_step(*given, **asked)
        return replace(step, **{name: getattr(step, name) * (1 + error) for name in MEASURES})

    here = [run(TOY, load_selection(name)).selected for name in ("resv", "quest", "streaming_llm")]
    monkeypatch.setattr("mappers.retrieval.cache.selection_step", on_another_machine)
    assert [run(TOY, load_selection(name)).selected for name in ("resv", "quest", "streaming_llm")] == here


def test_a_generation_leaves_out_what_its_steps_do():
    asked = {"selection": given(0.5, 0.5)}
    report = mappers.run(TOY, VIDEO, phase="generate", prompt=20, tokens=4, **asked)
    steps = [mappers.run(TOY, VIDEO, phase="decode", context=c, **asked) for c in (21, 22, 23)]
    ((reason, counts),) = report.skipped.items()
    for what in ("mac", "exp", "cache"):
        assert counts[what] == sum(step.skipped[reason][what] for step in steps)
    assert report.selected == steps[-1].selected


def test_what_is_under_way_and_what_a_link_carried():
    report = run(TOY, given(0.5, 0.5))
    assert sum(report.carried["pcie"].values()) == report.units["pcie"].busy_cycles
    assert report.under_way["fetch"] >= report.parts["fetch"] > 0
    assert max(report.under_way.values()) <= report.cycles
    assert report.under_way["selection"] >= report.units["hcu"].busy_cycles + report.units["wtu"].busy_cycles


ENGINES = ("vrex8", "vrex48", "agx_orin", "a100")


@pytest.mark.parametrize("name", shipped("selections"))
def test_any_selection_runs_on_any_design(name):
    """One layer of the real model; what is kept does not depend on what it runs on."""
    model = load_model("videollm_online_8b")
    model = model.model_copy(update={"layers": 1, "vision": model.vision.model_copy(update={"layers": 1})})
    graph, selection = frame(model, context=13_000), load_selection(name).with_({"resident": 0.3})
    reports = [run(load_design(engine), selection, graph) for engine in ENGINES]
    assert len({(r.selected.kept, r.selected.hit_rate, r.selected.mass_recall) for r in reports}) == 1
    slow, fast = reports[0], reports[1]
    assert fast.seconds < slow.seconds
    assert all(r.under_way["fetch"] > 0 for r in reports if r.selected.miss_bytes)


def test_pieces_are_read_on_chip_while_the_one_before_is_multiplied():
    """A prompt whose products take as long as their weights: whichever is longer shows, not their sum."""
    design, model = load_design("vrex8"), load_model("videollm_online_8b")
    graph = prefill(model, prompt=320)
    shipped, instant = (
        run(d, FULL, graph).cycles for d in (design, design.with_({"units.buffer.bandwidth": "1 MB/cycle"}))
    )
    assert shipped < 1.01 * instant


def test_a_number_that_a_variant_sets_is_fitted_no_more():
    engine = load_design("vrex8")
    assert engine.fits() == {"units.dram.request_overhead": "tpot_1000"}
    other = engine.with_({"units.dram.request_overhead": "1 ns"})
    assert (other.fits(), other.assumptions()["units.dram.request_overhead"]) == ({}, "set in this variant")
    chosen = GIVEN.with_({"resident": 0.1})
    report = run(other, chosen, frame(load_model("videollm_online_8b"), context=500))
    assert report.fitted == {}
    assert report.assumed["selection.resident"] == "set in this variant"


def test_a_peak_is_held_against_the_depth_of_its_own_step():
    slow = TOY.with_({"units.ssd.latency_cycles": 1000})
    chosen = GIVEN.with_({"resident": 0.0, "kept": {"frame": 0.5, "question": 0.5, "text": 0.5}})
    for layout in ("clustered", "scattered"):
        report = mappers.run(
            slow, VIDEO, phase="generate", prompt=3, tokens=30, selection=chosen, options={"layout": layout}
        )
        assert all(peak <= depth for peak, depth, _ in report.peaks.values())


def test_what_leaves_is_written_in_whole_requests_whatever_is_on_chip():
    writes = set()
    for size in ("1 KiB", "4 KiB", "64 KiB"):
        slow = TOY.with_({"units.ssd.request_overhead": "1000 us", "units.buffer.capacity": size})
        report = run(slow, BEYOND, prefill(VIDEO, prompt=60))
        assert report.traffic["ssd"]["written", "evicted"] == 60 * LAYERS * TOKEN_BYTES
        writes.add(report.units["ssd"].busy_cycles)
    assert writes == {60 * LAYERS * TOKEN_BYTES + 1000 * LAYERS}


@pytest.mark.parametrize("prediction", ["this", "previous"])
def test_a_mapping_is_used_again_around_each_form_of_a_fetch(prediction):
    """Also where the last of the layers, which fetches nothing, is a section of its own: its ops have one entry."""
    graph, options = frame(VIDEO, context=CONTEXT), {"selection": CHOSEN, "prediction": prediction}
    planned = mappers.lower(graph, TOY, **options)
    mapping = planned.options["mapping"]
    assert {"layer*.q", "layer*.down", "vision.layer*.up"} < set(mapping.ops)
    assert mappers.lower(graph, TOY, mapping=mapping, **options).sections == planned.sections
    assert mapping.written() == mappers.plan(graph, TOY, **options).written()


def test_a_design_of_retrieval_has_a_mapping_of_its_own():
    graph = prefill(load_model("videollm_online_8b"), prompt=64)
    said = {"tile": {"k": 64}, "ahead": "op", "ops": {"layer*.up": {"tile": {"m": 32}}}}
    engine = load_design("vrex8").with_({"mapping": said})
    mapping = mappers.plan(graph, engine)
    assert mapping.ops["layer*.up"].tile["m"] == 32
    assert {one.tile["k"] for key, one in mapping.ops.items() if key != "layer*.up"} == {64}
    with pytest.raises(MappingError, match=r"mapping: ops\.layer\*\.up\.tile\.m: 65 of an extent of 64"):
        mappers.lower(graph, engine.with_({"mapping.ops.layer*.up.tile.m": 65}))


def test_weights_begin_before_their_op_only_where_the_mapping_says_so():
    graph = prefill(load_model("videollm_online_8b"), prompt=64)
    waits = {}
    for ahead in ("op", "next_op"):
        engine = load_design("vrex8").with_({"mapping": {"ahead": ahead}})
        tasks = next(s for s in mappers.lower(graph, engine).sections if s.name == "layers").tasks
        load = next(task for task in tasks if task.name == "load gate")
        waits[ahead] = {stream.partition(" done")[0] for stream in load.takes if " done > " in stream}
    assert "up" in waits["op"]
    assert "up" not in waits["next_op"]


def test_new_rows_leave_whole_while_their_sums_come_back():
    """Values lie outside the chip and go to the cache too: sums over half of k leave twice, rows of a cache once."""
    far = TOY.with_({"home.activation": "dram"})
    graph = frame(VIDEO, context=CONTEXT)
    tensors = random_tensors(graph, 5)
    moved = {}
    for apart, k in ((True, VIDEO.hidden // 2), (False, VIDEO.hidden)):
        entry = {"tile": {"batch": 1, "m": FRAME, "n": 1, "k": k}, "order": ["batch", "k", "m", "n"]}
        design = far.with_({"mapping": {"ops": {"layer*.v": entry}}})
        schedule = mappers.lower(graph, design)
        report = archsim.simulate(schedule, design)
        moved[apart] = report.traffic["dram"]
        for name, array in replay(schedule, tensors).items():
            np.testing.assert_allclose(array, evaluate(graph, tensors)[name], rtol=0, atol=1e-5, err_msg=name)
    values = LAYERS * FRAME * VIDEO.kv_heads * VIDEO.head_dim * 2
    assert moved[True]["written", "cache"] == moved[False]["written", "cache"]
    assert moved[True]["written", "activation"] == moved[False]["written", "activation"] + values
    assert moved[True]["read", "activation"] == moved[False]["read", "activation"] + values


def test_a_mapping_names_the_unit_that_attends():
    place = {"place": [{"phase": "frame", "unit": "lxe"}]}
    twice = variant(TOY, other=TOY.document.data["units"]["lxe"]).with_(place)
    for entries, expected in (({}, "lxe"), ({"layer*.attention": {"unit": "other"}}, "other")):
        schedule = mappers.lower(frame(VIDEO, context=CONTEXT), twice.with_({"mapping": {"ops": entries}}))
        units = {task.name: task.unit for section in schedule.sections for task in section.tasks if task.computing}
        assert units["attention"] == expected
        assert {unit for name, unit in units.items() if name != "attention"} == {"lxe"}


def test_a_memory_with_an_order_of_its_own_is_refused():
    with pytest.raises(MappingError, match=r"units\.dram\.arbitration: in_order; tiles of several operands pass it"):
        run(TOY.with_({"units.dram.arbitration": "in_order"}), FULL)


@pytest.mark.parametrize("layout", ["clustered", "scattered"])
@pytest.mark.parametrize("prediction", ["this", "previous"])
@pytest.mark.parametrize("selection", [BEYOND, given(0.5, 0.0)], ids=lambda s: s.name)
def test_what_is_fetched_early_lies_where_nothing_else_does(selection, prediction, layout):
    """Over a fast link, with nothing resident, fetched tokens are on chip while the new rows are still being made."""
    quick = {"pcie": "1 MB/cycle", "ssd": "1 MB/cycle", "dram": "1 kB/cycle", "buffer": "1 kB/cycle"}
    fast = TOY.with_({f"units.{name}.bandwidth": rate for name, rate in quick.items()} | {"home.activation": "dram"})
    for context in (7, 17):
        graph = decode(VIDEO, context=context)
        assert run(fast, selection, graph, prediction=prediction, layout=layout).cycles > 0


def test_a_deeper_queue_in_a_memory_lies_beside_the_others():
    schedule = mappers.lower(decode(VIDEO, context=20), TOY, selection=FULL)
    queue = "embedding: load embedding > load embedding on chip"
    deeper = schedule.with_depths({queue: 8})
    changed, was = deeper.sections[0], schedule.sections[0]
    assert {stream.at for stream in changed.streams if stream.memory == "buffer"} == {None}
    assert changed.queues()["buffer"] == sum(stream.bytes for stream in changed.streams if stream.memory == "buffer")
    assert changed.queues()["buffer"] > was.queues()["buffer"]
    assert archsim.simulate(deeper, TOY).cycles <= archsim.simulate(schedule, TOY).cycles
    assert schedule.with_depths({queue: 1}).sections[0].streams[0].at is not None
