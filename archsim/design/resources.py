"""What a machine is made of: an FPGA's resources, a chip's silicon, and the tiers of memory that a cache lies in.

Knows how these are written and what cannot be right of them. Does not know what runs on the units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import core_schema

from archsim.quantity import Area, Count, Watts
from archsim.units import Channel, Memory, Unit
from dataflow.errors import PathProblems, guess

FIELD = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
Problems = list[tuple[str, str]]


def no_unit(name: str, units: Mapping[str, Any]) -> str:
    """That there is no unit of this name, and which may have been meant."""
    return f"no unit '{name}'; {guess(name, units, otherwise='units are')}"


def _half_count(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if type(value) not in (int, float) or value < 0 or (2 * value) % 1:
        raise ValueError(f"expected a count of zero or more, in halves, such as 98.5, got {value!r}")
    return Fraction(value)


class HalfCount:
    """A count in halves, as half blocks of memory are counted; read into a Fraction."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(_half_count)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "number", "unit": "count, in halves", "examples": [98.5]}


Amount = Annotated[Fraction, HalfCount]


class Resources(BaseModel):
    """What the part has and what each unit uses of it; `rest` is what belongs to no unit."""

    model_config = FIELD

    budget: dict[str, Amount] = Field(description="resource -> how much the part has")
    used: dict[str, dict[str, Amount]] = Field(description="unit, or rest -> resource -> how much it uses")

    def total(self, resource: str, units: Mapping[str, Unit]) -> Fraction:
        """How much of the resource all units and the rest use; of a unit the larger of what is written and derived."""
        return sum((self._use(owner, resource, units) for owner in self.used), Fraction(0))

    def _use(self, owner: str, resource: str, units: Mapping[str, Unit]) -> Fraction:
        written = self.used[owner].get(resource, Fraction(0))
        derived = units[owner].resources().get(resource, 0) if owner in units else 0
        return max(written, Fraction(derived))

    def problems(self, units: Mapping[str, Unit]) -> Problems:
        """Owners and resources that are none, units left out, and what is used beyond the budget."""
        problems = []
        for owner, uses in self.used.items():
            if owner != "rest" and owner not in units:
                problems.append((f"resources.used.{owner}", f"{no_unit(owner, units)}; or 'rest'"))
            for resource in uses:
                if resource not in self.budget:
                    known = ", ".join(self.budget)
                    problems.append((f"resources.used.{owner}.{resource}", f"not in the budget, which has: {known}"))
        for name, unit in units.items():
            if unit.resources() and name not in self.used:
                problems.append(("resources.used", f"says nothing of '{name}', which uses {unit.resources()}"))
        for resource, budget in self.budget.items():
            total = self.total(resource, units)
            if total > budget:
                told = f"{float(total):g} are used and the part has {float(budget):g}; use less or take a larger part"
                problems.append((f"resources.budget.{resource}", told))
        return problems


class Part(BaseModel):
    """Area and power of one part of a core."""

    model_config = FIELD

    area: Area = Field(description="area in this process")
    power: Watts = Field(description="power when it works")


class Silicon(BaseModel):
    """A chip of equal cores, each the sum of its parts; `retrieval` names the parts that choose what to fetch.

    Not modelled: what lies outside the cores. The power is that of the cores at work; no run derives it.
    """

    model_config = FIELD

    cores: Count = Field(description="cores of the chip")
    parts: dict[str, Part] = Field(description="part of a core -> its area and power")
    retrieval: tuple[str, ...] = Field((), description="the parts that choose which cached keys are fetched")

    @model_validator(mode="after")
    def _is_made_of_parts(self) -> Silicon:
        problems = []
        for i, name in enumerate(self.retrieval):
            if name not in self.parts:
                meant = guess(name, self.parts, otherwise="parts are")
                problems.append((f"retrieval.{i}", f"no part '{name}'; {meant}"))
            elif name in self.retrieval[:i]:
                problems.append((f"retrieval.{i}", f"'{name}' twice; its area and power count once"))
        if not (self.core_area and self.core_power):
            problems.append(("parts", "a core without area or without power; list the parts of a core with both"))
        if problems:
            raise PathProblems(problems)
        return self

    @property
    def core_area(self) -> Fraction:
        """mm^2 of a core."""
        return sum((part.area for part in self.parts.values()), Fraction(0))

    @property
    def core_power(self) -> Fraction:
        """Watts of a core."""
        return sum((part.power for part in self.parts.values()), Fraction(0))

    @property
    def area(self) -> Fraction:
        """mm^2 of all cores."""
        return self.cores * self.core_area

    @property
    def power(self) -> Fraction:
        """Watts of all cores."""
        return self.cores * self.core_power

    @property
    def retrieval_area_share(self) -> Fraction:
        """Of a core's area, what the parts of `retrieval` take."""
        return sum((self.parts[name].area for name in self.retrieval), Fraction(0)) / self.core_area

    @property
    def retrieval_power_share(self) -> Fraction:
        """Of a core's power, what the parts of `retrieval` take."""
        return sum((self.parts[name].power for name in self.retrieval), Fraction(0)) / self.core_power


def tier_problems(tiers: Sequence[str], units: Mapping[str, Unit]) -> Problems:
    """What is wrong with the way of cached keys and values: a memory on chip, the main one, channels, one beyond."""
    problems = []
    for i, name in enumerate(tiers):
        if name not in units:
            problems.append((f"tiers.{i}", no_unit(name, units)))
        elif not isinstance(units[name], Memory | Channel):
            kind = getattr(units[name], "kind", type(units[name]).__name__)
            problems.append((f"tiers.{i}", f"'{name}' is a {kind}; tiers are units of kind memory or channel"))
        elif name in tiers[:i]:
            problems.append((f"tiers.{i}", f"'{name}' stands at tiers.{tiers.index(name)} already; name a tier once"))
    if problems or not tiers:
        return problems
    memories = [name for name in tiers if isinstance(units[name], Memory)]
    shown = f"[{', '.join(tiers)}]"
    if list(tiers[:2]) != memories[:2] or len(tiers) < 2:
        problems.append(("tiers", f"{shown} does not begin with two memories; name one on chip, then the main one"))
    elif len(memories) > 3:
        problems.append(("tiers", f"{shown} has {len(memories) - 2} memories beyond the main one; name one at most"))
    elif tiers[-1] != memories[-1]:
        problems.append(("tiers", f"{shown} ends with a channel; name the memory that it leads to, or leave it out"))
    return problems
