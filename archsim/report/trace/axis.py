"""The time axis of a trace, whose viewers keep whole nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

GIGAHERTZ = 10**9
UNITS = {10**3: "a picosecond", 10**6: "a femtosecond"}


@dataclass(frozen=True, slots=True)
class Axis:
    """Cycles as microseconds with three decimals, rounded down to a nanosecond.

    Above 1 GHz the axis is 1000 times as long as the time, above 1 THz a million times and so on, so that no cycle is
    rounded away: each cycle still has a place of its own.
    """

    clock_hz: Fraction

    @property
    def stretched(self) -> int:
        """How many times as long as the time the axis is."""
        times = 1
        while self.clock_hz > GIGAHERTZ * times:
            times *= 1000
        return times

    def nanoseconds(self, cycle: int) -> int:
        """The place of a cycle."""
        return int(cycle * GIGAHERTZ * self.stretched * self.clock_hz.denominator // self.clock_hz.numerator)

    @property
    def told(self) -> str:
        """What it shows."""
        if self.stretched == 1:
            return "the time"
        nanosecond = UNITS.get(self.stretched, "less than a femtosecond")
        return f"{self.stretched} times the time: a nanosecond is {nanosecond}"


def microseconds(nanoseconds: int) -> str:
    """As JSON has it, so that 1000 times the number, without its decimals, is the number of nanoseconds again.

    Viewers compute that with floats. For some numbers these fall short of the whole one, so that slices that follow one
    another would overlap: such a number is written a hundredth of a nanosecond larger.

    >>> microseconds(1004), 1000 * 1.001, microseconds(1001)
    ('1.004', 1000.9999999999999, '1.00101')
    """
    whole, rest = divmod(nanoseconds, 1000)
    text = f"{whole}.{rest:03d}"
    exact = int(float(text) * 1000) == nanoseconds and int(float(f"0.{rest:03d}") * 1000) == rest
    return text if exact else f"{text}01"
