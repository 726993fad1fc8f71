"""Scratchpad: a banked on-chip memory whose speed depends on the stride."""

from __future__ import annotations

from math import gcd
from typing import Literal

from pydantic import Field

from archsim.quantity import Count
from archsim.units.unit import Unit, ceil_div
from dataflow.op import Work


class Scratchpad(Unit):
    """Banked on-chip memory: cycles = vectors x ceil(lanes x gcd(stride, banks) / banks), a port for each task.

    Element i of a vector lies in bank i x stride mod banks, so that a vector meets banks / gcd(stride, banks) banks and
    each serves one element a cycle. A read and a write port (`count: 2`) work at once.
    derived: one element per bank and cycle, as the memory units of Plasticine (ISCA 2017) and Revet (HPCA 2024) have.
    """

    kinds = ("load", "store")

    kind: Literal["scratchpad"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has a port of its own")
    banks: Count = Field(description="banks of one element a cycle each")
    lanes: Count = Field(description="elements of a vector")

    def _cycles(self, work: Work) -> int:
        return work["vectors"] * ceil_div(self.lanes * gcd(work["stride"], self.banks), self.banks)
