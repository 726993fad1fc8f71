"""The commands: each takes words of the command line and prints a result, or raises what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsim.cli.compare import compare
from archsim.cli.complete import lists, schemas, shipped_names
from archsim.cli.diff import diff
from archsim.cli.explain import explain
from archsim.cli.run_words import of_a_run
from archsim.cli.runs import map_, simulate, size_fifos
from archsim.cli.show import show
from archsim.cli.sweep import sweep
from archsim.cli.terminal import say
from archsim.cli.words import WithOption
from archsim.errors import InputError
from archsim.files.data_folder import NOUNS
from archsim.files.json_text import json_text
from archsim.version import __version__

if TYPE_CHECKING:
    from archsim.sweep_file import SweepFile


def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="paths or shipped names", autocompletion=shipped_names(*NOUNS.values())
        ),
    ],
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


def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="designs, models, selections, mappings, published, kinds, ops, phases, rules or mappers",
            autocompletion=lists,
        ),
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
        typer.Argument(
            metavar="PATH", help="design, model, selection, mapping, published, sweep, links, or a kind of unit",
            autocompletion=schemas,
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="prints JSON Schema instead of text")] = False,
    with_: WithOption = None,
) -> None:
    """Lists the keys of YAML files and units.

    Each with its unit, example, default and meaning.
    """
    from archsim.schema import json_schema, schema_lines

    say(json_text(json_schema(path)) if json_ else "\n".join(schema_lines(path)))


def _version(asked: bool) -> None:
    if asked:
        say(f"archsim {__version__}")
        raise typer.Exit


def _of_archsim(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Design AI accelerators together with the kernels that run on them."""


def app() -> typer.Typer:
    """The commands; made anew for each command line, because --with may add phases."""
    commands = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    commands.callback()(_of_archsim)
    commands.command("check")(check)
    commands.command("simulate")(of_a_run(simulate))
    commands.command("explain")(of_a_run(explain))
    commands.command("map")(of_a_run(map_))
    commands.command("size-fifos")(of_a_run(size_fifos))
    commands.command("sweep")(sweep)
    commands.command("compare")(compare)
    commands.command("diff")(diff)
    commands.command("list")(list_)
    commands.command("show")(show)
    commands.command("schema")(schema)
    return commands
