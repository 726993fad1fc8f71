"""What one run of a schedule took, section by section, as pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult
from archsim.run.bound import Bound
from archsim.run.tally import Tally
from dataflow.graph import Op, Tensor
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import Task

# Keys of `asked` beside mac, flop and exp: the ops that need a unit, and those whose mask has a window.
MAPPED, WINDOWED = "ops", "ops under a window"


def of_kind(kind: str) -> str:
    """The key of `asked` under which the ops of this kind are counted."""
    return f"ops of kind {kind}"


@dataclass(frozen=True, slots=True)
class SectionRun:
    """One run of a section; its repetitions are not multiplied in.

    Tallies of its tasks: `work` by what is counted; `traffic`, bytes by (unit, direction, role); `read`, bytes by role,
    without those that another task has read before and a stream brings; `energy`, joules by unit, with the key
    (unit, None) where a task's energy is not modelled; `served`, tasks by the op that they serve; `fused`, the work of
    tasks that serve several ops by tiles, by (op, what is counted), for all repetitions. `queues`: as Section.queues.
    `active`: cycles by the set of parts under way, ("waiting",) where there is none.
    """

    section: Section
    flat: Flat
    bound: Bound
    result: SectionResult
    work: Tally[Task]
    traffic: Tally[Task]
    read: Tally[Task]
    energy: Tally[Task]
    served: Tally[Task]
    fused: Tally[Task]
    active: Mapping[tuple[str, ...], int]
    queues: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One run of a schedule: the runs of its sections, and tallies of its graph.

    `asked`: the work of all ops, and how many there are under MAPPED, WINDOWED and the key of each kind. `stored`:
    bytes that lie in memory before the step and must be read, by role.
    """

    schedule: Schedule
    sections: tuple[SectionRun, ...]
    asked: Tally[Op]
    stored: Tally[Tensor]

    @property
    def cycles(self) -> int:
        """Cycles of all sections and repetitions."""
        return sum(run.section.repeat * run.result.cycles for run in self.sections)
