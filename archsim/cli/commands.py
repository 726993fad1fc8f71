"""The commands: each takes words of the command line and prints a result, or raises what is wrong with them."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsim.cli.status import OUTSIDE
from archsim.cli.sweep import sweep
from archsim.cli.terminal import say
from archsim.cli.words import JobsOption, JsonOption, WithOption, whole
from archsim.errors import InputError, quoted
from archsim.files.json_text import json_text

if TYPE_CHECKING:
    from archsim.published import Conditions
    from archsim.report.report import Report
    from archsim.sweep_file import SweepFile

COMMENT = re.compile(r"(^|\s)#")  # in YAML
FILES = ("selection", "mapping")  # options of mappers that are read from a file; --set reaches them by this prefix
PROGRESS_SECONDS = 5

DesignName = Annotated[
    str, typer.Argument(metavar="DESIGN", help="a shipped name, or a path to YAML or a SCALE-Sim configuration (.cfg)")
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="a shipped name or a path to YAML; or a graph: gemm:MxNxK(:FORMAT), or a SCALE-Sim topology (.csv)",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="replaces a value of the design, of the selection (selection.PATH) or of the mapping (mapping.PATH)",
    ),
]
MapperOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="an option of the mapper; `list mappers` shows them"),
]


PhaseOption = Annotated[
    str | None, typer.Option(help="what a model does; `list phases` shows them with their fields; a graph has none")
]
SelectionOption = Annotated[
    str | None, typer.Option(help="which cached keys a step attends to: a shipped name, or a path")
]
MappingOption = Annotated[
    str | None, typer.Option(help="where ops run and in what tiles: a shipped name, or a path; `map` prints one")
]
BatchOption = Annotated[
    int | None, typer.Option(parser=whole, metavar="<int>", help="sequences at once; 1 unless given")
]
MapperName = Annotated[str | None, typer.Option(help="the mapper, if not the design's own")]
EngineOption = Annotated[
    str, typer.Option(help="auto, compiled, simpy, or recurrence (where each task has its own unit)")
]
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="paths or shipped names")],
    with_: WithOption = None,
) -> None:
    """Lists all problems of files.

    Takes designs, models, selections, mappings, published figures, sweeps and SCALE-Sim's files; says what they assume.
    """
    from archsim.check import check_file
    from archsim.mapping import Mapping
    from mappers.registry import MAPPERS, takes

    problems: list[str] = []
    mapped = [name for name in MAPPERS if takes(name, Mapping)]
    for name in files:
        try:
            say("\n".join(check_file(name, mappers=MAPPERS, mapped=mapped, sweeps=_about_sweep)))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)


def _about_sweep(file: SweepFile) -> list[str]:
    from mappers.experiment.plan import plan_of_sweep

    return plan_of_sweep(file).told()


def simulate(
    json_: JsonOption = False,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="writes summary, ops, design and manifest to this folder")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="writes into the folder even if it holds other files")] = False,
    with_: WithOption = None,
    **asked: Any,
) -> None:
    """Simulates a phase of a model, or a graph, on a design.

    Prints time, throughput, stalls, traffic and energy.
    """
    from archsim.files.folder import check_folder
    from archsim.report.folder import write_folder
    from archsim.report.json import as_json
    from mappers import run

    if output is not None:
        check_folder(output, force=force)  # before a simulation that may take long
    design, model, run_of = _loaded(**asked)
    report = run(design, model, progress=_told_now_and_then(), **run_of)
    if with_:
        report = replace(report, files=(*report.files, *(word for file in with_ for word in ("--with", file))))
    try:
        if output is not None:
            named = {what: asked[what] for what in ("design", "model", *FILES) if asked[what]}
            hashes = _hashes(with_) if with_ else None
            written = write_folder(
                output, report, design, model=model, inputs=named, extensions=hashes, force=force
            )  # fmt: skip
            say(f"wrote {', '.join(written)} to {output}", err=True)
    finally:  # a folder that cannot be written takes no report away, and a report that cannot be printed no folder
        say(json_text(as_json(report)) if json_ else report)


def map_(with_: WithOption = None, **asked: Any) -> None:
    """Prints how ops are mapped, as a file for --mapping.

    Comments show the loops of each op.
    """
    from dataflow.models.phases import graph_of
    from mappers import plan
    from mappers.experiment.run import refuse_many_steps
    from mappers.registry import MAPPING

    refuse_many_steps(asked["phase"])
    design, model, run_of = _loaded(**asked)
    graph = graph_of(run_of["phase"], model) if "phase" in run_of else model
    mapping = plan(graph, design, mapper=run_of["mapper"])
    whole = replace(run_of["mapper"], **{MAPPING: mapping})
    say("\n".join([*(f"# {line}".rstrip() for line in whole.loops(graph, design)), mapping.written().rstrip()]))


def size_fifos(
    target: Annotated[str, typer.Option(help="full rate, a number of cycles, or a rate: 25 token/s")] = "full rate",
    jobs: JobsOption = 1,
    json_: JsonOption = False,
    with_: WithOption = None,
    **asked: Any,
) -> None:
    """Finds minimal FIFO depths for a target.

    Each depth is proven by a run with one place less.
    """
    from archsim import size_fifos as sized
    from dataflow.models.phases import graph_of
    from mappers import lower
    from mappers.experiment.run import refuse_many_steps

    refuse_many_steps(asked["phase"])
    design, model, run_of = _loaded(**asked)
    graph = graph_of(run_of["phase"], model) if "phase" in run_of else model
    schedule = lower(graph, design, mapper=run_of["mapper"])
    sizes = sized(schedule, design, target=target, engine=run_of["engine"], jobs=jobs, progress=_told_now_and_then())
    say(json_text(sizes.as_json()) if json_ else sizes)


def _loaded(
    design: DesignName,
    model: ModelName,
    phase: PhaseOption = None,
    batch: BatchOption = None,
    mapper: MapperName = None,
    selection: SelectionOption = None,
    mapping: MappingOption = None,
    engine: EngineOption = "auto",
    set_: SetOption = None,
    option: MapperOption = None,
    **fields: Any,
) -> tuple[Any, Any, dict[str, Any]]:
    """The Design with its changes, the Model or Graph, and the phase, mapper and engine that `mappers.run` takes.

    The mapper has the selection and the mapping, with their changes, among its options. Raises InputError.
    """
    from archsim import load_design, load_selection, load_workload
    from archsim.importers.load import names_graph
    from dataflow.errors import refuse
    from dataflow.models.phases import phase_named
    from dataflow.phase import flag
    from mappers import load_mapping
    from mappers.experiment.run import with_mapping_edited
    from mappers.registry import chosen_mapper

    of_phase = {"phase": phase, "batch": batch, **fields}
    given = [flag(name) for name, value in of_phase.items() if value is not None]
    if names_graph(model) and given:
        raise InputError(f"{model}: a graph is no model and takes no phase; leave out {', '.join(given)}")
    if not names_graph(model) and phase is None:
        raise InputError("Missing option '--phase'.")

    changes = _pairs("--set", set_ or [], typed=True)
    of_files = {name: _below(f"{name}.", changes) for name in FILES}
    own = {path: value for path, value in changes.items() if not path.startswith(tuple(f"{name}." for name in FILES))}
    if of_files["selection"] and selection is None:
        path = f"selection.{next(iter(of_files['selection']))}"
        raise InputError(f"--set {path}: no selection is given; give --selection NAME beside it")
    chosen, network = load_design(design), load_workload(model)
    options = _pairs("--option", option or [], typed=False)
    refuse([f"--option {name}={options[name]}: give --{name} {options[name]}" for name in FILES if name in options])
    if selection is not None:
        read = load_selection(selection)
        options["selection"] = read.with_(of_files["selection"]) if of_files["selection"] else read
    if mapping is not None:
        options["mapping"] = load_mapping(mapping)
    chosen = chosen.with_(own) if own else chosen
    # What the user names is looked up here and stays data: it never becomes the name of an argument.
    asked = {} if phase is None else {"phase": phase_named(phase, {"batch": batch, **fields})}
    named = chosen_mapper(chosen, mapper, options)
    mapped = with_mapping_edited(named, chosen, network, of_files["mapping"])
    return chosen, network, {**asked, "mapper": mapped, "engine": engine}


def _below(start: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {path.removeprefix(start): value for path, value in changes.items() if path.startswith(start)}


def _told_now_and_then() -> Callable[[str], None]:
    """Prints a line of progress once every few seconds, the first after some."""
    last = time.monotonic()

    def told(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            say(line, err=True)
            last = time.monotonic()

    return told


def compare(
    published: Annotated[list[str] | None, typer.Argument(metavar="PUBLISHED...", help="names or paths")] = None,
    jobs: JobsOption = 1,
    json_: JsonOption = False,
    with_: WithOption = None,
) -> None:
    """Compares published figures with simulated.

    Prints error, tolerance and verdict of each; exit status 5 where one is outside.
    """
    from archsim.files.shipped import shipped
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


def list_(
    what: Annotated[
        str,
        typer.Argument(help="designs, models, selections, mappings, published, kinds, ops, phases, rules or mappers"),
    ],
    with_: WithOption = None,
) -> None:
    """Lists what there is."""
    from archsim.check import listing
    from mappers.registry import mapper_lines

    say("\n".join(listing(what, mappers=mapper_lines())))


def schema(
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="design, model, selection, mapping, published, links, or a kind of unit"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="prints JSON Schema instead of text")] = False,
    with_: WithOption = None,
) -> None:
    """Lists the keys of YAML files and units.

    Each with its unit, example, default and meaning.
    """
    from archsim.schema import schema_lines, schema_of

    say(json_text(schema_of(path).model_json_schema()) if json_ else "\n".join(schema_lines(path)))


def _pairs(option: str, written: list[str], *, typed: bool) -> dict[str, Any]:
    """NAME=VALUE texts as a mapping; typed values are read as YAML reads them. Raises InputError."""
    from archsim.files.document import read_text

    pairs: dict[str, Any] = {}
    problems: list[str] = []
    for text in written:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            problems.append(f"{option}: expected NAME=VALUE, got {quoted(text)}")
            continue
        if not text.isprintable():  # of several lines only the first would be the value
            problems.append(f"{option}: expected one line of printable text, got {quoted(text)}")
            continue
        if typed and COMMENT.search(value) and value[0] not in "\"'":
            problems.append(f"{option} {name}: what follows '#' is a comment; put the value in quotes")
            continue
        if name in pairs:
            problems.append(f"{option}: {name} is given twice; give it once")
        try:
            pairs[name] = read_text(f"value: {value}", path=option).data["value"] if typed else value
        except InputError as error:
            problems += [problem.replace(f"{option}:1: value", f"{option} {name}") for problem in error.problems]
    if problems:
        raise InputError(problems)
    return pairs


def _of_a_run(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the words of `_loaded` before its own, among them the fields of all phases, the user's too."""
    from dataflow.models.phases import PHASES
    from dataflow.phase import asked_by, field_types, flag

    meanings: dict[str, dict[str, list[str]]] = {}
    types: dict[str, type] = {}
    for phase in PHASES.values():
        types |= field_types(phase)
        for name, meaning in asked_by(phase).items():
            meanings.setdefault(name, {}).setdefault(meaning, []).append(phase.name)

    words: dict[str, Any] = {}
    for function in (_loaded, command):
        for word in inspect.signature(function, eval_str=True).parameters.values():
            if word.name == "batch":  # the fields of phases stand before it
                words |= {name: _field_option(flag(name), types[name], told) for name, told in meanings.items()}
            if word.kind is not word.VAR_KEYWORD:
                words[word.name] = word

    def called(**given: Any) -> None:
        command(**given)

    called.__doc__ = command.__doc__
    # typer reads both to make its options.
    called.__annotations__ = {name: word.annotation for name, word in words.items()}
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [word.replace(name=name, kind=inspect.Parameter.KEYWORD_ONLY) for name, word in words.items()]
    )
    return called


def _field_option(written: str, kind: Any, meanings: dict[str, list[str]]) -> inspect.Parameter:
    """An option for a field of phases; `meanings` has the phases of each meaning."""
    help_ = "; ".join(f"{meaning} ({', '.join(phases)})" for meaning, phases in meanings.items())
    flag = f"{written}/--no-{written[2:]}" if kind is bool else written
    digits = {"parser": whole, "metavar": "<int>"} if kind is int else {}
    asked = Annotated[kind | None, typer.Option(flag, help=help_, **digits)]
    return inspect.Parameter("_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=asked)


def app() -> typer.Typer:
    """The commands; made anew for each command line, because --with may add phases."""
    commands = typer.Typer(
        add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
        help="Design AI accelerators together with the kernels that run on them.",
    )  # fmt: skip
    commands.command("check")(check)
    commands.command("simulate")(_of_a_run(simulate))
    commands.command("map")(_of_a_run(map_))
    commands.command("size-fifos")(_of_a_run(size_fifos))
    commands.command("sweep")(sweep)
    commands.command("compare")(compare)
    commands.command("list")(list_)
    commands.command("schema")(schema)
    return commands


def _hashes(files: list[str]) -> dict[str, str]:
    """The files of --with, as they are given, with the hashes of what was run."""
    from mappers.extend import FILES

    return {name: FILES[str(Path(name).resolve())] for name in files}
