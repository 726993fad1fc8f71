"""How full FIFOs are over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from archsim.errors import InputError, quoted
from archsim.report.figures import Figures, expect_report
from archsim.report.plot.columns import edges_of, ranges_in
from archsim.report.plot.drawing import DARK, in_prefix, picture, set_title, steps
from archsim.report.plot.timeline import column_told, name_rows, titles
from archsim.report.window import Window, part_of_run, timeline_of
from archsim.run.timeline import Stretch
from archsim.run.tokens import places_taken
from dataflow.errors import guess
from dataflow.task import UNLIMITED, Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FULLEST = 6  # are drawn, where none is named
MOST = 24
RANGE, LINE = "#56B4E9", "#0072B2"
Piece = tuple[int, int, np.ndarray, np.ndarray]  # start, end, when the places taken change, and to how many


@dataclass(frozen=True, slots=True)
class Filled:
    """A stream of a section, with the places taken in each stretch."""

    stream: Stream
    pieces: list[Piece]

    @property
    def peak(self) -> int:
        """The most places taken."""
        return max(int(values.max()) for *_, values in self.pieces)

    @property
    def mean_share(self) -> float:
        """The share of its places that is taken on average; 0 of one without a limit."""
        if self.stream.depth >= UNLIMITED:
            return 0.0
        lasting = [np.diff(np.append(times, end)) for _, end, times, _ in self.pieces]
        taken = sum(float((n * values).sum()) for n, (*_, values) in zip(lasting, self.pieces, strict=True))
        return taken / sum(float(n.sum()) for n in lasting) / self.stream.depth


def fifo_occupancy(
    report: Figures,
    streams: str | Iterable[str] = (),
    *,
    section: str = "",
    window: Window | None = None,
    axes: Axes | None = None,
) -> Axes:
    """The places taken of FIFOs over time, a row for each, up to its depth, in the first repetition of a section.

    `streams` are names, where needed "section: stream" as in `report.peaks`; without them the fullest on average, of
    those that carry bytes, if any does. Section and window are as in `timeline`. A firing takes the places of what it
    gives when it starts, and frees those of what it takes when it ends. Where a column of the picture has several
    levels, the range from the least to the most is filled. Draws into `axes`, where given, and returns the axes.

    Raises InputError for names that are not there, too many of them, and as `timeline`.
    """
    expect_report("fifo_occupancy: report", report)
    what = "fifo_occupancy"
    found, told = part_of_run(timeline_of(report, what=what), section, window, report.clock_hz, what=what)
    known = _filled(found)
    chosen = _chosen(known, [streams] if isinstance(streams, str) else list(streams))
    edges = edges_of(found[0].start, found[-1].end)
    axes = picture(1.2 + 0.62 * len(chosen), axes)
    scale, unit = in_prefix([float(edges[-1] / report.clock_hz)], "s")
    times = edges / (float(report.clock_hz) * scale)
    for place, name in enumerate(chosen):
        _draw(axes, place, known[name], edges, times, first=place == 0)
    several = len({stretch.section.name for stretch in found}) > 1
    short = [name if several else name.partition(": ")[2] for name in chosen]
    name_rows(axes, short)
    axes.set(xlim=(times[0], times[-1]), ylim=(len(chosen) - 0.45, -0.55))
    axes.set_xlabel(f"time, {unit}")
    axes.set_ylabel("places taken, up to the depth at the right")
    axes.spines["left"].set_visible(False)
    left = "" if streams else f"of {len(known)} streams the {len(chosen)} that are fullest on average"
    set_title(axes, *titles(report, told), left, column_told(edges, "filled is from the least to the most in it"))
    axes.figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    return axes


def _filled(found: Sequence[Stretch]) -> dict[str, Filled]:
    """The streams of the stretches by "section: stream"."""
    known: dict[str, Filled] = {}
    for stretch in found:
        streams, offset = stretch.section.streams, stretch.of.start
        for taken in places_taken(stretch.flat, stretch.recording):
            stream = streams[taken.stream]
            one = known.setdefault(f"{stretch.section.name}: {stream.name}", Filled(stream, []))
            one.pieces.append((stretch.start, stretch.end, taken.cycles + offset, taken.places))
    return known


def _chosen(known: dict[str, Filled], asked: list[str]) -> list[str]:
    """The names of the streams to draw. Raises InputError."""
    if not known:
        raise InputError("fifo_occupancy: no stream in this part of the run; name another section or window")
    if not asked:
        data = [name for name, one in known.items() if one.stream.bytes_per_token] or [*known]
        return sorted(data, key=lambda name: -known[name].mean_share)[:FULLEST]
    chosen: dict[str, None] = {}
    problems = []
    for name in asked:
        # A stream of one name may lie in several sections.
        meant = [full for full, one in known.items() if name in (full, one.stream.name)]
        if not meant:
            near = guess(str(name), [one.stream.name for one in known.values()], otherwise="there are")
            problems.append(f"fifo_occupancy: no stream {quoted(name)} in this part of the run; {near}")
        chosen.update(dict.fromkeys(meant))
    if problems:
        raise InputError(problems)
    if len(chosen) > MOST:
        raise InputError(f"fifo_occupancy: {len(chosen)} streams are named, of which {MOST} can be drawn; name fewer")
    return [*chosen]


def _draw(axes: Axes, place: int, one: Filled, edges: np.ndarray, times: np.ndarray, *, first: bool) -> None:
    low, high = ranges_in(edges, one.pieces)
    limited = one.stream.depth < UNLIMITED
    full = one.stream.depth if limited else max(one.peak, 1)
    floor = place + 0.4
    bottom, top = (floor - 0.8 * level / full for level in (low, high))
    ground = np.full(len(low), floor)
    steps(axes, bottom, times, baseline=ground, facecolor=RANGE, alpha=0.35, label="places taken" if first else "")
    varies = first and bool((low < high).any())
    steps(axes, top, times, baseline=bottom, facecolor=RANGE, edgecolor=LINE, hatch="////",
          label="from the least to the most" if varies else "")  # fmt: skip
    steps(axes, top, times, baseline=None, fill=False, edgecolor=LINE, linewidth=1)
    axes.axhline(floor, color=DARK, linewidth=0.5)
    if limited:
        axes.axhline(place - 0.4, color="#D55E00", linewidth=1.2, linestyle="--", label="depth" if first else "")
    told = f"{one.stream.depth:,}" if limited else f"no limit\npeak {one.peak:,}"
    axes.annotate(told, (1.005, place - 0.4), xycoords=("axes fraction", "data"), fontsize=7, va="center", color=DARK)

