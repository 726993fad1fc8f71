"""Placement: which unit does an op, where tensors of a role lie, and through which memories they come to a unit.

Every mapper of designs with memories asks here where tensors lie; one that finds its units by links refuses rules. What
a design leaves open has one possibility, or is refused with the line to write: nothing is chosen by the order of names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from archsim.design.design import Design
from archsim.design.placement import DEFAULT
from archsim.errors import MappingError
from archsim.units import Memory
from dataflow.graph import Graph, Op
from dataflow.role import Role

Way = tuple[str, ...]  # names of memories and channels, from the home of a tensor inward to the unit
T = TypeVar("T")

FIRST_PASS = {"attention": "attention_scores"}  # of kinds that units do in passes


def reader_of(design: Design, op: Op, graph: Graph) -> str:
    """The unit that reads the operands of an op: that of the op, or of its first pass where no unit does it whole.

    Raises MappingError as unit_for.
    """
    where, first = f"op '{op.name}'", FIRST_PASS.get(op.kind, "")
    does = {kind for unit in design.units.values() for kind in unit.does}
    if op.kind not in does and first in does:
        return unit_for(design, first, where)
    return unit_for(design, op.kind, where, op=op, graph=graph)


def unit_for(design: Design, kind: str, where: str, *, op: Op | None = None, graph: Graph | None = None) -> str:
    """The unit that does this op, or work of this kind that a mapper adds.

    Raises MappingError where no unit does the kind, or several do and no rule of the design tells them apart.
    """
    able = [name for name, unit in design.units.items() if kind in unit.does]
    if len(able) == 1:
        return able[0]
    if not able:
        does = "; ".join(f"{name} {' '.join(unit.does)}" for name, unit in design.units.items())
        raise MappingError(f"no unit of '{design.name}' does '{kind}'; units do: {does}", where=where)
    roles = [] if op is None or graph is None else [graph.in_memory(name).role for name in op.inputs]
    phase = "" if graph is None else graph.phase.name
    for rule in design.place:
        if rule.unit in able and rule.matches(kind, op, roles=roles, phase=phase):
            return rule.unit
    raise MappingError(
        f"{' and '.join(map(repr, able))} do '{kind}', and no rule under place tells them apart", where=where,
        ways_out=tuple(f"place: [{{kinds: [{kind}], unit: {name}}}] in the design" for name in able),
    )  # fmt: skip


def way_in(design: Design, unit: str, role: Role, where: str = "") -> Way:
    """The way of a stored tensor from its home to the unit; empty where tensors of the role move no bytes.

    Raises MappingError where the design leaves the path or the home open, or the home is not on the path.
    """
    home = _home(design, unit, path_of(design, unit, role, where), role, where)
    return () if home is None else way_from(design, home, unit, role, where)


def way_from(design: Design, memory: str, unit: str, role: Role, where: str = "") -> Way:
    """The way from this memory to the unit; empty over an ideal path. Raises MappingError for a memory off the path."""
    path = path_of(design, unit, role, where)
    if path and memory not in path:
        raise MappingError(
            f"the path of '{unit}' for {role} is {_shown(path)}, and the home of {role} is '{memory}'",
            where=where,
            ways_out=(f"home: {{{role}: {path[-1]}}} in the design", f"a path of '{unit}' to '{memory}'"),
        )
    return tuple(reversed(path[: path.index(memory) + 1])) if path else ()


def homes_of(design: Design, role: Role) -> tuple[str, ...]:
    """The memories in which activations or inputs lie, each for what does not fit before; empty where in none."""
    on_chip = design.tiers[:1] if role is Role.ACTIVATION else ()
    return design.home.get(role, on_chip)


def memories_beside(design: Design) -> frozenset[str]:
    """The memories that stand first on a path with several: units use what lies there in place."""
    return frozenset(path[0] for path in _paths(design) if _beside(design, path))


def memories_outward(design: Design, memory: str) -> Iterator[str]:
    """The memories that stand next to this one outward, on the paths in order of the design."""
    for path in _paths(design):
        if memory in path:
            outward = path[path.index(memory) + 1 :]
            yield from [name for name in outward if isinstance(design.units[name], Memory)][:1]


def _paths(design: Design) -> list[tuple[str, ...]]:
    return [design.tiers, *(path for by_role in design.paths.values() for path in by_role.values())]


def _beside(design: Design, path: tuple[str, ...]) -> bool:
    """True where a unit uses what lies at the start of its path in place: in a memory that is not the only one."""
    memories = [name for name in path if isinstance(design.units[name], Memory)]
    return len(memories) > 1 and path[0] == memories[0]


def way_of_activation(design: Design, memory: str, unit: str, role: Role, where: str = "") -> Way:
    """As way_from; empty too where the unit uses the tensor in place."""
    way, path = way_from(design, memory, unit, role, where), path_of(design, unit, role, where)
    return () if memory in path[:1] and _beside(design, path) else way


def path_of(design: Design, unit: str, role: Role, where: str = "") -> tuple[str, ...]:
    """Names of the memories and channels that tensors of a role pass, from the unit outward. Raises MappingError."""
    if design.tiers:
        return design.tiers
    if design.paths:
        found = _of_role(design.paths.get(unit, {}), role)
        if found is None:
            raise MappingError(
                f"'{unit}' reads {role}, and no path says through which memories",
                where=where,
                ways_out=(f"paths: {{{unit}: [a memory on chip, the main memory]}} in the design",
                          f"paths: {{{unit}: []}} for an ideal memory"),
            )  # fmt: skip
        return found
    memories = list(design.of_kind(Memory))
    if not memories:
        raise MappingError(
            f"design '{design.name}' has no unit of kind memory",
            where=where,
            ways_out=("a memory for the weights", f"paths: {{{unit}: []}} for an ideal memory"),
        )
    if len(memories) > 1:
        raise MappingError(
            f"{' and '.join(map(repr, memories))} are memories, and no path says which of them '{unit}' reads",
            where=where,
            ways_out=(f"paths: {{{unit}: {_shown(memories)}}} in the design, from the unit outward",),
        )
    return (memories[0],)


def nearest_memory(design: Design, unit: str, role: Role, where: str = "") -> str:
    """The memory that a unit reads tensors of this role from; empty where its path is ideal. Raises MappingError."""
    path = path_of(design, unit, role, where)
    return next((hop for hop in path if isinstance(design.units[hop], Memory)), "")


def _home(design: Design, unit: str, path: tuple[str, ...], role: Role, where: str) -> str | None:
    told = _of_role(design.home, role)
    if told is not None or not path:
        return told[0] if told else None
    if design.tiers:
        return design.tiers[1]  # the main memory
    # A home of activations alone says nothing of what is stored.
    if any(Role(named).stored for named in design.home):
        return None
    memories = [name for name in path if isinstance(design.units[name], Memory)]
    if len(memories) > 1:
        raise MappingError(
            f"{' and '.join(map(repr, memories))} stand on the path of '{unit}', and no home says which holds {role}",
            where=where,
            ways_out=(f"home: {{{role}: {memories[-1]}}} in the design",),
        )
    return memories[0]


def _of_role(of: Mapping[str, T], role: Role) -> T | None:
    """The entry of a role: its own, for learned ones else that of weights, else the default."""
    return of.get(role, of.get(Role.WEIGHT if role.learned else role, of.get(DEFAULT)))


def _shown(names: object) -> str:
    return f"[{', '.join(names)}]"  # type: ignore[arg-type]
