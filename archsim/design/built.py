"""What was built and measured: clock, units and links, and where a design differs from them, value by value.

Published power, area and uses of an FPGA are of these. Does not know what follows from a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from archsim.files.provenance import FROZEN
from archsim.files.validate import wrong_value
from archsim.quantity import Frequency
from archsim.units import KINDS
from dataflow.errors import PathProblems, guess, quoted

# Of these a change takes no hardware. `energy` is a price of what happens. `arbitration` is the order in which firings
# take a unit that is there anyway, whose control no formula counts; but see _has_own_servers.
NEUTRAL = ("energy", "arbitration")


class Compared(NamedTuple):
    """A unit or link beside itself as built.

    `now` is None where it was built and is no longer there; `built` is None where `built` does not say it, or says
    another kind. `differs` has the parameters of other values and their fields; `unsaid` the part itself, or those of
    its parameters that `built` leaves out and that have no default.
    """

    path: str
    now: Any | None
    built: Any | None
    differs: Mapping[str, str]
    unsaid: tuple[str, ...]

    def told(self) -> Iterator[tuple[str, str]]:
        """Each path in which it is not known to be as built, and in words what is the matter."""
        if self.now is None:
            yield self.path, f"{self.path} was built and is no longer there"
        yield from ((path, f"built does not say {path}") for path in self.unsaid)
        yield from ((path, f"{path} differs") for path in self.differs)


class Built(BaseModel):
    """The clock, units and links as they were when power, area and uses were measured, in the words of the design.

    What equals them keeps what was measured. What differs is scaled by a formula where there is one, else not known.
    """

    model_config = FROZEN

    clock: Frequency = Field(description="clock of what was measured")
    units: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="unit -> all its parameters as built, defaults apart"
    )
    links: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="link -> all its parameters as built, defaults apart"
    )


def compared(
    built: Built | None, units: Mapping[str, BaseModel], links: Mapping[str, BaseModel]
) -> dict[str, Compared]:
    """Every unit and link, there now or built, beside itself as built, by path.

    Raises PathProblems for a value of `built` that cannot be read.
    """
    of_units, of_links = (built.units, built.links) if built else ({}, {})
    parts = [(f"units.{name}", unit, of_units.get(name)) for name, unit in units.items()]
    parts += [(f"links.{name}", link, of_links.get(name)) for name, link in links.items()]
    gone = [f"units.{name}" for name in of_units if name not in units]
    gone += [f"links.{name}" for name in of_links if name not in links]
    found = {path: Compared(path, None, None, {}, ()) for path in gone}
    problems = list[tuple[str, str]]()
    for path, part, said in parts:
        try:
            clock_hz = Fraction(1) if built is None else built.clock
            found[path] = _beside_built(path, part, said, clock_hz=clock_hz)
        except PathProblems as unreadable:
            problems += unreadable.problems
    if problems:
        raise PathProblems(problems)
    return found


def _beside_built(path: str, now: Any, said: Mapping[str, Any] | None, *, clock_hz: Fraction) -> Compared:
    if said is None:
        return Compared(path, now, None, {}, (path,))
    if "kind" in said and said["kind"] != now.named_kind:
        if not isinstance(said["kind"], str) or said["kind"] not in KINDS:
            meant = guess(str(said["kind"]), KINDS, otherwise="kinds are")
            told = f"expected a kind of unit, got {quoted(said['kind'])}; {meant}"
            raise PathProblems([(f"built.{path}.kind", told)])
        return Compared(path, now, None, {f"{path}.kind": "kind"}, ())
    built = as_built(now, said, where=f"built.{path}", clock_hz=clock_hz)
    fields = type(now).model_fields
    parameters = {key: name for key, name in _parameters(now).items() if name not in NEUTRAL}
    unsaid = [f"{path}.{key}" for key, name in parameters.items() if key not in said and fields[name].is_required()]
    differs = {f"{path}.{key}": name for key, name in parameters.items() if getattr(now, name) != getattr(built, name)}
    if _has_own_servers(now) != _has_own_servers(built):
        differs[f"{path}.arbitration"] = "arbitration"
    return Compared(path, now, built, differs, tuple(unsaid))


def _has_own_servers(part: Any) -> bool:
    """True where every task has a server of its own, which takes hardware for each."""
    return getattr(part, "arbitration", "") == "placed"


def _parameters(part: BaseModel) -> dict[str, str]:
    """The parameters of a unit or link as files name them, and their fields."""
    return {field.alias or name: name for name, field in type(part).model_fields.items()}


def as_built(part: Any, said: Mapping[str, Any], *, where: str, clock_hz: Fraction) -> Any:
    """The unit or link with the parameters that are said, else their defaults, and the present ones without a default.

    Rates and times are read at the clock that was built. Raises PathProblems for a key or value that it does not take.
    """
    kind: type[BaseModel] = type(part)
    names, read, problems = _parameters(part), {}, []
    for key, value in said.items():
        if key not in names:
            problems.append((f"{where}.{key}", f"no such parameter; {guess(key, names, otherwise='there are')}"))
            continue
        try:
            adapter = _reader(kind, names[key])
            read[names[key]] = adapter.validate_python(value, context={"clock_hz": clock_hz})
        except ValidationError as error:
            problems.append((f"{where}.{key}", wrong_value(error.errors(include_url=False)[0])))
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
