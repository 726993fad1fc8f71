"""Overview: what an object has to say in a few lines and one table, as text for terminals and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape

from dataflow.errors import harmless

MOST_ROWS = 40
LABEL = 12  # columns of the name that a line begins with


@dataclass(frozen=True, slots=True)
class Overview:
    """Lines, a table with a name above each column, and lines below it.

    `numeric` says which columns are of numbers, where that is known; text has these at the right.
    """

    head: tuple[str, ...]
    names: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    foot: tuple[str, ...] = ()
    numeric: tuple[bool, ...] = ()

    def first(self, most: int = MOST_ROWS) -> Overview:
        """With at most so many rows, and a line that says how many are left out."""
        left = len(self.cells) - most
        if left <= 0:
            return self
        return replace(self, cells=self.cells[:most], foot=(f"and {counted(left, 'more row')}", *self.foot))

    def text(self) -> str:
        """As lines, each column as wide as it needs."""
        blocks = [self.head, self._aligned() if self.cells else [], self.foot]
        return "\n".join(harmless(line) for block in blocks for line in block)

    def _aligned(self) -> list[str]:
        lines, numeric = [self.names, *self.cells], self.numeric or (False,) * len(self.names)
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.names))]
        return [
            "  ".join(
                f"{cell:>{width}}" if right else f"{cell:<{width}}"
                for cell, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in lines
        ]

    def html(self) -> str:
        """As paragraphs and a table; all text is escaped."""
        rows = [self._row("th", self.names), *(self._row("td", cells) for cells in self.cells)]
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        return _lines(self.head) + (f"<table>{table}</table>" if self.names else "") + _lines(self.foot)

    def _row(self, kind: str, texts: tuple[str, ...]) -> str:
        # Notebooks have cells at the right unless told otherwise.
        sides = [' style="text-align: left"' * (not right) for right in self.numeric] or [""] * len(texts)
        return "".join(f"<{kind}{side}>{escaped(text)}</{kind}>" for text, side in zip(texts, sides, strict=True))


class Overviewed:
    """An object with an overview, which printing shows as text and a notebook as HTML."""

    __slots__ = ()

    def overview(self) -> Overview:
        """What it has to say."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.overview().text()

    def _repr_html_(self) -> str:
        return self.overview().html()


def escaped(text: str) -> str:
    """The text as HTML has it, with nothing in it that hides from a reader."""
    return escape(harmless(text))


def labelled(label: str, told: str) -> str:
    """A line that begins with its label.

    >>> labelled("links", "two")
    'links       two'
    """
    return f"{label:<{LABEL - 1}} {told}"


def counted(n: int, what: str) -> str:
    """So many of them, in words.

    >>> counted(1, "op"), counted(1200, "op")
    ('1 op', '1,200 ops')
    """
    return f"{n:,} {what}{'s' * (n != 1)}"


def _lines(lines: Iterable[str]) -> str:
    told = "<br>".join(map(_line, lines))
    return f"<p>{told}</p>" if told else ""


def _line(line: str) -> str:
    label, text = line[:LABEL], line[LABEL:]
    # HTML has one blank for many, so that a label is told apart by its letters.
    return f"<b>{escaped(label.rstrip())}</b> {escaped(text)}" if label.endswith("  ") else escaped(line)
