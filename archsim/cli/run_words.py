"""The words that ask for a run: options of several commands, then plain data (Asked), then objects (`loaded`)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from archsim.cli.complete import fitting, mappers, shipped_names
from archsim.cli.words import whole
from archsim.engine_names import NAMES
from archsim.errors import InputError, quoted

COMMENT = re.compile(r"(^|\s)#")  # in YAML
FILES = ("selection", "mapping")  # options of mappers that are read from a file; --set reaches them by this prefix

DesignName = Annotated[
    str,
    typer.Argument(
        metavar="DESIGN", help="a shipped name, or a path to YAML or a SCALE-Sim configuration (.cfg)",
        autocompletion=shipped_names(""),
    ),
]  # fmt: skip
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", autocompletion=shipped_names("models"),
        help="a shipped name or a path to YAML; or a graph: gemm:MxNxK(:FORMAT), or a SCALE-Sim topology (.csv)",
    ),
]  # fmt: skip
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
SelectionOption = Annotated[
    str | None,
    typer.Option(
        help="which cached keys a step attends to: a shipped name, or a path",
        autocompletion=shipped_names("selections"),
    ),
]
MappingOption = Annotated[
    str | None,
    typer.Option(
        help="where ops run and in what tiles: a shipped name, or a path; `map` prints one",
        autocompletion=shipped_names("mappings"),
    ),
]
BatchOption = Annotated[
    int | None, typer.Option(parser=whole, metavar="<int>", help="sequences at once; 1 unless given")
]
MapperName = Annotated[str | None, typer.Option(help="the mapper, if not the design's own", autocompletion=mappers)]
EngineOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(NAMES), autocompletion=fitting(lambda: NAMES),
        help="recurrence takes what has a unit for each task",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command line asks of a run, as data that JSON can hold: enough to ask for it again.

    `fields` are those of the phase that are given, `set` the values by path that replace others.
    """

    design: str
    model: str
    phase: str | None = None
    fields: dict[str, int | bool | str]
    mapper: str | None = None
    selection: str | None = None
    mapping: str | None = None
    options: dict[str, str]
    set: dict[str, Any]
    engine: str = "auto"

    @classmethod
    def read(cls, data: Mapping[str, Any], *, where: str) -> Asked:
        """What `as_json` gave. Raises InputError, which begins with `where`."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(dict(data))
        except ValidationError as error:
            wrong = dict.fromkeys(".".join(map(str, one["loc"][:2])) for one in error.errors(include_url=False))
            raise InputError(f"{where}: asked: cannot be read: {', '.join(wrong)}; run it again") from None

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def named(self) -> dict[str, str]:
        """The files by what they are, as they are given."""
        return {what: name for what in ("design", "model", *FILES) if (name := getattr(self, what)) is not None}

    def on(self, design: str) -> Asked:
        """The same run on another design as it is: without the changes to the one before."""
        kept = {path: value for path, value in self.set.items() if path.startswith(tuple(f"{name}." for name in FILES))}
        return replace(self, design=design, set=kept)


def asked_for(
    design: DesignName,
    model: ModelName,
    phase: str | None = None,
    batch: BatchOption = None,
    mapper: MapperName = None,
    selection: SelectionOption = None,
    mapping: MappingOption = None,
    engine: EngineOption = "auto",
    set_: SetOption = None,
    option: MapperOption = None,
    **fields: Any,
) -> Asked:
    """What these words ask for. Raises InputError."""
    from archsim.importers.load import names_graph
    from dataflow.errors import refuse
    from dataflow.phase import flag

    of_phase = {name: value for name, value in {"batch": batch, **fields}.items() if value is not None}
    given = [flag(name) for name in ("phase", *of_phase) if name != "phase" or phase is not None]
    if names_graph(model) and given:
        raise InputError(f"{model}: a graph is no model and takes no phase; leave out {', '.join(given)}")
    if not names_graph(model) and phase is None:
        raise InputError("Missing option '--phase'.")
    changes = _pairs("--set", set_ or [], typed=True)
    of_selection = [path for path in changes if path.startswith("selection.")]
    if of_selection and selection is None:
        raise InputError(f"--set {of_selection[0]}: no selection is given; give --selection NAME beside it")
    options = _pairs("--option", option or [], typed=False)
    refuse([f"--option {name}={options[name]}: give --{name} {options[name]}" for name in FILES if name in options])
    return Asked(
        design=design, model=model, phase=phase, fields=of_phase, mapper=mapper, selection=selection, mapping=mapping,
        options=options, set=changes, engine=engine,
    )  # fmt: skip


def loaded(asked: Asked) -> tuple[Any, Any, dict[str, Any]]:
    """The Design with its changes, the Model or Graph, and the phase, mapper and engine that `mappers.run` takes.

    The mapper has the selection and the mapping, with their changes, among its options. Raises InputError.
    """
    from archsim import load_design, load_selection, load_workload
    from dataflow.models.phases import phase_named
    from mappers import load_mapping
    from mappers.experiment.run import with_mapping_edited
    from mappers.registry import chosen_mapper

    of_files = {name: _below(f"{name}.", asked.set) for name in FILES}
    own = {path: value for path, value in asked.set.items() if path not in asked.on(asked.design).set}
    design, network = load_design(asked.design), load_workload(asked.model)
    options: dict[str, Any] = dict(asked.options)
    if asked.selection is not None:
        read = load_selection(asked.selection)
        options["selection"] = read.with_(of_files["selection"]) if of_files["selection"] else read
    if asked.mapping is not None:
        options["mapping"] = load_mapping(asked.mapping)
    design = design.with_(own) if own else design
    # What the user names is looked up here and stays data: it never becomes the name of an argument.
    phase = {} if asked.phase is None else {"phase": phase_named(asked.phase, asked.fields)}
    named = chosen_mapper(design, asked.mapper, options)
    mapped = with_mapping_edited(named, design, network, of_files["mapping"])
    return design, network, {**phase, "mapper": mapped, "engine": asked.engine}


def _below(start: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {path.removeprefix(start): value for path, value in changes.items() if path.startswith(start)}


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


def of_a_run(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the words of `asked_for` before its own, among them the fields of all phases, the user's too.

    The command takes what is asked, then its own words.
    """
    own = inspect.signature(command, eval_str=True).parameters
    words: dict[str, Any] = {}
    for word in (*inspect.signature(asked_for, eval_str=True).parameters.values(), *list(own.values())[1:]):
        if word.name == "batch":  # the fields of phases stand before it
            words |= _fields_of_phases()
        if word.kind is not word.VAR_KEYWORD:
            words[word.name] = word.replace(annotation=_phase_option()) if word.name == "phase" else word

    def called(**given: Any) -> None:
        command(asked_for(**{name: given.pop(name) for name in list(given) if name not in own}), **given)

    called.__doc__ = command.__doc__
    # typer reads both to make its options.
    called.__annotations__ = {name: word.annotation for name, word in words.items()}
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [word.replace(name=name, kind=inspect.Parameter.KEYWORD_ONLY) for name, word in words.items()]
    )
    return called


def _phase_option() -> Any:
    from dataflow.models.phases import PHASES

    help_ = "what a model does; `list phases` shows them with their fields; a graph has none"
    return Annotated[
        str | None, typer.Option(metavar="|".join(PHASES), help=help_, autocompletion=fitting(lambda: PHASES))
    ]


def _fields_of_phases() -> dict[str, inspect.Parameter]:
    """An option for each field of phases."""
    from dataflow.models.phases import PHASES
    from dataflow.phase import asked_by, field_types, flag

    meanings: dict[str, dict[str, list[str]]] = {}
    types: dict[str, type] = {}
    for phase in PHASES.values():
        types |= field_types(phase)
        for name, meaning in asked_by(phase).items():
            meanings.setdefault(name, {}).setdefault(meaning, []).append(phase.name)
    return {name: _field_option(flag(name), types[name], told) for name, told in meanings.items()}


def _field_option(written: str, kind: Any, meanings: Mapping[str, list[str]]) -> inspect.Parameter:
    """An option for a field of phases; `meanings` has the phases of each meaning."""
    help_ = "; ".join(f"{meaning} ({', '.join(phases)})" for meaning, phases in meanings.items())
    flag = f"{written}/--no-{written[2:]}" if kind is bool else written
    digits = {"parser": whole, "metavar": "<int>"} if kind is int else {}
    asked = Annotated[kind | None, typer.Option(flag, help=help_, **digits)]
    return inspect.Parameter("_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=asked)
