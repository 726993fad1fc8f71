"""How much of an FPGA a design uses: what was measured on a build, scaled by the formulas of what differs from it.

What a unit uses, where `resources.used` has its measured use (W), and its formula gives F now and B as built:

| unit or link against `built`                    | use written for it     | else, as a part of `rest`               |
|-------------------------------------------------|------------------------|-----------------------------------------|
| equal, value by value (built.py)                | W                      | rest stays                              |
| differs where its formula reads                 | W x F / B, rounded up  | rest + (F - B) of all such              |
| the same, but all B together exceed the rest    | -                      | rest + (F - B) x rest / B, rounded up   |
| differs where no formula reads, or is not said  | not known              | not known                               |

With W = 100, F = 60, B = 40 it uses 150; in a rest of 50 the same difference gives 70, and in a rest of 20, which the
formula finds to be 40, 20 + 20 x 20 / 40 = 30.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from archsim.design.built import Compared
from archsim.design.resources import REST, Resources, taken
from archsim.units.watched import parameters_read


class Part(NamedTuple):
    """A unit or link: what it takes by formula, now and as built, and why nobody knows what it uses."""

    path: str
    now: Mapping[str, int | Fraction]
    then: Mapping[str, int | Fraction]
    unknown: tuple[str, ...] = ()

    @property
    def as_built(self) -> bool:
        """True where it uses what was measured."""
        return not self.unknown and self.now == self.then

    def knows(self, resource: str) -> bool:
        """True where its use of the resource follows."""
        return self.as_built or (not self.unknown and resource in self.now)

    def why(self, resource: str) -> str:
        """Why its own use of the resource is not known."""
        return self.unknown[0] if self.unknown else f"no formula gives the {resource} of {self.path}"


def parts_of(compared: Iterable[Compared], resources: Resources) -> tuple[Part, ...]:
    """The units and links that use the FPGA: those on the chip, and those whose use is written."""
    return tuple(
        _part(each, resources.budget)
        for each in compared
        if not getattr(each.now, "off_chip", False) or resources.written(each.path)
    )


def _part(compared: Compared, budget: Collection[str]) -> Part:
    path, now, built = compared.path, compared.now, compared.built
    takes = {} if now is None else taken(path, now, budget)
    if now is None or built is None:
        return Part(path, takes, {}, tuple(told for _, told in compared.told()))
    read = parameters_read(now) | parameters_read(built) if compared.differs else frozenset()
    unknown = [told for each, told in compared.told() if each in compared.unsaid]
    unknown += [f"no formula follows {each}" for each, field in compared.differs.items() if field not in read]
    return Part(path, takes, taken(f"built.{path}", built, budget), tuple(unknown))


@dataclass(frozen=True, slots=True)
class Use:
    """What the parts of a design, and the rest, use of each resource; None where that is not known."""

    resources: Resources
    parts: tuple[Part, ...]

    def total(self, resource: str) -> Fraction | None:
        """The use of all together."""
        return _sum([*(self.written(name, resource) for name in self.resources.owners), self.rest(resource)])

    def part(self, name: str) -> Part | None:
        """The part that is the unit with this name; None for one that takes nothing of the chip."""
        return next((part for part in self.parts if part.path == f"units.{name}"), None)

    def written(self, name: str, resource: str) -> Fraction | None:
        """What follows from the use that is written for a unit; none of what is not, because the rest has it."""
        measured, part = self.resources.used.get(name, {}).get(resource), self.part(name)
        if measured is None or part is None or part.as_built:
            return measured or Fraction(0)
        if not part.knows(resource) or resource not in part.then:
            return None
        now, then = part.now[resource], part.then[resource]
        return Fraction(ceil(measured * now / then)) if then else measured + now

    def rest(self, resource: str) -> Fraction | None:
        """What is written for no unit: it changes by the difference of the formulas, scaled to fit in what is there."""
        measured, inside = self.resources.used.get(REST, {}).get(resource, Fraction(0)), self._in_rest(resource)
        if self.is_left_out(resource) or not all(part.knows(resource) for part in inside):
            return None
        difference = sum(part.now.get(resource, 0) - part.then.get(resource, 0) for part in inside)
        if not difference:
            return measured
        found = self._found_in_rest(resource)
        if found and not measured:
            return None  # none is written of what the formulas find, so that there is nothing to scale
        # Formulas that find more than there is would also take more away than there is.
        return measured + difference if found <= measured else Fraction(ceil(measured + difference * measured / found))

    def is_left_out(self, resource: str) -> bool:
        """True where nothing is written of the resource for the rest, and the formulas find some there as built."""
        return resource not in self.resources.used.get(REST, {}) and self._found_in_rest(resource) > 0

    def own(self, name: str, resource: str) -> Fraction | None:
        """What a unit on the chip uses, written for it or, by its formula, as a part of the rest; None if not known."""
        if resource in self.resources.used.get(name, {}):
            return self.written(name, resource)
        part = self.part(name)
        if part is None or part.unknown or resource not in part.now:
            return None
        measured = self.resources.used.get(REST, {}).get(resource, Fraction(0))
        found = self._found_in_rest(resource)
        return part.now[resource] * min(Fraction(1), measured / found) if found else Fraction(part.now[resource])

    def _in_rest(self, resource: str) -> list[Part]:
        """The parts of which nothing is written of the resource, so that they take it of the rest."""
        return [part for part in self.parts if resource not in self.resources.written(part.path)]

    def _found_in_rest(self, resource: str) -> Fraction:
        """What the formulas find in the rest as built."""
        return sum((Fraction(part.then.get(resource, 0)) for part in self._in_rest(resource)), Fraction(0))


def _sum(amounts: Iterable[Fraction | None]) -> Fraction | None:
    found = list(amounts)
    return None if None in found else sum((n for n in found if n is not None), Fraction(0))
