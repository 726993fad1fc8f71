"""TableLookup: ternary matmul by tables of activation sums; WeightLoader and WeightBuffer feed it.

Source: arXiv 2510.15926. Knows the formulas; the numbers stand in the design.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import Bits, Count, Cycles
from archsim.units.fifo_memory import fifo_memory
from archsim.units.fpga import (
    URAM_WORDS,
    Amounts,
    adder_luts,
    adder_tree_luts,
    multiplexer_luts,
    table_luts,
    uram_blocks,
)
from archsim.units.unit import Unit, ceil_div, largest_share, pooled
from dataflow.format import Format, beat_layout
from dataflow.op import Work

ACCUMULATOR_BITS = 24  # of the source: int8 sums over 4096 inputs do not overflow


class TableLookup(Unit):
    """Ternary matmul: per block of num_tables x group_size inputs, build the tables, then look up every output.

    ternary_matmul: m x ceil(k / block) x (build_cycles + lookup_fill_cycles + ceil(n / readers_per_table)).
    take: takes_per_cycle activations enter in a cycle. drain: readers_per_table accumulators leave in a cycle.
    LUTs are the source's three terms: precompute, num_tables x table_entries adders of entry_bits; tables, num_tables x
    readers_per_table copies in LUTRAM; look-up adders, readers_per_table trees of num_tables inputs and accumulators.
    As built (28 tables of groups of 3, 16 readers) that is 7,560 + 2,240 + 5,504 = 15,304; the source's core has 23,082
    (1.51 times as many). Its two other cores are 0.97 and 2.18 times what the same terms give: select by multiplexer
    43,176 against 44,424, half a table with a sign 35,200 against 16,144. So a variant of one way to look up is scaled;
    between ways the formula errs by more than two.
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

    def resources(self) -> Amounts:
        """LUTs by the three terms above; no DSPs, because ternary products are sums."""
        build = self.num_tables * self.table_entries * adder_luts(self.entry_bits)
        tables = self.num_tables * self.readers_per_table * table_luts(self.table_entries, self.entry_bits)
        added = adder_tree_luts(self.num_tables, self.entry_bits) + adder_luts(ACCUMULATOR_BITS)
        return {"lut": build + tables + self.readers_per_table * added, "dsp": 0, "bram36": 0, "uram": 0}


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

    def resources(self) -> Amounts:
        """A LUT for each bit of a port, the choice of a vector in a beat, and a FIFO for all that is in flight."""
        vector_bits = ceil_div(self.beat_bits, self.vectors_per_beat)
        lut = self.ports * self.port_bits + multiplexer_luts(self.vectors_per_beat, vector_bits)
        fifo = fifo_memory(self.outstanding * self.burst_beats, self.port_bits)
        return {"lut": lut + self.ports * fifo.lut, "dsp": 0, "bram36": self.ports * fifo.bram36, "uram": 0}


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

    def resources(self) -> Amounts:
        """UltraRAM blocks of 4096 words of 72 bit, and the LUTs that choose between blocks of a bank at both ports."""
        # Rounded up per bank and word, because banks, and the 72-bit parts of a word, share no block.
        rows = self.regions * self.region_blocks
        words = ceil_div(self.region_outputs, self.banks) * rows
        lut = 2 * self.banks * multiplexer_luts(ceil_div(words, URAM_WORDS), self.word_bits)
        return {"lut": lut, "dsp": 0, "bram36": 0, "uram": self.banks * uram_blocks(words, self.word_bits)}
