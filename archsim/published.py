"""Published: printed numbers with their conditions, source and tolerance, and how a simulation compares with them.

Does not know how a point is simulated: `compare` is given a function that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from archsim.errors import DesignError
from archsim.files.shipped import found
from archsim.files.validate import validate
from archsim.quantity import parse, text_of
from archsim.report.report import Report
from dataflow.errors import InputError, PathProblems
from dataflow.models.phases import PHASES, phase_named
from dataflow.phase import Phase, field_types

STILL = 0.01  # a known miss may move by this much of its ratio before its test fails

Tolerance = Annotated[float, Field(gt=0, lt=1, strict=True)]
Tokens = Annotated[int, Field(ge=1, strict=True)]
Metric = Literal[
    "seconds", "tokens_per_second", "frames_per_second", "op_seconds", "part_share", "times_slower", "power",
    "bytes_read", "busy_share", "times_launches",
]  # fmt: skip
Name = str | None  # the op, part or unit that a metric measures; None where it measures the whole run
Edits = dict[str, StrictInt | StrictBool | StrictStr]

# metric -> (dimension of the printed value, how to measure it on a report; a ratio also takes the other run's report).
METRICS: dict[str, tuple[str, Callable[[Report, Name, Report | None], float | None]]] = {
    "seconds": ("time", lambda report, *_: report.seconds),
    "tokens_per_second": ("rate of tokens", lambda report, *_: report.tokens_per_second),
    "frames_per_second": ("rate of frames", lambda report, *_: report.frames_per_second),
    "op_seconds": ("time", lambda report, op, _: _op_seconds(report, op)),
    "part_share": ("share", lambda report, part, _: report.under_way.get(str(part), 0) / report.cycles),
    "times_slower": ("ratio", lambda report, _, than: report.seconds / than.seconds if than else None),
    "bytes_read": ("bytes", lambda report, memory, _: report.bytes_moved(str(memory), "read")),
    "busy_share": ("share", lambda report, unit, _: report.units[str(unit)].utilization),
    "times_launches": ("ratio", lambda report, _, than: _launches(report) / _launches(than) if than else None),
    "power": ("power", lambda report, *_: report.power_watts),
}
# Keys of a point, and the metrics that they stand with.
NAMED: dict[str, tuple[Metric, ...]] = {
    "op": ("op_seconds",), "part": ("part_share",), "unit": ("bytes_read", "busy_share"),
    "than": ("times_slower", "times_launches"),
}  # fmt: skip
# Dimensions without a physical unit -> (an example of how the value is printed, its scale).
PLAIN = {"share": ("48 %", 0.01), "ratio": ("7.3 x", 1.0), "rate of frames": ("8.3 frame/s", 1.0)}
PLAIN_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{0,30})?")  # not isdigit, which takes the digits of every script


def _text_of(dimension: str) -> dict[str, Any]:
    """The JSON Schema of a printed value, as `value_of` reads it."""
    if dimension not in PLAIN:
        return text_of(dimension, positive=True)
    example = PLAIN[dimension][0]
    taken = rf"^(?=[0-9.]*[1-9]){PLAIN_NUMBER.pattern} {re.escape(example.split()[1])}$"
    return {"type": "string", "pattern": taken, "patternErrorMessage": f"expected a {dimension} such as '{example}'"}


def _values_by_metric(schema: dict[str, Any]) -> None:
    """Says to editors how the value of each metric is written."""
    schema["allOf"] = [
        {
            "if": {"properties": {"metric": {"const": metric}}, "required": ["metric"]},
            "then": {"properties": {"value": _text_of(dimension)}},
        }
        for metric, (dimension, _) in METRICS.items()
    ]


def value_of(text: str, dimension: str) -> float:
    """The number that a printed value means. Raises ValueError where it is no value of the dimension.

    >>> value_of("48 %", "share"), value_of("7.3 x", "ratio"), value_of("9 ms", "time")
    (0.48, 7.3, 0.009)
    """
    if dimension not in PLAIN:
        return float(parse(text, dimension))
    example, scale = PLAIN[dimension]
    number, _, unit = text.partition(" ")
    # Zero is refused too: errors are relative to the published value.
    if unit != example.split()[1] or not PLAIN_NUMBER.fullmatch(number) or not float(number):
        raise ValueError(f"expected a {dimension} such as '{example}', got {text!r}")
    return float(number) * scale


def _op_seconds(report: Report, op: Name) -> float:
    assert op is not None
    timed = report.op(op)
    return float((timed.end_cycle - timed.start_cycle) / report.clock_hz)


def _launches(report: Report) -> int:
    return sum(section.launches * section.repeat * section.steps for section in report.placed)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The run behind a published number: its design, model and selection by names; what its mapping says, by path."""

    design: str
    model: str
    phase: Phase
    selection: str | None
    options: tuple[tuple[str, str], ...]
    mapping: tuple[tuple[str, int | bool | str], ...] = ()


class KnownMiss(BaseModel):
    """A published point that the simulation misses for a known cause: simulated / published, and the cause."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(gt=0, strict=True, description="simulated over published, when it was last understood")
    reason: str = Field(description="the cause that the model lacks")


class Than(BaseModel):
    """What a ratio compares with: the same run on another design, with another selection or mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    design: str | None = Field(None, description="the other design; the file's own unless given")
    selection: str | None = Field(None, description="the other selection; none unless given")
    mapping: Edits = Field(default_factory=dict, description="path -> value of the other mapping; none unless given")


class Point(BaseModel):
    """One printed number and the run that it is compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_values_by_metric)

    metric: Metric = Field(description="what was printed")
    op: str | None = Field(None, description="the op whose time op_seconds is")
    part: str | None = Field(None, description="the part, as a report names it, that is under way for part_share")
    unit: str | None = Field(None, description="the memory of bytes_read, or the unit of busy_share")
    than: Than | None = Field(None, description="the run that times_slower or times_launches compares with")
    phase: str = Field(description="the phase to simulate; `archsim list phases` lists them with their fields")
    tokens: Tokens | None = Field(None, description="context of the phase, or prompt where it has no context")
    prompt: Tokens | None = Field(None, description="prompt of a phase that also has a context")
    fields: dict[str, StrictInt | StrictBool | StrictStr] = Field(
        default_factory=dict, description="other fields of the phase -> value, as on the command line"
    )
    batch: Tokens = Field(1, description="sequences at once")
    selection: str | None = Field(None, description="which cached keys a step attends to, where the mapper chooses")
    options: dict[str, str] = Field(default_factory=dict, description="options of the mapper")
    mapping: Edits = Field(default_factory=dict, description="path -> value of the mapping, as --set mapping.PATH")
    value: str = Field(description="the printed value with its unit")
    conditions: str = Field(description="under which conditions it was printed, in its source's words or fewer")
    mark: Literal["paper", "source", "secondary", "figure", "abstract"] = Field(description="where it was read")
    tolerance: Tolerance = Field(description="largest error, as a share of the printed value")
    given: str | None = Field(None, description="the design's path that states this number: an input, not a check")
    known_miss: KnownMiss | None = Field(None, description="why it is not reached, and by how much")

    @model_validator(mode="after")
    def _consistent(self) -> Point:
        problems = []
        for key, metrics in NAMED.items():
            if (self.metric in metrics) != (getattr(self, key) is not None):
                problems.append((key, f"stands with metric {' or '.join(metrics)} and with no other"))
        try:
            if self.asked().frames is None and self.metric == "frames_per_second":
                problems.append(("metric", f"phase '{self.phase}' has no frames; name a phase that has, such as frame"))
        except InputError as error:
            problems += [("phase", problem) for problem in error.problems]
        try:
            if not value_of(self.value, METRICS[self.metric][0]):
                problems.append(("value", f"{self.value} has no relative error; give a value above zero"))
        except ValueError as error:
            problems.append(("value", str(error)))
        if problems:
            raise PathProblems(problems)
        return self

    def asked(self) -> Phase:
        """The phase that this point describes. Raises InputError."""
        written = {"prompt": self.prompt, "batch": self.batch, **self.fields}
        if self.phase in PHASES and self.tokens is not None:
            written["context" if "context" in field_types(PHASES[self.phase]) else "prompt"] = self.tokens
        return phase_named(self.phase, written)

    def run_on(self, design: str, model: str) -> Conditions:
        """The run that this point describes, on the design and model of its file."""
        # A sorted tuple: points with the same options in another order share one run.
        options, mapping = tuple(sorted(self.options.items())), tuple(sorted(self.mapping.items()))
        return Conditions(design, model, self.asked(), self.selection, options, mapping)


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

    `verdict` is ok, outside, given (an input of the design), fitted (a number of the run was fitted to this point),
    known miss, or moved (a known miss whose ratio changed).
    """

    id: str
    point: Point
    published: float
    simulated: float | None
    fitted: bool = False

    @property
    def error(self) -> float | None:
        """Signed relative error; None where the metric is not modelled."""
        return None if self.simulated is None else self.simulated / self.published - 1

    @property
    def verdict(self) -> str:
        """How the point stands."""
        if self.error is None:
            return "outside"
        # A known miss is judged by its ratio alone: a fix that brings it inside the tolerance is to be noticed too.
        if self.point.known_miss:
            ratio = self.point.known_miss.ratio
            return "known miss" if abs((1 + self.error) / ratio - 1) <= STILL else "moved"
        if abs(self.error) > self.point.tolerance:
            return "outside"
        return "given" if self.point.given else "fitted" if self.fitted else "ok"

    @property
    def holds(self) -> bool:
        """True unless the point is outside its tolerance or a known miss has moved."""
        return self.verdict not in ("outside", "moved")


def load_published(name: str) -> Published:
    """The published numbers of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return validate(found(name, "published", "published file"), Published)


def conditions_of(published: Published) -> list[Conditions]:
    """The runs that the published points need, each once."""
    runs = [run for point in published.points.values() for run in _runs_of(published, point) if run is not None]
    return list(dict.fromkeys(runs))


def _runs_of(published: Published, point: Point) -> tuple[Conditions, Conditions | None]:
    """The run of a point, and the one that a ratio compares with."""
    own, than = point.run_on(published.design, published.model), point.than
    if than is None:
        return own, None
    mapping = tuple(sorted(than.mapping.items()))
    return own, replace(own, design=than.design or own.design, selection=than.selection, mapping=mapping)


def compare(published: Published, run: Callable[[Conditions], Report]) -> Iterator[Comparison]:
    """Each published point with its simulation by `run`, one after another; points with equal conditions share a run.

    Raises DesignError where a point names an op or a part that the run does not have.
    """
    report_of = cache(run)
    for id, point in published.points.items():
        conditions, other = _runs_of(published, point)
        report, than = report_of(conditions), None
        if point.op is not None and all(op.name != point.op for op in report.ops):
            raise DesignError(f"published point '{id}': op: no op '{point.op}' in the {point.phase}")
        if point.unit is not None and point.unit not in report.units:
            known = ", ".join(report.units)
            raise DesignError(f"published point '{id}': unit: no unit '{point.unit}'; units are: {known}")
        if point.part is not None and point.part not in report.under_way:
            known = ", ".join(report.under_way)
            raise DesignError(f"published point '{id}': part: no part '{point.part}'; parts are: {known}")
        if other is not None:
            than = report_of(other)
        dimension, measure = METRICS[point.metric]
        value = measure(report, point.op or point.part or point.unit, than)
        # A number of the run that was fitted to this point makes its error no check.
        yield Comparison(id, point, value_of(point.value, dimension), value, id in report.fitted.values())
