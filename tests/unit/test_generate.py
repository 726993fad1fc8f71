"""A generation: hand-counted on the toy, and to the last integer the sum of its prefill and decode steps run alone."""

import gc
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

import archsim
import dataflow
import dataflow.models.phases
import mappers
from archsim.engine.flat import flatten
from archsim.engine.memo import Memo
from archsim.report.json import as_json
from archsim.run import schedule_run as runs
from archsim.run.bound import bound, lower_bound
from archsim.run.laws import LawBroken
from dataflow import Graph, ScheduleError, Section, Served, Stream, Task, every, sequence, work
from dataflow.models.phases import Generate, next_step
from mappers.registry import lower_step
from mappers.tiled.mapper import Tiled

TOY, TOY_LLM = archsim.load_design("toy"), archsim.load_model("toy_llm")
JOULES = {
    "units.mm.energy": {"mac": "1 J", "exp": "0 J"},
    "units.vec.energy": {"flop": "2 J"},
    "units.ddr.energy": {"read": "3 J", "written": "4 J"},
}
TELLME, BITNET = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")
LARGER = TELLME.with_({"units.weight_buffer.regions": 6, "resources.budget.uram": 200})
SMALL = BITNET.model_copy(update={"layers": 3, "vocab": 64, "hidden": 96, "ffn": 128, "heads": 2, "kv_heads": 2,
                                  "head_dim": 48})  # fmt: skip
AHEAD = {"mapping.ahead": "next_op", "mapping.buffers": 2}
SINGLE, DOUBLE = {"weight_buffering": "single"}, {"weight_buffering": "double"}
MACHINES = [
    pytest.param(TOY.with_(JOULES), TOY_LLM, {}, id="toy"),
    pytest.param(TOY.with_(AHEAD), TOY_LLM, {}, id="toy-ahead"),
    pytest.param(TELLME, SMALL, SINGLE, id="tellme-single"),
    pytest.param(LARGER, SMALL, DOUBLE, id="tellme-double"),
    pytest.param(TELLME, SMALL, {"attention_order": "plain"}, id="tellme-plain"),
]
# Their windows begin to cut in the course of the steps below.
WINDOWED = [
    pytest.param(TOY.with_(JOULES), TOY_LLM.model_copy(update={"window": 3}), {}, id="toy-window"),
    pytest.param(TELLME, SMALL.model_copy(update={"window": 3}), SINGLE, id="tellme-window"),
    pytest.param(LARGER, SMALL.model_copy(update={"window": 7}), DOUBLE, id="tellme-double-window"),
    pytest.param(TELLME, SMALL.model_copy(update={"window": 3}), {"attention_order": "plain"}, id="plain-window"),
]


def cycles_by_hand(rows, keys, pairs):
    """Counted op by op in test_plainest.py: a layer loads 63 bytes and takes 204 cycles a row beside its attention.

    A row is also 8 bytes and 4 cycles of embedding, 4 of the last norm, and in each of the 2 layers 4 bytes of new
    keys; a key is 8 bytes of cache, a pair 8 multiply-adds. Last norm and head load 40 bytes, the head takes 32 cycles.
    """
    return rows * (8 + 4) + 2 * (63 + 204 * rows + 4 * rows + 8 * keys + 8 * pairs) + 4 * rows + 40 + 32


def decode_cycles(context):
    return cycles_by_hand(rows=1, keys=context, pairs=context)


def test_toy_generation_counted_by_hand():
    assert decode_cycles(3) == 726
    report = mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=4)
    assert report.prefill_cycles == cycles_by_hand(rows=2, keys=2, pairs=1 + 2)
    assert report.steps == tuple((context, decode_cycles(context)) for context in (3, 4, 5))
    assert report.cycles == report.prefill_cycles + decode_cycles(3) + decode_cycles(4) + decode_cycles(5)
    assert report.mapped == 4 * (1 + 2 * 28 + 2)  # embedding, 28 ops a layer, last norm and head
    assert report.tokens == 4
    assert (report.phase, report.tokens) == (Generate(prompt=2, tokens=4), 4)
    megahertz = 10**6
    assert report.ttft_seconds == report.prefill_cycles / megahertz
    assert report.tpot_seconds == decode_cycles(4) / megahertz
    assert report.step_seconds == tuple(decode_cycles(context) / megahertz for context in (3, 4, 5))
    assert report.decode_tokens_per_second == pytest.approx(megahertz / decode_cycles(4), rel=1e-15)
    assert report.tokens_per_second == 4 / report.seconds


def test_what_a_phase_does_not_have_is_none():
    prefill = mappers.run(TOY, TOY_LLM, phase="prefill", prompt=3)
    assert prefill.ttft_seconds == prefill.seconds
    assert (prefill.tpot_seconds, prefill.steps, prefill.decode_tokens_per_second) == (None, (), None)
    decode = mappers.run(TOY, TOY_LLM, phase="decode", context=3)
    assert decode.ttft_seconds is None
    assert decode.tpot_seconds == decode.seconds == 726e-6
    assert decode.decode_tokens_per_second == decode.tokens_per_second
    data = as_json(prefill)
    assert [data[key] for key in ("tpot_seconds", "tpot_first_seconds", "steps")] == [None] * 3
    assert as_json(decode)["steps"] == [{"context": 3, "cycles": 726}]


def test_one_token_is_the_prefill_alone():
    report = mappers.run(TOY, TOY_LLM, phase="generate", prompt=3, tokens=1)
    alone = mappers.run(TOY, TOY_LLM, phase="prefill", prompt=3)
    assert (report.cycles, report.units, report.traffic) == (alone.cycles, alone.units, alone.traffic)
    assert [replace(op, name=op.name.removeprefix("prefill: ")) for op in report.ops] == list(alone.ops)
    assert (report.tokens, report.steps, report.tpot_seconds) == (1, (), None)
    assert "TPOT" not in str(report)


def test_energy_counts_every_firing():
    report = mappers.run(TOY.with_(JOULES), TOY_LLM, phase="generate", prompt=3, tokens=2)
    graphs_run = dataflow.prefill(TOY_LLM, prompt=3), dataflow.decode(TOY_LLM, context=4)
    counts = sum((Counter(graph.counts()) for graph in graphs_run), Counter())
    assert report.units["mm"].energy_joules == counts["mac"]
    assert report.units["vec"].energy_joules == 2 * counts["flop"]
    moved = report.bytes_moved("ddr", "read"), report.bytes_moved("ddr", "written")
    assert report.units["ddr"].energy_joules == 3 * moved[0] + 4 * moved[1]


def test_a_batch_makes_a_token_each():
    report = mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=3, batch=2)
    alone = [mappers.run(TOY, TOY_LLM, phase="decode", context=c, batch=2).cycles for c in (3, 4)]
    assert [cycles for _, cycles in report.steps] == alone
    assert report.tokens == 6
    assert report.decode_tokens_per_second == pytest.approx(4 / (sum(alone) / 1e6), rel=1e-15)


@pytest.mark.parametrize("prompt, tokens", [(1, 4), (5, 3)])
@pytest.mark.parametrize("design, model, options", MACHINES + WINDOWED)
def test_a_generation_is_the_sum_of_its_parts(design, model, options, prompt, tokens):
    whole = mappers.run(design, model, phase="generate", prompt=prompt, tokens=tokens, options=options)
    prefill = mappers.run(design, model, phase="prefill", prompt=prompt, options=options)
    steps = [
        mappers.run(design, model, phase="decode", context=context, options=options)
        for context in range(prompt + 1, prompt + tokens)
    ]
    parts = [prefill, *steps]
    graph = dataflow.prefill(model, prompt=prompt)
    assert prefill.lower_bound_cycles == lower_bound(mappers.lower(graph, design, **options), design)
    for name in ("cycles", "lower_bound_cycles", "firings", "mapped"):
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts), name
    assert whole.recomputed == sum((Counter(part.recomputed) for part in parts), Counter())
    assert whole.approximated == prefill.approximated
    assert (whole.assumed, whole.fitted) == (prefill.assumed, prefill.fitted)
    assert whole.options in (prefill.options, steps[-1].options)  # of a mapping that of the steps
    for name, unit in whole.units.items():
        mine = [part.units[name] for part in parts]
        for field in ("busy_cycles", "starved_cycles", "blocked_cycles", "idle_cycles", "busiest_cycles"):
            assert getattr(unit, field) == sum(getattr(one, field) for one in mine), (name, field)
        assert unit.waits == sum((Counter(one.waits) for one in mine), Counter()), name
        energies = [one.energy_joules for one in mine]
        assert unit.energy_joules == (None if None in energies else sum(energies)), name
    for memory, cells in whole.traffic.items():
        assert cells == sum((Counter(part.traffic[memory]) for part in parts), Counter())
    assert whole.parts == sum((Counter(part.parts) for part in parts), Counter())
    assert [cycles for _, _, cycles in whole.sections] == [cycles for part in parts for _, _, cycles in part.sections]
    assert whole.steps == tuple(step for part in steps for step in part.steps)
    assert whole.prefill_cycles == prefill.cycles
    for name, (peak, *rest) in whole.peaks.items():
        phase, _, stream = name.partition(": ")
        mine = [part.peaks[stream] for part in parts if part.phase.name == phase]
        assert (peak, rest) == (max(one[0] for one in mine), [*mine[0][1:]]), name
    assert list(whole.ops) == list(expected_ops(prefill, steps))


def expected_ops(prefill, steps):
    for op in prefill.ops:
        yield replace(op, name=f"prefill: {op.name}")
    begun = prefill.cycles + sum(step.cycles for step in steps[:-1])
    for first, last in zip(steps[0].ops, steps[-1].ops, strict=True):
        yield replace(
            first,
            name=f"decode: {first.name}",
            start_cycle=prefill.cycles + first.start_cycle,
            end_cycle=begun + last.end_cycle,
            busy_cycles=sum(step.op(first.name).busy_cycles for step in steps),
        )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["toy_llm", "bitnet_b158_large", "llama3_8b"])
def test_the_graph_of_the_next_step_is_the_one_built_anew(name, batch):
    model = archsim.load_model(name)
    step = dataflow.decode(model, context=1, batch=batch)
    for context in range(2, 6):
        before, step = step, next_step(model, step)
        anew = dataflow.decode(model, context=context, batch=batch)
        assert step == anew
        assert [list(step.ops), list(step.tensors)] == [list(anew.ops), list(anew.tensors)]
    changed = {name for name, op in step.ops.items() if op is not before.ops[name]}
    assert changed == {f"layer{i}.{op}" for i in range(model.layers) for op in ("q_rope", "k_rope", "attention")}


def test_the_next_step_is_refused_where_the_model_ends():
    with pytest.raises(archsim.GraphError, match="takes 1 to 64 tokens, got 65"):
        next_step(TOY_LLM, dataflow.decode(TOY_LLM, context=64))


def in_order(section):
    """The section with the order of its tasks' streams, which == does not look at."""
    return section, [(t.name, list(t.takes), list(t.gives)) for t in section.tasks]


@pytest.mark.parametrize("design, model, options", [*MACHINES, pytest.param(TELLME, BITNET, SINGLE, id="bitnet")])
def test_the_schedule_of_a_step_is_the_one_lowered_anew_and_shares_the_rest(design, model, options):
    schedule = mappers.lower(dataflow.decode(model, context=2), design, **options)
    memo = Memo()
    for context in range(3, 7):
        last, schedule = schedule, lower_step(dataflow.decode(model, context=context), design, previous=schedule)
        anew = mappers.lower(dataflow.decode(model, context=context), design, **options)
        assert schedule == anew
        assert list(map(in_order, schedule.sections)) == list(map(in_order, anew.sections))
        for section, old in zip(schedule.sections, last.sections, strict=True):
            changed = {t.name for t, was in zip(section.tasks, old.tasks, strict=True) if t is not was}
            calls = {"attention", "load attention"} if design.name == "toy" else {
                "attention.scores", "attention.values", "attention.k.read", "attention.v.read"}  # fmt: skip
            assert changed == (calls & {t.name for t in section.tasks})
            assert (section is old) == (not changed)
            pair = Memo()
            bound(flatten(old, design, pair), pair)
            flat = flatten(section, design, pair)
            assert flat == flatten(section, design)
            assert bound(flat, pair).cycles == bound(flat).cycles
        run = runs.run_schedule(schedule, design, engine="auto", memo=memo)
        assert run == runs.run_schedule(anew, design, engine="auto")


def test_every_step_is_checked_against_the_laws(monkeypatch):
    def broken(change, at):
        ran = archsim.engine.run
        calls = []

        def run(flat, **how):
            calls.append(flat.section)
            result = ran(flat, **how)
            return change(result) if len(calls) == at else result

        monkeypatch.setattr(runs, "run", run)
        return calls

    # Three sections of the prefill and of the first step, then the layers of each step alone.
    calls = broken(lambda r: r, 0)
    mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=4)
    assert calls == [*["embedding", "layers", "final_norm"] * 2, "layers", "layers"]
    broken(lambda r: replace(r, cycles=r.cycles + 1), 8)
    with pytest.raises(LawBroken, match="busy \\+ starved"):
        mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=4)
    broken(lambda r: r, 0)
    lost = dataflow.models.phases.next_step
    short = lambda model, step: lost(model, lost(model, step))  # noqa: E731
    monkeypatch.setattr(Tiled, "step", lambda _, previous, graph, design: replace(previous, graph=graph))
    monkeypatch.setattr("dataflow.models.phases.next_step", short)
    with pytest.raises(ScheduleError, match="mac: scheduled"):
        mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=4)


def test_what_is_stored_is_asked_anew_where_other_ops_make_the_tensors():
    """The product is made by an op in the first graph; in the second nothing makes it, so that it must be read."""
    fp16 = dataflow.FORMATS["fp16"]
    graph = Graph("pair")
    graph.add_tensor(dataflow.Tensor("x", (3, 4), fp16, "input"))
    graph.add_tensor(dataflow.Tensor("w", (5, 4), fp16, "weight"))
    graph.add("y", "matmul", ("x", "w"), format=fp16, role="weight")
    product = replace(graph.tensors["y"], name="z", role="activation")
    op = replace(graph.ops["y"], name="z", outputs=("z",))
    other = replace(graph, tensors={**graph.tensors, "z": product}, ops={"z": op})
    memo = Memo()
    runs.run_schedule(mappers.lower(graph, TOY), TOY, engine="simpy", memo=memo)
    with pytest.raises(ScheduleError, match="weight: 40 bytes are read, what is stored and needed is 70"):
        runs.run_schedule(mappers.lower(other, TOY), TOY, engine="simpy", memo=memo)


def test_what_is_stored_counts_each_shape_in_each_format():
    formats, graph = dataflow.FORMATS, Graph("three")
    graph.add_tensor(dataflow.Tensor("x", (3, 4), formats["fp16"], "input"))
    for name, shape, format in (("a", (5, 4), "int8"), ("b", (5, 4), "fp16"), ("c", (6, 4), "fp16")):
        graph.add_tensor(dataflow.Tensor(name, shape, formats[format], "weight"))
        graph.add(f"x{name}", "matmul", ("x", name), format=formats["fp32"])
    run = runs.run_schedule(mappers.lower(graph, TOY), TOY, engine="simpy")
    assert run.stored.sums == {"weight": 5 * 4 + 5 * 4 * 2 + 6 * 4 * 2}


def graphs():
    gc.collect()
    return sum(type(thing) is Graph for thing in gc.get_objects())


def test_steps_are_let_go():
    phase = Generate(prompt=2, tokens=20)
    steps = mappers.step_schedules(TOY, TOY_LLM, phase)
    alive = [graphs()]

    def watched():
        for step in steps:
            alive.append(graphs())
            yield step

    archsim.simulate_steps(watched(), TOY, phase=phase)
    assert len(alive) == 21
    assert max(alive) - alive[0] <= 4


ONE = every(work("move", bytes=1))
# b gives its token back to a, which gives first and takes last.
CIRCLE = Section(
    "x",
    (
        Task("a", "u", 2, ONE, takes={"back": sequence((0, 1), (1, 1))}, gives={"s": sequence((1, 1), (0, 1))},
             serves=(Served(("op",)),)),
        Task("b", "v", 1, ONE, takes={"s": every(1)}, gives={"back": every(1)}),
    ),
    (Stream("s", 1), Stream("back", 1)),
    orders={"v": (("b", 1),)},
)  # fmt: skip


def circle(**changes):
    """The circle's tasks with b changed."""
    return CIRCLE.tasks[0], replace(CIRCLE.tasks[1], **changes)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"tasks": circle(firings=0)}, "fired 0 times"),
        ({"tasks": circle(firings=3)}, "stream 's': 'a' gives 1 tokens in all and 'b' takes 3"),
        ({"tasks": circle(gives={"t": every(1)})}, "'t' is in the gives of a task but is not declared"),
        ({"tasks": circle(name="c")}, "order of unit 'v'"),
        ({"repeat": 2}, "task 'a' names 1 ops for 2 repetitions"),
        ({"tasks": circle(firings=2, takes={"s": sequence((1, 1), (0, 1))}, gives={"back": sequence((1, 1), (0, 1))})},
         "order of unit 'v'"),
        ({"orders": {"v": (("b", 2),)}}, "order of unit 'v'"),
        ({"streams": (Stream("s", 0), Stream("back", 1))}, "depth 0"),
        ({"tasks": (replace(CIRCLE.tasks[0], takes={"back": sequence((1, 1), (0, 1))}), CIRCLE.tasks[1])},
         "form a cycle without initial tokens"),
    ],
)  # fmt: skip
def test_a_section_with_other_tasks_is_held_to_the_same_rules(changes, told):
    """What is not checked again is what did not change; each mistake is told as it is in a section made anew."""
    with pytest.raises(ScheduleError, match=told) as anew:
        replace(CIRCLE, **changes)
    if "tasks" in changes:
        tasks = zip(CIRCLE.tasks, changes["tasks"], strict=True)
        with pytest.raises(ScheduleError) as again:
            CIRCLE.with_tasks({old.name: new for old, new in tasks if new is not old})
        assert str(again.value) == str(anew.value)


def test_a_task_that_a_section_does_not_have_is_refused():
    with pytest.raises(ScheduleError) as raised:
        CIRCLE.with_tasks({"b": CIRCLE.tasks[1], "c": CIRCLE.tasks[1]})
    assert raised.value.problems == ("section 'x': no task 'c' to replace",)


def test_what_a_section_shares_with_another_is_the_same_object():
    longer = CIRCLE.with_tasks({"b": circle(work=every(work("move", bytes=9)))[1]})
    assert longer.tasks[0] is CIRCLE.tasks[0]
    assert longer == replace(CIRCLE, tasks=circle(work=every(work("move", bytes=9))))


def test_a_mapper_without_steps_of_its_own_lowers_each(monkeypatch):
    shared = mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=4)
    monkeypatch.setattr(Tiled, "step", lambda self, previous, graph, design: self.lower(graph, design))
    alone = mappers.run(TOY, TOY_LLM, phase="generate", prompt=2, tokens=4)
    assert alone.firings_run > shared.firings_run
    assert replace(alone, firings_run=shared.firings_run) == shared
    assert shared.parts["matmul"] == Fraction(4 * 32)


def test_firings_are_counted_in_all_and_as_they_are_run():
    """A section runs once however often it repeats, and once for all steps where it is the same in each."""
    asked = {"phase": "generate", "prompt": 2, "tokens": 3}
    slow, fast = (mappers.run(TOY, TOY_LLM, **asked, engine=engine) for engine in ("simpy", "compiled"))
    schedules = [
        mappers.lower(dataflow.prefill(TOY_LLM, prompt=2), TOY),
        *(mappers.lower(dataflow.decode(TOY_LLM, context=context), TOY) for context in (3, 4)),
    ]
    assert slow.firings == fast.firings == sum(schedule.firings for schedule in schedules)
    assert 0 < fast.firings_run <= slow.firings_run < sum(schedule.run_firings for schedule in schedules)
    alone = mappers.run(TOY, TOY_LLM, phase="decode", context=3, engine="simpy")
    assert alone.firings_run == schedules[1].run_firings
