"""Design: units and links on one clock, read from YAML.

Knows what exists and where each number comes from. Does not know what will run on it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from archsim.design.built import Built, Compared, compared
from archsim.design.energy import CycleEnergy, Energy, cycle_energy
from archsim.design.placement import Homes, PathsByRole, PlaceRule, placement_problems
from archsim.design.resources import KNOWN, Resources, no_unit
from archsim.design.silicon import Silicon
from archsim.design.technology import Technology, load_technology, told_of
from archsim.design.tiers import tier_problems
from archsim.design.use import Use, parts_of
from archsim.design.use_told import beyond_budget, caveats
from archsim.errors import InputError
from archsim.files.document import Document, message_at
from archsim.files.provenance import FROZEN, Fitted, Sourced
from archsim.files.shipped import found, shipped
from archsim.mapping import FORMER_MAPPERS, Choices, Mapping
from archsim.quantity import Bits, Count, Frequency, Limit, Watts, parse, show
from archsim.units import AnyUnit, Unit, any_unit
from archsim.units.fifo_memory import fifo_memory
from archsim.units.fpga import Amounts
from dataflow.errors import PathProblems, guess
from dataflow.name import LONGEST_NAME, Name
from dataflow.op import Work
from dataflow.overview import counted


class Link(BaseModel):
    """A FIFO between two units."""

    model_config = FROZEN

    from_: str = Field(alias="from", description="the unit that fills it")
    to: str = Field(description="the unit that empties it")
    depth: Count = Field(description="tokens that it holds")
    token_bits: Bits = Field(description="width of a token")

    def resources(self) -> Amounts:
        """What its places take of an FPGA; pointers and flags are left out."""
        places = fifo_memory(self.depth, self.token_bits)
        return {"lut": places.lut, "ff": 0, "dsp": 0, "bram36": places.bram36, "uram": 0}


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
    power: Watts | None = Field(
        None, description="published power of the whole as built; without it, power follows from energies, if given"
    )
    built: Built | None = Field(
        None, description="clock, units and links of what was measured: power, area and uses of resources are theirs, "
        "and what of them does not follow a difference is not known"
    )  # fmt: skip
    technology: str | None = Field(
        None, description="prices what units without energies of their own count: a shipped name or a path"
    )
    energy: Energy | None = Field(
        None, description="idle power and energy of the cycles of an FPGA's resources, beside the energies of units"
    )
    approximated: tuple[str, ...] = Field((), description="what it leaves out of its source; every report repeats it")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    # Made with the design, because every run asks for them several times.
    _prices: Technology | None = PrivateAttr(None)
    _compared: dict[str, Compared] = PrivateAttr(default_factory=dict)  # with `built`
    _use: Use | None = PrivateAttr(None)

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
        problems += self._misbuilt()
        problems += self.silicon.problems(self.units) if self.silicon else []
        problems += self._mispriced()
        problems += self._unknown_technology()
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
        """What does not follow the changes of a variant, or only by a formula that is scaled to the build."""
        told = [] if self._prices is None else [told_of(self._prices)]
        if self.power is not None and self.published_power is None:
            way_out = "; `power` with `built: null` gives another" if self.built else ""
            why = next(iter(self._not_as_built.values()))
            told.append(f"power is published of what was built, and {why}: power and energy are not known{way_out}")
        if isinstance(self.cores, str):
            told.append(f"area is published of the cores that were built, and {self.cores}: area is not known")
        if self.built is None and (self.published_power is not None or self.silicon):
            told.append("power and area are the file's; nothing says what was built, so an edit by hand keeps them")
        if self.built and self.clock > self.built.clock:
            clock, built = show(self.clock, "frequency"), show(self.built.clock, "frequency")
            told.append(f"the clock of {clock} is above the {built} that was built; no model says whether it is met")
        if self.use:
            told += caveats(self.use, built=self.built is not None)
        return tuple(told)

    @property
    def _not_as_built(self) -> dict[str, str]:
        """The paths in which clock, units and links are not known to be as built, and in words what is the matter.

        Where nothing is said of what was built, those that this variant has set to other values than its file has.
        """
        if self.built is None:
            placed = [path for path in self._altered if path.partition(".")[0] in ("units", "links", "clock")]
            return {path: f"{path} differs" for path in placed}
        clock = {} if self.clock == self.built.clock else {"clock": "clock differs"}
        return clock | dict(pair for each in self._compared.values() for pair in each.told())

    @property
    def published_power(self) -> Fraction | None:
        """The power that the file gives of what was built; None without one, and of what is not known to be as built.

        Where nothing says what was built, a variant may set its own.
        """
        of_variant = self.built is None and "power" in self._changed
        return self.power if of_variant or not self._not_as_built else None

    @property
    def area(self) -> Fraction | None:
        """mm^2 of all cores of the chip; None without silicon, and of a variant whose cores are not known."""
        return self.cores * self.silicon.core_area if self.silicon and isinstance(self.cores, int) else None

    @property
    def cores(self) -> int | str | None:
        """The cores of its silicon, or why they are not known; None without silicon."""
        return self.silicon.cores_of(self.units, changed=self._not_as_built) if self.silicon else None

    @property
    def cycle_energy(self) -> CycleEnergy | None:
        """What a cycle takes beside the actions of units; None where the design gives no `energy`."""
        if self.energy is None:
            return None
        return cycle_energy(self.energy, self.use, self.units, clock_hz=self.clock)

    @property
    def files(self) -> dict[str, str]:
        """The file of its technology."""
        if self.technology is None:
            return {}
        return {"technology": str(shipped("technologies").get(self.technology, self.technology))}

    def action_joules(self, name: str, work: Work) -> Fraction | None:
        """Energy of this work on a unit, by its own energies or by the technology; None where they lack something."""
        unit = self.units[name]
        if unit.energy or self._prices is None:
            return unit.energy_joules(work)
        return self._prices.joules(unit, work)

    def why_unpriced(self, name: str) -> str:
        """Why there is no energy for work of this unit."""
        unit = self.units[name]
        if unit.energy or self._prices is None:
            return "the design gives no energy for its work"
        return self._prices.why_unpriced(unit)

    def _unknown_technology(self) -> list[tuple[str, str]]:
        if self.technology is None:
            return []
        try:
            self._prices = load_technology(self.technology)
            return self._prices.lacks(self.units)
        except InputError as wrong:
            return [("technology", problem) for problem in wrong.problems]

    def _mispriced(self) -> list[tuple[str, str]]:
        """Problems of power and energies: two answers, and resources that the FPGA does not have."""
        problems = []
        if self.power is not None:
            energies = [f"units.{name}.energy" for name, unit in self.units.items() if unit.energy]
            energies += [name for name in ("energy", "technology") if getattr(self, name) is not None]
            if energies:
                problems.append(("power", f"published power and `{energies[0]}` are two answers; give one of them"))
        budget = self.resources.budget if self.resources else {}
        for what in self.energy.cycle if self.energy else ():
            if what not in budget:
                known = guess(what, budget, otherwise="it has") if budget else "the design has no resources"
                problems.append((f"energy.cycle.{what}", f"no resource '{what}' in the budget; {known}"))
        return problems

    @property
    def use(self) -> Use | None:
        """What it uses of its FPGA; None without resources."""
        return self._use

    def _misbuilt(self) -> list[tuple[str, str]]:
        """Problems of what was built and of the resources: what the file says of them, and uses beyond the budget."""
        if self.resources and (problems := self.resources.problems(self.units)):
            return problems
        try:
            self._compared = compared(self.built, self.units, self.links)
            if self.resources:
                self._use = Use(self.resources, parts_of(self._compared.values(), self.resources))
        except PathProblems as unreadable:
            return unreadable.problems
        return [*beyond_budget(self._use, built=self.built is not None)] if self._use else []

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

    def uses(self) -> dict[str, tuple[Fraction | None, Fraction]]:
        """What it uses of each resource of its FPGA, None where that is not known, and the budget; the known first."""
        use = self.use
        if use is None:
            return {}
        budget = use.resources.budget
        order = [*(what for what in KNOWN if what in budget), *sorted(set(budget) - set(KNOWN))]
        return {what: (use.total(what), budget[what]) for what in order}

    def used(self, resource: str) -> Fraction | None:
        """The amount of the resource that all units and the rest use together; None where it is not known (Use)."""
        return self.use.total(resource) if self.use else None


def know_kinds() -> None:
    """Reads designs with all kinds of units that KINDS has by now."""
    mapping: Any = dict
    Design.model_fields["units"].annotation = mapping[str, any_unit()]
    Design.model_rebuild(force=True)


def load_design(name: str) -> Design:
    """The design with a shipped name or at a path. Raises DesignError with every problem of the file."""
    return Design.read(found(name, "", "design"))
