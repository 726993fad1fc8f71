"""What the text of a report says of ops without a unit, of bytes without a role, and in its title."""

from dataclasses import replace

import archsim
import dataflow
import mappers
from dataflow import Graph, Schedule, Section, Task, every, work
from dataflow.op import OP_KINDS

TOY = archsim.load_design("toy")
MODEL = archsim.load_model("toy_llm")


def line_of(report, start):
    return next(line for line in str(report).splitlines() if line.startswith(start))


def free_of(graph):
    return [op.kind for op in graph.ops.values() if OP_KINDS[op.kind].free]


def test_mapped_ops_and_those_that_need_no_unit_are_all_of_the_graph():
    graph = dataflow.decode(MODEL, context=4)
    report = archsim.simulate(mappers.lower(graph, TOY), TOY)
    free = free_of(graph)
    assert report.mapped + len(free) == len(graph.ops) == 64
    assert report.free == {kind: free.count(kind) for kind in free} == {"select": 1, "append": 4}
    assert "all 59 ops mapped; needing no unit: 5 (select, append); work beyond" in line_of(report, "coverage")


def test_of_a_generation_they_are_those_of_all_steps():
    report = mappers.run(TOY, MODEL, phase="generate", prompt=4, tokens=3)
    graphs = [dataflow.prefill(MODEL, prompt=4), *(dataflow.decode(MODEL, context=n) for n in (5, 6))]
    assert report.mapped + sum(report.free.values()) == sum(len(graph.ops) for graph in graphs)


def test_nothing_is_said_where_every_op_has_a_unit():
    report = mappers.run(TOY, archsim.load_workload("gemm:2x4x3"))
    assert report.free == {}
    assert line_of(report, "coverage") == "coverage    all 1 ops mapped; work beyond the graph: none"


def by_hand(**task):
    load = Task("load", "ddr", 2, every(work("read", bytes=200)), **task)
    return archsim.simulate(Schedule(Graph("by hand"), "toy", "by hand", (Section("one", (load,), ()),)), TOY)


def test_bytes_without_a_role_have_no_empty_name():
    text = str(by_hand())
    assert "ddr read               400 B\n" in text
    assert "ddr written              0 B: none\n" in text
    weights = {("read", "weight"): 300}
    some = replace(by_hand(), traffic={"ddr": {**weights, ("read", ""): 100}}, held={"ddr": {"": 7}})
    assert "ddr read               400 B: weight 300, of no role 100\n" in str(some)
    assert "ddr holds                7 B\n" in str(some)
    assert "ddr read               300 B: weight 300\n" in str(replace(some, traffic={"ddr": weights}))


def test_the_title_of_a_generation_has_its_tokens():
    report = mappers.run(TOY, MODEL, phase="generate", prompt=4, tokens=3)
    title = "toy · toy_llm · generate · prompt 4 · tokens 3 · batch 1"
    assert str(report).splitlines()[0] == title
    assert f"<title>{title}</title>" in report.page()
    assert "tokens" not in report.phase.facts(), "which as JSON are those of the whole"
    decode = mappers.run(TOY, MODEL, phase="decode", context=4)
    assert str(decode).splitlines()[0] == "toy · toy_llm · decode · context 4 · batch 1"
