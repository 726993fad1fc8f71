"""Figures: the totals of simulated schedules and what follows from them. Seconds appear here for the first time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from archsim.report.origin import Origin
from archsim.run.placed import PlacedSection
from archsim.run.totals import OpReport, UnitReport
from dataflow.errors import InputError, guess, quoted
from dataflow.phase import Phase
from dataflow.selection_summary import SelectionSummary
from dataflow.tiling import Tiling


def expect_report(what: str, given: object, *, kinds: str = "a Report") -> None:
    """Raises InputError where an object is given that is none of these kinds; users know Figures as Report."""
    if not isinstance(given, Figures):
        raise InputError(f"{what}: expected {kinds}, got {quoted(given)}")


@dataclass(frozen=True, slots=True, repr=False)
class Figures:
    """The totals of a run.

    `tokens` are those of the phase: the prompts' in a prefill, those made in a decode or a generation. `traffic` is
    bytes per memory, direction and role of the tensor, and `carried` per channel and role. `held` has what lies in each
    memory when most does, by role, and under "" what lies in none. `parts` splits the cycles by kind of work under way;
    kinds that overlap get equal shares; `under_way` has the cycles of each kind in full.
    `mapped` counts the ops on units; `free` those that need none, such as views, by kind.
    `selected` says which cached keys the last step attends to; `recomputed_for` says what the work beyond the graph is,
    and `skipped` has the work that is left out by its reason. `peaks` has for each stream the most places taken, its
    depth and the bytes of a token; `sections` has name, repetitions and the cycles of one run. `prefill_cycles` is None
    without a prefill; `steps` has (context, cycles) of each decode step. `lower_bound_cycles` are the least of this
    schedule, `roofline` those of any, with the unit that needs them; None for a phase of many steps.
    `placed` has the sections whose stages lie side by side, and the tiles of each.
    The ops, streams and sections of a generation are named "prefill: ..." or "decode: ...". An op of the decode steps
    starts in the first step, ends in the last, and is busy in all; a peak is the largest of all steps.
    `published_watts` is the power that the source gives; `joules` those of all units and, beside them, `idle_joules` of
    idle power and `rest_joules` of resources that no unit uses: None where not known, and `energy_missing` says why.
    The engine ran `firings_run` of the `firings` one by one; the others repeat those exactly. `cold` says that SimPy
    answered while the compiled engine was not compiled on this machine. `files` are the words that `archsim check`
    takes to list what was assumed. `origin` is what was run.
    """

    design: str
    model: str
    phase: Phase
    tokens: int | None
    mapper: str
    options: Mapping[str, Any]
    clock_hz: Fraction
    cycles: int
    lower_bound_cycles: int
    roofline: tuple[int, str] | None
    published_watts: Fraction | None
    resources: Mapping[str, tuple[Fraction | None, Fraction]]
    area: Fraction | None
    idle_joules: Fraction | None
    rest_joules: Fraction | None
    joules: Fraction | None
    energy_missing: str
    units: Mapping[str, UnitReport]
    traffic: Mapping[str, Mapping[tuple[str, str], int]]
    carried: Mapping[str, Mapping[str, int]]
    held: Mapping[str, Mapping[str, int]]
    ops: tuple[OpReport, ...]
    parts: Mapping[str, Fraction]
    sections: tuple[tuple[str, int, int], ...]
    peaks: Mapping[str, tuple[int, int, int]]
    mapped: int
    free: Mapping[str, int]
    tilings: tuple[Tiling, ...]
    placed: tuple[PlacedSection, ...]
    approximated: tuple[str, ...]
    recomputed: Mapping[str, int]
    recomputed_for: str
    skipped: Mapping[str, Mapping[str, int]]
    selected: SelectionSummary | None
    under_way: Mapping[str, int]
    assumed: Mapping[str, str]
    fitted: Mapping[str, str]
    files: tuple[str, ...] = field(compare=False)
    firings: int
    firings_run: int
    engine: str
    cold: bool
    prefill_cycles: int | None = None
    steps: tuple[tuple[int, int], ...] = ()
    origin: Origin | None = field(default=None, compare=False)

    @property
    def step(self) -> str:
        """Of a phase of many steps the one that timeline, stalls and explanation show; "" of others.

        It is the last of the kind of step, such as prefill or decode, that takes most of the time.
        """
        return ", ".join(self.origin.schedule.graph.phase.title()) if self.phase.many_steps and self.origin else ""

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
        cycles = sum(cycles for _, cycles in self.steps)
        return cycles / len(self.steps) / float(self.clock_hz) if self.steps else None

    @property
    def step_seconds(self) -> tuple[float, ...]:
        """Time of each decode step."""
        return tuple(float(cycles / self.clock_hz) for _, cycles in self.steps)

    @property
    def decode_tokens_per_second(self) -> float | None:
        """Tokens of all sequences that the decode steps make over their time; None where the phase has none."""
        return self.phase.batch / self.tpot_seconds if self.tpot_seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the phase over its time; None where there are none."""
        return None if self.tokens is None else self.tokens / self.seconds

    @property
    def frames_per_second(self) -> float | None:
        """Frames of all sequences over the time; None where the phase has none."""
        return None if self.phase.frames is None else self.phase.frames / self.seconds

    @property
    def energy_joules(self) -> float | None:
        """Published power times time; without one the sum over units, rest and idle power, if all are known."""
        if self.published_watts is not None:
            return float(self.published_watts) * self.seconds
        return None if self.joules is None else float(self.joules)

    @property
    def power_watts(self) -> float | None:
        """Published power; without one energy over time."""
        if self.published_watts is not None:
            return float(self.published_watts)
        return None if self.energy_joules is None else self.energy_joules / self.seconds

    @property
    def area_mm2(self) -> float | None:
        """Area of the chip's cores; None where the design gives none or it is not known of the variant."""
        return None if self.area is None else float(self.area)

    @property
    def tokens_per_joule(self) -> float | None:
        """Tokens of the phase over its energy; None where there are none or no energy is known or taken."""
        return self.tokens / self.energy_joules if self.tokens is not None and self.energy_joules else None

    @property
    def busiest(self) -> dict[str, int]:
        """The busy cycles of each unit: of a server on average, where tasks are placed of the busiest one."""
        return {name: unit.busiest_cycles for name, unit in self.units.items()}

    @property
    def bottleneck(self) -> str:
        """The unit that is busy for the largest share of the time; where tasks are placed, by its busiest server."""
        return max(self.units, key=self.busiest.__getitem__)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What is simplified and why work was left out, as text, JSON, HTML and the rows of a sweep say."""
        return (*self.skipped, *self.approximated)

    def bytes_moved(self, memory: str, direction: str) -> int:
        """Bytes read or written ("read", "written") at a memory, all roles. Raises InputError for no memory."""
        if memory not in self.traffic:
            raise InputError(f"no memory {quoted(memory)}; {guess(str(memory), self.traffic, otherwise='there are')}")
        return sum(n for (way, _), n in self.traffic[memory].items() if way == direction)

    def op(self, name: str) -> OpReport:
        """The op of this name. Raises InputError where there is none."""
        found = {op.name: op for op in self.ops}
        if not isinstance(name, str) or name not in found:
            raise InputError(f"no op {quoted(name)}; {guess(str(name), found, otherwise='ops are')}")
        return found[name]
