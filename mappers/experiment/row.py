"""Row: one combination of a sweep with what it measured, or why it was refused; and the rows that no other beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archsim.errors import InputError, quoted
from archsim.report.report import Report
from dataflow.errors import expect, guess

READ_BYTES = "read_bytes."
MEASURES = (
    "seconds", "frames_per_second", "tokens_per_second", "energy_joules", "kept", "hit_rate", "hit_bytes", "miss_bytes",
    "mass_recall", "top_recall", "output_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One combination: its values by path, and its report, or the problem for which it is refused.

    Every measure is None where it is refused, or where the report does not have it. `memories` are those of the design
    that is varied.
    """

    settings: Mapping[str, Any]
    report: Report | None
    problem: str | None = None
    memories: tuple[str, ...] = ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the report simplifies and leaves out."""
        return () if self.report is None else self.report.caveats

    @property
    def seconds(self) -> float | None:
        """Time of the whole."""
        return None if self.report is None else self.report.seconds

    @property
    def frames_per_second(self) -> float | None:
        """Frames of all sequences over the time."""
        return None if self.report is None else self.report.frames_per_second

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the phase over its time."""
        return None if self.report is None else self.report.tokens_per_second

    @property
    def energy_joules(self) -> float | None:
        """Energy of the whole."""
        return None if self.report is None else self.report.energy_joules

    @property
    def kept(self) -> float | None:
        """Share of the cached keys that the last step attends to."""
        return self._selected("kept")

    @property
    def hit_rate(self) -> float | None:
        """Share of the bytes kept that need no fetch."""
        return self._selected("hit_rate")

    @property
    def hit_bytes(self) -> int | None:
        """Bytes kept that lie in the accelerator's memory."""
        return self._selected("hit_bytes")

    @property
    def miss_bytes(self) -> int | None:
        """Bytes kept that are fetched from the tier beyond."""
        return self._selected("miss_bytes")

    @property
    def mass_recall(self) -> float | None:
        """Share of dense attention's mass that lies on what is kept."""
        return self._selected("mass_recall")

    @property
    def top_recall(self) -> float | None:
        """Share of as many highest scores that is kept."""
        return self._selected("top_recall")

    @property
    def output_error(self) -> float | None:
        """Error of attention's output relative to dense attention."""
        return self._selected("output_error")

    @property
    def read_bytes(self) -> dict[str, int] | None:
        """Bytes read by memory."""
        report = self.report
        return None if report is None else {memory: report.bytes_moved(memory, "read") for memory in report.traffic}

    def _selected(self, name: str) -> Any:
        chosen = None if self.report is None else self.report.selected
        return None if chosen is None else getattr(chosen, name)

    def as_dict(self) -> dict[str, Any]:
        """A flat line of a table: settings, measures, `read_bytes.MEMORY` of each memory, and the problem."""
        read = {**dict.fromkeys(self.memories), **(self.read_bytes or {})}
        return {
            **{path: _plain(value) for path, value in self.settings.items()},
            **{name: getattr(self, name) for name in MEASURES},
            **{f"{READ_BYTES}{memory}": amount for memory, amount in read.items()},
            "caveats": "; ".join(self.caveats),
            "problem": self.problem,
        }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def pareto(rows: Iterable[Row], *, least: Sequence[str] = (), most: Sequence[str] = ()) -> list[Row]:
    """The rows that no other beats, in their order: as good in every measure named, and better in one.

    Measures are those of a Row, and `read_bytes.MEMORY`; `least` are better when smaller, `most` when larger. Rows with
    a problem, or without one of the measures, are left out. Raises InputError for measures that there are not.
    """
    for what, given in (("rows", rows), ("least", least), ("most", most)):
        expect(what, given, Iterable)
    rows = list(rows)
    for row in rows:
        expect("rows", row, Row)
    known = [*MEASURES, *dict.fromkeys(key for row in rows for key in row.as_dict() if key.startswith(READ_BYTES))]
    smaller, larger = ([names] if isinstance(names, str) else list(names) for names in (least, most))
    named = [name if isinstance(name, str) else str(name) for name in smaller + larger]
    missing = [name for name in named if name not in known and (rows or not str(name).startswith(READ_BYTES))]
    problems = [
        f"unknown measure {quoted(name)}; {guess(str(name), known, otherwise='measures are')}" for name in missing
    ]
    problems += [f"{name}: is named twice; name it once" for name in dict.fromkeys(named) if named.count(name) > 1]
    if problems or not named:
        raise InputError(problems or "least, most: no measure is named; name at least one")
    signs = [1] * len(smaller) + [-1] * len(larger)
    points = [_point(row, named, signs) for row in rows]
    front: set[tuple[float, ...]] = set()
    for point in sorted({point for point in points if point is not None}):
        # Whatever beats a point stands before it in this order, or is beaten by one of the front that beats it too.
        if not any(all(one <= other for one, other in zip(better, point, strict=True)) for better in front):
            front.add(point)
    return [row for row, point in zip(rows, points, strict=True) if point in front]


def _point(row: Row, named: Sequence[str], signs: Sequence[int]) -> tuple[float, ...] | None:
    """The measures of a row, all of them better when smaller; None where one is missing."""
    measured = row.as_dict()
    values = [value for name in named if (value := measured.get(name)) is not None]
    return None if len(values) < len(named) else tuple(sign * value for sign, value in zip(signs, values, strict=True))
