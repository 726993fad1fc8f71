"""Placement: what a design says of where ops run, where tensors lie, and through which memories operands pass.

Knows names of units, roles and op kinds. Does not know the graph that will run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import CoreSchema, core_schema

from archsim.design.resources import no_unit
from archsim.files.provenance import FROZEN
from archsim.quantity import Count
from archsim.units import Memory, Unit
from archsim.units.memory import Carrier
from dataflow.errors import PathProblems, guess, quoted
from dataflow.graph import Op
from dataflow.models.phases import PHASES
from dataflow.op import OP_KINDS
from dataflow.role import TRAFFIC, Role

DEFAULT = "default"  # the key of a path for every role that has none of its own
ROLES = tuple(role.value for role in Role if role not in TRAFFIC)


class _PathsByRole:
    """A path, or a path for each role, as YAML has them; read into a mapping, {"default": path} for the former."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_by_role)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        names = {"type": "array", "items": {"type": "string"}}
        by_role = {"type": "object", "propertyNames": {"enum": [*ROLES, DEFAULT]}, "additionalProperties": names}
        return {"anyOf": [names, by_role], "examples": [["sram", "dram"]]}


def _by_role(value: Any) -> dict[str, tuple[str, ...]]:
    given = value if isinstance(value, Mapping) else {"": value}
    problems = [
        (f"{role}.{i}".strip("."), f"expected the name of a memory or channel, got {quoted(name)}")
        for role, path in given.items()
        for i, name in enumerate(path if isinstance(path, list | tuple) else ())
        if not isinstance(name, str)
    ]
    problems += [
        (str(role), f"expected a list such as [sram, dram], from the unit outward, got {quoted(path)}")
        for role, path in given.items()
        if not isinstance(path, list | tuple)
    ]
    problems += [
        (str(role), f"no role {quoted(role)}; {guess(str(role), (*ROLES, DEFAULT), otherwise='roles are')}")
        for role in given
        if role not in (*ROLES, DEFAULT, "")
    ]
    if problems:
        raise PathProblems(problems)
    return {role or DEFAULT: tuple(path) for role, path in given.items()}


PathsByRole = Annotated[dict[str, tuple[str, ...]], _PathsByRole]


class _Homes:
    """A memory, or several of which each takes what does not fit in those before it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_homes)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        names = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [{"type": "string"}, names], "examples": ["dram", ["sram", "dram"]]}


def _homes(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a memory, or a list of memories from the unit outward, got {quoted(value)}")
    return tuple(names)


Homes = Annotated[tuple[str, ...], _Homes]
Paths = Mapping[str, Mapping[str, tuple[str, ...]]]
Problems = Iterator[tuple[str, str]]  # a dotted path, and what is wrong there


class Range(BaseModel):
    """A range of an extent: from `from` on, and less than `below`."""

    model_config = FROZEN

    from_: Count | None = Field(None, alias="from", description="the smallest extent that is meant")
    below: Count | None = Field(None, description="the smallest extent above the range")


class PlaceRule(BaseModel):
    """Ops that this unit does where others could; an op is meant where all that is given holds for it."""

    model_config = FROZEN

    unit: str = Field(description="the unit that does them")
    kinds: tuple[str, ...] = Field((), description="op kinds; every kind unless given")
    ops: tuple[str, ...] = Field((), description="names of ops; * stands for any characters")
    roles: tuple[str, ...] = Field((), description="roles: one at least of the tensors that the op reads has one")
    phase: str | None = Field(None, description="phase of the model")
    extents: dict[str, Range] = Field(default_factory=dict, description="extent of the op -> from, below")

    def matches(self, kind: str, op: Op | None, *, roles: Collection[str], phase: str) -> bool:
        """True where the rule means this op; without an op, work of this kind that a mapper adds."""
        if (self.kinds and kind not in self.kinds) or self.phase not in (None, phase):
            return False
        if op is None:
            return not (self.ops or self.roles or self.extents)
        named = not self.ops or any(fnmatchcase(op.name, name) for name in self.ops)
        return named and (not self.roles or bool({*self.roles} & {*roles})) and self._holds(op)

    def _holds(self, op: Op) -> bool:
        extents = OP_KINDS[op.kind].extents
        return all(
            name in extents and (r.from_ or 0) <= op.work[name] and (r.below is None or op.work[name] < r.below)
            for name, r in self.extents.items()
        )


def placement_problems(
    units: Mapping[str, Unit], paths: Paths, home: Mapping[str, Homes], place: Sequence[PlaceRule], tiers: Sequence[str]
) -> Problems:
    """Names that are not there, paths that lead nowhere, and homes off every path."""
    if tiers and paths:
        yield "tiers", "is the short form of paths; give one of the two"
    yield from _path_problems(paths, units)
    on_paths = [name for by_role in paths.values() for path in by_role.values() for name in path]
    yield from _home_problems(home, units, dict.fromkeys([*tiers, *on_paths]))
    for i, rule in enumerate(place):
        yield from _rule_problems(f"place.{i}", rule, units)


def _path_problems(paths: Paths, units: Mapping[str, Unit]) -> Problems:
    for unit, by_role in paths.items():
        if unit not in units:
            yield f"paths.{unit}", no_unit(unit, units)
        elif isinstance(units[unit], Carrier):
            yield f"paths.{unit}", f"'{unit}' is a {units[unit].named_kind}; paths are of units that do ops"
        for role, path in by_role.items():
            where = f"paths.{unit}" if role == DEFAULT and len(by_role) == 1 else f"paths.{unit}.{role}"
            for i, name in enumerate(path):
                if name not in units:
                    yield f"{where}.{i}", no_unit(name, units)
                elif not isinstance(units[name], Carrier):
                    yield f"{where}.{i}", f"'{name}' is a {units[name].named_kind}; a path is of memories and channels"
                elif name in path[:i]:
                    yield f"{where}.{i}", f"'{name}' stands on this path already; name it once"
            if path and path[-1] in units and not isinstance(units[path[-1]], Memory):
                yield where, f"ends with '{path[-1]}', which is no memory; name the memory that it leads to"


def _home_problems(home: Mapping[str, Homes], units: Mapping[str, Unit], on_paths: Collection[str]) -> Problems:
    for role, memories in home.items():
        where = f"home.{role}"
        if role not in ROLES:
            yield where, f"no role {quoted(role)}; {guess(role, ROLES, otherwise='roles are')}"
        elif Role(role).stored and len(memories) > 1:
            yield where, f"{role} lies in one memory, got {quoted(list(memories))}; only activations and inputs spill"
        for memory in memories:
            if memory not in units:
                yield where, no_unit(memory, units)
            elif not isinstance(units[memory], Memory):
                yield where, f"'{memory}' is a {units[memory].named_kind}; tensors lie in a memory"
            elif on_paths and memory not in on_paths:
                yield where, f"'{memory}' stands on no path; on paths are: {', '.join(on_paths)}"
            elif memories.count(memory) > 1:
                yield where, f"'{memory}' stands twice; name a memory once"
                break


def _rule_problems(where: str, rule: PlaceRule, units: Mapping[str, Unit]) -> Problems:
    if rule.unit not in units:
        yield f"{where}.unit", no_unit(rule.unit, units)
    elif isinstance(units[rule.unit], Carrier):
        yield f"{where}.unit", f"'{rule.unit}' is a {units[rule.unit].named_kind}; a rule names a unit that does ops"
    for i, kind in enumerate(rule.kinds):
        if kind not in OP_KINDS:
            yield f"{where}.kinds.{i}", f"no op kind {quoted(kind)}; {guess(kind, OP_KINDS, otherwise='op kinds are')}"
        elif rule.unit in units and kind not in units[rule.unit].does:
            does = ", ".join(units[rule.unit].does)
            yield f"{where}.kinds.{i}", f"'{rule.unit}' does not do '{kind}'; it does: {does}"
    for i, role in enumerate(rule.roles):
        if role not in ROLES:
            yield f"{where}.roles.{i}", f"no role {quoted(role)}; {guess(role, ROLES, otherwise='roles are')}"
    phase = rule.phase
    if phase is not None and phase not in PHASES:
        yield f"{where}.phase", f"no phase {quoted(phase)}; {guess(phase, PHASES, otherwise='phases are')}"
    elif phase is not None and PHASES[phase].many_steps:
        yield f"{where}.phase", f"'{phase}' runs as its steps, and no op is of it; name the phase of a step"
    known = dict.fromkeys(e for kind in rule.kinds or OP_KINDS if kind in OP_KINDS for e in OP_KINDS[kind].extents)
    for name, one in rule.extents.items():
        if name not in known:
            yield f"{where}.extents.{name}", f"no extent {quoted(name)}; {guess(name, known, otherwise='extents are')}"
        if one.below is not None and one.below <= (one.from_ or 1):
            least = one.from_ or 1
            yield f"{where}.extents.{name}", f"nothing is from {least} on and below {one.below}; give a larger `below`"
