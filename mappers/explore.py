"""Sweeps: a phase under every combination of values of the design, the selection, the options and the phase.

Knows what a combination is made of and in which order combinations are cheapest. Refused combinations are rows too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import product
from typing import Any

from pydantic import BaseModel

from archsim.design import Design
from archsim.errors import DesignError, InputError, quoted
from archsim.report import Report
from archsim.selection import Selection, load_selection
from archsim.units import Memory
from archsim.written import edited
from dataflow.errors import guess
from dataflow.model import Model
from mappers.choose import MAPPERS, SELECTION, options_of
from mappers.pipeline import check_phase, run

TAKEN = ("prompt", "context", "tokens", "batch", "mask")  # paths that are what the phase takes
GIVEN = (*TAKEN, "mapper", "engine")  # what `run` takes besides
OF_SELECTION, OF_MAPPER, READ_BYTES = f"{SELECTION}.", "option.", "read_bytes."
# Paths that decide how a selection's rule runs, and what of a selection does not; chosen.py keeps the last runs.
OF_THE_RULE = (SELECTION, "prompt", "context", "tokens")
NOT_OF_THE_RULE = ("", "resident", "kept")
MEASURES = (
    "seconds", "frames_per_second", "tokens_per_second", "energy_joules", "kept", "hit_rate", "mass_recall",
    "top_recall", "output_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One combination: its values by path, and its report, or the problem for which it is refused.

    Every measure is None where it is refused, or where the report does not have it. `memories` are those of the design
    that is varied.
    """

    settings: Mapping[str, Any]
    report: Report | None
    problem: str | None = None
    memories: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Time of the whole."""
        return None if self.report is None else self.report.seconds

    @property
    def frames_per_second(self) -> float | None:
        """Frames of all sequences over the time."""
        return None if self.report is None else self.report.frames_per_second

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the phase over its time."""
        return None if self.report is None else self.report.tokens_per_second

    @property
    def energy_joules(self) -> float | None:
        """Energy of the whole."""
        return None if self.report is None else self.report.energy_joules

    @property
    def kept(self) -> float | None:
        """Share of the cached keys that the last step attends to."""
        return self._selected("kept")

    @property
    def hit_rate(self) -> float | None:
        """Share of the bytes kept that need no fetch."""
        return self._selected("hit_rate")

    @property
    def mass_recall(self) -> float | None:
        """Share of dense attention's mass that lies on what is kept."""
        return self._selected("mass_recall")

    @property
    def top_recall(self) -> float | None:
        """Share of as many highest scores that is kept."""
        return self._selected("top_recall")

    @property
    def output_error(self) -> float | None:
        """Error of attention's output relative to dense attention."""
        return self._selected("output_error")

    @property
    def read_bytes(self) -> dict[str, int] | None:
        """Bytes read by memory."""
        report = self.report
        return None if report is None else {memory: report.bytes_moved(memory, "read") for memory in report.traffic}

    def _selected(self, name: str) -> float | None:
        chosen = None if self.report is None else self.report.selected
        return None if chosen is None else getattr(chosen, name)

    def as_dict(self) -> dict[str, Any]:
        """A flat line of a table: settings, measures, `read_bytes.MEMORY` of each memory, and the problem."""
        read = {**dict.fromkeys(self.memories), **(self.read_bytes or {})}
        return {
            **{path: _plain(value) for path, value in self.settings.items()},
            **{name: getattr(self, name) for name in MEASURES},
            **{f"{READ_BYTES}{memory}": amount for memory, amount in read.items()},
            "problem": self.problem,
        }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def sweep(
    design: Design,
    model: Model,
    *,
    phase: str,
    over: Mapping[str, Sequence[Any]],
    selection: Selection | None = None,
    options: Mapping[str, Any] | None = None,
    **asked: Any,
) -> list[Row]:
    """A row for each combination of the values of `over`, the last path varying fastest.

    A path is one of the design ("units.pcie.bandwidth"), of the selection ("selection.settings.ratio"), "selection"
    itself (shipped names, paths, or Selections), an option of the mapper ("option.prediction"), or what the phase takes
    ("context"); `asked` is what `run` takes besides. A combination that is refused is a row with its problem. An
    interrupt loses the rows; `sweep_rows` hands out each when it is done.

    Raises InputError, before anything runs, with every path that is not there, list that is empty, and value that no
    phase takes.

    >>> from archsim import load_design, load_model
    >>> rows = sweep(load_design("toy"), load_model("toy_llm"), phase="decode", over={"context": [3, 1000]})
    >>> [row.seconds for row in rows], rows[1].problem
    ([0.000726, None], "context: model 'toy_llm' takes 1 to 64 tokens, got 1000")
    """
    plan = _Plan(design, model, phase, _listed(over), selection, dict(options or {}), asked)
    return [row for _, row in sorted(_rows(_checked(plan)), key=lambda placed: placed[0])]


def sweep_rows(
    design: Design,
    model: Model,
    *,
    phase: str,
    over: Mapping[str, Sequence[Any]],
    selection: Selection | None = None,
    options: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Iterator[Row]:
    """The rows of `sweep`, each when it is done: those that the caller holds stay when the rest is interrupted.

    Their order is that of `sweep`, but that combinations for which a selection's rule runs alike come side by side
    wherever the paths of the hardware stand, so that it runs once for all of these. Raises as `sweep`, at the call.
    """
    plan = _Plan(design, model, phase, _listed(over), selection, dict(options or {}), asked)
    return (row for _, row in _rows(_checked(plan)))


def pareto(rows: Iterable[Row], *, least: Sequence[str] = (), most: Sequence[str] = ()) -> list[Row]:
    """The rows that no other beats, in their order: as good in every measure named, and better in one.

    Measures are those of a Row, and `read_bytes.MEMORY`; `least` are better when smaller, `most` when larger. Rows with
    a problem, or without one of the measures, are left out. Raises InputError for measures that there are not.
    """
    rows = list(rows)
    known = [*MEASURES, *dict.fromkeys(key for row in rows for key in row.as_dict() if key.startswith(READ_BYTES))]
    smaller, larger = ([names] if isinstance(names, str) else list(names) for names in (least, most))
    named = smaller + larger
    missing = [name for name in named if name not in known and (rows or not str(name).startswith(READ_BYTES))]
    problems = [
        f"unknown measure {quoted(name)}; {guess(str(name), known, otherwise='measures are')}" for name in missing
    ]
    problems += [f"{name}: is named twice; name it once" for name in dict.fromkeys(named) if named.count(name) > 1]
    if problems or not named:
        raise InputError(problems or "least, most: no measure is named; name at least one")
    signs = [1] * len(smaller) + [-1] * len(larger)
    points = [_point(row, named, signs) for row in rows]
    front: set[tuple[float, ...]] = set()
    for point in sorted({point for point in points if point is not None}):
        # Whatever beats a point stands before it in this order, or is beaten by one of the front that beats it too.
        if not any(all(one <= other for one, other in zip(better, point, strict=True)) for better in front):
            front.add(point)
    return [row for row, point in zip(rows, points, strict=True) if point in front]


def _point(row: Row, named: Sequence[str], signs: Sequence[int]) -> tuple[float, ...] | None:
    """The measures of a row, all of them better when smaller; None where one is missing."""
    measured = row.as_dict()
    values = [value for name in named if (value := measured.get(name)) is not None]
    return None if len(values) < len(named) else tuple(sign * value for sign, value in zip(signs, values, strict=True))


@dataclass(frozen=True, slots=True)
class _Plan:
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


def _listed(over: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each path as a list, numbers of arrays as Python's own. Raises InputError."""
    listed, problems = {}, []
    for path, values in over.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            problems.append(f"{path}: expected a list of values, got {quoted(values)}")
        else:
            listed[path] = [value.item() if hasattr(value, "item") else value for value in values]
    if problems:
        raise InputError(problems)
    return listed


def _rows(plan: _Plan) -> Iterator[tuple[int, Row]]:
    """Each combination's place in the order of the paths, and its row; those of one run of a rule side by side."""
    over = plan.over
    ruling = [i for i, path in enumerate(over) if _of_the_rule(path)]
    placed = enumerate(product(*(range(len(values)) for values in over.values())))
    for place, chosen in sorted(placed, key=lambda one: [one[1][i] for i in ruling]):
        settings = {path: values[i] for (path, values), i in zip(over.items(), chosen, strict=True)}
        yield place, _row(plan, settings)


def _row(plan: _Plan, settings: Mapping[str, Any]) -> Row:
    memories = tuple(plan.design.of_kind(Memory))
    try:
        return Row(settings, _report(plan, settings), None, memories)
    except InputError as problem:
        return Row(settings, None, str(problem), memories)


def _of_the_rule(path: str) -> bool:
    return path in OF_THE_RULE or _below(OF_SELECTION, path).split(".")[0] not in NOT_OF_THE_RULE


def _below(start: str, path: str) -> str:
    """What follows the start of a path; nothing where it starts otherwise."""
    return path.removeprefix(start) if path.startswith(start) else ""


def _report(plan: _Plan, settings: Mapping[str, Any]) -> Report:
    """The report of one combination. Raises InputError where it is refused."""
    own = {path: value for path, value in settings.items() if _of_design(path)}
    chosen = settings.get(SELECTION, plan.selection)
    selection = load_selection(chosen) if isinstance(chosen, str) else chosen
    changes = {_below(OF_SELECTION, path): value for path, value in settings.items() if _below(OF_SELECTION, path)}
    options = {_below(OF_MAPPER, path): value for path, value in settings.items() if _below(OF_MAPPER, path)}
    return run(
        plan.design.with_(own) if own else plan.design,
        plan.model,
        phase=plan.phase,
        selection=selection.with_(changes) if selection and changes else selection,
        options={**plan.options, **options},
        **{**plan.asked, **{path: value for path, value in settings.items() if path in TAKEN}},
    )


def _of_design(path: str) -> bool:
    return path not in (*TAKEN, SELECTION) and not path.startswith((OF_SELECTION, OF_MAPPER))


def _checked(plan: _Plan) -> _Plan:
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
        if _of_design(path)
        for problem in _path_problems(plan.design, path, path, opens=2)
    ]
    problems += _selection_problems(plan)
    problems += _mapper_problems(plan)
    if problems:
        raise InputError(problems)
    return plan


def _phase_problems(plan: _Plan) -> list[str]:
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


def _selection_problems(plan: _Plan) -> list[str]:
    problems, first = [], plan.selection
    for given in plan.over.get(SELECTION, []):
        try:
            if not isinstance(given, str | Selection):
                raise InputError(f"expected a shipped name, a path or a Selection, got {quoted(given)}")
            first = load_selection(given) if isinstance(given, str) else given
        except InputError as problem:
            problems += [f"{SELECTION}: {one}" for one in problem.problems]
    for path in plan.over:
        below = _below(OF_SELECTION, path)
        if below and first is not None:
            problems += _path_problems(first, below, path, opens=0)
        elif below and SELECTION not in plan.over:
            problems.append(f"{path}: no selection is given; give one, or a path '{SELECTION}' beside it")
    return problems


def _mapper_problems(plan: _Plan) -> list[str]:
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
        f"{path}: {told} has no such option; {guess(_below(OF_MAPPER, path), there, otherwise='options are')}"
        for path in paths
        if path.startswith(OF_MAPPER) and _below(OF_MAPPER, path) not in there
    ]
    if not any(SELECTION in signature(MAPPERS[mapper]).parameters for mapper in known):
        chosen = [path for path in paths if path == SELECTION or path.startswith(OF_SELECTION)]
        problems += [f"{path}: {told} does not choose among cached keys" for path in chosen]
    return problems
