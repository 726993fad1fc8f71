"""Rows as columns: settings and figures as numbers in one unit each, and a pandas DataFrame of them.

Knows units and the clock of each point. Does not know which columns a reader wants to see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from archsim.design.design import Design
from archsim.design.written import clock_of, number_of, unit_of, written_at
from archsim.errors import InputError, quoted
from archsim.report.frame import check_pandas, numbers
from archsim.report.rows.number import COUNT, show_number
from archsim.report.rows.row import Row, plain_value, unit_of_figure
from dataflow.errors import guess

if TYPE_CHECKING:
    from pandas import DataFrame, Series



@dataclass(frozen=True)
class Column:
    """The values of one setting or figure, a row each.

    `values` are as the rows have them, `numbers` in the `unit`, which is "" where there is none. A value that is no
    number, or cannot be read as one, is None there.
    """

    name: str
    unit: str
    values: tuple[Any, ...]
    numbers: tuple[int | float | None, ...]

    @cached_property
    def is_numeric(self) -> bool:
        """True where every value is a number, is missing, or was to be a quantity and cannot be read."""
        return bool(self.unit) or all(
            value is None or number is not None for value, number in zip(self.values, self.numbers, strict=True)
        )

    @cached_property
    def keys(self) -> tuple[int | float | str | None, ...]:
        """What tells values apart: the number, or else the text; 8 GB/s and 8000 MB/s are one."""
        pairs = zip(self.values, self.numbers, strict=True)
        return tuple(number if number is not None else _text(value) for value, number in pairs)

    def text(self, place: int) -> str:
        """The value of a row as a reader sees it: a number with its unit, what cannot be read as it was written."""
        key = self.keys[place]
        return key if isinstance(key, str) else show_number(key, self.unit)

    @property
    def varies(self) -> bool:
        """True where rows have different values."""
        return len(set(self.keys)) > 1

    @property
    def title(self) -> str:
        """The name with the unit, as axes and heads of tables have it."""
        return f"{self.name}, {self.unit}" if self.unit not in ("", COUNT) else self.name


def settings_in(rows: Iterable[Row]) -> list[str]:
    """The paths that rows have settings for."""
    return list(dict.fromkeys(path for row in rows for path in row.settings))


def figures_in(rows: Iterable[Row]) -> list[str]:
    """The names of the figures of rows."""
    return list(dict.fromkeys(name for row in rows for name in row.figures))


def column(rows: Sequence[Row], name: str, design: Design | None = None) -> Column:
    """The column of a setting or a figure. Raises InputError for a name that no row has.

    A setting of the design becomes a number in the base unit of its field, also where the row was refused: bytes a
    second, Hz, bytes, or cycles of the clock of that point. Without a design, settings that are text stay text.
    """
    if any(name in row.settings for row in rows):
        values = tuple(row.settings.get(name) for row in rows)
        written = written_at(design, name) if design else None
        if written is None or design is None:
            return Column(name, "", values, tuple(_number(value) for value in values))
        read = [number_of(written, row.settings.get(name), clock_of(design, row.settings)) for row in rows]
        return Column(name, unit_of(written), values, tuple(read))
    if rows and not any(name in row.figures for row in rows):
        known = [*figures_in(rows), *settings_in(rows)]
        raise InputError(f"no figure or setting {quoted(name)}; {guess(str(name), known, otherwise='there are')}")
    values = tuple(row.figures.get(name) for row in rows)
    return Column(name, unit_of_figure(name), values, tuple(_number(value) for value in values))


def frame(rows: Sequence[Row], design: Design | None = None) -> DataFrame:
    """A pandas DataFrame with a row each: settings and figures as numbers, then caveats, status and problem.

    `frame.attrs["units"]` has the unit of each column that has one. What is missing or cannot be read is NaN. Raises
    InputError where pandas is not installed.
    """
    check_pandas(where="to_frame")
    import pandas

    columns = [column(rows, name, design) for name in (*settings_in(rows), *figures_in(rows))]
    found = pandas.DataFrame({one.name: _series(one) for one in columns}, index=pandas.RangeIndex(len(rows)))
    found["caveats"] = pandas.Series(["; ".join(row.caveats) for row in rows], dtype=object)
    found["status"] = pandas.Series([row.status for row in rows], dtype=object)
    found["problem"] = pandas.Series([row.problem for row in rows], dtype=object)
    found.attrs["units"] = {one.name: one.unit for one in columns if one.unit}
    return found


def _series(one: Column) -> Series[Any]:
    import pandas

    if not one.is_numeric:
        return pandas.Series([plain_value(value) for value in one.values], dtype=object)
    return numbers(one.numbers)


def _number(value: Any) -> int | float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value  # not NaN
    return value if is_number else None


def _text(value: Any) -> str:
    return "" if value is None else str(plain_value(value))
