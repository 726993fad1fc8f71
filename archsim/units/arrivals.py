"""Arrivals: requests, video frames or whatever else comes from outside at times of its own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from archsim.errors import MappingError
from archsim.quantity import CyclesTime
from archsim.units.unit import Unit
from dataflow.errors import PathProblems, quoted
from dataflow.op import Work, work
from dataflow.pattern import Pattern, every, sequence


class Arrivals(Unit):
    """Firings that end at given times, one after another: at each of `times`, or at every such interval.

    A token that a firing gives arrives when it ends. Nothing may hold arrivals up: the queues that they fill have room
    for all of them, and a section with less is refused. `works` are those of a task of n firings.
    """

    kinds = ("arrive",)
    describes = ("times",)
    off_chip = True

    kind: Literal["arrivals"]
    arbitration: Literal["in_order"] = Field("in_order", description="arrivals come one after another")
    times: CyclesTime | tuple[CyclesTime, ...] = Field(
        description="the interval from one arrival to the next, such as that of video frames; or a list of the times "
        "at which each arrives, from the start of the section"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Arrivals:
        if isinstance(self.times, tuple) and (not self.times or list(self.times) != sorted(self.times)):
            told = "expected an interval, or times of which none is earlier than the one before, at least one"
            raise PathProblems([("times", told)])
        if self.latency_cycles:
            told = f"arrivals come at their times, without a latency; got {self.latency_cycles}"
            raise PathProblems([("latency_cycles", told)])
        return self

    def works(self, n: int) -> Pattern[Work]:
        """The work of the first n arrivals, one for each firing. Raises MappingError where there are fewer times."""
        if type(n) is not int or n < 1:
            raise MappingError(f"a number of arrivals, 1 or more, is expected, got {quoted(n)}", where="arrivals")
        if isinstance(self.times, int):
            return every(work("arrive", number=1))
        self._time(n)
        return sequence(*((work("arrive", number=i), 1) for i in range(1, n + 1)))

    def _time(self, number: int) -> int:
        """When the arrival of this number comes, by the list of times."""
        assert isinstance(self.times, tuple), "an interval has no list"
        if not 1 <= number <= len(self.times):
            raise MappingError(
                f"arrival {number} is asked for, and there are times for {len(self.times)}",
                where="a unit of kind arrivals", ways_out=("more times", "an interval"),
            )  # fmt: skip
        return self.times[number - 1]

    def _cycles(self, work: Work) -> int:
        if isinstance(self.times, int):
            return self.times
        number = work["number"]
        return self._time(number) - (self._time(number - 1) if number > 1 else 0)
