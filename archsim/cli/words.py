"""Words of the command line that several commands take."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from archsim.errors import quoted


def whole(text: str) -> int:
    """A whole number in the digits 0 to 9; Python's own `int` also reads those of other scripts, and 1_000."""
    if not re.fullmatch("-?[0-9]{1,60}", str(text)):
        raise typer.BadParameter(f"expected a whole number, got {quoted(text)}")
    return int(text)


JobsOption = Annotated[
    int, typer.Option(parser=whole, metavar="<int>", help="processes that run side by side; 1 unless given")
]
JsonOption = Annotated[bool, typer.Option("--json", help="prints JSON instead of text")]
WithOption = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="FILE", help="Python code that adds kinds, ops, mappers, phases or rules"),
]
