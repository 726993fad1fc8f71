"""Host: processor cores beside the accelerator, modelled by one measured run."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, model_validator

from archsim.quantity import Count, CycleFraction
from archsim.units.unit import Unit
from dataflow.errors import PathProblems
from dataflow.op import Work


class Host(Unit):
    """Matmuls at the rate of a published run: cycles = mac x measured_time / measured_macs.

    Not modelled: caches, threads, and how other shapes than the measured one change the rate.
    """

    kinds = ("matmul",)
    describes = ("measured_macs",)
    off_chip = True

    kind: Literal["host"]
    measured_macs: Count = Field(description="multiply-adds of the measured run")
    # A time, because the host has a clock of its own: a faster accelerator waits more cycles for it.
    measured_time: CycleFraction = Field(description="time of the measured run; it does not scale with the clock")

    @model_validator(mode="after")
    def _takes_time(self) -> Host:
        if not self.measured_time:
            raise PathProblems([("measured_time", "expected a time above zero such as '9 ms'; no work is free")])
        return self

    def _cycles(self, work: Work) -> Fraction:
        return work.counts()["mac"] * self.measured_time / self.measured_macs
