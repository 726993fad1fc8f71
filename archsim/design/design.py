"""Design: units and links on one clock, read from YAML.

Knows what exists and where each number comes from. Does not know what will run on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archsim.design.placement import Homes, PathsByRole, PlaceRule, placement_problems
from archsim.design.resources import Resources, no_unit
from archsim.design.silicon import Silicon
from archsim.design.tiers import tier_problems
from archsim.files.document import Document, message_at
from archsim.files.provenance import FROZEN, Fitted, Sourced
from archsim.files.shipped import found
from archsim.mapping import FORMER_MAPPERS, Choices, Mapping
from archsim.quantity import Bits, Count, Frequency, Limit, Watts, parse, show
from archsim.units import AnyUnit, Unit, any_unit
from dataflow.errors import PathProblems
from dataflow.name import LONGEST_NAME, Name
from dataflow.overview import counted


class Link(BaseModel):
    """A FIFO between two units."""

    model_config = FROZEN

    from_: str = Field(alias="from", description="the unit that fills it")
    to: str = Field(description="the unit that empties it")
    depth: Count = Field(description="tokens that it holds")
    token_bits: Bits = Field(description="width of a token")


class Design(Sourced):
    """Units and links on one clock, with source, assumptions, resources and power.

    Frozen. A variant is `design.with_({"units.tlmm.num_tables": 56})`, which edits the written form and reads it again.
    """

    # For editors; what the reader says of it stands below.
    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["mapper"]}, {"required": ["mapping"]}]})

    opens: ClassVar[int] = 2  # an edit may create units.<name>.energy
    rows: ClassVar = ("units", "unit", ("kind",))

    name: Name = Field(description="the name that reports print")
    source: str = Field(description="source of every number that is neither assumed nor fitted")
    clock: Frequency = Field(description="clock of the design; time is counted in its cycles")
    mapper: str | None = Field(
        None, description="mapper that places graphs on this design unless another is requested; `mapping` needs none"
    )
    mapping: Choices | None = Field(
        None, description="how ops run, as far as it is said here; the keys are those of a mapping file"
    )
    units: dict[str, AnyUnit] = Field(description="name -> unit")
    links: dict[str, Link] = Field(default_factory=dict, description="name -> FIFO between two units")
    fifos: dict[str, Limit] = Field(
        default_factory=dict,
        description="class of FIFOs (short, long) or stream of the mapper -> depth in tokens, or inf; for machines "
        "whose FIFOs can connect any two nodes",
    )
    tiers: tuple[str, ...] = Field(
        (),
        description="short form of one path that all units share, from the cores outward: the memory on chip, which is "
        "the home of activations, the main memory, which is that of weights and cache, then optionally channels and "
        "the memory behind them",
    )
    paths: dict[str, PathsByRole] = Field(
        default_factory=dict,
        description="unit -> memories and channels that its operands pass, from the unit outward, or such a list for "
        "each role and `default`; [] is an ideal memory, of which no bytes are counted",
    )
    home: dict[str, Homes] = Field(
        default_factory=dict,
        description="role -> memory in which its tensors lie between uses; learned ones lie where `weight` does unless "
        "named; of activations a list, whose next memory takes what does not fit (the spill); a role without a home "
        "takes no room and moves no bytes",
    )
    place: tuple[PlaceRule, ...] = Field(
        (), description="rules that say which of several units does an op; the first that matches wins"
    )
    resources: Resources | None = Field(None, description="budget and use of an FPGA's resources")
    silicon: Silicon | None = Field(None, description="area and power of the parts of a core of the chip")
    power: Watts | None = Field(None, description="published power of the whole; without it power is not modelled")
    approximated: tuple[str, ...] = Field((), description="what it leaves out of its source; every report repeats it")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    @model_validator(mode="after")
    def _fits_together(self) -> Design:
        if not self.units:
            raise PathProblems([("units", "expected at least one unit, got none")])
        if self.mapper in FORMER_MAPPERS:
            told = f"{self.mapper!r} is a mapping now; write '{FORMER_MAPPERS[self.mapper]}' in its place"
            raise PathProblems([("mapper", told)])
        if self.mapper is None and self.mapping is None:
            told = "missing key 'mapping'; write 'mapping: {order: time}' for ops one after another, or name a mapper"
            raise PathProblems([("", told)])
        ends = [
            (f"links.{name}.{end}", unit)
            for name, link in self.links.items()
            for end, unit in (("from", link.from_), ("to", link.to))
        ]
        problems = [(path, no_unit(unit, self.units)) for path, unit in ends if unit not in self.units]
        problems += self.resources.problems(self.units) if self.resources else []
        problems += tier_problems(self.tiers, self.units)
        problems += placement_problems(self.units, self.paths, self.home, self.place, self.tiers)
        if problems:
            raise PathProblems(problems)
        return self

    @classmethod
    def _context(cls, document: Document) -> dict[str, Any]:
        """The clock, by which rates per second become exact rates per cycle."""
        try:
            return {"clock_hz": parse(document.data.get("clock"), "frequency")}
        except ValueError:
            return {"clock_hz": Fraction(1)}  # a stand-in, so that only the problem of the clock itself is reported

    def __repr__(self) -> str:
        return f"<Design {self.name}: {counted(len(self.units), 'unit')} at {show(self.clock, 'frequency')}>"

    def simplified(self) -> tuple[str, ...]:
        """What it leaves out of its source, and what does not follow the changes of a variant."""
        return (*self.approximated, *self.not_derived())

    def not_derived(self) -> tuple[str, ...]:
        """What does not follow the changes of a variant: published power, and written resources of a changed unit."""
        changed = [path for path in self._changed if path.startswith(("units.", "clock"))]
        # Published power is that of the whole design as built, so it follows no unit and no clock.
        power = ("power is as published and does not follow what was changed, nor does energy",)
        return (power if self.power is not None and changed and "power" not in self._changed else ()) + tuple(
            f"resources.used.{unit} is as written and does not follow {path}" for unit, path in self._as_written()
        )

    def _as_written(self) -> Iterator[tuple[str, str]]:
        """The units that a variant changed and whose use of resources is only written, and the changed path."""
        written = self.resources.used if self.resources else {}
        for path in self._changed:
            for unit in path.split(".")[1:2] if path.startswith("units.") else ():
                if unit in written and not self.units[unit].resources():
                    yield unit, path

    def own_mapping(self, graph: str) -> Mapping:
        """What the design says of how ops of a graph, or of a model, of this name run; the rest is left open."""
        said = self._document.data.get("mapping") or {}
        source = f"chosen by least {(self.mapping or Choices()).cost}"
        # Of a name that no file can have what a file can.
        name = "".join(letter if letter.isprintable() else "?" for letter in f"{graph} on {self.name}")[:LONGEST_NAME]
        data = {"name": name.strip(), "version": 1, "source": source, "order": "time", "buffers": 2, "ahead": "next_op"}
        place = message_at(self._document.path, self._document.line("mapping"), "mapping", "")
        return Mapping.read(Document(place, {**data, **said}))

    def of_kind(self, kind: type[Unit]) -> dict[str, Any]:
        """The units of this kind by name."""
        return {name: unit for name, unit in self.units.items() if isinstance(unit, kind)}

    def used(self, resource: str) -> Fraction | None:
        """The amount of the resource that all units and the rest use together; None where it is not known.

        It is not known without resources, and in a variant that changed a unit whose use was only written, by itself or
        with the rest.
        """
        if self.resources is None:
            return None
        written = self.resources.used
        if any(resource in written[unit] or resource in written.get("rest", {}) for unit, _ in self._as_written()):
            return None
        return self.resources.total(resource, self.units)


def know_kinds() -> None:
    """Reads designs with all kinds of units that KINDS has by now."""
    mapping: Any = dict
    Design.model_fields["units"].annotation = mapping[str, any_unit()]
    Design.model_rebuild(force=True)


def load_design(name: str) -> Design:
    """The design with a shipped name or at a path. Raises DesignError with every problem of the file."""
    return Design.read(found(name, "", "design"))
