"""The command `show`: a shipped file, to start from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from archsim.cli.complete import fitting, shipped_names
from archsim.cli.terminal import say
from archsim.cli.words import WithOption
from archsim.errors import InputError, quoted
from archsim.files.data_folder import NOUNS, shipped, text_to_start_from
from dataflow.errors import guess


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="a shipped name", autocompletion=shipped_names(*NOUNS.values()))
    ],
    of: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(NOUNS), autocompletion=fitting(lambda: NOUNS),
            help="which file, where several have the name; the design unless given",
        ),
    ] = None,
    with_: WithOption = None,
) -> None:
    """Prints a shipped file to start from.

    As it is, comments included; its first line tells editors where the schema of such files lies on this machine.
    """
    if of is not None and of not in NOUNS:
        raise InputError(f"--of: no files of {quoted(of)}; {guess(of, NOUNS, otherwise='there are')}")
    files = {noun: shipped(folder) for noun, folder in NOUNS.items()}
    nouns = [noun for noun in NOUNS if name in files[noun]]
    if of is not None and of not in nouns and nouns:
        told = f"there is no {of} file of this name; give --of {' or --of '.join(nouns)}"
        raise InputError(f"show {name} --of {of}: {told}")
    if not nouns:
        raise InputError(f"no shipped {f'{of} ' if of else ''}file {quoted(name)}; {_known(name, of, files)}")
    noun = of or nouns[0]
    for other in nouns:
        if other != noun:
            say(f"{name}: the {noun}; --of {other} prints the file of that name under {other}", err=True)
    sys.stdout.write(text_to_start_from(files[noun][name]))


def _known(name: str, of: str | None, files: Mapping[str, Mapping[str, Path]]) -> str:
    """A hint for an unknown name: the one close to it, or those of each kind."""
    names = [known for noun in files if of in (None, noun) for known in files[noun]]
    kinds = [f"{NOUNS[noun] or 'designs'}: {', '.join(files[noun])}" for noun in files if of in (None, noun)]
    close = guess(name, dict.fromkeys(names), otherwise="")
    return close if close.startswith("did you mean") else f"there are {'; '.join(kinds)}"
