"""What all figures share: colours, markers, and axes whose labels have a name and a unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archsim.quantity_units import SCALED
from archsim.report.rows.number import COUNT, CYCLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, DARK, GREY, PALE = "#2f6f9f", "#333333", "#7f7f7f", "#eeeeee"
# Okabe and Ito's colours, which people with any colour vision tell apart.
APART = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
# For groups of points, the darker ones first; grey is that of what lies outside a limit.
COLOURS = tuple(APART[i] for i in (4, 5, 2, 0, 6, 1, 3))
MARKERS = ("o", "s", "^", "D", "v", "P", "*", "<", ">", "h", "p", "d")
WIDE = 100.0  # the ratio of values from which on an axis is logarithmic
MOST_TICKS = 12
TITLE_LETTERS = 88
TICK_LETTERS = 70  # of the names side by side under an axis
THOUSANDS = {1: "", 10**3: "thousand ", 10**6: "million ", 10**9: "billion ", 10**12: "trillion "}


def picture(height: float, axes: Axes | None = None) -> Axes:
    """The axes that are given, or new ones of the usual width, which a notebook shows by themselves."""
    if axes is None:
        from matplotlib.figure import Figure

        from archsim.report.plot.picture import Picture

        axes = Picture(Figure(figsize=(7, height), layout="constrained"), 111)
        axes.figure.add_subplot(axes)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def steps(axes: Axes, values: np.ndarray, edges: np.ndarray, **style: Any) -> None:
    """As `axes.stairs`, filled unless `fill` is False, on axes whose limits are set: to find them takes seconds."""
    from matplotlib.patches import StepPatch

    axes.add_artist(StepPatch(values, edges, **{"fill": True, "linewidth": 0, **style}))


def set_title(axes: Axes, *lines: str) -> None:
    """A title of these lines, those that say nothing left out."""
    axes.set_title("\n".join(fill(line, TITLE_LETTERS) for line in lines if line), loc="left", fontsize=10)


def in_prefix(numbers: Sequence[float], unit: str) -> tuple[float, str]:
    """What to divide numbers of this unit by, so that the largest reads well, and the unit that they then have.

    >>> in_prefix([8e9, 17.1e9], "B/s"), in_prefix([36 * 1024], "B"), in_prefix([0.0007], "s")
    ((1000000000.0, 'GB/s'), (1024.0, 'KiB'), (1e-06, 'us'))
    """
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0)
    if unit == CYCLES:
        scale = max(one for one in THOUSANDS if one <= max(largest, 1))
        return scale, THOUSANDS[scale] + CYCLES
    above, bar, below = unit.partition("/")
    known = {name: float(scale) for name, (base, scale) in SCALED.items() if base == above.replace("mm^2", "mm2")}
    if not known or not largest:
        return 1.0, "" if unit == COUNT else unit
    binary = not bar and all(number % 1024 == 0 for number in numbers)
    fitting = {name: scale for name, scale in known.items() if scale == 1 or (name[1:2] == "i") == binary}
    name = max((name for name in fitting if fitting[name] <= largest), key=lambda one: fitting[one], default=above)
    return known.get(name, 1.0), name.replace("mm2", "mm^2") + bar + below


def labelled(name: str, unit: str) -> str:
    """The name with its unit, as an axis has it."""
    return f"{name}, {unit}" if unit else name


def set_scale(axes: Axes, which: Literal["x", "y"], values: Sequence[float], *, is_setting: bool) -> None:
    """A logarithmic axis where values span more than two orders of magnitude, or are settings that are powers of two.

    Powers of two are the ticks themselves.
    """
    from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

    set_to, axis = (axes.set_xscale, axes.xaxis) if which == "x" else (axes.set_yscale, axes.yaxis)
    different = sorted(set(values))
    if not different or different[0] <= 0 or not all(map(math.isfinite, different)):
        return
    if is_setting and len(different) > 2 and all(math.log2(value).is_integer() for value in different):
        set_to("log", base=2)
        ticks = different[:: math.ceil(len(different) / MOST_TICKS)]
        axis.set_ticks(ticks, [f"{tick:,g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    elif different[-1] / different[0] > WIDE:
        set_to("log")
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())


def name_ticks(axes: Axes, which: Literal["x", "y"], texts: Sequence[str]) -> None:
    """Names at the places 0, 1, 2 ... of an axis: only some of many, and tilted where they are long."""
    most = MOST_TICKS if which == "x" else 2 * MOST_TICKS
    ticks = range(0, len(texts), math.ceil(len(texts) / most))
    names = [texts[tick] for tick in ticks]
    (axes.set_xticks if which == "x" else axes.set_yticks)(ticks, names)
    if which == "x" and sum(len(name) + 2 for name in names) > TICK_LETTERS:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
