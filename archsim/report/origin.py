"""Origin: what a report is of, for what looks into the run once more, such as its timeline."""

from __future__ import annotations

from dataclasses import dataclass

from archsim.design.design import Design
from dataflow.models.model import Model
from dataflow.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Origin:
    """The design and the schedule of a report, of a phase of many steps that of the last one; then also the model."""

    design: Design
    schedule: Schedule
    model: Model | None = None
