"""Scratchpad: a banked on-chip memory whose speed depends on the stride."""

from __future__ import annotations

from math import gcd
from typing import Literal

from pydantic import Field

from archsim.quantity import Count
from archsim.units.unit import Unit, ceil_div, largest_share
from dataflow.op import Work


class Scratchpad(Unit):
    """Banked on-chip memory with a port for each task: cycles = vectors x ceil(lanes x gcd(stride, banks) / banks).

    Element i of a vector lies in bank i x stride mod banks, so a vector uses banks / gcd(stride, banks) banks, and each
    bank serves one element a cycle. With `count: 2` a read port and a write port work at the same time.
    derived: one element per bank and cycle, as the memory units of Plasticine (ISCA 2017) and Revet (HPCA 2024) have.
    """

    kinds = ("load", "store")

    kind: Literal["scratchpad"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has a port of its own")
    banks: Count = Field(description="banks, each serving one element a cycle")
    lanes: Count = Field(description="elements of a vector")

    def _cycles(self, work: Work) -> int:
        # At stride 0 the gcd is `banks`: every element lies in one bank.
        return work["vectors"] * ceil_div(self.lanes * gcd(work["stride"], self.banks), self.banks)

    def _gang(self, work: Work, servers: int) -> int:
        return self._cycles(largest_share(work, "vectors", servers))
