"""The list of mappers; `lower`, which picks one, and `plan`, which gives the mapping that it uses."""

from __future__ import annotations

from collections.abc import Mapping as Entries
from dataclasses import replace
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError, MappingError, quoted
from archsim.files.provenance import Sourced
from archsim.mapping import FORMER_MAPPERS, Mapping
from dataflow.errors import expect, guess, refuse
from dataflow.graph import Graph
from dataflow.op import OP_KINDS
from dataflow.schedule import Schedule
from mappers.build.checks import check_schedule
from mappers.mapper import Mapper, options_of, refuse_phase
from mappers.retrieval.mapper import Retrieval
from mappers.spatial.mapper import Spatial
from mappers.table_lookup.mapper import TableLookupPipeline
from mappers.tiled.mapper import Tiled

MAPPING = "mapping"  # the option of mappers that take one
# The mappers of designs that name none, by the order of their mapping.
BY_ORDER = {"time": Tiled.name, "space": Spatial.name}

# The mappers by name; users add mappers of their own by mappers.extend.
MAPPERS: dict[str, type[Mapper]] = {
    mapper.name: mapper for mapper in (Retrieval, Spatial, TableLookupPipeline, Tiled)
}


def lower(graph: Graph, design: Design, *, mapper: str | Mapper | None = None, **options: Any) -> Schedule:
    """The schedule of this graph on this design, by the design's own mapper unless another is named or given.

    Raises InputError where the mapper or an option is not known, MappingError where the graph does not fit.
    """
    expect("graph", graph, Graph)
    chosen = chosen_mapper(design, mapper, options)
    refuse_phase(chosen, graph)
    if all(OP_KINDS[op.kind].free for op in graph.ops.values()):
        raise MappingError(f"graph '{graph.name}' has no op that takes time", ways_out=("an op such as matmul or add",))
    if design.mapping is not None and chosen.name == design.mapper and not takes(chosen.name, Mapping):
        told = design.document.problem(MAPPING, f"mapper '{chosen.name}', which the design names, takes no mapping")
        raise MappingError(told, ways_out=("no `mapper` in the design", "no `mapping` in it"))
    made = chosen.lower(graph, design)
    if not isinstance(made, Schedule):
        raise MappingError(f"mapper '{chosen.name}': lower gave {quoted(made)}; expected a Schedule")
    check_schedule(made, design)
    return replace(made, maker=chosen)


def plan(graph: Graph, design: Design, *, mapper: str | Mapper | None = None, **options: Any) -> Mapping:
    """The mapping that `lower` uses, with all that it chooses; `lower` makes the same schedule of it again.

    Raises as `lower`, and InputError where the mapper takes no mapping.
    """
    chosen = chosen_mapper(design, mapper, options)
    refuse([] if takes(chosen.name, Mapping) else [no_mapping_of(chosen.name)], InputError)
    found = lower(graph, design, mapper=chosen).options.get(MAPPING)
    if found is None:
        raise MappingError(f"mapper '{chosen.name}' chooses nothing on '{design.name}' that a mapping says")
    if not isinstance(found, Mapping):
        told = f"the option '{MAPPING}' of its schedule is {quoted(found)}; expected the mapping that it used"
        raise MappingError(f"mapper '{chosen.name}': {told}")
    return found


def lower_step(graph: Graph, design: Design, *, previous: Schedule) -> Schedule:
    """The schedule of the decode step after that of `previous`, by its mapper and options; both share tasks."""
    return MAPPERS[previous.mapper](**previous.options).step(previous, graph, design)


def chosen_mapper(design: Design, mapper: str | Mapper | None, options: Entries[str, Any]) -> Mapper:
    """The mapper that is given, or the one of this name, or else the design's own. Raises InputError."""
    expect("design", design, Design)
    if not isinstance(mapper, Mapper):
        return mapper_named(own_mapper(design) if mapper is None else mapper, options)
    if options:
        told = ", ".join(map(str, options))
        call = f"{type(mapper).__name__}({told}=...)"
        raise InputError(f"{told}: given beside a mapper, which has its own options; write {call}")
    return mapper


def own_mapper(design: Design) -> str:
    """The name of the design's own mapper: the one that it names, or the one for its order."""
    if design.mapper is not None:
        return design.mapper
    assert design.mapping is not None, "a design has one of the two"
    return BY_ORDER[design.mapping.order]


def mapper_named(name: str, options: Entries[str, Any]) -> Mapper:
    """The mapper of this name with these options, as values or as text. Raises InputError with every problem."""
    if not isinstance(name, str) or name not in MAPPERS:
        raise InputError(unknown_mapper(name))
    expect("options", options, Entries)
    known = options_of(MAPPERS[name])
    problems = [
        no_mapping_of(name)
        if key == MAPPING
        else f"mapper '{name}' has no option '{key}'; "
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


def unknown_mapper(name: Any) -> str:
    """What is wrong with the name of no mapper."""
    if isinstance(name, str) and name in FORMER_MAPPERS:
        return f"mapper {name!r} is a mapping now; write '{FORMER_MAPPERS[name]}' in the design"
    return f"unknown mapper {quoted(name)}; mappers are: {', '.join(MAPPERS)}"


def takes(name: str, kind: type[Sourced]) -> bool:
    """True where a mapper has an option for an object of this kind: a Selection, a Mapping."""
    return any(option.kind is kind for option in options_of(MAPPERS[name]).values())


def no_mapping_of(name: str) -> str:
    """What is wrong where a mapping is asked of this mapper."""
    known = [other for other in MAPPERS if takes(other, Mapping)]
    return f"mapper '{name}' takes no mapping; mappers that take one: {', '.join(known)}"


def mapper_lines() -> list[str]:
    """A line for each mapper, and one for each of its options."""
    lines = []
    for name, mapper in MAPPERS.items():
        meaning = (mapper.__doc__ or "").partition("\n")[0]
        lines.append(f"{name:<14} {meaning}")
        lines += [f"  {o.name:<18} {o.told}: {o.meaning}" for o in options_of(mapper).values()]
    return lines
