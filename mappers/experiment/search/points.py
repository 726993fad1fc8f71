"""Which points a sweep visits: all of a grid, or some that are drawn.

Knows axes and rows. Does not know how a point is run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from collections.abc import Mapping as Entries
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np

from archsim.errors import InputError
from archsim.files.json_text import json_line
from archsim.report.rows.row import Row
from kernels.limits import COMBINATIONS, beyond
from mappers.experiment.axis import Axis, Range, size_of, value_at, values_of
from mappers.experiment.keys import canonical

Point = dict[str, Any]
# Points to run, for which the rows come back in their order; it ends where nothing is left to visit.
Visit = Generator[list[Point], Sequence[Row], None]

RANDOM_TRIES = 100  # draws for each point that is asked for, before a space counts as used up


@dataclass(frozen=True, slots=True)
class Grid:
    """Every combination of the values, the last path varying fastest."""

    name: ClassVar[str] = "grid"

    def problems(self, axes: Entries[str, Axis]) -> list[str]:
        """What is wrong with axes of a grid."""
        sizes = {path: size_of(axis) for path, axis in axes.items()}
        problems = [
            f"{path}: a grid visits each value, and a range without a step has no end of them; give a step, a list, or "
            "search: random"
            for path, size in sizes.items()
            if size is None
        ]
        problems += [
            f"{path}: log is for values that are drawn; a grid visits each value, so write a list"
            for path, axis in axes.items()
            if isinstance(axis, Range) and axis.log and axis.size is not None
        ]
        asked = prod(size for size in sizes.values() if size)
        told = beyond(asked, COMBINATIONS, of="combinations", instead="sweep fewer values, or one part at a time")
        return problems + ([f"over: {told}"] if told else [])

    def size(self, axes: Entries[str, Axis]) -> int:
        """How many points there are."""
        return prod(size_of(axis) or 0 for axis in axes.values())

    def visit(self, axes: Entries[str, Axis]) -> Visit:
        """All of them at once."""
        values = [values_of(axis) for axis in axes.values()]
        yield [dict(zip(axes, chosen, strict=True)) for chosen in product(*values)]


@dataclass(frozen=True, slots=True)
class Drawn:
    """So many different points, drawn at random with a seed."""

    name: ClassVar[str] = "random"
    points: int
    seed: int

    def problems(self, axes: Entries[str, Axis]) -> list[str]:
        """What is wrong with axes to draw from."""
        return too_many(self.points, axes)

    def size(self, _: Entries[str, Axis]) -> int:
        """How many points there are at most."""
        return self.points

    def visit(self, axes: Entries[str, Axis]) -> Visit:
        """All of them at once."""
        draws = np.random.default_rng(self.seed)
        shares = (draws.random(len(axes)) for _ in range(RANDOM_TRIES * self.points))
        found: dict[str, Point] = {}
        for point in _points(axes, shares):
            found.setdefault(identity(point), point)
            if len(found) == self.points:
                break
        yield list(found.values())


@dataclass(frozen=True, slots=True)
class LatinHypercube(Drawn):
    """So many points, drawn so that each axis is covered evenly; those that come out equal are visited once."""

    name: ClassVar[str] = "latin"

    def visit(self, axes: Entries[str, Axis]) -> Visit:
        """All of them at once."""
        try:
            from scipy.stats import qmc
        except ImportError:
            raise InputError("search: latin needs scipy; pip install 'archsim[search]'") from None
        shares = qmc.LatinHypercube(len(axes), seed=np.random.default_rng(self.seed)).random(self.points)
        yield list({identity(point): point for point in _points(axes, shares)}.values())


@dataclass(frozen=True, slots=True)
class Listed:
    """Points that are given one by one, whatever the axes."""

    name: ClassVar[str] = "list"
    points: tuple[Point, ...]

    def problems(self, _: Entries[str, Axis]) -> list[str]:
        """Nothing: who lists points knows them."""
        return []

    def size(self, _: Entries[str, Axis]) -> int:
        """How many points there are."""
        return len(self.points)

    def visit(self, _: Entries[str, Axis]) -> Visit:
        """All of them at once."""
        yield list(self.points)


class Search(Protocol):
    """How points are chosen."""

    name: ClassVar[str]

    def problems(self, axes: Entries[str, Axis]) -> list[str]:
        """What is wrong with the axes."""

    def size(self, axes: Entries[str, Axis]) -> int:
        """How many points there are at most."""

    def visit(self, axes: Entries[str, Axis]) -> Visit:
        """The points to run, batch by batch."""


def identity(point: Entries[str, Any]) -> str:
    """A text that two points share where they have the same values at the same paths."""
    return json_line({path: canonical(value) for path, value in point.items()})


def too_many(points: int, axes: Entries[str, Axis]) -> list[str]:
    """What is wrong where more points are asked for than there are."""
    sizes = [size_of(axis) for axis in axes.values()]
    there = prod(size for size in sizes if size is not None)
    if None in sizes or points <= there:
        return []
    return [f"points: {points:,} points are asked for, and there are {there:,}; ask for fewer, or give search: grid"]


def _points(axes: Entries[str, Axis], shares: Iterable[np.ndarray]) -> Iterator[Point]:
    for at in shares:
        yield {path: value_at(axis, float(share)) for (path, axis), share in zip(axes.items(), at, strict=True)}
