"""pareto: the rows of a sweep that no other beats in the figures that count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.report.rows.row import Row, measures_in
from archsim.report.rows.table import column, settings_in
from dataflow.errors import expect, guess


def pareto(
    rows: Iterable[Row],
    *,
    least: str | Iterable[str] = (),
    most: str | Iterable[str] = (),
    design: Design | None = None,
) -> list[Row]:
    """The rows that no other beats, in their order: as good in every figure named, and better in one.

    Of `least` smaller is better, of `most` larger. A setting counts too, such as a bandwidth that is paid for; `design`
    says which number a text such as "8 GB/s" is. Rows that are not done, or lack one of the numbers, are left out.
    Raises InputError for names that there are not.
    """
    for what, given in (("rows", rows), ("least", least), ("most", most)):
        expect(what, given, Iterable)
    rows = list(rows)
    for row in rows:
        expect("rows", row, Row)
    smaller, larger = as_names(least), as_names(most)
    refuse_unknown(smaller + larger, [*measures_in(rows), *settings_in(rows)] if rows else [])
    done = [row for row in rows if row.status == "done"]
    if not done:
        return []
    columns = [[None if n is None else sign * n for n in column(done, name, design).numbers]
               for names, sign in ((smaller, 1), (larger, -1)) for name in names]  # fmt: skip
    points = [tuple(n for n in numbers if n is not None) for numbers in zip(*columns, strict=True)]
    best = front_of(point for point in points if len(point) == len(columns))
    return [row for row, point in zip(done, points, strict=True) if point in best]


def front_of(points: Iterable[tuple[float, ...]]) -> set[tuple[float, ...]]:
    """The points that no other beats, where smaller numbers are better."""
    front: list[tuple[float, ...]] = []
    for point in sorted(set(points)):
        # Whatever beats a point stands before it in this order, or is beaten by one of the front that beats it too. Of
        # two numbers the last of the front has the best second one so far.
        before = front[-1:] if len(point) <= 2 else front
        if not any(all(one <= other for one, other in zip(better, point, strict=True)) for better in before):
            front.append(point)
    return set(front)


def as_names(given: str | Iterable[str]) -> list[str]:
    """One name or several as a list."""
    return [given] if isinstance(given, str) else list(given)


def refuse_unknown(named: Sequence[str], known: Sequence[str]) -> None:
    """Raises InputError where no figure is named, one twice, or one that is not among those known, if any is."""
    texts = [name if isinstance(name, str) else str(name) for name in named]
    problems = [
        f"unknown figure {quoted(name)}; {guess(name, known, otherwise='figures are')}"
        for name, given in zip(texts, named, strict=True)
        if not isinstance(given, str) or (known and name not in known)
    ]
    problems += [f"{name}: is named twice; name it once" for name in dict.fromkeys(texts) if texts.count(name) > 1]
    if problems or not texts:
        raise InputError(problems or "least, most: no figure is named; name at least one")

