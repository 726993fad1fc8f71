"""Ring: the links between sockets that work on one op together, and what they exchange."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from archsim.quantity import BytesPerCycle, Count, CyclesTime
from archsim.units.unit import Unit
from dataflow.op import Work


class Ring(Unit):
    """Links from socket to socket in a ring. Of n sockets, each link carries bytes (n - 1) / n of a tensor.

    all_gather, after which each socket has all parts, and reduce_scatter, after which each has the sum of a part:
    (n - 1) x (bytes / n / bandwidth + step_latency) cycles each. One after the other is an all-reduce.
    Source of the steps: Patarasuk and Yuan, 2009, the bandwidth-optimal all-reduce.
    """

    kinds = ("all_gather", "reduce_scatter")

    kind: Literal["ring"]
    arbitration: Literal["in_order", "first_come"] = Field(
        "first_come", description="exchanges of several ops compete: served as they become ready"
    )
    sockets: Count = Field(description="sockets of the ring; the counts of other units are those of all of them")
    bandwidth: BytesPerCycle = Field(description="of a link, in one direction")
    step_latency: CyclesTime = Field(description="time of a step from socket to socket beside its bytes")

    @property
    def carries_per_cycle(self) -> Fraction:
        """Bytes that all links carry in a cycle at most, a link for each socket."""
        return self.bandwidth * self.sockets * self.count

    def _cycles(self, work: Work) -> Fraction:
        steps = self.sockets - 1
        return steps * (Fraction(work["bytes"], self.sockets) / self.bandwidth + self.step_latency)
