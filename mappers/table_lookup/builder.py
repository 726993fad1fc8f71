"""The units of a table-lookup accelerator by what they do, found from kinds and links, and the builder of its calls.

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
from mappers.build.section_builder import SectionBuilder, chunks

GRAINS = (1, 2, 4)  # elements a cycle of the quantised FIFO that its tokens can show
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
        """The names in this design. Raises MappingError naming what is missing or there twice."""
        links = design.links
        lookup = _one(design, TableLookup)
        vectors = design.of_kind(Vector)
        channels = design.of_kind(Channel)

        def source(unit: str, among: Sequence[str]) -> str:
            return _joined(design, [(k.from_, k.to) for k in links.values()], unit, among)

        def sink(unit: str, among: Sequence[str]) -> str:
            return _joined(design, [(k.to, k.from_) for k in links.values()], unit, among)

        quantiser = source(lookup, list(vectors))
        dequantiser = sink(lookup, list(vectors))
        elementwise = sink(dequantiser, list(vectors))
        return UnitNames(
            memory=_one(design, Memory),
            loader=_one(design, WeightLoader),
            buffer=_one(design, WeightBuffer),
            lookup=lookup,
            quantiser=quantiser,
            dequantiser=dequantiser,
            elementwise=elementwise,
            norm=_one(design, Norm),
            prefill=_one(design, PrefillAttention),
            decode=_one(design, DecodeAttention),
            host=_one(design, Host),
            reader=source(quantiser, list(channels)),
            operand_reader=source(elementwise, list(channels)),
            writer=sink(elementwise, list(channels)),
        )


def _one(design: Design, kind: type[Unit]) -> str:
    names = list(design.of_kind(kind))
    if len(names) != 1:
        what = kind.__name__
        raise MappingError(
            f"a table-lookup accelerator has one unit of kind {what}, '{design.name}' has {len(names)}",
            ways_out=("another mapper", "a design with these units"),
        )
    return names[0]


def _joined(design: Design, ends: list[tuple[str, str]], unit: str, among: Sequence[str]) -> str:
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
    return next((name, k) for name, k in design.links.items() if (k.from_, k.to) == (source, sink))


def link_depth(design: Design, source: str, sink: str) -> int:
    """Tokens that the FIFO between two units holds, with the registers of the source's own pipeline.

    A pipelined unit keeps the items that it works on in its own registers, so they take no place of the FIFO; the event
    model lets a firing take its place at the start, so the pipeline's places are added here.
    """
    _, link = link_between(design, source, sink)
    return link.depth + int(design.units[source].latency_cycles)


def burst_bytes(loader: WeightLoader) -> int:
    """A request of one port."""
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
        """A request of activations and cache rows: a burst of one port."""
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
        role: str,
        burst: int = 0,
        op: str | tuple[str, ...] = "",
    ) -> tuple[str, list[tuple[int, int]]]:
        """Adds a task that reads or writes `size` bytes in bursts, so many times; its name and the runs of bursts."""
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

        A token of the stream is `token` of the link's. Depths are in tokens of the stream and hold the registers of the
        source's pipeline too, so a depth that is found for the stream is not the link's own.
        """
        source, sink = (self.tasks[task].unit for task in (producer, consumer))
        name, link = link_between(self.design, source, sink)
        self.stream(
            producer,
            consumer,
            link_depth(self.design, source, sink) // token,
            gives=gives,
            takes=takes,
            token_bytes=ceil_div(token * link.token_bits, 8),
            fifo=name,
        )
