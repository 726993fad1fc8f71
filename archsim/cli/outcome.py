"""What a command line comes to: its exit status, with every problem told in words."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path

import typer

from archsim.cli.commands import app
from archsim.cli.status import DEADLOCK, DONE, FAULT, INTERRUPTED, UNFIT, WRONG
from archsim.cli.terminal import Aside, Lost, Stream, say
from archsim.errors import Deadlock, InputError, MappingError
from archsim.files.json_text import json_text

LONGEST_LINE = 2000  # characters of a problem; above all lists of names of ours, not above all that users write

# The base of typer's complaints about the command line; where it lives differs between its releases.
Complaint: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def outcome(words: list[str]) -> int:
    """Runs the command line and returns its exit status. Raises KeyboardInterrupt."""
    with redirect_stdout(Stream(sys.stdout)), redirect_stderr(Aside(sys.stderr)):
        try:
            status = _status(words)
            sys.stdout.flush()
            return status
        except Lost as lost:
            if str(lost):
                _tell(f"the output cannot be written: {lost}")
            return WRONG if str(lost) else DONE


def _status(words: list[str]) -> int:
    try:
        _load_extensions(words)
        return _called(words)
    except typer.Exit as stop:
        return stop.exit_code
    except Complaint as error:
        _tell(error.format_message())  # type: ignore[attr-defined]
        return WRONG
    except MappingError as error:
        _tell(str(error))
        return UNFIT
    except Deadlock as error:
        _tell(str(error))
        if "--json" in words:
            say(json_text({"deadlock": error.as_json()}))
        return DEADLOCK
    except InputError as error:
        _tell(str(error))
        return WRONG
    except Lost:
        raise
    except Exception as error:
        if told := _fault_of_extension(error):
            _tell(told)
            return WRONG
        traceback.print_exc()
        _tell("archsim: internal fault; the lines above say where")
        return FAULT


def _called(words: list[str]) -> int:
    try:
        status = app()(args=words, prog_name="archsim", standalone_mode=False)
    except SystemExit as stop:  # typer's completion ends so, whatever the mode
        return WRONG if stop.code else DONE
    except typer.Abort as stop:
        # Typer takes the end of any file for an interrupt, and in older releases gives both this form.
        raise stop.__cause__ or KeyboardInterrupt() from None
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    return status if isinstance(status, int) else DONE


def _tell(problems: str) -> None:
    for line in problems.split("\n"):
        say(line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…", err=True)


def _load_extensions(words: list[str]) -> None:
    """Runs the files of every --with before the command line is read. Raises InputError."""
    # A --with at the end, without a file, is refused with the rest of the command line.
    files = [after if word == "--with" else word.removeprefix("--with=") for word, after in pairwise([*words, ""])
             if (word == "--with" and after) or word.startswith("--with=")]  # fmt: skip
    if files:
        from mappers.extend import load_file

        for name in files:
            load_file(name)


def _fault_of_extension(error: Exception) -> str:
    """Where a file of --with raised the error; nothing where archsim did."""
    from mappers.extend import FILES

    for fault in filter(None, (error.__cause__, error)):
        frames = traceback.extract_tb(fault.__traceback__)
        within = [frame for frame in frames if str(Path(frame.filename).resolve()) in FILES]
        if within:
            return f"--with {within[-1].filename}:{within[-1].lineno}: {type(fault).__name__}: {fault}"
    return ""
