"""What a FIFO takes of an AMD FPGA: LUTs as shift registers, or halves of block RAM.

Knows depths and widths, no schedule. Counts the places alone: pointers, flags and output registers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from archsim.units.unit import ceil_div

SRL_PLACES = 32  # one LUT of a SLICEM, used as shift register SRLC32E, holds 32 places of one bit (UG574)
SRL_MOST_BITS = 1024  # a FIFO of more bits goes to block RAM: config_storage -auto_srl_max_bits (UG1399)
# (places, bits) of half a block, the last as simple dual port (UG573). Two halves, side by side or stacked, make every
# shape of a whole block: 32K x 1, 16K x 2, 8K x 4, 4K x 9, 2K x 18, 1K x 36, 512 x 72.
BRAM18_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
WIDEST_SHAPE = 36
BITS_OF = {"lut": SRL_PLACES, "bram36": 36 * 1024, "uram": 288 * 1024}  # bits of one of each (UG574, UG573)
RESOURCES = ("lut", "bram36")  # as the budget of a design names them


@dataclass(frozen=True, slots=True)
class FifoMemory:
    """LUTs, and block RAMs of 36 Kib counted in halves, that hold the places of a FIFO."""

    lut: int = 0
    bram36: Fraction = Fraction(0)

    def __add__(self, other: FifoMemory) -> FifoMemory:
        return FifoMemory(self.lut + other.lut, self.bram36 + other.bram36)

    def __str__(self) -> str:
        parts = [f"{self.lut:,} LUT"] if self.lut else []
        parts += [f"{float(self.bram36):,g} BRAM36"] if self.bram36 else []
        return " + ".join(parts) or "none"


def fifo_memory(depth: int, bits: int, *, word_bits: int | None = None) -> FifoMemory:
    """The memory of `depth` places of `bits` each: shift registers up to 1024 bits in all, block RAM beyond.

    A place wider than `word_bits`, such as a burst or a row, is stored as several words of that width.

    >>> str(fifo_memory(32, 32)), str(fifo_memory(33, 32)), str(fifo_memory(2, 4096, word_bits=256))
    ('32 LUT', '0.5 BRAM36', '4 BRAM36')
    """
    if word_bits is not None and bits > word_bits:
        depth, bits = depth * ceil_div(bits, word_bits), word_bits
    if depth * bits <= SRL_MOST_BITS:
        return FifoMemory(lut=srl_luts(depth, bits))
    return FifoMemory(bram36=Fraction(bram18_blocks(depth, bits), 2))


def srl_luts(depth: int, bits: int) -> int:
    """LUTs of a FIFO in shift registers: bits x ceil(depth / 32). Source: UG574, SRLC32E."""
    return bits * ceil_div(depth, SRL_PLACES)


def bytes_on_chip(budget: Mapping[str, Fraction]) -> int | None:
    """Bytes that all LUTs, block and ultra RAMs of a budget could hold; None where it names none of the RAMs.

    >>> bytes_on_chip({"lut": Fraction(1), "bram36": Fraction(2)}), bytes_on_chip({"lut": Fraction(1)})
    (9220, None)
    """
    if not {"bram36", "uram"} & set(budget):
        return None
    return int(sum(BITS_OF.get(resource, 0) * amount for resource, amount in budget.items()) // 8)


# Cached, because the variants of a sweep share most of their FIFOs.
@lru_cache(maxsize=1 << 12)
def bram18_blocks(depth: int, bits: int) -> int:
    """The fewest halves of block RAM for a FIFO, over every way to cut its width into columns of one shape each.

    A column of shape (places, width) takes ceil(depth / places) halves. Source: the shapes of UG573; derived: least
    cover of the width.

    >>> bram18_blocks(512, 36), bram18_blocks(513, 36), bram18_blocks(1024, 27), bram18_blocks(4096, 5)
    (1, 2, 2, 2)
    """
    stacks = [(width, ceil_div(depth, places)) for places, width in BRAM18_SHAPES]
    # Only 36 x 36 bits need a search; beyond, all columns have the shape with the fewest blocks per bit. Among any 36
    # other columns some have widths that sum to a multiple of that width, a divisor of 36, so it can take their place.
    width, blocks = min(stacks, key=lambda stack: (Fraction(stack[1], stack[0]), stack[0]))
    columns = max(0, bits - WIDEST_SHAPE * WIDEST_SHAPE) // width
    least = [0]
    for rest in range(1, bits - columns * width + 1):
        least.append(min(n + least[max(0, rest - wide)] for wide, n in stacks))
    return columns * blocks + least[-1]
