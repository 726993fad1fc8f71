"""The command `sweep`: from a file to rows in a store, a summary, and a table for other programs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from archsim.cli.status import FAULT, UNFIT
from archsim.cli.terminal import say
from archsim.cli.words import JsonOption, WithOption, whole
from archsim.errors import InputError, quoted
from archsim.files.json_text import json_text
from archsim.workers.pool import cores

FORMS = ("csv", "parquet", "json")


def sweep(
    file: Annotated[str, typer.Argument(metavar="SWEEP", help="a path to YAML; `schema sweep` lists its keys")],
    jobs: Annotated[
        int | None, typer.Option(parser=whole, metavar="<int>", help="processes at once; all cores unless given")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="a Dask scheduler, tcp://host:8786, whose workers run points")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="FILE", help="keeps the rows; the sweep's name with .db unless given")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="goes on with a store that has rows")] = False,
    export: Annotated[
        str | None, typer.Option(metavar="FORM", help="writes the rows beside the store: csv, parquet or json")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="lets --export write over a file that is there")] = False,
    json_: JsonOption = False,
    with_: WithOption = None,
) -> None:
    """Runs a sweep.

    Keeps each row when it is done, so that an interrupted sweep goes on; prints what is best.
    """
    from mappers.experiment.plan import plan_of_file
    from mappers.experiment.sweep import run_plan

    if export is not None and export not in FORMS:
        raise InputError(f"--export: expected {', '.join(FORMS[:-1])} or {FORMS[-1]}, got {quoted(export)}")
    asked, plan = plan_of_file(file)
    kept = next(name for name in (store, asked.store, f"{Path(file).stem}.db") if name is not None)
    table = None if export is None else Path(kept).with_suffix(f".{export}")
    if table is not None:
        _check_table(table, kept, force=force)
    if jobs is None:
        jobs = 1 if scheduler is not None else cores()
    with _ended_by_signals():
        swept = run_plan(plan, jobs=jobs, scheduler=scheduler, store=kept, resume=resume, progress=True)
    try:
        say(f"{len(swept):,} rows of this sweep are in {kept}", err=True)
        if table is not None:
            swept.export(table)
            say(f"wrote {table}", err=True)
    finally:  # a table that cannot be written takes no summary away
        say(json_text(swept.as_dicts()) if json_ else swept)
    if swept.counts.get("fault"):
        raise typer.Exit(FAULT)
    if not swept.counts.get("done") and not swept.counts.get("outside"):
        raise typer.Exit(UNFIT)


def _check_table(table: Path, kept: str, *, force: bool) -> None:
    """Raises InputError where a table would take the place of the store, or of a file that is there already."""
    if os.path.realpath(table) == os.path.realpath(kept):
        raise InputError(f"--export: {table} is the store; name another store, such as {table.with_suffix('.db')}")
    if table.exists() and not force:
        raise InputError(f"--export: {table} is there already; give --force to write over it, or move it away")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ends as by an interrupt where the process is told to end, so that its processes and folders end with it."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # elsewhere Python takes no handlers
        yield
        return
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}  # nohup has one of them ignored
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
