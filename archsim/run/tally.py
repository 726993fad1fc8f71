"""Tally: the sum of what many things count, brought up to date by the things that changed since the tally before."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress
from operator import is_not
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Number = int | Fraction


@dataclass(frozen=True, slots=True)
class Tally(Generic[T]):
    """`sums` of what each of the `items` counts, zeros left out; `counts` has what each one adds."""

    items: tuple[T, ...]
    counts: tuple[Mapping[Any, Number], ...]
    sums: Mapping[Any, Number]


def tally(
    items: tuple[T, ...], count: Callable[[T], Mapping[Any, Number]], *, like: Tally[T] | None = None
) -> Tally[T]:
    """The tally of these items; those that are the same objects in `like`, in the same place, are not counted again.

    >>> first = tally(("ab", "c"), lambda text: {"letters": len(text)})
    >>> tally((first.items[0], "cde"), lambda text: {"letters": len(text)}, like=first).sums
    {'letters': 5}
    """
    if like is None or len(items) != len(like.items):
        counts = [count(item) for item in items]
        return Tally(items, tuple(counts), _sum({}, counts, 1))
    changed = list(compress(range(len(items)), map(is_not, items, like.items)))
    counts = list(like.counts)
    for i in changed:
        counts[i] = count(items[i])
    moved = [i for i in changed if counts[i] != like.counts[i]]
    sums = _sum(like.sums, [like.counts[i] for i in moved], -1)
    return Tally(items, tuple(counts), _sum(sums, [counts[i] for i in moved], 1))


def _sum(
    start: Mapping[Hashable, Number], counts: list[Mapping[Any, Number]], sign: int
) -> Mapping[Hashable, Number]:
    if not counts:
        return start
    sums = dict(start)
    for count in counts:
        for what, n in count.items():
            sums[what] = sums.get(what, 0) + sign * n
    return {what: n for what, n in sums.items() if n}
