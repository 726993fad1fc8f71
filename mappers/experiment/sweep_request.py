"""SweepRequest: what a sweep is asked for, checked before anything runs. Knows paths, not how a combination runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Entries
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from archsim.design.design import Design
from archsim.errors import DesignError, InputError, quoted
from archsim.files.edits import edited, keys_of
from archsim.mapping import Mapping, load_mapping
from archsim.selection.selection import Selection, load_selection
from dataflow.errors import guess, refuse
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.phases import PHASES, phase_named
from dataflow.phase import field_types
from kernels.limits import COMBINATIONS, beyond
from mappers.experiment.run import SELECTION, asked_of_graph, needs_phase
from mappers.mapper import Mapper, options_of
from mappers.registry import MAPPERS, MAPPING, no_mapping_of, own_mapper, takes, unknown_mapper

F = TypeVar("F", Selection, Mapping)

SELECTION_PREFIX, MAPPING_PREFIX, OPTION_PREFIX = f"{SELECTION}.", f"{MAPPING}.", "option."


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """The values to sweep by path (`over`), what they vary, and what stays the same (`asked`, as `run` takes it)."""

    design: Design
    model: Model | Graph
    phase: str | None  # None of a graph
    over: Entries[str, list[Any]]
    selection: Selection | None
    mapping: Mapping | None
    options: Entries[str, Any]
    asked: Entries[str, Any]

    @property
    def of_phase(self) -> tuple[str, ...]:
        """Paths that are fields of a phase: of any, so that a field of another phase is refused by its name."""
        return tuple(dict.fromkeys(name for phase in PHASES.values() for name in field_types(phase)))

    def is_of_design(self, path: str) -> bool:
        """True for a path of the design: of nothing that the phase, the selection, the mapping or the mapper takes."""
        prefixes = (SELECTION_PREFIX, MAPPING_PREFIX, OPTION_PREFIX)
        return path not in (*self.of_phase, SELECTION, MAPPING) and not path.startswith(prefixes)

    def values(self, name: str, given: Any) -> list[Any]:
        """Every value that is swept at a path, or the one that is given."""
        return self.over.get(name, [] if given is None else [given])


def as_lists(over: Entries[str, Any]) -> dict[str, list[Any]]:
    """The values of each path as a list, numbers of arrays as Python's own. Raises InputError."""
    if not isinstance(over, Entries):
        raise InputError(f"over: expected a mapping of paths to lists of values, got {quoted(over)}")
    found, problems = {}, []
    for path, values in over.items():
        if not isinstance(path, str):
            problems.append(f"over: expected paths as text, got {quoted(path)}")
        elif isinstance(values, str | bytes | Entries) or not isinstance(values, Iterable):
            problems.append(f"{path}: expected a list of values, got {quoted(values)}")
        else:
            # Cut, because an iterator may have no end; the cut list is refused below.
            found[path] = [_plain(value) for value in islice(values, COMBINATIONS + 1)]
    asked = prod(map(len, found.values()))
    if problem := beyond(asked, COMBINATIONS, of="combinations", instead="sweep fewer values, or one part at a time"):
        problems.append(f"over: {problem}")
    refuse(problems, InputError)
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def inner_path(start: str, path: str) -> str:
    """What follows the start of a path; nothing where it starts otherwise."""
    return path.removeprefix(start) if path.startswith(start) else ""


def checked(request: SweepRequest) -> SweepRequest:
    """The request. Raises InputError with every mistake that would make all combinations fail."""
    of_run = (*request.of_phase, "mapper", "engine")  # what `run` takes besides
    problems = [
        f"sweep takes no '{name}'; {guess(name, of_run, otherwise='it takes')}"
        for name in request.asked
        if name not in of_run
    ]
    given = {**request.asked, SELECTION: request.selection, MAPPING: request.mapping}
    fixed = [name for name, value in given.items() if value is not None]
    fixed += [f"{OPTION_PREFIX}{name}" for name in request.options]
    problems += [
        f"{path}: is given as one value and as values to sweep; give one of the two"
        for path in fixed
        if path in request.over
    ]
    problems += [f"{path}: no values; give at least one" for path, values in request.over.items() if not values]
    problems += _phase_problems(request)
    problems += [
        problem
        for path in request.over
        if request.is_of_design(path)
        for problem in _path_problems(request.design, path, path, opens=2)
    ]
    problems += _selection_problems(request) + _mapping_problems(request)
    problems += _mapper_problems(request)
    refuse(problems, InputError)
    return request


def _phase_problems(request: SweepRequest) -> list[str]:
    """What is wrong with the fields of the phase: with the first value of each, and with every other value alone."""
    lists = {name: request.values(name, request.asked.get(name)) for name in request.of_phase}
    if isinstance(request.model, Graph):
        given = {name: values or None for name, values in lists.items()}
        return asked_of_graph(request.model, {"phase": request.phase, **given})
    if request.phase is None:
        return [needs_phase()]
    first = {name: values[0] for name, values in lists.items() if values}
    problems: dict[str, None] = {}
    for name, values in {"": [None], **lists}.items():
        for value in values:
            try:
                phase_named(request.phase, {**first, name: value} if name else first)
            except InputError as problem:
                problems.update(dict.fromkeys(problem.problems))
    return list(problems)


def _path_problems(holder: Design | Selection | Mapping, path: str, typed: str, *, opens: int) -> list[str]:
    """What is wrong with a path that no value could stand at, as it was typed."""
    try:
        edited(holder.document, {path: None}, opens=opens)
    except DesignError as problem:
        return [f"{typed}: {one.removeprefix(f'{holder.document.path}: {path}: ')}" for one in problem.problems]
    at: Any = holder
    keys = keys_of(holder.document.data, path)
    for i, key in enumerate(keys):
        if isinstance(at, BaseModel):
            fields = {field.alias or name: name for name, field in type(at).model_fields.items()}
            if key not in fields:
                there = f"under '{'.'.join(keys[:i])}'" if i else "at the top"
                return [f"{typed}: no '{key}' {there}; {guess(key, fields, otherwise='there are')}"]
            at = getattr(at, fields[key])
        else:
            at = at.get(key) if isinstance(at, Entries) else None
    return []


def _file_problems(
    request: SweepRequest, name: str, kind: type[F], load: Callable[[str], F]
) -> tuple[list[str], F | None]:
    """What is wrong with the values of a sweep that are read from files of their own, and the last that is right."""
    problems: list[str] = []
    last: F | None = None
    for given in request.over.get(name, []):
        try:
            if not isinstance(given, str | kind):
                raise InputError(f"expected a shipped name, a path or a {kind.__name__}, got {quoted(given)}")
            last = load(given) if isinstance(given, str) else given
        except InputError as problem:
            problems += [f"{name}: {one}" for one in problem.problems]
    return problems, last


def _mapping_problems(request: SweepRequest) -> list[str]:
    """What is wrong with mappings, and with paths of the one that is given or else of the design's own."""
    problems, last = _file_problems(request, MAPPING, Mapping, load_mapping)
    first = last or request.mapping or request.design.own_mapping(request.model.name)
    for path in request.over:
        if inner := inner_path(MAPPING_PREFIX, path):
            problems += _path_problems(Mapping.read(first.opened([inner])), inner, path, opens=0)
    return problems


def _selection_problems(request: SweepRequest) -> list[str]:
    problems, last = _file_problems(request, SELECTION, Selection, load_selection)
    first = last or request.selection
    for path in request.over:
        inner = inner_path(SELECTION_PREFIX, path)
        if inner and first is not None:
            problems += _path_problems(first, inner, path, opens=0)
        elif inner and SELECTION not in request.over:
            problems.append(f"{path}: no selection is given; give one, or a path '{SELECTION}' beside it")
    return problems


def _mapper_problems(request: SweepRequest) -> list[str]:
    """Options that no mapper of the sweep has, and selections that none of them takes."""
    own = request.asked.get("mapper")
    mappers = [own] if own is not None else request.over.get("mapper", [own_mapper(request.design)])
    mappers = [mapper.name if isinstance(mapper, Mapper) else mapper for mapper in mappers]
    known = [name for name in mappers if isinstance(name, str) and name in MAPPERS]
    if not known:
        return [unknown_mapper(name) for name in mappers]
    there = dict.fromkeys(name for mapper in known for name in options_of(MAPPERS[mapper]))
    told = f"mapper {' or '.join(map(quoted, known))}"
    options = [f"{OPTION_PREFIX}{name}" for name in request.options]
    given = {SELECTION: request.selection, MAPPING: request.mapping}
    paths = [*(name for name, value in given.items() if value), *options, *request.over]
    problems = [
        f"{path}: {told} has no such option; {guess(inner_path(OPTION_PREFIX, path), there, otherwise='options are')}"
        for path in paths
        if path.startswith(OPTION_PREFIX) and inner_path(OPTION_PREFIX, path) not in there
    ]
    if not any(takes(mapper, Mapping) for mapper in known):
        mapped = [path for path in paths if path == MAPPING or path.startswith(MAPPING_PREFIX)]
        problems += [f"{path}: {no_mapping_of(mapper)}" for path in mapped for mapper in known]
    if not any(takes(mapper, Selection) for mapper in known):
        chosen = [path for path in paths if path == SELECTION or path.startswith(SELECTION_PREFIX)]
        problems += [f"{path}: {told} does not choose among cached keys" for path in chosen]
    return problems
