"""Silicon: area and power of a chip of equal cores, summed over the parts of a core; a variant's follow its cores."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from pydantic import BaseModel, Field, model_validator

from archsim.design.resources import no_unit
from archsim.files.provenance import FROZEN
from archsim.quantity import Area, Count, Watts
from archsim.units import Unit
from dataflow.errors import PathProblems, guess


class Component(BaseModel):
    """Area and power of one part of a core."""

    model_config = FROZEN

    area: Area = Field(description="area in this process")
    power: Watts = Field(description="power while it works")


class Silicon(BaseModel):
    """A chip of equal cores, each the sum of its parts; `retrieval` names the parts that select what to fetch.

    Not modelled: what lies outside the cores. The power is that of the cores at work; no run derives it.
    """

    model_config = FROZEN

    cores: Count | None = Field(None, description="number of cores of the chip, where none of `units` says it")
    parts: dict[str, Component] = Field(description="part of a core -> its area and power")
    retrieval: tuple[str, ...] = Field((), description="the parts that select which cached keys are fetched")
    units: tuple[str, ...] = Field(
        (), description="units that the cores are made of: a variant has as many cores as these say, and its area is "
        "not known where another of their parameters differs; without them, where any unit differs"
    )  # fmt: skip

    @model_validator(mode="after")
    def _is_made_of_parts(self) -> Silicon:
        problems = []
        for i, name in enumerate(self.retrieval):
            if name not in self.parts:
                meant = guess(name, self.parts, otherwise="parts are")
                problems.append((f"retrieval.{i}", f"no part '{name}'; {meant}"))
            elif name in self.retrieval[:i]:
                problems.append((f"retrieval.{i}", f"'{name}' twice; its area and power count once"))
        if not (self.core_area and self.core_power):  # the shares below divide by both
            problems.append(("parts", "a core without area or without power; list the parts of a core with both"))
        if problems:
            raise PathProblems(problems)
        return self

    def problems(self, units: Mapping[str, Unit]) -> list[tuple[str, str]]:
        """Problems with the units of a design: names that it lacks, and cores that are said twice or not at all."""
        if unknown := [name for name in self.units if name not in units]:
            return [("silicon.units", no_unit(name, units)) for name in unknown]
        cores = {name: getattr(units[name], "cores", None) for name in self.units}
        said = ", ".join(f"{name} {n}" for name, n in cores.items() if n is not None)
        if said and self.cores is not None:
            return [("silicon.cores", f"{self.cores}, which the units say too ({said}); leave it out")]
        if not said and self.cores is None:
            return [("silicon.cores", "missing, and no unit of `silicon.units` says how many cores it has")]
        return []

    @property
    def core_area(self) -> Fraction:
        """mm^2 of a core."""
        return sum((part.area for part in self.parts.values()), Fraction(0))

    @property
    def core_power(self) -> Fraction:
        """Watts of a core."""
        return sum((part.power for part in self.parts.values()), Fraction(0))

    def cores_of(self, units: Mapping[str, Unit], *, changed: Mapping[str, str]) -> int | str:
        """The cores of a chip in which these paths are not as built, for these reasons, or why they are not known.

        Each core keeps its parts, its memory among them.
        """
        for path, why in changed.items():
            place, _, rest = path.partition(".")
            name, _, parameter = rest.partition(".")
            made_of_it = place == "units" and (not name or not self.units or name in self.units)
            if made_of_it and not (name in self.units and parameter == "cores"):
                return why
        said = {cores for name in self.units if (cores := getattr(units[name], "cores", None)) is not None}
        if len(said) > 1:
            return f"units have {' and '.join(map(str, sorted(said)))} of them"
        return said.pop() if said else self.cores or 0

    @property
    def retrieval_area_share(self) -> Fraction:
        """Share of a core's area that the parts of `retrieval` take."""
        return sum((self.parts[name].area for name in self.retrieval), Fraction(0)) / self.core_area

    @property
    def retrieval_power_share(self) -> Fraction:
        """Share of a core's power that the parts of `retrieval` take."""
        return sum((self.parts[name].power for name in self.retrieval), Fraction(0)) / self.core_power
