"""A mistake in a user's own graph, schedule, unit or mapper is told by the error of what to edit, with its place.

LawBroken is for faults of archsim alone.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Literal

import pytest

import archsim
import dataflow
import mappers
from archsim import GraphError, InputError, MappingError, ScheduleError
from archsim.units import Unit
from dataflow import FORMATS, Graph, Schedule, Section, Served, Skipped, Stream, Task, Tensor, every, work
from dataflow.numeric.replay_streams import replay_streams

TOY = archsim.load_design("toy")
FP16 = FORMATS["fp16"]


def product() -> Graph:
    graph = Graph("own")
    graph.add_tensor(Tensor("x", (3, 4), FP16, "input"))
    graph.add_tensor(Tensor("w", (5, 4), FP16, "weight"))
    graph.add("y", "matmul", ("x", "w"), format=FP16)
    return graph


LOAD = Task("load", "ddr", 1, every(work("read", bytes=40)), role="weight", gives={"w": every(1)})
MULTIPLY = Task("multiply", "mm", 3, every(work("matmul", m=1, k=4, n=5)), serves=(Served(("y",)),),
                takes={"w": dataflow.sequence((1, 1), (0, 2))})  # fmt: skip


def schedule(load: Task = LOAD, multiply: Task = MULTIPLY, **changes) -> Schedule:
    section = Section("all", (load, multiply), (Stream("w", 1, 40),))
    return replace(Schedule(product(), "toy", "by hand", (section,)), **changes)


def test_the_schedule_itself_runs_and_is_reported_under_the_names_of_its_tasks():
    report = archsim.simulate(schedule(), TOY)
    assert report.cycles == 40 + 60
    assert report.parts == {"multiply": 60, "load": 40}


def test_only_what_runs_ahead_is_left_out_of_the_parts():
    report = archsim.simulate(schedule(load=replace(LOAD, part="")), TOY)
    assert report.parts == {"multiply": 60, "waiting": 40}


@pytest.mark.parametrize(
    "made, told",
    [
        ({"multiply": replace(MULTIPLY, unit="mmm")}, "section 'all': design 'toy' has no unit 'mmm'; units are: mm"),
        ({"multiply": replace(MULTIPLY, unit="vec")}, "task 'multiply': unit 'vec' of kind vector does no matmul; it"),
        ({"multiply": replace(MULTIPLY, work=every(work("matmul", m=1, k=4, n=4)))},
         "mac: scheduled 48, the graph with what is recomputed and skipped asks 60; op 'y' asks 60, its tasks do 48"),
        ({"multiply": replace(MULTIPLY, serves=(Served(("z",)),))},
         "a task serves op 'z', which graph 'own' does not have"),
        ({"multiply": replace(MULTIPLY, serves=())}, "op 'y' is served by no task"),
        ({"load": replace(LOAD, work=every(work("read", bytes=39)))},
         "weight: 39 bytes are read, what is stored and needed is 40"),
        ({"recomputed": {"mac": -1}}, "mac: -1 are declared as recomputed; a count is never below zero"),
        ({"skipped": (Skipped("not wanted", {"mac": 1}),)}, "mac: scheduled 60, the graph .* asks 59"),
    ],
)  # fmt: skip
def test_a_schedule_that_does_not_do_its_graph_is_refused(made, told):
    with pytest.raises(ScheduleError, match=told):
        archsim.simulate(schedule(**made), TOY)


def test_work_is_skipped_for_a_reason():
    with pytest.raises(ScheduleError, match="work that is skipped has a reason"):
        Skipped(" ", {"mac": 1})
    with pytest.raises(ScheduleError, match=r"work that is skipped has counts of zero or more, got mac -1"):
        Skipped("not wanted", {"mac": -1})
    half = replace(MULTIPLY, firings=2, takes={"w": dataflow.sequence((1, 1), (0, 1))})
    report = archsim.simulate(schedule(multiply=half, skipped=(Skipped("a row of padding", {"mac": 20}),)), TOY)
    assert "left out    20 mac: a row of padding" in str(report)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda g: g.add_tensor(Tensor("v", (4,), FP16, "weights")), "tensor 'v': unknown role 'weights'; did you"),
        (lambda g: g.add_tensor(Tensor("v", (4,), FP16, "fetched")), "tensor 'v': unknown role 'fetched'; "),
        (lambda g: g.add("a", "attention", ("x", "x", "x"), format=FP16), "op 'a': attention takes batch, a whole"),
        (lambda g: g.add("p", "pool", ("x",), format=FP16, batch=1, tokens="2"), "op 'p': pool takes tokens, a whole"),
        (lambda g: g.add_tensor(Tensor("v", (4,), FP16, ["weight"])), "tensor 'v': unknown role "),
        (lambda g: g.add_tensor(Tensor("v", 4, FP16)), "tensor 'v': extents are whole numbers >= 1, got 4"),
        (lambda g: g.add_tensor(Tensor("v", (1, 2.5), FP16)), r"tensor 'v': extents are .*, got \[1, 2\.5\]"),
        (lambda g: g.ops["y"].work["rows"], r"matmul\(batch=1, m=3, k=4, n=5, fp16\) has no extent 'rows'; "),
    ],
)
def test_a_graph_with_a_mistake_is_refused(make, told):
    with pytest.raises(GraphError, match=told):
        make(product())


@pytest.mark.parametrize(
    ("kind", "attributes", "told"),
    [
        ("rmsnorm", {}, r"rmsnorm takes the attributes \(eps\), got \(\)"),
        ("rmsnorm", {"epsilon": 1e-5}, r"rmsnorm takes the attributes \(eps\), got \(epsilon\)"),
        ("add", {"scale": 2}, r"add takes the attributes \(\), got \(scale\)"),
        ("rope", {"heads": 2, "base": 1e4, "batch": 1}, r"\(heads, base, past, batch\), got \(heads, base, batch\)"),
        (
            "attention", {"batch": 1, "heads": 1, "kv_heads": 1, "windw": 2},
            r"\(batch, heads, kv_heads, causal if needed, window if needed\), got \(batch, heads, kv_heads, windw\)",
        ),
    ],
)  # fmt: skip
def test_an_attribute_that_a_kind_needs_or_does_not_know_is_named(kind, attributes, told):
    graph = Graph("own")
    for name in "abc":
        graph.add_tensor(Tensor(name, (3, 4), FP16, "input"))
    graph.add_tensor(Tensor("w", (4,), FP16, "norm"))
    inputs = {"rmsnorm": "aw", "add": "ab", "rope": "a", "attention": "abc"}[kind]
    with pytest.raises(GraphError, match=f"op 'y': .*{told}"):
        graph.add("y", kind, tuple(inputs), format=FP16, **attributes)


class Stopwatch(Unit):
    """A unit whose time is what the test says."""

    kinds: ClassVar[tuple[str, ...]] = ("matmul",)
    kind: Literal["stopwatch"]

    def _cycles(self, work):
        return ANSWER[0]


ANSWER = [1]


@pytest.mark.parametrize("answer", [-1, 0.5, None, Fraction(-1, 2)])
def test_a_unit_without_a_time_is_refused(answer):
    ANSWER[0] = answer
    with pytest.raises(MappingError, match=r"a unit of kind stopwatch: takes .* cycles for matmul\(.*\); expected"):
        Stopwatch(kind="stopwatch").cycles(work("matmul", m=1, k=1, n=1))


def test_a_mapper_that_makes_no_schedule_is_refused(monkeypatch):
    monkeypatch.setattr(mappers.MAPPERS["tiled"], "lower", lambda self, graph, design: [])
    with pytest.raises(MappingError, match="mapper 'tiled': lower gave a list; expected a Schedule"):
        mappers.lower(product(), TOY)


def test_a_stream_of_several_ops_is_refused_where_one_is_meant():
    machine = archsim.load_design("streaming_machine")
    made = mappers.lower(dataflow.attention(queries=1, keys=2, head_dim=2), machine)
    (section,) = made.sections
    mixed = replace(section, tasks=(replace(section.tasks[0], serves=(Served(("other",)),)), *section.tasks[1:]))
    with pytest.raises(ScheduleError, match="section 'attention': computes 'attention', 'other'; a section"):
        replay_streams(replace(made, sections=(mixed,)), {})


def test_an_op_that_a_report_does_not_have_is_told():
    with pytest.raises(InputError, match=r"no op 'layer0\.qq'; did you mean 'layer0\.q'"):
        mappers.run(TOY, archsim.load_model("toy_llm"), phase="decode", context=3).op("layer0.qq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(dataflow.Phase):
    """A step that depends on its context elsewhere than in attention: in the rows of an input."""

    name: ClassVar[str] = "turn"
    one_token: ClassVar[bool] = True
    context: int = dataflow.asks("rows")

    def graph(self, model):
        graph = Graph("own", self, tokens=1)
        graph.add_tensor(Tensor("x", (self.context, 4), FP16, "input"))
        graph.add_tensor(Tensor("w", (5, 4), FP16, "weight"))
        graph.add("y", "matmul", ("x", "w"), format=FP16)
        return graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns(dataflow.Phase):
    """Turns at contexts of 1 to `count`."""

    name: ClassVar[str] = "turns"
    many_steps: ClassVar[bool] = True
    count: int = dataflow.asks("turns")

    def steps(self, model):
        return (Turn(context=context).graph(model) for context in range(1, self.count + 1))

    def ends(self, model):
        return (Turn(context=self.count).graph(model),)


def test_steps_of_a_user_s_phase_are_lowered_each():
    model = archsim.load_model("toy_llm")
    alone = [mappers.run(TOY, model, phase=Turn(context=context)).cycles for context in (1, 2, 3)]
    told: list[str] = []
    assert mappers.run(TOY, model, phase=Turns(count=3), progress=told.append).cycles == sum(alone)
    assert told == ["1 steps simulated", "2 steps simulated"]
    assert alone == [40 + 20, 40 + 40, 40 + 60]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing(dataflow.Phase):
    """A phase whose graph is none."""

    name: ClassVar[str] = "nothing"

    def graph(self, model):
        return None


def test_a_phase_that_makes_no_graph_is_refused():
    with pytest.raises(GraphError, match="phase 'nothing': graph gave nothing; expected a Graph"):
        mappers.run(TOY, archsim.load_model("toy_llm"), phase=Nothing())


def test_options_beside_a_mapper_object_are_refused():
    with pytest.raises(InputError, match=r"write Tiled\(mapping=\.\.\.\)"):
        mappers.lower(product(), TOY, mapper=mappers.MAPPERS["tiled"](), mapping=None)


def test_a_batched_product_runs_on_layers_that_stream_weights():
    graph = Graph("own")
    graph.add_tensor(Tensor("x", (2, 4, 6), FP16, "input"))
    graph.add_tensor(Tensor("w", (2, 5, 6), FP16, "weight"))
    graph.add("y", "matmul", ("x", "w"), format=FP16)
    design = archsim.load_design("toy_retrieval").with_({"units.buffer.capacity": "4 KiB"})
    report = archsim.simulate(mappers.lower(graph, design), design)
    assert report.units["lxe"].busy_cycles == 2 * 4 * 5 * 6


def test_the_attention_of_a_layer_has_the_window_of_its_model():
    model = archsim.load_model("toy_llm").model_copy(update={"window": 4})
    asked = {"phase": "attention", "prompt": 1, "context": 12}
    windowed, whole = (mappers.run(TOY, model, **asked, mask=mask) for mask in (None, "causal"))
    assert windowed.cycles * 3 == whole.cycles
    assert "mask window of 4" in str(windowed)


@pytest.mark.parametrize("wrong", ["8", None, 8.0, True])
def test_a_phase_of_another_type_is_refused(wrong):
    with pytest.raises(InputError, match="context: expected a whole number, got"):
        dataflow.Decode(context=wrong)
