"""Tally: the sum of what many items count, updated from the last tally by the items that changed."""

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
    """Sums over items, by what is counted, without zeros; `counts` has what each item adds."""

    items: tuple[T, ...]
    counts: tuple[Mapping[Any, Number], ...]
    sums: Mapping[Any, Number]


def tally(name: str, items: tuple[T, ...], count: Callable[[T], Mapping[Any, Number]], memo: Memo) -> Tally[T]:
    """The tally of these items; items that are the same objects as in the last tally of this name are not recounted.

    >>> memo, letters = Memo(), lambda text: {"letters": len(text)}
    >>> first = tally("texts", ("ab", "c"), letters, memo)
    >>> tally("texts", (first.items[0], "cde"), letters, memo).sums
    {'letters': 5}
    """
    before: Tally[T] | None = memo.last(Tally, name)
    if before is None or len(items) != len(before.items):
        counts = [count(item) for item in items]
        return memo.keep(Tally(items, tuple(counts), _sum({}, counts, 1)), name)
    # Compared by identity and without a loop in Python: nearly all of the items are those of the last tally.
    changed = list(compress(range(len(items)), map(is_not, items, before.items)))
    counts = list(before.counts)
    for i in changed:
        counts[i] = count(items[i])
    # A new object may count the same: an attention task over more keys still serves the same ops.
    differing = [i for i in changed if counts[i] != before.counts[i]]
    sums = _sum(before.sums, [before.counts[i] for i in differing], -1)
    sums = _sum(sums, [counts[i] for i in differing], 1)
    return memo.keep(Tally(items, tuple(counts), sums), name)


def _sum(
    start: Mapping[Hashable, Number], counts: list[Mapping[Any, Number]], sign: int
) -> Mapping[Hashable, Number]:
    if not counts:
        return start
    sums = dict(start)
    for count in counts:
        for what, n in count.items():
            sums[what] = sums.get(what, 0) + sign * n
    # Zeros go, so that an updated tally equals one counted anew.
    return {what: n for what, n in sums.items() if n}
