"""Resources of an FPGA: the budget, and what each unit of a design uses of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import core_schema

from archsim.files.provenance import FROZEN
from archsim.units import Unit
from archsim.units.watched import computed
from dataflow.errors import PathProblems, guess, quoted


def no_unit(name: str, units: Mapping[str, Any]) -> str:
    """The message that no unit has this name, with a guess at the one that was meant."""
    return f"no unit '{name}'; {guess(name, units, otherwise='units are')}"


def _half_count(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    # type() and not isinstance, because a bool is an int in Python.
    if type(value) not in (int, float) or value < 0 or (2 * value) % 1:
        raise ValueError(f"expected a count of zero or more, in halves, such as 98.5, got {quoted(value)}")
    return Fraction(value)


class HalfCount:
    """A count in halves, because FPGA memory is counted in half blocks; read into a Fraction."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(_half_count)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "multipleOf": 0.5, "unit": "count, in halves", "examples": [98.5]}


Amount = Annotated[Fraction, HalfCount]


REST = "rest"
KNOWN = ("lut", "ff", "dsp", "bram36", "uram")  # what kinds have formulas of, whether or not a budget has it


def taken(path: str, part: Any, budget: Collection[str]) -> Mapping[str, int | Fraction]:
    """What a unit or link takes by its formula. Raises PathProblems where that gives no exact amounts of resources."""
    found = computed(part)
    says = f"resources() of kind '{getattr(part, 'kind', 'link')}' gives"
    if not isinstance(found, Mapping):
        told = f"{says} {quoted(found)}; expected a mapping of resources to amounts, such as {{'lut': 8}}"
        raise PathProblems([(path, told)])
    names, problems = dict.fromkeys([*budget, *KNOWN]), []
    for what, n in found.items():
        if what not in names:
            meant = guess(str(what), names, otherwise="resources are")
            problems.append((path, f"{says} an amount of {quoted(what)}, which is no resource; {meant}"))
        # type() and not isinstance, because a bool is an int in Python.
        elif (type(n) is not int and not isinstance(n, Fraction)) or n < 0:
            told = f"{says} {quoted(n)} of '{what}'; expected an int or a Fraction of zero or more, which are exact"
            problems.append((path, told))
    if problems:
        raise PathProblems(problems)
    return found


class Resources(BaseModel):
    """What the FPGA has, and what each unit uses of it as built; `rest` belongs to no unit."""

    model_config = FROZEN

    budget: dict[str, Amount] = Field(description="resource -> how much the FPGA has")
    used: dict[str, dict[str, Amount]] = Field(
        description="unit, or rest -> resource -> how much it uses, as measured with the parameters of `built`; what "
        "differs from them is scaled by the formulas, and its use is not known where no formula reads what differs"
    )

    @property
    def owners(self) -> list[str]:
        """The units of which a use is written."""
        return [name for name in self.used if name != REST]

    def written(self, path: str) -> Mapping[str, Fraction]:
        """The uses that are written for a unit or link; of links none are."""
        place, _, name = path.partition(".")
        return self.used.get(name, {}) if place == "units" else {}

    def measured(self, resource: str) -> Fraction:
        """What all together used as measured."""
        return sum((uses.get(resource, Fraction(0)) for uses in self.used.values()), Fraction(0))

    def problems(self, units: Mapping[str, Unit]) -> list[tuple[str, str]]:
        """Unknown owners and resources, and units left out."""
        problems = []
        for owner, uses in self.used.items():
            if owner != REST and owner not in units:
                problems.append((f"resources.used.{owner}", f"{no_unit(owner, units)}; or 'rest'"))
            for resource in uses:
                if resource not in self.budget:
                    known = ", ".join(self.budget)
                    problems.append((f"resources.used.{owner}.{resource}", f"not in the budget, which has: {known}"))
        for name, unit in units.items():
            try:
                formula = taken(f"units.{name}", unit, self.budget)
            except PathProblems as wrong:
                problems += wrong.problems
                continue
            takes = {what: n for what, n in formula.items() if n and what in self.budget}
            if takes and name not in self.used and REST not in self.used and not unit.off_chip:
                told = ", ".join(f"{what} {float(n):,g}" for what, n in takes.items())
                way_out = "give its use, or that of all that is left out, as 'rest'"
                problems.append(("resources.used", f"says nothing of '{name}', by formula {told}; {way_out}"))
        return problems
