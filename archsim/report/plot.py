"""Figures of reports, drawn with matplotlib: where the time goes, and how a sweep bends. The only place that draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from archsim.quantity import show
from archsim.report.figures import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BLUE = "#2f6f9f"


def time_by_part(report: Figures) -> Figure:
    """A bar for each part of the run, longest first, with its time and its share."""
    parts = [(name, cycles) for name, cycles in report.parts.items() if cycles * 1000 >= report.cycles][::-1]
    figure, axes = _empty(0.5 + 0.42 * len(parts))
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
    return figure


def sweep_lines(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str) -> Figure:
    """Lines of (x values, y values) by name over a logarithmic x axis, each value marked."""
    figure, axes = _empty(3.2)
    for name, (across, up) in lines.items():
        axes.plot(across, up, marker="o", label=name)
    axes.set_xscale("log", base=2)
    ticks = sorted({value for across, _ in lines.values() for value in across})
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False)
    return figure


def _empty(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
