"""The critical path: firings and latencies of which each begins when the one before ends, from start to end of a run.

The lengths add up to the cycles of the section, so that each cycle of the run has one thing that it was needed for.
Knows no formula of time: an engine says when firings start, and a firing holds its unit for cycles that are written.

A firing starts in the cycle in which the last thing that it lacked came to be. That is, in this order where several
came in the same cycle: its input (another firing gave the token), room for its output (a consumer took one), or its
unit (the firing before it ended). The path goes back from the firing that ends last, each time to that one. So of

    load      0-10, 10-20, 20-30         to a stream of depth 2
    compute        10-14, 20-24, 30-34

the last compute waited for the third load (20-30), which waited for its unit, and so on to cycle 0: `load` has 30
cycles of the path and `compute` 4. Of 14 cycles (10-24, 24-38, 38-52), each waits for its unit: 10 and 42.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from archsim.design.design import Design
from archsim.engine import starts
from archsim.engine.flat import Flat, FlatUnit, flatten
from archsim.engine.starts import Starts
from dataflow.pattern import total
from dataflow.schedule import Schedule

MOST_FIRINGS = 24_000_000  # of a section that are looked at, its last ones: some 20 s and 2 GB

What = Literal["busy", "latency"]
Way = Literal["takes", "gives"]


class Stretch(NamedTuple):
    """What a part of the path is: a unit busy with a task, or the latency of its tokens."""

    unit: str
    task: str
    what: What


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """Cycles of a run by what they were needed for, over all sections and repetitions; they add up to `cycles`.

    `unseen` are the cycles at the start of sections with more firings than are looked at.
    """

    cycles: int
    stretches: Mapping[Stretch, int]
    unseen: int

    def by_unit(self) -> dict[str, int]:
        """Cycles by unit, latencies included, the largest first."""
        found: dict[str, int] = {}
        for stretch, n in self.stretches.items():
            found[stretch.unit] = found.get(stretch.unit, 0) + n
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def critical_path(schedule: Schedule, design: Design, *, engine: str = "auto") -> CriticalPath:
    """The path of each section of the schedule, one after another. The schedule must come to its end."""
    found: dict[Stretch, int] = {}
    cycles = unseen = 0
    for section in schedule.sections:
        flat = flatten(section, design).unfolded()
        walk = _Walk(flat, starts(flat, most=MOST_FIRINGS, engine=engine))
        stretches, before = walk.path()
        for stretch, length in stretches.items():
            found[stretch] = found.get(stretch, 0) + section.repeat * length
        cycles += section.repeat * walk.cycles
        unseen += section.repeat * before
    return CriticalPath(cycles, {stretch: n for stretch, n in found.items() if n}, unseen)


class _Walk:
    """The known firings of a section, numbered task by task, and for each the one whose end let it start."""

    def __init__(self, flat: Flat, known: Starts) -> None:
        self.flat, self.first = flat, known.first
        self.counts = [len(cycles) for cycles in known.cycles]
        self.offsets = np.cumsum([0, *self.counts])
        self.starts, self.ranks = np.concatenate(known.cycles), np.concatenate(known.ranks)
        self.ends, self.seen = self.starts.copy(), self.starts.copy()  # of seen: when its tokens can be seen
        for t, task in enumerate(flat.tasks):
            latency, own = flat.units[task.unit].latency_cycles, self._of(t)
            self.ends[own] += self._each(t, [(run.cycles, run.count) for run in task.runs])
            self.seen[own] = self.ends[own]
            if latency:
                self.seen[own] += latency * self._each(t, [(int(bool(run.gives)), run.count) for run in task.runs])
        self.cycles = int(self.seen.max())

    def _of(self, task: int) -> slice:
        return slice(int(self.offsets[task]), int(self.offsets[task + 1]))

    def _each(self, task: int, runs: Sequence[tuple[int, int]]) -> np.ndarray:
        """The value of each known firing of a task, of which one period has these runs of values."""
        values, counts = np.array(runs, dtype=np.int64).T
        at = (self.first[task] + np.arange(self.counts[task])) % counts.sum()
        return values[np.searchsorted(np.cumsum(counts), at, side="right")]

    def path(self) -> tuple[dict[Stretch, int], int]:
        """The stretches of the path with their cycles, and the cycles before the first firing of it that is known."""
        before = self._before().data  # a memoryview, as a list would take 36 bytes a firing
        firing = int(np.argmax(self.seen))
        steps = array("q", [firing])
        while (firing := before[firing]) >= 0:
            steps.append(firing)
        on = np.frombuffer(steps, dtype=np.int64)
        tasks = np.searchsorted(self.offsets, on, side="right") - 1
        busy = np.bincount(tasks, self.ends[on] - self.starts[on], minlength=len(self.counts))
        # Between the end of a firing and the start that waited for it lies a latency, or nothing.
        until = np.concatenate([[self.cycles], self.starts[on[:-1]]])
        waited = np.bincount(tasks, until - self.ends[on], minlength=len(self.counts))
        found: dict[Stretch, int] = {}
        for t, task in enumerate(self.flat.tasks):
            unit = self.flat.units[task.unit].of
            found[Stretch(unit, task.name, "busy")] = int(busy[t])
            found[Stretch(unit, task.name, "latency")] = int(waited[t])
        return found, int(self.starts[on[-1]])

    def _before(self) -> np.ndarray:
        """For each firing the one whose end let it start: by its tokens, or else by places, or else by the unit.

        -1 for firings that start at 0, and for those that waited for one that is not known.
        """
        found = np.full(len(self.starts), -1)
        for s, stream in enumerate(self.flat.streams):
            self._enter(found, (s, stream.producer, "gives"), (stream.consumer, "takes"), -stream.initial, self.seen)
        for s, stream in enumerate(self.flat.streams):
            room = stream.depth - stream.initial
            self._enter(found, (s, stream.consumer, "takes"), (stream.producer, "gives"), -room, self.ends)
        for unit in self.flat.units:
            self._enter_turns(found, unit)
        self._enter_same(found)
        found[self.starts == 0] = -1
        return found

    def _enter(
        self, found: np.ndarray, awaited: tuple[int, int, Way], waiting: tuple[int, Way], beside: int, done: np.ndarray
    ) -> None:
        """Enters the firings that a task waited for at the other end of a stream, where none is entered yet.

        A firing needs as many tokens moved at the other end as it and those before it move at its own, plus `beside`;
        they are moved when the firing there is `done`. It waited for that one if it started in the same cycle.
        """
        (stream, other, way), (task, own_way) = awaited, waiting
        there, here = self._of(other), self._of(task)
        if there.start == there.stop:
            return
        moved_before, moved = self._moved(other, stream, way)
        ended = np.argsort(self.ends[there], kind="stable")  # of several servers a later firing may end first
        moved_by_end = moved_before + np.cumsum(moved[ended])
        own_before, own = self._moved(task, stream, own_way)
        needed = own_before + np.cumsum(own) + beside
        first_enough = np.minimum(np.searchsorted(moved_by_end, needed), len(ended) - 1)
        source = there.start + ended[first_enough]
        waited = (own > 0) & (needed > moved_before) & (done[source] == self.starts[here])
        found[here] = np.where(waited & (found[here] < 0), source, found[here])

    def _moved(self, task: int, stream: int, way: Way) -> tuple[int, np.ndarray]:
        """Tokens that a task has moved before its first known firing, and in each from there on."""
        pattern = self.flat.tasks[task].tokens(stream, way)
        return total(pattern, self.first[task]), self._each(task, pattern.runs)

    def _in_order(self, unit: FlatUnit) -> np.ndarray:
        """The known firings of a unit in the order in which they began."""
        firings = np.concatenate([np.arange(self.offsets[task], self.offsets[task + 1]) for task in unit.tasks])
        return firings[np.argsort(self.ranks[firings])]

    def _enter_turns(self, found: np.ndarray, unit: FlatUnit) -> None:
        """Enters the firing of the unit that ended as another began, the last before it, where none is entered yet."""
        firings = self._in_order(unit)
        ends, end_of = np.unique(self.ends[firings], return_inverse=True)
        place = np.arange(len(firings))
        # End and place of a firing as one number. The one wanted is the last below (start, place) of the waiting one.
        keys = end_of * len(firings) + place
        order = np.argsort(keys)
        start_of = np.searchsorted(ends, self.starts[firings])
        last = np.searchsorted(keys[order], start_of * len(firings) + place) - 1
        source = firings[order[np.maximum(last, 0)]]
        waited = (last >= 0) & (self.ends[source] == self.starts[firings])
        found[firings] = np.where(waited & (found[firings] < 0), source, found[firings])

    def _enter_same(self, found: np.ndarray) -> None:
        """Enters, where firings began as soon as the one before on another server, what that one waited for."""
        for unit in self.flat.units:
            firings = self._in_order(unit)
            begun = self.starts[firings]
            left = np.flatnonzero((found[firings[1:]] < 0) & (begun[1:] == begun[:-1])) + 1
            for place in left.tolist():  # in order, as several may begin with one
                found[firings[place]] = found[firings[place - 1]]
