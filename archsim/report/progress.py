"""Progress of a sweep on stderr: a bar with the time left and the best so far, or plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING

from archsim.report.rows.row import Row, plain_value
from dataflow.errors import harmless, shortened

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 5  # between plain lines, and before the first
GIVEN = 3  # settings of the best point that are told


class SweepProgress:
    """What is told of the rows of a sweep while they are made; a context, so that a bar ends with it.

    `best_by` is the figure by which a row is best, larger ones if `larger`; without one only counts are told.
    """

    def __init__(self, *, best_by: str | None, larger: bool) -> None:
        self._best_by, self._larger = best_by, larger
        self._counts = Counter[str]()
        self._stored, self._total = 0, 0
        self._began = self._told = time.monotonic()
        self._best: tuple[float, Row] | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> SweepProgress:
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            # Python's own stderr: the command line's stream lets no control characters through.
            console = Console(file=sys.__stderr__)
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def add(self, row: Row, *, total: int, stored: bool) -> None:
        """Tells of one more row out of so many; `stored` rows were there before, and say nothing of the speed."""
        self._counts[row.status] += 1
        self._stored += stored
        self._total = total
        value = row.figures.get(self._best_by) if self._best_by and row.status == "done" else None
        if isinstance(value, int | float) and (self._best is None or self._better(value, self._best[0])):
            self._best = value, row
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done, total=total, description=self.text(bar=True))
        elif time.monotonic() - self._told >= LINE_SECONDS and sys.stderr is not None:
            self._told = time.monotonic()
            sys.stderr.write(self.text() + "\n")

    def text(self, *, bar: bool = False) -> str:
        """The line that is told now; a bar has the count by itself."""
        parts = [] if bar else [f"{self._done:,} of {self._total:,} points"]
        parts += [f"{n:,} {status}" for status, n in self._counts.items() if status != "done"]
        made = self._done - self._stored
        if made and self._done < self._total:
            seconds = (time.monotonic() - self._began) / made * (self._total - self._done)
            parts.append(f"{_duration(seconds)} left")
        if self._best:
            value, row = self._best
            given = ", ".join(f"{path}={plain_value(one)}" for path, one in [*row.settings.items()][:GIVEN])
            parts.append(f"best {self._best_by} {value:,.4g} at {shortened(given)}")
        return harmless("; ".join(parts))

    @property
    def _done(self) -> int:
        return self._counts.total()

    def _better(self, value: float, than: float) -> bool:
        return value > than if self._larger else value < than


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
