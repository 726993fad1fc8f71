"""Two figures of a sweep against each other, and the points that no other beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.report.plot.drawing import BLUE, DARK, picture, set_scale, set_title
from archsim.report.plot.points import OUTSIDE, Points, add_legend, cross_out, groups_of, points_of, scaled
from archsim.report.rows.pareto import as_names
from archsim.report.rows.pareto import pareto as front_of
from archsim.report.rows.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pareto(
    rows: Iterable[Row],
    *,
    x: str,
    y: str,
    most: str | Iterable[str] = (),
    least: str | Iterable[str] = (),
    by: str | None = None,
    design: Design | None = None,
) -> Axes:
    """Every row that is done as a point of two figures or settings, the Pareto front of the two joined by a line.

    `most` and `least` say which of `x` and `y` is better when larger or smaller; a Sweep whose goal names both needs
    neither. Grey crosses are outside a limit. Points of one value of the setting `by` share a colour and a marker.
    `design` says which units settings have where rows are not a Sweep.

    Raises InputError for names that are not there, and where the direction of a figure is not said.
    """
    larger, smaller = _directions(rows, x, y, as_names(most), as_names(least))
    points = points_of("pareto", rows, design)
    across, up = points.numbers("x", x), points.numbers("y", y)
    both = [i for i in range(len(points.rows)) if None not in (across.numbers[i], up.numbers[i]) and points.ran(i)]
    axes = picture(4.2)
    (x_scale, x_label), (y_scale, y_label) = scaled(across, both), scaled(up, both)
    spots = {i: ((across.numbers[i] or 0) / x_scale, (up.numbers[i] or 0) / y_scale) for i in both}
    done = [i for i in both if points.rows[i].status != OUTSIDE]
    front = _front(points, done, larger, smaller)
    inside = set(done)
    along = sorted({spots[i] for i in front})
    if along:
        ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 0.8}
        axes.plot(*_xs_and_ys(along), color=DARK, linewidth=1.2, zorder=1, label="Pareto front", **ring)
    for i, group in enumerate(groups_of(points, by, BLUE)):
        xs, ys = _xs_and_ys([spots[place] for place in group.places if place in inside])
        style: dict[str, Any] = {"color": group.colour, "marker": group.marker, "edgecolors": DARK, "linewidths": 0.5}
        if xs:  # the first ones are larger, so that points at one place show
            axes.scatter(xs, ys, s=62 - 4 * i, zorder=3, label=group.label or None, **style)
    cross_out(axes, *_xs_and_ys([spots[i] for i in both if i not in inside]))
    xs, ys = _xs_and_ys(list(spots.values()))
    set_scale(axes, "x", xs, is_setting=False)
    set_scale(axes, "y", ys, is_setting=False)
    axes.set_xlabel(f"{x_label} ({'more' if x in larger else 'less'} is better)")
    axes.set_ylabel(f"{y_label} ({'more' if y in larger else 'less'} is better)")
    told = f"{len(front):,} of {len(done):,} points are on the Pareto front"
    set_title(axes, points.name + told, points.without(both))
    add_legend(axes, by or "")
    return axes


def _directions(rows: object, x: str, y: str, most: list[str], least: list[str]) -> tuple[list[str], list[str]]:
    """Which of the two are better when larger, and which when smaller. Raises InputError where that is not said."""
    if x == y:
        raise InputError(f"pareto: x and y are both {quoted(x)}; name two figures")
    strange = [name for name in (*most, *least) if name not in (x, y)]
    if strange:
        raise InputError(
            f"pareto: {quoted(strange[0])} is neither x nor y; most and least say which of these is better"
        )
    goal = getattr(rows, "goal", None)
    if not most and not least and goal is not None:
        most, least = list(goal.most), list(goal.least)
    both = [name for name in (x, y) if name in most and name in least]
    if both:
        raise InputError(f"pareto: {quoted(both[0])} is named in most and in least; name it in one")
    unsaid = [name for name in (x, y) if name not in most and name not in least]
    if unsaid:
        told = " and ".join(map(quoted, unsaid))
        raise InputError(f"pareto: is more or less of {told} better? name x and y in most or least")
    return [name for name in (x, y) if name in most], [name for name in (x, y) if name in least]


def _front(points: Points, done: list[int], larger: list[str], smaller: list[str]) -> list[int]:
    """The places of rows that no other beats in the two."""
    if not done:
        return []
    rows = [points.rows[i] for i in done]
    best = {id(row) for row in front_of(rows, most=larger, least=smaller, design=points.design)}
    return [i for i in done if id(points.rows[i]) in best]


def _xs_and_ys(spots: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in spots], [y for _, y in spots]
