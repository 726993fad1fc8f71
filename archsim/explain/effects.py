"""Effects of changes: gains, their order, and the number that binds a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from archsim.design.design import Design
from archsim.errors import DesignError
from archsim.explain.changes import Change
from archsim.explain.findings import Binding, Effect
from archsim.explain.path import CriticalPath
from archsim.files.shipped import found

NO_LIMIT = 10**12  # of a resource: no FPGA comes near it


def effect_of(
    change: Change, figures: Mapping[str, Any], problem: str | None, *, before: float, design: Design
) -> Effect:
    """The effect of a change after which a run has these figures; none where it is refused, for the problem."""
    seconds = figures.get("seconds")
    budget = design.resources.budget if design.resources else {}
    used = {resource: figures.get(f"resources.{resource}") for resource in budget}
    beyond = {name: (n, float(budget[name])) for name, n in used.items() if n is not None and n > budget[name]}
    unknown = tuple(name for name, n in used.items() if n is None and seconds is not None)
    return Effect(change, seconds, None if seconds is None else before / seconds - 1, problem, beyond, unknown)


def without_budget(design: Design) -> dict[str, Any]:
    """The changes of the design with which nothing is beyond its budget, so that what lies beyond it has a time too."""
    return {f"resources.budget.{name}": NO_LIMIT for name in (design.resources.budget if design.resources else ())}


def sorted_effects(effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """The largest gain first, what is refused last; equal ones in the order of the design."""
    return tuple(sorted(effects, key=lambda one: (one.gain is None, -(one.gain or 0))))


def binding_of(path: CriticalPath, effects: Iterable[Effect], design: Design) -> Binding:
    """The unit with most of the path; of its numbers the one whose change brings most, and where it is written."""
    unit, cycles = next(iter(path.by_unit().items()))
    own = [one for one in effects if one.change.path.startswith(f"units.{unit}.") and (one.gain or 0) > 0]
    best = max(own, key=lambda one: one.gain or 0, default=None)
    where = None if best is None else written_at_line(design, best.change.path)
    return Binding(unit, cycles / (path.cycles - path.unseen), best, where)


def written_at_line(design: Design, path: str) -> str:
    """The file and line of a number, or that the variant sets it; of a default the line of its unit."""
    document = design.document
    if path in design.changed():
        return "this variant"
    if not document.lines and document.given:
        with suppress(DesignError):  # of a file that is no YAML, or gone, no line is known
            document = found(document.given, "", "design")
    line, default = document.line(path), design.at(path) is None
    place = f"{document.path}:{line}" if line else document.path
    return f"{place} (a default)" if default else place
