"""What the points of a sweep share, so that it is made once: graphs, layers, sections."""

import gc

import pytest

import archsim
import dataflow
import mappers
from dataflow.models import phases
from dataflow.models.decoder import _layer
from dataflow.models.phases import Decode, graph_of

MODEL = archsim.load_model("toy_llm")
DESIGN = archsim.load_design("toy")


def test_the_graph_of_an_equal_phase_and_the_same_model_is_built_once() -> None:
    graph = graph_of(Decode(context=5), MODEL)
    assert graph_of(Decode(context=5), MODEL) is graph
    assert graph == dataflow.decode(MODEL, context=5)
    assert graph_of(Decode(context=6), MODEL) is not graph
    longer = MODEL.model_copy(update={"max_context": 65})
    assert graph_of(Decode(context=5), longer) is not graph


def test_a_phase_that_a_model_cannot_run_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(dataflow.GraphError, match="takes 1 to 64 tokens, got 65"):
            graph_of(Decode(context=65), MODEL)


def test_a_phase_of_a_user_is_built_each_time() -> None:
    """It may depend on more than its fields, such as a name of a notebook that another cell has changed."""
    context = [5]

    class Own(Decode):
        def graph(self, model: dataflow.Model) -> dataflow.Graph:
            return dataflow.decode(model, context=context[0])

    before = graph_of(Own(context=5), MODEL)
    context[0] = 6
    assert graph_of(Own(context=5), MODEL).ops != before.ops == dataflow.decode(MODEL, context=5).ops


def test_few_graphs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(dataflow.decode(MODEL, context=5).ops)
    monkeypatch.setattr(phases, "MOST_OPS", 3 * size)
    for context in range(2, 12):
        graph_of(Decode(context=context), MODEL)
    kept = [graph.phase for _, graph in phases._kept.values()]
    assert kept == [Decode(context=context) for context in (9, 10, 11)]


def test_a_layer_is_as_one_that_is_built_by_itself() -> None:
    graph = dataflow.decode(MODEL, context=5)
    assert graph.ops["layer1.q"].work is graph.ops["layer0.q"].work
    alone = dataflow.Graph("alone")
    read = graph.tensors["layer0.ffn_residual"]
    alone.add_tensor(read)
    _layer(MODEL, alone, "layer1", read.name, cached=4, batch=1)
    assert alone.ops == {name: op for name, op in graph.ops.items() if name.startswith("layer1.")}
    own = [name for name in graph.tensors if name.startswith("layer1.")]
    assert list(alone.tensors) == [read.name, *own]
    assert all(alone.tensors[name] == graph.tensors[name] for name in own)


def test_designs_of_other_rates_share_the_sections_that_are_equal() -> None:
    graph = dataflow.decode(MODEL, context=5)
    one = mappers.lower(graph, DESIGN)
    other = mappers.lower(graph, DESIGN.with_({"units.ddr.bandwidth": "2 B/cycle"}))
    assert [a is b for a, b in zip(one.sections, other.sections, strict=True)] == [True] * 3
    longer = mappers.lower(dataflow.decode(MODEL, context=6), DESIGN)
    assert longer.sections[1] != one.sections[1]


def test_a_point_leaves_no_task_to_the_collector_of_garbage() -> None:
    def point() -> None:
        mappers.run(DESIGN, MODEL, phase="decode", context=7)

    point()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        point()
        gc.collect()
        assert not [one for one in gc.garbage if isinstance(one, dataflow.Task)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
