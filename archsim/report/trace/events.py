"""The events of a trace, each as one line of JSON: slices, flows and counters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from archsim.engine.recording import CAUSES
from archsim.files.json_text import json_line
from archsim.report.figures import Figures
from archsim.report.trace.axis import Axis, microseconds
from archsim.report.trace.tracks import WAITS, lanes, lanes_of, tracks
from archsim.run.timeline import Stretch, Timeline
from archsim.run.tokens import handed_over, places_taken
from dataflow.task import UNLIMITED, Task

RUN, UNITS, FIFOS = 1, 2, 3  # the processes
# Names of colours that chrome://tracing knows; Perfetto takes a colour by the name of a slice.
COLOURS = {"starved": "yellow", "blocked": "terrible"}


quoted = cache(json_line)  # names come again and again


def named(process: int, thread: int, what: str, name: str, order: int) -> list[str]:
    """The name of a process or a thread ("process", "thread"), and its place among the others."""
    head = f'{{"ph":"M","pid":{process},"tid":{thread},"name":"{what}'
    return [f'{head}_name","args":{{"name":{quoted(name)}}}}}', f'{head}_sort_index","args":{{"sort_index":{order}}}}}']


def sliced(axis: Axis, track: str, name: str, start: int, end: int, rest: str) -> str:
    """A slice of a track between two cycles."""
    first = axis.nanoseconds(start)
    times = f'"ts":{microseconds(first)},"dur":{microseconds(axis.nanoseconds(end) - first)}'
    return f'{{"ph":"X",{track},{times},"name":{quoted(name)},{rest}}}'


def events_of_run(report: Figures, timeline: Timeline, axis: Axis) -> Iterator[str]:
    """The sections, repetition by repetition, and the ops of the whole run, side by side where they overlap."""
    yield from named(RUN, 0, "process", "run: sections and ops", RUN)
    yield from named(RUN, 1, "thread", "sections", 1)
    sections = timeline.schedule.sections
    for one in timeline.passes:
        section = sections[one.place]
        args = f'"repetition":{one.repetition + 1},"repetitions":{section.repeat},{_cycles(one.start, one.end)}'
        rest = f'"cat":"section","args":{{{args}}}'
        yield sliced(axis, f'"pid":{RUN},"tid":1', section.name, one.start, one.end, rest)
    ops = sorted(report.ops, key=lambda op: (op.start_cycle, -op.end_cycle))
    places = lanes([(op.start_cycle, op.end_cycle) for op in ops])
    for lane in range(max(places, default=-1) + 1):
        yield from named(RUN, 2 + lane, "thread", f"ops [{lane}]", 2 + lane)
    for op, lane in zip(ops, places, strict=True):
        args = f'"kind":{quoted(op.kind)},"unit":{quoted(op.unit)},"busy_cycles":{op.busy_cycles}'
        rest = f'"cat":"op","args":{{{args},{_cycles(op.start_cycle, op.end_cycle)}}}'
        yield sliced(axis, f'"pid":{RUN},"tid":{2 + lane}', op.name, op.start_cycle, op.end_cycle, rest)


def events_of_stretches(stretches: tuple[Stretch, ...], timeline: Timeline, axis: Axis) -> Iterator[str]:
    """The firings, waits, tokens and places of the stretches."""
    by_lane = [lanes_of(stretch) for stretch in stretches]
    names = tracks(stretches, by_lane, timeline.design)
    threads = {track: i + 1 for i, track in enumerate(names)}
    yield from named(UNITS, 0, "process", "units: firings and waits", UNITS)
    for track, name in names.items():
        yield from named(UNITS, threads[track], "thread", name, threads[track])
    yield from named(FIFOS, 0, "process", "FIFOs: places taken (0 outside the recorded stretches)", FIFOS)
    flows = 0
    for stretch, lane in zip(stretches, by_lane, strict=True):
        thread_of = _threads(stretch, lane, threads)
        yield from _firings(stretch, thread_of, axis)
        yield from _waits(stretch, threads, axis)
        for line in _flows(stretch, thread_of, axis, flows):
            flows += 1
            yield line
        yield from _places(stretch, axis)


def _threads(stretch: Stretch, lane: np.ndarray, threads: dict[tuple[str, int], int]) -> list[int]:
    """The thread of each firing."""
    units = [stretch.flat.units[task.unit].name for task in stretch.flat.tasks]
    tasks = stretch.recording.firings["task"].tolist()
    return [threads[units[task], place] for task, place in zip(tasks, lane.tolist(), strict=True)]


def _firings(stretch: Stretch, thread_of: list[int], axis: Axis) -> Iterator[str]:
    recording, offset = stretch.recording, stretch.of.start
    tasks = [(task.name, _served(task, stretch.of.repetition)) for task in stretch.section.tasks]
    for (task, number, start, end), thread in zip(recording.firings.tolist(), thread_of, strict=True):
        name, served = tasks[task]
        first, last = max(start, recording.start), min(end, recording.end)
        args = f'{served}"firing":{number},{_cycles(offset + first, offset + last)}'
        if (first, last) != (start, end):
            args += f',"cut_from":"cycles {offset + start} to {offset + end}"'
        rest = f'"cat":"busy","args":{{{args}}}'
        yield sliced(axis, f'"pid":{UNITS},"tid":{thread}', name, offset + first, offset + last, rest)


def _served(task: Task, repetition: int) -> str:
    """The ops that a task serves, and the part of the run that it counts for, where it has them."""
    told = {"ops": ", ".join(served.ops[repetition] for served in task.serves), "part": task.part}
    return "".join(f'"{what}":{quoted(text)},' for what, text in told.items() if text)


def _waits(stretch: Stretch, threads: dict[tuple[str, int], int], axis: Axis) -> Iterator[str]:
    flat, offset = stretch.flat, stretch.of.start
    for unit, kind, stream, start, end, servers in stretch.recording.waits.tolist():
        cause, track = CAUSES[kind], f'"pid":{UNITS},"tid":{threads[flat.units[unit].name, WAITS]}'
        name = f"{cause}: {flat.streams[stream].name}"
        args = f'"servers":{servers},{_cycles(offset + start, offset + end)}'
        rest = f'"cat":"{cause}","cname":"{COLOURS[cause]}","args":{{{args}}}'
        yield sliced(axis, track, name, offset + start, offset + end, rest)


def _flows(stretch: Stretch, thread_of: list[int], axis: Axis, before: int) -> Iterator[str]:
    """A line for each flow: from the last nanosecond of the firing that gives to the first of the one that takes."""
    recording, offset = stretch.recording, stretch.of.start
    starts = (offset + np.maximum(recording.firings["start"], recording.start)).tolist()
    ends = (offset + np.minimum(recording.firings["end"], recording.end)).tolist()
    number = before
    for handed in handed_over(stretch.flat, recording):
        head = f'"cat":"tokens","name":{quoted(stretch.flat.streams[handed.stream].name)}'
        for giver, taker, tokens in zip(
            handed.givers.tolist(), handed.takers.tolist(), handed.tokens.tolist(), strict=True
        ):
            number += 1
            given = max(axis.nanoseconds(ends[giver]) - 1, axis.nanoseconds(starts[giver]))
            start = f'"tid":{thread_of[giver]},"ts":{microseconds(given)},"args":{{"tokens":{tokens}}}'
            end = f'"tid":{thread_of[taker]},"ts":{microseconds(axis.nanoseconds(starts[taker]))}'
            yield (
                f'{{"ph":"s","id":{number},"pid":{UNITS},{start},{head}}},\n'
                f'{{"ph":"f","bp":"e","id":{number},"pid":{UNITS},{end},{head}}}'
            )


def _places(stretch: Stretch, axis: Axis) -> Iterator[str]:
    offset = stretch.of.start
    for taken in places_taken(stretch.flat, stretch.recording):
        stream = stretch.flat.streams[taken.stream]
        depth = "no limit" if stream.depth >= UNLIMITED else f"depth {stream.depth}"
        head = f'{{"ph":"C","pid":{FIFOS},"name":{quoted(f"{stretch.section.name}: {stream.name} ({depth})")}'
        levels = [*zip(taken.cycles.tolist(), taken.places.tolist(), strict=True)]
        if levels[-1][1]:  # else the last level would go on to the end of the trace
            levels.append((stretch.recording.end, 0))
        for cycle, places in levels:
            yield f'{head},"ts":{microseconds(axis.nanoseconds(offset + cycle))},"args":{{"places":{places}}}}}'


def _cycles(start: int, end: int) -> str:
    return f'"start_cycle":{start},"cycles":{end - start}'
