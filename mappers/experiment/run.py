"""One run in one call: a model's phase on a design, from graph to report."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from archsim.design.design import Design, load_design
from archsim.engine import engine_for
from archsim.errors import InputError, MappingError
from archsim.files.shipped import load_model
from archsim.published import Conditions
from archsim.report.report import Report, simulate, simulate_generation
from archsim.selection.selection import Selection, load_selection
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.phases import check_generation, decode, frame, layer_attention, next_step, prefill, question
from dataflow.schedule import Schedule
from mappers.registry import lower, lower_step

# What each phase needs; attention may be given a mask too.
NEEDS = {
    "prefill": ("prompt",),
    "decode": ("context",),
    "attention": ("prompt", "context"),
    "frame": ("context",),
    "question": ("context", "prompt"),
    "generate": ("prompt", "tokens"),
}
GRAPHS: dict[str, Callable[..., Graph]] = {
    "prefill": prefill, "decode": decode, "frame": frame, "question": question, "attention": layer_attention,
}  # fmt: skip
WINDOW = re.compile("[1-9][0-9]{0,17}")
# Engines in Python run some hundred thousand firings a second: from here on it takes seconds.
PYTHON_ENGINES, SLOW_FIRINGS = ("simpy", "recurrence"), 500_000


def check_phase(phase: str, **given: int | str | None) -> None:
    """Raises InputError with all that the phase needs and is not given, or is given and does not take."""
    if phase not in NEEDS:
        raise InputError(f"unknown phase '{phase}'; phases are: {', '.join(NEEDS)}")
    problems = [
        f"phase {phase} takes --{name}, the number of tokens" for name in NEEDS[phase] if given.get(name) is None
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


def phase_graph(
    model: Model,
    phase: str,
    *,
    prompt: int | None = None,
    context: int | None = None,
    tokens: int | None = None,
    batch: int = 1,
    mask: str | None = None,
) -> Graph:
    """The graph of a phase that is one graph, from the extents that it takes (NEEDS).

    `mask` is "causal" (the default), "full", or a window such as "128": causal, with at most 128 keys per query.
    Raises InputError, GraphError.
    """
    if phase == "generate":
        raise InputError(
            "phase generate has a graph for each token; take phase prefill, or phase decode with a --context"
        )
    check_phase(phase, prompt=prompt, context=context, tokens=tokens, mask=mask)
    given = {"prompt": prompt, "context": context}
    extents = {name: given[name] for name in NEEDS[phase]}
    seen = {} if mask is None else _mask(mask)
    return GRAPHS[phase](model, batch=batch, **extents, **seen)


def _mask(written: str) -> dict[str, Any]:
    if written in ("causal", "full"):
        return {"causal": written == "causal"}
    if not WINDOW.fullmatch(written):
        raise InputError(f"--mask: expected causal, full or a window in keys such as 128, got '{written}'")
    return {"window": int(written)}


def generation(
    design: Design,
    model: Model,
    *,
    prompt: int,
    tokens: int,
    batch: int = 1,
    mapper: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Schedule, Iterator[Schedule]]:
    """The schedule of the prefill, which makes the first token, and those of the decode steps, each made when needed.

    The decode steps are at contexts of prompt + 1 to prompt + tokens - 1, the new token's own key included. Raises
    GraphError and MappingError with everything that the model or the design cannot hold, at the prompt or at the end.
    """
    check_generation(model, prompt=prompt, tokens=tokens, batch=batch)
    asked = {"mapper": mapper, **(options or {})}
    ends = [prefill(model, prompt=prompt, batch=batch)]
    if tokens > 1:
        ends.append(decode(model, context=prompt + tokens - 1, batch=batch))
    # Contexts only grow, so what fits at both ends fits in between; all that does not fit is said at once.
    lowered, errors = [], []
    for graph in ends:
        try:
            lowered.append(lower(graph, design, **asked))
        except MappingError as error:
            errors.append(error)
    if errors:
        problems = dict.fromkeys(problem for error in errors for problem in error.problems)
        raise errors[0] if len(problems) == 1 else MappingError("\n".join(problems))
    return lowered[0], _steps(design, model, prompt=prompt, tokens=tokens, batch=batch, asked=asked)


def _steps(
    design: Design, model: Model, *, prompt: int, tokens: int, batch: int, asked: dict[str, Any]
) -> Iterator[Schedule]:
    schedule = None
    for context in range(prompt + 1, prompt + tokens):
        if schedule is None:
            schedule = lower(decode(model, context=context, batch=batch), design, **asked)
        else:
            schedule = lower_step(next_step(model, schedule.graph), design, previous=schedule)
        yield schedule


def run_published(conditions: Conditions) -> Report:
    """The report of the run that a published number is of. Raises InputError."""
    selection = None if conditions.selection is None else load_selection(conditions.selection)
    return run(
        load_design(conditions.design), load_model(conditions.model), phase=conditions.phase, prompt=conditions.prompt,
        context=conditions.context, batch=conditions.batch, selection=selection, options=dict(conditions.options),
    )  # fmt: skip


def run(
    design: Design,
    model: Model,
    *,
    phase: str,
    prompt: int | None = None,
    context: int | None = None,
    tokens: int | None = None,
    batch: int = 1,
    mask: str | None = None,
    mapper: str | None = None,
    engine: str = "auto",
    selection: Selection | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """The report of a model's phase on a design: graph, lowering and simulation. Raises InputError and its leaves.

    `selection` says which cached keys a step attends to, for mappers that choose among them. Phase "generate" makes
    `tokens` tokens after a prompt: a prefill, which makes the first, and a decode step for each of the others, every
    one simulated; `progress` is called with a line of text for each token made.
    """
    options = {**(options or {}), **({} if selection is None else {"selection": selection})}
    if phase != "generate":
        graph = phase_graph(model, phase, prompt=prompt, context=context, tokens=tokens, batch=batch, mask=mask)
        schedule = lower(graph, design, mapper=mapper, **options)
        return simulate(schedule, design, engine=_engine(engine, schedule, schedule.run_firings))
    check_phase(phase, prompt=prompt, context=context, tokens=tokens, mask=mask)
    assert prompt is not None
    assert tokens is not None
    first, steps = generation(design, model, prompt=prompt, tokens=tokens, batch=batch, mapper=mapper, options=options)
    engine = _engine(engine, first, tokens * first.run_firings)
    return simulate_generation(first, _announced(steps, tokens, progress), design, engine=engine)


def _engine(engine: str, first: Schedule, firings: int) -> str:
    """The engine for about this many firings; says on stderr (as a logger's warning) where it will take a while."""
    engine = engine_for(engine, firings)
    if engine in PYTHON_ENGINES and first.run_firings > SLOW_FIRINGS:
        logging.getLogger("archsim").warning(f"simulating {first.run_firings:,} firings; this takes a while")
    return engine


def _announced(steps: Iterator[Schedule], tokens: int, progress: Callable[[str], None] | None) -> Iterator[Schedule]:
    for made, step in enumerate(steps, start=1):
        if progress:
            progress(f"{made:,} of {tokens:,} tokens made")
        yield step
