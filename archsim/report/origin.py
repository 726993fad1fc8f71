"""Origin: what a report is of, for what looks into the run once more, such as its timeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from archsim.design.design import Design
from archsim.explain.explanation import Explanation
from dataflow.models.model import Model
from dataflow.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Origin:
    """The design and the schedule of a report, of a phase of many steps that of the last one; then also the model."""

    design: Design
    schedule: Schedule
    model: Model | None = None


# What explains a report, given the report and a number of processes. The package that can lower a graph once more
# enters it here when it is imported; this one knows no mapper.
EXPLAINED_BY: list[Callable[[Any, int | None], Explanation]] = []
