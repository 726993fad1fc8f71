"""Sweep: the rows of a sweep, as a sequence that answers what is best, and turns into tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from archsim.design.design import Design
from archsim.errors import InputError
from archsim.report.report import Report
from archsim.report.rows.file import export, lines_of
from archsim.report.rows.goal import Goal
from archsim.report.rows.pareto import pareto
from archsim.report.rows.row import Row
from archsim.report.rows.table import frame
from archsim.report.rows.text import rows_html, rows_text
from dataflow.errors import expect
from mappers.experiment.point import reports_of
from mappers.experiment.request import SweepRequest

if TYPE_CHECKING:
    from archsim.report.rows.table import DataFrame


@dataclass(frozen=True, slots=True, repr=False)
class Sweep(Sequence[Row]):
    """The rows of a sweep in the order of its points, what was asked for, and what is wanted."""

    request: SweepRequest
    goal: Goal
    rows: tuple[Row, ...]

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, place: int | slice) -> Row | tuple[Row, ...]:
        """The row at a place, or those of a slice."""
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def design(self) -> Design:
        """The design that the points are variants of; it says which unit a setting has."""
        return self.request.design

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are of each status."""
        return dict(Counter(row.status for row in self.rows))

    def pareto(self, *, most: str | Iterable[str] = (), least: str | Iterable[str] = ()) -> list[Row]:
        """The rows that no other beats, in the figures or settings named, or else in those of the sweep's goal."""
        if most == () and least == ():
            most, least = self.goal.most, self.goal.least
        return pareto(self.rows, most=most, least=least, design=self.design)

    def best(self, *, most: str | None = None, least: str | None = None) -> Row | None:
        """The first row that is best in one figure, the one named or else the sweep's only objective.

        None where no row has it. Raises InputError where it is not one figure.
        """
        named = [name for name in (most, least) if name is not None]
        for name in named:
            expect("best", name, str)
        if not named:
            named = list(self.goal.objectives)
            most, least = (*self.goal.most, None)[0], (*self.goal.least, None)[0]
        if len(named) != 1:
            told = f"the sweep has the objectives {', '.join(named)}" if named else "the sweep has no objective"
            raise InputError(f"best: {told}; name one figure, such as most='tokens_per_second', or ask for pareto()")
        return next(iter(self.pareto(most=most or (), least=least or ())), None)

    def reports(self, row: Row) -> dict[str, Report]:
        """The whole report of each phase of a row's point, by label, run once more. Raises InputError as `run`."""
        expect("row", row, Row)
        return reports_of(self.request, row.settings)

    def report(self, row: Row) -> Report:
        """The whole report of a row's point, run once more. Raises InputError as `run`, and for several phases."""
        found = self.reports(row)
        if len(found) != 1:
            raise InputError(f"report: the point has the phases {', '.join(found)}; take reports(row)[label]")
        return next(iter(found.values()))

    @property
    def title(self) -> str:
        """What was swept, and how many rows there are of each status."""
        told = ", ".join(f"{n:,} {status}" for status, n in self.counts.items())
        return f"{self.request.model.name} on {self.request.design.name}: {len(self.rows):,} points, {told}"

    def __repr__(self) -> str:
        return f"<Sweep of {self.title}>"

    def __str__(self) -> str:
        return rows_text(self.rows, self.title, design=self.design, goal=self.goal)

    def _repr_html_(self) -> str:
        return rows_html(self.rows, self.title, design=self.design, goal=self.goal)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Every row as a flat line, all with the same keys."""
        return lines_of(self.rows)

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame with a row each: settings and figures as numbers, then caveats, status and problem.

        Bandwidths are bytes a second, clocks Hz, capacities bytes; `frame.attrs["units"]` has the unit of each column.
        What is missing or cannot be read is NaN. Raises InputError where pandas is not installed.
        """
        return frame(self.rows, self.design)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Writes all rows to a .csv, .json or .parquet file, whole or not at all.

        CSV and JSON have settings as they were written, Parquet the numbers of `to_frame`. Raises InputError for
        another suffix, a place that cannot be written, and missing libraries.
        """
        export(self.rows, path, self.design)
