"""SweepRequest: what a sweep is asked for, checked before anything runs. Knows paths, not how a combination runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Entries
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from archsim.design.design import Design
from archsim.errors import DesignError, InputError, quoted
from archsim.files.edits import edited, keys_of
from archsim.mapping import Mapping, load_mapping
from archsim.selection.selection import Selection, load_selection
from dataflow.errors import guess
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.phases import PHASES, phase_named
from dataflow.phase import field_types
from mappers.experiment.axis import Axis, examples
from mappers.experiment.run import SELECTION, asked_of_graph, needs_phase
from mappers.mapper import Mapper, options_of
from mappers.registry import MAPPERS, MAPPING, no_mapping_of, own_mapper, takes, unknown_mapper

F = TypeVar("F", Selection, Mapping)

PHASES_PART, MODEL, OPTION, DESIGN = "phases", "model", "option", "design"
SELECTION_PREFIX, MAPPING_PREFIX, OPTION_PREFIX = f"{SELECTION}.", f"{MAPPING}.", f"{OPTION}."


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """The axes of a sweep by path (`over`), what they vary, and what stays the same.

    `phases` are the phases that each point runs, by label, each by its name with the fields that stay the same. A phase
    alone has the label "", a graph no phase. `mapper` and `engine` are as `run` takes them.
    """

    design: Design
    model: Model | Graph
    phases: Entries[str, tuple[str | None, Entries[str, Any]]]
    over: Entries[str, Axis]
    selection: Selection | None = None
    mapping: Mapping | None = None
    options: Entries[str, Any] = field(default_factory=dict)
    mapper: str | Mapper | None = None
    engine: str = "auto"

    def part(self, path: str) -> str:
        """What a path belongs to: "phases", "model", "selection", "mapping", "option", or else "design"."""
        first = path.partition(".")[0]
        if path in phase_fields():
            return PHASES_PART
        return first if first in (PHASES_PART, MODEL, SELECTION, MAPPING, OPTION) else DESIGN

    def below(self, part: str, settings: Entries[str, Any]) -> dict[str, Any]:
        """The settings of a part, by their paths within it; not those of the whole part, such as "selection"."""
        if part == DESIGN:
            return {path: value for path, value in settings.items() if self.part(path) == DESIGN}
        start = f"{part}."
        return {path.removeprefix(start): value for path, value in settings.items() if path.startswith(start)}

    def fields_of(self, label: str, settings: Entries[str, Any]) -> dict[str, Any]:
        """The fields of the phase of this label: what stays the same, what is swept of all, then what is of its own."""
        name, fixed = self.phases[label]
        of_all = {path: value for path, value in settings.items() if path in phase_fields()}
        if len(self.phases) > 1 and name in PHASES:
            # A path without a label is that of every phase that has the field.
            of_all = {path: value for path, value in of_all.items() if path in field_types(PHASES[name])}
        start = f"{PHASES_PART}.{label}."
        own = {path.removeprefix(start): value for path, value in settings.items() if path.startswith(start)}
        return {**fixed, **of_all, **own}

    def examples(self, name: str, given: Any) -> list[Any]:
        """Values at a path that stand for all that are swept, or the one that is given."""
        return examples(self.over[name]) if name in self.over else [] if given is None else [given]


def phase_fields() -> tuple[str, ...]:
    """The fields of all phases, so that a field of another phase is refused by its name."""
    return tuple(dict.fromkeys(name for phase in PHASES.values() for name in field_types(phase)))


def inner_path(start: str, path: str) -> str:
    """What follows the start of a path; nothing where it starts otherwise."""
    return path.removeprefix(start) if path.startswith(start) else ""


def problems_of(request: SweepRequest) -> list[str]:
    """Every mistake that would make all points of a request fail."""
    given = {"mapper": request.mapper, SELECTION: request.selection, MAPPING: request.mapping}
    fixed = [name for name, value in given.items() if value is not None]
    fixed += [f"{OPTION_PREFIX}{name}" for name in request.options]
    fixed += [name for _, fields in request.phases.values() for name, value in fields.items() if value is not None]
    fixed += [f"{PHASES_PART}.{label}.{name}" for label, (_, fields) in request.phases.items() for name in fields]
    problems = [
        f"{path}: is given as one value and as values to sweep; give one of the two"
        for path in fixed
        if path in request.over
    ]
    problems += _overlaps(request.over)
    problems += _phase_problems(request)
    problems += _model_problems(request)
    problems += [
        problem
        for path in request.over
        if request.part(path) == DESIGN
        for problem in _path_problems(request.design, path, path, opens=2)
    ]
    return problems + _selection_problems(request) + _mapping_problems(request) + _mapper_problems(request)


def _overlaps(over: Iterable[str]) -> list[str]:
    """Paths that lie below another, of which the order would decide, and parts that have no values of their own."""
    paths = list(over)
    whole = {MODEL: f"{MODEL}.layers", OPTION: f"{OPTION}.NAME", PHASES_PART: "context"}
    problems = [f"{path}: is no value but holds some; write a path below it, such as {whole[path]}"
                for path in paths if path in whole]  # fmt: skip
    problems += [
        f"{path}: lies below '{other}', which is swept too; sweep one of the two"
        for path in paths
        for other in paths
        if path.startswith(f"{other}.") and other not in (*whole, SELECTION, MAPPING)
    ]
    return problems


def _phase_problems(request: SweepRequest) -> list[str]:
    """What is wrong with the phases, and with paths of their fields."""
    paths = [path for path in request.over if request.part(path) == PHASES_PART]
    if isinstance(request.model, Graph):
        named = ["phase" for name, _ in request.phases.values() if name is not None]
        fields = [name for _, given in request.phases.values() for name, value in given.items() if value is not None]
        return asked_of_graph(request.model, dict.fromkeys([*named, *fields, *paths], True))
    if not request.phases or None in [name for name, _ in request.phases.values()]:
        return [needs_phase()]
    problems = _label_problems(request, [path for path in paths if path.startswith(f"{PHASES_PART}.")])
    named = [name for name, _ in request.phases.values() if name is not None]
    if len(named) > 1:
        problems += [
            f"{path}: no phase of this sweep takes it; phases are: {', '.join(named)}"
            for path in paths
            if not path.startswith(PHASES_PART)
            and not any(path in field_types(PHASES[name]) for name in named if name in PHASES)
        ]
    for label in request.phases:
        told = f"{PHASES_PART}.{label}: " if label else ""
        problems += [f"{told}{problem}" for problem in _field_problems(request, label)]
    return problems


def _label_problems(request: SweepRequest, paths: Iterable[str]) -> list[str]:
    """What is wrong with paths such as phases.talk.context."""
    problems, labels = [], [label for label in request.phases if label]
    for path in paths:
        label, _, name = path.removeprefix(f"{PHASES_PART}.").partition(".")
        if not labels:
            problems.append(f"{path}: the phase stands alone and has no label; write {name or label}")
        elif label not in labels:
            problems.append(f"{path}: no phase of this label; {guess(label, labels, otherwise='labels are')}")
        elif not name:
            problems.append(f"{path}: is a phase; write a path below it, such as {path}.context")
        elif name in request.over:
            problems.append(f"{path}: '{name}' is swept for all phases too; sweep one of the two")
    return problems


def _field_problems(request: SweepRequest, label: str) -> list[str]:
    """What is wrong with the fields of a phase: with the first value of each, and with every other value alone."""
    swept = {path: values for path, axis in request.over.items() if (values := examples(axis))}
    first = request.fields_of(label, {path: values[0] for path, values in swept.items()})
    tried = [first]
    for path, values in swept.items():
        if request.part(path) == PHASES_PART:
            tried += [{**first, **request.fields_of(label, {path: value})} for value in values]
    problems: dict[str, None] = {}
    for fields in tried:
        try:
            phase_named(request.phases[label][0] or "", fields)
        except InputError as problem:
            problems.update(dict.fromkeys(problem.problems))
    return list(problems)


def _model_problems(request: SweepRequest) -> list[str]:
    """What is wrong with paths of the model that no value could stand at."""
    paths = request.below(MODEL, dict.fromkeys(request.over))
    if isinstance(request.model, Graph):
        return [f"{MODEL}.{path}: graph '{request.model.name}' is no model, which has dimensions" for path in paths]
    fields = type(request.model).model_fields
    firsts = {path: path.split(".")[0] for path in paths}
    return [
        f"{MODEL}.{path}: no '{first}' in a model; {guess(first, fields, otherwise='there are')}"
        for path, first in firsts.items()
        if first not in fields
    ]


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
    for given in request.examples(name, None):
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
    own = request.mapper
    mappers = [own] if own is not None else request.examples("mapper", None) or [own_mapper(request.design)]
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
