"""What a FIFO takes of an FPGA: the shapes of the vendor's tables on both sides of each edge, an independent tiling."""

import doctest
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archsim.units.fifo_memory
from archsim.units.fifo_memory import FifoMemory, bram18_blocks, fifo_memory, srl_luts

HALF = [(16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36)]
WHOLE = [(32768, 1), (16384, 2), (8192, 4), (4096, 9), (2048, 18), (1024, 36), (512, 72)]


@pytest.mark.parametrize("places, bits", HALF)
def test_a_half_block_holds_each_of_its_shapes_and_no_place_or_bit_more(places: int, bits: int) -> None:
    assert bram18_blocks(places, bits) == 1
    assert bram18_blocks(places + 1, bits) > 1
    assert bram18_blocks(places, bits + 1) > 1


@pytest.mark.parametrize("places, bits", WHOLE)
def test_two_half_blocks_hold_each_shape_of_a_whole_one(places: int, bits: int) -> None:
    assert bram18_blocks(places, bits) == 2
    assert bram18_blocks(places + 1, bits) > 2
    assert bram18_blocks(places, bits + 1) > 2


def test_columns_of_different_shapes_share_a_width() -> None:
    """27 bits of 1024 places: 18 in one half and 9 in another; 5 of 4096: 4 and 1. One shape alone takes no more."""
    assert bram18_blocks(1024, 27) == 2
    assert bram18_blocks(2048, 10) == 2
    assert bram18_blocks(16384, 3) == 3
    assert bram18_blocks(8192, 3) == 2


@cache
def least_cover(depth: int, bits: int) -> int:
    """Blocks by trying every shape for the first column."""
    if bits <= 0:
        return 0
    return min(-(-depth // places) + least_cover(depth, bits - wide) for places, wide in HALF)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.integers(1, 40_000), st.integers(1, 200))
def test_no_cut_into_columns_takes_fewer(depth: int, bits: int) -> None:
    assert bram18_blocks(depth, bits) == least_cover(depth, bits)


@pytest.mark.parametrize("depth", [1, 512, 513, 1500, 2049, 5000, 9000, 40_000])
def test_a_wide_one_is_no_different(depth: int) -> None:
    """Widths beyond where the code stops trying every cut; each step of recursion takes 36 bits at most."""
    for bits in (1295, 1296, 1297, 1331, 1332, 1333, 2592, 4001):
        for shorter in range(36, bits, 36):
            least_cover(depth, shorter)
        assert bram18_blocks(depth, bits) == least_cover(depth, bits)


@pytest.mark.parametrize("depth, luts", [(1, 16), (32, 16), (33, 32), (64, 32), (65, 48)])
def test_a_table_holds_32_places_of_a_bit(depth: int, luts: int) -> None:
    assert srl_luts(depth, 16) == luts


def test_up_to_1024_bits_lie_in_shift_registers() -> None:
    assert fifo_memory(64, 16) == FifoMemory(lut=32)
    assert fifo_memory(65, 16) == FifoMemory(bram36=Fraction(1, 2))
    assert fifo_memory(1, 1024) == FifoMemory(lut=1024)
    assert fifo_memory(1, 1025) == FifoMemory(bram36=Fraction(29, 2))
    assert fifo_memory(1, 0) == FifoMemory()


def test_what_is_wider_than_a_word_lies_in_several() -> None:
    """A row of 24576 bit in words of 384 bit is 64 places of 11 columns; eight rows fill these."""
    assert fifo_memory(1, 24_576, word_bits=384) == fifo_memory(64, 384) == FifoMemory(bram36=Fraction(11, 2))
    assert fifo_memory(8, 24_576, word_bits=384) == FifoMemory(bram36=Fraction(11, 2))
    assert fifo_memory(9, 24_576, word_bits=384) == FifoMemory(bram36=Fraction(22, 2))
    assert fifo_memory(2, 385, word_bits=384) == fifo_memory(4, 384)
    assert fifo_memory(2, 384, word_bits=384) == fifo_memory(2, 384)


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(archsim.units.fifo_memory).failed == 0


def test_sums_and_how_they_read() -> None:
    both = FifoMemory(1536) + FifoMemory(0, Fraction(11, 2))
    assert both == FifoMemory(1536, Fraction(11, 2))
    assert str(both) == "1,536 LUT + 5.5 BRAM36"
    assert str(FifoMemory()) == "none"
