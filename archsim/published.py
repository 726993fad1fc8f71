"""Published: printed numbers with their conditions, source and tolerance, and how a simulation compares with them.

Does not know how a point is simulated: `compare` is given a function that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archsim.design import found
from archsim.errors import DesignError
from archsim.quantity import parse
from archsim.report import Report
from archsim.validate import validate
from dataflow.errors import PathProblems

STILL = 0.01  # a known miss may move by this much of its ratio before its test fails

Tolerance = Annotated[float, Field(gt=0, lt=1)]

METRICS: dict[str, tuple[str, Callable[[Report, str | None], float | None]]] = {
    "seconds": ("time", lambda report, _: report.seconds),
    "tokens_per_second": ("rate of tokens", lambda report, _: report.tokens_per_second),
    "op_seconds": ("time", lambda report, op: _op_seconds(report, op)),
    "power": ("power", lambda report, _: None if report.power_watts is None else float(report.power_watts)),
}


def _op_seconds(report: Report, op: str | None) -> float:
    assert op is not None
    timed = report.op(op)
    return float((timed.end_cycle - timed.start_cycle) / report.clock_hz)


class KnownMiss(BaseModel):
    """A published point that a declared cause cannot reach: simulated / published, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(gt=0, description="simulated over published, when it was last understood")
    reason: str = Field(description="the cause that the model lacks")


class Point(BaseModel):
    """One printed number and the run that it is compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["seconds", "tokens_per_second", "op_seconds", "power"] = Field(description="what was printed")
    op: str | None = Field(None, description="the op whose time op_seconds is")
    phase: Literal["prefill", "decode"] = Field(description="the phase to simulate")
    tokens: Annotated[int, Field(ge=1, strict=True)] = Field(description="prompt of a prefill, context of a decode")
    options: dict[str, str] = Field(default_factory=dict, description="options of the mapper")
    value: str = Field(description="the printed value with its unit")
    conditions: str = Field(description="under which conditions it was printed, in its source's words or fewer")
    mark: Literal["paper", "source", "secondary", "figure", "abstract"] = Field(description="where it was read")
    tolerance: Tolerance = Field(description="largest error, as a share of the printed value")
    given: str | None = Field(None, description="the design's path that states this number: an input, not a check")
    known_miss: KnownMiss | None = Field(None, description="why it is not reached, and by how much")

    @model_validator(mode="after")
    def _consistent(self) -> Point:
        problems = []
        if (self.metric == "op_seconds") != (self.op is not None):
            problems.append(("op", "stands with metric op_seconds and with no other"))
        try:
            parse(self.value, METRICS[self.metric][0])
        except ValueError as error:
            problems.append(("value", str(error)))
        if problems:
            raise PathProblems(problems)
        return self


class Published(BaseModel):
    """The printed numbers of one design on one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    design: str = Field(description="the design that they are of")
    model: str = Field(description="the model that ran")
    source: str = Field(description="where they are printed")
    points: dict[str, Point] = Field(description="id -> point")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published point beside its simulation; `error` is simulated / published - 1.

    `verdict` is ok, outside, given (an input of the design), known miss, or moved (a known miss whose ratio changed).
    """

    id: str
    point: Point
    published: float
    simulated: float | None

    @property
    def error(self) -> float | None:
        """Signed relative error; None where the metric is not modelled."""
        return None if self.simulated is None else self.simulated / self.published - 1

    @property
    def verdict(self) -> str:
        """How the point stands."""
        if self.error is None:
            return "outside"
        if self.point.known_miss:
            ratio = self.point.known_miss.ratio
            return "known miss" if abs((1 + self.error) / ratio - 1) <= STILL else "moved"
        if abs(self.error) > self.point.tolerance:
            return "outside"
        return "given" if self.point.given else "ok"

    @property
    def holds(self) -> bool:
        """True unless the point is outside its tolerance or a known miss has moved."""
        return self.verdict not in ("outside", "moved")


def load_published(name: str) -> Published:
    """The published numbers of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return validate(found(name, "published", "published file"), Published)


def compare(published: Published, run: Callable[[Point], Report]) -> Iterator[Comparison]:
    """Each published point beside its simulation by `run`, one after another.

    Raises DesignError where a point names an op that the run does not have.
    """
    reports: dict[tuple[str, int, tuple[tuple[str, str], ...]], Report] = {}
    for id, point in published.points.items():
        key = (point.phase, point.tokens, tuple(sorted(point.options.items())))
        if key not in reports:
            reports[key] = run(point)
        dimension, measure = METRICS[point.metric]
        if point.op is not None and all(op.name != point.op for op in reports[key].ops):
            raise DesignError(f"published point '{id}': op: no op '{point.op}' in the {point.phase}")
        yield Comparison(id, point, float(parse(point.value, dimension)), measure(reports[key], point.op))
