"""The runs behind published numbers, one at a time or side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from archsim.errors import InputError
from archsim.importers.load import load_design
from archsim.published import Conditions
from archsim.report.report import Report
from archsim.workers.lost import Lost
from archsim.workers.pool import Pool, check_jobs
from mappers.experiment.run import run
from mappers.experiment.workers.task import Hello


def run_published(conditions: Conditions) -> Report:
    """The report of the run that a published number is of. Raises InputError."""
    mapping = None
    if conditions.mapping:
        mapping = load_design(conditions.design).own_mapping(conditions.model).with_(dict(conditions.mapping))
    return run(
        conditions.design, conditions.model, phase=conditions.phase, selection=conditions.selection, mapping=mapping,
        options=dict(conditions.options),
    )  # fmt: skip


def run_all(runs: Sequence[Conditions], jobs: int, *, told: Callable[[Conditions], None]) -> dict[Conditions, Report]:
    """The report of each run, made in so many processes; `told` is called when one is done. Raises InputError."""
    found: dict[Conditions, Report] = {}
    with Pool(Hello.of(_attempted), check_jobs(jobs)) as pool:
        for place, made in pool.answers(dict(enumerate(runs))):
            if isinstance(made, Lost):
                raise InputError(f"jobs: {made.problem}; take jobs=1")
            if isinstance(made, InputError):
                raise made
            told(runs[place])
            found[runs[place]] = made
    return found


def _attempted(conditions: Conditions) -> Report | InputError:
    """The report, or why there is none, in another process."""
    try:
        return replace(run_published(conditions), origin=None)  # what it is of would be sent too
    except InputError as error:
        return error
