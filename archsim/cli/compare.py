"""The command `compare`: published figures beside simulated ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsim.cli.complete import shipped_names
from archsim.cli.status import OUTSIDE
from archsim.cli.terminal import say
from archsim.cli.words import JobsOption, JsonOption, WithOption
from archsim.files.json_text import json_text

if TYPE_CHECKING:
    from archsim.published import Conditions
    from archsim.report.report import Report


def compare(
    published: Annotated[
        list[str] | None,
        typer.Argument(metavar="PUBLISHED...", help="names or paths", autocompletion=shipped_names("published")),
    ] = None,
    jobs: JobsOption = 1,
    json_: JsonOption = False,
    with_: WithOption = None,
) -> None:
    """Compares published figures with simulated.

    Prints error, tolerance and verdict of each; exit status 5 where one is outside.
    """
    from archsim.files.data_folder import shipped
    from archsim.workers.pool import check_jobs

    names = published or list(shipped("published"))
    made = _run_published(names, jobs) if check_jobs(jobs) > 1 else {}
    rows = [row for name in names for row in _compared(name, made, quiet=json_)]
    if json_:
        say(json_text(rows))
    if not all(row["holds"] for row in rows):
        raise typer.Exit(OUTSIDE)


def _run_published(names: list[str], jobs: int) -> dict[Conditions, Report]:
    """The reports of all runs that these published files need, made side by side."""
    from archsim.published import conditions_of, load_published
    from mappers.experiment.published_runs import run_all

    runs = list(dict.fromkeys(run for name in names for run in conditions_of(load_published(name))))
    return run_all(runs, jobs, told=lambda run: say(f"simulated {_about_run(run)}", err=True))


def _about_run(run: Conditions) -> str:
    choice = f", {run.selection}" if run.selection else ""
    tokens = run.phase.facts()["context"] or run.phase.facts()["prompt"]
    return f"{run.phase.name} of {tokens} tokens on {run.design}{choice}"


def _compared(name: str, made: Mapping[Conditions, Report], *, quiet: bool) -> list[dict[str, Any]]:
    from archsim.published import compare, load_published
    from mappers.experiment.published_runs import run_published

    published = load_published(name)

    def simulated(run: Conditions) -> Report:
        if run in made:
            return made[run]
        say(f"simulating {_about_run(run)}", err=True)
        return run_published(run)

    rows = []
    if not quiet:
        say(f"{published.design} running {published.model}; {published.source}")
        say(f"{'point':<34} {'published':>12} {'simulated':>10} {'error':>7} {'within':>7}  {'mark':<9} verdict")
    for row in compare(published, simulated):
        point, value, error = row.point, row.simulated, row.error
        rows.append({
            "id": row.id, "published": row.published, "simulated": value, "error": error,
            "conditions": point.conditions, "tolerance": point.tolerance, "mark": point.mark, "verdict": row.verdict,
            "holds": row.holds,
        })  # fmt: skip
        if not quiet:
            shown = "-" if value is None else f"{_in_unit(value, point.value)}"
            signed = "-" if error is None else f"{error:+.1%}"
            reason = f": {point.known_miss.reason}" if point.known_miss else ""
            given = f" ({point.given})" if point.given else ""
            cells = f"{point.value:>12} {shown:>10} {signed:>7} {point.tolerance:>7.0%}  {point.mark:<9}"
            say(f"{row.id:<34} {cells} {row.verdict}{given}{reason}")
    return rows


def _in_unit(value: float, written: str) -> str:
    scale = {"ms": 1e3, "us": 1e6, "%": 100, "GB": 1e-9}.get(written.split()[-1], 1)
    return f"{value * scale:.3g}"
