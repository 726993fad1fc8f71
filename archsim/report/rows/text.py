"""Rows as a person reads them: the best or the first ones, what tells them apart, and all that they simplify."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from archsim.design.design import Design
from archsim.report.rows.goal import Goal
from archsim.report.rows.pareto import pareto
from archsim.report.rows.row import Row, measures_in, without_label
from archsim.report.rows.table import Column, column, figures_in, settings_in
from dataflow.errors import harmless
from dataflow.overview import Overview, counted

MOST_ROWS, FEWEST_ROWS, MOST_LINES = 20, 5, 25
PROBLEM_LETTERS = 80
# The figures that are shown where no figure is goal.
PLAIN_FIGURES = ("seconds", "tokens_per_second", "energy_joules")
# Of a variant a message names the design and all that was changed, which the row has beside it.
VARIANT = re.compile(r"^\S*\.(?:yaml|json) with .*?: ")
PLACE, STATUS, CAVEATS, PROBLEM = "#", "status", "caveats", "problem"


@dataclass(frozen=True, slots=True)
class _Found:
    """The places of rows in the order to show them, those of the front, how to say that, and the columns."""

    order: list[int]
    front: frozenset[int]
    told: str
    columns: tuple[Column, ...]


def rows_text(rows: Sequence[Row], head: str, *, design: Design | None = None, goal: Goal | None = None) -> str:
    """Rows as text under a head, in some 25 lines: fewer rows where there is more that they simplify."""
    most, found = MOST_ROWS, _found(rows, design, goal or Goal())
    while True:
        shown = _shown(rows, head, found, most)
        text = shown.text()
        beyond = text.count("\n") + 1 - MOST_LINES
        if beyond <= 0 or most <= FEWEST_ROWS:
            return text
        most = max(FEWEST_ROWS, min(most, len(shown.cells)) - beyond)


def rows_html(rows: Sequence[Row], head: str, *, design: Design | None = None, goal: Goal | None = None) -> str:
    """As rows_text, as an HTML table of at most 20 rows."""
    return _shown(rows, head, _found(rows, design, goal or Goal()), MOST_ROWS).html()


def _found(rows: Sequence[Row], design: Design | None, goal: Goal) -> _Found:
    return _Found(*_order(rows, goal), tuple(_columns(rows, design, goal)))


def _shown(rows: Sequence[Row], head: str, found: _Found, most: int) -> Overview:
    places, front = found.order[:most], found.front
    some = [rows[place] for place in places]
    left = len(rows) - len(places)
    foot = [f"and {counted(left, 'more row')}; export() and to_frame() have all"] if left else []
    listed = list(dict.fromkeys(caveat for row in some for caveat in row.caveats))
    numbers = {caveat: number for number, caveat in enumerate(listed, start=1)}
    foot += [f"caveat {number}: {_one_line(caveat)}" for caveat, number in numbers.items()]
    star = "*" if front else ""
    table = [(PLACE, True, [f"{place}{star if place in front else ' ' * len(star)}" for place in places])]
    for one in found.columns:
        table.append((one.name, one.is_numeric, [_one_line(one.text(place)) for place in places]))
    if any(row.status != "done" for row in some):
        table.append((STATUS, False, [row.status for row in some]))
    if listed:
        table.append((CAVEATS, False, [_ranges(numbers[caveat] for caveat in row.caveats) for row in some]))
    if any(row.problem for row in some):
        table.append((PROBLEM, False, [_problem(row.problem) for row in some]))
    names, numeric, cells = zip(*table, strict=True)
    return Overview(
        (head, found.told) if found.told else (head,), names, tuple(zip(*cells, strict=True)), tuple(foot), numeric
    )


def _order(rows: Sequence[Row], goal: Goal) -> tuple[list[int], frozenset[int], str]:
    """The places of rows in the order that they are shown, those of the front, and how to say that."""
    places = list(range(len(rows)))
    names = goal.objectives
    if not names or not set(names) <= set(measures_in(rows)):
        return places, frozenset(), ""
    best = {id(row) for row in pareto(rows, most=goal.most, least=goal.least)}
    first, sign = names[0], -1 if goal.most else 1

    def badness(place: int) -> float:
        value = rows[place].figures.get(first)
        return sign * value if isinstance(value, int | float) else 0

    if len(names) == 1:
        done = [
            place for place in places if rows[place].status == "done" and rows[place].figures.get(first) is not None
        ]
        ahead, told = sorted(done, key=badness), f"best first: {goal}"
        front: frozenset[int] = frozenset()
    else:
        front = frozenset(place for place in places if id(rows[place]) in best)
        ahead = sorted(front, key=lambda place: (badness(place), place))
        told = f"first those that no other beats (*): {goal}"
    first_ones = set(ahead)
    return [*ahead, *(place for place in places if place not in first_ones)], front, told


def _columns(rows: Sequence[Row], design: Design | None, goal: Goal) -> list[Column]:
    """The columns that say something: settings that vary, then figures that are wanted, or else the plain ones."""
    varied = [one for path in settings_in(rows) if (one := column(rows, path, design)).varies]
    there = figures_in(rows)
    names = [name for name in dict.fromkeys((*goal.objectives, *goal.constraints)) if name in there]
    if not names:
        names = [name for name in there if without_label(name) in PLAIN_FIGURES]
        names = [name for name in names if any(row.figures.get(name) is not None for row in rows)]
    return [*varied, *(column(rows, name, design) for name in names)]


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers in order, those that follow one another as a range: 1-3, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _problem(problem: str | None) -> str:
    """The first line of a problem, without what the row says already, cut where a table has no room for it."""
    if not problem:
        return ""
    first, _, more = problem.partition("\n")
    text = _one_line(VARIANT.sub("", first))
    cut = text if len(text) <= PROBLEM_LETTERS else text[: PROBLEM_LETTERS - 1] + "…"
    return cut + (" …" if more and cut == text else "")


def _one_line(text: str) -> str:
    return harmless(" ".join(text.split()))
