"""How much of an FPGA a design uses: what was measured on a build, scaled by the formulas of what a variant changed.

A unit or link at the parameters of `resources.built` uses what is written, exactly. Of another one
use = measured x formula(now) / formula(as built), rounded up: one factor for each unit and resource. What a unit uses
of a resource that is not written for it lies in `rest`, which changes by the difference of the formulas. Where no
formula follows, or `built` does not say a parameter that was set, the use is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from archsim.design.resources import REST, Resources
from archsim.units import Unit
from dataflow.errors import PathProblems, guess

Amounts = Mapping[str, int | Fraction]
NEUTRAL = ("energy",)  # parameters of a unit that change nothing of its structure


class Part(NamedTuple):
    """A unit or link: what it takes by formula, now and as built, and the paths set that `built` does not say."""

    path: str
    now: Amounts
    then: Amounts
    unsaid: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, as `used` has it."""
        return self.path.partition(".")[2]

    @property
    def as_built(self) -> bool:
        """True where it uses what was measured."""
        return not self.unsaid and self.now == self.then

    def knows(self, resource: str) -> bool:
        """True where its use of the resource follows."""
        return self.as_built or (not self.unsaid and resource in self.now)


def parts_of(
    resources: Resources,
    units: Mapping[str, Unit],
    links: Mapping[str, BaseModel],
    *,
    changed: Iterable[str],
    clock_hz: Fraction,
) -> list[Part]:
    """The units and links that use the FPGA. Raises PathProblems for a value of `built` that cannot be read."""
    paths = list(changed)
    there: dict[str, tuple[Any, dict[str, Any] | None]] = {
        f"units.{name}": (unit, resources.built.units.get(name))
        for name, unit in units.items()
        if not unit.off_chip or name in resources.used
    }
    there |= {f"links.{name}": (link, resources.built.links.get(name)) for name, link in links.items()}
    found, problems = [], list[tuple[str, str]]()
    for path, (part, built) in there.items():
        try:
            then = part if built is None else as_built(part, built, where=f"resources.built.{path}", clock_hz=clock_hz)
        except PathProblems as unreadable:
            problems += unreadable.problems
            continue
        now = part.resources()
        unsaid = tuple(_unsaid(path, built or {}, paths))
        found.append(Part(path, now, now if then is part else then.resources(), unsaid))
    if problems:
        raise PathProblems(problems)
    return found


def _unsaid(path: str, built: Mapping[str, Any], changed: Iterable[str]) -> Iterator[str]:
    """The paths that a variant set of a part, of which nobody says what they were as built."""
    for one in changed:
        whole, below = f"{path}.".startswith(f"{one}."), one.startswith(f"{path}.")
        if whole or (below and one[len(path) + 1 :].partition(".")[0] not in (*built, *NEUTRAL)):
            yield one


def as_built(part: BaseModel, built: Mapping[str, Any], *, where: str, clock_hz: Fraction) -> Any:
    """The unit or link with the parameters of `built`. Raises PathProblems for a key or value that it does not take."""
    names = {field.alias or name: name for name, field in type(part).model_fields.items() if name != "kind"}
    read, problems = {}, []
    for key, value in built.items():
        if key not in names:
            problems.append((f"{where}.{key}", f"no such parameter; {guess(key, names, otherwise='there are')}"))
            continue
        try:
            adapter = _reader(type(part), names[key])
            read[names[key]] = adapter.validate_python(value, context={"clock_hz": clock_hz})
        except ValidationError as error:
            told = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            problems.append((f"{where}.{key}", told))
    if problems:
        raise PathProblems(problems)
    return part.model_copy(update=read)


# Cached, because every variant of a sweep reads the same few parameters.
@lru_cache(maxsize=1 << 10)
def _reader(kind: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = kind.model_fields[name]
    annotated: Any = Annotated[field.annotation, *field.metadata]
    return TypeAdapter(annotated)


@dataclass(frozen=True, slots=True)
class Use:
    """What the parts of a design, and the rest, use of each resource; None where that is not known."""

    resources: Resources
    parts: tuple[Part, ...]

    def total(self, resource: str) -> Fraction | None:
        """The use of all together."""
        owners = [owner for owner in self.resources.used if owner != REST]
        return _sum([*(self.of(owner, resource) for owner in owners), self.rest(resource)])

    def of(self, owner: str, resource: str) -> Fraction | None:
        """What a unit that `used` names takes itself; none of what is not written for it, which lies in the rest."""
        written = self.resources.used.get(owner, {}).get(resource)
        part = next((part for part in self.parts if part.path == f"units.{owner}"), None)
        if written is None or part is None or part.as_built:
            return written or Fraction(0)
        if not part.knows(resource) or resource not in part.then:
            return None
        now, then = part.now[resource], part.then[resource]
        return Fraction(ceil(written * now / then)) if then else written + now

    def rest(self, resource: str) -> Fraction | None:
        """What is written for no unit: it changes by the difference of the formulas, scaled to fit in what is there."""
        written = self.resources.used.get(REST, {}).get(resource, Fraction(0))
        inside = self._inside(resource)
        if not all(part.knows(resource) for part in inside):
            return None
        difference = sum(part.now.get(resource, 0) - part.then.get(resource, 0) for part in inside)
        if not difference:
            return written
        there = self._found(resource)
        if there and not written:
            return None  # nothing is written of what the formulas find, so that nobody knows how much of it there is
        # Formulas that find more than there is would also take more away than there is.
        return written + difference if there <= written else Fraction(ceil(written + difference * written / there))

    def _inside(self, resource: str) -> list[Part]:
        """The parts of which nothing is written of the resource, so that they take it of the rest."""
        return [part for part in self.parts if resource not in self.resources.used.get(part.name, {})]

    def _found(self, resource: str) -> Fraction:
        """What the formulas find in the rest as built."""
        return sum((Fraction(part.then.get(resource, 0)) for part in self._inside(resource)), Fraction(0))

    def has(self, name: str) -> bool:
        """True for a unit that lies on the chip."""
        return any(part.path == f"units.{name}" for part in self.parts)

    def own(self, name: str, resource: str) -> Fraction | None:
        """What a unit uses, written for it or, by its formula, a part of the rest; None where that is not known."""
        part = next(part for part in self.parts if part.path == f"units.{name}")
        if resource in self.resources.used.get(name, {}):
            return self.of(name, resource)
        if part.unsaid or resource not in part.now:
            return None
        written, found = self.resources.used.get(REST, {}).get(resource, Fraction(0)), self._found(resource)
        return part.now[resource] * min(Fraction(1), written / found) if found else Fraction(part.now[resource])

    def factors(self) -> Iterator[tuple[str, str, Fraction]]:
        """Unit, resource and what was measured over what the formula gives as built: how far a formula is from a build.

        Of what `built` tells alone, because only that is ever scaled.
        """
        for part in self.parts:
            if part.name in self.resources.built.units and part.path.startswith("units."):
                for resource, written in self.resources.used.get(part.name, {}).items():
                    if part.then.get(resource):
                        yield part.name, resource, Fraction(written) / part.then[resource]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Uses beyond the budget."""
        for resource, budget in self.resources.budget.items():
            total = self.total(resource)
            if total is not None and total > budget:
                yield f"resources.budget.{resource}", self._excess(resource, total, budget)

    def _excess(self, resource: str, total: Fraction, budget: Fraction) -> str:
        uses = {owner: self.of(owner, resource) for owner in self.resources.used if owner != REST}
        uses[REST] = self.rest(resource)
        own = [
            f"'{owner}' {shown(use)}"
            for owner, use in uses.items()
            if use and use != self.resources.used.get(owner, {}).get(resource)
        ]
        of_them = f" (of these {', '.join(own)}, scaled from the build)" if own else ""
        return f"{shown(total)} are used{of_them} and the FPGA has {shown(budget)}; use less or take a larger one"

    def caveats(self) -> Iterator[str]:
        """What is not known of a variant and why, and what is scaled."""
        lacking: dict[str, list[str]] = {}
        for resource in self.resources.budget:
            if self.total(resource) is None:
                for part in self.parts:
                    if not part.knows(resource):
                        lacking.setdefault(part.unsaid[0] if part.unsaid else part.path, []).append(resource)
        for path, names in lacking.items():
            yield f"the use of {', '.join(names)} is not known: no formula follows {path}"
        changed = {part.name: part for part in self.parts if not part.as_built and not part.unsaid}
        scaled = [
            f"{resource} of {name} (alone off by a factor of {float(factor):.2f} as built)"
            for name, resource, factor in self.factors()
            if name in changed and changed[name].now.get(resource) != changed[name].then[resource]
        ]
        if scaled:
            yield f"scaled from the build by a formula: {', '.join(scaled)}"


def shown(amount: Fraction) -> str:
    """An amount with separators, in halves at most."""
    return f"{int(amount):,}" if amount.denominator == 1 else f"{float(amount):,.1f}"


def _sum(amounts: Iterable[Fraction | None]) -> Fraction | None:
    found = list(amounts)
    return None if None in found else sum((n for n in found if n is not None), Fraction(0))
