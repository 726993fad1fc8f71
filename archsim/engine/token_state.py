"""The state of a section after a given number of firings of each task: tokens, turns, and what each task waits for.

Each stream has one producer and one consumer, and a unit in order has a fixed order of firings. So the state follows
from the numbers of firings alone, whatever their order in time. Knows no cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.engine.flat import Flat, FlatRun
from archsim.engine.result import Waiting
from dataflow.pattern import Pattern


@dataclass(frozen=True, slots=True)
class TokenState:
    """The state of a section: `fired`, the firings of each task that have ended, and the `tokens` in each stream."""

    flat: Flat
    fired: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def finished(self) -> bool:
        """True where every firing is done."""
        return all(n == task.firings for n, task in zip(self.fired, self.flat.tasks, strict=True))

    def turn(self, unit: int) -> int | None:
        """The task whose turn it is on the unit; None if the unit serves first come or all its firings are done."""
        order = self.flat.units[unit].order
        # Firings on the unit come in its order, so their number is the place in the order.
        done = sum(self.fired[task] for task in self.flat.units[unit].tasks)
        return None if order is None or done == sum(n for _, n in order) else Pattern(order).at(done)

    def wait(self, task: int) -> Waiting:
        """What the next firing of the task waits for, in a state where no task can fire."""
        flat, streams, firing = self.flat.tasks[task], self.flat.streams, self.fired[task]
        # A task whose turn has not come waits for its turn, whatever else it lacks; the engines say the same.
        turn = self.turn(flat.unit)
        if turn is not None and turn != task:
            return Waiting(task, firing, "turn", -1, 0, 0, 0, turn)
        run = _runs(self.flat, task).at(firing)
        # No firing is under way and nothing is on its way, so every place without a token is free.
        room = {s: streams[s].depth - self.tokens[s] for s, _ in (*run.takes, *run.gives)}
        short = [(s, n) for s, n in run.gives if room[s] < n]
        # Inputs before outputs, each in the order of the task: as the engines look, so that all report the same cause.
        lacks = [("starved", s, n) for s, n in run.takes if self.tokens[s] < n] + [("blocked", s, n) for s, n in short]
        assert lacks, "a task whose turn it is and that lacks nothing can fire"
        cause, s, n = lacks[0]
        depths = tuple((s, self.tokens[s] + n) for s, n in short)
        return Waiting(task, firing, cause, s, n, self.tokens[s], room[s], None, depths)

    def waiting(self) -> tuple[Waiting, ...]:
        """Every unfinished task with what it waits for, in a state where no task can fire."""
        return tuple(self.wait(i) for i, task in enumerate(self.flat.tasks) if self.fired[i] < task.firings)


def state_after(flat: Flat, fired: Sequence[int]) -> TokenState:
    """The state of the section once each task has fired as often as `fired` says, by index."""
    tokens = [stream.initial for stream in flat.streams]
    for task, n in enumerate(fired):
        # By runs of equal firings, not firing by firing: a task may fire 10^9 times.
        for run, times in _runs(flat, task).counted(n):
            for stream, taken in run.takes:
                tokens[stream] -= times * taken
            for stream, given in run.gives:
                tokens[stream] += times * given
    return TokenState(flat, tuple(fired), tuple(tokens))


def _runs(flat: Flat, task: int) -> Pattern[FlatRun]:
    return Pattern(tuple((run, run.count) for run in flat.tasks[task].runs))
