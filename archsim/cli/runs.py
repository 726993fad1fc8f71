"""The commands of one run: simulate, map and size-fifos. Each takes what is asked, then its own words."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from archsim.cli.run_words import Asked, loaded
from archsim.cli.terminal import say, told_now_and_then
from archsim.cli.words import JobsOption, JsonOption, WithOption
from archsim.errors import InputError
from archsim.files.json_text import json_text


def simulate(
    asked: Asked,
    json_: JsonOption = False,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="writes summary, ops, design and manifest to this folder")
    ] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="writes the report as one page of HTML")] = None,
    trace: Annotated[
        str | None, typer.Option(metavar="FILE", help="writes a timeline that ui.perfetto.dev shows")
    ] = None,
    trace_window: Annotated[
        str | None, typer.Option(metavar="START..END", help="what of the run --trace shows, in cycles or times")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="writes into a folder that holds other files, or over another file")
    ] = False,
    with_: WithOption = None,
) -> None:
    """Simulates a phase of a model, or a graph, on a design.

    Prints time, throughput, stalls, traffic and energy.
    """
    from archsim.files.folder import check_folder, write_files
    from archsim.files.whole import check_place
    from archsim.report.folder import run_files
    from archsim.report.json import as_json
    from archsim.report.page.page import PAGE
    from archsim.report.save import save_page
    from archsim.report.trace import check_trace
    from mappers import run

    refuse_same_place({"--output": output, "--html": html, "--trace": trace})
    if output is not None:
        check_folder(output, force=force)  # before a simulation that may take long
    if html is not None:
        check_place(html, where="--html", over=None if force else PAGE)
    design, model, run_of = loaded(asked)
    check_trace(trace, trace_window, design.clock, force=force)
    report = run(design, model, progress=told_now_and_then(), **run_of)
    if with_:
        report = replace(report, files=(*report.files, *(word for file in with_ for word in ("--with", file))))
    try:
        if output is not None:
            files = run_files(
                report, design, model=model, inputs=asked.named(), asked=asked.as_json(), extensions=hashes(with_)
            )
            write_files(output, files, force=force)
            say(f"wrote {', '.join(files)} to {output}", err=True)
        if html is not None:
            save_page(report, html, where="--html", over=None if force else PAGE)
            say(f"wrote {html}", err=True)
        if trace is not None:
            say(f"wrote {trace}: {report.trace(trace, window=trace_window, force=force)}", err=True)
    finally:  # a folder that cannot be written takes no report away, and a report that cannot be printed no folder
        say(json_text({**as_json(report), "asked": asked.as_json()}) if json_ else report)


def refuse_same_place(places: dict[str, str | None]) -> None:
    """Raises InputError where two options write to one place, or one into the folder of --output, which is a run's."""
    taken: dict[str, str] = {}
    folder = places.get("--output")
    for option, given in places.items():
        if given is None:
            continue
        with suppress(OSError, ValueError):  # of a name that no file can have, which its own check refuses
            given = os.path.realpath(given)
        first = taken.setdefault(given, option)
        if first != option:
            raise InputError(f"{option} {places[option]}: {first} writes there too; name another place")
        if option != "--output" and folder and Path(os.path.realpath(folder)) in Path(given).parents:
            told = "lies in the folder of --output, which holds a run alone; name a place beside it"
            raise InputError(f"{option} {places[option]}: {told}")


def hashes(files: list[str] | None) -> dict[str, str]:
    """The files of --with, as they are given, with the hashes of what was run."""
    if not files:
        return {}
    from mappers.extend import FILES

    return {name: FILES[str(Path(name).resolve())] for name in files}


def map_(asked: Asked, with_: WithOption = None) -> None:
    """Prints how ops are mapped, as a file for --mapping.

    Comments show the loops of each op.
    """
    from dataflow.models.phases import graph_of
    from mappers import plan
    from mappers.experiment.run import refuse_many_steps
    from mappers.registry import MAPPING

    refuse_many_steps(asked.phase)
    design, model, run_of = loaded(asked)
    graph = graph_of(run_of["phase"], model) if "phase" in run_of else model
    mapping = plan(graph, design, mapper=run_of["mapper"])
    whole = replace(run_of["mapper"], **{MAPPING: mapping})
    say("\n".join([*(f"# {line}".rstrip() for line in whole.loops(graph, design)), mapping.written().rstrip()]))


def size_fifos(
    asked: Asked,
    target: Annotated[str, typer.Option(help="full rate, a number of cycles, or a rate: 25 token/s")] = "full rate",
    jobs: JobsOption = 1,
    json_: JsonOption = False,
    with_: WithOption = None,
) -> None:
    """Finds minimal FIFO depths for a target.

    Each depth is proven by a run with one place less.
    """
    from archsim import size_fifos as sized
    from dataflow.models.phases import graph_of
    from mappers import lower
    from mappers.experiment.run import refuse_many_steps

    refuse_many_steps(asked.phase)
    design, model, run_of = loaded(asked)
    graph = graph_of(run_of["phase"], model) if "phase" in run_of else model
    schedule = lower(graph, design, mapper=run_of["mapper"])
    sizes = sized(schedule, design, target=target, engine=run_of["engine"], jobs=jobs, progress=told_now_and_then())
    say(json_text(sizes.as_json()) if json_ else sizes)
