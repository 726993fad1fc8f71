"""The command explain: why a run takes its time, and what each change of the design would bring."""

from __future__ import annotations

from typing import Annotated

import typer

from archsim.cli.run_words import Asked, loaded
from archsim.cli.terminal import say, told_now_and_then
from archsim.cli.words import JsonOption, WithOption, whole
from archsim.files.json_text import json_text


def explain(
    asked: Asked,
    jobs: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="<int>", help="processes at once; all cores where it is worth it"),
    ] = None,
    json_: JsonOption = False,
    with_: WithOption = None,
) -> None:
    """Explains why a run takes its time.

    Simulates it again with each number of the design doubled or halved; prints what that brings, the critical path,
    stalls by cause and the roofline of ops.
    """
    from archsim.workers.pool import check_jobs
    from mappers import explain as explained
    from mappers import run

    if jobs is not None:
        check_jobs(jobs)  # before a simulation that may take long
    design, model, run_of = loaded(asked)
    report = run(design, model, progress=told_now_and_then(), **run_of)
    found = explained(report, jobs=jobs, progress=told_now_and_then())
    say(json_text(found.as_json()) if json_ else found)
