"""Tokens: which firing takes what another one gave, and how many places of a stream are taken, in a recorded stretch.

A token is given by the first firing with which its producer has given so many, and taken by the first with which its
consumer has taken so many; initial tokens come before all others and no firing gives them. Places are taken at the
start of the firing that gives and come free at the end of the one that takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from archsim.engine.flat import Flat, FlatStream
from archsim.engine.recording import Recording
from dataflow.pattern import Pattern


def sums(pattern: Pattern[int], firings: np.ndarray) -> np.ndarray:
    """The sum of the first n values, for each n of `firings`.

    >>> sums(Pattern(((0, 2), (1, 1))), np.arange(8)).tolist()
    [0, 0, 0, 1, 1, 1, 2, 2]
    """
    values, counts = np.array(pattern.runs, dtype=np.int64).T
    ends, whole_runs = np.cumsum(counts), np.concatenate([[0], np.cumsum(values * counts)])
    periods, rest = np.divmod(firings, ends[-1])
    run = np.searchsorted(ends, rest, side="right")
    return periods * whole_runs[-1] + whole_runs[run] + values[run] * (rest - ends[run] + counts[run])


@dataclass(frozen=True, slots=True)
class Handed:
    """Tokens of a stream by the firings that give and take them, as rows of the recording's firings."""

    stream: int
    givers: np.ndarray
    takers: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True, slots=True)
class Taken:
    """The places of a stream that are taken: from each of `cycles` on, of the section, so many of `places`."""

    stream: int
    cycles: np.ndarray
    places: np.ndarray


def handed_over(flat: Flat, recording: Recording) -> Iterator[Handed]:
    """For each stream, and each consumer of a broadcast, the pairs of recorded firings between which tokens pass."""
    ends = _Ends(flat, recording)
    for index, stream in enumerate(flat.streams):
        givers, given, given_until = ends.of(stream.producer, index, "gives")
        for consumer in stream.consumers:
            takers, taken, taken_until = ends.of(consumer, index, "takes")
            first, last = given + stream.initial, given_until + stream.initial
            edges = _distinct(first, last, taken, taken_until)
            # No firing begins or ends between two edges that follow one another.
            token = edges[1:]
            giver, taker = np.searchsorted(last, token), np.searchsorted(taken_until, token)
            both = (giver < len(givers)) & (taker < len(takers))
            giver, taker, token, n = giver[both], taker[both], token[both], np.diff(edges)[both]
            both = (first[giver] < token) & (taken[taker] < token)  # else the firing is not recorded
            yield Handed(index, givers[giver[both]], takers[taker[both]], n[both])


def places_taken(flat: Flat, recording: Recording) -> Iterator[Taken]:
    """For each stream the places taken, from the start of the recording on; of a broadcast until its last consumer."""
    ends = _Ends(flat, recording)
    for index, stream in enumerate(flat.streams):
        rows, given, given_until = ends.of(stream.producer, index, "gives")
        new = recording.firings["start"][rows] >= recording.start
        begun = ends.begun(stream.producer, index, "gives")
        filled = recording.firings["start"][rows[new]], (given_until - given)[new]
        views = [(begun, filled, ends.freed(consumer, index)) for consumer in stream.consumers]
        yield _levels(recording, index, stream, views)


def _levels(recording: Recording, index: int, stream: FlatStream, views: list) -> Taken:
    changes = [part for _, (at, _), (_, freed_at, _) in views for part in (at, freed_at)]
    times = _distinct(np.array([recording.start]), *changes)
    times = times[times < max(recording.end, recording.start + 1)]
    most = np.zeros(len(times), dtype=np.int64)
    for begun, (at, given), (before, freed_at, freed) in views:
        changed = np.zeros(len(times), dtype=np.int64)
        for when, n in ((at, given), (freed_at, -freed)):
            inside = when <= times[-1]
            np.add.at(changed, np.searchsorted(times, when[inside]), n[inside])
        most = np.maximum(most, stream.initial + begun - before + np.cumsum(changed))
    kept = np.concatenate([[True], np.diff(most) != 0])
    return Taken(index, times[kept], most[kept])


def _distinct(*parts: np.ndarray) -> np.ndarray:
    """Each number once, in order; sorted by hand, since np.unique is slower on parts that are in order."""
    found = np.sort(np.concatenate(parts), kind="stable")
    return found[np.concatenate([[True], np.diff(found) != 0])] if len(found) else found


class _Ends:
    """The recorded firings of each task, with the tokens that they move."""

    def __init__(self, flat: Flat, recording: Recording) -> None:
        self._flat, self._recording = flat, recording
        order = np.argsort(recording.firings["task"], kind="stable")
        counts = np.bincount(recording.firings["task"], minlength=len(flat.tasks))
        self._rows = np.split(order, np.cumsum(counts)[:-1])

    def of(
        self, task: int, stream: int, end: Literal["takes", "gives"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the task's firings, and the tokens that it has moved before each of them and with it."""
        rows = self._rows[task]
        number = self._recording.firings["number"][rows]
        pattern = self._flat.tasks[task].tokens(stream, end)
        return rows, sums(pattern, number), sums(pattern, number + 1)

    def begun(self, task: int, stream: int, end: Literal["takes", "gives"]) -> int:
        """Tokens that the task's firings move which started before the recording."""
        return int(sums(self._flat.tasks[task].tokens(stream, end), self._recording.begun[task : task + 1])[0])

    def freed(self, task: int, stream: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Places that came free before the recording, when others do in it, and how many."""
        rows, taken, taken_until = self.of(task, stream, "takes")
        tokens, earlier = taken_until - taken, self._recording.firings["start"][rows] < self._recording.start
        before = self.begun(task, stream, "takes") - int(tokens[earlier].sum())
        return before, self._recording.firings["end"][rows], tokens
