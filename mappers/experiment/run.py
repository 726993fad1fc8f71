"""One run in one call: a model's phase, or a graph, on a design, up to the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Entries
from dataclasses import replace
from typing import Any, TypeVar

from archsim.design.design import Design
from archsim.engine import engine_for
from archsim.errors import InputError, MappingError, quoted
from archsim.importers.load import load_design, load_workload
from archsim.mapping import Mapping, load_mapping
from archsim.report.report import Report, simulate, simulate_steps
from archsim.selection.selection import Selection, load_selection
from dataflow.errors import expect, refuse
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.phases import PHASES, Decode, graph_of, phase_named
from dataflow.phase import Phase
from dataflow.schedule import Schedule
from mappers.mapper import Mapper
from mappers.registry import MAPPING, chosen_mapper, lower, lower_step, no_mapping_of, takes

T = TypeVar("T")

# Engines in Python run some hundred thousand firings a second: from here on it takes seconds.
PYTHON_ENGINES, SLOW_FIRINGS = ("simpy", "recurrence"), 500_000
SELECTION = "selection"


def workload(given: Any) -> Model | Graph:
    """The model or graph that is given, or the one that these words stand for. Raises InputError."""
    if isinstance(given, Graph):
        refuse([] if given.ops else [f"graph '{given.name}': has no op; add one"])
        return given
    return loaded("model", given, Model, load_workload)


def asked_of_graph(graph: Graph, asked: Entries[str, Any]) -> list[str]:
    """What is wrong where a phase, or fields of one, are asked of a graph."""
    given = [name for name, value in asked.items() if value is not None]
    told = f"graph '{graph.name}' is no model and takes no phase; leave out {', '.join(given)}"
    return [told] if given else []


def needs_phase() -> str:
    """What is wrong where no phase is asked of a model."""
    return f"phase: a model needs one; phases are: {', '.join(PHASES)}"


def chosen_phase(phase: str | Phase | None, asked: Entries[str, Any]) -> Phase:
    """The phase that is given, or the one of this name with these fields. Raises InputError."""
    if phase is None:
        raise InputError(needs_phase())
    if isinstance(phase, str):
        return phase_named(phase, asked)
    if not isinstance(phase, Phase):
        raise InputError(f"phase: expected a name or a Phase, got {quoted(phase)}")
    if asked:
        raise InputError(f"{', '.join(asked)}: the phase is given with its fields; give {phase.name} there")
    return phase


def refuse_many_steps(phase: str | None) -> None:
    """Raises InputError for the name of a phase that has a graph for each of its steps."""
    if phase in PHASES and PHASES[phase].many_steps:
        raise InputError(f"phase {phase} has a graph for each of its steps; take the phase of one step, such as decode")


def loaded(what: str, given: Any, kind: type[Any], load: Callable[[str], T]) -> T:
    """The object that is given, or the one of this name or path. Raises InputError."""
    if isinstance(given, str):
        return load(given)
    if not isinstance(given, kind):
        raise InputError(f"{what}: expected a {kind.__name__}, a shipped name or a path, got {quoted(given)}")
    return given


def step_schedules(
    design: Design,
    model: Model,
    phase: Phase,
    *,
    mapper: str | Mapper | None = None,
    options: Entries[str, Any] | None = None,
) -> Iterator[Schedule]:
    """The schedules of a phase of many steps, each made when it is asked for; successive decode steps share tasks.

    Raises GraphError and MappingError at the call, with everything that the model or the design cannot hold at the
    steps that need most.
    """
    expect("model", model, Model)
    expect("phase", phase, Phase)
    chosen = chosen_mapper(design, mapper, options or {})
    errors: list[MappingError] = []
    decode = chosen
    for graph in phase.ends(model):
        try:
            last = lower(graph, design, mapper=chosen)
        except MappingError as error:
            errors.append(error)
            continue
        if type(graph.phase) is Decode:
            decode = chosen.settled(last)
    if errors:
        problems = dict.fromkeys(problem for error in errors for problem in error.problems)
        raise errors[0] if len(problems) == 1 else MappingError("\n".join(problems))
    return _lowered(phase.steps(model), design, chosen, decode)


def _first(graph: Graph, design: Design, mapper: Mapper, decode: Mapper) -> Schedule:
    """The schedule of a step that follows no decode step, by the mapper of all decode steps if it is one and fits."""
    if type(graph.phase) is Decode:
        try:
            return lower(graph, design, mapper=decode)
        except MappingError:
            pass
    return lower(graph, design, mapper=mapper)


def _lowered(steps: Iterator[Graph], design: Design, mapper: Mapper, decode: Mapper) -> Iterator[Schedule]:
    previous: Schedule | None = None
    for graph in steps:
        # Only of decode steps is it known that nothing but attention depends on the context.
        if previous is not None and type(graph.phase) is Decode and graph.phase.follows(previous.graph.phase):
            previous = lower_step(graph, design, previous=previous)
        else:
            previous = _first(graph, design, mapper, decode)
        yield previous


def with_mapping_edited(
    mapper: Mapper, design: Design, model: Model | Graph, changes: Entries[str, Any]
) -> Mapper:
    """The mapper with these values by path in its mapping, or else in the design's own. Raises InputError."""
    if not changes:
        return mapper
    refuse([] if takes(mapper.name, Mapping) else [no_mapping_of(mapper.name)], InputError)
    given = mapper.options()[MAPPING] or design.own_mapping(model.name)
    changed: Any = {MAPPING: given.with_(changes)}
    return replace(mapper, **changed)


def run(
    design: Design | str,
    model: Model | Graph | str,
    *,
    phase: str | Phase | None = None,
    mapper: str | Mapper | None = None,
    engine: str = "auto",
    selection: Selection | str | None = None,
    mapping: Mapping | str | None = None,
    options: Entries[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    **asked: Any,
) -> Report:
    """The report of a model's phase, or of a graph, on a design. Raises InputError and its leaves.

    Design, model, selection and mapping are given as such, or by a shipped name or a path; design and model also by a
    path of SCALE-Sim's files (.cfg, .csv). A graph stands in the place of the model, as such or as "gemm:MxNxK", and
    has no phase: run("systolic_array", "gemm:128x64x256").
    `phase` is a Phase, or its name with its fields beside it: run(design, model, phase="decode", context=128).
    `selection` says which cached keys a step attends to, for mappers that choose among them; `mapping` where ops run
    and in what tiles, for mappers that take one. Of a phase of many steps, such as generate, every step is simulated;
    `progress` is called with a line of text for each.
    """
    design, model = loaded("design", design, Design, load_design), workload(model)
    expect("options", options or {}, Entries)
    if selection is not None:
        options = {**(options or {}), SELECTION: loaded("selection", selection, Selection, load_selection)}
    if mapping is not None:
        options = {**(options or {}), MAPPING: loaded("mapping", mapping, Mapping, load_mapping)}
    if isinstance(model, Graph):
        refuse(asked_of_graph(model, {"phase": phase, **asked}), InputError)
        return _simulated(model, design, chosen_mapper(design, mapper, options or {}), engine)
    chosen = chosen_phase(phase, asked)
    mapper = chosen_mapper(design, mapper, options or {})
    if not chosen.many_steps:
        return _simulated(graph_of(chosen, model), design, mapper, engine)
    schedules = step_schedules(design, model, chosen, mapper=mapper)
    first = next(schedules)
    tokens = chosen.tokens_made or 0
    engine = _engine(engine, first, max(1, tokens) * first.run_firings)
    told = _announced(first, schedules, tokens // chosen.batch, progress)
    report = simulate_steps(told, design, phase=chosen, engine=engine)
    assert report.origin is not None
    shown = replace(report.origin.schedule, maker=mapper)
    return replace(report, origin=replace(report.origin, schedule=shown, model=model))


def _simulated(graph: Graph, design: Design, mapper: Mapper, engine: str) -> Report:
    schedule = lower(graph, design, mapper=mapper)
    return simulate(schedule, design, engine=_engine(engine, schedule, schedule.run_firings))


def _engine(engine: str, first: Schedule, firings: int) -> str:
    """The engine for about this many firings; says on stderr (as a logger's warning) where it will take a while."""
    engine = engine_for(engine, firings)
    if engine in PYTHON_ENGINES and first.run_firings > SLOW_FIRINGS:
        logging.getLogger("archsim").warning(f"simulating {first.run_firings:,} firings; this takes a while")
    return engine


def _announced(
    first: Schedule, others: Iterator[Schedule], tokens: int, progress: Callable[[str], None] | None
) -> Iterator[Schedule]:
    yield first
    for made, step in enumerate(others, start=1):
        if progress:
            progress(f"{made:,} of {tokens:,} tokens made" if tokens else f"{made:,} steps simulated")
        yield step
