"""Columns of numbers and of text as pandas has them. With rows/table.py the only place that knows pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archsim.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LARGEST = 2**63 - 1  # of the whole numbers that a column holds exactly
INSTALL = "pip install 'archsim[tables]'"


def check_pandas(*, where: str) -> None:
    """Raises InputError, which begins with `where`, if pandas is not installed."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise InputError(f"{where}: needs pandas, which is not installed; {INSTALL}") from None


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], texts: Sequence[str]) -> DataFrame:
    """A DataFrame with these columns, those named in `texts` as text and the others as numbers."""
    import pandas

    made = {name: [row[name] for row in rows] for name in columns}
    series = {name: pandas.Series(of, dtype=str) if name in texts else numbers(of) for name, of in made.items()}
    return pandas.DataFrame(series, index=pandas.RangeIndex(len(rows)))


def numbers(values: Sequence[int | float | None]) -> Series[Any]:
    """A column of 64-bit whole numbers where all values are, else of floats; None is NaN."""
    import pandas

    if all(isinstance(value, int) and abs(value) <= LARGEST for value in values):
        return pandas.Series(list(values), dtype="int64")
    return pandas.Series([_float(value) for value in values], dtype="float64")


def _float(number: int | float | None) -> float:
    try:
        return math.nan if number is None else float(number)
    except OverflowError:
        return math.inf
