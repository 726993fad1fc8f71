"""Pattern: a repeating sequence in run-length form. Schedules give work and tokens per firing this way. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Generic, TypeVar

from dataflow.errors import ScheduleError, quoted

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pattern(Generic[T]):
    """A repeating sequence in run-length form: one period as ((value, count), ...).

    >>> one_in_three = Pattern(((0, 2), (1, 1)))
    >>> [one_in_three.at(i) for i in range(6)], total(one_in_three, 7)
    ([0, 0, 1, 0, 0, 1], 2)
    """

    runs: tuple[tuple[T, int], ...]

    def __post_init__(self) -> None:
        try:
            wrong = not self.runs or bool([1 for _, count in self.runs if type(count) is not int or count < 1])
        except (TypeError, ValueError):  # no sequence, or a run that is no pair
            wrong = True
        if wrong or not isinstance(self.runs, tuple | list):
            raise ScheduleError(f"a pattern is made of runs of one or more, got {_shown(self.runs)}")
        if {type(self.runs), *map(type, self.runs)} != {tuple}:  # lists, which are not hashable
            object.__setattr__(self, "runs", tuple(map(tuple, self.runs)))

    @property
    def period(self) -> int:
        """Firings after which the pattern begins again."""
        return sum(count for _, count in self.runs)

    def at(self, i: int) -> T:
        """The value of firing i, counted from 0."""
        i %= self.period
        for value, count in self.runs:
            if i < count:
                return value
            i -= count
        raise AssertionError("a place within the period lies in a run")

    def counted(self, n: int) -> list[tuple[T, int]]:
        """The runs of one period, each as (value, how many of the first n firings lie in it)."""
        if len(self.runs) == 1:
            return [(self.runs[0][0], n)]
        # Takes time per run, not per firing, because totals over whole sections are taken often.
        whole, rest = divmod(n, self.period)
        out = []
        for value, count in self.runs:
            # Whole periods hold every run in full; the rest of n fills the runs from the first on.
            out.append((value, whole * count + min(rest, count)))
            rest = max(0, rest - count)
        return out

    def sums(self, n: int) -> dict[T, int]:
        """How many of the first n firings have each value, in order of their first runs; of values that are hashable.

        >>> sequence(("a", 2), ("b", 1), ("a", 1)).sums(7)
        {'a': 5, 'b': 2}
        """
        found: dict[T, int] = {}
        for value, count in self.counted(n):
            found[value] = found.get(value, 0) + count
        return found

    def __iter__(self) -> Iterator[tuple[T, int]]:
        return iter(self.runs)


def _shown(runs: object) -> str:
    """Runs as they are written; of what cannot be runs only what it is."""
    if not isinstance(runs, tuple | list):
        return f"{quoted(runs)}; runs are pairs (value, count), such as Pattern(((0, 2), (1, 1)))"
    each = [f"({', '.join(map(quoted, run))})" if isinstance(run, tuple) else quoted(run) for run in runs]
    return f"({', '.join(each)}{',' * (len(each) == 1)})"


def every(value: T) -> Pattern[T]:
    """The pattern of one value for every firing."""
    return Pattern(((value, 1),))


def sequence(*runs: tuple[T, int]) -> Pattern[T]:
    """The pattern with these runs; runs of length zero are left out."""
    # Mappers give runs by formulas that may be 0, such as (0, context - 1) at a context of one.
    try:
        return Pattern(tuple([run for run in runs if run[1] > 0]))
    except (TypeError, LookupError):  # what is no run is refused by Pattern, with all runs
        return Pattern(runs)


def repeating(*runs: tuple[T, int]) -> Pattern[T]:
    """As sequence, by the shortest period that these runs are a multiple of.

    >>> repeating(("a", 2), ("b", 1), ("a", 2), ("b", 1)).runs
    (('a', 2), ('b', 1))
    """
    known = tuple([run for run in runs if run[1] > 0])
    for period in range(1, len(known) // 2 + 1):
        times, rest = divmod(len(known), period)
        # The ends are compared first, as most periods differ there already.
        if not rest and known[period - 1] == known[-1] and known[:period] * times == known:
            return Pattern(known[:period])
    return Pattern(known)


def total(pattern: Pattern[int], n: int) -> int:
    """The sum of the first n values."""
    return sum(value * count for value, count in pattern.counted(n))


def side_by_side(patterns: Sequence[Pattern[Any]], n: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The first n places as runs in which no pattern changes: (how many places, the value of each pattern).

    >>> list(side_by_side([sequence(("a", 2), ("b", 1)), every(7)], 4))
    [(2, ('a', 7)), (1, ('b', 7)), (1, ('a', 7))]
    """
    # A pattern of one run never changes, so its run is as long as all places.
    runs = [cycle(p.runs if len(p.runs) > 1 else ((p.runs[0][0], n),)) for p in patterns]
    under_way = [next(run) for run in runs]
    place = 0
    while place < n:
        step = min(n - place, *(left for _, left in under_way))
        yield step, tuple([value for value, _ in under_way])
        place += step
        pairs = zip(under_way, runs, strict=True)
        under_way = [(value, left - step) if left > step else next(run) for (value, left), run in pairs]
