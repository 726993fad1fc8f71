"""The command `diff`: two runs, two designs, or a design against a run, which is then run as that one was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsim.cli.complete import runs_and_designs
from archsim.cli.terminal import say, told_now_and_then
from archsim.cli.words import JsonOption, WithOption
from archsim.errors import InputError, quoted
from archsim.files.data_folder import shipped
from archsim.files.json_text import json_text

if TYPE_CHECKING:
    from archsim.report.difference.run import Run

Side = Annotated[
    str,
    typer.Argument(
        autocompletion=runs_and_designs(),
        help="a folder of --output, a file of --json, or a design: a shipped name or a path",
    ),
]


@dataclass(frozen=True, slots=True)
class DesignSide:
    """A design on one side, by the name that reads it."""

    name: str


def diff(a: Side, b: Side, json_: JsonOption = False, with_: WithOption = None) -> None:
    """Tells how two runs differ, or two designs.

    First the inputs that differ, then the results, the largest change first. A design in the place of one run is run
    as the other was.
    """
    from archsim import load_design
    from archsim.report.difference.difference import difference_of_designs, difference_of_runs

    sides = _side(a), _side(b)
    left, right = sides
    if isinstance(left, DesignSide) and isinstance(right, DesignSide):
        found = difference_of_designs(load_design(left.name), load_design(right.name), names=(a, b))
        if not found.inputs and not json_:
            say(f"no value of {a} and {b} differs", err=True)
            return
    else:
        runs = [_run_as(one, other) if isinstance(one, DesignSide) else one
                for one, other in ((left, right), (right, left))]  # fmt: skip
        found = difference_of_runs(runs[0], runs[1])
    say(json_text(found.as_json()) if json_ else found)


def _side(name: str) -> Any:
    """The run of a folder or of JSON, or the design of this name. Raises InputError where it is none of these."""
    from archsim.report.difference.run import LARGEST_JSON, json_object, run_of_folder, run_of_json

    there = Path(name)
    if name in shipped():
        if there.exists():
            say(f"{name}: the shipped design; ./{name} is what lies here", err=True)
        return DesignSide(name)
    if name and there.is_dir():
        return run_of_folder(name)
    if name.endswith((".yaml", ".yml", ".cfg")) or name.startswith("designs/"):
        return DesignSide(name)
    if not name or not there.exists():
        known = guess_of(name)
        raise InputError(f"no run and no design {quoted(name)}; {known} (a run is a folder of --output, or JSON)")
    from archsim.files.document import file_text

    _, text = file_text(name, form="a folder of --output, or a file of --json", most=LARGEST_JSON)
    data = json_object(text, path=name)
    return DesignSide(name) if "clock" in data and "cycles" not in data else run_of_json(name, data)


def guess_of(name: str) -> str:
    """A hint for a name that leads nowhere."""
    from dataflow.errors import guess

    return guess(name, shipped(), otherwise="shipped designs are")


def _run_as(design: DesignSide, other: Run) -> Run:
    """The run of a design with the model, phase, mapper, options and engine of the other one."""
    from archsim.cli.run_words import Asked, loaded
    from archsim.cli.runs import hashes
    from archsim.report.difference.run import run_of_files
    from archsim.report.folder import run_files
    from mappers import run
    from mappers.extend import FILES

    if other.asked is None:
        told = "does not say how it was asked for; run it again by `archsim simulate`"
        raise InputError(f"{other.name}: {told}, or give two runs")
    lacking = [name for name, digest in other.extensions.items() if digest not in FILES.values()]
    if lacking:
        told = " ".join(f"--with {name}" for name in lacking)
        raise InputError(f"{other.name}: was run with {told}, as that file was then; give it here too")
    asked = Asked.read(other.asked, where=other.name).on(design.name)
    say(f"simulating {design.name} as {other.name} was", err=True)
    loaded_design, model, run_of = loaded(asked)
    report = run(loaded_design, model, progress=told_now_and_then(), **run_of)
    files = run_files(
        report, loaded_design, model=model, inputs=asked.named(), asked=asked.as_json(),
        extensions=hashes(list(other.extensions)),
    )  # fmt: skip
    return run_of_files(design.name, files)
