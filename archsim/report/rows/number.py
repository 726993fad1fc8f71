"""Numbers of rows as a reader sees them: each in the prefix that suits it."""

from __future__ import annotations

import math
from fractions import Fraction

from archsim.quantity import DIMENSIONS, show

COUNT, CYCLES, SHARE = "count", "cycles", "share"
DIMENSION_OF = {dimension.base: name for name, dimension in DIMENSIONS.items()}


def show_number(value: int | float | None, unit: str) -> str:
    """The number with its unit, in the prefix that suits it; nothing for None.

    >>> show_number(17.1e9, "B/s"), show_number(0.25, "share"), show_number(1536, "count"), show_number(60, "cycles")
    ('17.1 GB/s', '25.0%', '1,536', '60 cycles')
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if unit == SHARE:
        return f"{value:.1%}"
    dimension = DIMENSION_OF.get(unit.replace("mm^2", "mm2"))
    if dimension:
        return show(Fraction(value), dimension)
    text = f"{value:,}" if isinstance(value, int) else f"{int(value):,}" if _is_whole(value) else f"{value:.4g}"
    return f"{text} {unit}" if unit not in ("", COUNT) else text


def _is_whole(value: float) -> bool:
    return value.is_integer() and abs(value) < 1e15
