"""How numbers are stored: exact bits per element, and layouts that store whole regions.

Knows bits and bytes. Does not know where a tensor lives or how fast it moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from dataflow.errors import GraphError, refuse
from dataflow.forms import TEXT, form, misfits, titled

FORMAT = {
    "name": TEXT,
    "bits": form("a Fraction above 0", lambda bits: isinstance(bits, int | Fraction) and bits is not True and bits > 0),
    "region": form(
        "a pair (rows, columns) of whole numbers >= 1",
        lambda region: isinstance(region, tuple) and len(region) == 2 and all(type(n) is int and n > 0 for n in region),
    ),
}


@dataclass(frozen=True, slots=True)
class Format:
    """Exact storage of one element, in bits; a format with a region stores whole regions only.

    `region` is the (rows, columns) tile that is stored as a whole: the last two axes of a shape are rounded up to
    multiples of it before the bytes are counted. An ordinary format has the region (1, 1).

    >>> TERNARY.bytes((3, 1))          # three weights of 5/3 bit are 5 bit: one byte, rounded up once
    1
    >>> Format("toy", Fraction(8), (2, 4)).bytes((3, 4))
    16
    """

    name: str
    bits: Fraction
    region: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        refuse([f"{titled('format', self.name)}: {told}" for told in misfits(self, FORMAT)])

    def bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor of this shape: whole regions, rounded up to bytes once at the end."""
        # A vector counts as one row, so that a region is defined for it too.
        rows, columns = ((1, 1, *shape))[-2:]
        outer = prod(shape[:-2])
        region_rows, region_columns = self.region
        stored = -(-rows // region_rows) * -(-columns // region_columns) * region_rows * region_columns
        # In integers, because 5/3 bit has no exact float and a rounding error would cost a byte.
        return -(-outer * stored * self.bits.numerator // (8 * self.bits.denominator))


FP32 = Format("fp32", Fraction(32))
FP16 = Format("fp16", Fraction(16))
BF16 = Format("bf16", Fraction(16))
INT32 = Format("int32", Fraction(32))
INT8 = Format("int8", Fraction(8))
# Three ternary weights have 27 values, which fit the 32 of five bits.
TERNARY = Format("ternary", Fraction(5, 3))

FORMATS = {f.name: f for f in (FP32, FP16, BF16, INT32, INT8, TERNARY)}


def format_named(name: str) -> Format:
    """The format with this name. Raises GraphError, which names the known formats."""
    if name not in FORMATS:
        raise GraphError(f"unknown format '{name}'; formats are: {', '.join(FORMATS)}")
    return FORMATS[name]


def beat_layout(
    *, beat_bits: int, vectors_per_beat: int, block_inputs: int, region_blocks: int, region_outputs: int
) -> Format:
    """The layout of ternary weights in memory as a weight loader reads them: whole regions of whole beats.

    A beat holds `vectors_per_beat` index vectors (one per output channel, `block_inputs` weights each) and some side
    data; a region is `region_blocks` rows of blocks by `region_outputs` outputs, each row of blocks starting on a beat.
    Shape convention [outputs, inputs]. Source: arXiv 2510.15926 (768-bit beats, 5 vectors, 84 inputs, 19 x 1536).

    >>> layout = beat_layout(beat_bits=768, vectors_per_beat=5, block_inputs=84, region_blocks=19, region_outputs=1536)
    >>> layout.bytes((1536, 1536)), layout.bytes((4096, 1536)), layout.bytes((1536, 4096))
    (561792, 1685376, 1685376)
    """
    beats = region_blocks * ceil(Fraction(region_outputs, vectors_per_beat))
    region = (region_outputs, region_blocks * block_inputs)
    # Bits per weight spread side data and the unused end of each row's last beat over all weights of the region.
    return Format("ternary in beats", Fraction(beats * beat_bits, region[0] * region[1]), region)
