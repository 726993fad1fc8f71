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

MAPPED = "ops"


@dataclass(frozen=True, slots=True)
class SectionRun:
    """One run of a section, however often it repeats.

    Tallies of its tasks: `work` by what is counted; `traffic` bytes by (unit, direction, role); `energy` by unit,
    beside (unit, None) where a task's is not modelled; `served` tasks by the op that they serve. `active` splits the
    cycles by the parts under way, ("waiting",) where none is.
    """

    section: Section
    flat: Flat
    bound: Bound
    result: SectionResult
    work: Tally[Task]
    traffic: Tally[Task]
    energy: Tally[Task]
    served: Tally[Task]
    active: Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One run of a schedule: its sections', and tallies of the graph.

    `asked` counts the work of its ops, and under MAPPED those that a unit does; `stored` the bytes that lie in memory
    before, by role.
    """

    schedule: Schedule
    sections: tuple[SectionRun, ...]
    asked: Tally[Op]
    stored: Tally[Tensor]

    @property
    def cycles(self) -> int:
        """Cycles of all sections and repetitions."""
        return sum(one.section.repeat * one.result.cycles for one in self.sections)
