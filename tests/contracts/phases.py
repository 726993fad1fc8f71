"""What every phase must hold to, as functions of its name in PHASES; a phase added by a user runs too.

Whole numbers that a phase asks for are the same small one, true or false is false, and text is its default.
"""

import dataclasses
from functools import cache

import pytest

from archsim import InputError, load_model
from dataflow import PHASES, Graph, Model, Phase, phase_named
from dataflow.models.phases import graph_of
from dataflow.phase import asked_by, field_types

MODELS = ("toy_llm", "toy_video")
NUMBERS = (4, 8, 2, 16, 1)


@cache
def example(name: str) -> tuple[Phase, Model]:
    """A phase of this name with small fields, and a toy model that runs it."""
    types, problem = field_types(PHASES[name]), None
    for model in map(load_model, MODELS):
        for number in NUMBERS:
            needed = [f for f in dataclasses.fields(PHASES[name]) if f.default is dataclasses.MISSING]
            values = {f.name: {int: number, bool: False, str: "text"}[types[f.name]] for f in needed}
            phase = phase_named(name, values)
            try:
                graphs(phase, model)
            except InputError as error:
                problem = error
            else:
                return phase, model
    raise AssertionError(f"{name}: no toy model runs it with equal numbers of {NUMBERS}") from problem


def graphs(phase: Phase, model: Model) -> list[Graph]:
    return [*phase.ends(model), *phase.steps(model)] if phase.many_steps else [graph_of(phase, model)]


def is_a_frozen_dataclass_that_explains_its_fields(name: str) -> None:
    phase = PHASES[name]
    assert phase.name == name
    assert (phase.__doc__ or "").strip()
    assert phase.__dataclass_params__.frozen
    names = [f.name for f in dataclasses.fields(phase)]
    assert list(field_types(phase)) == names
    assert all(asked_by(phase).values())
    assert {*asked_by(phase), "batch"} == set(names)
    assert phase.done.format(tokens="3 tokens", n=3)


def makes_the_same_graphs_each_time(name: str) -> None:
    phase, model = example(name)
    first, again = graphs(phase, model), graphs(phase, model)
    assert first == again
    for graph in first:
        assert isinstance(graph, Graph)
        assert graph.ops
        assert graph.name == model.name
        assert graph.tokens is None or (type(graph.tokens) is int and graph.tokens >= 1)


def is_the_phase_of_its_graphs(name: str) -> None:
    phase, model = example(name)
    if not phase.many_steps:
        (graph,) = graphs(phase, model)
        fields = {f.name for f in dataclasses.fields(phase)}
        assert type(graph.phase) is type(phase)
        assert all(getattr(graph.phase, f) == getattr(phase, f) for f in fields if getattr(phase, f) is not None)
        return
    # Each step is a phase of one step, so that a report can say what it is of.
    steps = list(phase.steps(model))
    assert steps
    assert not any(step.phase.many_steps for step in steps)
    assert all(end in steps for end in phase.ends(model))
    assert phase.tokens_made is None or phase.tokens_made >= 1
    with pytest.raises(InputError, match=name):
        phase.graph(model)


def tells_its_fields(name: str) -> None:
    phase, _ = example(name)
    told = phase.facts()
    for field in asked_by(type(phase)):
        if field != "tokens":  # the report says the tokens of the whole
            assert told[field] == getattr(phase, field)
    assert {"prompt", "context", "batch"} <= set(told)
    assert phase.title()[0] == name


def refuses_missing_and_foreign_fields(name: str) -> None:
    phase, _ = example(name)
    given = {f.name: getattr(phase, f.name) for f in dataclasses.fields(phase)}
    with pytest.raises(InputError, match=f"phase {name} takes .*, not --foreign"):
        phase_named(name, {**given, "foreign": 1})
    for f in dataclasses.fields(phase):
        if f.default is dataclasses.MISSING:
            with pytest.raises(InputError) as raised:
                phase_named(name, {**given, f.name: None})
            assert str(raised.value) == f"phase {name} takes --{f.name}: {asked_by(type(phase))[f.name]}"
        with pytest.raises(InputError, match=f"{f.name}: expected"):
            phase_named(name, {**given, f.name: 1.5})


CONTRACTS = (
    is_a_frozen_dataclass_that_explains_its_fields,
    makes_the_same_graphs_each_time,
    is_the_phase_of_its_graphs,
    tells_its_fields,
    refuses_missing_and_foreign_fields,
)
