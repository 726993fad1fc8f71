"""A figure of a sweep over two of its settings, as colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.report.plot.drawing import GREY, PALE, WIDE, name_ticks, picture, set_title
from archsim.report.plot.points import OUTSIDE, Points, cross_out, ordered, points_of, scaled
from archsim.report.rows.row import Row
from archsim.report.rows.table import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

MOST_NUMBERS = (10, 16)  # columns and rows whose cells still have room for their number
COLOURS = "viridis"  # as dark as it is small, for any colour vision and in print


def heat_map(rows: Iterable[Row], *, x: str, y: str, value: str, design: Design | None = None) -> Axes:
    """The figure `value` as the colour of a cell, for each pair of values of the settings `x` and `y`.

    Few cells have their number too. A hatched cell has no figure: its point was refused or did not end. A grey cross is
    outside a limit; what was not asked for is white. `design` says which units settings have where rows are not a
    Sweep.

    Raises InputError for names that are not there, and where other settings vary too, so that several rows have one
    cell: give the rows of one value of each.
    """
    points = points_of("heat_map", rows, design)
    across, up, shade = points.setting("x", x), points.setting("y", y), points.numbers("value", value)
    if x == y:
        raise InputError(f"heat_map: x and y are both {quoted(x)}; name two settings")
    points.refuse_choice([across, up], "a cell")
    columns, lines = ordered(across.keys), ordered(up.keys)
    cells = [(columns.index(a), lines.index(b)) for a, b in zip(across.keys, up.keys, strict=True)]
    drawn = [i for i in range(len(cells)) if points.ran(i) and shade.numbers[i] is not None]
    axes = picture(min(7.0, 1.9 + 0.42 * len(lines)))
    scale, label = scaled(shade, drawn)
    table = np.full((len(lines), len(columns)), np.nan)
    for i in drawn:
        table[cells[i][1], cells[i][0]] = (shade.numbers[i] or 0) / scale
    few = len(columns) <= MOST_NUMBERS[0] and len(lines) <= MOST_NUMBERS[1]
    mesh = _mesh(axes, table, rims=few)
    axes.figure.colorbar(mesh, ax=axes, label=label)
    if few:
        _write_numbers(axes, mesh, table)
    has_figure = set(drawn)
    _hatch(axes, [cell for i, cell in enumerate(cells) if i not in has_figure])
    outside = [cells[i] for i in drawn if points.rows[i].status == OUTSIDE]
    cross_out(axes, [cell[0] - 0.36 for cell in outside], [cell[1] + 0.28 for cell in outside])
    _name_values(axes, "x", across, columns)
    _name_values(axes, "y", up, lines)
    set_title(axes, f"{points.name}{value}", _told(points, drawn))
    if axes.get_legend_handles_labels()[1]:
        axes.figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return axes


def _mesh(axes: Axes, table: np.ndarray, *, rims: bool) -> QuadMesh:
    from matplotlib.colors import LogNorm

    lines, columns = table.shape
    finite = table[np.isfinite(table)]
    least, most = finite.min(initial=np.inf), finite.max(initial=0)
    norm = LogNorm(least, most) if least > 0 and most / least > WIDE else None
    edges = np.arange(columns + 1) - 0.5, np.arange(lines + 1) - 0.5
    axes.spines[:].set_visible(False)
    mesh = axes.pcolormesh(*edges, np.ma.masked_invalid(table), cmap=COLOURS, norm=norm)
    if rims:
        mesh.set(edgecolor="white", linewidth=0.5)
    return mesh


def _write_numbers(axes: Axes, mesh: QuadMesh, table: np.ndarray) -> None:
    whole = all(float(number).is_integer() for number in table[np.isfinite(table)])
    for (line, place), number in np.ndenumerate(table):
        if np.isfinite(number):
            red, green, blue, _ = mesh.to_rgba(number)
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            text = f"{number:,.0f}" if whole or abs(number) >= 100 else f"{number:#.3g}"
            text = text if abs(number) >= 1 else f"{number:.3g}"
            axes.text(place, line, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def _hatch(axes: Axes, cells: Sequence[tuple[int, int]]) -> None:
    from matplotlib.patches import Rectangle

    for i, (place, line) in enumerate(cells):
        axes.add_patch(Rectangle(
            (place - 0.5, line - 0.5), 1, 1, hatch="////", facecolor=PALE, edgecolor=GREY, linewidth=0,
            label="" if i else "no figure",
        ))  # fmt: skip


def _name_values(axes: Axes, which: Literal["x", "y"], one: Column, keys: Sequence[int | float | str | None]) -> None:
    """Ticks at cells, with numbers in the unit that the label of the axis has, and text as it was written."""
    scale, label = scaled(one, range(len(one.numbers)))
    texts = [f"{key / scale:,.6g}" if isinstance(key, int | float) else one.text(one.keys.index(key)) for key in keys]
    name_ticks(axes, which, texts)
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(label)
    axes.tick_params(length=0)


def _told(points: Points, drawn: Sequence[int]) -> str:
    return points.without(drawn).replace("not drawn", "hatched")
