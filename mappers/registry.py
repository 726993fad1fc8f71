"""The list of mappers, their options, and `lower`, which picks one."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Literal, get_args, get_origin, get_type_hints

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.selection.selection import Selection
from dataflow.errors import guess
from dataflow.graph import Graph
from dataflow.schedule import Schedule
from mappers.retrieval.mapper import retrieval
from mappers.streaming.mapper import streaming
from mappers.temporal import at_context, temporal

MAPPERS: dict[str, Callable[..., Schedule]] = {
    "retrieval": retrieval,
    "streaming": streaming,
    "temporal": temporal,
}
SELECTION = "selection"  # the option that is a Selection, not a word
# Mappers that make the schedule of a decode step from one of another context.
AT_CONTEXT: dict[str, Callable[[Schedule, Graph, Design], Schedule]] = {"temporal": at_context}


def lower(graph: Graph, design: Design, *, mapper: str | None = None, **options: Any) -> Schedule:
    """The schedule of this graph on this design, by the design's own mapper unless another is named.

    Raises MappingError where the mapper or an option is not known, or the graph does not fit.
    """
    name = mapper or design.mapper
    if name not in MAPPERS:
        raise MappingError(f"unknown mapper '{name}'; mappers are: {', '.join(MAPPERS)}")
    _check_options(name, options)
    return MAPPERS[name](graph, design, **options)


def lower_step(graph: Graph, design: Design, *, previous: Schedule) -> Schedule:
    """The schedule of a decode step, by the mapper and the options of the previous step, with which it shares tasks.

    Equal to lowering it anew, except that the limits of the design are not checked again.
    """
    if previous.mapper in AT_CONTEXT:
        return AT_CONTEXT[previous.mapper](previous, graph, design)
    return lower(graph, design, mapper=previous.mapper, **previous.options)


def options_of(mapper: str) -> dict[str, tuple[str, ...]]:
    """The options of a mapper that are words, with their values, the default first."""
    function = MAPPERS[mapper]
    hints = get_type_hints(function)
    found = {}
    for name, parameter in list(signature(function).parameters.items())[2:]:
        if get_origin(hints[name]) is not Literal:
            continue
        others = [value for value in get_args(hints[name]) if value != parameter.default]
        found[name] = (parameter.default, *others)
    return found


def _check_options(mapper: str, options: dict[str, Any]) -> None:
    known = options_of(mapper)
    problems = []
    for name, value in options.items():
        if name == SELECTION and name in signature(MAPPERS[mapper]).parameters:
            if not isinstance(value, Selection | None):
                problems.append(f"option selection: expected a Selection, got {value!r}; or give --selection {value}")
            continue
        if name not in known:
            problems.append(f"mapper '{mapper}' has no option '{name}'; {guess(name, known, otherwise='options are')}")
        elif value not in known[name]:
            problems.append(f"option {name}: expected {' or '.join(known[name])}, got {value!r}")
    if problems:
        raise MappingError("\n".join(problems))
