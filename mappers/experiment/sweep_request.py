"""Plan: what a sweep is asked for, checked before anything runs. Knows paths; does not know how a combination runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from pydantic import BaseModel

from archsim.design.design import Design
from archsim.errors import DesignError, InputError, quoted
from archsim.files.edits import edited
from archsim.selection.selection import Selection, load_selection
from dataflow.errors import guess
from dataflow.models.model import Model
from mappers.experiment.run import check_phase
from mappers.registry import MAPPERS, SELECTION, options_of

TAKEN = ("prompt", "context", "tokens", "batch", "mask")  # paths that are what the phase takes
GIVEN = (*TAKEN, "mapper", "engine")  # what `run` takes besides
OF_SELECTION, OF_MAPPER = f"{SELECTION}.", "option."


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a sweep."""

    design: Design
    model: Model
    phase: str
    over: Mapping[str, list[Any]]
    selection: Selection | None
    options: Mapping[str, Any]
    asked: Mapping[str, Any]

    def values(self, name: str, given: Any) -> list[Any]:
        """Every value that is swept at a path, or the one that is given."""
        return self.over.get(name, [] if given is None else [given])


def listed(over: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each path as a list, numbers of arrays as Python's own. Raises InputError."""
    found, problems = {}, []
    for path, values in over.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            problems.append(f"{path}: expected a list of values, got {quoted(values)}")
        else:
            found[path] = [value.item() if hasattr(value, "item") else value for value in values]
    if problems:
        raise InputError(problems)
    return found


def of_design(path: str) -> bool:
    return path not in (*TAKEN, SELECTION) and not path.startswith((OF_SELECTION, OF_MAPPER))


def below(start: str, path: str) -> str:
    """What follows the start of a path; nothing where it starts otherwise."""
    return path.removeprefix(start) if path.startswith(start) else ""


def checked(plan: Plan) -> Plan:
    """The plan. Raises InputError with everything for which no combination could be run."""
    problems = [
        f"sweep takes no '{name}'; {guess(name, GIVEN, otherwise='it takes')}"
        for name in plan.asked
        if name not in GIVEN
    ]
    fixed = [name for name, value in {**plan.asked, SELECTION: plan.selection}.items() if value is not None]
    fixed += [OF_MAPPER + name for name in plan.options]
    problems += [
        f"{path}: is given as one value and as values to sweep; give one of the two"
        for path in fixed
        if path in plan.over
    ]
    problems += [f"{path}: no values; give at least one" for path, values in plan.over.items() if not values]
    problems += _phase_problems(plan)
    problems += [
        problem
        for path in plan.over
        if of_design(path)
        for problem in _path_problems(plan.design, path, path, opens=2)
    ]
    problems += _selection_problems(plan)
    problems += _mapper_problems(plan)
    if problems:
        raise InputError(problems)
    return plan


def _phase_problems(plan: Plan) -> list[str]:
    given = {name: 1 if name in plan.over else plan.asked.get(name) for name in TAKEN if name != "batch"}
    problems: list[str] = []
    try:
        check_phase(plan.phase, **given)
    except InputError as problem:
        problems += problem.problems
    for name in TAKEN:
        expected, kind = ("text", str) if name == "mask" else ("a whole number", int)
        problems += [
            f"{name}: expected {expected}, got {quoted(value)}"
            for value in plan.values(name, plan.asked.get(name))
            if isinstance(value, bool) or not isinstance(value, kind)
        ]
    return problems


def _path_problems(holder: Design | Selection, path: str, typed: str, *, opens: int) -> list[str]:
    """What is wrong with a path that no value could stand at, as it was typed."""
    try:
        edited(holder.document, {path: None}, opens=opens)
    except DesignError as problem:
        return [f"{typed}: {one.removeprefix(f'{holder.document.path}: {path}: ')}" for one in problem.problems]
    at: Any = holder
    keys = path.split(".")
    for i, key in enumerate(keys):
        if isinstance(at, BaseModel):
            fields = {field.alias or name: name for name, field in type(at).model_fields.items()}
            if key not in fields:
                there = f"under '{'.'.join(keys[:i])}'" if i else "at the top"
                return [f"{typed}: no '{key}' {there}; {guess(key, fields, otherwise='there are')}"]
            at = getattr(at, fields[key])
        else:
            at = at.get(key) if isinstance(at, Mapping) else None
    return []


def _selection_problems(plan: Plan) -> list[str]:
    problems, first = [], plan.selection
    for given in plan.over.get(SELECTION, []):
        try:
            if not isinstance(given, str | Selection):
                raise InputError(f"expected a shipped name, a path or a Selection, got {quoted(given)}")
            first = load_selection(given) if isinstance(given, str) else given
        except InputError as problem:
            problems += [f"{SELECTION}: {one}" for one in problem.problems]
    for path in plan.over:
        inner = below(OF_SELECTION, path)
        if inner and first is not None:
            problems += _path_problems(first, inner, path, opens=0)
        elif inner and SELECTION not in plan.over:
            problems.append(f"{path}: no selection is given; give one, or a path '{SELECTION}' beside it")
    return problems


def _mapper_problems(plan: Plan) -> list[str]:
    """Options that no mapper of the sweep has, and selections that none of them takes."""
    own = plan.asked.get("mapper")
    mappers = [own] if own else plan.over.get("mapper", [plan.design.mapper])
    known = [name for name in mappers if name in MAPPERS]
    if not known:
        return [f"unknown mapper {quoted(name)}; mappers are: {', '.join(MAPPERS)}" for name in mappers]
    there = dict.fromkeys(name for mapper in known for name in options_of(mapper))
    told = f"mapper {' or '.join(map(quoted, known))}"
    paths = [*([SELECTION] if plan.selection else []), *(OF_MAPPER + name for name in plan.options), *plan.over]
    problems = [
        f"{path}: {told} has no such option; {guess(below(OF_MAPPER, path), there, otherwise='options are')}"
        for path in paths
        if path.startswith(OF_MAPPER) and below(OF_MAPPER, path) not in there
    ]
    if not any(SELECTION in signature(MAPPERS[mapper]).parameters for mapper in known):
        chosen = [path for path in paths if path == SELECTION or path.startswith(OF_SELECTION)]
        problems += [f"{path}: {told} does not choose among cached keys" for path in chosen]
    return problems
