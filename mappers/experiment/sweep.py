"""Sweeps: a phase under every combination of values of the design, the selection, the options and the phase.

Knows in which order combinations are cheapest. Refused combinations are rows too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError
from archsim.report.report import Report
from archsim.selection.selection import Selection, load_selection
from archsim.units import Memory
from dataflow.models.model import Model
from mappers.experiment.row import Row
from mappers.experiment.run import run
from mappers.experiment.sweep_request import OF_MAPPER, OF_SELECTION, TAKEN, Plan, below, checked, listed, of_design
from mappers.registry import SELECTION

# Paths that decide how a selection's rule runs, and what of a selection does not; chosen.py keeps the last runs.
OF_THE_RULE = (SELECTION, "prompt", "context", "tokens")
NOT_OF_THE_RULE = ("", "resident", "kept")


def sweep(
    design: Design,
    model: Model,
    *,
    phase: str,
    over: Mapping[str, Sequence[Any]],
    selection: Selection | None = None,
    options: Mapping[str, Any] | None = None,
    **asked: Any,
) -> list[Row]:
    """A row for each combination of the values of `over`, the last path varying fastest.

    A path is one of the design ("units.pcie.bandwidth"), of the selection ("selection.settings.ratio"), "selection"
    itself (shipped names, paths, or Selections), an option of the mapper ("option.prediction"), or what the phase takes
    ("context"); `asked` is what `run` takes besides. A combination that is refused is a row with its problem. An
    interrupt loses the rows; `sweep_rows` hands out each when it is done.

    Raises InputError, before anything runs, with every path that is not there, list that is empty, and value that no
    phase takes.

    >>> from archsim import load_design, load_model
    >>> rows = sweep(load_design("toy"), load_model("toy_llm"), phase="decode", over={"context": [3, 1000]})
    >>> [row.seconds for row in rows], rows[1].problem
    ([0.000726, None], "context: model 'toy_llm' takes 1 to 64 tokens, got 1000")
    """
    plan = Plan(design, model, phase, listed(over), selection, dict(options or {}), asked)
    return [row for _, row in sorted(_rows(checked(plan)), key=lambda placed: placed[0])]


def sweep_rows(
    design: Design,
    model: Model,
    *,
    phase: str,
    over: Mapping[str, Sequence[Any]],
    selection: Selection | None = None,
    options: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Iterator[Row]:
    """The rows of `sweep`, each when it is done: those that the caller holds stay when the rest is interrupted.

    Their order is that of `sweep`, but that combinations for which a selection's rule runs alike come side by side
    wherever the paths of the hardware stand, so that it runs once for all of these. Raises as `sweep`, at the call.
    """
    plan = Plan(design, model, phase, listed(over), selection, dict(options or {}), asked)
    return (row for _, row in _rows(checked(plan)))


def _rows(plan: Plan) -> Iterator[tuple[int, Row]]:
    """Each combination's place in the order of the paths, and its row; those of one run of a rule side by side."""
    over = plan.over
    ruling = [i for i, path in enumerate(over) if _of_the_rule(path)]
    placed = enumerate(product(*(range(len(values)) for values in over.values())))
    for place, chosen in sorted(placed, key=lambda one: [one[1][i] for i in ruling]):
        settings = {path: values[i] for (path, values), i in zip(over.items(), chosen, strict=True)}
        yield place, _row(plan, settings)


def _row(plan: Plan, settings: Mapping[str, Any]) -> Row:
    memories = tuple(plan.design.of_kind(Memory))
    try:
        return Row(settings, _report(plan, settings), None, memories)
    except InputError as problem:
        return Row(settings, None, str(problem), memories)


def _of_the_rule(path: str) -> bool:
    return path in OF_THE_RULE or below(OF_SELECTION, path).split(".")[0] not in NOT_OF_THE_RULE


def _report(plan: Plan, settings: Mapping[str, Any]) -> Report:
    """The report of one combination. Raises InputError where it is refused."""
    own = {path: value for path, value in settings.items() if of_design(path)}
    chosen = settings.get(SELECTION, plan.selection)
    selection = load_selection(chosen) if isinstance(chosen, str) else chosen
    changes = {below(OF_SELECTION, path): value for path, value in settings.items() if below(OF_SELECTION, path)}
    options = {below(OF_MAPPER, path): value for path, value in settings.items() if below(OF_MAPPER, path)}
    return run(
        plan.design.with_(own) if own else plan.design,
        plan.model,
        phase=plan.phase,
        selection=selection.with_(changes) if selection and changes else selection,
        options={**plan.options, **options},
        **{**plan.asked, **{path: value for path, value in settings.items() if path in TAKEN}},
    )
