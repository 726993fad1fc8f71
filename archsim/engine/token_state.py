"""The state of a section after a given number of firings of each task: tokens, turns, and what each task waits for.

Each stream has one producer, each consumer takes from it by a counter of its own, and a unit in order has a fixed order
of firings. So the state follows from the numbers of firings alone, whatever their order in time. Knows no cycles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archsim.engine.flat import Flat, FlatRun
from archsim.engine.result import Waiting
from dataflow.order import turn
from dataflow.pattern import Pattern


@dataclass(frozen=True, slots=True)
class TokenState:
    """The state of a section: `fired`, the firings of each task that have ended, and the `tokens` in each stream.

    Those are counted for each consumer: of a broadcast, a place is taken while any of them has its token before it.
    """

    flat: Flat
    fired: tuple[int, ...]
    tokens: tuple[Mapping[int, int], ...]

    @property
    def finished(self) -> bool:
        """True where every firing is done."""
        return all(n == task.firings for n, task in zip(self.fired, self.flat.tasks, strict=True))

    def turn(self, unit: int) -> int | None:
        """The task whose turn it is on the unit; None if the unit serves first come or all its firings are done."""
        order = self.flat.units[unit].order
        # Firings on the unit come in its order, so their number is the place in the order.
        tasks = self.flat.units[unit].tasks
        done = sum(self.fired[task] for task in tasks)
        if order is None or done == sum(self.flat.tasks[task].firings for task in tasks):
            return None
        return int(turn(order, done))

    def wait(self, task: int) -> Waiting:
        """What the next firing of the task waits for, in a state where no task can fire."""
        flat, streams, firing = self.flat.tasks[task], self.flat.streams, self.fired[task]
        # A task whose turn has not come waits for its turn, whatever else it lacks; the engines say the same.
        first = self.turn(flat.unit)
        if first is not None and first != task:
            return Waiting(task, firing, "turn", -1, 0, 0, 0, first)
        run = _runs(self.flat, task).at(firing)
        # No firing is under way and nothing is on its way, so every place without a token is free.
        held = {s: max(self.tokens[s].values()) for s, _ in (*run.takes, *run.gives)}
        short = [(s, n) for s, n in run.gives if streams[s].depth - held[s] < n]
        depths = tuple((s, held[s] + n) for s, n in short)
        # Inputs before outputs, each in the order of the task: as the engines look, so that all report the same cause.
        for s, n in run.takes:
            if self.tokens[s][task] < n:
                room = streams[s].depth - held[s]
                return Waiting(task, firing, "starved", s, n, self.tokens[s][task], room, streams[s].producer, depths)
        assert short, "a task whose turn it is and that lacks nothing can fire"
        s, n = short[0]
        room = streams[s].depth - held[s]
        # Of several consumers that have to take tokens first, one by name: not by how the section lists them.
        behind = [c for c in streams[s].consumers if streams[s].depth - self.tokens[s][c] < n]
        awaited = min(behind, key=lambda c: self.flat.tasks[c].name)
        return Waiting(task, firing, "blocked", s, n, held[s], room, awaited, depths)

    def waiting(self) -> tuple[Waiting, ...]:
        """Every unfinished task with what it waits for, in a state where no task can fire."""
        return tuple(self.wait(i) for i, task in enumerate(self.flat.tasks) if self.fired[i] < task.firings)


def state_after(flat: Flat, fired: Sequence[int]) -> TokenState:
    """The state of the section once each task has fired as often as `fired` says, by index."""
    tokens = [dict.fromkeys(stream.consumers, stream.initial) for stream in flat.streams]
    for task, n in enumerate(fired):
        # By runs of equal firings, not firing by firing: a task may fire 10^9 times.
        for run, times in _runs(flat, task).counted(n):
            for stream, taken in run.takes:
                tokens[stream][task] -= times * taken
            for stream, given in run.gives:
                for consumer in flat.streams[stream].consumers:
                    tokens[stream][consumer] += times * given
    return TokenState(flat, tuple(fired), tuple(tokens))


def _runs(flat: Flat, task: int) -> Pattern[FlatRun]:
    return Pattern(tuple((run, run.count) for run in flat.tasks[task].runs))
