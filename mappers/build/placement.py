"""Placement: which unit does an op, where tensors of a role lie, and through which memories they come to a unit.

Ops one after another and retrieval ask here; mappers that find units by their links refuse paths, homes and rules. What
a design leaves open has one possibility, or is refused with the line to write: nothing is chosen by the order of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from archsim.design.design import Design
from archsim.design.placement import DEFAULT
from archsim.errors import MappingError
from archsim.units import Memory
from dataflow.graph import Graph, Op
from dataflow.role import Role

Way = tuple[str, ...]  # names of memories and channels, from the home of a tensor inward to the unit
T = TypeVar("T")


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


def way_in(design: Design, unit: str, role: Role) -> Way:
    """The way of a tensor from its home to the unit; empty where tensors of the role move no bytes.

    Raises MappingError where the design leaves the path or the home open, or the home is not on the path.
    """
    path = path_of(design, unit, role)
    home = _home(design, unit, path, role)
    if home is None or not path:
        return ()
    if home not in path:
        raise MappingError(
            f"'{unit}' reads {role} over {_shown(path)}, and its home is '{home}'",
            ways_out=(f"home: {{{role}: {path[-1]}}} in the design", f"a path of '{unit}' to '{home}'"),
        )
    return tuple(reversed(path[: path.index(home) + 1]))


def path_of(design: Design, unit: str, role: Role) -> tuple[str, ...]:
    """Names of the memories and channels that tensors of a role pass, from the unit outward. Raises MappingError."""
    if design.tiers:
        return design.tiers
    if design.paths:
        found = _of_role(design.paths.get(unit, {}), role)
        if found is None:
            raise MappingError(
                f"'{unit}' reads {role}, and no path says through which memories",
                ways_out=(f"paths: {{{unit}: [a memory on chip, the main memory]}} in the design",
                          f"paths: {{{unit}: []}} for an ideal memory"),
            )  # fmt: skip
        return found
    memories = list(design.of_kind(Memory))
    if not memories:
        raise MappingError(
            f"design '{design.name}' has no unit of kind memory",
            ways_out=("a memory for the weights", f"paths: {{{unit}: []}} for an ideal memory"),
        )
    if len(memories) > 1:
        raise MappingError(
            f"{' and '.join(map(repr, memories))} are memories, and no path says which of them '{unit}' reads",
            ways_out=(f"paths: {{{unit}: {_shown(memories)}}} in the design, from the unit outward",),
        )
    return (memories[0],)


def _home(design: Design, unit: str, path: tuple[str, ...], role: Role) -> str | None:
    if design.home:
        return _of_role(design.home, role)
    if not role.stored or not path:
        return None
    if design.tiers:
        return design.tiers[1]  # the main memory
    memories = [name for name in path if isinstance(design.units[name], Memory)]
    if len(memories) > 1:
        raise MappingError(
            f"{' and '.join(map(repr, memories))} stand on the path of '{unit}', and no home says which holds {role}",
            ways_out=(f"home: {{{role}: {memories[-1]}}} in the design",),
        )
    return memories[0]


def _of_role(of: Mapping[str, T], role: Role) -> T | None:
    """The entry of a role: its own, for learned ones else that of weights, else the default."""
    return of.get(role, of.get(Role.WEIGHT if role.learned else role, of.get(DEFAULT)))


def _shown(names: object) -> str:
    return f"[{', '.join(names)}]"  # type: ignore[arg-type]
