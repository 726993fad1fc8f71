"""Design: units and links on one clock, read from YAML; the shipped designs and models, found by name.

Knows what exists and where each number is from. Does not know what will run on it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from archsim.errors import DesignError
from archsim.quantity import Bits, Count, Frequency, Limit, Watts, parse
from archsim.units import AnyUnit, Unit
from archsim.validate import validate
from archsim.yamlfile import Document, read
from dataflow.errors import PathProblems, guess
from dataflow.model import Model

FIELD = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _half_count(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if type(value) not in (int, float) or value < 0 or (2 * value) % 1:
        raise ValueError(f"expected a count of zero or more, in halves, such as 98.5, got {value!r}")
    return Fraction(value)


class Link(BaseModel):
    """A FIFO between two units."""

    model_config = FIELD

    from_: str = Field(alias="from", description="the unit that fills it")
    to: str = Field(description="the unit that empties it")
    depth: Count = Field(description="tokens that it holds")
    token_bits: Bits = Field(description="width of a token")


class HalfCount:
    """A count in halves, as half blocks of memory are counted; read into a Fraction."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_half_count)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "number", "unit": "count, in halves", "examples": [98.5]}


Amount = Annotated[Fraction, HalfCount]


class Resources(BaseModel):
    """What the part has and what each unit uses of it; `rest` is what belongs to no unit."""

    model_config = FIELD

    budget: dict[str, Amount] = Field(description="resource -> how much the part has")
    used: dict[str, dict[str, Amount]] = Field(description="unit, or rest -> resource -> how much it uses")


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
    resources: Resources | None = Field(None, description="budget and use of an FPGA's resources")
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
                    problems.append((f"links.{name}.{end}", f"{_no_unit(unit, self.units)}"))
        if problems:
            raise PathProblems(problems)
        return self

    @model_validator(mode="after")
    def _fits_budget(self) -> Design:
        if self.resources:
            problems = _over_budget(self.resources, self.units)
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
        data = copy.deepcopy(self._document.data)
        problems = [problem for path, value in changes.items() if (problem := _set(data, path, value))]
        if problems:
            raise DesignError([f"{self._document.path}: {problem}" for problem in problems])
        shown = ", ".join(f"{path}={value}" for path, value in changes.items())
        variant = _design(Document(f"{self._document.path} with {shown}", data, {}))
        variant._changed = (*self._changed, *changes)
        return variant

    def not_derived(self) -> tuple[str, ...]:
        """What a variant does not re-derive: the written resources of a unit whose parameters were changed."""
        written = self.resources.used if self.resources else {}
        return tuple(
            f"resources.used.{unit} is as written and does not follow {path}"
            for path in self._changed
            for unit in path.split(".")[1:2]
            if path.startswith("units.") and unit in written and not self.units[unit].resources()
        )

    def assumptions(self) -> dict[str, str]:
        """Why each number that the source does not give was assumed; of one that a variant changed, that it was set."""
        return {
            path: "set in this variant" if any(path == p or path.startswith(f"{p}.") for p in self._changed) else why
            for path, why in sorted(self.assumed.items())
        }

    def of_kind(self, kind: type[Unit]) -> dict[str, Any]:
        """The units of this kind by name."""
        return {name: unit for name, unit in self.units.items() if isinstance(unit, kind)}

    def used(self, resource: str) -> Fraction:
        """How much of the resource all units and the rest use together."""
        assert self.resources is not None
        return sum((_use(self.resources, self.units, owner, resource) for owner in self.resources.used), Fraction(0))


def _no_unit(name: str, units: Mapping[str, Any]) -> str:
    return f"no unit '{name}'; {guess(name, units, otherwise='units are')}"


def _use(resources: Resources, units: Mapping[str, Unit], owner: str, resource: str) -> Fraction:
    written = resources.used[owner].get(resource, Fraction(0))
    derived = units[owner].resources().get(resource, 0) if owner in units else 0
    return max(written, Fraction(derived))


def _over_budget(resources: Resources, units: Mapping[str, Unit]) -> list[tuple[str, str]]:
    problems = []
    for owner, uses in resources.used.items():
        if owner != "rest" and owner not in units:
            problems.append((f"resources.used.{owner}", f"{_no_unit(owner, units)}; or 'rest'"))
        for resource in uses:
            if resource not in resources.budget:
                known = ", ".join(resources.budget)
                problems.append((f"resources.used.{owner}.{resource}", f"not in the budget, which has: {known}"))
    for name, unit in units.items():
        if unit.resources() and name not in resources.used:
            problems.append(("resources.used", f"says nothing of '{name}', which uses {unit.resources()}"))
    for resource, budget in resources.budget.items():
        total = sum((_use(resources, units, owner, resource) for owner in resources.used), Fraction(0))
        if total > budget:
            problems.append(
                (f"resources.budget.{resource}", f"{float(total):g} are used and the part has {float(budget):g}; "
                 "use less or take a larger part")
            )  # fmt: skip
    return problems


def _set(data: Any, path: str, value: Any) -> str | None:
    """Replaces the value at the path in place; returns what is wrong, if anything."""
    *parents, last = path.split(".")
    at = data
    for i, key in enumerate(parents):
        if isinstance(at, dict) and key not in at and len(parents) - 1 == i >= 2:
            at[key] = {}  # an optional mapping of a unit, such as its energy
        if not isinstance(at, dict) or key not in at:
            return (
                f"{path}: no '{key}' " + (f"under '{'.'.join(parents[:i])}'" if i else "at the top") + _known(at, key)
            )
        at = at[key]
    if not isinstance(at, dict):
        return f"{path}: '{'.'.join(parents)}' holds one value, not keys"
    at[last] = value
    return None


def _known(at: Any, key: str) -> str:
    if not isinstance(at, dict):
        return ""
    return f"; {guess(key, at, otherwise='there are')}"


def _design(document: Document) -> Design:
    """The design that the document describes, its rates per second made exact per cycle by its clock."""
    try:
        clock_hz = parse(document.data.get("clock"), "frequency")
    except ValueError:
        clock_hz = Fraction(1)  # a stand-in, so that only the clock's own problem is told
    design = validate(document, Design, context={"clock_hz": clock_hz})
    design._document = document
    problems = [
        document.problem(f"{where}.{path}", "no such key in this file; an entry names a number that stands in it")
        for where in ("assumed", "fitted")
        for path in getattr(design, where)
        if not _stands(document.data, path)
    ]
    if problems:
        raise DesignError(problems)
    return design


def _stands(data: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def data_folder() -> Path:
    """The folder of the shipped YAML files: beside the packages in a checkout, inside archsim when installed."""
    installed = Path(__file__).parent / "designs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "designs"


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
