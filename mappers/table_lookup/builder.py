"""CallBuilder: tasks on the units of a table-lookup accelerator, in bursts of its memory and over the design's FIFOs.

Knows what all calls build with. Does not know the calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from archsim.units.unit import ceil_div
from dataflow.op import work
from dataflow.role import Role
from mappers.build.pieces import chunks
from mappers.build.section_builder import OpNames, SectionBuilder, Tokens
from mappers.table_lookup.shapes import Shapes
from mappers.table_lookup.unit_names import link_between


@dataclass(slots=True, kw_only=True)
class CallBuilder(SectionBuilder):
    """A section of calls in the making, for a decoder of these shapes."""

    shapes: Shapes

    def bursts(
        self, name: str, kind: str, size: int, *, role: Role, times: int = 1, burst: int = 0, op: OpNames = ""
    ) -> tuple[str, list[tuple[int, int]]]:
        """Adds a task that reads or writes `size` bytes in bursts, `times` times; its name, and the bursts of one time.

        The bursts are runs of (bytes, how many).
        """
        # The runs are one period of the task: each time ends with a shorter burst, if any; no burst spans two rows.
        runs = chunks(size, burst or self.shapes.burst_bytes)
        works = [(work(kind, bytes=b), n) for b, n in runs]
        firings = times * sum(n for _, n in runs)
        return self.task(name, self.shapes.names.memory, works, firings=firings, role=role, op=op), runs

    def link(self, producer: str, consumer: str, *, token: int = 1, gives: Tokens = 1, takes: Tokens = 1) -> None:
        """Joins two tasks by the design's FIFO between their units, whose name the stream keeps as its `fifo`.

        A token of the stream stands for `token` tokens of the link. Depths count tokens of the stream and include the
        registers of the source's pipeline, so a minimal depth found for the stream is not the link's own.
        """
        name, link, held = link_between(self.design, self.tasks[producer].unit, self.tasks[consumer].unit)
        size = ceil_div(token * link.token_bits, 8)
        # Rounded down: a token of the stream needs places for all its elements.
        self.stream(producer, consumer, held // token, gives=gives, takes=takes, token_bytes=size, fifo=name)
