"""Tables of the compiled engine: an array with a record for each row, whose fields have names.

A field that holds a row of another table is unsigned: at a signed index Numba also emits code for negative ones. And a
table of two dimensions would be addressed by a width known only as it runs. Both together took half of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Record = Any  # a row of a table, as compiled code sees it
NUMBER = np.int64
ROW = np.uint32  # not of 64 bits: those become floats together with a signed number
BOUND = np.uint64  # ends of a range of rows, which is then unsigned too; for no other arithmetic


def record(**fields: type) -> np.dtype:
    """The record of these fields, laid out as the machine reads them fastest."""
    return np.dtype(list(fields.items()), align=True)


def table(of: np.dtype, rows: int, **columns: np.ndarray | int) -> np.ndarray:
    """A table of so many records, with these columns; the other fields are 0."""
    made = np.zeros(rows, dtype=of)
    for name, values in columns.items():
        made[name] = values
    return made
