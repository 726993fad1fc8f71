"""When units are busy, wait or are idle, and how full FIFOs are, over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from archsim.engine.flat import FlatUnit
from archsim.engine.recording import BLOCKED, STARVED
from archsim.report.figures import Figures, expect_report
from archsim.report.plot.columns import edges_of, sums_in
from archsim.report.plot.drawing import in_prefix, picture, set_title, steps
from archsim.report.window import Window, part_of_run, timeline_of
from archsim.run.timeline import Stretch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 40  # of servers on their own; of more, a row is a unit of the design
NAMED_SHARE = 0.06  # of the window, from which on a firing is named
ROW_LETTERS = 32  # of a line of a row's name
LETTERS = 110  # of a firing's name across the whole window
# What the legend calls each share of a column, its colour, its hatch.
BUSY_STYLE, IDLE_STYLE = ("busy", "#0072B2", ""), ("idle", "#eeeeee", "")
WAIT_STYLES = {STARVED: ("starved: waits for input", "#56B4E9", "\\\\\\\\"),
               BLOCKED: ("blocked: waits for room", "#D55E00", "xxxx")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A unit or a server of one: its servers, and the server-cycles of each column that it is busy, and waits."""

    name: str
    servers: int
    busy: np.ndarray
    waits: dict[int, np.ndarray]


def timeline(report: Figures, *, section: str = "", window: Window | None = None, axes: Axes | None = None) -> Axes:
    """A row for each unit: when it is busy, starved, blocked or idle, in the first repetition of a section.

    By default it is the section that takes the most time; instead `window` is START..END or a pair, in cycles or times.
    Time is cut into columns of about a pixel; the heights in a column are shares of its time, so that nothing narrow is
    lost or grows. A unit whose tasks are placed has a row for each, if there are few. Of a phase of many steps the last
    step is shown. Draws into `axes`, where given, and returns the axes.

    Raises InputError for a section or a window that is none, and a report without an origin.
    """
    expect_report("timeline: report", report)
    found, told = part_of_run(timeline_of(report, what="timeline"), section, window, report.clock_hz, what="timeline")
    edges = edges_of(found[0].start, found[-1].end)
    rows = _rows(found, edges)
    axes = picture(1.4 + 0.34 * len(rows), axes)
    scale, unit = in_prefix([float(edges[-1] / report.clock_hz)], "s")
    times = edges / (float(report.clock_hz) * scale)
    for place, row in enumerate(rows):
        _draw_row(axes, place, row, edges, times, first=place == 0)
    _name_firings(axes, found, rows, edges, times)
    name_rows(axes, [row.name for row in rows])
    axes.set(xlim=(times[0], times[-1]), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel(f"time, {unit}")
    set_title(axes, *titles(report, told), _about(edges, found))
    axes.figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=8)
    return axes


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names at the rows 0, 1, 2 ..., long ones on two lines."""
    long = len(names) > 20 or max(map(len, names)) > ROW_LETTERS
    told = [fill(name, ROW_LETTERS, max_lines=2, placeholder=" …") for name in names]
    axes.set_yticks(range(len(names)), told, fontsize=6 if long else 8)
    axes.tick_params(axis="y", length=0)


def titles(report: Figures, told: str) -> list[str]:
    """The first lines of a title: the run, and which part of it is drawn."""
    step = f"{report.step} of " if report.step else ""
    return [f"{report.model} on {report.design}: {step}{' '.join(report.phase.title())}", told]


def column_told(edges: np.ndarray, what: str) -> str:
    """What a column stands for, where it is wider than a cycle."""
    wide = int(np.diff(edges).max())
    return f"a column is {wide:,} cycles; {what}" if wide > 1 else ""


def _about(edges: np.ndarray, found: Sequence[Stretch]) -> str:
    return column_told(edges, "its heights are shares of that time")


def _rows(found: Sequence[Stretch], edges: np.ndarray) -> list[Row]:
    """The rows in the order in which sections name their units, which is that of the design."""
    row_of: dict[str, str] = {}
    for stretch in found:
        row_of.update((unit.name, unit.of) for unit in stretch.flat.units)
    if len(row_of) <= MOST_ROWS:
        row_of = {name: name for name in row_of}
    n = len(edges) - 1
    rows = {
        name: Row(name, 0, np.zeros(n, dtype=np.int64), {cause: np.zeros(n, dtype=np.int64) for cause in WAIT_STYLES})
        for name in row_of.values()
    }
    for stretch in found:
        here = dict.fromkeys(rows, 0)
        for unit, firings, waits in _by_unit(stretch):
            name = row_of[unit.name]
            here[name] += unit.count * unit.gang
            _add(stretch, unit.gang, firings, waits, rows[name], edges)
        rows = {name: replace(row, servers=max(row.servers, here[name])) for name, row in rows.items()}
    return [*rows.values()]


def _by_unit(stretch: Stretch) -> Iterator[tuple[FlatUnit, np.ndarray, np.ndarray]]:
    """Each unit with its firings and its waits."""
    flat, firings, waits = stretch.flat, stretch.recording.firings, stretch.recording.waits
    unit_of = np.array([task.unit for task in flat.tasks], dtype=np.int64)[firings["task"]]
    order, places = np.argsort(unit_of, kind="stable"), np.arange(len(flat.units) + 1)
    ends = np.searchsorted(unit_of[order], places)
    for index, unit in enumerate(flat.units):
        yield unit, firings[order[ends[index] : ends[index + 1]]], waits[waits["unit"] == index]


def _add(
    stretch: Stretch, gang: int, firings: np.ndarray, waits: np.ndarray, row: Row, edges: np.ndarray
) -> None:
    """Adds to the columns of a row what a unit does in a stretch."""
    spans = [(row.busy, firings, np.full(len(firings), gang))]
    for cause, sums in row.waits.items():
        mine = waits[waits["cause"] == cause]
        spans.append((sums, mine, mine["servers"]))
    recording = stretch.recording
    left = stretch.of.start - edges[0]  # from the left edge, so that products of cycles and servers stay small
    for sums, spent, weights in spans:
        starts = np.maximum(spent["start"], recording.start) + left
        ends = np.minimum(spent["end"], recording.end) + left
        sums += sums_in(edges - edges[0], starts, ends, weights)


def _draw_row(axes: Axes, place: int, row: Row, edges: np.ndarray, times: np.ndarray, *, first: bool) -> None:
    shares = [(BUSY_STYLE, row.busy), *((WAIT_STYLES[cause], sums) for cause, sums in row.waits.items())]
    whole = np.diff(edges) * row.servers
    below = np.full(len(whole), place + 0.4)
    for (label, colour, hatch), sums in shares:
        above = below - 0.8 * sums / whole
        steps(axes, above, times, baseline=below, facecolor=colour, hatch=hatch, edgecolor="white",
              label=label if first else "")  # fmt: skip
        below = above
    label, colour, _ = IDLE_STYLE
    top = np.full(len(whole), place - 0.4)
    steps(axes, top, times, baseline=below, facecolor=colour, label=label if first else "")


def _name_firings(
    axes: Axes, found: Iterable[Stretch], rows: Sequence[Row], edges: np.ndarray, times: np.ndarray
) -> None:
    """The task of each long firing of a unit that does one at a time."""
    places = {row.name: place for place, row in enumerate(rows)}
    length, per_cycle = edges[-1] - edges[0], (times[-1] - times[0]) / (edges[-1] - edges[0])
    for stretch in found:
        recording, flat = stretch.recording, stretch.flat
        firings = recording.firings
        for task, _, start, end in firings[firings["end"] - firings["start"] >= NAMED_SHARE * length].tolist():
            unit, name = flat.units[flat.tasks[task].unit], flat.tasks[task].name
            first, last = max(start, recording.start), min(end, recording.end)
            most = int(LETTERS * (last - first) / length)
            if unit.count > 1 or unit.name not in places or last - first < NAMED_SHARE * length:
                continue
            middle = times[0] + ((first + last) / 2 + stretch.of.start - edges[0]) * per_cycle
            axes.text(middle, places[unit.name], name if len(name) <= most else name[: most - 1] + "…", color="white",
                      fontsize=6, ha="center", va="center")  # fmt: skip
