"""How much of an FPGA a design uses: what was measured on a build, scaled by the formulas of what differs from it.

A unit or link is compared with itself as `resources.built` says it, value by value. If all are equal, it uses what is
written, exactly. If those differ that its formula reads, use = measured x formula(now) / formula(as built), rounded up:
one factor for each unit and resource. What a unit uses of a resource that is not written for it lies in `rest`, which
changes by the difference of the formulas. If anything else differs, or `built` does not say it, the use is not known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from archsim.design.resources import REST, Resources, taken
from archsim.units import KINDS, Unit
from archsim.units.watched import parameters_read
from dataflow.errors import PathProblems, guess

Amounts = Mapping[str, int | Fraction]


class Part(NamedTuple):
    """A unit or link: what it takes by formula, now and as built, and why its use is not known."""

    path: str
    now: Amounts
    then: Amounts
    unknown: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name, as `used` has it."""
        return self.path.partition(".")[2]

    @property
    def as_built(self) -> bool:
        """True where it uses what was measured."""
        return not self.unknown and self.now == self.then

    def knows(self, resource: str) -> bool:
        """True where its use of the resource follows."""
        return self.as_built or (not self.unknown and resource in self.now)


def parts_of(
    resources: Resources, units: Mapping[str, Unit], links: Mapping[str, BaseModel], *, clock_hz: Fraction
) -> list[Part]:
    """The units and links that use the FPGA. Raises PathProblems for a value of `built` that cannot be read."""
    there: dict[str, tuple[BaseModel, dict[str, Any] | None]] = {
        f"units.{name}": (unit, resources.built.units.get(name))
        for name, unit in units.items()
        if not unit.off_chip or name in resources.used
    }
    there |= {f"links.{name}": (link, resources.built.links.get(name)) for name, link in links.items()}
    found, problems = [], list[tuple[str, str]]()
    for path, (part, built) in there.items():
        try:
            found.append(_part(path, part, built, budget=resources.budget, clock_hz=clock_hz))
        except PathProblems as unreadable:
            problems += unreadable.problems
    if problems:
        raise PathProblems(problems)
    return found


def _part(
    path: str, part: Any, built: Mapping[str, Any] | None, *, budget: Collection[str], clock_hz: Fraction
) -> Part:  # fmt: skip
    now = taken(path, part, budget)
    if built is None:
        return Part(path, now, now, (f"resources.built does not say {path}",))
    if "kind" in built and built["kind"] != part.named_kind and built["kind"] in KINDS:
        return Part(path, now, now, (f"no formula follows {path}.kind",))
    then = as_built(part, built, where=f"resources.built.{path}", clock_hz=clock_hz)
    structure = {key: name for key, name in _parameters(part).items() if name not in NEUTRAL}
    fields = type(part).model_fields
    lacking = [key for key, name in structure.items() if key not in built and fields[name].is_required()]
    other = [key for key, name in structure.items() if getattr(part, name) != getattr(then, name)]
    if _places(part) != _places(then):
        other.append("arbitration")
    read = parameters_read(part) | parameters_read(then) if other else frozenset()
    unknown = [f"resources.built does not say {path}.{key}" for key in lacking]
    unknown += [f"no formula follows {path}.{key}" for key in other if structure.get(key) not in read]
    return Part(path, now, taken(f"resources.built.{path}", then, budget), tuple(unknown))


# Of these a change takes no hardware. `energy` is a price of what happens. `arbitration` is the order in which firings
# take a unit that is there anyway, whose control no formula counts; but see _places.
NEUTRAL = ("energy", "arbitration")


def _places(part: Any) -> bool:
    """True where every task has a server of its own, which takes hardware for each."""
    return getattr(part, "arbitration", "") == "placed"


def _parameters(part: BaseModel) -> dict[str, str]:
    """The parameters of a unit or link as files name them, and their fields."""
    return {field.alias or name: name for name, field in type(part).model_fields.items()}


def as_built(part: Any, built: Mapping[str, Any], *, where: str, clock_hz: Fraction) -> Any:
    """The unit or link with the parameters of `built`, else their defaults, and the present ones without a default.

    Raises PathProblems for a key or value that it does not take.
    """
    kind: type[BaseModel] = type(part)
    names, read, problems = _parameters(part), {}, []
    for key, value in built.items():
        if key not in names:
            problems.append((f"{where}.{key}", f"no such parameter; {guess(key, names, otherwise='there are')}"))
            continue
        try:
            adapter = _reader(kind, names[key])
            read[names[key]] = adapter.validate_python(value, context={"clock_hz": clock_hz})
        except ValidationError as error:
            told = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            problems.append((f"{where}.{key}", told))
    if problems:
        raise PathProblems(problems)
    optional = {name: field for name, field in kind.model_fields.items() if not field.is_required()}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in optional.items()}
    return part.model_copy(update={**defaults, **read})


# Cached, because every variant of a sweep reads the same few parameters.
@lru_cache(maxsize=1 << 10)
def _reader(kind: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = kind.model_fields[name]
    annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
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
        if part.unknown or resource not in part.now:
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
            total = self.total(resource) if self.resources.built.said else self.resources.measured(resource)
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
        """What is not known and why, and what is scaled."""
        if not self.resources.built.said:
            told = "resources.built does not say with which parameters it was measured"
            yield f"the use of {', '.join(self.resources.budget)} is not known: {told}"
            return
        lacking: dict[str, list[str]] = {}
        for resource in self.resources.budget:
            if self.total(resource) is None:
                for part in self.parts:
                    if not part.knows(resource):
                        why = part.unknown[0] if part.unknown else f"no formula follows {part.path}"
                        lacking.setdefault(why, []).append(resource)
        for why, names in lacking.items():
            yield f"the use of {', '.join(names)} is not known: {why}"
        changed = {part.name: part for part in self.parts if not part.as_built and not part.unknown}
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
