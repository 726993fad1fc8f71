"""Tables in files for other programs: CSV and Parquet, whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsim.errors import InputError, quoted
from archsim.files.whole import Kind, whole_file
from archsim.report.frame import INSTALL

if TYPE_CHECKING:
    from archsim.report.frame import DataFrame


def form_of(path: object, forms: Sequence[str], *, where: str) -> str:
    """The suffix of a path, which names the form of the file. Raises InputError for one that is none of `forms`."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{where}: expected a path, got {quoted(path)}")
    suffix = Path(path).suffix.lower()
    if suffix not in forms:
        told = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise InputError(f"{where} {os.fspath(path)!r}: has {told}; one of {', '.join(forms)} names the form")
    return suffix


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The rows under a line of names; what is None is left empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def write_text(path: str | os.PathLike[str], text: str, *, where: str, over: Kind | None = None) -> None:
    """Writes a file of this text. Raises InputError as whole_file."""
    with whole_file(path, where=where, over=over) as part:
        # Half a character, which no UTF-8 has, is written as Python writes it.
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_parquet(path: str | os.PathLike[str], frame: DataFrame, *, where: str, over: Kind | None = None) -> None:
    """Writes a Parquet file. Raises InputError as whole_file, and where pyarrow is not installed."""
    try:
        with whole_file(path, where=where, over=over) as part:
            frame.to_parquet(part, engine="pyarrow")
    except ImportError:
        raise InputError(f"{where}: .parquet needs pyarrow, which is not installed; {INSTALL}") from None


def columns_in(path: Path) -> tuple[str, ...]:
    """The names of the columns of a .csv or .parquet file; none where it is no such file. Raises ImportError."""
    if path.suffix.lower() == ".csv":
        with open(path, encoding="utf-8", errors="replace") as file:
            return tuple(file.readline().rstrip("\n").split(","))
    import pyarrow.parquet

    try:
        return tuple(pyarrow.parquet.read_schema(path).names)
    except pyarrow.ArrowInvalid:
        return ()
