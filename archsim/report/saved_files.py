"""What tells the reports and tables that archsim saved from the files of others: their contents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archsim.files.whole import Kind
from archsim.report.table_file import columns_in
from archsim.report.tables import TABLES

OF_A_REPORT = {"design", "model", "phase", "cycles", "units", "coverage", "version"}  # some of its keys


def _is_report(path: Path) -> bool:
    """True for the JSON of a report, and for that of a table: a save of one may follow a save of the other."""
    data = _json(path)
    return data.keys() >= OF_A_REPORT if isinstance(data, dict) else _are_rows(data)


def _is_table(path: Path) -> bool:
    if path.suffix.lower() == ".json":
        return _is_report(path)
    return any(columns_in(path) == table.columns for table in TABLES.values())


def _are_rows(data: Any) -> bool:
    """True for the rows of a table; a table may have none."""
    return isinstance(data, list) and any(
        all(isinstance(row, dict) and tuple(row) == table.columns for row in data) for table in TABLES.values()
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # no JSON
        return None


REPORT, TABLE = Kind("report", _is_report), Kind("table", _is_table)
