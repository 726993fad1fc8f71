"""Gpu: a graphics processor by its peak rates, the launch of a kernel and the rate of irregular steps."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from archsim.quantity import CycleFraction, FlopsPerCycle, MacsPerCycle, OpsPerCycle
from archsim.units.unit import Unit, pooled
from dataflow.op import Work, elementwise_kinds

PRODUCTS = ("matmul", "ternary_matmul", "attention", "score")
SELECTIONS = ("hash_compare", "threshold", "issue")


class Gpu(Unit):
    """A GPU: work at peak rates, a launch for each kernel, and selection in software one step at a time.

    products (matmul, attention, score): mac / macs_per_cycle; exponentials take no extra time.
    element-wise and compare: flops / flops_per_cycle; an element that is only moved or compared counts as one flop.
    selection (hash_compare, threshold, issue): steps / selections_per_cycle; a step is a comparison of hashes, an
    element of a pass over scores (columns x (rows + passes)), or a request.
    enter: launch_overhead, which a mapper schedules once before the tiles of an op.
    Not modelled: occupancy, tile shapes, caches, and kernels that overlap.
    """

    kind: Literal["gpu"]
    macs_per_cycle: MacsPerCycle = Field(description="peak multiply-adds of its matrix units")
    flops_per_cycle: FlopsPerCycle = Field(description="peak rate of its vector units")
    selections_per_cycle: OpsPerCycle = Field(description="rate of the irregular steps of software selection")
    launch_overhead: CycleFraction = Field(description="time that the launch of a kernel adds to its work")

    @property
    def does(self) -> tuple[str, ...]:
        """Products, everything that goes element by element, selection in software, and the launch of a kernel."""
        return (*PRODUCTS, *elementwise_kinds(), "compare", *SELECTIONS, "enter")

    def _cycles(self, work: Work) -> Fraction:
        if work.kind == "enter":
            return self.launch_overhead
        if work.kind in PRODUCTS:
            return work.counts()["mac"] / self.macs_per_cycle
        if work.kind in SELECTIONS:
            return work.elements / self.selections_per_cycle
        # An embedding has no flop, and still a lane moves each of its elements.
        return max(work.counts().get("flop", 0), work.elements) / self.flops_per_cycle

    def _gang(self, work: Work, servers: int) -> Fraction:
        return pooled(self, servers, "macs_per_cycle", "flops_per_cycle", "selections_per_cycle")._cycles(work)
