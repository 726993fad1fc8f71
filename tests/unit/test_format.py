"""Bytes of tensors, exact: packed, padded to regions, rounded up once."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import load_model
from dataflow import FORMATS, Format, GraphError, Tensor, beat_layout
from dataflow.format import format_named

LOADER = {"beat_bits": 768, "vectors_per_beat": 5, "block_inputs": 84, "region_blocks": 19, "region_outputs": 1536}


@pytest.mark.parametrize(
    "name, shape, bytes_",
    [
        ("fp32", (3, 5), 60), ("fp16", (3, 5), 30), ("bf16", (1,), 2), ("int32", (7,), 28), ("int8", (3, 5, 2), 30),
        ("ternary", (1,), 1), ("ternary", (3,), 1), ("ternary", (4,), 1), ("ternary", (5,), 2), ("ternary", (24,), 5),
        ("ternary", (3, 1), 1),  # 5 bit in all, not a byte for each row
        ("ternary", (1536, 1536), 491_520), ("ternary", (4096, 1536), 1_310_720),
        ("fp16", (), 2), ("ternary", (2, 3, 4), 5),
    ],
)  # fmt: skip
def test_bytes_of_the_named_formats(name: str, shape: tuple[int, ...], bytes_: int) -> None:
    assert format_named(name).bytes(shape) == bytes_
    assert Tensor("x", shape, FORMATS[name]).bytes == bytes_


def test_packed_ternary_of_a_whole_network() -> None:
    """24 layers of four 1536 x 1536 and three 1536 x 4096 matrices at 5/3 bit: 141,557,760 bytes."""
    model = load_model("bitnet_b158_large")
    packed = sum(FORMATS["ternary"].bytes(shape) for shape in model.linears.values())
    assert model.layers * packed == 24 * (4 * 491_520 + 3 * 1_310_720) == 141_557_760
    assert model.layers * packed * 8 == Fraction(5, 3) * 679_477_248


@pytest.mark.parametrize(
    "shape, regions",
    [((1, 1), 1), ((1536, 1596), 1), ((1537, 1596), 2), ((1536, 1597), 2), ((4096, 1536), 3), ((1536, 4096), 3),
     ((2, 1536, 1536), 2), ((1596,), 1)],
)  # fmt: skip
def test_the_loader_stores_whole_regions(shape: tuple[int, ...], regions: int) -> None:
    """A region is 1536 outputs by 19 x 84 = 1596 inputs in 19 x ceil(1536 / 5) beats of 96 bytes."""
    assert beat_layout(**LOADER).bytes(shape) == regions * 19 * 308 * 96 == regions * 561_792


def test_the_layout_of_a_whole_network() -> None:
    """Per layer four matrices of one region and three of three."""
    model = load_model("bitnet_b158_large")
    layout = beat_layout(**LOADER)
    stored = model.layers * sum(layout.bytes(shape) for shape in model.linears.values())
    assert stored == 24 * (4 + 3 * 3) * 561_792 == 175_279_104


def test_each_row_of_blocks_starts_on_a_beat() -> None:
    """7 outputs by 2 a beat are 4 beats a row; 3 rows of blocks; 16 bit a beat: 24 bytes for 7 x 6 weights."""
    layout = beat_layout(beat_bits=16, vectors_per_beat=2, block_inputs=2, region_blocks=3, region_outputs=7)
    assert layout.region == (7, 6)
    assert layout.bytes((7, 6)) == 24
    assert layout.bytes((8, 6)) == layout.bytes((7, 7)) == 48
    assert layout.bytes((8, 7)) == 96


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(GraphError) as raised:
        format_named("int7")
    assert str(raised.value) == "unknown format 'int7'; formats are: fp32, fp16, bf16, int32, int8, ternary"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple),
    st.fractions(min_value=Fraction(1, 8), max_value=32, max_denominator=12),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_bytes_are_those_of_padded_elements_counted_one_by_one(
    shape: tuple[int, ...], bits: Fraction, region: tuple[int, int]
) -> None:
    rows, columns = ((1, *shape))[-2:]
    padded_rows = next(n for n in range(rows, rows + region[0]) if n % region[0] == 0)
    padded_columns = next(n for n in range(columns, columns + region[1]) if n % region[1] == 0)
    elements = padded_rows * padded_columns
    for outer in shape[:-2]:
        elements *= outer
    assert Format("drawn", bits, region).bytes(shape) == ceil(elements * bits / 8)
