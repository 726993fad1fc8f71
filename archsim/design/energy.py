"""What a design takes beside the energies of its units' actions: idle power, and the cycles of an FPGA's resources.

energy = actions of units + idle x time + sum over units of (busy + waiting x other cycles) x uses of the unit x cycle;
what belongs to no unit waits all the time. So power follows the clock, the size of each unit and how long it is busy.
It cannot tell how data toggle, how voltage and leakage follow clock and heat, or whether a variant meets its clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, Field

from archsim.design.use import Use
from archsim.files.provenance import FROZEN
from archsim.quantity import Joules, Watts
from archsim.units import Unit

Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class Energy(BaseModel):
    """Idle power of the whole, and the energy that resources of an FPGA take in a cycle."""

    model_config = FROZEN

    idle: Watts = Field(description="power that flows whatever runs: leakage, processor, board, as far as it counts")
    cycle: dict[str, Joules] = Field(
        default_factory=dict, description="resource -> energy of one of it in a cycle in which its unit is busy"
    )
    waiting: Share = Field(
        1.0, description="share of that energy in a cycle in which the unit waits, because the clock runs on"
    )


@dataclass(frozen=True, slots=True)
class CycleEnergy:
    """Joules of a design in a cycle: idle, of each unit that is busy, and of the rest of the FPGA, which no unit uses.

    `waiting` is the share of a unit's that it takes in the other cycles. Units outside the chip are not there. None
    stands for what is not known; `missing` says why.
    """

    idle: Fraction
    busy: Mapping[str, Fraction | None]
    missing: Mapping[str, str]
    rest: Fraction | None
    waiting: Fraction

    def of_unit(self, name: str, busy: Fraction, cycles: int) -> Fraction | None:
        """Joules of a unit whose servers are busy for so many cycles on average, of so many in all."""
        each = self.busy.get(name)
        return None if each is None else each * (busy + self.waiting * (cycles - busy))

    def of_all(self, busy: Mapping[str, Fraction], cycles: int) -> Fraction:
        """Joules of idle power, the rest and the units that are known; `busy` has a server's cycles on average."""
        known = {name: each for name, each in self.busy.items() if each is not None}
        waits = sum(known.values(), self.rest or Fraction(0))
        extra = sum((known[name] * n for name, n in busy.items() if n and name in known), Fraction(0))
        return cycles * (self.idle + self.waiting * waits) + (1 - self.waiting) * extra

    def of_rest(self, cycles: int) -> Fraction | None:
        """Joules of the resources that belong to no unit, which waits all the time."""
        return None if self.rest is None else cycles * self.waiting * self.rest


def cycle_energy(
    energy: Energy, use: Use | None, units: Mapping[str, Unit], *, clock_hz: Fraction
) -> CycleEnergy:  # fmt: skip
    """What a cycle of a design takes, by what its units use of the resources that have an energy."""
    busy: dict[str, Fraction | None] = {}
    missing: dict[str, str] = {}
    rest: Fraction | None = Fraction(0)
    if use is not None and energy.cycle:
        for name in units:
            if part := use.part(name):
                amounts = {what: use.own(name, what) for what in energy.cycle}
                busy[name] = _priced(amounts, energy.cycle)
                reasons = [part.why(what) for what, n in amounts.items() if n is None]
                missing |= {name: reasons[0]} if reasons else {}
        left = {what: _less(use.total(what), [use.own(name, what) for name in busy]) for what in energy.cycle}
        rest = _priced(left, energy.cycle)
    return CycleEnergy(energy.idle / clock_hz, busy, missing, rest, Fraction(str(energy.waiting)))


def _priced(amounts: Mapping[str, Fraction | None], prices: Mapping[str, Fraction]) -> Fraction | None:
    parts = [None if n is None else n * prices[what] for what, n in amounts.items()]
    return None if None in parts else sum((part for part in parts if part is not None), Fraction(0))


def _less(total: Fraction | None, parts: list[Fraction | None]) -> Fraction | None:
    if total is None or None in parts:
        return None
    return total - sum((part for part in parts if part is not None), Fraction(0))
