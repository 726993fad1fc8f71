"""Report: the figures of simulated schedules, which print themselves, and the two calls that make one.

`simulate` runs each section once and multiplies by its repetitions, which is exact because sections follow one another
and nothing carries over.
"""

from __future__ import annotations

from collections.abc import Iterable

from archsim.design.design import Design
from archsim.engine import engine_for
from archsim.engine.machine_code_folder import CLOCK, is_compiled
from archsim.engine.memo import Memo
from archsim.report.figures import Figures
from archsim.report.text import html, screen
from archsim.run.laws import LawBroken, broken_by_totals
from archsim.run.results import ScheduleRun
from archsim.run.schedule_run import run_schedule
from archsim.run.totals import Totals
from dataflow.errors import ScheduleError
from dataflow.phase import Phase
from dataflow.schedule import Schedule


class Report(Figures):
    """The figures of a run; printing one shows a screen of text, a notebook shows it as HTML."""

    __slots__ = ()

    def __str__(self) -> str:
        return screen(self)

    def __repr__(self) -> str:
        return f"<Report {self.design} {self.model} {self.phase.name}: {self.cycles} cycles>"

    def _repr_html_(self) -> str:
        return html(self)


def simulate(schedule: Schedule, design: Design, *, engine: str = "auto") -> Report:
    """The report of this schedule on this design.

    Raises Deadlock when the schedule cannot go on, ScheduleError where it does not fit the design's units, and
    LawBroken (a fault of ours) where the result breaks a law of the event model.
    """
    engine = engine_for(engine, schedule.run_firings)
    run = run_schedule(schedule, design, engine=engine)
    totals = Totals(design)
    totals.add(run)
    graph = schedule.graph
    return _report(
        totals, run, engine, phase=graph.phase, tokens=graph.tokens,
        prefill_cycles=run.cycles if graph.phase.first_token else None,
        steps=(_step(run),) if graph.phase.one_token else (),
    )  # fmt: skip


def simulate_steps(schedules: Iterable[Schedule], design: Design, *, phase: Phase, engine: str = "auto") -> Report:
    """The report of a phase of many steps, each run when its turn comes and then let go.

    A section, task or op that two successive steps share as one object is simulated once. Raises as simulate.
    """
    engine = engine_for(engine, None)
    totals, memo = Totals(design), Memo()
    prefill_cycles: int | None = None
    steps: list[tuple[int, int]] = []
    run: ScheduleRun | None = None
    for schedule in schedules:
        run = run_schedule(schedule, design, engine=engine, memo=memo)
        own = schedule.graph.phase
        totals.add(run, label=f"{own.name}: ")
        if own.first_token:
            prefill_cycles = run.cycles
        if own.one_token:
            steps.append(_step(run))
    if run is None:
        raise ScheduleError(f"phase '{phase.name}': no step; a phase of many steps has one at least")
    return _report(
        totals, run, engine, phase=phase, tokens=phase.tokens_made, prefill_cycles=prefill_cycles, steps=tuple(steps)
    )


def _step(run: ScheduleRun) -> tuple[int, int]:
    """The context and the cycles of a step that makes one token."""
    return run.schedule.graph.phase.facts()["context"], run.cycles


def _report(
    totals: Totals,
    run: ScheduleRun,
    engine: str,
    *,
    phase: Phase,
    tokens: int | None,
    prefill_cycles: int | None,
    steps: tuple[tuple[int, int], ...],
) -> Report:
    """What the totals say; `run` is the last one of them."""
    design, selected = totals.design, run.schedule.selected
    report = Report(
        design=design.name,
        model=run.schedule.graph.name,
        phase=phase,
        tokens=tokens,
        options=run.schedule.options,
        clock_hz=design.clock,
        cycles=totals.cycles,
        lower_bound_cycles=totals.lower_bound_cycles,
        power_watts=design.power,
        units=totals.units(),
        traffic=totals.traffic(),
        carried=totals.carried(),
        ops=tuple(totals.ops()),
        parts=totals.parts(),
        sections=tuple(totals.sections),
        peaks=totals.peaks(),
        mapped=totals.mapped,
        approximated=(*totals.approximated, *design.not_derived()),
        recomputed=totals.recomputed,
        recomputed_for=" and ".join(totals.recomputed_for),
        skipped=totals.skipped,
        selected=selected,
        under_way=totals.under_way(),
        assumed={**design.assumptions(), **(selected.assumed if selected else {})},
        fitted={
            **design.fits(),
            **(selected.fitted if selected else {}),
        },
        firings=totals.firings,
        firings_run=totals.firings_run,
        engine=engine,
        cold=engine == "simpy" and not is_compiled(CLOCK),
        prefill_cycles=prefill_cycles,
        steps=steps,
    )
    broken = list(broken_by_totals(report.units, report.cycles))
    if broken:
        raise LawBroken("; ".join(broken))
    return report
