"""Guided: points that Optuna asks for, from what the rows so far say of the goal. The only file that imports optuna."""

from __future__ import annotations

import warnings
from collections.abc import Mapping as Entries
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from archsim.errors import InputError
from archsim.report.rows.goal import AT_LEAST, AT_MOST, Goal
from archsim.report.rows.row import Row
from mappers.experiment.axis import Axis, Range, is_ordered, nth, size_of, value_at
from mappers.experiment.search.points import Point, Visit, identity, too_many

if TYPE_CHECKING:
    import optuna

# Points are asked for so many at a time, whatever the number of processes, so that one seed gives one result.
BATCH = 8
REPEATS = 200  # successive points that were there before, after which the space counts as used up


@dataclass(frozen=True, slots=True)
class Guided:
    """So many different points, each drawn by Optuna where the rows so far promise most for the goal.

    The sampler is a tree-structured Parzen estimator, of several objectives too, which takes constraints. It keeps
    nothing: a sweep that goes on tells it the rows of the store again, in the same order.
    """

    name: ClassVar[str] = "optuna"
    points: int
    seed: int
    goal: Goal

    def problems(self, axes: Entries[str, Axis]) -> list[str]:
        """What is wrong with axes to draw from, and with the goal."""
        told = "search: optuna needs a figure to go by; name one under most or least"
        return too_many(self.points, axes) + ([] if self.goal.objectives else [told])

    def size(self, _: Entries[str, Axis]) -> int:
        """How many points there are at most."""
        return self.points

    def visit(self, axes: Entries[str, Axis]) -> Visit:
        """A few at a time."""
        study, spaces = self._study(), {path: _space(axis) for path, axis in axes.items()}
        seen: dict[str, Row] = {}
        repeats = 0
        while len(seen) < self.points and repeats < REPEATS:
            asked: list[tuple[optuna.Trial, str]] = []
            batch: dict[str, Point] = {}
            while len(batch) < min(BATCH, self.points - len(seen)) and repeats < REPEATS:
                trial = study.ask(spaces)
                point = {path: _value(axis, trial.params[path]) for path, axis in axes.items()}
                name = identity(point)
                repeats = repeats + 1 if name in seen or name in batch else 0
                if name in seen:
                    self._tell(study, trial, seen[name])
                    continue
                asked.append((trial, name))
                batch[name] = point
            if batch:
                rows = yield list(batch.values())
                seen.update(zip(batch, rows, strict=True))
            for trial, name in asked:
                self._tell(study, trial, seen[name])

    def _study(self) -> optuna.Study:
        try:
            import optuna
        except ImportError:
            raise InputError("search: optuna is not installed; pip install 'archsim[search]'") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=self.seed, multivariate=True, constant_liar=True)
        larger, smaller = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        ways = [larger] * len(self.goal.most) + [smaller] * len(self.goal.least)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # or it tells of every study on stderr
        try:
            return optuna.create_study(sampler=sampler, directions=ways)
        finally:
            optuna.logging.set_verbosity(verbosity)

    def _tell(self, study: optuna.Study, trial: optuna.Trial, row: Row) -> None:
        values = [row.figures.get(name) for name in self.goal.objectives]
        known = [float(value) for value in values if isinstance(value, int | float)]
        whole = len(known) == len(values)
        trial.set_constraint("has all figures", float(not whole))
        for name, excess in self._excesses(row).items():
            trial.set_constraint(name, excess)
        # Of a point without figures any value will do: by the first constraint it comes after all others.
        study.tell(trial, known if whole else [0.0] * len(values))

    def _excesses(self, row: Row) -> dict[str, float]:
        """By how much each constraint is broken, relative to its limit; 0 and below where it holds."""
        found = {}
        for name, limits in self.goal.constraints.items():
            value = row.figures.get(name)
            for way, sign in ((AT_MOST, 1), (AT_LEAST, -1)):
                if way in limits:
                    scale = abs(limits[way]) or 1.0
                    over = sign * (value - limits[way]) / scale if isinstance(value, int | float) else 1.0
                    found[f"{name} {way}"] = over
        return found


def _space(axis: Axis) -> optuna.distributions.BaseDistribution:
    """Places of values that are counted, in order where they have one; else a share of the range."""
    from optuna import distributions

    size = size_of(axis)
    if size is None or _by_share(axis):
        return distributions.FloatDistribution(0.0, 1.0)
    if is_ordered(axis):
        return distributions.IntDistribution(0, size - 1)
    return distributions.CategoricalDistribution(list(range(size)))


def _value(axis: Axis, drawn: Any) -> Any:
    return value_at(axis, min(drawn, 1 - 2**-53)) if _by_share(axis) else nth(axis, int(drawn))


def _by_share(axis: Axis) -> bool:
    """True where a share of the range is drawn, and not the place of a value."""
    return size_of(axis) is None or (isinstance(axis, Range) and axis.log)
