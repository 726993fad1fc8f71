"""The rows that a figure draws, with what all such figures refuse: names that are not there, choices without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.report.plot.drawing import COLOURS, GREY, MARKERS, in_prefix, labelled
from archsim.report.rows.row import Row
from archsim.report.rows.table import Column, column, settings_in
from dataflow.errors import expect, guess

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_GROUPS = len(MARKERS)  # that can be told apart
OUTSIDE, OUTSIDE_LABEL = "outside", "outside a limit"


@dataclass(frozen=True, slots=True)
class Points:
    """Rows that are to be drawn, and the design that says which units their settings have; None is not known."""

    of: str
    rows: tuple[Row, ...]
    design: Design | None

    @property
    def name(self) -> str:
        """What the title begins with."""
        return f"{self.design.name}: " if self.design else ""

    def column(self, name: str) -> Column:
        """The column of a figure or a setting. Raises InputError for a name that no row has."""
        return column(self.rows, name, self.design)

    def setting(self, what: str, name: str) -> Column:
        """The column of a setting. Raises InputError where it is none."""
        known = settings_in(self.rows)
        if name not in known:
            meant = guess(str(name), known, otherwise="settings are")
            raise InputError(f"{self.of}: {what}: no setting {quoted(name)}; {meant}")
        return self.column(name)

    def numbers(self, what: str, name: str) -> Column:
        """The column of a figure that has numbers. Raises InputError where no row has one."""
        if not any(self.ran(place) for place in range(len(self.rows))):
            first = next((row.problem for row in self.rows if row.problem), None) or "no reason is known"
            raise InputError(f"{self.of}: no row has figures; the first says: {first.partition(chr(10))[0]}")
        found = self.column(name)
        if not any(number is not None and self.ran(place) for place, number in enumerate(found.numbers)):
            raise InputError(f"{self.of}: {what}: no row has a number for {quoted(name)}; name another figure")
        return found

    def ran(self, place: int) -> bool:
        """True where the row at a place has its figures."""
        return self.rows[place].status in ("done", OUTSIDE)

    def without(self, places: Iterable[int]) -> str:
        """How many rows other than those at these places there are, by status."""
        drawn = set(places)
        left = Counter(row.status for place, row in enumerate(self.rows) if place not in drawn)
        told = ", ".join(f"{n:,} {'without these figures' if one == 'done' else one}" for one, n in left.items())
        return f"not drawn: {told}" if told else ""

    def refuse_choice(self, named: Sequence[Column], what: str) -> None:
        """Raises InputError where several rows have the same values of these settings, with what varies besides."""
        keys = Counter(zip(*(one.keys for one in named), strict=True))
        key, n = max(keys.items(), key=lambda pair: pair[1], default=((), 0))
        if n < 2:
            return
        names = [one.name for one in named]
        others = [path for path in settings_in(self.rows) if path not in names and self.column(path).varies]
        where = ", ".join(f"{one.name} = {one.text(one.keys.index(at))}" for one, at in zip(named, key, strict=True))
        if not others:
            raise InputError(f"{self.of}: {n:,} rows have {where}, and no other setting varies; give each point once")
        besides = f"besides varies {', '.join(others)}: give rows in which it has one value"
        raise InputError(f"{self.of}: {n:,} rows have {where}, but {what} shows one; {besides}")


def points_of(of: str, rows: Iterable[Row], design: Design | None) -> Points:
    """The rows of a Sweep, which knows its design, or others. Raises InputError where there is none."""
    expect(f"{of}: rows", rows, Iterable)
    # A Sweep stands above this package, so that only its attribute is known here.
    known = design if design is not None else getattr(rows, "design", None)
    found = tuple(rows)
    for row in found:
        expect(f"{of}: rows", row, Row)
    if not found:
        raise InputError(f"{of}: no rows; a sweep of one point or more has some")
    return Points(of, found, known if isinstance(known, Design) else None)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one value of a setting: their places, what a legend calls them, and how they are drawn."""

    label: str
    places: tuple[int, ...]
    colour: str
    marker: str


def groups_of(points: Points, by: str | None, single: str) -> list[Group]:
    """The rows in groups by a setting, each with its own colour and marker; one group without. Raises InputError."""
    if by is None:
        return [Group("", tuple(range(len(points.rows))), single, MARKERS[0])]
    one = points.setting("by", by)
    keys = ordered(one.keys)
    if len(keys) > MOST_GROUPS:
        told = f"by: {quoted(by)} has {len(keys):,} values, of which {MOST_GROUPS} can be told apart"
        raise InputError(f"{points.of}: {told}; give fewer rows, or name another setting")
    places = {key: tuple(place for place, other in enumerate(one.keys) if other == key) for key in keys}
    return [
        Group(one.text(places[key][0]), places[key], COLOURS[i % len(COLOURS)], MARKERS[i])
        for i, key in enumerate(keys)
    ]  # fmt: skip


def ordered(keys: Iterable[int | float | str | None]) -> list[int | float | str | None]:
    """Different values in order: numbers by size, then the others as they come."""
    different = list(dict.fromkeys(keys))
    numbers = sorted(key for key in different if isinstance(key, int | float))
    return [*numbers, *(key for key in different if not isinstance(key, int | float))]


def scaled(one: Column, places: Iterable[int]) -> tuple[float, str]:
    """What to divide the numbers at these places by, and the label of an axis that has them."""
    scale, unit = in_prefix([number for place in places if (number := one.numbers[place]) is not None], one.unit)
    return scale, labelled(one.name, unit)


def cross_out(axes: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Grey crosses at what lies outside a limit, with a light rim against what they stand on."""
    from matplotlib.patheffects import withStroke

    if xs:
        rim = [withStroke(linewidth=3.2, foreground="white")]
        style: dict[str, Any] = {"marker": "x", "color": GREY, "linewidths": 1.6, "path_effects": rim}
        axes.scatter(xs, ys, s=36, zorder=4, label=OUTSIDE_LABEL, **style)


def add_legend(axes: Axes, title: str = "") -> None:
    """A legend beside the axes, so that it covers nothing; none where nothing has a name."""
    if axes.get_legend_handles_labels()[1]:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, title=title, fontsize=9)
        legend.get_title().set_fontsize(9)
