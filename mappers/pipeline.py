"""The pipeline in one call: a model's phase on a design, from graph to report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from archsim.design import Design
from archsim.errors import InputError
from archsim.report import Report, simulate
from dataflow.attention_graph import layer_attention
from dataflow.graph import Graph
from dataflow.model import Model, decode, prefill
from mappers.choose import lower

# What each phase needs; an attention may be given a mask besides.
NEEDS = {"prefill": ("prompt",), "decode": ("context",), "attention": ("prompt", "context")}
WINDOW = re.compile("[1-9][0-9]{0,17}")


def phase_graph(
    model: Model,
    phase: str,
    *,
    prompt: int | None = None,
    context: int | None = None,
    batch: int = 1,
    mask: str | None = None,
) -> Graph:
    """The graph of a phase: prefill takes a prompt, decode a context, attention both and a mask.

    `mask` is "causal" (the default), "full", or a window such as "128": causal, and at most so many keys a query.
    Raises InputError, GraphError.
    """
    if phase not in NEEDS:
        raise InputError(f"unknown phase '{phase}'; phases are: {', '.join(NEEDS)}")
    given = {"prompt": prompt, "context": context, "mask": mask}
    problems = [
        f"phase {phase} takes --{name}, the number of tokens"
        for name in NEEDS[phase]
        if given[name] is None
    ]
    wanted = " and ".join(f"--{name}" for name in NEEDS[phase])
    taken = (*NEEDS[phase], "mask") if phase == "attention" else NEEDS[phase]
    problems += [
        f"phase {phase} takes {wanted}, not --{name}"
        for name, value in given.items()
        if name not in taken and value is not None
    ]
    if problems:
        raise InputError(problems)
    if phase == "attention":
        assert prompt is not None
        assert context is not None
        seen = _mask("causal" if mask is None else mask)
        return layer_attention(model, prompt=prompt, context=context, batch=batch, **seen)
    if phase == "prefill":
        assert prompt is not None
        return prefill(model, prompt=prompt, batch=batch)
    assert context is not None
    return decode(model, context=context, batch=batch)


def _mask(written: str) -> dict[str, Any]:
    if written in ("causal", "full"):
        return {"causal": written == "causal"}
    if not WINDOW.fullmatch(written):
        raise InputError(f"--mask: expected causal, full or a window in keys such as 128, got '{written}'")
    return {"window": int(written)}


def run(
    design: Design,
    model: Model,
    *,
    phase: str,
    prompt: int | None = None,
    context: int | None = None,
    batch: int = 1,
    mask: str | None = None,
    mapper: str | None = None,
    engine: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> Report:
    """The report of a model's phase on a design: graph, lowering and simulation. Raises InputError and its leaves."""
    graph = phase_graph(model, phase, prompt=prompt, context=context, batch=batch, mask=mask)
    return simulate(lower(graph, design, mapper=mapper, **(options or {})), design, engine=engine)
