"""What every mapper must hold to, as functions of its name in MAPPERS; a mapper added by a user runs too.

A mapper of the package runs what it is made for, another one a decode step of the toy model on the toy design.
"""

import dataclasses
from functools import cache
from typing import Any

import pytest

from archsim import Design, InputError, load_design, load_model, load_selection, simulate
from archsim.selection.selection import Selection
from contracts.renamed import renamed
from dataflow import OP_KINDS, Graph, computes, next_step, phase_named
from mappers import MAPPERS, lower, lower_step
from mappers.mapper import options_of
from mappers.registry import mapper_lines, mapper_named

TOY = ("toy", "toy_llm", "decode", {"context": 5})
# The design, the model, the phase and its fields that a mapper is made to run.
RUNS: dict[str, tuple[str, str, str, dict[str, int]]] = {
    "retrieval": ("toy_retrieval", "toy_video", "decode", {"context": 8}),
    "spatial": ("sn40l", "toy_video", "prefill", {"prompt": 9}),
    "table_lookup": ("tellme_kv260", "bitnet_b158_large", "decode", {"context": 5}),
}


@cache
def run_of(name: str) -> tuple[Graph, Design]:
    design, model, phase, fields = RUNS.get(name, TOY)
    network = load_model(model).model_copy(update={"layers": 2})
    return phase_named(phase, fields).graph(network), load_design(design)


@cache
def scheduled(name: str) -> Any:
    graph, design = run_of(name)
    return lower(graph, design, mapper=name)


def has_options_with_meanings(name: str) -> None:
    mapper, options = MAPPERS[name], options_of(MAPPERS[name])
    assert mapper.name == name
    assert mapper.__dataclass_params__.frozen
    assert list(options) == [f.name for f in dataclasses.fields(mapper)]
    assert mapper().options() == {n: option.default for n, option in options.items()}
    lines = "\n".join(mapper_lines())
    for option in options.values():
        assert option.meaning in lines


def makes_the_same_schedule_each_time(name: str) -> None:
    graph, design = run_of(name)
    assert lower(graph, design, mapper=name) == scheduled(name)
    assert (scheduled(name).mapper, scheduled(name).design) == (name, design.name)
    assert scheduled(name).options.keys() <= options_of(MAPPERS[name]).keys()


def conserves_the_work_of_the_graph(name: str) -> None:
    graph, _ = run_of(name)
    schedule, asked = scheduled(name), graph.counts()
    done = schedule.counts()
    for what in ("mac", "exp", "flop"):
        expected = asked.get(what, 0) + schedule.recomputed.get(what, 0) - schedule.left_out().get(what, 0)
        assert done.get(what, 0) == expected, what


def serves_every_op_with_work(name: str) -> None:
    graph, _ = run_of(name)
    served = {op for section in scheduled(name).sections for task in section.tasks for op in task.ops}
    needed = {op.name for op in graph.ops.values() if computes(op.work) and not OP_KINDS[op.kind].free}
    assert needed <= served
    assert served <= set(graph.ops)


def takes_the_same_cycles_on_two_engines(name: str) -> None:
    _, design = run_of(name)
    cycles = {simulate(scheduled(name), design, engine=engine).cycles for engine in ("compiled", "simpy")}
    assert len(cycles) == 1
    assert cycles.pop() > 0


def refuses_what_it_does_not_take(name: str) -> None:
    with pytest.raises(InputError, match=f"mapper '{name}' has no option 'foreign'"):
        mapper_named(name, {"foreign": 1})
    for option in options_of(MAPPERS[name]).values():
        for wrong in ("neither a word nor a number", 1.5):
            with pytest.raises(InputError, match=f"option {option.name}: expected"):
                mapper_named(name, {option.name: wrong})


def takes_a_step_as_if_lowered_anew(name: str) -> None:
    graph, design = run_of(name)
    if not graph.phase.one_token:
        return
    model = load_model(RUNS.get(name, TOY)[1]).model_copy(update={"layers": 2})
    after = next_step(model, graph)
    assert lower_step(after, design, previous=scheduled(name)) == lower(after, design, mapper=name)


def takes_a_selection_where_it_says_so(name: str) -> None:
    chosen = [option for option in options_of(MAPPERS[name]).values() if option.kind is Selection]
    graph, design = run_of(name)
    for option in chosen:
        assert lower(graph, design, mapper=name, **{option.name: load_selection("full")}).selected is not None


def sees_no_names_and_no_order_of_keys(name: str) -> None:
    graph, design = run_of(name)
    other, names = renamed(design, seed=1)
    found, expected = simulate(lower(graph, other, mapper=name), other), simulate(scheduled(name), design)
    assert (found.cycles, found.lower_bound_cycles) == (expected.cycles, expected.lower_bound_cycles)
    assert {unit: found.traffic[names[unit]] for unit in expected.traffic} == expected.traffic


CONTRACTS = (
    has_options_with_meanings,
    makes_the_same_schedule_each_time,
    conserves_the_work_of_the_graph,
    serves_every_op_with_work,
    takes_the_same_cycles_on_two_engines,
    refuses_what_it_does_not_take,
    takes_a_step_as_if_lowered_anew,
    takes_a_selection_where_it_says_so,
    sees_no_names_and_no_order_of_keys,
)
