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
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="writes the report and its explanation as one page of HTML")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="writes the page over another file")] = False,
    with_: WithOption = None,
) -> None:
    """Explains why a run takes its time.

    Simulates it again with each number of the design doubled or halved; prints what that brings, the critical path,
    stalls by cause and the roofline of ops.
    """
    from archsim.files.whole import check_place
    from archsim.report.page.page import PAGE
    from archsim.report.save import save_page
    from archsim.workers.pool import check_jobs
    from mappers import explain as explained
    from mappers import run

    if jobs is not None:
        check_jobs(jobs)  # before a simulation that may take long
    if html is not None:
        check_place(html, where="--html", over=None if force else PAGE)
    design, model, run_of = loaded(asked)
    report = run(design, model, progress=told_now_and_then(), **run_of)
    found = explained(report, jobs=jobs, progress=told_now_and_then())
    try:
        if html is not None:
            save_page(report, html, where="--html", over=None if force else PAGE, why=found)
            say(f"wrote {html}", err=True)
    finally:  # a page that cannot be written takes no explanation away
        say(json_text(found.as_json()) if json_ else found)
