"""Memory and Channel: units whose work is bytes, carried in requests that each add a fixed time."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Literal

from pydantic import Field, model_validator

from archsim.quantity import Bytes, BytesPerCycle, CycleFraction, show
from archsim.units.fpga import Amounts
from archsim.units.unit import Unit, largest_share
from dataflow.errors import PathProblems
from dataflow.op import Work


class Carrier(Unit):
    """Carries bytes: cycles = bytes / bandwidth + ceil(bytes / request_bytes) x request_overhead.

    A single request of c bytes reaches a rate of c / (request_overhead + c / bandwidth), which is below the bandwidth
    and below c / request_overhead.
    """

    arbitration: Literal["in_order", "first_come"] = Field(
        "first_come", description="clients of a memory or channel compete: firings are served as they become ready"
    )
    bandwidth: BytesPerCycle = Field(description="peak bytes per second or per cycle")
    request_bytes: Bytes | None = Field(
        None, description="largest request; without it overhead is paid once per firing, or per piece of a gather"
    )
    request_overhead: CycleFraction = Field(Fraction(0), description="time that each request adds to its bytes")

    @property
    def carries_per_cycle(self) -> Fraction:
        """Bytes that all of its servers carry in a cycle at most."""
        return self.bandwidth * self.count

    def _carry(self, moved: int) -> Fraction:
        # No bytes are no request, so a firing that moves nothing takes no time.
        requests = ceil(Fraction(moved, self.request_bytes)) if self.request_bytes else min(1, moved)
        carried = moved / self.bandwidth
        return carried + requests * self.request_overhead if self.request_overhead else carried


class Memory(Carrier):
    """Reads and writes bytes: one stretch or, for gather, pieces that lie apart and share no request.

    The overhead of a request stands for row activations, bus turn-arounds and the interleaving of clients. It does not
    shrink with bandwidth, so a wider memory gains less on small requests. Requests are served one after another.
    """

    kinds = ("read", "write", "gather")
    off_chip = True

    kind: Literal["memory"]
    capacity: Bytes = Field(description="bytes that one server holds")
    cache_region: Bytes | None = Field(
        None,
        description="bytes for keys and values of the newest tokens; older ones are evicted to the tier beyond; "
        "without it, all bytes that the weights leave free",
    )
    cells: str | None = Field(
        None, description="what it is made of, by which a technology prices its bytes: sram, or a memory of its table"
    )
    bank: Bytes | None = Field(None, description="bytes of a bank of sram, of which an access costs; else its capacity")

    @model_validator(mode="after")
    def _holds_its_region(self) -> Memory:
        if self.cache_region and self.cache_region > self.capacity:
            asked, there = show(self.cache_region, "bytes"), show(self.capacity, "bytes")
            raise PathProblems([("cache_region", f"{asked} of a memory of {there}; give a part of it, or none")])
        return self

    @property
    def holds_bytes(self) -> int:
        """Bytes that all of its servers hold together."""
        return int(self.capacity) * self.count

    def _cycles(self, work: Work) -> Fraction:
        if work.kind == "gather":
            # `requests` counts pieces here: each is carried alone, in as many requests as its size needs.
            return work["requests"] * self._carry(work["bytes"])
        return self._carry(work["bytes"])

    def _gang(self, work: Work, servers: int) -> Fraction:
        return self._cycles(largest_share(work, "requests" if work.kind == "gather" else "bytes", servers))


class Channel(Carrier):
    """Moves bytes between units; a request is a packet, and its overhead is the time of its header and checks."""

    kinds = ("move",)

    kind: Literal["channel"]

    def _cycles(self, work: Work) -> Fraction:
        return self._carry(work["bytes"])

    def _gang(self, work: Work, servers: int) -> Fraction:
        return self._cycles(largest_share(work, "bytes", servers))

    def resources(self) -> Amounts:
        """A LUT for each bit of a cycle, as of a port; the memory for requests in flight has no formula."""
        return {"lut": ceil(8 * self.bandwidth), "dsp": 0, "uram": 0}
