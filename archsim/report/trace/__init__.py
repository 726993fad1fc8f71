"""A trace of a run for timeline viewers, such as Perfetto: the Chrome trace event format, as JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from archsim.errors import InputError, quoted
from archsim.files.json_text import json_line, json_text
from archsim.files.whole import Kind, check_place, whole_file
from archsim.quantity import show
from archsim.report.figures import Figures
from archsim.report.trace.axis import Axis
from archsim.report.trace.contents import Contents, by_default, within_window
from archsim.report.trace.events import RUN, events_of_run, events_of_stretches
from archsim.report.window import Window, read_window, timeline_of, within
from archsim.run.timeline import Timeline
from archsim.version import __version__

WHERE = "trace"
HEAD = '{"displayTimeUnit":"ns",\n"traceEvents":[\n'
TAIL = re.compile(rb'\n "archsim": "[^"\n]+"\n}}\n$')
LAST = 200  # bytes of a trace, which hold that line


def _is_trace(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.read(len(HEAD)) != HEAD.encode():
            return False
        file.seek(max(0, path.stat().st_size - LAST))
        return TAIL.search(file.read()) is not None


TRACE = Kind("trace", _is_trace)


def check_trace(path: str | None, window: str | None, clock_hz: Fraction, *, force: bool) -> None:
    """Raises InputError for a window that is none or has no file, and where `write_trace` cannot write."""
    if window is not None:
        if path is None:
            raise InputError(f"--trace-window {window}: there is no trace to cut; give --trace FILE beside it")
        read_window(window, clock_hz, what="--trace-window")
    if path is not None:
        check_place(path, where="--trace", over=None if force else TRACE)


def write_trace(
    report: Figures, path: str | os.PathLike[str], *, window: Window | None = None, force: bool = False, step: str = ""
) -> str:
    """Writes the trace of a run and returns in words what of the run is in it; equal runs give equal bytes.

    Without a window it has the first repetition of each section; where that is too much, the first cycles of each.
    It takes the place of an earlier trace, and with `force` of any file. `step` says of which longer run this one is a
    part.

    Raises InputError for a window that is none, is beyond the run or too large, a path that cannot be written, a file
    there that is no trace, and a report without an origin.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{WHERE}: expected a path, got {quoted(path)}")
    timeline, clock = timeline_of(report, what=WHERE), report.clock_hz
    if window is None:
        contents = by_default(timeline)
    else:
        asked = read_window(window, clock, what=f"{WHERE}: window")
        contents = within_window(timeline, *within(asked, timeline, clock, what=f"{WHERE}: window"))
    told = contents.told + (f", {step}" if step else "")
    about = _about(report, contents, told, Axis(clock))
    over = None if force else TRACE
    with whole_file(path, where=WHERE, over=over) as part, part.open("w", encoding="ascii", newline="\n") as file:
        file.write(HEAD)
        for i, line in enumerate(_lines(report, timeline, contents, told)):
            file.write(",\n" + line if i else line)
        file.write(f'\n],\n"otherData":{json_text(about)}}}\n')
    return told


def _lines(report: Figures, timeline: Timeline, contents: Contents, told: str) -> Iterator[str]:
    axis = Axis(report.clock_hz)
    title = " ".join([report.design, report.model, *report.phase.title()])
    labels = f"{title}; clock {show(report.clock_hz, 'frequency')}; the axis is {axis.told}; recorded: {told}"
    yield f'{{"ph":"M","pid":{RUN},"tid":0,"name":"process_labels","args":{{"labels":{json_line(labels)}}}}}'
    yield from events_of_run(report, timeline, axis)
    yield from events_of_stretches(contents.stretches, timeline, axis)


def _about(report: Figures, contents: Contents, told: str, axis: Axis) -> dict[str, Any]:
    return {
        "design": report.design,
        "model": report.model,
        "phase": " ".join(report.phase.title()),
        "clock_hz": float(report.clock_hz),
        "cycles": report.cycles,
        "axis": axis.told,
        "told": told,
        "recorded": [
            {
                "section": stretch.section.name,
                "repetition": stretch.of.repetition + 1,
                "start_cycle": stretch.start,
                "end_cycle": stretch.end,
                "whole": stretch.is_whole,
            }
            for stretch in contents.stretches
        ],
        "simplified": list(report.caveats),
        "assumed": len(report.assumed),
        "archsim": __version__,
    }
