"""The units of a table-lookup accelerator by what they do, found by kinds and links, and the builder of its calls.

Knows the structure that the calls need. Does not know the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.design.design import Design, Link
from archsim.errors import MappingError
from archsim.units import (
    Channel,
    DecodeAttention,
    Host,
    Memory,
    Norm,
    PrefillAttention,
    TableLookup,
    Unit,
    Vector,
    WeightBuffer,
    WeightLoader,
)
from archsim.units.unit import ceil_div
from dataflow.op import work
from dataflow.pattern import Pattern
from dataflow.role import Role
from mappers.build.section_builder import SectionBuilder, chunks

FIFO_RATES = (1, 2, 4)  # elements per cycle through the quantised FIFO that whole tokens can represent
VECTOR_ELEMENTS = 16  # elements that the float path moves at once: 256 bit of FP16 (arXiv 2510.15926)


@dataclass(frozen=True, slots=True)
class UnitNames:
    """The names of the units of a table-lookup accelerator by what they do; the design has one of each."""

    memory: str
    loader: str
    buffer: str
    lookup: str
    quantiser: str
    dequantiser: str
    elementwise: str
    norm: str
    prefill: str
    decode: str
    host: str
    reader: str
    operand_reader: str
    writer: str

    @staticmethod
    def of(design: Design) -> UnitNames:
        """The names in this design. Raises MappingError where a unit is missing or there are several."""
        links = design.links
        lookup = _only_unit(design, TableLookup)
        vectors = design.of_kind(Vector)
        channels = design.of_kind(Channel)

        def source(unit: str, among: Sequence[str]) -> str:
            return _only_neighbour(design, [(link.from_, link.to) for link in links.values()], unit, among)

        def sink(unit: str, among: Sequence[str]) -> str:
            return _only_neighbour(design, [(link.to, link.from_) for link in links.values()], unit, among)

        # Units of one kind, such as the three vectors, are told apart by their links, from the look-up outwards.
        quantiser = source(lookup, list(vectors))
        dequantiser = sink(lookup, list(vectors))
        elementwise = sink(dequantiser, list(vectors))
        return UnitNames(
            memory=_only_unit(design, Memory), loader=_only_unit(design, WeightLoader),
            buffer=_only_unit(design, WeightBuffer), lookup=lookup, quantiser=quantiser, dequantiser=dequantiser,
            elementwise=elementwise, norm=_only_unit(design, Norm), prefill=_only_unit(design, PrefillAttention),
            decode=_only_unit(design, DecodeAttention), host=_only_unit(design, Host),
            reader=source(quantiser, list(channels)), operand_reader=source(elementwise, list(channels)),
            writer=sink(elementwise, list(channels)),
        )  # fmt: skip


def _only_unit(design: Design, kind: type[Unit]) -> str:
    names = list(design.of_kind(kind))
    if len(names) != 1:
        what = kind.__name__
        raise MappingError(
            f"a table-lookup accelerator has one unit of kind {what}, '{design.name}' has {len(names)}",
            ways_out=("another mapper", "a design with these units"),
        )
    return names[0]


def _only_neighbour(design: Design, ends: list[tuple[str, str]], unit: str, among: Sequence[str]) -> str:
    names = [a for a, b in ends if b == unit and a in among]
    if len(names) != 1:
        raise MappingError(
            f"design '{design.name}': one link joins '{unit}' and one of {', '.join(map(repr, among))}, "
            f"there are {len(names)}",
            ways_out=("links from reader to quantiser to look-up to dequantiser to element-wise unit to writer",),
        )
    return names[0]


def link_between(design: Design, source: str, sink: str) -> tuple[str, Link]:
    """The FIFO between two units, and its name."""
    return next((name, link) for name, link in design.links.items() if (link.from_, link.to) == (source, sink))


def link_depth(design: Design, source: str, sink: str) -> int:
    """Tokens that the FIFO between two units holds, plus the registers of the source's own pipeline.

    A pipelined unit keeps the items that it works on in its own registers, not in the FIFO. In the event model a firing
    takes its output place at its start, so the places of the pipeline are added here.
    """
    _, link = link_between(design, source, sink)
    return link.depth + int(design.units[source].latency_cycles)


def burst_bytes(loader: WeightLoader) -> int:
    """Bytes of a request on one port."""
    return loader.burst_beats * loader.port_bits // 8


@dataclass(slots=True, kw_only=True)
class CallBuilder(SectionBuilder):
    """A section of calls in the making, on the units of these names."""

    names: UnitNames
    activation_bytes: int

    @property
    def loader(self) -> WeightLoader:
        """The unit that brings the weights."""
        unit: WeightLoader = self.design.units[self.names.loader]  # type: ignore[assignment]
        return unit

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector of the float path."""
        return VECTOR_ELEMENTS * self.activation_bytes

    @property
    def burst_bytes(self) -> int:
        """Bytes of a request for activations or cache rows: a burst on one port."""
        return burst_bytes(self.loader)

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of the requests under way on a port."""
        return self.loader.outstanding * self.burst_bytes

    def bursts(
        self,
        name: str,
        kind: str,
        size: int,
        *,
        times: int = 1,
        role: Role,
        burst: int = 0,
        op: str | tuple[str, ...] = "",
    ) -> tuple[str, list[tuple[int, int]]]:
        """Adds a task that reads or writes `size` bytes in bursts, `times` times; its name, and the bursts of one time.

        The bursts are runs of (bytes, how many).
        """
        # The runs are one period of the task: each time ends with a shorter burst, if any; no burst spans two rows.
        runs = chunks(size, burst or self.burst_bytes)
        firings = times * sum(n for _, n in runs)
        works = [(work(kind, bytes=b), n) for b, n in runs]
        return self.task(name, self.names.memory, works, firings=firings, role=role, op=op), runs

    def link(
        self,
        producer: str,
        consumer: str,
        *,
        token: int = 1,
        gives: Pattern[int] | int = 1,
        takes: Pattern[int] | int = 1,
    ) -> None:
        """Joins two tasks by the design's FIFO between their units, whose name the stream keeps as its `fifo`.

        A token of the stream stands for `token` tokens of the link. Depths count tokens of the stream and include the
        registers of the source's pipeline, so a minimal depth found for the stream is not the link's own.
        """
        source, sink = (self.tasks[task].unit for task in (producer, consumer))
        name, link = link_between(self.design, source, sink)
        self.stream(
            producer,
            consumer,
            # Rounded down: a token of the stream needs places for all its elements.
            link_depth(self.design, source, sink) // token,
            gives=gives,
            takes=takes,
            token_bytes=ceil_div(token * link.token_bits, 8),
            fifo=name,
        )
