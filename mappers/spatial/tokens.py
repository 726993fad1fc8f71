"""Tokens: the rows of a section in the tiles that pass its stages. Knows rows and sequences. Does not know ops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """`batch` sequences of `rows` rows each, in tokens of `each` rows at most.

    A token has rows of one sequence, or as many whole ones as divide the batch. So `each` is at most `rows`, or a
    multiple of it that divides all rows.

    >>> [*Tokens(batch=2, rows=5, each=3).ranges()]
    [range(0, 3), range(3, 5), range(5, 8), range(8, 10)]
    >>> [*Tokens(batch=4, rows=2, each=4).ranges()], Tokens(batch=2, rows=5, each=3).count
    ([range(0, 4), range(4, 8)], 4)
    """

    batch: int
    rows: int
    each: int

    @property
    def total(self) -> int:
        """Rows of all sequences."""
        return self.batch * self.rows

    @property
    def sequences(self) -> int:
        """Whole sequences of a token; 0 where a token has a part of one."""
        return self.each // self.rows

    def spans(self) -> Iterator[range]:
        """Rows that are cut alike: those of a sequence, or all where a token has whole ones; its step is a token."""
        if self.sequences:
            yield range(0, self.total, self.each)
        else:
            for first in range(0, self.total, self.rows):
                yield range(first, first + self.rows, self.each)

    def ranges(self) -> Iterator[range]:
        """The rows of each token."""
        for span in self.spans():
            for first in span:
                yield range(first, min(first + span.step, span.stop))

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return sum(len(span) for span in self.spans())

    @staticmethod
    def sizes(batch: int, rows: int) -> list[int]:
        """The numbers of rows that a token may have: all, and halves of that down to 16 rows of a sequence."""
        found, each = [batch * rows], rows
        while each >= 16:
            if each < found[-1]:
                found.append(each)
            each = -(-each // 2)
        return found
