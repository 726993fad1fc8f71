"""Goal: which figures of a sweep are to be large or small, and within what limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

from archsim.errors import quoted
from archsim.report.rows.pareto import as_names
from archsim.report.rows.row import Row
from dataflow.errors import guess

AT_MOST, AT_LEAST = "at_most", "at_least"


@dataclass(frozen=True, slots=True)
class Goal:
    """The figures that are better when larger (`most`) or smaller (`least`), and limits by figure.

    A constraint is {"at_most": number} or {"at_least": number}, or both.
    """

    most: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    constraints: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The figures that count, those that are to be large first."""
        return (*self.most, *self.least)

    def __str__(self) -> str:
        return ", ".join(self._directions)

    @property
    def _directions(self) -> list[str]:
        return [f"most {name}" for name in self.most] + [f"least {name}" for name in self.least]

    def told(self) -> list[str]:
        """What is wanted, in lines."""
        lines = self._directions
        for name, limits in self.constraints.items():
            bounds = [f"{way.replace('_', ' ')} {limit:,g}" for way, limit in limits.items()]
            lines.append(f"{name} {' and '.join(bounds)}")
        return lines

    def judged(self, row: Row) -> Row:
        """The row, with its problem where it breaks a constraint, or where that cannot be told."""
        if row.status != "done":
            return row
        problems = []
        for name, limits in self.constraints.items():
            value = row.figures.get(name)
            if not isinstance(value, int | float):
                problems.append(f"{name}: is not known of this variant, so its constraint cannot be judged")
                continue
            problems += [f"{name}: {value:,g} is {way} {limit:,g}" for way, limit in broken(value, limits)]
        return replace(row, status="outside", problem="\n".join(problems)) if problems else row


def broken(value: float, limits: Mapping[str, float]) -> list[tuple[str, float]]:
    """The limits that a value breaks: in which way, and which."""
    found = []
    if AT_MOST in limits and value > limits[AT_MOST]:
        found.append(("above", limits[AT_MOST]))
    if AT_LEAST in limits and value < limits[AT_LEAST]:
        found.append(("below", limits[AT_LEAST]))
    return found


def goal_of(given: Mapping[str, Any], known: Sequence[str]) -> tuple[Goal, list[str]]:
    """The goal of these `most`, `least` and `constraints` over these known figures, and what is wrong with it."""
    problems: list[str] = []
    named: dict[str, list[str]] = {}
    for what in ("most", "least"):
        one_or_more = given.get(what) or ()
        if isinstance(one_or_more, Iterable) and not isinstance(one_or_more, Mapping | bytes):
            named[what] = as_names(one_or_more)
        else:
            problems.append(f"{what}: expected the name of a figure, or a list of them, got {quoted(one_or_more)}")
    limits = given.get("constraints") or {}
    if not isinstance(limits, Mapping):
        return Goal(), [*problems, f"constraints: expected a mapping of figures to limits, got {quoted(limits)}"]
    problems += [
        f"{what}: no figure {quoted(name)}; {guess(str(name), known, otherwise='figures are')}"
        for what, names in {**named, "constraints": list(limits)}.items()
        for name in names
        if name not in known
    ]
    both = [str(name) for names in named.values() for name in names]
    problems += [f"{name}: is named twice; name it once" for name in dict.fromkeys(both) if both.count(name) > 1]
    problems += [problem for name, limit in limits.items() for problem in _limit_problems(f"constraints.{name}", limit)]
    return Goal(tuple(named.get("most", ())), tuple(named.get("least", ())), dict(limits)), problems


def _limit_problems(where: str, given: Any) -> list[str]:
    if not isinstance(given, Mapping) or not given or set(given) - {AT_MOST, AT_LEAST}:
        got = f"the keys '{', '.join(map(str, given))}'" if isinstance(given, Mapping) else quoted(given)
        return [f"{where}: expected {{at_most: number}} or {{at_least: number}}, got {got}"]
    problems = [
        f"{where}.{way}: expected a number, got {quoted(limit)}"
        for way, limit in given.items()
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not isfinite(limit)
    ]
    if not problems and given.get(AT_LEAST, -inf) > given.get(AT_MOST, inf):
        problems.append(f"{where}: at_least lies above at_most, so that no value can be right; swap them")
    return problems
