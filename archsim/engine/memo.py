"""Memo: what the last run of a section worked out, so that the next run works out only what is new.

The steps of a generation differ in their attention alone. What is the same object in two steps that follow each other
has the same answer. The run of a schedule owns the memo, and each function that can save work keeps its result there.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """The last result of each kind, under its type and a name where there are several of a type."""

    def __init__(self) -> None:
        self._results: dict[tuple[type, str], Any] = {}
        self._inside: dict[Hashable, Memo] = {}

    def last(self, kind: type[T], name: str = "") -> T | None:
        """The result of this kind and name that was kept last, if there is one."""
        return self._results.get((kind, name))

    def keep(self, result: T, name: str = "") -> T:
        """The result, which is the last of its kind and name from now on."""
        self._results[type(result), name] = result
        return result

    def inside(self, key: Hashable) -> Memo:
        """The memo of a thing inside, such as a section of a schedule."""
        return self._inside.setdefault(key, Memo())
