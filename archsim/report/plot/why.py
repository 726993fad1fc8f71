"""Why a run takes its time: what changes would bring, what units spend their time on, and ops under their roofs."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from archsim.design.design import Design
from archsim.errors import InputError
from archsim.explain.explanation import Explanation
from archsim.explain.ops import OpPoint, RooflineOfOps, roofline_of_ops
from archsim.explain.stalls import BUSY, DONE, INPUT, MEMORY, ROOM, TURN, Cause
from archsim.explain.stalls import stalls as stalls_of
from archsim.explain.text import SMALL, moving, needs_text, refused
from archsim.quantity import show
from archsim.report.figures import Figures, expect_report
from archsim.report.plot.drawing import BLUE, COLOURS, MARKERS, in_prefix, picture, set_title
from archsim.report.plot.points import add_legend
from dataflow.errors import expect
from dataflow.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20
# How each kind of cause is drawn: what the legend calls it, colour, hatch.
KINDS = {
    BUSY: ("busy", "#0072B2", ""), MEMORY: ("waits for a memory\nor channel", "#E69F00", "//"),
    INPUT: ("waits for input", "#56B4E9", "\\\\"), ROOM: ("waits for room", "#D55E00", "xx"),
    TURN: ("not its turn", "#CC79A7", ".."), DONE: ("nothing left to do", "#eeeeee", ""),
}  # fmt: skip
LABEL_SHARE = 0.12  # of the time, from which on a bar names the memory that it is about


def sensitivity(found: Explanation, *, axes: Axes | None = None) -> Axes:
    """A bar for each change that makes the run faster or slower, the largest gain first. Raises InputError for none."""
    expect("sensitivity: found", found, Explanation)
    felt = moving(found.effects)
    if not felt:
        raise InputError("sensitivity: no change of one number changes the time of this run")
    shown = felt[:MOST_BARS][::-1]
    axes = picture(0.9 + 0.3 * len(shown), axes)
    gains = [100 * (one.gain or 0) for one in shown]
    colours, hatches = zip(*((BLUE, "") if gain > 0 else (COLOURS[1], "//") for gain in gains), strict=True)
    axes.barh([one.change.path for one in shown], gains, color=colours, hatch=hatches)
    for place, (gain, one) in enumerate(zip(gains, shown, strict=True)):
        label = f"{gain:+.1f} %  {one.change.was} → {one.change.value}  {needs_text(one)}".rstrip()
        # Of a loss too on the right, because the names stand on the left.
        axes.annotate(label, (max(0, gain), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(1.6 * min(0, *gains), 1.6 * max(0, *gains))
    axes.set_xlabel("faster by, %; each change alone, simulated again")
    left = len(felt) - len(shown)
    without = sum(map(len, refused(found.effects).values()))
    told = [f"{left} smaller ones are left out" * bool(left), f"{without} are refused" * bool(without)]
    set_title(axes, *_titles(found), "one number doubled or halved", "; ".join(filter(None, told)))
    return axes


def stall_causes(found: Explanation | Figures, *, axes: Axes | None = None) -> Axes:
    """A bar for each unit that has work: its time by what it spends it on, which adds up to 100 %.

    Of a report, which runs once more for it, or of its explanation. Raises InputError for a report without an origin.
    """
    stalls = found.stalls if isinstance(found, Explanation) else stalls_of(*_origin_of(found, "stall_causes"))
    used = {unit: of for unit, of in stalls.units.items() if any(cause.kind != DONE for cause in of)}
    names = list(used)[::-1]
    axes = picture(1.2 + 0.3 * len(names), axes)
    begun = np.zeros(len(names))
    for kind, (label, colour, hatch) in KINDS.items():
        shares = np.array([_share(used[unit], kind) for unit in names])
        if shares.any() and shares.max() >= SMALL:
            axes.barh(names, 100 * shares, left=100 * begun, color=colour, hatch=hatch, label=label,
                      edgecolor="white", linewidth=0.5)  # fmt: skip
        for place, unit in enumerate(names):
            memories = [cause.of for cause in used[unit] if cause.kind == MEMORY]
            if kind == MEMORY and len(memories) == 1 and shares[place] >= LABEL_SHARE:
                axes.text(100 * (begun[place] + shares[place] / 2), place, memories[0], ha="center", va="center",
                          fontsize=7, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        begun += shares
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the time, %")
    unused = [unit for unit in stalls.units if unit not in used]
    without = f"not used: {', '.join(unused)}" if unused else ""
    set_title(axes, *_titles(found), f"what units spend their time on{_step(found)}", without)
    add_legend(axes)
    return axes


def _origin_of(report: Figures, what: str) -> tuple[Schedule, Design]:
    """The schedule and the design of a report. Raises InputError where it has none."""
    expect_report(f"{what}: found", report, kinds="a Report or an Explanation")
    if report.origin is None:
        raise InputError(f"{what}: this report came from another process, without what was run; run it here")
    return report.origin.schedule, report.origin.design


def _titles(found: Explanation | Figures) -> list[str]:
    """The lines of a title: design and model, then the phase with its fields."""
    if isinstance(found, Figures):
        return [f"{found.design} · {found.model}", " · ".join(found.phase.title())]
    words = found.title.split(" · ")
    return [" · ".join(words[:2]), " · ".join(words[2:])]


def _step(found: Explanation | Figures) -> str:
    """Which step of a phase of many steps is drawn."""
    return f" in {found.step}" if found.step else ""


def _share(causes: Mapping[Cause, int], kind: str) -> float:
    return sum(n for cause, n in causes.items() if cause.kind == kind) / sum(causes.values())


def roofline(found: Explanation | Figures, *, axes: Axes | None = None) -> Axes:
    """Ops by their operations per byte and the rate that they reach, under the roofs of the memory and of their units.

    Of a report or its explanation. Ops that need no stored bytes have no place, and are counted in the title. Raises
    InputError where no op has one, and for a report without an origin or of many steps.
    """
    if isinstance(found, Explanation):
        roofs = found.roofline
    else:
        schedule, design = _origin_of(found, "roofline")
        if found.phase.many_steps:
            raise InputError("roofline: a phase of many steps has no roofline; take its explanation, or one step")
        roofs = roofline_of_ops(schedule, design, found.ops, busy=found.busiest)
    drawn = [] if roofs is None else [point for point in roofs.points if point.intensity is not None]
    if roofs is None or not drawn:
        raise InputError("roofline: no op of this run reads a stored tensor through a memory")
    axes = picture(4.4, axes)
    hertz, bandwidth = float(found.clock_hz), float(roofs.bandwidth)
    units = list(dict.fromkeys(point.unit for point in drawn))
    ridges = [float(roofs.peaks[unit]) / bandwidth for unit in units]
    places = [point.intensity or 0 for point in drawn]
    low, high = min(*places, *ridges) / 3, max(*places, *ridges) * 3
    scale, unit_name = in_prefix([float(roofs.peaks[unit]) * hertz for unit in units], "OP/s")
    slope = np.array([low, max(ridges)])
    memory_rate = show(Fraction(roofs.bandwidth) * found.clock_hz, "rate of bytes")
    axes.plot(slope, slope * bandwidth * hertz / scale, color="#333333", label=f"{roofs.memory}, {memory_rate}")
    for i, unit in enumerate(units):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        peak = float(roofs.peaks[unit]) * hertz / scale
        axes.plot([ridges[i], high], [peak, peak], color=colour, linewidth=1, linestyle="--")
        mine = [point for point in drawn if point.unit == unit]
        axes.scatter([point.intensity or 0 for point in mine], [point.rate * hertz / scale for point in mine],
                     s=_sizes(mine, roofs), color=colour, marker=marker, edgecolor="white", linewidth=0.5,
                     label=unit, zorder=3)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_xlabel(f"operations per byte that must come from {roofs.memory}")
    axes.set_ylabel(f"rate, {unit_name}")
    without = sum(len(point.ops) for point in roofs.points) - sum(len(point.ops) for point in drawn)
    left = f"{without} ops read no stored tensor" if without else ""
    set_title(axes, *_titles(found), f"roofline{_step(found)}; larger marks take more of the time",
              "dashed: the best that a unit does on these ops", left)  # fmt: skip
    add_legend(axes)
    return axes


def _sizes(points: list[OpPoint], roofs: RooflineOfOps) -> list[float]:
    """Areas of marks by the time that the ops take."""
    longest = max(float(point.cycles) * len(point.ops) for point in roofs.points)
    return [25 + 175 * float(point.cycles) * len(point.ops) / longest for point in points]
