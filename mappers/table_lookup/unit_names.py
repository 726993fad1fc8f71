"""The units of a table-lookup accelerator by what they do, found by kinds and links, and the FIFOs between them.

Knows the structure that the calls need. Does not know the calls.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from archsim import units
from archsim.design.design import Design, Link
from archsim.errors import MappingError
from dataflow.role import Role
from mappers.build.placement import homes_of, way_in


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
        lookup = _only_unit(design, units.TableLookup)
        vectors, channels = design.of_kind(units.Vector), design.of_kind(units.Channel)
        # Units of one kind, such as the three vectors, are told apart by their links, from the look-up outwards.
        quantiser = _only_neighbour(design, lookup, vectors, before=True)
        dequantiser = _only_neighbour(design, lookup, vectors, before=False)
        elementwise = _only_neighbour(design, dequantiser, vectors, before=False)
        return UnitNames(
            memory=_memory(design, lookup), loader=_only_unit(design, units.WeightLoader),
            buffer=_only_unit(design, units.WeightBuffer), norm=_only_unit(design, units.Norm),
            prefill=_only_unit(design, units.PrefillAttention), decode=_only_unit(design, units.DecodeAttention),
            host=_only_unit(design, units.Host), lookup=lookup, quantiser=quantiser, dequantiser=dequantiser,
            elementwise=elementwise, reader=_only_neighbour(design, quantiser, channels, before=True),
            operand_reader=_only_neighbour(design, elementwise, channels, before=True),
            writer=_only_neighbour(design, elementwise, channels, before=False),
        )  # fmt: skip


def _memory(design: Design, lookup: str) -> str:
    """The memory that its ports read and write: the home of all roles. Raises MappingError for several, or for hops."""
    where = "a table-lookup accelerator"
    ways = {role: way_in(design, lookup, role, where) for role in (Role.WEIGHT, Role.CACHE)}
    ways |= {role: (memory,) for role in (Role.ACTIVATION, Role.INPUT) for memory in homes_of(design, role)}
    found = set(ways.values())
    if len(found) != 1 or any(len(way) != 1 for way in found):
        told = ", ".join(f"{role} over [{', '.join(way)}]" for role, way in ways.items())
        memory = next((way[0] for way in found if way), "a memory")
        raise MappingError(
            f"reads {told}; its ports read one memory, in which all lies", where=where,
            ways_out=(f"paths: {{{lookup}: [{memory}]}}, home: {{weight: {memory}, cache: {memory}}} in the design",),
        )  # fmt: skip
    return found.pop()[0]


def _only_unit(design: Design, kind: type[units.Unit]) -> str:
    names = list(design.of_kind(kind))
    if len(names) != 1:
        what = kind.__name__
        raise MappingError(
            f"a table-lookup accelerator has one unit of kind {what}, '{design.name}' has {len(names)}",
            ways_out=("another mapper", "a design with these units"),
        )
    return names[0]


def _only_neighbour(design: Design, unit: str, among: Collection[str], *, before: bool) -> str:
    """The one of these units from which a link leads to the unit, or, with before False, to which one leads."""
    links = [(link.from_, link.to) if before else (link.to, link.from_) for link in design.links.values()]
    names = [neighbour for neighbour, end in links if end == unit and neighbour in among]
    if len(names) != 1:
        raise MappingError(
            f"design '{design.name}': one link joins '{unit}' and one of {', '.join(map(repr, among))}, "
            f"there are {len(names)}",
            ways_out=("links from reader to quantiser to look-up to dequantiser to element-wise unit to writer",),
        )
    return names[0]


def link_between(design: Design, source: str, sink: str) -> tuple[str, Link, int]:
    """The FIFO between two units: its name, itself, and the tokens that it and the source's own pipeline hold.

    A pipelined unit keeps the items that it works on in its own registers, not in the FIFO. In the event model a firing
    takes its output place at its start, so the places of the pipeline are added here.
    """
    name, link = next((name, link) for name, link in design.links.items() if (link.from_, link.to) == (source, sink))
    return name, link, link.depth + int(design.units[source].latency_cycles)
