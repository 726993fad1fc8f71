"""A report as a file of the form that its suffix names, and its tables as frames. Knows forms, not what they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archsim.errors import InputError
from archsim.explain.explanation import Explanation
from archsim.files.json_text import json_text
from archsim.files.whole import Kind
from archsim.report.figures import Figures
from archsim.report.frame import check_pandas, frame_of
from archsim.report.json import as_json
from archsim.report.page.page import PAGE, page
from archsim.report.saved_files import REPORT, TABLE
from archsim.report.table_file import csv_text, form_of, write_parquet, write_text
from archsim.report.tables import TABLES, TEXTS, table_named

if TYPE_CHECKING:
    from archsim.report.frame import DataFrame

FORMS = (".json", ".html", ".csv", ".parquet")
OF_A_TABLE = (".json", ".csv", ".parquet")
WHERE = "save"


def report_json(report: Figures) -> str:
    """The report as text of JSON."""
    return json_text(as_json(report))


def table_frame(report: Figures, table: str, *, where: str = "to_frame") -> DataFrame:
    """A table of the report as a DataFrame. Raises InputError for an unknown table and where pandas is missing."""
    columns, rows = _table(report, table, where=where)
    check_pandas(where=where)
    return frame_of(rows, columns, TEXTS)


def save(report: Figures, path: str | os.PathLike[str], *, table: str | None = None, force: bool = False) -> None:
    """Writes the report, or one table of it, to a file of the form that its suffix names; whole or not at all.

    It takes the place of a file that an earlier save wrote, and with `force` of any. Raises InputError for a file of
    others, another suffix, a table that is unknown or not named, a place that cannot be written, and missing libraries.
    """
    form = form_of(path, FORMS if table is None else OF_A_TABLE, where=WHERE)
    named = f"{WHERE} {os.fspath(path)!r}"
    if table is None and form not in (".json", ".html"):
        some = f"table='{next(iter(TABLES))}'"
        told = f"a {form} file holds one table; name it, such as {some}; tables are: {', '.join(TABLES)}"
        raise InputError(f"{named}: {told}")
    if table is None:
        kind, text = (PAGE, page(report)) if form == ".html" else (REPORT, report_json(report) + "\n")
        write_text(path, text, where=WHERE, over=None if force else kind)
    elif form == ".parquet":
        write_parquet(path, table_frame(report, table, where=named), where=WHERE, over=None if force else TABLE)
    else:
        columns, rows = _table(report, table, where=named)
        text = csv_text(rows, columns) if form == ".csv" else json_text(rows) + "\n"
        write_text(path, text, where=WHERE, over=None if force else TABLE)


def save_page(report: Figures, path: str, *, where: str, over: Kind | None, why: Explanation | None = None) -> None:
    """Writes the page of a report, with what explains it. Raises InputError as whole_file."""
    write_text(path, page(report, why), where=where, over=over)


def _table(report: Figures, name: str, *, where: str) -> tuple[Sequence[str], list[dict[str, Any]]]:
    found = table_named(name, where=where)
    return found.columns, list(found.rows(report))
