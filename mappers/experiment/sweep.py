"""Sweeps: a phase or a graph under all combinations of values: of design, selection, mapping, options and phase.

Knows in which order combinations are cheapest. Refused combinations are rows too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Entries
from functools import partial
from itertools import product
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.importers.load import load_design
from archsim.mapping import Mapping, load_mapping
from archsim.report.report import Report
from archsim.selection.selection import Selection, load_selection
from archsim.units import Memory
from dataflow.errors import expect
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.models.phases import phase_named
from mappers.experiment.row import Row
from mappers.experiment.run import SELECTION, loaded, run, with_mapping_edited, workload
from mappers.experiment.sweep_request import (
    MAPPING_PREFIX,
    OPTION_PREFIX,
    SELECTION_PREFIX,
    SweepRequest,
    as_lists,
    checked,
    inner_path,
)
from mappers.extend import FILES, load_file
from mappers.registry import MAPPING, chosen_mapper

# Paths that decide how a selection's rule runs, and keys of a selection that do not. Combinations that share a run of
# the rule are made one after another, because only the last runs are kept (archsim/selection/rule_run.py).
OF_THE_RULE = (SELECTION, "prompt", "context", "tokens")
NOT_OF_THE_RULE = ("", "resident", "kept")


def sweep(
    design: Design | str,
    model: Model | Graph | str,
    *,
    phase: str | None = None,
    over: Entries[str, Sequence[Any]],
    selection: Selection | str | None = None,
    mapping: Mapping | str | None = None,
    options: Entries[str, Any] | None = None,
    jobs: int = 1,
    **asked: Any,
) -> list[Row]:
    """A row for each combination of the values of `over`, the last path varying fastest.

    A path is one of the design ("units.pcie.bandwidth"), of the selection ("selection.settings.ratio"), "selection"
    itself (shipped names, paths, or Selections), of the mapping ("mapping.ops.gemm.tile.m", of the one that is given or
    else the design's own) or "mapping" itself, an option of the mapper ("option.prediction"), or what the phase takes
    ("context"); `asked` is what `run` takes besides. A combination that is refused, or ends in a fault of ours, is a
    row with its problem, and the others go on. A graph in the place of the model has no phase. With `jobs` that many
    processes run combinations at once, with the files of --with loaded in each. An interrupt loses the rows;
    `sweep_rows` hands out each when it is done.

    Raises InputError, before anything runs, with every path that is not there, list that is empty, and value that no
    phase takes.

    >>> from archsim import load_design, load_model
    >>> rows = sweep(load_design("toy"), load_model("toy_llm"), phase="decode", over={"context": [3, 1000]})
    >>> [row.seconds for row in rows], rows[1].problem
    ([0.000726, None], "context: model 'toy_llm' takes 1 to 64 tokens, got 1000")
    """
    request = _request(design, model, phase, over, selection, mapping, options, asked)
    return [row for _, row in sorted(_rows(request, _jobs(jobs)), key=lambda placed: placed[0])]


def sweep_rows(
    design: Design | str,
    model: Model | Graph | str,
    *,
    phase: str | None = None,
    over: Entries[str, Sequence[Any]],
    selection: Selection | str | None = None,
    mapping: Mapping | str | None = None,
    options: Entries[str, Any] | None = None,
    jobs: int = 1,
    **asked: Any,
) -> Iterator[Row]:
    """The rows of `sweep`, each when it is done: those that the caller holds stay when the rest is interrupted.

    Rows that share a run of the selection's rule come one after another, so that it runs once for all of them; apart
    from that the order is that of `sweep`. Raises as `sweep`, at the call.
    """
    request = _request(design, model, phase, over, selection, mapping, options, asked)
    return (row for _, row in _rows(request, _jobs(jobs)))


def _request(
    design: Design | str,
    model: Model | Graph | str,
    phase: str | None,
    over: Entries[str, Sequence[Any]],
    selection: Selection | str | None,
    mapping: Mapping | str | None,
    options: Entries[str, Any] | None,
    asked: Entries[str, Any],
) -> SweepRequest:
    """The request with its files read. Raises InputError with every mistake that would make all combinations fail."""
    chosen = None if selection is None else loaded("selection", selection, Selection, load_selection)
    mapped = None if mapping is None else loaded("mapping", mapping, Mapping, load_mapping)
    design, model = loaded("design", design, Design, load_design), workload(model)
    expect("options", options or {}, Entries)
    return checked(SweepRequest(design, model, phase, as_lists(over), chosen, mapped, dict(options or {}), asked))


MOST_JOBS = 4096  # far above the cores of a machine


def _jobs(jobs: int) -> int:
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"jobs: expected a whole number of processes from 1 on, got {quoted(jobs)}")
    if jobs > MOST_JOBS:
        raise InputError(f"jobs: {quoted(jobs)} processes; take at most {MOST_JOBS}")
    return jobs


def _rows(request: SweepRequest, jobs: int) -> Iterator[tuple[int, Row]]:
    """Each combination's place in the order of the paths, and its row; those that share a rule run side by side."""
    over = request.over
    ruling = [i for i, path in enumerate(over) if _of_the_rule(path)]
    placed = enumerate(product(*(range(len(values)) for values in over.values())))
    ordered = sorted(placed, key=lambda one: [one[1][i] for i in ruling])
    places = [place for place, _ in ordered]
    settings = [
        {path: values[i] for (path, values), i in zip(over.items(), chosen, strict=True)} for _, chosen in ordered
    ]
    if jobs == 1:
        yield from zip(places, (_row(request, one) for one in settings), strict=True)
        return
    from concurrent.futures import ProcessPoolExecutor  # here, because most commands start no process

    with ProcessPoolExecutor(jobs, initializer=_ready, initargs=(tuple(FILES),)) as pool:
        # Neighbours go to one process together, because they may share a run of the rule.
        share = max(1, len(settings) // (4 * jobs))
        try:
            yield from zip(places, pool.map(partial(_row, request), settings, chunksize=share), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _ready(files: tuple[str, ...]) -> None:
    """Loads in a new process what the user's files add; one that was forked has it already."""
    for file in files:
        load_file(file)


def _row(request: SweepRequest, settings: Entries[str, Any]) -> Row:
    memories = tuple(request.design.of_kind(Memory))
    try:
        return Row(settings, _report(request, settings), None, memories)
    except InputError as problem:
        return Row(settings, None, str(problem), memories)
    except Exception as fault:
        logging.getLogger("archsim").exception(f"internal fault at {dict(settings)}")
        return Row(settings, None, f"internal fault: {type(fault).__name__}: {fault}", memories)


def _of_the_rule(path: str) -> bool:
    return path in OF_THE_RULE or inner_path(SELECTION_PREFIX, path).split(".")[0] not in NOT_OF_THE_RULE


def _report(request: SweepRequest, settings: Entries[str, Any]) -> Report:
    """The report of one combination. Raises InputError where it is refused."""
    own = {path: value for path, value in settings.items() if request.is_of_design(path)}
    design = request.design.with_(own) if own else request.design
    of_selection, of_mapping, options = (
        {inner: value for path, value in settings.items() if (inner := inner_path(prefix, path))}
        for prefix in (SELECTION_PREFIX, MAPPING_PREFIX, OPTION_PREFIX)
    )
    chosen = settings.get(SELECTION, request.selection)
    selection = load_selection(chosen) if isinstance(chosen, str) else chosen
    mapped = settings.get(MAPPING, request.mapping)
    read = {
        SELECTION: selection.with_(of_selection) if selection and of_selection else selection,
        MAPPING: load_mapping(mapped) if isinstance(mapped, str) else mapped,
    }
    given = {**request.options, **options, **{name: value for name, value in read.items() if value is not None}}
    asked = {**request.asked, **settings}
    of_phase = {name: asked.get(name) for name in request.of_phase}
    phase = None if request.phase is None else phase_named(request.phase, of_phase)
    mapper = chosen_mapper(design, request.asked.get("mapper"), given)
    mapper = with_mapping_edited(mapper, design, request.model, of_mapping)
    return run(design, request.model, phase=phase, mapper=mapper, engine=request.asked.get("engine") or "auto")
