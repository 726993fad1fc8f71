"""How much each setting of a sweep matters to a figure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.report.plot.drawing import BLUE, GREY, picture, set_title
from archsim.report.plot.points import Points, points_of
from archsim.report.rows.row import Row
from archsim.report.rows.table import Column, settings_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BINS = 8
CHANCE = 0.05  # the share by chance from which on a figure says that it has few rows
REST = "interactions and rest"


def importance(rows: Iterable[Row], *, figure: str, design: Design | None = None) -> Axes:
    """For each setting that varies, the share of a figure's variance that its values explain: its main effect.

    share = sum over values v of n_v (m_v - m)^2 / sum over rows of (f - m)^2, where f is the figure of a row, m its
    mean over all rows, m_v and n_v the mean and the number of the rows with the value v. Numbers of more than 8 values
    are taken in at most 8 bins of about as many rows each. Rows outside a limit count too; rows without the figure do
    not.

    Interactions of settings are in no share. In a grid the shares add up to at most one, and the bar "interactions and
    rest" is what they leave; elsewhere settings may vary together and share what they explain, so that the shares may
    exceed one and nothing is left. Where rows are no grid, (values - 1) / (rows - 1) are explained by chance alone; the
    title says so from 5 % on. `design` says which units settings have where rows are not a Sweep.

    Raises InputError where no setting varies, fewer than two rows have the figure, or all have the same.
    """
    points = points_of("importance", rows, design)
    measured = points.numbers("figure", figure)
    kept = [i for i in range(len(points.rows)) if points.ran(i) and measured.numbers[i] is not None]
    points = Points(points.of, tuple(points.rows[i] for i in kept), points.design)
    values = np.array([measured.numbers[i] for i in kept], dtype=float)
    varied = [one for path in settings_in(points.rows) if (one := points.column(path)).varies]
    if not varied:
        raise InputError(f"importance: no setting varies among the {len(kept):,} rows that have {quoted(figure)}")
    if np.ptp(values) == 0:
        raise InputError(
            f"importance: all {len(kept):,} rows have the same {quoted(figure)}; nothing is to be explained"
        )
    levels = {one.name: _levels(one) for one in varied}
    shares = {name: share_explained(levels[name], values) for name in levels}
    bars = sorted(shares.items(), key=lambda pair: pair[1])
    bars.insert(0, (REST, max(0.0, 1 - sum(shares.values()))))
    axes = picture(1.1 + 0.42 * len(bars))
    patches = axes.barh([name for name, _ in bars], [100 * share for _, share in bars], color=BLUE)
    patches[0].set_color(GREY)
    axes.bar_label(patches, [f"{share:.0%}" for _, share in bars], padding=4)
    axes.set_xlim(0, 115)
    axes.set_xlabel("share of its variance that a setting explains alone, %")
    set_title(axes, f"{points.name}what {figure} depends on, over {len(kept):,} points", _doubt(levels, len(kept)))
    return axes


def share_explained(levels: Sequence[Hashable], values: np.ndarray) -> float:
    """The variance of the means by level over the total variance.

    >>> share_explained(["a", "a", "b", "b"], np.array([1.0, 3.0, 5.0, 7.0]))
    0.8
    """
    mean = values.mean()
    places: dict[Hashable, list[int]] = {}
    for place, level in enumerate(levels):
        places.setdefault(level, []).append(place)
    between = math.fsum(len(of) * (values[of].mean() - mean) ** 2 for of in places.values())
    return float(between / math.fsum((values - mean) ** 2))


def _levels(one: Column) -> list[Hashable]:
    """The value of each row, or the bin that it lies in."""
    if len(set(one.keys)) <= MOST_BINS or None in one.numbers:
        return list(one.keys)
    numbers = np.array(one.numbers, dtype=float)
    edges = np.quantile(numbers, np.linspace(0, 1, MOST_BINS + 1)[1:-1], method="lower")
    return [int(found) for found in np.searchsorted(edges, numbers, side="left")]


def _doubt(levels: dict[str, list[Hashable]], n: int) -> str:
    """What to say of few rows; nothing of a grid, in which other settings vary alike at each value."""
    counts = {name: len(set(of)) for name, of in levels.items()}
    pairs = Counter(zip(*levels.values(), strict=True))
    if n == math.prod(counts.values()) * min(pairs.values()) and len(set(pairs.values())) == 1:
        return ""
    name, most = max(counts.items(), key=lambda pair: pair[1])
    chance = (most - 1) / (n - 1)
    return "" if chance < CHANCE else f"few rows: {most} values of {name} explain {chance:.0%} by chance alone"
