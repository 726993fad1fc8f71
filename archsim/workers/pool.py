"""Pool: processes that answer tasks side by side; one that dies costs only the task that it was at."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from collections.abc import Mapping as Entries
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from archsim.errors import InputError, quoted
from archsim.files.json_text import json_line
from archsim.workers.lost import Lost
from archsim.workers.order import Queue

MOST_JOBS = 4096  # far above the cores of a machine
TRIES = 3  # of a task: a process may die for other reasons than the task that it was at
AHEAD = 2  # tasks that a process has at once, so that it never waits for the next
START = """import json, sys
sys.path[:] = json.loads(sys.argv[3])
from archsim.workers.serve import serve
serve(int(sys.argv[1]), int(sys.argv[2]))"""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_jobs(jobs: Any) -> int:
    """The number of processes. Raises InputError where it is none."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"jobs: expected a whole number of processes from 1 on, got {quoted(jobs)}")
    if jobs > MOST_JOBS:
        raise InputError(f"jobs: {quoted(jobs)} processes; take at most {MOST_JOBS}")
    return jobs


class Opening(Protocol):
    """What a process is sent first, pickled; `runs` is a folder that goes with the parent."""

    @property
    def runs(self) -> str | None: ...

    def read(self) -> Callable[[Any], Any]:
        """What answers a task, in the process. Raises InputError where it cannot there."""


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    line: Connection
    group: Hashable = None
    places: deque[int] = field(default_factory=deque)
    ready: bool = False


class Pool:
    """So many processes that answer tasks as the opening says; a context that ends them."""

    def __init__(self, opening: Opening, jobs: int) -> None:
        self._opening, self._jobs = opening, jobs
        self._workers: list[_Worker] = []
        self._died_early = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.line.close()
        for worker in self._workers:
            worker.process.wait()
        self._workers.clear()

    def answers(
        self, tasks: Entries[int, Any], groups: Entries[int, Hashable] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """The answer of each task with its place, when it is done; tasks of a group go to one process if they can.

        A task at which its process died, some times, has Lost for an answer. Raises InputError where processes cannot
        begin.
        """
        group_of = groups or dict.fromkeys(tasks)
        queue, died = Queue((place, group_of[place]) for place in tasks), Counter[int]()
        left = len(tasks)
        while left:
            self._fill(queue, tasks)
            for line in wait([worker.line for worker in self._workers]):
                worker = next(one for one in self._workers if one.line is line)
                try:
                    answer = worker.line.recv()
                except (EOFError, OSError):
                    if lost := self._after(worker, queue, group_of, died):
                        left -= 1
                        yield lost
                    continue
                if not worker.ready:
                    if answer is not None:
                        raise answer
                    worker.ready = True
                    self._died_early = 0
                    continue
                worker.places.remove(answer[0])
                left -= 1
                yield answer

    def _fill(self, queue: Queue, tasks: Entries[int, Any]) -> None:
        """Starts the processes that are missing, and gives each the tasks that it has room for."""
        missing = min(self._jobs - len(self._workers), len(queue))
        self._workers += [self._started() for _ in range(missing)]
        for worker in self._workers:
            while worker.ready and queue and len(worker.places) < AHEAD:
                place, worker.group = queue.next(worker.group)
                worker.places.append(place)
                try:
                    worker.line.send((place, tasks[place]))
                except OSError:
                    break  # it has died, which shows when it is read

    def _started(self) -> _Worker:
        if not sys.executable:
            raise InputError("jobs: it is not known which Python runs this; take jobs=1")
        here, there = socket.socketpair()
        paths = [path for path in sys.path if isinstance(path, str)]
        with there:
            # In a session of its own, so that an interrupt of the terminal reaches the parent alone.
            process = subprocess.Popen(
                [sys.executable, "-c", START, str(there.fileno()), str(os.getpid()), json_line(paths)],
                pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        line = Connection(here.detach())
        with suppress(OSError):  # where it has died at once, which shows when it is read
            line.send(self._opening)
        return _Worker(process, line)

    def _after(
        self, worker: _Worker, queue: Queue, group_of: Entries[int, Hashable], died: Counter[int]
    ) -> tuple[int, Lost] | None:
        """Puts the tasks of a process that has died back; the one that it was at is lost after some tries."""
        self._workers.remove(worker)
        worker.line.close()
        how, places = _how(worker.process.wait()), list(worker.places)
        lost: tuple[int, Lost] | None = None
        if not worker.ready:
            self._died_early += 1
            if self._died_early >= TRIES:
                raise InputError(f"jobs: processes end before they begin ({how}); take jobs=1")
        elif places:
            died[places[0]] += 1
            if died[places[0]] >= TRIES:
                told = f"its process died ({how}), {TRIES} times at this point; it may need more memory than there is"
                lost = places.pop(0), Lost(told)
            else:
                logging.getLogger("archsim").warning(f"a process died ({how}); the point that it was at runs again")
        for place in reversed(places):
            queue.put_back(place, group_of[place])
        return lost


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
