"""MinimalDepths: the minimal depth of every queue of a schedule, as pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from archsim.fifos.memory import FifoMemory
from dataflow.schedule import Schedule
from dataflow.task import UNLIMITED, Stream

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
class MinimalDepths:
    """The minimal depths of all queues of a schedule together.

    They are in tokens of the schedule, which may be several of a link's in the design, or a burst, or a row, and hold
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
