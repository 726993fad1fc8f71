"""A kind of unit: a sorting network that takes the comparisons of a selection from the cores."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from archsim.quantity import Count, Cycles
from archsim.units import Unit, ceil_div
from dataflow import Work
from mappers import extend


class TopKSorter(Unit):
    """Compares scores in a network of so many lanes: cycles = ceil(comparisons / lanes) + depth_cycles."""

    kinds: ClassVar = ("compare",)

    kind: Literal["top_k_sorter"]
    lanes: Count = Field(description="comparisons per cycle")
    depth_cycles: Cycles = Field(description="cycles from the last score in to the last kept score out")

    def _cycles(self, work: Work) -> int:
        return ceil_div(work["comparisons"], self.lanes) + self.depth_cycles


extend(kinds=[TopKSorter])
