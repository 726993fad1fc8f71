"""HashComparator, ThresholdUnit and KvManager: units that select among cached keys and request the selected ones.

Source: arXiv 2512.12284. Knows the formulas; the numbers stand in the design.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import Bits, Bytes, Count, Cycles
from archsim.units.unit import Unit, ceil_div, pooled
from dataflow.kinds.movement import hash_pairs
from dataflow.op import Work


def fills(elements: int, bits: int, buffer: int) -> int:
    """Times that a buffer of `buffer` bytes is filled for all elements of `bits` bits to pass through it."""
    return ceil_div(elements * bits, 8 * buffer)


class HashComparator(Unit):
    """Hamming distances of new hashes from cached ones and from each other.

    cycles = ceil(comparisons / cores) x ceil(bits / bits_per_cycle) + fill_cycles x fills of the current hashes' buffer
    x fills of the cached hashes' buffer, because all cached hashes pass by each fill of current ones. Fills come from
    one memory, one after another, so more cores do not shorten them.
    """

    kinds = ("hash_compare",)

    kind: Literal["hash_comparator"]
    cores: Count = Field(description="comparators, each with its own buffers")
    bits_per_cycle: Bits = Field(description="bits of a pair of hashes that a comparator compares in a cycle")
    current_buffer: Bytes = Field(description="buffer for the hashes of new tokens")
    cached_buffer: Bytes = Field(description="buffer for the hashes of cached clusters")
    fill_cycles: Cycles = Field(description="cycles to fill the buffers once")

    def _cycles(self, work: Work) -> int:
        current, cached, bits = work["current"], work["cached"], work["bits"]
        # A core compares whole pairs, and a pair takes whole cycles, so both quotients round up.
        compared = ceil_div(hash_pairs(current, cached), self.cores) * ceil_div(bits, self.bits_per_cycle)
        filled = fills(current, bits, self.current_buffer) * fills(cached, bits, self.cached_buffer)
        return compared + self.fill_cycles * filled

    def _gang(self, work: Work, servers: int) -> int:
        return pooled(self, servers, "cores")._cycles(work)


class ThresholdUnit(Unit):
    """Cuts rows of scores at a share of their weighted sum: a pass for sum and range, then one per bucket from the top.

    scans = rows + passes; `passes` are the bucket passes of all rows together, and a row ends them at its threshold.
    cycles = ceil(scans / cores) x ceil(columns / lanes), plus fill_cycles for each further fill in each scan if a row
    exceeds a buffer. Mappers refuse a rule with more passes a row than buckets. Fills come from one memory, so more
    cores do not shorten them. Scans are spread evenly over the cores, so rows should outnumber the cores by far.
    """

    kinds = ("threshold",)
    describes = ("element_bits", "buckets")

    kind: Literal["threshold_unit"]
    cores: Count = Field(description="threshold cores, each with its own buffers")
    lanes: Count = Field(description="elements of a row that a core takes in a cycle")
    score_buffer: Bytes = Field(description="buffer for the scores of a row")
    count_buffer: Bytes = Field(description="buffer for the token counts of the clusters of a row")
    element_bits: Bits = Field(description="width of a score and of a count")
    buckets: Count = Field(description="buckets of a row's range of scores; a row takes one pass each at most")
    fill_cycles: Cycles = Field(description="cycles of each fill of the buffers after the first")

    def _cycles(self, work: Work) -> int:
        rows, columns = work["rows"], work["columns"]
        scans = rows + work["passes"]
        # A score and its token count are read together, so the smaller buffer limits both.
        further = fills(columns, self.element_bits, min(self.score_buffer, self.count_buffer)) - 1
        taken = ceil_div(scans, self.cores) * ceil_div(columns, self.lanes)
        return taken + self.fill_cycles * max(0, further) * scans

    def _gang(self, work: Work, servers: int) -> int:
        return pooled(self, servers, "cores")._cycles(work)


class KvManager(Unit):
    """Turns the kept clusters into requests: cycles = ceil(requests / (cores x requests_per_cycle)).

    It also moves evicted tokens and places the tokens of a cluster side by side in the tier beyond. The mapper's option
    `layout` says whether requests profit from that.
    """

    kinds = ("issue",)

    kind: Literal["kv_manager"]
    cores: Count = Field(description="managers, one per core")
    requests_per_cycle: Count = Field(description="requests that a manager issues in a cycle")

    def _cycles(self, work: Work) -> int:
        return ceil_div(work["requests"], self.cores * self.requests_per_cycle)

    def _gang(self, work: Work, servers: int) -> int:
        return pooled(self, servers, "cores")._cycles(work)
