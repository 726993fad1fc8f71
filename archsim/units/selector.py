"""HashComparator, ThresholdUnit and KvManager: the parts that choose among cached keys and ask for those chosen.

Source: arXiv 2512.12284. Numbers live in the design; here are the formulas.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import Bits, Bytes, Count, Cycles
from archsim.units.unit import Unit, ceil_div
from dataflow.op import Work, hash_pairs


def fills(elements: int, bits: int, buffer: int) -> int:
    """How often a buffer of so many bytes is filled until so many elements of so many bits have been in it."""
    return ceil_div(elements * bits, 8 * buffer)


class HashComparator(Unit):
    """Distances of new hashes from those cached and from each other, by exclusive or and a count of the ones.

    cycles = ceil(comparisons / cores) x ceil(bits / bits_per_cycle) + fill_cycles x fills of the current hashes' buffer
    x fills of the cached hashes' buffer: all cached hashes pass by each fill of current ones. Fills come from one
    memory, so they follow one another and the cores do not divide them.
    """

    kinds = ("hash_compare",)

    kind: Literal["hash_comparator"]
    cores: Count = Field(description="comparators, each with its own buffers")
    bits_per_cycle: Bits = Field(description="bits of two hashes that a comparator compares in a cycle")
    current_buffer: Bytes = Field(description="buffer for the hashes of new tokens")
    cached_buffer: Bytes = Field(description="buffer for the hashes of cached clusters")
    fill_cycles: Cycles = Field(description="cycles of a fill of the buffers")

    def current_hashes(self, bits: int) -> int:
        """Hashes of so many bits that the buffer for new tokens holds."""
        return 8 * self.current_buffer // bits

    def cached_hashes(self, bits: int) -> int:
        """Hashes of so many bits that the buffer for cached clusters holds."""
        return 8 * self.cached_buffer // bits

    def _cycles(self, work: Work) -> int:
        current, cached, bits = work["current"], work["cached"], work["bits"]
        compared = ceil_div(hash_pairs(current, cached), self.cores) * ceil_div(bits, self.bits_per_cycle)
        filled = fills(current, bits, self.current_buffer) * fills(cached, bits, self.cached_buffer)
        return compared + self.fill_cycles * filled


class ThresholdUnit(Unit):
    """Rows of scores cut at a share of their weighted sum: a pass for sum and range, then one per bucket from the top.

    With passes = bucket passes of all rows together, which end where the threshold is reached: scans = rows + passes,
    cycles = ceil(scans / cores) x ceil(columns / lanes), and where a row exceeds a buffer fill_cycles for each further
    fill in each scan. A mapper gives it no rule with more passes a row than there are buckets. Fills come from one
    memory and the cores do not divide them. Scans are spread evenly over the cores, so that there are meant to be many
    more rows than cores.
    """

    kinds = ("threshold",)

    kind: Literal["threshold_unit"]
    cores: Count = Field(description="threshold cores, each with its own buffers")
    lanes: Count = Field(description="elements of a row that a core takes in a cycle")
    score_buffer: Bytes = Field(description="buffer for the scores of a row")
    count_buffer: Bytes = Field(description="buffer for the token counts of the clusters of a row")
    element_bits: Bits = Field(description="width of a score and of a count")
    buckets: Count = Field(description="buckets into which the range of a row's scores is cut: its passes at most")
    fill_cycles: Cycles = Field(description="cycles of a further fill of the buffers")

    @property
    def elements_held(self) -> int:
        """Elements of a row that are in the buffers at once: scores and their counts."""
        return 8 * min(self.score_buffer, self.count_buffer) // self.element_bits

    def _cycles(self, work: Work) -> int:
        rows, columns = work["rows"], work["columns"]
        scans = rows + work["passes"]
        further = fills(columns, self.element_bits, min(self.score_buffer, self.count_buffer)) - 1
        taken = ceil_div(scans, self.cores) * ceil_div(columns, self.lanes)
        return taken + self.fill_cycles * max(0, further) * scans


class KvManager(Unit):
    """Turns the clusters kept into requests: cycles = requests / (cores x requests_per_cycle).

    It also moves what is evicted and lays the tokens of a cluster side by side in the tier beyond; what that saves is
    the mapper's layout to say.
    """

    kinds = ("issue",)

    kind: Literal["kv_manager"]
    cores: Count = Field(description="managers, one to a core")
    requests_per_cycle: Count = Field(description="requests that a manager issues in a cycle")

    def _cycles(self, work: Work) -> int:
        return ceil_div(work["requests"], self.cores * self.requests_per_cycle)
