"""Task, Served and Stream: what a unit fires many times, the ops that it serves, and the queue between two tasks.

Pure data. dataflow/section_rules.py checks whether tasks and streams fit together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from dataflow.op import Box, Counts, Work, computes, summed
from dataflow.pattern import Pattern, every
from dataflow.role import Role

ONE_TILE = every(1)
UNLIMITED = 2**62  # a depth that no run fills: the largest number that the compiled engine counts to


@dataclass(frozen=True, slots=True)
class Served:
    """An op that a task serves, and the part of it that the task computes.

    `ops` names the op of the graph for each repetition of the section: one name if it does not repeat. `tiles` are
    boxes with a range for each axis of the op's kind, walked with the last axis fastest; the step of a range is the
    size of a tile. No tiles: the whole op, or its operands. With the schedule option attention_order reversed, the
    tiles of an attention count queries and keys from the newest token. Rows beyond the tensor's are padding.
    `per_firing`: how many of the tiles each firing computes, counted over the firings with arithmetic.
    """

    ops: tuple[str, ...]
    tiles: tuple[Box, ...] = ()
    per_firing: Pattern[int] = ONE_TILE

    def slices(self) -> Iterator[Box]:
        """The tiles one by one, in order: ranges of step one, cut at the end of the box."""
        for box in self.tiles:
            yield from product(*(_pieces(along) for along in box))


def _pieces(along: range) -> list[range]:
    return [range(start, min(start + along.step, along.stop)) for start in along]


@dataclass(frozen=True, slots=True)
class Task:
    """One op, a part of one or several fused ops, given to one unit and fired `firings` times.

    `takes` and `gives` say per stream how many tokens each firing consumes and makes. `serves` has each op that the
    task computes or moves operands of. Of several ops a firing computes tiles of one or of more, which are of one kind;
    its work is that of all its tiles. `role` is that of the tensor that a task moves, `expression` the one that a node
    of a streamed attention computes. `part` is the heading under which a report sums the task's time, its name where
    none is given; it is empty for a task that only runs ahead of others. `servers` of the unit do each firing together.
    On a unit that serves first come, ready firings of a task of lower `priority` are served before others.

    Two firings for the products q of four columns and k of two. First each computes half of both; then one after the
    other, each of them whole:

    >>> from dataflow.op import work
    >>> def columns(n, step):
    ...     return ((range(1), range(1), range(0, 8, 8), range(0, n, step)),)
    >>> both = Task("qk", "mm", 2, every(work("matmul", m=1, k=8, n=3)),
    ...             serves=(Served(("q",), columns(4, 2)), Served(("k",), columns(2, 1))))
    >>> in_turn = Task("qk", "mm", 2, Pattern(((work("matmul", m=1, k=8, n=4), 1), (work("matmul", m=1, k=8, n=2), 1))),
    ...                serves=(Served(("q",), columns(4, 4), per_firing=Pattern(((1, 1), (0, 1)))),
    ...                        Served(("k",), columns(2, 2), per_firing=Pattern(((0, 1), (1, 1))))))
    >>> both.counts() == in_turn.counts() == {"mac": 48}
    True
    """

    name: str
    unit: str
    firings: int
    work: Pattern[Work]
    takes: Mapping[str, Pattern[int]] = field(default_factory=dict)
    gives: Mapping[str, Pattern[int]] = field(default_factory=dict)
    serves: tuple[Served, ...] = ()
    role: Role | None = None
    expression: str = ""
    part: str | None = None
    servers: int = 1
    priority: int = 0

    def counts(self) -> Counts:
        """The counts of all firings, summed."""
        return summed([(item.counts(), times) for item, times in self.work.sums(self.firings).items()])

    @property
    def ops(self) -> tuple[str, ...]:
        """The names of all ops that it serves, in all repetitions of its section."""
        return tuple([name for served in self.serves for name in served.ops])

    @property
    def computing(self) -> int:
        """How many of the firings do arithmetic."""
        return sum([n for item, n in self.work.sums(self.firings).items() if computes(item)])


@dataclass(frozen=True, slots=True)
class Stream:
    """A bounded queue of tokens from one producing task to one that consumes them, or to several: a broadcast.

    Each consumer of a broadcast takes all tokens. There is one buffer: a place comes free when the last consumer has
    finished with its token. `depth` is in tokens, UNLIMITED for a queue that never fills; `initial` tokens lie in it
    when the section starts. `bytes_per_token` is 0 for pure signals. `fifo` names the hardware queue that carries the
    stream; streams with one name use that queue one after another. A stream without a name has a queue of its own.
    `memory` names the memory in which its places lie; empty for a queue outside the design's memories. `at` is the
    first byte of a memory's room for streams that its places take, where the mapper says so: streams whose places
    overlap use them one after another. Streams of this memory that do not say it lie beside all of these. `tiles`: of a
    memory made of tiles, how many the places take, so that they are read and written as fast as tokens pass.
    """

    name: str
    depth: int
    bytes_per_token: int = 0
    initial: int = 0
    fifo: str = ""
    memory: str = ""
    at: int | None = None
    tiles: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of all its places."""
        return self.depth * self.bytes_per_token
