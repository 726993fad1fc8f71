"""What operators and memories take of an FPGA, from the structure of its LUTs and DSPs; units add them up.

First principles on AMD UltraScale+ (UG574, UG579): they say how a use changes with widths and counts, not how large it
is, because control, pipelines and placement come on top. A design scales them to a measured build (design/use.py).
"""

from __future__ import annotations

from fractions import Fraction

from archsim.units.unit import ceil_div

Amounts = dict[str, int | Fraction]  # resource, as budgets name it -> amount; what is no key has no formula

FP16_BITS = 16
# An FP16 add or multiply that HLS maps to DSPs; LUTs align, normalise and round. Orders of magnitude, not a data sheet.
OPERATOR_DSP, OPERATOR_LUT = 2, 70
URAM_WORDS, URAM_BITS = 4096, 72  # of an UltraRAM block (UG573)


def adder_luts(bits: int) -> int:
    """LUTs of an adder: one for each bit, beside the carry chain."""
    return bits


def adder_tree_luts(inputs: int, bits: int) -> int:
    """LUTs of a tree that adds so many inputs in pairs; a level is a bit wider than the one before.

    >>> adder_tree_luts(1, 8), adder_tree_luts(4, 8), adder_tree_luts(5, 8)
    (0, 28, 39)
    """
    luts = 0
    while inputs > 1:
        pairs, bits = inputs // 2, bits + 1
        luts, inputs = luts + pairs * adder_luts(bits), inputs - pairs
    return luts


def multiplexer_luts(inputs: int, bits: int) -> int:
    """LUTs that choose one of several words: a LUT takes four inputs of a bit, and F7 to F9 join eight of them."""
    return bits * ceil_div(inputs, 4)


def table_luts(entries: int, bits: int) -> int:
    """LUTs of distributed RAM with one read port: a LUT6 holds two bits of 32 entries, or one bit of 64.

    >>> table_luts(27, 10), table_luts(81, 10)
    (5, 20)
    """
    return ceil_div(bits, 2) if entries <= 32 else bits * ceil_div(entries, 64)


def uram_blocks(words: int, bits: int) -> int:
    """UltraRAM blocks of a memory of so many words: of 4096 words of 72 bit each."""
    return ceil_div(words, URAM_WORDS) * ceil_div(bits, URAM_BITS)


def operators(count: int, passed_bits: int) -> Amounts:
    """LUTs and DSPs of so many adds and multiplies in FP16, and a LUT for each bit that passes them."""
    return {"lut": OPERATOR_LUT * count + passed_bits, "dsp": OPERATOR_DSP * count}


def multiply_adds(count: int) -> Amounts:
    """A DSP and, for the operands that it passes on, 16 LUTs of each integer multiply-add."""
    return {"lut": 16 * count, "dsp": count}
