"""The tables of a report: their columns, and their rows as plain data; JSON, CSV, Parquet and frames take both here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from archsim.errors import InputError, quoted
from archsim.files.json_text import plain
from archsim.report.figures import Figures
from dataflow.errors import guess

UNIT_COLUMNS = (
    "kind count busy_cycles busiest_cycles starved_cycles blocked_cycles idle_cycles utilization energy_joules"
)
OP_COLUMNS = "name kind unit start_cycle end_cycle busy_cycles"
TEXTS = ("name", "kind", "unit", "way", "role")  # the columns that are text; all others are numbers, or None


def _units(report: Figures) -> Iterator[dict[str, Any]]:
    return ({"name": name, **plain(unit, UNIT_COLUMNS)} for name, unit in report.units.items())


def _ops(report: Figures) -> Iterator[dict[str, Any]]:
    return (plain(op, OP_COLUMNS) for op in report.ops)


def _parts(report: Figures) -> Iterator[dict[str, Any]]:
    for name, cycles in report.parts.items():
        seconds, share = float(cycles / report.clock_hz), float(cycles / report.cycles)
        yield {"name": name, "cycles": float(cycles), "seconds": seconds, "share": share}


def _traffic(report: Figures) -> Iterator[dict[str, Any]]:
    for unit, cells in report.traffic.items():
        for (way, role), n in sorted(cells.items()):
            yield {"unit": unit, "way": way, "role": str(role), "bytes": n}
    for unit, moved in report.carried.items():
        for role, n in sorted(moved.items()):
            yield {"unit": unit, "way": "moved", "role": str(role), "bytes": n}


@dataclass(frozen=True, slots=True)
class Table:
    """The names of the columns, each with its unit, and the rows of a report as mappings from these names."""

    columns: tuple[str, ...]
    rows: Callable[[Figures], Iterator[dict[str, Any]]]


# units: server-cycles of each by cause. parts: the time by kind of work. traffic: bytes that memories read or write
# and channels move, by the role of the tensor, "" for those of none.
TABLES = {
    "units": Table(("name", *UNIT_COLUMNS.split()), _units),
    "ops": Table(tuple(OP_COLUMNS.split()), _ops),
    "parts": Table(("name", "cycles", "seconds", "share"), _parts),
    "traffic": Table(("unit", "way", "role", "bytes"), _traffic),
}


def table_named(name: object, *, where: str) -> Table:
    """The table of this name. Raises InputError, which begins with `where`."""
    if name in ("", None):
        raise InputError(f"{where}: no table is named; tables are: {', '.join(TABLES)}")
    if not isinstance(name, str) or name not in TABLES:
        hint = guess(name if isinstance(name, str) else "", TABLES, otherwise="tables are")
        raise InputError(f"{where}: no table {quoted(name)}; {hint}")
    return TABLES[name]


def rows_of(report: Figures, table: str) -> list[dict[str, Any]]:
    """The rows of a table as plain data: numbers as numbers, None where something is not modelled."""
    return list(table_named(table, where="rows_of").rows(report))
