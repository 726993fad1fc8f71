"""The mesh of a section: stages, streams, and loads of links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archsim.report.figures import Figures
from archsim.report.plot.drawing import APART, picture
from dataflow.errors import InputError, guess, quoted
from dataflow.floor import Floor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle


def floorplan(report: Figures, section: str = "") -> Axes:
    """The mesh of a section, by default of the one that takes the most time: stages, streams, and loads of links.

    A stage has a colour, and its name where most of its tiles lie; tiles that hold a stream are pale, in the colour of
    the stage that reads it. A link is the darker and thicker the more bytes pass it. Raises InputError for a section
    that was not placed.
    """
    placed = {one.name: one for one in report.placed if one.floor is not None}
    if not placed or (section and section not in placed):
        raise InputError(f"no section {quoted(section)} on a mesh; {guess(section, placed, otherwise='there are')}")
    chosen = placed[section] if section else max(placed.values(), key=lambda one: one.all_cycles)
    floor, stages = chosen.floor, [stage.name for stage in chosen.stages]
    assert floor is not None
    axes = picture(1.2 + 6.2 * floor.rows / floor.columns)
    colours = {stage: APART[i % len(APART)] for i, stage in enumerate(stages)}
    for (row, column), stage in floor.computing.items():
        axes.add_patch(_tile(row, column, colours[stage], 1.0))
    for (row, column), stage in floor.holding.items():
        axes.add_patch(_tile(row, column, colours.get(stage, "#dddddd"), 0.3))
    _draw_links(axes, floor)
    _name_stages(axes, floor)
    axes.set(xlim=(-0.5, floor.columns - 0.5), ylim=(floor.rows - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    most = max(floor.loads.values(), default=0.0)
    axes.set_xlabel(f"{floor.columns} x {floor.rows} tiles; the busiest link carries {most:,.0f} B for each token")
    title = f"{report.model} on {report.design}: {chosen.name}, {len(stages)} stages"
    axes.set_title(title + (f", one of {floor.sockets} sockets" if floor.sockets > 1 else ""), loc="left", fontsize=10)
    return axes


def _tile(row: int, column: int, colour: str, alpha: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.42, row - 0.42), 0.84, 0.84, color=colour, alpha=alpha, linewidth=0)


def _draw_links(axes: Axes, floor: Floor) -> None:
    from matplotlib.collections import LineCollection

    most = max(floor.loads.values(), default=1.0)
    # Beside each other for the two directions of a link.
    lines, shares = [], []
    for ((row, column), (to_row, to_column)), load in floor.loads.items():
        aside = 0.12 * (1 if (to_row, to_column) > (row, column) else -1)
        across, down = (0.0, aside) if row == to_row else (aside, 0.0)
        lines.append([(column + across, row + down), (to_column + across, to_row + down)])
        shares.append(load / most)
    widths, colours = [0.2 + 2.4 * share for share in shares], [(0, 0, 0, 0.15 + 0.75 * share) for share in shares]
    axes.add_collection(LineCollection(lines, linewidths=widths, colors=colours))


def _name_stages(axes: Axes, floor: Floor) -> None:
    spots: dict[str, list[tuple[int, int]]] = {}
    for spot, stage in floor.computing.items():
        spots.setdefault(stage, []).append(spot)
    for i, (stage, found) in enumerate(spots.items()):
        row, column = sorted(found)[len(found) // 2][0], sum(column for _, column in found) / len(found)
        side = "left" if column < floor.columns / 16 else "right" if column > floor.columns * 15 / 16 else "center"
        # Names of neighbours stand at different heights.
        axes.text(
            column, row if len(found) > 40 else (i * 7) % floor.rows, stage, fontsize=6, ha=side, va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )  # fmt: skip
