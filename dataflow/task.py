"""Task and Stream: a part of an op given to a unit and fired many times, and the queue of tokens between two tasks.

Pure data. Whether tasks and streams fit together is for dataflow/section_rules.py to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dataflow.op import Counts, Work
from dataflow.pattern import Pattern

UNLIMITED = 2**62  # a depth that no run fills


@dataclass(frozen=True, slots=True)
class Task:
    """One op, or a part of one, given to one unit and fired `firings` times.

    `ops` names the op of the graph for each repetition of the section (one name where it does not repeat, none for a
    task that serves no single op). `takes` and `gives` say per stream how many tokens each firing consumes and makes.
    `tiles` is the part of the op that each firing with arithmetic computes: boxes of two ranges walked row-major, the
    step of a range being the size of a tile. The axes are (m, k) of a ternary_matmul, (m, n) of a matmul,
    (queries, keys) of attention, (head x queries + query, key) of one that is streamed, (rows, d) of the rest; a
    prefill's attention whose schedule has the option attention_order reversed counts both from the newest token. Rows
    beyond the tensor's are padding. `role` says what kind of tensor a read or write moves, and which expression a node
    of a streamed attention computes; `part` under which heading a report sums its time, none
    for what only runs ahead of others.
    """

    name: str
    unit: str
    firings: int
    work: Pattern[Work]
    takes: Mapping[str, Pattern[int]] = field(default_factory=dict)
    gives: Mapping[str, Pattern[int]] = field(default_factory=dict)
    ops: tuple[str, ...] = ()
    tiles: tuple[tuple[range, range], ...] = ()
    role: str = ""
    part: str = ""

    def counts(self) -> Counts:
        """The work of all firings, summed by what is counted."""
        out: Counts = {}
        for item, times in self.work.counted(self.firings):
            for what, n in item.counts().items():
                out[what] = out.get(what, 0) + n * times
        return out

    def slices(self) -> Iterator[tuple[range, range]]:
        """The slice that each computing firing works on, in order: ranges of step one, cut at the tensor's end."""
        for rows, columns in self.tiles:
            for r in rows:
                for c in columns:
                    yield (
                        range(r, min(r + rows.step, rows.stop)),
                        range(c, min(c + columns.step, columns.stop)),
                    )


@dataclass(frozen=True, slots=True)
class Stream:
    """A bounded queue of tokens between one producing and one consuming task.

    `depth` in tokens, UNLIMITED for a queue that never fills; `initial` tokens lie in it when the section starts.
    `bytes_per_token` is 0 for pure signals. `fifo` names the queue of the hardware that this stream is laid in: streams
    of one name use it one after another; a stream without one has a queue of its own.
    """

    name: str
    depth: int
    bytes_per_token: int = 0
    initial: int = 0
    fifo: str = ""
