"""Task and Stream: a part of an op that a unit fires many times, and the queue of tokens between two tasks.

Pure data. dataflow/section_rules.py checks whether tasks and streams fit together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from dataflow.op import Box, Counts, Work, summed
from dataflow.pattern import Pattern
from dataflow.role import Role

UNLIMITED = 2**62  # a depth that no run fills: the largest number that the compiled engine counts to


@dataclass(frozen=True, slots=True)
class Task:
    """One op, or a part of one, given to one unit and fired `firings` times.

    `ops` names the op of the graph for each repetition of the section (one name if it does not repeat, none for a task
    that serves no single op). `takes` and `gives` say per stream how many tokens each firing consumes and makes.
    `tiles` is the part of the op that each firing with arithmetic computes: boxes with a range for each axis of the
    op's kind, walked with the last axis fastest; the step of a range is the size of a tile. With the schedule option
    attention_order reversed, the tiles of an attention count queries and keys from the newest token. Rows beyond the
    tensor's are padding. `role` is that of the tensor that a task moves, `expression` the one that a node of a
    streamed attention computes. `part` is the heading under which a report sums the task's time, its name where none is
    given; it is empty for a task that only runs ahead of others. `servers` of the unit do each firing together. On a
    unit that serves first come, ready firings of a task of lower `priority` are served before others.
    """

    name: str
    unit: str
    firings: int
    work: Pattern[Work]
    takes: Mapping[str, Pattern[int]] = field(default_factory=dict)
    gives: Mapping[str, Pattern[int]] = field(default_factory=dict)
    ops: tuple[str, ...] = ()
    tiles: tuple[Box, ...] = ()
    role: Role | None = None
    expression: str = ""
    part: str | None = None
    servers: int = 1
    priority: int = 0

    def counts(self) -> Counts:
        """The counts of all firings, summed."""
        return summed((item.counts(), times) for item, times in self.work.counted(self.firings))

    def slices(self) -> Iterator[Box]:
        """The tile of each computing firing, in order: ranges of step one, cut at the end of the box."""
        for box in self.tiles:
            yield from product(*(_pieces(along) for along in box))


def _pieces(along: range) -> list[range]:
    return [range(start, min(start + along.step, along.stop)) for start in along]


@dataclass(frozen=True, slots=True)
class Stream:
    """A bounded queue of tokens from one producing task to one that consumes them, or to several: a broadcast.

    Each consumer of a broadcast takes all tokens. There is one buffer: a place comes free when the last consumer has
    finished with its token. `depth` is in tokens, UNLIMITED for a queue that never fills; `initial` tokens lie in it
    when the section starts. `bytes_per_token` is 0 for pure signals. `fifo` names the hardware queue that carries the
    stream; streams with one name use that queue one after another. A stream without a name has a queue of its own.
    `memory` names the memory in which its places lie; empty for a queue outside the design's memories.
    """

    name: str
    depth: int
    bytes_per_token: int = 0
    initial: int = 0
    fifo: str = ""
    memory: str = ""
