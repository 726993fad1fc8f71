"""Report: the figures of simulated schedules, which print themselves, and the two calls that make one.

`simulate` runs each section once and multiplies by its repetitions, which is exact because sections follow one another
and nothing carries over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from archsim.design.design import Design
from archsim.engine import engine_for
from archsim.engine.machine_code_folder import CLOCK, is_compiled
from archsim.engine.memo import Memo
from archsim.explain.explanation import Explanation
from archsim.report.figures import Figures
from archsim.report.origin import EXPLAINED_BY, Origin, origin_of
from archsim.report.page.page import page
from archsim.report.save import report_json, save, table_frame
from archsim.report.text import html, screen
from archsim.report.window import Window
from archsim.run.energy import why_unknown
from archsim.run.laws import LawBroken, broken_by_totals
from archsim.run.results import ScheduleRun
from archsim.run.roofline import roofline
from archsim.run.schedule_run import run_schedule
from archsim.run.totals import Totals
from dataflow.errors import InputError, ScheduleError, expect
from dataflow.phase import Phase
from dataflow.schedule import Schedule

if TYPE_CHECKING:
    from archsim.report.frame import DataFrame


class Report(Figures):
    """The figures of a run; printing one shows a screen of text, a notebook shows it as HTML."""

    __slots__ = ()

    def __str__(self) -> str:
        return screen(self)

    def __repr__(self) -> str:
        return f"<Report {self.design} {self.model} {self.phase.name}: {self.cycles} cycles>"

    def _repr_html_(self) -> str:
        return html(self)

    def trace(self, path: str | os.PathLike[str], *, window: Window | None = None, force: bool = False) -> str:
        """Writes a timeline of units, ops, tokens and FIFOs, which ui.perfetto.dev shows; returns what is in it.

        `window` is START..END or a pair, in cycles or times; without one the first repetition of each section is in it,
        or so much of that as viewers take. Of a phase of many steps it shows `step`, whose times count from its start.
        The file takes the place of an earlier trace, with `force` of any file. Raises InputError as write_trace.
        """
        from archsim.report.trace import write_trace

        if not self.phase.many_steps or self.origin is None:
            return write_trace(self, path, window=window, force=force)
        shown = simulate(self.origin.schedule, self.origin.design, engine=self.engine)
        step = f"of {self.step}, from cycle {self.origin.begins:,} of {self.cycles:,} on"
        return write_trace(shown, path, window=window, force=force, step=step)

    def explain(self, *, jobs: int | None = None) -> Explanation:
        """Why the run takes its time, and what each number of the design, doubled or halved, would bring.

        Each change is lowered and simulated again, in so many processes; without `jobs` in as many as there are cores,
        where that is worth it. Raises InputError for a schedule that no mapper made, or that was changed since.
        """
        if not EXPLAINED_BY:
            raise InputError("explain: no mapper is known; import mappers first")
        return EXPLAINED_BY[0](self, jobs)

    def to_frame(self, table: str = "") -> DataFrame:
        """A pandas DataFrame of one table: "units", "ops", "parts" or "traffic".

        Numbers are numbers, with the unit in the column's name; energy that is not modelled is NaN. Raises InputError
        for another table or none, and where pandas is not installed (the extra `tables`).
        """
        return table_frame(self, table)

    def to_json(self) -> str:
        """The text that `archsim simulate --json` prints, without what was asked on the command line."""
        return report_json(self)

    def page(self, *, why: Explanation | None = None) -> str:
        """One page of HTML that needs nothing else: summary, plots, tables, assumptions, and what is simplified.

        With its explanation, `why=report.explain()`, it also says what to change.
        """
        if why is not None:
            expect("page: why", why, Explanation)
        return page(self, why)

    def save(self, path: str | os.PathLike[str], *, table: str | None = None, force: bool = False) -> None:
        """Writes a .json or .html file of the whole report, or a .csv, .parquet or .json file of one table.

        The file is whole or not there: `save("ops.csv", table="ops")`. It takes the place of one that an earlier save
        wrote, with `force` of any file. Raises InputError for a file of others, another suffix or table, a place that
        cannot be written, and missing libraries.
        """
        save(self, path, table=table, force=force)


def simulate(schedule: Schedule, design: Design, *, engine: str = "auto") -> Report:
    """The report of this schedule on this design.

    Raises Deadlock when the schedule cannot go on, ScheduleError where it does not fit the design's units, InputError
    for arguments of other types, and LawBroken (a fault of ours) where the result breaks a law of the event model.
    """
    expect("schedule", schedule, Schedule)
    expect("design", design, Design)
    graph = schedule.graph
    engine = engine_for(engine, schedule.run_firings)
    return _report([schedule], design, engine, phase=graph.phase, tokens=graph.tokens, labelled=False)


def simulate_steps(schedules: Iterable[Schedule], design: Design, *, phase: Phase, engine: str = "auto") -> Report:
    """The report of a phase of many steps, each run when its turn comes and then let go.

    A section, task or op that two successive steps share as one object is simulated once. Raises as simulate.
    """
    expect("schedules", schedules, Iterable)
    expect("design", design, Design)
    expect("phase", phase, Phase)
    engine = engine_for(engine, None)
    return _report(schedules, design, engine, phase=phase, tokens=phase.tokens_made, labelled=True)


def _reordered(run: ScheduleRun, design: Design) -> Iterator[str]:
    """That a variant may have its requests in another order, where units serve several clients as they come."""
    units = {unit.of for part in run.sections for unit in part.flat.units if unit.order is None and len(unit.tasks) > 1}
    if units and design.is_variant:
        told = ", ".join(f"'{name}'" for name in design.units if name in units)
        yield f"{told}: requests are served as they come, so more of a rate or a depth may be up to 2 % slower"


def _report(
    schedules: Iterable[Schedule], design: Design, engine: str, *, phase: Phase, tokens: int | None, labelled: bool
) -> Report:
    """What the runs of the schedules say; if `labelled`, ops, streams and sections carry the names of their phases."""
    totals, memo = Totals(design), Memo()
    prefill_cycles: int | None = None
    steps: list[tuple[int, int]] = []
    run: ScheduleRun | None = None
    origins: dict[str, Origin] = {}  # by the kind of step
    for schedule in schedules:
        expect("schedules", schedule, Schedule)
        run = run_schedule(schedule, design, engine=engine, memo=memo)
        own = schedule.graph.phase
        origins[own.name] = origin_of(run, design, begins=totals.cycles, before=origins.get(own.name))
        totals.add(run, label=f"{own.name}: " if labelled else "")
        if own.first_token:
            prefill_cycles = run.cycles
        if own.one_token:
            steps.append((own.facts()["context"], run.cycles))
    if run is None:
        raise ScheduleError(f"phase '{phase.name}': no step; a phase of many steps has one at least")
    if not totals.cycles:
        raise ScheduleError(f"schedule of '{run.schedule.graph.name}': no firing takes a cycle; nothing to report")
    selected, graph = run.schedule.selected, run.schedule.graph
    joules = totals.energy.joules()
    said = (*design.approximated, *graph.approximated, *totals.approximated)
    report = Report(
        design=design.name,
        model=graph.name,
        phase=phase,
        tokens=tokens,
        mapper=run.schedule.mapper,
        options=run.schedule.options,
        clock_hz=design.clock,
        cycles=totals.cycles,
        lower_bound_cycles=totals.lower_bound_cycles,
        roofline=None if phase.many_steps else roofline(run, design),
        published_watts=design.published_power,
        resources=design.uses(),
        area=design.area,
        idle_joules=joules.idle,
        rest_joules=joules.rest,
        joules=joules.total,
        energy_missing=why_unknown(joules, design),
        units=totals.units(),
        traffic=totals.traffic(),
        carried=totals.carried(),
        held=totals.held(),
        ops=tuple(totals.ops()),
        parts=totals.parts(),
        sections=tuple(totals.sections),
        peaks=totals.peaks(),
        mapped=totals.mapped,
        free=totals.free,
        tilings=run.schedule.tilings,
        placed=tuple(totals.placed()),
        approximated=(*said, *design.not_derived(), *_reordered(run, design)),
        recomputed=totals.recomputed,
        recomputed_for=" and ".join(totals.recomputed_for),
        skipped=totals.skipped,
        selected=selected,
        under_way=totals.under_way(),
        assumed={**design.assumptions(), **(selected.assumed if selected else {})},
        fitted={**design.fits(), **(selected.fitted if selected else {})},
        files=tuple(filter(None, (design.document.given, selected.given if selected else ""))),
        firings=totals.firings,
        firings_run=totals.firings_run,
        engine=engine,
        cold=engine == "simpy" and not is_compiled(CLOCK),
        prefill_cycles=prefill_cycles,
        steps=tuple(steps),
        origin=max(origins.values(), key=lambda origin: origin.alike),
    )
    broken = [*broken_by_totals(report.units, report.cycles), *totals.energy.broken()]
    if broken:
        raise LawBroken("; ".join(broken))
    return report
