"""Lines: values by name over a common axis, and a figure of a sweep over one of its settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from archsim.design.design import Design
from archsim.report.plot.drawing import BLUE, name_ticks, picture, set_scale, set_title
from archsim.report.plot.points import (
    OUTSIDE,
    Group,
    Points,
    add_legend,
    cross_out,
    groups_of,
    ordered,
    points_of,
    scaled,
)
from archsim.report.rows.row import Row
from archsim.report.rows.table import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def lines(by_name: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str) -> Axes:
    """Lines of (x values, y values) by name over a logarithmic x axis, each value marked."""
    axes = picture(3.2)
    for name, (across, up) in by_name.items():
        axes.plot(across, up, marker="o", label=name)
    axes.set_xscale("log", base=2)
    ticks = sorted({value for across, _ in by_name.values() for value in across})
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False)
    return axes


def sweep_lines(rows: Iterable[Row], *, x: str, y: str, by: str | None = None, design: Design | None = None) -> Axes:
    """The figure `y` over the setting `x`, a line for each value of the setting `by`.

    A line has a gap where a point has no figure; grey crosses are outside a limit. Values of `x` stand side by side
    where not all are numbers, or one is infinite. `design` says which units settings have where rows are not a Sweep.

    Raises InputError for names that are not there, and where other settings vary too, so that several rows have one
    place: give the rows of one value of each.
    """
    points = points_of("sweep_lines", rows, design)
    across, up = points.setting("x", x), points.numbers("y", y)
    groups = groups_of(points, by, BLUE)
    points.refuse_choice([across] + ([points.column(by)] if by else []), "a line")
    drawn = [place for place in range(len(points.rows)) if points.ran(place) and up.numbers[place] is not None]
    axes = picture(3.6)
    scale, axes_label = scaled(up, drawn)
    heights = [math.nan] * len(points.rows)
    for place in drawn:
        heights[place] = (up.numbers[place] or 0) / scale
    spots = _spots(axes, points, across, drawn)
    for group in groups:
        _line(axes, group, spots, heights)
    outside = [place for place in drawn if points.rows[place].status == OUTSIDE]
    cross_out(axes, [spots[place] for place in outside], [heights[place] for place in outside])
    set_scale(axes, "y", [heights[place] for place in drawn], is_setting=False)
    if axes.get_yscale() == "linear" and min(heights[place] for place in drawn) >= 0:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(axes_label)
    set_title(axes, f"{points.name}{y} over {x}", points.without(drawn))
    add_legend(axes, by or "")
    return axes


def _spots(axes: Axes, points: Points, across: Column, drawn: Sequence[int]) -> dict[int, float]:
    """Where on the x axis each row stands, by its place; rows whose setting cannot be read stand nowhere."""
    if all((number := across.numbers[place]) is not None and math.isfinite(number) for place in drawn):
        scale, label = scaled(across, drawn)
        spots = {place: n / scale for place, n in enumerate(across.numbers) if n is not None and math.isfinite(n)}
        set_scale(axes, "x", [spots[place] for place in drawn if place in spots], is_setting=True)
        axes.set_xlabel(label)
        return spots
    keys = ordered(across.keys)
    name_ticks(axes, "x", [across.text(across.keys.index(key)) for key in keys])
    axes.set_xlabel(across.name)
    return {place: keys.index(key) for place, key in enumerate(across.keys)}


def _line(axes: Axes, group: Group, spots: Mapping[int, float], heights: Sequence[float]) -> None:
    places = sorted((place for place in group.places if place in spots), key=lambda place: spots[place])
    xs, ys = [spots[place] for place in places], [heights[place] for place in places]
    if all(map(math.isnan, ys)):
        return
    axes.plot(xs, ys, marker=group.marker, color=group.colour, label=group.label or None, markersize=5.5)
