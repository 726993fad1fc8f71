"""Explanations: a report's run looked into, and run again with each number of its design changed."""

from __future__ import annotations

import time
from collections.abc import Callable

from archsim.engine import ENGINES
from archsim.errors import InputError
from archsim.explain.changes import changes_of
from archsim.explain.effects import binding_of, effect_of, sorted_effects, without_budget
from archsim.explain.explanation import Explanation
from archsim.explain.ops import roofline_of_ops
from archsim.explain.path import critical_path
from archsim.explain.stalls import stalls
from archsim.report.origin import EXPLAINED_BY, Origin
from archsim.report.report import Report, simulate
from archsim.report.rows.goal import Goal
from archsim.report.rows.row import Row
from archsim.report.text import limits
from archsim.workers.pool import check_jobs, cores
from dataflow.errors import expect
from dataflow.phase import Phase, field_types
from mappers.experiment.plan import Plan
from mappers.experiment.request import SweepRequest
from mappers.experiment.search.points import Listed, Point
from mappers.experiment.sweep import run_points
from mappers.registry import MAPPING

WORTH_PROCESSES = 3.0  # seconds of runs one after another; processes take about a second to begin


def explain(
    report: Report, *, jobs: int | None = None, progress: Callable[[str], None] | None = None
) -> Explanation:
    """Why the run of a report takes its time, and what each number of the design, doubled or halved, would bring.

    Raises InputError where the report's schedule is not the one that a mapper makes of its graph.
    """
    expect("explain: report", report, Report)
    if jobs is not None:
        check_jobs(jobs)
    origin = report.origin
    if origin is None or origin.schedule.maker is None:
        told = "no mapper made the schedule of this report, so that it cannot be made again on a variant of the design"
        raise InputError(f"explain: {told}; archsim.stalls(schedule, design) says what its units wait for")
    design, schedule = origin.design, origin.schedule
    request = _request(origin, report.phase)
    changes = changes_of(design, mapping=schedule.options.get(MAPPING))
    began = time.monotonic()
    _check_same(report, next(run_points(_plan(request, ({},)))).row)
    if jobs is None:
        jobs = cores() if len(changes) * (time.monotonic() - began) > WORTH_PROCESSES else 1
    beyond = without_budget(design)
    plan = _plan(request, tuple({**beyond, change.path: change.value} for change in changes))
    rows = {}
    for done in run_points(plan, jobs=jobs):
        rows[done.place] = done.row
        if progress:
            progress(f"{len(rows)} of {len(changes)} changes simulated")
    effects = sorted_effects(
        effect_of(change, rows[place].figures, rows[place].problem, before=report.seconds, design=design)
        for place, change in enumerate(changes)
    )
    if progress:
        progress("the critical path is followed")
    engine = report.engine if report.engine in ENGINES else "auto"
    path = critical_path(schedule, design, engine=engine)
    own = simulate(schedule, design, engine=engine) if report.step else report
    return Explanation(
        title=" · ".join([report.design, report.model, *report.phase.title()]),
        cycles=report.cycles, clock_hz=report.clock_hz, effects=effects,
        binding=binding_of(path, effects, design), path=path, stalls=stalls(schedule, design, engine=engine),
        roofline=roofline_of_ops(schedule, design, own.ops, busy=own.busiest), caveats=report.caveats,
        limits=tuple(limits(report)), step=report.step, step_share=origin.alike / report.cycles,
    )  # fmt: skip


def _request(origin: Origin, phase: Phase) -> SweepRequest:
    """The run as a point of a sweep: of the graph, or of many steps the model's phase."""
    mapper = origin.schedule.maker
    if origin.model is None:
        return SweepRequest(origin.design, origin.schedule.graph, {}, {}, mapper=mapper)
    asked = {name: getattr(phase, name) for name in field_types(type(phase))}
    return SweepRequest(origin.design, origin.model, {"": (phase.name, asked)}, {}, mapper=mapper)


def _plan(request: SweepRequest, points: tuple[Point, ...]) -> Plan:
    return Plan(request, Listed(points), Goal())


def _check_same(report: Report, row: Row) -> None:
    """Raises InputError where the run, made again without a change, takes other cycles."""
    if row.figures.get("cycles") != report.cycles:
        again = row.problem or f"takes {row['cycles']:,} cycles"
        told = f"the report has {report.cycles:,} cycles, and its graph lowered again by the mapper {again}"
        raise InputError(f"explain: {told}; explain the report of a schedule as the mapper made it")


EXPLAINED_BY.append(lambda report, jobs: explain(report, jobs=jobs))
