"""Technology: what arithmetic and memory accesses take in a process, read from YAML; units count, this prices.

Not counted: control, wires between parts, clocks, leakage. What a table lacks has no energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from archsim.errors import InputError
from archsim.files.provenance import FROZEN
from archsim.files.shipped import found
from archsim.files.validate import validate
from archsim.quantity import Joules, parse, text_of
from archsim.units import Memory, Unit
from dataflow.name import Name
from dataflow.op import Work

ACCESS_BYTES = 8  # tables give accesses of 64 bit
SUMS_IN = {"int8": "int32", "bf16": "fp32", "fp16": "fp32", "fp32": "fp32"}  # the format in which products are added
SRAM = "sram"


def _a_size(text: str) -> str:
    try:
        parse(text, "bytes")
    except InputError as wrong:
        raise ValueError(str(wrong)) from None
    return text


def _sizes_as_names(schema: dict[str, Any]) -> None:
    schema["propertyNames"] = text_of("bytes")


class Technology(BaseModel):
    """Energies of a process: of adds and multiplies by format, and of accesses of 64 bit by kind of memory."""

    model_config = FROZEN

    name: Name = Field(description="the name that designs give")
    source: str = Field(description="source of every number that is not assumed")
    add: dict[str, Joules] = Field(description="format -> energy of an addition")
    multiply: dict[str, Joules] = Field(description="format -> energy of a multiplication")
    flop: Joules | None = Field(None, description="energy of an operation of a lane; without it, not modelled")
    exp: Joules | None = Field(None, description="energy of an exponential; without it, not modelled")
    sram: dict[Annotated[str, AfterValidator(_a_size)], Joules] = Field(
        default_factory=dict, description="size of a bank -> energy of an access; between two the larger",
        json_schema_extra=_sizes_as_names,
    )
    memories: dict[str, Joules] = Field(default_factory=dict, description="kind of memory -> energy of an access")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")

    def prices(self, unit: Unit, format: str = "") -> dict[str, Fraction]:
        """Joules of what a unit counts, products in this format; without what the table lacks."""
        byte = self._access(unit) if isinstance(unit, Memory) else None
        product, added = self.multiply.get(format), self.add.get(SUMS_IN.get(format, ""))
        mac = None if product is None or added is None else product + added
        each = None if byte is None else byte / ACCESS_BYTES
        given = {"mac": mac, "flop": self.flop, "exp": self.exp, "read": each, "written": each}
        return {what: joules for what, joules in given.items() if joules is not None}

    def joules(self, unit: Unit, work: Work) -> Fraction | None:
        """Energy of this work; None where the table lacks something that it counts."""
        counts = {what: n for what, n in work.counts().items() if n}
        prices = self.prices(unit, work.format)
        if not set(counts) <= set(prices):
            return None
        return sum((n * prices[what] for what, n in counts.items()), Fraction(0))

    def why_unpriced(self, unit: Unit) -> str:
        """Why the table has no energy for work of this unit."""
        if not isinstance(unit, Memory):
            return f"technology '{self.name}' has no energy for some of its work, or for its format"
        if unit.cells is None:
            return "`cells` says no kind of memory, by which the technology prices its bytes"
        largest = max(self.sram, key=lambda size: parse(size, "bytes"), default="none")
        return f"the largest bank of {SRAM} in technology '{self.name}' is {largest}; give its `bank`"

    def _access(self, unit: Memory) -> Fraction | None:
        if unit.cells != SRAM:
            return self.memories.get(unit.cells or "")
        sizes = sorted((parse(size, "bytes"), joules) for size, joules in self.sram.items())
        return next((joules for size, joules in sizes if (unit.bank or unit.capacity) <= size), None)

    def lacks(self, units: Mapping[str, Unit]) -> list[tuple[str, str]]:
        """Cells of memories that the table does not know."""
        known = ", ".join([SRAM, *self.memories])
        return [
            (f"units.{name}.cells", f"technology '{self.name}' has no memory '{unit.cells}'; it has: {known}")
            for name, unit in units.items()
            if isinstance(unit, Memory) and unit.cells not in (None, SRAM, *self.memories)
        ]


def load_technology(name: str) -> Technology:
    """The technology with a shipped name or at a path. Raises DesignError with every problem of the file."""
    return validate(found(name, "technologies", "technology"), Technology)


def told_of(technology: Technology) -> str:
    """What a report says of energies that are from a table."""
    not_counted = "control, wires, clocks, leakage, the filling of memories on the way and operands used in place"
    return f"energies of arithmetic and memories are those of technology '{technology.name}', without {not_counted}"
