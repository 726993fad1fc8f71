"""Plan: a sweep as it was asked for, checked before anything runs. Knows words and objects; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping as Entries
from dataclasses import dataclass
from typing import Any

from archsim.design.design import Design
from archsim.engine import engine_for
from archsim.errors import InputError, quoted
from archsim.importers.load import load_design
from archsim.mapping import Mapping, load_mapping
from archsim.report.rows.goal import Goal, goal_of
from archsim.report.rows.row import FIRST_WORDS, WHOLE_NAMES, measures_of
from archsim.selection.selection import Selection, load_selection
from archsim.sweep_file import SweepFile, load_sweep_file
from dataflow.errors import expect, guess, refuse
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.phase import Phase, field_types
from kernels.limits import COMBINATIONS
from mappers.experiment.axis import axes_of, axis_text
from mappers.experiment.request import SweepRequest, phase_fields, problems_of
from mappers.experiment.run import SELECTION, loaded, workload
from mappers.experiment.search.guided import Guided
from mappers.experiment.search.points import Drawn, Grid, LatinHypercube, Search
from mappers.mapper import Mapper
from mappers.registry import MAPPING


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep, checked: what is run, which points are visited, and what is wanted of them."""

    request: SweepRequest
    search: Search
    goal: Goal

    def told(self) -> list[str]:
        """What the plan comes to, in lines."""
        request, axes = self.request, self.request.over
        phases = ", ".join(f"{label}: {name}" if label else str(name) for label, (name, _) in request.phases.items())
        of = f"{request.model.name} on {request.design.name}" + (f", {phases}" if phases else "")
        lines = [f"sweep of {of}: {self.search.name}, {self.search.size(axes):,} points"]
        lines += [f"  over {path}: {axis_text(axis)}" for path, axis in axes.items()]
        lines += [f"  {told}" for told in self.goal.told()]
        return lines


SEARCHES: dict[str, Any] = {search.name: search for search in (Grid, Drawn, LatinHypercube, Guided)}

Asked = tuple[Any, dict[str, Any]]  # the name of a phase, and its fields
# What `mappers.sweep` takes by name, for guesses at what was meant.
TAKES = (
    "phase", "phases", "search", "points", "seed", "most", "least", "constraints", "selection", "mapping", "options",
    "mapper", "engine", "jobs", "scheduler", "store", "resume", "progress", *phase_fields(),
)  # fmt: skip


def plan_of(
    design: Design | str,
    model: Model | Graph | str,
    *,
    over: Entries[str, Any],
    phase: str | Phase | None,
    phases: Entries[str, Any] | None,
    asked: Entries[str, Any],
    search: str,
    points: int | None,
    seed: int | None,
    goal: Entries[str, Any],
    selection: Selection | str | None,
    mapping: Mapping | str | None,
    options: Entries[str, Any] | None,
    mapper: str | Mapper | None,
    engine: str,
) -> Plan:
    """The plan of what a sweep is asked for: `goal` has most, least and constraints, `asked` fields of the phase.

    Raises InputError with everything that is wrong.
    """
    chosen = None if selection is None else loaded(SELECTION, selection, Selection, load_selection)
    mapped = None if mapping is None else loaded(MAPPING, mapping, Mapping, load_mapping)
    design, model = loaded("design", design, Design, load_design), workload(model)
    for what, given, kind in (("options", options or {}, Entries), ("over", over, Entries), ("engine", engine, str)):
        expect(what, given, kind)
    labelled, problems = _phases(phase, phases, asked)
    axes, wrong = axes_of(over)
    request = SweepRequest(design, model, labelled, axes, chosen, mapped, dict(options or {}), mapper, engine)
    problems += wrong + problems_of(request)
    wanted, wrong = goal_of(goal, measures_of(design, labelled or [""]))
    problems += wrong
    try:
        engine_for(engine, None)
    except InputError as problem:
        problems += [f"engine: {one}" for one in problem.problems]
    way, wrong = _search(search, points, seed, wanted)
    problems += wrong or way.problems(axes)
    refuse(problems, InputError)
    return Plan(request, way, wanted)


def _search(name: Any, points: Any, seed: Any, goal: Goal) -> tuple[Search, list[str]]:
    """The search of this name, and what it needs and is not given, or does not take."""
    if not isinstance(name, str) or name not in SEARCHES:
        return Grid(), [f"search: no search {quoted(name)}; searches are: {', '.join(SEARCHES)}"]
    if name == Grid.name:
        given = {"points": points, "seed": seed}
        told = "a grid visits all points; leave it out, or give search: random"
        return Grid(), [f"{what}: {told}" for what, value in given.items() if value is not None]
    problems, seed = [], 0 if seed is None else seed
    if isinstance(points, bool) or not isinstance(points, int) or not 1 <= points <= COMBINATIONS:
        got = "" if points is None else f", got {quoted(points)}"
        problems.append(f"points: search {name} needs a number of points from 1 to {COMBINATIONS:,}{got}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        problems.append(f"seed: expected a whole number from 0 to 2^32 - 1, got {quoted(seed)}")
    return Guided(points, seed, goal) if name == Guided.name else SEARCHES[name](points, seed), problems


def _phases(
    phase: str | Phase | None, phases: Entries[str, Any] | None, asked: Entries[str, Any]
) -> tuple[dict[str, Asked], list[str]]:
    """The phases by label, each by its name and the fields that are given, and what is wrong."""
    known = phase_fields()
    problems = [f"sweep takes no '{n}'; {guess(n, TAKES, otherwise='it takes')}" for n in asked if n not in known]
    fields = {name: value for name, value in asked.items() if name in known}
    if phases is None:
        return {"": _phase(phase, fields)} if phase is not None or fields else {}, problems
    if phase is not None or fields:
        told = ", ".join([*["phase"] * (phase is not None), *fields])
        problems.append(f"{told}: stands beside phases, which have their own; write it there")
    if not isinstance(phases, Entries) or not phases:
        return {}, [*problems, f"phases: expected a mapping of labels to phases, got {quoted(phases)}"]
    found: dict[str, Asked] = {}
    for label, given in phases.items():
        if not isinstance(label, str) or not label.isidentifier():
            problems.append(f"phases: expected labels such as talk, got {quoted(label)}")
        elif label in (*WHOLE_NAMES, *FIRST_WORDS):
            problems.append(f"phases.{label}: is the name of a figure; take another label")
        elif isinstance(given, Phase | str):
            found[label] = _phase(given, {})
        elif isinstance(given, Entries) and isinstance(given.get("phase"), str | Phase):
            found[label] = _phase(given["phase"], {name: value for name, value in given.items() if name != "phase"})
        else:
            told = "expected a Phase, or its name and fields such as {phase: decode, context: 128}"
            problems.append(f"phases.{label}: {told}, got {quoted(given)}")
    return found, problems


def _phase(phase: Any, given: dict[str, Any]) -> Asked:
    if isinstance(phase, Phase):
        return phase.name, {**{name: getattr(phase, name) for name in field_types(type(phase))}, **given}
    return phase, given


def plan_of_file(name: str) -> tuple[SweepFile, Plan]:
    """The sweep at a path, and its plan. Raises InputError with the line of everything that is wrong."""
    return (file := load_sweep_file(name)), plan_of_sweep(file)


def plan_of_sweep(file: SweepFile) -> Plan:
    """The plan of a sweep that was read. Raises InputError with the line of everything that is wrong."""
    asked = file.asked()
    goal = {name: asked.pop(name) for name in ("most", "least", "constraints")}
    try:
        return plan_of(**asked, goal=goal, asked=file.fields)
    except InputError as problem:
        raise file.placed(problem) from None
