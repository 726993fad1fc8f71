"""Memory and Channel: units whose work is bytes."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Literal

from pydantic import Field

from archsim.quantity import Bytes, BytesPerCycle
from archsim.units.unit import CycleFraction, Unit
from dataflow.op import Work


class Memory(Unit):
    """Reads and writes bytes: cycles = bytes / bandwidth + ceil(bytes / request_bytes) x request_overhead.

    The overhead of a request is what activations, turn-arounds and the clients' interleaving cost beside the bytes;
    it is a time of its own, so that a wider memory gains less on small requests.
    """

    kinds = ("read", "write")

    kind: Literal["memory"]
    arbitration: Literal["in_order", "first_come"] = Field(
        "first_come", description="clients of a memory compete: firings are served as they become ready"
    )
    capacity: Bytes = Field(description="bytes it holds")
    bandwidth: BytesPerCycle = Field(description="peak bytes per second or per cycle")
    request_bytes: Bytes | None = Field(
        None, description="largest request; without it overhead is paid once per firing"
    )
    request_overhead: CycleFraction = Field(Fraction(0), description="time of each request beside its bytes")

    def _cycles(self, work: Work) -> Fraction:
        moved = work["bytes"]
        requests = ceil(Fraction(moved, self.request_bytes)) if self.request_bytes else min(1, moved)
        return moved / self.bandwidth + requests * self.request_overhead


class Channel(Unit):
    """Moves bytes between units: cycles = bytes / bandwidth."""

    kinds = ("move",)

    kind: Literal["channel"]
    arbitration: Literal["in_order", "first_come"] = Field(
        "first_come", description="clients of a channel compete: firings are served as they become ready"
    )
    bandwidth: BytesPerCycle = Field(description="bytes per second or per cycle")

    def _cycles(self, work: Work) -> Fraction:
        return work["bytes"] / self.bandwidth
