"""Origin: what a report is of, for what looks into the run once more, such as its timeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from archsim.design.design import Design
from archsim.explain.explanation import Explanation
from archsim.run.results import ScheduleRun
from dataflow.models.model import Model
from dataflow.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Origin:
    """The design and the schedule of a report; of a phase of many steps also the model.

    Of many steps the schedule is that of the last step of the kind, such as prefill or decode, that takes most of the
    time: `alike` cycles in all steps of its kind. It begins at the cycle `begins`, and a run of each of its sections
    takes `sections`.
    """

    design: Design
    schedule: Schedule
    sections: tuple[int, ...]
    alike: int
    begins: int = 0
    model: Model | None = None


def origin_of(run: ScheduleRun, design: Design, *, begins: int, before: Origin | None) -> Origin:
    """The origin of a run of one schedule that begins at this cycle, with the steps of its kind that were before."""
    sections = tuple(section.result.cycles for section in run.sections)
    return Origin(design, run.schedule, sections, run.cycles + (before.alike if before else 0), begins)


# What explains a report, given the report and a number of processes. The package that can lower a graph once more
# enters it here when it is imported; this one knows no mapper.
EXPLAINED_BY: list[Callable[[Any, int | None], Explanation]] = []
