"""Minimal FIFO depths: the fewest places with which a schedule reaches a target, each proven by a run with one less.

What the answer holds and how a target is read. fifo_search.py finds the depths, fifo_text.py prints them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from archsim.errors import InputError, quoted
from archsim.fifos import text as fifo_text
from archsim.fifos.memory import RESOURCES, FifoMemory, fifo_memory
from archsim.fifos.search import Runs, Search
from archsim.quantity import parse, show
from archsim.units import Host
from dataflow.schedule import Schedule
from dataflow.task import UNLIMITED, Stream

if TYPE_CHECKING:
    from archsim.design.design import Design

FULL_RATE = "full rate"
CYCLES = re.compile(r"([1-9][0-9]{0,17})(?: cycles?)?")
DEADLOCK = "deadlock"
FLOOR = "refused"  # by the schedule: a firing needs so many places


@dataclass(frozen=True, slots=True)
class FifoSize:
    """A queue of the hardware and the streams, as given, that use it in turn.

    `floor` is the least depth that the schedule's rules allow; `peak` the most places taken where no queue ever fills.
    `proof` is what one place less does: the cycles it takes, DEADLOCK, or FLOOR where the schedule refuses it.
    `alone_cycles` is what the given schedule takes when this queue alone gets its minimal depth: None where it is that
    deep, or where that leaves a deadlock. `at_host` marks one that lies in a host's memory, not in the part.
    `memory_now` and `memory` are None there, where the queue is unlimited, and where no budget names the part's kinds.
    """

    name: str
    streams: tuple[Stream, ...]
    floor: int
    peak: int
    minimal: int
    proof: int | str
    alone_cycles: int | None
    at_host: bool
    memory_now: FifoMemory | None
    memory: FifoMemory | None

    @property
    def depth(self) -> int:
        """Places as given; where the streams differ, the most."""
        return max(s.depth for s in self.streams)

    @property
    def short(self) -> bool:
        """Whether a stream has fewer places than the minimal depth."""
        return min(s.depth for s in self.streams) < self.minimal

    @property
    def bytes_per_token(self) -> int:
        """Width of a place: the widest token's."""
        return max(s.bytes_per_token for s in self.streams)


@dataclass(frozen=True, slots=True, repr=False)
class FifoSizes:
    """The minimal depths of all queues of a schedule together.

    Depths are in tokens of the schedule, which may be several of a link's in the design, or a burst, or a row, and hold
    the registers of a pipeline whose results they take; the mapper says so. `cycles_now` is None where the given
    schedule deadlocks; `schedule` is the one with the minimal depths, `cycles` what it takes.
    `first_come` names units that choose between tasks: only there one place more can be slower, so that the proof, one
    place less, does not exclude still fewer. Elsewhere no depths that are nowhere above these reach the target.
    `runs` counts sections that were run, `firings` theirs. `budget` is what the part has for queues, None if not known.
    """

    design: str
    model: str
    about: Mapping[str, Any]
    clock_hz: Fraction
    target: str | int
    target_cycles: int
    fifos: tuple[FifoSize, ...]
    cycles_now: int | None
    unbounded_cycles: int
    cycles: int
    first_come: tuple[str, ...]
    budget: Mapping[str, Fraction] | None
    runs: int
    firings: int
    schedule: Schedule

    @property
    def bytes_now(self) -> int | None:
        """Bytes of all places of the part as given; None where a queue is unlimited."""
        if any(f.depth == UNLIMITED for f in self.fifos if not f.at_host):
            return None
        return sum(f.depth * f.bytes_per_token for f in self.fifos if not f.at_host)

    @property
    def bytes(self) -> int:
        """Bytes of all places of the part at the minimal depths."""
        return sum(f.minimal * f.bytes_per_token for f in self.fifos if not f.at_host)

    @property
    def memory_now(self) -> FifoMemory | None:
        """What all queues of the part take as given; None where one is unlimited or nothing is known."""
        if self.budget is None or self.bytes_now is None:
            return None
        return sum((f.memory_now for f in self.fifos if f.memory_now), FifoMemory())

    @property
    def memory(self) -> FifoMemory | None:
        """What all queues of the part take at the minimal depths; None where nothing is known."""
        return sum((f.memory for f in self.fifos if f.memory), FifoMemory()) if self.budget is not None else None

    @property
    def reached(self) -> bool:
        """Whether the given schedule reaches the target."""
        return self.cycles_now is not None and self.cycles_now <= self.target_cycles

    @property
    def held_back_by(self) -> tuple[FifoSize, ...]:
        """Queues of which each alone at its minimal depth makes a given schedule that misses the target faster."""
        found = [f for f in self.fifos if self.saved(f)] if not self.reached else []
        return tuple(sorted(found, key=lambda f: (f.alone_cycles, f.name)))

    def saved(self, fifo: FifoSize) -> int | float:
        """Cycles that this queue alone at its minimal depth saves the given schedule; inf where it ends a deadlock."""
        if fifo.alone_cycles is None:
            return 0
        return float("inf") if self.cycles_now is None else max(0, self.cycles_now - fifo.alone_cycles)

    def fifo(self, name: str) -> FifoSize:
        """The queue of this name."""
        return next(f for f in self.fifos if f.name == name)

    def as_json(self) -> dict[str, Any]:
        """The answer as plain data; null where a depth is unlimited, a run deadlocks or nothing is known."""
        return fifo_text.as_json(self)

    def __str__(self) -> str:
        return fifo_text.screen(self)

    def __repr__(self) -> str:
        return f"<FifoSizes {self.design} {self.model}: {len(self.fifos)} queues, {self.bytes} bytes>"

    def _repr_html_(self) -> str:
        return fifo_text.html(self)


def size_fifos(
    schedule: Schedule,
    design: Design,
    *,
    target: str | int = FULL_RATE,
    engine: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> FifoSizes:
    """The minimal depths of all queues together with which the schedule reaches the target on the design.

    Of several minimal answers it is one: queues that save most bytes shrink first.

    Parameters
    ----------
    target : "full rate" for the cycles of the run in which no queue ever fills; a number of cycles in all, repetitions
        included, or the same as text; or a rate of tokens such as "25 token/s".
    progress : called with a line of text after each run.

    Raises
    ------
    InputError
        what is given is no target, no depths reach it, or it is a rate and the graph makes no tokens.
    Deadlock
        the schedule cannot go on at any depths.
    """
    written = CYCLES.fullmatch(target) if isinstance(target, str) else None
    target = int(written[1]) if written else target
    asked = _asked(target, schedule, design)
    runs = Runs(schedule, design, engine, progress or (lambda _: None))
    unbounded, peaks = runs.unbounded()
    limit = unbounded if asked is None else asked
    if limit < unbounded:
        given = quoted(target) if isinstance(target, str) else f"{target:,} cycles"
        there = _with_rate(unbounded, schedule, design)
        raise InputError(f"target: {given} is out of reach with any depth: the unbounded run takes {there}")
    at_host = _at_host(schedule, design, runs)
    widths = {name: max(s.bytes_per_token for s in streams) for name, streams in schedule.fifos().items()}
    search = Search(runs, schedule, {name: 0 if name in at_host else width for name, width in widths.items()})
    depths = search.minimal(search.enough(peaks, unbounded), unbounded)
    if limit > unbounded:
        # From the depths of full rate on, so that none gets deeper; from the peaks on, where others may shrink more.
        both = (search.minimal(depths, limit), search.minimal(search.enough(peaks, limit), limit))
        depths = min(both, key=search.bytes_at)
    cycles = runs.cycles(depths)
    assert cycles is not None, "depths that hold a number of cycles run"
    fifos = tuple(_fifos(schedule, design, search, peaks, depths, at_host))
    return FifoSizes(
        design=design.name,
        model=schedule.graph.name,
        about=schedule.graph.about,
        clock_hz=design.clock,
        target=target,
        target_cycles=limit,
        fifos=fifos,
        cycles_now=runs.cycles({}),
        unbounded_cycles=unbounded,
        cycles=cycles,
        first_come=tuple(sorted({u.of for f in runs.flats for u in f.units if u.order is None and len(u.tasks) > 1})),
        budget=_budget(design),
        runs=runs.count,
        firings=runs.firings,
        schedule=schedule.with_depths(depths),
    )


def _asked(target: str | int, schedule: Schedule, design: Design) -> int | None:
    """The cycles of the target; None for full rate, which is for a run to say."""
    right = "'full rate', a number of cycles such as 300000, or a rate of tokens such as '25 token/s'"
    if target == FULL_RATE:
        return None
    if type(target) is int and target > 0:
        return target
    if not isinstance(target, str) or not any(c.isdigit() for c in target):
        raise InputError(f"target: expected {right}, got {quoted(target)}")
    try:
        rate = parse(target, "rate of tokens", clock_hz=design.clock)
    except InputError as error:
        raise InputError(f"target: {error}; a target is {right}") from None
    tokens: int | None = schedule.graph.about["tokens"]
    if tokens is None:
        graph = schedule.graph.name
        raise InputError(f"target: graph '{graph}' makes no tokens, got {quoted(target)}; give a number of cycles")
    return int(tokens * design.clock / rate)


def _with_rate(cycles: int, schedule: Schedule, design: Design) -> str:
    tokens = schedule.graph.about["tokens"]
    if tokens is None or not cycles:
        return f"{cycles:,} cycles"
    return f"{cycles:,} cycles ({show(tokens * design.clock / cycles, 'rate of tokens')})"


def _budget(design: Design) -> Mapping[str, Fraction] | None:
    """What the part has of the resources that hold queues; None where the design does not say so."""
    if design.resources is None or not set(RESOURCES) <= set(design.resources.budget):
        return None
    return {resource: design.resources.budget[resource] for resource in RESOURCES}


def _fifos(
    schedule: Schedule,
    design: Design,
    search: Search,
    peaks: Mapping[str, int],
    depths: Mapping[str, int],
    at_host: set[str],
) -> Iterator[FifoSize]:
    proofs = search.one_less(depths)
    # A token wider than any link of the design, such as a burst or a row, lies in words of the widest link.
    word_bits = max((link.token_bits for link in design.links.values()), default=None)

    def memory(name: str, depth: int) -> FifoMemory | None:
        if _budget(design) is None or name in at_host or depth == UNLIMITED:
            return None
        return fifo_memory(depth, 8 * search.widths[name], word_bits=word_bits)

    for name, streams in schedule.fifos().items():
        minimal, given = depths[name], max(s.depth for s in streams)
        less = proofs.get(name)
        short = min(s.depth for s in streams) < minimal
        yield FifoSize(
            name=name,
            streams=streams,
            floor=search.floors[name],
            peak=peaks[name],
            minimal=minimal,
            proof=FLOOR if name not in proofs else DEADLOCK if less is None else less,
            alone_cycles=search.runs.cycles({name: max(given, minimal)}) if short else None,
            at_host=name in at_host,
            memory_now=memory(name, given),
            memory=memory(name, minimal),
        )


def _at_host(schedule: Schedule, design: Design, runs: Runs) -> set[str]:
    """Queues that a host's tasks fill or empty: they lie in its memory, not in the part."""
    found = set()
    for section, queues in zip(schedule.sections, runs.queues, strict=True):
        hosts = {task.name for task in section.tasks if isinstance(design.units[task.unit], Host)}
        found |= {q for s, q in zip(section.streams, queues, strict=True) if hosts & set(section.ends[s.name])}
    return found
