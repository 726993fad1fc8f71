"""MemoryTile: on-chip memories of a fabric, banked, each with a port for reads and one for writes."""

from __future__ import annotations

from math import gcd
from typing import Literal

from pydantic import Field

from archsim.quantity import Bits, Bytes, Count
from archsim.units.unit import Unit, ceil_div, largest_share
from dataflow.op import Work


class MemoryTile(Unit):
    """Banked memories of a fabric: a load or store takes vectors x ceil(lanes x gcd(stride, banks) / banks) cycles.

    Element i of a vector lies in bank i x stride mod banks, so a vector uses banks / gcd(stride, banks) banks, and each
    bank serves one element a cycle. A tile reads a vector and writes one at the same time, so that a buffer needs as
    many tiles as the slower of the two asks for, not the sum.
    derived: one element per bank and cycle, as the memory units of Plasticine (ISCA 2017) and Revet (HPCA 2024) have.
    """

    kinds = ("load", "store")
    describes = ("element_bits",)

    kind: Literal["memory_tile"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has tiles of its own")
    capacity: Bytes = Field(description="bytes that one tile holds")
    banks: Count = Field(description="banks of a tile, each serving one element a cycle")
    lanes: Count = Field(description="elements of a vector")
    element_bits: Bits = Field(description="width of an element")

    @property
    def holds_bytes(self) -> int:
        """Bytes that all tiles hold together."""
        return int(self.capacity) * self.count

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector."""
        return ceil_div(self.lanes * self.element_bits, 8)

    def _cycles(self, work: Work) -> int:
        # At stride 0 the gcd is `banks`: every element lies in one bank.
        return work["vectors"] * ceil_div(self.lanes * gcd(work["stride"], self.banks), self.banks)

    def _gang(self, work: Work, servers: int) -> int:
        return self._cycles(largest_share(work, "vectors", servers))
