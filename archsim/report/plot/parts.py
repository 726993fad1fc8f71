"""Where the time of a run goes, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archsim.quantity import show
from archsim.report.figures import Figures
from archsim.report.plot.drawing import BLUE, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def time_by_part(report: Figures) -> Axes:
    """A bar for each part of the run, longest first, with its time and its share."""
    parts = [(name, cycles) for name, cycles in report.parts.items() if cycles * 1000 >= report.cycles][::-1]
    axes = picture(0.5 + 0.42 * len(parts))
    shares = [float(100 * cycles / report.cycles) for _, cycles in parts]
    bars = axes.barh([name for name, _ in parts], shares, color=BLUE)
    labels = [
        f"{show(cycles / report.clock_hz, 'time')}  {share:.0f} %"
        for (_, cycles), share in zip(parts, shares, strict=True)
    ]
    axes.bar_label(bars, labels, padding=4)
    axes.set_xlim(0, 1.25 * max(shares))
    axes.set_xlabel("share of the time, %")
    total = show(report.cycles / report.clock_hz, "time")
    axes.set_title(f"{report.model} on {report.design}: {report.phase.name}, {total}", loc="left", fontsize=10)
    return axes
