"""In which order points are made: those that share a run of a selection's rule side by side, and in one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from collections.abc import Mapping as Entries


def by_group(groups: Entries[int, Hashable]) -> list[int]:
    """The places in an order in which those of a group stand side by side, groups by their first place.

    >>> by_group({0: "a", 1: "b", 2: "a"})
    [0, 2, 1]
    """
    first: dict[Hashable, int] = {}
    for place, group in groups.items():
        first.setdefault(group, place)
    return sorted(groups, key=lambda place: first[groups[place]])


class Queue:
    """Points by group, such as the rule that they share: a worker goes on with its group, and then takes another.

    >>> queue = Queue([(0, "a"), (1, "b"), (2, "a")])
    >>> queue.next("a"), queue.next("a"), queue.next("a")
    ((0, 'a'), (2, 'a'), (1, 'b'))
    """

    def __init__(self, places: Iterable[tuple[int, Hashable]]) -> None:
        self._waiting: dict[Hashable, deque[int]] = {}
        self._begun: set[Hashable] = set()
        for place, group in places:
            self._waiting.setdefault(group, deque()).append(place)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def next(self, group: Hashable) -> tuple[int, Hashable]:
        """The next place, and its group: this one if it has points left, else one that nobody has begun, else any."""
        if group not in self._waiting:
            fresh = [other for other in self._waiting if other not in self._begun]
            # Where all are begun, the one with most points left is worth a run of its rule of one's own.
            group = fresh[0] if fresh else max(self._waiting, key=lambda other: len(self._waiting[other]))
        self._begun.add(group)
        place = self._waiting[group].popleft()
        if not self._waiting[group]:
            del self._waiting[group]
        return place, group

    def put_back(self, place: int, group: Hashable) -> None:
        """Puts a place before the others of its group."""
        self._waiting.setdefault(group, deque()).appendleft(place)
