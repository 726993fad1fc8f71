"""Sections and designs as hypothesis draws them: small, valid, and as varied as the event model allows.

Every unit is a vector with one lane, so that a firing with `copy(d=n)` holds it for n cycles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import strategies as st
from oracles import play

from archsim import Design, load_design
from dataflow.op import Work, work
from dataflow.schedule import Pattern, Section, Stream, Task

TOY = load_design("toy")
MOST_FIRINGS = 60


@dataclass(frozen=True)
class Drawn:
    """A section and the written form of the units it runs on."""

    section: Section
    units: dict[str, dict[str, Any]]

    @property
    def design(self) -> Design:
        """The toy design with these units in place of its own."""
        return TOY.with_({"units": self.units})

    def with_section(self, **changes: Any) -> Drawn:
        """The same with fields of the section replaced."""
        return replace(self, section=replace(self.section, **changes))

    def with_every_unit(self, **changes: Any) -> Drawn:
        """The same with keys of every unit replaced."""
        return replace(self, units={name: {**unit, **changes} for name, unit in self.units.items()})


def pattern(values: list[Any]) -> Pattern[Any]:
    """The shortest repeating pattern that begins with these values, in runs."""
    period = next(p for p in range(1, len(values) + 1) if all(values[i] == values[i % p] for i in range(len(values))))
    runs: list[tuple[Any, int]] = []
    for value in values[:period]:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return Pattern(tuple(runs))


def copies(values: list[int]) -> Pattern[Work]:
    """The work of firings that hold a unit of one lane for so many cycles."""
    return pattern([work("copy", d=n) for n in values])


@st.composite
def spread(draw: st.DrawFn, tokens: int, firings: int) -> list[int]:
    """So many tokens over so many firings: evenly as far as they go, all in the last or the first, or anyhow."""
    how = draw(st.sampled_from(["even", "even", "even", "last", "first", "anyhow"]))
    if how == "even":
        return [(i + 1) * tokens // firings - i * tokens // firings for i in range(firings)]
    if how in ("last", "first"):
        each = [0] * firings
        each[-1 if how == "last" else 0] = tokens
        return each
    cuts = sorted(draw(st.lists(st.integers(0, tokens), min_size=firings - 1, max_size=firings - 1)))
    return [b - a for a, b in zip([0, *cuts], [*cuts, tokens], strict=True)]


@st.composite
def drawn(
    draw: st.DrawFn,
    *,
    arbitrations: tuple[str, ...] = ("in_order", "first_come"),
    own_units: bool = False,
    loops: bool = True,
    most_tasks: int = 6,
) -> Drawn:
    """A section with its units: chains, forks, joins and reconvergence, loops with initial tokens, several rates.

    `own_units` gives every task one server of its own. Some deadlock: places may be too few, an order may be wrong.
    """
    names = [f"t{i}" for i in range(draw(st.integers(1, most_tasks)))]
    each = MOST_FIRINGS // len(names)
    shared = draw(st.integers(1, each))
    firings = {n: draw(st.sampled_from([shared, shared, *(k for k in (1, 2, 3, 4, 6, 8, 12) if k <= each)])) for n in names}
    units = _units(draw, names, arbitrations, own_units)
    works = {n: copies(draw(_holds(firings[n], 1 if units[u]["arbitration"] == "first_come" else 0)))
             for n, u in zip(names, _placed(draw, names, units, own_units), strict=True)}  # fmt: skip
    placed = dict(zip(names, _LAST_PLACED.pop(), strict=True))
    tasks = {n: Task(n, placed[n], firings[n], works[n], {}, {}) for n in names}
    streams: list[Stream] = []
    for source, sink, back in draw(_edges(names, loops)):
        _join(draw, tasks, streams, source, sink, back=back)
    section = Section("drawn", tuple(tasks.values()), tuple(streams))
    return Drawn(replace(section, orders=_orders(draw, section, units)), units)
