"""TableLookup: ternary matmul by tables of activation sums; WeightLoader and WeightBuffer feed it.

Source: arXiv 2510.15926. Knows the formulas; the numbers stand in the design.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import Bits, Count, Cycles
from archsim.units.unit import Unit, ceil_div, largest_share, pooled
from dataflow.format import Format, beat_layout
from dataflow.op import Work


class TableLookup(Unit):
    """Ternary matmul: per block of num_tables x group_size inputs, build the tables, then look up every output.

    ternary_matmul: m x ceil(k / block) x (build_cycles + lookup_fill_cycles + ceil(n / readers_per_table)).
    take: takes_per_cycle activations enter in a cycle. drain: readers_per_table accumulators leave in a cycle.
    """

    kinds = ("ternary_matmul", "take", "drain")
    describes = ("group_size", "activation_bits")

    kind: Literal["table_lookup"]
    group_size: Count = Field(description="ternary weights per index, activations per table")
    num_tables: Count = Field(description="tables in parallel")
    readers_per_table: Count = Field(description="look-ups per table and cycle: output channels per cycle")
    activation_bits: Bits = Field(description="width of an activation")
    takes_per_cycle: Count = Field(description="activations read per cycle")
    build_cycles: Cycles = Field(description="cycles from the last activation of a block until its tables can be read")
    lookup_fill_cycles: Cycles = Field(description="fill of the look-up loop, paid once per block")

    @property
    def block_inputs(self) -> int:
        """Inputs per block."""
        return self.num_tables * self.group_size

    @property
    def table_entries(self) -> int:
        """Entries of a table: every combination of group_size ternary weights."""
        return int(3**self.group_size)

    @property
    def entry_bits(self) -> int:
        """Bits of an entry: a sum of group_size activations."""
        # A sum of n terms needs ceil(log2 n) bits more than one term.
        return self.activation_bits + (self.group_size - 1).bit_length()

    @property
    def index_bits(self) -> int:
        """Bits of a packed index."""
        return (self.table_entries - 1).bit_length()

    @property
    def table_bits(self) -> int:
        """Bits of all tables: one copy per reader."""
        return self.entry_bits * self.table_entries * self.readers_per_table * self.num_tables

    def _cycles(self, work: Work) -> int:
        if work.kind == "take":
            return ceil_div(work["d"], self.takes_per_cycle)
        if work.kind == "drain":
            return ceil_div(work["d"], self.readers_per_table)
        lookups = ceil_div(work["n"], self.readers_per_table)
        blocks = ceil_div(work["k"], self.block_inputs)
        # Tables hold sums of one row's activations, so they are built anew for every row and block.
        return work["m"] * blocks * (self.build_cycles + self.lookup_fill_cycles + lookups)

    def _gang(self, work: Work, servers: int) -> int:
        return self._cycles(largest_share(work, "n" if work.kind == "ternary_matmul" else "d", servers))


class WeightLoader(Unit):
    """Loads ternary weights from memory in whole regions of beats: cycles = ceil(bytes / (ports x port_bits / 8))."""

    kinds = ("move",)
    describes = ("beat_bits", "vectors_per_beat", "block_inputs", "region_blocks", "region_outputs")

    kind: Literal["weight_loader"]
    ports: Count = Field(description="memory ports that are read together")
    port_bits: Bits = Field(description="width of a port")
    burst_beats: Count = Field(description="beats of a request on each port")
    outstanding: Count = Field(description="requests in flight on each port")
    beat_bits: Bits = Field(description="width of a beat of the layout in memory")
    vectors_per_beat: Count = Field(description="index vectors packed in a beat of the layout")
    block_inputs: Count = Field(description="inputs whose weights one index vector holds")
    region_blocks: Count = Field(description="rows of blocks in a region")
    region_outputs: Count = Field(description="outputs in a region")

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat of the layout."""
        return self.beat_bits // 8

    @property
    def layout(self) -> Format:
        """The format in which the weights lie in memory."""
        return beat_layout(
            beat_bits=self.beat_bits, vectors_per_beat=self.vectors_per_beat, block_inputs=self.block_inputs,
            region_blocks=self.region_blocks, region_outputs=self.region_outputs,
        )  # fmt: skip

    def _cycles(self, work: Work) -> int:
        return ceil_div(8 * work["bytes"], self.ports * self.port_bits)

    def _gang(self, work: Work, servers: int) -> int:
        return pooled(self, servers, "ports")._cycles(work)


class WeightBuffer(Unit):
    """On-chip memory for index vectors of weights; its capacity is counted in regions, its cost in UltraRAM blocks.

    uram = ceil(ceil(region_outputs / banks) x rows / 4096) x ceil(word_bits / 72) x banks, with rows =
    regions x region_blocks. A dual-ported bank serves two readers, so a design takes banks = readers / 2.
    """

    kinds = ()  # no work of its own: time passes in the loader that fills it and the look-ups that read it
    describes = ("region_blocks", "region_outputs", "word_bits")

    kind: Literal["weight_buffer"]
    regions: Count = Field(description="regions of weights that it holds")
    region_blocks: Count = Field(description="rows of blocks in a region")
    region_outputs: Count = Field(description="outputs in a region")
    word_bits: Bits = Field(description="width of an index vector")
    banks: Count = Field(description="cyclic partitions, each with two ports")

    def resources(self) -> dict[str, int]:
        """UltraRAM blocks of 4096 words of 72 bit."""
        # Rounded up per bank and word, because banks, and the 72-bit parts of a word, share no block.
        rows = self.regions * self.region_blocks
        deep = ceil_div(ceil_div(self.region_outputs, self.banks) * rows, 4096)
        return {"uram": deep * ceil_div(self.word_bits, 72) * self.banks}
