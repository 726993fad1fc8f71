"""Where a section stands once its tasks have fired so often: tokens, whose turn it is, what each task waits for.

A stream has one producer and one consumer and the order of firings on a unit in order is fixed, so that the state
follows from how often each task has fired, whatever came first. Knows no cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.engine.flat import Flat, FlatRun
from archsim.engine.result import Waiting
from dataflow.pattern import Pattern


@dataclass(frozen=True, slots=True)
class TokenState:
    """A section after so many firings of each task, with the `tokens` of each stream."""

    flat: Flat
    fired: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def finished(self) -> bool:
        """True where every firing is done."""
        return all(n == task.firings for n, task in zip(self.fired, self.flat.tasks, strict=True))

    def turn(self, unit: int) -> int | None:
        """The task whose turn it is on the unit; None where any may come, or none is left."""
        order = self.flat.units[unit].order
        done = sum(self.fired[task] for task in self.flat.units[unit].tasks)
        return None if order is None or done == sum(n for _, n in order) else Pattern(order).at(done)

    def wait(self, task: int) -> Waiting | None:
        """What the next firing of a task waits for, where nothing can be fired; None where the task is done."""
        flat, streams, firing = self.flat.tasks[task], self.flat.streams, self.fired[task]
        if firing == flat.firings:
            return None
        turn = self.turn(flat.unit)
        if turn is not None and turn != task:
            return Waiting(task, firing, "turn", "", 0, 0, 0, turn)
        run = _runs(self.flat, task).at(firing)
        room = {s: streams[s].depth - self.tokens[s] for s, _ in (*run.takes, *run.gives)}
        short = [(s, n) for s, n in run.gives if room[s] < n]
        lacks = [("starved", s, n) for s, n in run.takes if self.tokens[s] < n] + [("blocked", s, n) for s, n in short]
        assert lacks, "a task whose turn it is and that lacks nothing is fired"
        cause, s, n = lacks[0]
        depths = tuple((streams[s].name, self.tokens[s] + n) for s, n in short)
        return Waiting(task, firing, cause, streams[s].name, n, self.tokens[s], room[s], None, depths)

    def waiting(self) -> tuple[Waiting, ...]:
        """Every unfinished task with what it waits for, where nothing can be fired."""
        waits = (self.wait(task) for task in range(len(self.fired)))
        return tuple(wait for wait in waits if wait is not None)


def state_after(flat: Flat, fired: Sequence[int]) -> TokenState:
    """Where a section stands once each of its tasks has fired so often."""
    tokens = [stream.initial for stream in flat.streams]
    for task, n in enumerate(fired):
        for run, times in _runs(flat, task).counted(n):
            for stream, taken in run.takes:
                tokens[stream] -= times * taken
            for stream, given in run.gives:
                tokens[stream] += times * given
    return TokenState(flat, tuple(fired), tuple(tokens))


def _runs(flat: Flat, task: int) -> Pattern[FlatRun]:
    return Pattern(tuple((run, run.count) for run in flat.tasks[task].runs))
