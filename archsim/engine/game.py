"""The token game: how far a section comes with given depths, time left out.

What can be fired at all does not depend on time. A stream has one producer and one consumer and the order of firings on
a unit in order is fixed, so that a firing that is possible stays possible whatever is fired before it. Knows no cycles,
latencies or servers; units that serve first come constrain nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from archsim.engine.flat import Flat, FlatRun, FlatTask
from archsim.engine.result import Waiting
from dataflow.pattern import Pattern


class _Moves:
    """What a run of equal firings does to its streams, and which tasks may go on after it.

    `takes` and `gives` hold (stream, tokens needed or places needed, tokens or places fewer after a firing); the two
    differ where a task takes and gives the same stream, which needs the tokens and the places at once.
    """

    __slots__ = ("changes", "count", "gives", "takes", "wakes")

    def __init__(self, run: FlatRun, count: int, flat: Flat) -> None:
        taken, given = dict(run.takes), dict(run.gives)
        self.count = count
        self.takes = tuple((s, n, n - given.get(s, 0)) for s, n in run.takes)
        self.gives = tuple((s, n, n - taken.get(s, 0)) for s, n in run.gives)
        self.changes = tuple((s, given.get(s, 0) - taken.get(s, 0)) for s in {**taken, **given})
        self.wakes = (*(flat.streams[s].producer for s in taken), *(flat.streams[s].consumer for s in given))


def _moves(task: FlatTask, flat: Flat) -> tuple[_Moves, ...]:
    """The runs of a task; one that repeats without another between counts all firings."""
    counts = [run.count for run in task.runs] if len(task.runs) > 1 else [task.firings]
    return tuple(_Moves(run, count, flat) for run, count in zip(task.runs, counts, strict=True))


class Game:
    """A game under way: `tokens` and `depths` of each stream, and the firings that each task has `left`.

    Depths may be raised at any time; what has been fired could have been fired with them too.
    """

    __slots__ = ("_at", "_in_run", "_in_turn", "_moves", "_turn", "depths", "flat", "left", "tokens")

    def __init__(self, flat: Flat, depths: Sequence[int] | None = None) -> None:
        self.flat = flat
        self.depths = [s.depth for s in flat.streams] if depths is None else list(depths)
        self.tokens = [s.initial for s in flat.streams]
        self.left = [t.firings for t in flat.tasks]
        self._moves = [_moves(t, flat) for t in flat.tasks]
        self._at = [0] * len(flat.tasks)
        self._in_run = [moves[0].count for moves in self._moves]
        self._turn = [0] * len(flat.units)
        self._in_turn = [u.order[0][1] if u.order else 0 for u in flat.units]

    def copy(self) -> Game:
        """The same state, which goes on apart from this one."""
        other = Game.__new__(Game)
        other.flat, other._moves = self.flat, self._moves
        for name in ("depths", "tokens", "left", "_at", "_in_run", "_turn", "_in_turn"):
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    def finished(self) -> bool:
        """True where every firing is done."""
        return not any(self.left)

    @property
    def fired(self) -> tuple[int, ...]:
        """How many firings of each task are done."""
        return tuple(task.firings - left for task, left in zip(self.flat.tasks, self.left, strict=True))

    def go_on(self, first: Iterable[int] | None = None) -> None:
        """Fires what can be fired until nothing can. Where only some tasks may have come free, `first` names them."""
        waiting = deque(range(len(self.left)) if first is None else first)
        listed = set(waiting)
        while waiting:
            task = waiting.popleft()
            listed.discard(task)
            while n := self._possible(task):
                for other in self._fire(task, n):
                    if other not in listed:
                        listed.add(other)
                        waiting.append(other)

    def turn(self, unit: int) -> int | None:
        """The task whose turn it is on the unit; None where any may come, or none is left."""
        order, at = self.flat.units[unit].order, self._turn[unit]
        return None if order is None or at == len(order) else order[at][0]

    def wait(self, task: int) -> Waiting | None:
        """What the next firing of a task waits for, once nothing can be fired; None where the task is done."""
        flat = self.flat.tasks[task]
        if not self.left[task]:
            return None
        firing = flat.firings - self.left[task]
        turn = self.turn(flat.unit)
        if turn is not None and turn != task:
            return Waiting(task, firing, "turn", "", 0, 0, 0, turn)
        moves = self._moves[task][self._at[task]]
        lacks = [("starved", s, n) for s, n, _ in moves.takes if self.tokens[s] < n]
        short = [(s, n) for s, n, _ in moves.gives if self.depths[s] - self.tokens[s] < n]
        lacks += [("blocked", s, n) for s, n in short]
        assert lacks, "a task whose turn it is and that lacks nothing is fired"
        cause, stream, needed = lacks[0]
        tokens, room = self.tokens[stream], self.depths[stream] - self.tokens[stream]
        depths = tuple((self.flat.streams[s].name, self.tokens[s] + n) for s, n in short)
        return Waiting(task, firing, cause, self.flat.streams[stream].name, needed, tokens, room, None, depths)

    def waiting(self) -> tuple[Waiting, ...]:
        """Every unfinished task with what it waits for, once nothing can be fired."""
        waits = (self.wait(task) for task in range(len(self.left)))
        return tuple(wait for wait in waits if wait is not None)

    def _possible(self, task: int) -> int:
        """How many firings of the task's run can follow one another now."""
        n = min(self._in_run[task], self.left[task])
        unit = self.flat.tasks[task].unit
        if self.flat.units[unit].order is not None:
            if self.turn(unit) != task:
                return 0
            n = min(n, self._in_turn[unit])
        moves, tokens, depths = self._moves[task][self._at[task]], self.tokens, self.depths
        for stream, needed, fewer in moves.takes:
            spare = tokens[stream] - needed
            if spare < 0:
                return 0
            if fewer > 0 and spare // fewer < n - 1:
                n = spare // fewer + 1
        for stream, needed, fewer in moves.gives:
            spare = depths[stream] - tokens[stream] - needed
            if spare < 0:
                return 0
            if fewer > 0 and spare // fewer < n - 1:
                n = spare // fewer + 1
        return n

    def _fire(self, task: int, n: int) -> tuple[int, ...]:
        """Fires the task so often and gives the tasks that may have come free by that."""
        moves = self._moves[task]
        run = moves[self._at[task]]
        for stream, change in run.changes:
            self.tokens[stream] += n * change
        self.left[task] -= n
        self._in_run[task] -= n
        if not self._in_run[task]:
            at = self._at[task] = (self._at[task] + 1) % len(moves)
            self._in_run[task] = moves[at].count
        unit = self.flat.tasks[task].unit
        order = self.flat.units[unit].order
        if order is None:
            return run.wakes
        self._in_turn[unit] -= n
        if self._in_turn[unit]:
            return run.wakes
        turn = self._turn[unit] = self._turn[unit] + 1
        if turn == len(order):
            return run.wakes
        self._in_turn[unit] = order[turn][1]
        return (*run.wakes, order[turn][0])


def play(flat: Flat, depths: Sequence[int] | None = None) -> Game:
    """The game of a section, with these depths in place of its own, played until nothing can be fired any more."""
    game = Game(flat, depths)
    game.go_on()
    return game


def after(flat: Flat, fired: Sequence[int]) -> Game:
    """The game of a section in which the tasks have fired so often, in whatever order that was possible."""
    game = Game(flat)
    for i, (task, n) in enumerate(zip(flat.tasks, fired, strict=True)):
        game.left[i] -= n
        game._at[i], game._in_run[i] = _place([moves.count for moves in game._moves[i]], n)
        for run, times in Pattern(tuple((run, run.count) for run in task.runs)).counted(n):
            for stream, tokens in run.takes:
                game.tokens[stream] -= times * tokens
            for stream, tokens in run.gives:
                game.tokens[stream] += times * tokens
    for u, unit in enumerate(flat.units):
        if unit.order is not None:
            counts = [count for _, count in unit.order]
            done = sum(fired[task] for task in unit.tasks)
            game._turn[u], game._in_turn[u] = (len(counts), 0) if done == sum(counts) else _place(counts, done)
    return game


def _place(counts: Sequence[int], n: int) -> tuple[int, int]:
    """Which of these runs, over and over, the firing after n is in, and how many of it are left."""
    n %= sum(counts)
    for at, count in enumerate(counts):
        if n < count:
            return at, count - n
        n -= count
    raise AssertionError("a place within the period lies in a run")
