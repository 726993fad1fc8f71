"""The SimPy engine: the definition of what a schedule means in time.

A firing starts when its inputs hold their tokens, its outputs have room, a server of its unit is free and, on a unit
with a fixed order, it is its turn. It takes its output places at the start and holds its input places until its end.
Units that serve first come choose after all other events of that time: of the firings of the lowest priority the one
that has been ready for longest, ties by the task's place in the schedule. Choosing last makes the answer independent of
the order in which events of one time are handled.

Holds no cost formula and no randomness; cycles come from the flat form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np
import simpy
from simpy.events import Event, Timeout

from archsim.engine.flat import Flat, FlatRun, FlatTask, FlatUnit
from archsim.engine.outcome import unit_result
from archsim.engine.recording import Batch
from archsim.engine.result import SectionResult, StreamResult, Stuck, TaskResult
from archsim.engine.token_state import state_after
from dataflow.order import walked

AFTER_ALL_ELSE = 2  # SimPy handles events of one time by priority: 0 urgent, 1 normal
STARVED, BLOCKED, TURN, IDLE = "starved", "blocked", "turn", "idle"

Row = tuple[str, str, str, int, int, int]  # unit, cause, task or stream, start, end, servers


class _Queue:
    """Counters of one stream; `room` counts places that no token and no firing holds.

    `least_room` is the least room that lasted for any time, so the order of events of one time leaves no trace in it.
    `filled` is when places were last taken.
    """

    __slots__ = ("consumer", "depth", "filled", "given", "least_room", "name", "producer", "room", "taken", "tokens")

    def __init__(self, name: str, depth: int, initial: int) -> None:
        self.name, self.depth = name, depth
        # Room is noted when it changes next. The level of the end is never noted, but it is the level of the start.
        self.tokens, self.room, self.least_room = initial, depth - initial, depth - initial
        self.given = self.taken = 0
        self.filled: float = 0
        self.producer: _Progress
        self.consumer: _Progress


class _Run:
    """A run of equal firings, with queues in place of stream indices."""

    __slots__ = ("count", "cycles", "gives", "takes")

    def __init__(self, run: FlatRun, queues: list[_Queue]) -> None:
        self.count, self.cycles = run.count, run.cycles
        self.takes = tuple((queues[s], n) for s, n in run.takes)
        self.gives = tuple((queues[s], n) for s, n in run.gives)


class _Progress:
    """How far a task has come: the run of its next firing, and how many firings are left."""

    __slots__ = ("at", "end", "flat", "in_run", "index", "left", "run", "runs", "server", "start")

    def __init__(self, index: int, flat: FlatTask, runs: list[_Run]) -> None:
        self.index, self.flat, self.runs = index, flat, runs
        self.at, self.run, self.in_run, self.left = 0, runs[0], runs[0].count, flat.firings
        self.start, self.end = -1, 0
        self.server: _Server

    def advance(self) -> None:
        """Moves on by one firing."""
        self.left -= 1
        self.in_run -= 1
        if not self.in_run:
            self.at = (self.at + 1) % len(self.runs)
            self.run = self.runs[self.at]
            self.in_run = self.run.count

    def lacks(self) -> tuple[str, str]:
        """What the next firing waits for: the cause and the stream; IDLE if it lacks nothing."""
        # Inputs first, each in the order of the task: this order is part of the definition, as it decides the cause.
        for queue, n in self.run.takes:
            if queue.tokens < n:
                return STARVED, queue.name
        for queue, n in self.run.gives:
            if queue.room < n:
                return BLOCKED, queue.name
        return IDLE, ""


class _Server:
    """A unit with its servers: starts firings, ends them, and counts the cycles of free servers by cause."""

    __slots__ = ("busy", "cause", "env", "flat", "free", "record", "since", "stalls")

    def __init__(self, env: simpy.Environment, flat: FlatUnit, tasks: list[_Progress]) -> None:
        self.env, self.flat = env, flat
        self.record: list[Row] | None = None
        for i in flat.tasks:
            tasks[i].server = self
        self.free, self.busy, self.since = flat.count, 0, 0
        self.stalls: dict[tuple[str, str], int] = {}
        self.cause: tuple[str, str] = (IDLE, "")

    def notice(self, task: _Progress) -> None:
        """Called when a queue of this task has changed, so that it may be able to fire."""
        raise NotImplementedError

    def next(self) -> None:
        """Starts what can start; called when a server comes free."""
        raise NotImplementedError

    def start(self, task: _Progress) -> None:
        """Starts the next firing of this task: takes tokens and output places, and ends after its cycles."""
        run = task.run
        now = self.env._now  # not the property `now`: this line runs at every firing
        for queue, n in run.takes:
            queue.tokens -= n
        for queue, n in run.gives:
            if queue.room < queue.least_room and queue.filled < now:
                queue.least_room = queue.room
            queue.room -= n
            queue.filled = now
        if task.start < 0:
            task.start = int(now)
        # The same cause goes on, but for one server less: the cycles up to now are counted with the old number.
        self.stall(self.cause)
        self.free -= 1
        self.busy += run.cycles
        if self.record is not None:
            end = int(now) + run.cycles
            self.record.append((self.flat.name, "busy", task.flat.name, int(now), end, self.flat.gang))
        task.advance()
        # The run goes with the event: the task may be in its next run by the time the firing ends.
        Timeout(self.env, run.cycles, (task, run)).callbacks.append(_end)

    def stall(self, cause: tuple[str, str]) -> None:
        """Counts the time since the last change for the old cause; from now on free servers wait for the new one."""
        now = self.env._now
        if self.free and now > self.since:
            self.stalls[self.cause] = self.stalls.get(self.cause, 0) + self.free * int(now - self.since)
            if self.record is not None and self.cause[0] != IDLE:
                servers = self.free * self.flat.gang
                self.record.append((self.flat.name, *self.cause, int(self.since), int(now), servers))
        self.since, self.cause = now, cause  # type: ignore[assignment]


class _InOrder(_Server):
    """A unit whose firings start in the order that the schedule fixes."""

    __slots__ = ("in_turn", "order", "turn")

    def __init__(self, env: simpy.Environment, flat: FlatUnit, tasks: list[_Progress]) -> None:
        super().__init__(env, flat, tasks)
        self.order = ((tasks[i], n) for i, n in walked(flat.order or ()))
        self.turn: _Progress | None
        self.turn, self.in_turn = next(self.order)

    def notice(self, task: _Progress) -> None:
        if self.free and task is self.turn:
            self.next()

    def next(self) -> None:
        while self.free:
            task = self.turn
            if task is None:
                self.stall((IDLE, ""))
                return
            # `lacks` written out: calling it made whole runs 5 % slower.
            for queue, n in task.run.takes:
                if queue.tokens < n:
                    self.stall((STARVED, queue.name))
                    return
            for queue, n in task.run.gives:
                if queue.room < n:
                    self.stall((BLOCKED, queue.name))
                    return
            self.start(task)
            self.in_turn -= 1
            if not self.in_turn:
                self.turn, self.in_turn = next(self.order, (None, 0))


class _InTurns(_InOrder):
    """A unit in order that tells apart, where the firing in turn cannot start, whether another one of it could."""

    __slots__ = ("clients",)

    def __init__(self, env: simpy.Environment, flat: FlatUnit, tasks: list[_Progress]) -> None:
        self.clients = [tasks[i] for i in flat.tasks]
        super().__init__(env, flat, tasks)

    def notice(self, task: _Progress) -> None:
        if self.free:
            self.next()

    def stall(self, cause: tuple[str, str]) -> None:
        waits = cause[0] in (STARVED, BLOCKED)
        if waits and any(task.left and task.lacks()[0] == IDLE for task in self.clients):
            cause = TURN, ""
        super().stall(cause)


class _FirstCome(_Server):
    """A unit that serves, of the lowest priority, the firing that has been ready for longest.

    The index of every unfinished task is in `ready`, in `starved` or in `blocked`.
    """

    __slots__ = ("blocked", "choosing", "ready", "starved", "tasks")

    def __init__(self, env: simpy.Environment, flat: FlatUnit, tasks: list[_Progress]) -> None:
        super().__init__(env, flat, tasks)
        self.tasks = tasks
        # A heap of (priority, ready since, index): the index is the place in the schedule and breaks ties.
        self.ready: list[tuple[int, float, int]] = []
        # All begin as starved; `run` notices each task once before the first event, which sorts it.
        self.starved = set(flat.tasks)
        self.blocked: set[int] = set()
        self.choosing = False

    def notice(self, task: _Progress) -> None:
        # A ready task stays ready: nobody else takes its tokens or its places.
        index = task.index
        if index in self.starved or index in self.blocked:
            self.starved.discard(index)
            self.blocked.discard(index)
            self.sort(task)
            self.next()

    def sort(self, task: _Progress) -> None:
        """Enters an unfinished task as ready from now on, or as waiting, by what its next firing lacks."""
        cause, _ = task.lacks()
        if cause == IDLE:
            heappush(self.ready, (task.flat.priority, self.env._now, task.index))
        else:
            (self.starved if cause == STARVED else self.blocked).add(task.index)

    def next(self) -> None:
        # One choice for all events of this time. Scheduled by hand, as `succeed` knows only the priority of the others.
        if not self.choosing:
            self.choosing = True
            choice = Event(self.env)
            choice._ok, choice._value = True, None
            choice.callbacks.append(self.choose)
            self.env.schedule(choice, priority=AFTER_ALL_ELSE)  # type: ignore[arg-type]

    def choose(self, _: Event) -> None:
        """Starts ready firings while a server is free, in the order of the heap."""
        self.choosing = False
        while self.free and self.ready:
            task = self.tasks[heappop(self.ready)[2]]
            self.start(task)
            if task.left:
                self.sort(task)
        if self.free:
            self.stall(self.why_free())

    def why_free(self) -> tuple[str, str]:
        """Why a server is free: the first task without room, else the first without input, else idle."""
        waiting = self.blocked or self.starved
        # The first by index, so that the cause does not depend on the order in which tasks came to wait.
        return self.tasks[min(waiting)].lacks() if waiting else (IDLE, "")


def _end(event: Any) -> None:
    """Ends a firing: frees its input places and its server; its output tokens become visible now or a latency later."""
    task, run = event._value
    server = task.server
    task.end = now = server.env._now
    server.stall(server.cause)
    server.free += 1
    for queue, n in run.takes:
        if queue.room < queue.least_room and queue.filled < now:
            queue.least_room = queue.room
        queue.room += n
        queue.taken += n
        queue.producer.server.notice(queue.producer)
    if run.gives:
        latency = server.flat.latency_cycles
        if latency:
            Timeout(server.env, latency, run.gives).callbacks.append(_arrive)
        else:
            _deliver(run.gives)
    server.next()


def _arrive(event: Any) -> None:
    _deliver(event._value)


def _deliver(gives: tuple[tuple[_Queue, int], ...]) -> None:
    for queue, n in gives:
        queue.tokens += n
        queue.given += n
        queue.consumer.server.notice(queue.consumer)


def batches(flat: Flat) -> Iterator[Batch]:
    """What each unit does in a run of this section, up to its end or deadlock, as one batch."""
    rows: list[Row] = []
    result = run(flat, record=rows)
    unfolded = flat.unfolded()
    units = {unit.name: i for i, unit in enumerate(unfolded.units)}
    tasks = {task.name: i for i, task in enumerate(unfolded.tasks)}
    streams = {stream.name: i for i, stream in enumerate(unfolded.streams)}
    what = {STARVED: 0, BLOCKED: len(unfolded.streams)}
    found = [
        (units[unit], -1 - tasks[of] if cause == "busy" else what[cause] + streams[of], start, end, servers)
        for unit, cause, of, start, end, servers in rows
    ]
    yield np.array(found, dtype=np.int64).reshape(-1, 5), result.cycle if isinstance(result, Stuck) else result.cycles


def run(flat: Flat, *, record: list[Row] | None = None, turns: bool = False) -> SectionResult | Stuck:
    """One run of this section, event by event; Stuck when nothing can happen any more and firings are left.

    Appends a row to `record`, where given, for each stretch of a unit's time. With `turns`, waits of a unit in order
    count as such for a turn, ("turn", ""), while a firing could start whose turn it is not.
    """
    section, flat = flat, flat.unfolded()
    env = simpy.Environment()
    queues = [_Queue(s.name, s.depth, s.initial) for s in flat.streams]
    tasks = [_Progress(i, t, [_Run(r, queues) for r in t.runs]) for i, t in enumerate(flat.tasks)]
    for queue, stream in zip(queues, flat.streams, strict=True):
        queue.producer, queue.consumer = tasks[stream.producer], tasks[stream.consumer]
    in_order = _InTurns if turns else _InOrder
    servers = [(_FirstCome if unit.order is None else in_order)(env, unit, tasks) for unit in flat.units]
    for server in servers:
        server.record = record
        if isinstance(server, _FirstCome):
            for i in server.flat.tasks:
                server.notice(tasks[i])
    for server in servers:
        server.next()
    env.run()
    for server in servers:
        server.stall(server.cause)  # up to the end, also of a deadlock
    if any(task.left for task in tasks):
        fired = [task.flat.firings - task.left for task in tasks]
        return Stuck(int(env.now), state_after(section, fired).waiting())
    return _result(flat, int(env.now), servers, tasks, queues)


def _result(
    flat: Flat, cycles: int, servers: Sequence[_Server], tasks: list[_Progress], queues: list[_Queue]
) -> SectionResult:
    units = {}
    for server in servers:
        idle = server.stalls.pop((IDLE, ""), 0)
        units[server.flat.name] = unit_result(server.flat, server.busy, idle, server.stalls)
    moved: dict[str, StreamResult] = {}
    for q in queues:
        # Of a broadcast the queue of the consumer that is furthest behind.
        peak = max(q.depth - q.least_room, moved[q.name].peak if q.name in moved else 0)
        moved[q.name] = StreamResult(q.given, q.taken, peak)
    return SectionResult(
        cycles, sum(t.flat.firings for t in tasks), units,
        {t.flat.name: TaskResult(t.start, t.end, t.flat.busy_cycles) for t in tasks}, moved,
    )  # fmt: skip
