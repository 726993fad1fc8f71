"""Memo: the results of the last run, of its sections and tallies, so that the next run computes only what has changed.

The decode steps of a generation differ only in their attention. Objects that two successive steps share have the same
results. Whoever runs steps in a row makes the memo; each function that can save work keeps its result there.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """The last result of each type; results of one type are told apart by a name."""

    def __init__(self) -> None:
        # Only the last of each is kept: step n + 1 is compared with step n alone, and memory does not grow with steps.
        self._results: dict[tuple[type, str], Any] = {}
        self._inside: dict[Hashable, Memo] = {}

    def last(self, kind: type[T], name: str = "") -> T | None:
        """The result of this type and name that was kept last, or None."""
        return self._results.get((kind, name))

    def keep(self, result: T, name: str = "") -> T:
        """Keeps the result as the last of its type and name, and returns it."""
        self._results[type(result), name] = result
        return result

    def inside(self, key: Hashable) -> Memo:
        """The memo of something inside, such as a section of a schedule; made on first use."""
        return self._inside.setdefault(key, Memo())
