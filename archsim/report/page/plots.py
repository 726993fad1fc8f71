"""The plots of a page, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from archsim.errors import InputError
from archsim.report.figures import Figures
from archsim.report.page.html import section
from archsim.report.plot.fifos import fifo_occupancy
from archsim.report.plot.floor import floorplan
from archsim.report.plot.parts import time_by_part
from archsim.report.plot.svg import svg_of
from archsim.report.plot.timeline import timeline
from archsim.report.plot.why import roofline, stall_causes

if TYPE_CHECKING:
    from archsim.report.plot.svg import Axes

# Heading, and the function that draws a report. One that raises InputError has nothing to show of it.
PLOTS: tuple[tuple[str, Callable[[Any], Axes]], ...] = (
    ("Where the time goes", time_by_part),
    ("What units spend their time on", stall_causes),
    ("Timeline", timeline),
    ("Roofline", roofline),
    ("FIFOs", fifo_occupancy),
    ("The section that takes the most time, on its mesh", floorplan),
)


def plots(report: Figures) -> Iterator[str]:
    """A section of the page for each plot."""
    for heading, draw in PLOTS:
        yield section(heading, plot_of(draw, report))


def plot_of(draw: Callable[[Any], Axes], of: Any) -> str:
    """What a function draws of a report or its explanation; nothing where there is nothing to show."""
    try:
        return f"<figure>{svg_of(partial(draw, of), name=draw.__name__)}</figure>"
    except InputError:
        return ""
