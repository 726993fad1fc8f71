"""Rows in a file for other programs: CSV and JSON with settings as they were written, Parquet with numbers."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.files.json_text import finite, json_text
from archsim.files.whole import whole_file
from archsim.report.rows.row import Row
from archsim.report.rows.table import INSTALL, frame

LAST = ("caveats", "status", "problem")
SUFFIXES = (".csv", ".json", ".parquet")


def lines_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every row as a flat line, all with the same keys: settings, figures, caveats, status and problem."""
    lines = [row.as_dict() for row in rows]
    keys = [*dict.fromkeys(key for line in lines for key in line if key not in LAST), *LAST]
    return [{key: line.get(key) for key in keys} for line in lines]


def export(rows: Sequence[Row], path: str | os.PathLike[str], design: Design | None = None) -> None:
    """Writes the rows to a file of the form that its suffix names: .csv, .json or .parquet; whole or not at all.

    CSV and JSON have settings as they were written and need no other library; equal rows give equal bytes. Parquet has
    the columns of `frame`. Raises InputError for another suffix, a place that cannot be written, and missing libraries.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"export: expected a path, got {quoted(path)}")
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        told = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise InputError(f"export {os.fspath(path)!r}: has {told}; one of {', '.join(SUFFIXES)} names the form")
    if suffix == ".parquet":
        _write_parquet(rows, path, design)
        return
    lines = lines_of(rows)
    text = _csv(lines) if suffix == ".csv" else json_text([finite(line) for line in lines]) + "\n"
    with whole_file(path, where="export") as part:
        # Half a character, which no UTF-8 has, is written as Python writes it.
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, lines[0] if lines else LAST, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


def _write_parquet(rows: Sequence[Row], path: str | os.PathLike[str], design: Design | None) -> None:
    found = frame(rows, design)
    for name in found.select_dtypes("object").columns:
        # Parquet has one type in a column.
        if len({type(value) for value in found[name] if value is not None}) > 1:
            found[name] = [None if value is None else str(value) for value in found[name]]
    with whole_file(path, where="export") as part:
        try:
            found.to_parquet(part, engine="pyarrow")
        except ImportError:
            raise InputError(f"export: .parquet needs pyarrow, which is not installed; {INSTALL}") from None
