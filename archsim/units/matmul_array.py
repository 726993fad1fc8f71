"""MatmulArray: multiply-adds at a rate, with nothing else charged."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Literal

from pydantic import Field

from archsim.quantity import MacsPerCycle
from archsim.units.fpga import Amounts, multiply_adds
from archsim.units.unit import Unit, pooled
from dataflow.op import Work


class MatmulArray(Unit):
    """Matmuls and attention at a rate of multiply-adds: cycles = mac / macs_per_cycle; exponentials take no extra time.

    Not modelled: fill, tile shapes and the operands' bandwidth.
    """

    kinds = ("matmul", "ternary_matmul", "attention", "attention_scores", "attention_values")

    kind: Literal["matmul_array"]
    macs_per_cycle: MacsPerCycle = Field(description="multiply-adds per cycle")

    def _cycles(self, work: Work) -> Fraction:
        return work.counts()["mac"] / self.macs_per_cycle

    def _gang(self, work: Work, servers: int) -> Fraction:
        return pooled(self, servers, "macs_per_cycle")._cycles(work)

    def resources(self) -> Amounts:
        """A DSP for each multiply-add of a cycle; memories beside it have no formula."""
        return multiply_adds(ceil(self.macs_per_cycle))
