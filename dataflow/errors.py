"""Errors about what a user wrote and must edit. Any other exception is a bug of ours and keeps its traceback.

Knows the form `where: what is wrong, with the value; what would be right`. Knows no files, lines or hardware.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction

LONGEST_SHOWN = 60  # characters of a text in a message, which has one line
# What could act on a terminal or hide from its reader: control characters but line breaks and tabs, invisible ones,
# those that turn the direction of writing, and halves of characters.
CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


class InputError(ValueError):
    """Something the user wrote cannot be right; `problems` lists every problem, and the text has one line for each.

    Examples
    --------
    >>> InputError(["op 'a': no input", "op 'b': no output"]).problems
    ("op 'a': no input", "op 'b': no output")
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PathProblems(ValueError):
    """Problems at keys below the pydantic model whose validator raises this; `validate` finds the line of each.

    `problems` are pairs of a dotted path, relative to that model, and a message. A path may name a missing key.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))


class GraphError(InputError):
    """The graph or the model cannot be right: edit what is to be computed."""


class ScheduleError(InputError):
    """The schedule cannot be right: edit the tasks, the streams or the order of firings."""


def refuse(problems: Sequence[str], error: type[InputError] = GraphError) -> None:
    """Raises the error with the problems, if there are any."""
    if problems:
        raise error(problems)


def expect(what: str, given: object, kind: type) -> None:
    """Raises InputError where an object of another kind is given, such as a design's name for a Design."""
    if not isinstance(given, kind):
        raise InputError(f"{what}: expected {_one(kind)}, got {quoted(given)}")


def guess(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """A hint for an unknown name: the known name close to it, or all known names after the words `otherwise`.

    >>> guess("lnog", ["long", "short"], otherwise="there are"), guess("x", ["long", "short"], otherwise="there are")
    ("did you mean 'long'?", 'there are: long, short')
    """
    names = list(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"{otherwise}: {', '.join(names)}"


def harmless(text: str) -> str:
    """The text with every character of CONTROLS written as Python writes it.

    >>> print(harmless("\\x1b[2J"))
    \\x1b[2J
    """
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def shortened(text: str) -> str:
    """The text, cut where a message has no room for it."""
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def quoted(value: object) -> str:
    """The value as a message shows it: one short line, text in quotes, true and false as YAML writes them.

    Examples
    --------
    >>> quoted("28"), quoted(28), quoted(True), quoted(None), quoted([1, 2])
    ("'28'", '28', 'true', 'nothing', 'a list')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):  # before int, because a bool is an int in Python
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    # 2**200 has 61 digits. Python refuses to turn an int of more than 4,300 digits into text at all.
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    if isinstance(value, str):
        return repr(shortened(value))
    return str(value) if isinstance(value, int | float | Fraction) else _one(type(value))


def _one(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOUaeio' else 'a'} {kind.__name__}"
