"""Tally: the sum of what many things count, brought up to date by the things that changed since the tally before."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress
from operator import is_not
from typing import Any, Generic, TypeVar

from archsim.engine.memo import Memo

T = TypeVar("T")
Number = int | Fraction


@dataclass(frozen=True, slots=True)
class Tally(Generic[T]):
    """`sums` of what each of the `items` counts, zeros left out; `counts` has what each one adds."""

    items: tuple[T, ...]
    counts: tuple[Mapping[Any, Number], ...]
    sums: Mapping[Any, Number]


def tally(name: str, items: tuple[T, ...], count: Callable[[T], Mapping[Any, Number]], memo: Memo) -> Tally[T]:
    """The tally of these items; those that are the same objects as in the tally of this name before are not recounted.

    >>> memo, letters = Memo(), lambda text: {"letters": len(text)}
    >>> first = tally("texts", ("ab", "c"), letters, memo)
    >>> tally("texts", (first.items[0], "cde"), letters, memo).sums
    {'letters': 5}
    """
    before: Tally[T] | None = memo.last(Tally, name)
    return memo.keep(_tally(items, count, before), name)


def _tally(items: tuple[T, ...], count: Callable[[T], Mapping[Any, Number]], before: Tally[T] | None) -> Tally[T]:
    if before is None or len(items) != len(before.items):
        counts = [count(item) for item in items]
        return Tally(items, tuple(counts), _sum({}, counts, 1))
    changed = list(compress(range(len(items)), map(is_not, items, before.items)))
    counts = list(before.counts)
    for i in changed:
        counts[i] = count(items[i])
    moved = [i for i in changed if counts[i] != before.counts[i]]
    sums = _sum(before.sums, [before.counts[i] for i in moved], -1)
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
