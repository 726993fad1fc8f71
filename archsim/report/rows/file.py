"""Rows in a file for other programs: CSV and JSON with settings as they were written, Parquet with numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from archsim.design.design import Design
from archsim.files.json_text import finite, json_text
from archsim.report.rows.row import Row
from archsim.report.rows.table import frame
from archsim.report.table_file import csv_text, form_of, write_parquet, write_text

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
    form = form_of(path, SUFFIXES, where="export")
    if form == ".parquet":
        _write_parquet(rows, path, design)
        return
    lines = lines_of(rows)
    keys = [*lines[0]] if lines else LAST
    text = csv_text(lines, keys) if form == ".csv" else json_text([finite(line) for line in lines]) + "\n"
    write_text(path, text, where="export")


def _write_parquet(rows: Sequence[Row], path: str | os.PathLike[str], design: Design | None) -> None:
    found = frame(rows, design)
    for name in found.select_dtypes("object").columns:
        # Parquet has one type in a column.
        if len({type(value) for value in found[name] if value is not None}) > 1:
            found[name] = [None if value is None else str(value) for value in found[name]]
    write_parquet(path, found, where="export")
