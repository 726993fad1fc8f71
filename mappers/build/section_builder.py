"""Sketch: tasks and streams while they are being joined; `section` freezes them into the schedule's contract.

A call is a group of tasks that a design runs as one: it starts when every call it comes after has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dataflow.op import Work
from dataflow.pattern import Pattern, every, sequence
from dataflow.schedule import Section
from dataflow.task import Stream, Task


@dataclass(slots=True)
class Sketch:
    """Tasks and streams of a section in the making; it repeats once for each of `scopes`, the prefixes of its ops.

    `finals` holds the last tasks of each call; `part` is the heading that tasks added from now on are reported under.
    """

    scopes: tuple[str, ...]
    tasks: dict[str, Task] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    finals: dict[str, list[str]] = field(default_factory=dict)
    part: str = ""

    def task(
        self,
        name: str,
        unit: str,
        firings: int,
        work: Pattern[Work] | Work,
        *,
        op: str | tuple[str, ...] = "",
        tiles: tuple[tuple[range, range], ...] = (),
        role: str = "",
    ) -> str:
        """Adds a task; `op` is the op's name within a scope, or the full name for each repetition."""
        pattern = every(work) if isinstance(work, Work) else work
        if isinstance(op, str):
            op = tuple(scope + op for scope in self.scopes) if op else ()
        self.tasks[name] = Task(name, unit, firings, pattern, {}, {}, op, tiles, role, self.part)
        return name

    def stream(
        self,
        producer: str,
        consumer: str,
        depth: int,
        *,
        gives: Pattern[int] | int = 1,
        takes: Pattern[int] | int = 1,
        token_bytes: int = 0,
        name: str = "",
        fifo: str = "",
    ) -> None:
        """Joins two tasks by a queue; `fifo` names the queue of the hardware that calls use one after another."""
        name = name or f"{producer} > {consumer}"
        self.streams.append(Stream(name, depth, token_bytes, fifo=fifo))
        source, sink = self.tasks[producer], self.tasks[consumer]
        given = every(gives) if isinstance(gives, int) else gives
        taken = every(takes) if isinstance(takes, int) else takes
        self.tasks[producer] = replace(source, gives={**source.gives, name: given})
        sink = self.tasks[consumer]
        self.tasks[consumer] = replace(sink, takes={**sink.takes, name: taken})

    def after(self, call: str, starters: list[str]) -> None:
        """The starters fire first when the call has ended: a signal from each of its last tasks to each of them."""
        for final in self.finals[call]:
            for starter in starters:
                ends, begins = self.tasks[final].firings, self.tasks[starter].firings
                self.stream(
                    final,
                    starter,
                    1,
                    gives=sequence((0, ends - 1), (1, 1)),
                    takes=sequence((1, 1), (0, begins - 1)),
                    name=f"{final} done > {starter}",
                )

    def section(self, name: str) -> Section:
        """The section of all tasks, repeated once per scope."""
        return Section(name, tuple(self.tasks.values()), tuple(self.streams), len(self.scopes))


def chunks(total: int, size: int) -> list[tuple[int, int]]:
    """Equal chunks and the rest: ((size, how many), (rest, 1)), those of none left out.

    >>> chunks(10, 4), chunks(8, 4), chunks(3, 4)
    ([(4, 2), (2, 1)], [(4, 2)], [(3, 1)])
    """
    whole, rest = divmod(total, size)
    return [run for run in ((size, whole), (rest, 1)) if run[0] and run[1]]
