"""Report: the totals of simulated schedules, checked against the laws of the event model.

`simulate` runs each section once and multiplies by its repetitions, which is exact because sections follow one another
and nothing carries over. Seconds appear here for the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from archsim.engine import ENGINES
from archsim.report.text import html, screen
from archsim.run.laws import LawBroken, broken_by_totals
from archsim.run.schedule_run import ScheduleRun, run_schedule
from archsim.run.totals import OpReport, Totals, UnitReport
from dataflow.schedule import Schedule
from dataflow.selection_summary import Selected

if TYPE_CHECKING:
    from archsim.design.design import Design


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """Totals of a run. `traffic` is bytes per memory, direction and role of the tensor, `carried` those of
    each channel.

    `parts` splits the cycles by what was under way; where several parts were, each gets an equal share; `under_way` has
    those in which a part was, others beside it or not. `selected` says which cached keys the last step attends to,
    `skipped` what that leaves out. `peaks` gives
    each stream's most places taken, its depth and a token's bytes; `sections` name, repetitions, cycles of one run.
    `prefill_cycles` are those of the prefill, None without one; `steps` has (context, cycles) of each decode step.
    In a generation ops, streams and sections are of "prefill: " or "decode: ": an op of the decode steps starts in the
    first, ends in the last and is busy in all of them; a peak is that of all; the sections are of each step.
    Of the `firings` the engine ran `firings_run` one by one; the others repeat those exactly.
    """

    design: str
    model: str
    about: Mapping[str, Any]
    options: Mapping[str, Any]
    clock_hz: Fraction
    cycles: int
    lower_bound_cycles: int
    power_watts: Fraction | None
    units: Mapping[str, UnitReport]
    traffic: Mapping[str, Mapping[tuple[str, str], int]]
    carried: Mapping[str, int]
    ops: tuple[OpReport, ...]
    parts: Mapping[str, Fraction]
    sections: tuple[tuple[str, int, int], ...]
    peaks: Mapping[str, tuple[int, int, int]]
    mapped: int
    approximated: tuple[str, ...]
    recomputed: Mapping[str, int]
    skipped: Mapping[str, int]
    selected: Selected | None
    under_way: Mapping[str, int]
    assumed: Mapping[str, str]
    fitted: Mapping[str, str]
    firings: int
    firings_run: int
    engine: str
    prefill_cycles: int | None = None
    steps: tuple[tuple[int, int], ...] = ()

    @property
    def seconds(self) -> float:
        """Time of the whole."""
        return float(self.cycles / self.clock_hz)

    @property
    def ttft_seconds(self) -> float | None:
        """Time to first token: that of the prefill, LM head included; None where the phase has none."""
        return None if self.prefill_cycles is None else float(self.prefill_cycles / self.clock_hz)

    @property
    def tpot_seconds(self) -> float | None:
        """Time per output token after the first: the mean of the decode steps; None where the phase has none."""
        return self._decode_cycles / len(self.steps) / float(self.clock_hz) if self.steps else None

    @property
    def step_seconds(self) -> tuple[float, ...]:
        """Time of each decode step."""
        return tuple(float(cycles / self.clock_hz) for _, cycles in self.steps)

    @property
    def decode_tokens_per_second(self) -> float | None:
        """Tokens of all sequences that the decode steps make over their time; None where the phase has none."""
        return self.about["batch"] / self.tpot_seconds if self.tpot_seconds else None

    @property
    def _decode_cycles(self) -> int:
        return sum(cycles for _, cycles in self.steps)

    @property
    def tokens(self) -> int | None:
        """Tokens of the phase: the prompts' in a prefill, those made in a decode or a generation, else None."""
        tokens: int | None = self.about["tokens"]
        return tokens

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the phase over its time; None where there are none."""
        return None if self.tokens is None else self.tokens / self.seconds

    @property
    def frames_per_second(self) -> float | None:
        """Frames of all sequences over the time; None where the phase has none."""
        frames = self.about.get("frames")
        return None if frames is None else frames / self.seconds

    @property
    def energy_joules(self) -> float | None:
        """Published power times time; without one the sum over units, where every busy unit models it; else None."""
        if self.power_watts is not None:
            return float(self.power_watts) * self.seconds
        parts = [u.energy_joules for u in self.units.values() if u.busy_cycles]
        known = [p for p in parts if p is not None]
        return float(sum(known)) if parts and len(known) == len(parts) else None

    @property
    def bottleneck(self) -> str:
        """The unit that is busy for the largest share of the time; where tasks are placed, by its busiest server."""
        return max(self.units, key=lambda name: self.units[name].busiest_cycles)

    def bytes_moved(self, memory: str, direction: str) -> int:
        """Bytes read or written ("read", "written") at a memory, all roles together."""
        return sum(n for (way, _), n in self.traffic[memory].items() if way == direction)

    def op(self, name: str) -> OpReport:
        """The op of this name."""
        return next(op for op in self.ops if op.name == name)

    def __str__(self) -> str:
        return screen(self)

    def __repr__(self) -> str:
        return f"<Report {self.design} {self.model} {self.about['phase']}: {self.cycles} cycles>"

    def _repr_html_(self) -> str:
        return html(self)


def simulate(schedule: Schedule, design: Design, *, engine: str = "auto") -> Report:
    """The report of this schedule on this design.

    Raises Deadlock when the schedule cannot go on, ScheduleError where it does not fit the design's units, and
    LawBroken (a fault of ours) where the result breaks a law of the event model.
    """
    run = run_schedule(schedule, design, engine=engine)
    totals = Totals(design)
    totals.add(run)
    about = schedule.graph.about
    return _report(
        totals, run, about, engine,
        prefill_cycles=run.cycles if about["phase"] == "prefill" else None,
        steps=((about["context"], run.cycles),) if about["phase"] == "decode" else (),
    )  # fmt: skip


def simulate_generation(
    prefill: Schedule, steps: Iterable[Schedule], design: Design, *, engine: str = "auto"
) -> Report:
    """The report of a prefill and the decode steps after it, each run when its turn comes and then let go.

    What is the same object in two that follow each other (a section, a task, an op) is worked out once. Raises as
    simulate.
    """
    totals = Totals(design)
    run = run_schedule(prefill, design, engine=engine)
    totals.add(run, label="prefill: ")
    prefill_cycles = run.cycles
    cycles: list[tuple[int, int]] = []
    for step in steps:
        run = run_schedule(step, design, engine=engine, like=run)
        totals.add(run, label="decode: ")
        cycles.append((step.graph.about["context"], run.cycles))
    its = prefill.graph.about
    made = its["batch"] * (1 + len(cycles))
    about = {"phase": "generate", "prompt": its["prompt"], "context": None, "batch": its["batch"], "tokens": made}
    return _report(totals, run, about, engine, prefill_cycles=prefill_cycles, steps=tuple(cycles))


def _report(
    totals: Totals,
    run: ScheduleRun,
    about: Mapping[str, Any],
    engine: str,
    *,
    prefill_cycles: int | None,
    steps: tuple[tuple[int, int], ...],
) -> Report:
    """What the totals say; `run` is the last one of them."""
    design, selected = totals.design, run.schedule.selected
    report = Report(
        design=design.name,
        model=run.schedule.graph.name,
        about=about,
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
        engine=ENGINES[0] if engine == "auto" else engine,
        prefill_cycles=prefill_cycles,
        steps=steps,
    )
    broken = list(broken_by_totals(report))
    if broken:
        raise LawBroken("; ".join(broken))
    return report
