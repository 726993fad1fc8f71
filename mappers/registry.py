"""The list of mappers, and `lower`, which picks one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError, MappingError, quoted
from archsim.selection.selection import Selection
from dataflow.errors import expect, guess, refuse
from dataflow.graph import Graph
from dataflow.schedule import Schedule
from mappers.build.checks import check_schedule
from mappers.mapper import Mapper, options_of, refuse_phase
from mappers.retrieval.mapper import Retrieval
from mappers.streaming.mapper import Streaming
from mappers.table_lookup.mapper import TableLookupPipeline
from mappers.temporal import Temporal
from mappers.tiled.mapper import Tiled

# The mappers by name; users add mappers of their own by mappers.extend.
MAPPERS: dict[str, type[Mapper]] = {
    mapper.name: mapper for mapper in (Retrieval, Streaming, TableLookupPipeline, Temporal, Tiled)
}


def lower(graph: Graph, design: Design, *, mapper: str | Mapper | None = None, **options: Any) -> Schedule:
    """The schedule of this graph on this design, by the design's own mapper unless another is named or given.

    Raises InputError where the mapper or an option is not known, MappingError where the graph does not fit.
    """
    expect("graph", graph, Graph)
    chosen = chosen_mapper(design, mapper, options)
    refuse_phase(chosen, graph)
    made = chosen.lower(graph, design)
    if not isinstance(made, Schedule):
        raise MappingError(f"mapper '{chosen.name}': lower gave {quoted(made)}; expected a Schedule")
    check_schedule(made, design)
    return made


def lower_step(graph: Graph, design: Design, *, previous: Schedule) -> Schedule:
    """The schedule of the decode step after that of `previous`, by its mapper and options; both share tasks."""
    return MAPPERS[previous.mapper](**previous.options).step(previous, graph, design)


def chosen_mapper(design: Design, mapper: str | Mapper | None, options: Mapping[str, Any]) -> Mapper:
    """The mapper that is given, or the one of this name, or else the design's own. Raises InputError."""
    expect("design", design, Design)
    if not isinstance(mapper, Mapper):
        return mapper_named(design.mapper if mapper is None else mapper, options)
    if options:
        told = ", ".join(map(str, options))
        call = f"{type(mapper).__name__}({told}=...)"
        raise InputError(f"{told}: given beside a mapper, which has its own options; write {call}")
    return mapper


def mapper_named(name: str, options: Mapping[str, Any]) -> Mapper:
    """The mapper of this name with these options, as values or as text. Raises InputError with every problem."""
    if not isinstance(name, str) or name not in MAPPERS:
        raise InputError(f"unknown mapper {quoted(name)}; mappers are: {', '.join(MAPPERS)}")
    expect("options", options, Mapping)
    known = options_of(MAPPERS[name])
    problems = [
        f"mapper '{name}' has no option '{key}'; "
        + (guess(str(key), known, otherwise="options are") if known else "it has none")
        for key in options
        if key not in known
    ]
    try:
        chosen = MAPPERS[name](**{key: value for key, value in options.items() if key in known})
    except InputError as error:
        problems += error.problems
    refuse(problems, InputError)
    return chosen


def takes_selection(name: str) -> bool:
    """True where a mapper has an option for a selection."""
    return any(option.kind is Selection for option in options_of(MAPPERS[name]).values())


def mapper_lines() -> list[str]:
    """A line for each mapper, and one for each of its options."""
    lines = []
    for name, mapper in MAPPERS.items():
        meaning = (mapper.__doc__ or "").partition("\n")[0]
        lines.append(f"{name:<14} {meaning}")
        lines += [f"  {o.name:<18} {o.told}: {o.meaning}" for o in options_of(mapper).values()]
    return lines
