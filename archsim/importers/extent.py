"""Extents as the files of other tools write them."""

from __future__ import annotations

import re

from kernels.limits import EXTENT

WHOLE = f"a whole number from 1 to {EXTENT}"


def extent(text: str) -> int | None:
    """The whole number that stands there; None where there is another thing.

    >>> extent("32"), extent("0"), extent("3.0"), extent("1_000")
    (32, None, None, None)
    """
    # Not int alone, which also reads the digits of other scripts, and 1_000.
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else 0
    return number if 1 <= number <= EXTENT else None
