"""Timeline: when each run of a section takes place, and what units do in a part of one.

Cycles count from the start of the schedule. Knows no seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from archsim.design.design import Design
from archsim.engine import record
from archsim.engine.flat import Flat, flatten
from archsim.engine.recording import Recording
from dataflow.schedule import Schedule
from dataflow.section import Section, played


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of a section: its place in the schedule, its repetition from 0, its first cycle and the one after it."""

    place: int
    repetition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a pass that is recorded; the cycles of the recording count from the start of the pass."""

    of: Pass
    section: Section
    flat: Flat
    recording: Recording

    @property
    def start(self) -> int:
        """Its first cycle."""
        return self.of.start + self.recording.start

    @property
    def end(self) -> int:
        """The cycle after its last."""
        return self.of.start + self.recording.end

    @property
    def is_whole(self) -> bool:
        """True where all of the pass is in it."""
        return (self.start, self.end) == (self.of.start, self.of.end)

    def until(self, end: int) -> Stretch:
        """The part of it before a cycle of the pass."""
        return replace(self, recording=self.recording.until(end))


@dataclass(frozen=True)
class Timeline:
    """The passes of a schedule on a design; `cycles` has those of one run of each section."""

    schedule: Schedule
    design: Design
    cycles: Sequence[int]
    engine: str = "auto"

    @cached_property
    def passes(self) -> tuple[Pass, ...]:
        """Every run of a section in order."""
        found, now = [], 0
        for place, repetition in played(self.schedule.sections):
            found.append(Pass(place, repetition, now, now + self.cycles[place]))
            now += self.cycles[place]
        return tuple(found)

    @property
    def end(self) -> int:
        """The cycles of the schedule."""
        return self.passes[-1].end

    @cached_property
    def flats(self) -> tuple[Flat, ...]:
        """The flat form of each section."""
        return tuple(flatten(section, self.design) for section in self.schedule.sections)

    def first_passes(self, *, most: int | None = None) -> list[Stretch]:
        """The first pass of each section, each up to `most` firings."""
        first = [one for one in self.passes if one.repetition == 0]
        return [self._stretch(one, one.start, one.end, most) for one in first]

    def between(self, start: int, end: int, *, most: int | None = None) -> Iterator[Stretch]:
        """What lies between two cycles, pass by pass, each up to `most` firings; equal passes are run once."""
        known: dict[tuple[int, int, int], Recording] = {}
        for one in self.passes:
            first, last = max(start, one.start), min(end, one.end)
            if first < last:
                key = one.place, first - one.start, last - one.start
                if key not in known:
                    known[key] = self._stretch(one, first, last, most).recording
                yield Stretch(one, self.schedule.sections[one.place], self.flats[one.place], known[key])

    def _stretch(self, one: Pass, start: int, end: int, most: int | None) -> Stretch:
        flat = self.flats[one.place]
        # Without an end also firings of zero cycles after all others are in it.
        until = None if end == one.end else end - one.start
        recording = record(flat, start=start - one.start, end=until, most=most, engine=self.engine)
        return Stretch(one, self.schedule.sections[one.place], flat, recording)
