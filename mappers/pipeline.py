"""The pipeline in one call: a model's phase on a design, from graph to report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archsim.design import Design
from archsim.errors import InputError
from archsim.report import Report, simulate
from dataflow.graph import Graph
from dataflow.model import Model, decode, prefill
from mappers.choose import lower

PHASES = ("prefill", "decode")


def phase_graph(
    model: Model, phase: str, *, prompt: int | None = None, context: int | None = None, batch: int = 1
) -> Graph:
    """The graph of a phase: prefill takes a prompt, decode a context. Raises InputError, GraphError."""
    if phase not in PHASES:
        raise InputError(f"unknown phase '{phase}'; phases are: {', '.join(PHASES)}")
    wanted, other = ("prompt", "context") if phase == "prefill" else ("context", "prompt")
    given = {"prompt": prompt, "context": context}
    problems = []
    if given[wanted] is None:
        problems.append(f"phase {phase} takes --{wanted}, the number of tokens")
    if given[other] is not None:
        problems.append(f"phase {phase} takes --{wanted}, not --{other}")
    if problems:
        raise InputError(problems)
    if phase == "prefill":
        assert prompt is not None
        return prefill(model, prompt=prompt, batch=batch)
    assert context is not None
    return decode(model, context=context, batch=batch)


def run(
    design: Design,
    model: Model,
    *,
    phase: str,
    prompt: int | None = None,
    context: int | None = None,
    batch: int = 1,
    mapper: str | None = None,
    engine: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> Report:
    """The report of a model's phase on a design: graph, lowering and simulation. Raises InputError and its leaves."""
    graph = phase_graph(model, phase, prompt=prompt, context=context, batch=batch)
    return simulate(lower(graph, design, mapper=mapper, **(options or {})), design, engine=engine)
