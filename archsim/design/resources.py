"""Resources of an FPGA: the budget, and what each unit of a design uses of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import core_schema

from archsim.files.provenance import FROZEN
from archsim.units import Unit
from dataflow.errors import guess


def no_unit(name: str, units: Mapping[str, Any]) -> str:
    """The message that no unit has this name, with a guess at the one that was meant."""
    return f"no unit '{name}'; {guess(name, units, otherwise='units are')}"


def _half_count(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    # type() and not isinstance, because a bool is an int in Python.
    if type(value) not in (int, float) or value < 0 or (2 * value) % 1:
        raise ValueError(f"expected a count of zero or more, in halves, such as 98.5, got {value!r}")
    return Fraction(value)


class HalfCount:
    """A count in halves, because FPGA memory is counted in half blocks; read into a Fraction."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(_half_count)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "number", "unit": "count, in halves", "examples": [98.5]}


Amount = Annotated[Fraction, HalfCount]


class Resources(BaseModel):
    """What the FPGA has and what each unit uses of it; `rest` belongs to no unit."""

    model_config = FROZEN

    budget: dict[str, Amount] = Field(description="resource -> how much the FPGA has")
    used: dict[str, dict[str, Amount]] = Field(description="unit, or rest -> resource -> how much it uses")

    def total(self, resource: str, units: Mapping[str, Unit]) -> Fraction:
        """The use of the resource by all units and the rest; for a unit the larger of written and derived use."""
        return sum((self._use(owner, resource, units) for owner in self.used), Fraction(0))

    def _use(self, owner: str, resource: str, units: Mapping[str, Unit]) -> Fraction:
        written = self.used[owner].get(resource, Fraction(0))
        derived = units[owner].resources().get(resource, 0) if owner in units else 0
        # A variant may need more than was written for the original.
        return max(written, Fraction(derived))

    def problems(self, units: Mapping[str, Unit]) -> list[tuple[str, str]]:
        """Unknown owners and resources, units left out, and use beyond the budget."""
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
                excess = f"{float(total):g} are used and the FPGA has {float(budget):g}; use less or take a larger one"
                problems.append((f"resources.budget.{resource}", excess))
        return problems
