"""SweepFile: a sweep as YAML: which points of what are run, and what is wanted of them. Knows words; runs nothing."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr

from archsim.errors import InputError
from archsim.files.document import Document, read
from archsim.files.provenance import FROZEN
from archsim.files.validate import validate

Names = list[str] | str


class SweepFile(BaseModel):
    """A sweep: what varies over which model and design, how points are chosen, and what is wanted of them."""

    model_config = FROZEN

    _document: Document = PrivateAttr()

    design: str = Field(description="the design: a shipped name or a path")
    model: str = Field(description="the model or graph: a shipped name, a path, or gemm:MxNxK")
    phase: str | None = Field(None, description="the phase of a model; its fields stand under `fields`")
    fields: dict[str, Any] = Field(default_factory=dict, description="field of the phase -> value, as context: 128")
    phases: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="label -> phase and its fields, where a point runs several: talk: {phase: decode, context: 128}",
    )
    over: dict[str, Any] = Field(
        description="dotted path -> list of values, or a range {from: 1, to: 64}, with step or log"
    )
    search: str = Field("grid", description="grid, random, latin or optuna: which points are visited")
    points: int | None = Field(None, strict=True, description="how many points, unless it is a grid")
    seed: int | None = Field(None, strict=True, description="of drawn points: the same gives the same; 0 unless given")
    most: Names = Field(default_factory=list, description="figures that are better when larger")
    least: Names = Field(default_factory=list, description="figures that are better when smaller")
    constraints: dict[str, Any] = Field(
        default_factory=dict, description="figure -> {at_most: number}, {at_least: number}, or both"
    )
    selection: str | None = Field(None, description="which cached keys a step attends to")
    mapping: str | None = Field(None, description="where ops run and in what tiles")
    options: dict[str, Any] = Field(default_factory=dict, description="option of the mapper -> value")
    mapper: str | None = Field(None, description="the mapper, if not the design's own")
    engine: str = Field("auto", description="the engine that answers")
    store: str | None = Field(
        None, description="file that keeps the rows; `archsim sweep` takes the name of this one with .db unless given"
    )

    @classmethod
    def of(cls, document: Document) -> SweepFile:
        """The sweep that the document describes. Raises DesignError with every problem."""
        found = validate(document, cls)
        found._document = document
        return found

    def asked(self) -> dict[str, Any]:
        """What a plan is made of, by name, but for the fields of the phase."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in ("fields", "store")}
        return {**given, "phases": self.phases or None}

    def placed(self, problem: InputError) -> InputError:
        """The problem with the file and the line before each part of it."""
        placed = sorted((self._placed(one) for one in problem.problems), key=lambda one: one[0])
        return type(problem)([text for _, text in placed])

    def _placed(self, problem: str) -> tuple[int, str]:
        document = self._document
        where, colon, told = problem.partition(": ")
        if field := re.match("sweep takes no '([^']*)'", problem):
            where, told = f"fields.{field[1]}", problem
        for path in (f"over.{where}", where, f"fields.{where}") if colon or field else ():
            if path in document.lines:
                return document.line(path), document.problem(path, told)
        at = next((key for key in ("fields", "phase") if key in document.lines), "") * problem.startswith("phase ")
        # A field is asked for as on the command line.
        return document.line(at) if at else 0, document.problem(at, problem.replace(" --", " ") if at else problem)


def load_sweep_file(name: str) -> SweepFile:
    """The sweep at a path. Raises DesignError with every problem of the file."""
    return SweepFile.of(read(name))
