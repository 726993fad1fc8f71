"""Design: units and links on one clock, read from YAML; the shipped designs and models, found by name.

Knows what exists and where each number is from. Does not know what will run on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from archsim.design.resources import FIELD, Resources, Silicon, no_unit, tier_problems
from archsim.errors import DesignError
from archsim.files.document import Document, read
from archsim.files.edits import assumptions, edited, fits, missing
from archsim.files.validate import validate
from archsim.quantity import Bits, Count, Frequency, Limit, Watts, parse
from archsim.units import AnyUnit, Unit
from dataflow.errors import PathProblems, guess
from dataflow.models.model import Model


class Link(BaseModel):
    """A FIFO between two units."""

    model_config = FIELD

    from_: str = Field(alias="from", description="the unit that fills it")
    to: str = Field(description="the unit that empties it")
    depth: Count = Field(description="tokens that it holds")
    token_bits: Bits = Field(description="width of a token")


class Fitted(BaseModel):
    """Why a number was fitted, and the published point it was fitted to."""

    model_config = FIELD

    point: str = Field(description="the id of the published point")
    reason: str = Field(description="what the number stands for")


class Design(BaseModel):
    """Units and links on one clock, with source, assumptions, resources and power.

    Frozen. A variant is `design.with_({"units.tlmm.num_tables": 56})`, which edits the written form and reads it again.
    """

    model_config = FIELD

    name: str = Field(description="the name that reports print")
    source: str = Field(description="where the numbers are from that stand under neither assumed nor fitted")
    clock: Frequency = Field(description="the one clock in whose cycles time is counted")
    mapper: str = Field(description="the mapper that places graphs on this design unless another is asked for")
    units: dict[str, AnyUnit] = Field(description="name -> unit")
    links: dict[str, Link] = Field(default_factory=dict, description="name -> FIFO between two units")
    fifos: dict[str, Limit] = Field(
        default_factory=dict,
        description="class of FIFOs (short, long) or stream of the mapper -> depth in tokens, or inf; for machines "
        "whose FIFOs join any two nodes",
    )
    tiers: tuple[str, ...] = Field(
        (),
        description="the way of cached keys and values from the cores outward: a memory on chip, the main memory, "
        "then, if there is one, the memory beyond behind its channels",
    )
    resources: Resources | None = Field(None, description="budget and use of an FPGA's resources")
    silicon: Silicon | None = Field(None, description="area and power of the parts of a chip's core")
    power: Watts | None = Field(None, description="power of the whole, published; without it power is not modelled")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    _document: Document = PrivateAttr()
    _changed: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _links_join_units(self) -> Design:
        problems = []
        for name, link in self.links.items():
            for end, unit in (("from", link.from_), ("to", link.to)):
                if unit not in self.units:
                    problems.append((f"links.{name}.{end}", f"{no_unit(unit, self.units)}"))
        if problems:
            raise PathProblems(problems)
        return self

    @model_validator(mode="after")
    def _fits_budget(self) -> Design:
        if self.resources:
            problems = self.resources.problems(self.units)
            if problems:
                raise PathProblems(problems)
        return self

    @model_validator(mode="after")
    def _tiers_go_outward(self) -> Design:
        problems = tier_problems(self.tiers, self.units)
        if problems:
            raise PathProblems(problems)
        return self

    @property
    def document(self) -> Document:
        """The written form that this design was read from."""
        return self._document

    def with_(self, changes: Mapping[str, Any]) -> Design:
        """This design with the values at these dotted paths replaced, read anew so that every rate follows.

        Raises DesignError when a path is not there or the new value cannot be right.
        """
        variant = _design(edited(self._document, changes, opens=2))
        variant._changed = (*self._changed, *changes)
        return variant

    def not_derived(self) -> tuple[str, ...]:
        """What a variant does not re-derive: the power, and the written resources, of a unit that was changed."""
        written = self.resources.used if self.resources else {}
        changed = [path for path in self._changed if path.startswith(("units.", "clock"))]
        power = ("power is as published and does not follow what was changed, nor does energy",)
        return (power if self.power is not None and changed and "power" not in self._changed else ()) + tuple(
            f"resources.used.{unit} is as written and does not follow {path}"
            for path in self._changed
            for unit in path.split(".")[1:2]
            if path.startswith("units.") and unit in written and not self.units[unit].resources()
        )

    def assumptions(self) -> dict[str, str]:
        """Why each number that the source does not give was assumed; of one that a variant changed, that it was set."""
        return assumptions(self.assumed, self.fitted, self._changed)

    def fits(self) -> dict[str, str]:
        """The point that each fitted number was fitted to, those aside that a variant changed."""
        return fits(self.fitted, self._changed)

    def of_kind(self, kind: type[Unit]) -> dict[str, Any]:
        """The units of this kind by name."""
        return {name: unit for name, unit in self.units.items() if isinstance(unit, kind)}

    def used(self, resource: str) -> Fraction:
        """How much of the resource all units and the rest use together."""
        assert self.resources is not None
        return self.resources.total(resource, self.units)


def _design(document: Document) -> Design:
    """The design that the document describes, its rates per second made exact per cycle by its clock."""
    try:
        clock_hz = parse(document.data.get("clock"), "frequency")
    except ValueError:
        clock_hz = Fraction(1)  # a stand-in, so that only the clock's own problem is told
    design = validate(document, Design, context={"clock_hz": clock_hz})
    design._document = document
    problems = [*missing(document, "assumed", design.assumed), *missing(document, "fitted", design.fitted)]
    if problems:
        raise DesignError(problems)
    return design


def data_folder() -> Path:
    """The folder of the shipped YAML files: beside the packages in a checkout, inside archsim when installed."""
    package = Path(__file__).parent.parent
    installed = package / "designs"
    return installed if installed.is_dir() else package.parent / "designs"


def shipped(folder: str = "") -> dict[str, Path]:
    """The shipped files of a sub-folder ("" designs, "models", "published") by name."""
    return {path.stem: path for path in sorted((data_folder() / folder).glob("*.yaml"))}


def found(name: str, folder: str, noun: str) -> Document:
    """The document of a shipped name or of a path. Raises DesignError when there is neither."""
    known = shipped(folder)
    if name in known:
        path = known[name]
        short = "/".join(path.parts[path.parts.index("designs") :]) if "designs" in path.parts else str(path)
        document = read(path)
        return Document(short, document.data, document.lines)
    if name.endswith((".yaml", ".yml")) or Path(name).exists():
        return read(name)
    raise DesignError(f"no {noun} '{name}'; {guess(name, known, otherwise='shipped are')} (a path ends in .yaml)")


def load_design(name: str) -> Design:
    """The design of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return _design(found(name, "", "design"))


def load_model(name: str) -> Model:
    """The model of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return validate(found(name, "models", "model"), Model)
