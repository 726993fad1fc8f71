"""Explanation: findings that print themselves, as text, HTML and JSON."""

from __future__ import annotations

from typing import Any

from archsim.explain.findings import Findings
from archsim.explain.json import as_json
from archsim.explain.tables import tables
from archsim.explain.text import head_lines, screen
from dataflow.overview import Overview


class Explanation(Findings):
    """Why a run takes its time; printing one shows text, a notebook shows it as HTML."""

    __slots__ = ()

    def __str__(self) -> str:
        return screen(self)

    def __repr__(self) -> str:
        return f"<Explanation {self.title}: {len(self.effects)} changes, {self.binding.unit} binds>"

    def _repr_html_(self) -> str:
        blocks = [Overview(tuple(head_lines(self)))]
        blocks += [
            Overview((of.caption,), of.names, of.rows, numeric=tuple(name in of.numbers for name in of.names))
            for of in tables(self)
            if of.rows
        ]
        return "".join(block.html() for block in (*blocks, Overview(self.limits)))

    def as_json(self) -> dict[str, Any]:
        """As plain data, which JSON has."""
        return as_json(self)
