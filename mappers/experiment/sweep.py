"""Sweeps: points over values of design, model, selection, mapping, options and phases, each a row; kept in a store.

Knows in which order points are cheapest. Refused points are rows too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Entries
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

from archsim.design.design import Design
from archsim.errors import InputError, quoted
from archsim.mapping import Mapping
from archsim.report.progress import SweepProgress
from archsim.report.rows.row import Row
from archsim.selection.selection import Selection
from archsim.workers.order import by_group
from archsim.workers.pool import check_jobs
from dataflow.errors import expect
from dataflow.graph import Graph
from dataflow.models.model import Model
from dataflow.phase import Phase
from mappers.experiment.keys import Keys, canonical, hashed
from mappers.experiment.plan import Plan, plan_of, plan_of_file
from mappers.experiment.point import row_of
from mappers.experiment.request import SELECTION_PREFIX, SweepRequest, inner_path
from mappers.experiment.run import SELECTION
from mappers.experiment.search.points import Point
from mappers.experiment.store import Store
from mappers.experiment.swept import Sweep
from mappers.experiment.workers.cluster import Cluster
from mappers.experiment.workers.processes import Processes
from mappers.mapper import Mapper

# Fields and keys that decide how a selection's rule runs, and keys of a selection that do not. Points that share a run
# of the rule are made one after another, because only the last runs are kept (archsim/selection/rule_run.py).
OF_THE_RULE = ("prompt", "context", "tokens")
NOT_OF_THE_RULE = ("", "resident", "kept")

Progress = Callable[["Done"], None] | bool


@dataclass(frozen=True, slots=True)
class Done:
    """A row that is done: its place among so many points, and whether the store had it."""

    place: int
    row: Row
    points: int
    stored: bool


def sweep(
    design: Design | str,
    model: Model | Graph | str,
    *,
    over: Entries[str, Any],
    phase: str | Phase | None = None,
    phases: Entries[str, Any] | None = None,
    search: str = "grid",
    points: int | None = None,
    seed: int | None = None,
    most: str | Sequence[str] = (),
    least: str | Sequence[str] = (),
    constraints: Entries[str, Any] | None = None,
    selection: Selection | str | None = None,
    mapping: Mapping | str | None = None,
    options: Entries[str, Any] | None = None,
    mapper: str | Mapper | None = None,
    engine: str = "auto",
    jobs: int = 1,
    scheduler: str | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress = False,
    **asked: Any,
) -> Sweep:
    """A row for each point that the search visits, in its order; a grid's last path varies fastest.

    `over` has the values of each path: a list, or a range such as {"from": 1, "to": 64, "step": 1} or
    {"from": "2 GB/s", "to": "20 GB/s", "log": True}. A path is one of the design ("units.pcie.bandwidth"), of the model
    ("model.layers"), of the selection ("selection.settings.ratio"), "selection" itself (shipped names, paths, or
    Selections), of the mapping ("mapping.ops.gemm.tile.m", of the one that is given or else the design's own) or
    "mapping" itself, an option of the mapper ("option.prediction"), or a field of the phase ("context"). With `phases`
    by label, such as {"read": {"phase": "prefill", "prompt": 64}, "talk": {"phase": "decode"}}, each point runs them
    all; a figure is then "talk.seconds", and "phases.talk.context" a path.

    `search` is grid, random, latin (a Latin hypercube) or optuna (where the rows so far promise most), of so many
    `points` with a `seed`. `most` and `least` name the figures that count, `constraints` limits such as
    {"resources.lut": {"at_most": 60_000}}. A point that is refused, deadlocks, breaks a constraint or ends in a fault
    of archsim is a row with its problem; the others go on.

    With `jobs` that many processes run points at once, with the files of --with loaded in each; with the address of a
    Dask `scheduler` its workers do. With a `store` each row is kept in that file when it is done; `resume` goes on with
    a store that has rows: a row stands for the contents of all that was read, so that a changed file runs anew. With
    `progress` True a bar on stderr shows the time left; a function is called for each row, as Done.

    Raises InputError, before anything runs, with every path that is not there, list that is empty, and value that no
    phase takes; and where the store cannot be used.

    >>> rows = sweep("toy", "toy_llm", phase="decode", over={"context": [3, 1000]})
    >>> [row["seconds"] for row in rows], rows[1].problem
    ([0.000726, None], "context: model 'toy_llm' takes 1 to 64 tokens, got 1000")
    """
    plan = plan_of(
        design, model, over=over, phase=phase, phases=phases, asked=asked, search=search, points=points, seed=seed,
        goal={"most": most, "least": least, "constraints": constraints}, selection=selection, mapping=mapping,
        options=options, mapper=mapper, engine=engine,
    )  # fmt: skip
    return run_plan(plan, jobs=jobs, scheduler=scheduler, store=store, resume=resume, progress=progress)


def sweep_file(
    name: str,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress = False,
) -> Sweep:
    """The sweep of a YAML file, kept in the store that it names unless another is given; the rest is as in `sweep`.

    Raises InputError with the line of everything that is wrong.
    """
    asked, plan = plan_of_file(name)
    kept = asked.store if store is None else store
    return run_plan(plan, jobs=jobs, scheduler=scheduler, store=kept, resume=resume, progress=progress)


def run_plan(
    plan: Plan,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress = False,
) -> Sweep:
    """The rows of a plan. Raises InputError where the store cannot be used."""
    expect("resume", resume, bool)
    if not isinstance(progress, bool) and not callable(progress):
        raise InputError(f"progress: expected true, false or a function, got {quoted(progress)}")
    if resume and store is None:
        raise InputError("resume: there is no store to go on with; name one")
    rows: dict[int, Row] = {}
    best_by = next(iter(plan.goal.objectives), None)
    with ExitStack() as stack:
        shown = None
        if progress is True:
            shown = stack.enter_context(SweepProgress(best_by=best_by, larger=bool(plan.goal.most)))
        # Closed at once where `progress` raises: what is shown of an error would keep processes and store open.
        made = stack.enter_context(
            closing(run_points(plan, jobs=jobs, scheduler=scheduler, store=store, resume=resume))
        )
        try:
            for done in made:
                rows[done.place] = done.row
                if shown:
                    shown.add(done.row, total=done.points, stored=done.stored)
                elif callable(progress):
                    progress(done)
        except KeyboardInterrupt:
            if store is not None:
                told = f"{len(rows):,} rows are in {os.fspath(store)}; resume (--resume) goes on with them"
                logging.getLogger("archsim").warning(told)
            raise
    return Sweep(plan.request, plan.goal, tuple(rows[place] for place in sorted(rows)))


def run_points(
    plan: Plan,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Generator[Done, None, None]:
    """The rows of a plan, each when it is done and kept; those that share a run of a rule come one after another."""
    check_jobs(jobs)
    if scheduler is not None and jobs > 1:
        raise InputError(f"scheduler: {jobs} jobs stand beside it; its workers run the points, so give one of the two")
    request, keys, before = plan.request, Keys(plan.request), 0
    with ExitStack() as stack:
        kept: Store | None = None
        if store is not None:
            keys.check()
            kept = stack.enter_context(Store(store, inputs=keys.inputs, base=keys.base, resume=resume))
            _tell_what_changed(kept)
        makers: Processes | Cluster | None = None
        if scheduler is not None:
            makers = stack.enter_context(Cluster(request, scheduler))
        elif jobs > 1:
            makers = stack.enter_context(Processes(request, jobs))
        visit, total = plan.search.visit(request.over), plan.search.size(request.over)
        points = next(visit)
        while True:
            rows: dict[int, Row] = {}
            for place, row, stored in _batch(request, points, keys, kept, makers):
                rows[place] = plan.goal.judged(row)
                yield Done(before + place, rows[place], total, stored)
            before += len(points)
            try:
                points = visit.send([rows[place] for place in range(len(points))])
            except StopIteration:
                return


def _batch(
    request: SweepRequest, points: Sequence[Point], keys: Keys, kept: Store | None, makers: Processes | Cluster | None
) -> Iterator[tuple[int, Row, bool]]:
    """The row of each point with its place, and whether the store had it; points that are equal are run once."""
    opened = [keys.opened(point) for point in points]
    names = [keys.of(one) for one in opened]
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    todo: dict[int, Point] = {}
    for name, (first, *others) in places.items():
        if kept and (found := kept.row(name, points[first])):
            yield from ((place, replace(found, settings=points[place]), True) for place in (first, *others))
        else:
            todo[first] = opened[first]
    for first, row in _made(request, makers, todo):
        if kept:
            if keys.of(opened[first]) != names[first]:
                told = "a recording changed while the sweep ran, so that nobody knows what its rows stand for"
                raise InputError(f"store {kept.path}: {told}; resume (--resume) runs them anew")
            kept.put(names[first], replace(row, settings=points[first]))
        yield from ((place, replace(row, settings=points[place]), False) for place in places[names[first]])


def _tell_what_changed(store: Store) -> None:
    others, changed = store.changed()
    if others and changed:
        told = f"{others:,} rows in {store.path} are of other inputs, and stay unused; changed: {', '.join(changed)}"
        logging.getLogger("archsim").warning(told)


def _made(
    request: SweepRequest, makers: Processes | Cluster | None, todo: dict[int, Point]
) -> Iterable[tuple[int, Row]]:
    """The row of each place, when it is done."""
    ruling = [path for path in request.over if _of_the_rule(path)]
    groups: dict[int, Hashable] = {
        place: hashed([canonical(point[path]) for path in ruling]) for place, point in todo.items()
    }
    if makers:
        return makers.rows(todo, groups)
    return ((place, row_of(request, todo[place])) for place in by_group(groups))


def _of_the_rule(path: str) -> bool:
    if path == SELECTION or path.rpartition(".")[2] in OF_THE_RULE or path.startswith("model."):
        return True
    return inner_path(SELECTION_PREFIX, path).split(".")[0] not in NOT_OF_THE_RULE
