"""What an explanation finds: why a run takes its time, and what each change of its design would bring. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from archsim.explain.changes import Change
from archsim.explain.ops import RooflineOfOps
from archsim.explain.path import CriticalPath
from archsim.explain.stalls import Stalls


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change brings: the seconds that the run then takes, and the old time over that, less 1.

    Both are None where the change is refused, for the `problem`. `beyond`: what it uses of a resource, and the budget,
    for each of which the design does not have enough. `unknown`: the resources of which nobody knows what it uses.
    """

    change: Change
    seconds: float | None
    gain: float | None
    problem: str | None = None
    beyond: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """The unit with most of the critical path, as far as that was looked at, its share of it, and its best change.

    `where` is the line of the number in its file; None where no change of the unit brings anything.
    """

    unit: str
    share: float
    effect: Effect | None
    where: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Findings:
    """Why a run takes its cycles.

    `effects` are sorted, the largest gain first and what is refused last. `stalls`, `path` and `roofline` are those of
    the schedule, of a phase of many steps those of the one that `step` names, the last of the kind of step that takes
    most of the time, `step_share` of it; effects are those of the whole phase.
    `limits` are the lines in which the text of the report says what it leaves out and assumes.
    """

    title: str
    cycles: int
    clock_hz: Fraction
    effects: tuple[Effect, ...]
    binding: Binding
    path: CriticalPath
    stalls: Stalls
    roofline: RooflineOfOps | None
    caveats: tuple[str, ...]
    limits: tuple[str, ...] = ()
    step: str = ""
    step_share: float = 1.0

    @property
    def seconds(self) -> float:
        """Time of the run."""
        return float(self.cycles / self.clock_hz)
