"""MinimalDepths: the minimal depth of every queue of a schedule, as pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from archsim.design.depths import DepthSetting
from archsim.units.fifo_memory import FifoMemory
from dataflow.phase import Phase
from dataflow.schedule import Schedule
from dataflow.task import UNLIMITED, Stream

DEADLOCK = "deadlock"
FLOOR = "refused"  # by the schedule: a single firing needs more places


@dataclass(frozen=True, slots=True)
class FifoSize:
    """A queue of the hardware, and the streams of the given schedule that use it in turn.

    `floor`: the least depth that the schedule's rules allow. `peak`: the most places taken when no queue ever fills.
    `proof`: the result with one place less, in cycles, DEADLOCK, or FLOOR where the schedule refuses that depth.
    `alone_cycles`: cycles of the given schedule when only this queue gets its minimal depth; None where it has it
    already, or where a deadlock remains. `setting`: the value of the design that gives its depth, None where the mapper
    does. `at_host`: it lies in a host's memory, not in the FPGA. `memory_now` and
    `memory`: the FPGA memory that it takes as given and at its minimal depth; None for a queue at the host or of
    unlimited depth, and where the design's budget does not name LUTs and block RAM.
    """

    name: str
    streams: tuple[Stream, ...]
    floor: int
    peak: int
    minimal: int
    proof: int | str
    alone_cycles: int | None
    at_host: bool
    setting: DepthSetting | None
    memory_now: FifoMemory | None
    memory: FifoMemory | None

    @property
    def depth(self) -> int:
        """Places as given; where the streams differ, the most."""
        return max(s.depth for s in self.streams)

    @property
    def in_fpga(self) -> bool:
        """Whether its places are the FPGA's own: not a host's, and not those of a memory, whose streams share them."""
        return not self.at_host and not any(stream.memory for stream in self.streams)

    @property
    def short(self) -> bool:
        """Whether a stream has fewer places than the minimal depth."""
        # Streams that share the queue may be given different depths; the shallowest one decides.
        return min(s.depth for s in self.streams) < self.minimal

    @property
    def bytes_per_token(self) -> int:
        """Width of a place: the widest token's."""
        return max(s.bytes_per_token for s in self.streams)


@dataclass(frozen=True, slots=True, repr=False)
class MinimalDepths:
    """The minimal depths of all queues of a schedule together.

    Depths count tokens of the schedule. Such a token may be several tokens of a link, a burst or a row, and a depth
    includes the pipeline registers of the producing unit; the mapper says which. `cycles_now`: cycles of the given
    schedule, None where it deadlocks. `settings`: the values of the design, by path, that give its queues their minimal
    depths, and `set_cycles` the cycles with these alone. `schedule`: the schedule with the minimal depths; `cycles`:
    its cycles. `first_come`: units that choose between tasks. Only with such a unit can a deeper queue be slower, so
    only there the proof by one place less does not exclude fewer places still. Without one, no depths reach the target
    that are smaller in some queue and larger in none. `runs`: sections that were run; `firings`: firings of those runs.
    `budget`: what the FPGA has of LUTs and block RAM, None if not known.
    """

    design: str
    model: str
    phase: Phase
    clock_hz: Fraction
    target: str | int
    target_cycles: int
    fifos: tuple[FifoSize, ...]
    cycles_now: int | None
    unbounded_cycles: int
    cycles: int
    first_come: tuple[str, ...]
    settings: Mapping[str, int]
    set_cycles: int | None
    budget: Mapping[str, Fraction] | None
    runs: int
    firings: int
    schedule: Schedule

    @property
    def bytes_now(self) -> int | None:
        """Bytes of all places in the FPGA as given; None where a queue is unlimited."""
        if any(f.depth == UNLIMITED for f in self.fifos if f.in_fpga):
            return None
        return sum(f.depth * f.bytes_per_token for f in self.fifos if f.in_fpga)

    @property
    def bytes(self) -> int:
        """Bytes of all places in the FPGA at the minimal depths."""
        return sum(f.minimal * f.bytes_per_token for f in self.fifos if f.in_fpga)

    @property
    def memory_now(self) -> FifoMemory | None:
        """FPGA memory of all queues as given; None where one is unlimited or the budget is not known."""
        if self.budget is None or self.bytes_now is None:
            return None
        # Queues at the host have none.
        return sum((f.memory_now for f in self.fifos if f.memory_now), FifoMemory())

    @property
    def memory(self) -> FifoMemory | None:
        """FPGA memory of all queues at the minimal depths; None where the budget is not known."""
        return sum((f.memory for f in self.fifos if f.memory), FifoMemory()) if self.budget is not None else None

    @property
    def reached(self) -> bool:
        """Whether the given schedule reaches the target."""
        return self.cycles_now is not None and self.cycles_now <= self.target_cycles

    @property
    def held_back_by(self) -> tuple[FifoSize, ...]:
        """Queues that each alone, at minimal depth, make the given schedule faster; none where it is on target."""
        found = [f for f in self.fifos if self.saved(f)] if not self.reached else []
        return tuple(sorted(found, key=lambda f: (f.alone_cycles, f.name)))

    def saved(self, fifo: FifoSize) -> int | float:
        """Cycles that the given schedule saves when only this queue gets its minimal depth; inf if a deadlock ends."""
        if fifo.alone_cycles is None:
            return 0
        # Never below 0: with a first-come unit a deeper queue may be slower.
        return float("inf") if self.cycles_now is None else max(0, self.cycles_now - fifo.alone_cycles)

    def fifo(self, name: str) -> FifoSize:
        """The queue of this name."""
        return next(f for f in self.fifos if f.name == name)
