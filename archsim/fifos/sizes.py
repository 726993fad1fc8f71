"""Minimal FIFO depths: the fewest places with which a schedule reaches a target, each proven by a run with one less.

Reads the target and puts the answer together. search.py finds the depths, text.py prints them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from archsim.design.depths import setting_of
from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.fifos.depths import DEADLOCK, FLOOR, FifoSize, MinimalDepths
from archsim.fifos.search import DepthByQueue, DepthTrials, Search
from archsim.fifos.text import as_json, html, screen
from archsim.quantity import parse, show
from archsim.units import Host
from archsim.units.fifo_memory import RESOURCES, FifoMemory, fifo_memory
from archsim.workers.pool import check_jobs
from dataflow.errors import expect
from dataflow.schedule import Schedule
from dataflow.task import UNLIMITED

FULL_RATE = "full rate"
CYCLES = re.compile(r"([1-9][0-9]{0,17})(?: cycles?)?")


class FifoSizes(MinimalDepths):
    """Minimal depths that print themselves, as text and as HTML."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        """The answer as plain data; null where a depth is unlimited, a run deadlocks or nothing is known."""
        return as_json(self)

    def __str__(self) -> str:
        return screen(self)

    def __repr__(self) -> str:
        return f"<FifoSizes {self.design} {self.model}: {len(self.fifos)} queues, {self.bytes} bytes>"

    def _repr_html_(self) -> str:
        return html(self)


def size_fifos(
    schedule: Schedule,
    design: Design,
    *,
    target: str | int = FULL_RATE,
    engine: str = "auto",
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> FifoSizes:
    """The minimal depths of all queues together at which the schedule reaches the target on the design.

    Several answers may be minimal; in this one, the queues that save most bytes were shrunk first.

    Parameters
    ----------
    target : "full rate" for the cycles with unlimited queues; a number of cycles, also as text, of all sections with
        their repetitions; or a rate of tokens such as "25 token/s".
    jobs : processes that run schedules side by side; the answer is the same.
    progress : called with a line of text after each run.

    Raises
    ------
    InputError
        the target cannot be read, no depths reach it, or it is a rate and the graph makes no tokens.
    Deadlock
        the schedule cannot go on at any depths.
    """
    expect("schedule", schedule, Schedule)
    expect("design", design, Design)
    written = CYCLES.fullmatch(target) if isinstance(target, str) else None
    target = int(written[1]) if written else target
    asked = _target_cycles(target, schedule, design)
    with DepthTrials(schedule, design, engine, progress or (lambda _: None), check_jobs(jobs)) as trials:
        return _sized(trials, schedule, design, target, asked)


def _sized(
    trials: DepthTrials, schedule: Schedule, design: Design, target: str | int, asked: int | None
) -> FifoSizes:
    """The answer of these trials; `asked` are the cycles of the target, None for full rate."""
    unbounded, peaks = trials.unbounded()
    at_host = _at_host(schedule, design, trials)
    widths = {name: max(s.bytes_per_token for s in streams) for name, streams in schedule.fifos().items()}
    # Places at the host take nothing of the FPGA: counted as no bytes, those queues shrink last.
    search = Search(trials, schedule, {name: 0 if name in at_host else width for name, width in widths.items()})
    # A unit with a single task has nothing to choose.
    first_come = tuple(sorted({u.of for f in trials.flats for u in f.units if u.order is None and len(u.tasks) > 1}))
    best, start = unbounded, {name: max(s.depth for s in streams) for name, streams in schedule.fifos().items()}
    if first_come:
        best, start = search.fastest(start, peaks, unbounded)
    limit = best if asked is None else asked
    if limit < best:
        given = quoted(target) if isinstance(target, str) else f"{target:,} cycles"
        there = _with_rate(best, schedule, design)
        raise InputError(f"target: {given} is out of reach of any depths known: the fastest run takes {there}")
    depths = search.minimal(start if best < unbounded else search.enough(peaks, unbounded), best)
    if limit > best:
        # Several starts, the smallest answer wins: from the depths of full rate no queue gets deeper; from the peaks
        # the queues that save most bytes may shrink further.
        starts = [depths, *([search.enough(peaks, limit)] if limit >= unbounded else [])]
        depths = min((search.minimal(one, limit) for one in starts), key=search.bytes_at)
    cycles = trials.cycles(depths)
    assert cycles is not None, "depths that hold a number of cycles run"
    fifos = tuple(_fifos(schedule, design, search, peaks, depths, at_host))
    settable = {f.name: f.setting for f in fifos if f.setting is not None}
    values: dict[str, int] = {}
    for name, setting in settable.items():
        values[setting.path] = max(values.get(setting.path, 0), setting.value(depths[name]))
    # What is written gives all places that fit, which may be more than a minimal depth.
    set_depths = {name: setting.depth(values[setting.path]) for name, setting in settable.items()}
    said = dict.fromkeys((*design.approximated, *schedule.graph.approximated, *schedule.approximated))
    return FifoSizes(
        design=design.name,
        model=schedule.graph.name,
        phase=schedule.graph.phase,
        clock_hz=design.clock,
        target=target,
        target_cycles=limit,
        fifos=fifos,
        cycles_now=trials.cycles({}),
        unbounded_cycles=unbounded,
        cycles=cycles,
        first_come=first_come,
        settings=values,
        set_cycles=trials.cycles(set_depths) if values else None,
        budget=_budget(design),
        runs=trials.count,
        firings=trials.firings,
        schedule=replace(schedule.with_depths(depths), approximated=tuple(said)),
    )


def _target_cycles(target: str | int, schedule: Schedule, design: Design) -> int | None:
    """The cycles of the target; None for full rate, which only a run can tell."""
    right = "'full rate', a number of cycles such as 300000, or a rate of tokens such as '25 token/s'"
    if target == FULL_RATE:
        return None
    # Not isinstance: in Python True is an int.
    if type(target) is int and target > 0:
        return target
    if not isinstance(target, str) or not any(c.isdigit() for c in target):
        raise InputError(f"target: expected {right}, got {quoted(target)}")
    try:
        rate = parse(target, "rate of tokens", clock_hz=design.clock)
    except InputError as error:
        raise InputError(f"target: {error}; a target is {right}") from None
    tokens: int | None = schedule.graph.tokens
    if tokens is None:
        graph = schedule.graph.name
        raise InputError(f"target: graph '{graph}' makes no tokens, got {quoted(target)}; give a number of cycles")
    # Rounded down: with one cycle more the rate would be missed.
    return int(tokens * design.clock / rate)


def _with_rate(cycles: int, schedule: Schedule, design: Design) -> str:
    tokens = schedule.graph.tokens
    if tokens is None or not cycles:
        return f"{cycles:,} cycles"
    return f"{cycles:,} cycles ({show(tokens * design.clock / cycles, 'rate of tokens')})"


def _budget(design: Design) -> Mapping[str, Fraction] | None:
    """What the FPGA has of the resources that hold queues; None where the design does not give them."""
    if design.resources is None or not set(RESOURCES) <= set(design.resources.budget):
        return None
    return {resource: design.resources.budget[resource] for resource in RESOURCES}


def _fifos(
    schedule: Schedule, design: Design, search: Search, peaks: DepthByQueue, depths: DepthByQueue, at_host: set[str]
) -> Iterator[FifoSize]:
    proofs = search.one_less(depths)
    # A token wider than every link, such as a burst or a row, is stored in words as wide as the widest link.
    word_bits = max((link.token_bits for link in design.links.values()), default=None)

    def memory(name: str, depth: int) -> FifoMemory | None:
        if _budget(design) is None or name in at_host or depth == UNLIMITED:
            return None
        return fifo_memory(depth, 8 * search.widths[name], word_bits=word_bits)

    for name, streams in schedule.fifos().items():
        minimal, given = depths[name], max(s.depth for s in streams)
        less = proofs.get(name)
        # The queue has one depth for all its streams: alone it gets its minimal one, and never less than it was given.
        short = min(s.depth for s in streams) < minimal
        yield FifoSize(
            name=name, streams=streams, floor=search.floors[name], peak=peaks[name], minimal=minimal,
            setting=setting_of(design, streams[0]),
            proof=FLOOR if name not in proofs else DEADLOCK if less is None else less,
            alone_cycles=search.trials.cycles({name: max(given, minimal)}) if short else None, at_host=name in at_host,
            memory_now=memory(name, given), memory=memory(name, minimal),
        )  # fmt: skip


def _at_host(schedule: Schedule, design: Design, trials: DepthTrials) -> set[str]:
    """Queues that a host's tasks fill or empty: they lie in its memory, not in the FPGA."""
    found = set()
    for section, queues in zip(schedule.sections, trials.queues, strict=True):
        hosts = {task.name for task in section.tasks if isinstance(design.units[task.unit], Host)}
        ends = {name: {source, *sinks} for name, (source, sinks) in section.ends.items()}
        found |= {q for s, q in zip(section.streams, queues, strict=True) if hosts & ends[s.name]}
    return found
