"""Writes on stdout and stderr: readable in any encoding, and never an order to the terminal."""

from __future__ import annotations

import codecs
import io
import sys
import time
from collections.abc import Callable
from typing import Any

from dataflow.errors import harmless

PLAIN = {"█": "#", "·": "-", "…": "...", "μ": "u", "µ": "u", "²": "2", "×": "x"}  # what reports use beside ASCII


class Lost(Exception):
    """What was printed cannot be written: the text says why, "" where the reader has gone, which is no problem."""


class Stream:
    """A text stream that escapes control characters, and writes others as its encoding can.

    Raises Lost for what it cannot write.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream if stream is not None else io.StringIO()  # None where the shell has closed it

    def write(self, text: str) -> int:
        text = harmless(text)
        if not text.isascii():
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            text = text.encode(encoding, "archsim.plain").decode(encoding)
        return self._held(self._stream.write, text)

    def flush(self) -> None:
        self._held(self._stream.flush)

    def _held(self, call: Any, *given: str) -> Any:
        try:
            return call(*given)
        except OSError as error:
            raise Lost("" if isinstance(error, BrokenPipeError) else error.strerror) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Aside(Stream):
    """A stream for words beside the result: what it cannot write is let go."""

    def _held(self, call: Any, *given: str) -> Any:
        try:
            return super()._held(call, *given)
        except Lost:
            return None


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(PLAIN.get(x, ascii(x)[1:-1]) for x in letters), error.end


codecs.register_error("archsim.plain", _plain)


PROGRESS_SECONDS = 5


def told_now_and_then() -> Callable[[str], None]:
    """Prints a line of progress once every few seconds, the first after some."""
    last = time.monotonic()

    def told(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            say(line, err=True)
            last = time.monotonic()

    return told


def say(text: object, *, err: bool = False) -> None:
    """Writes a line to stdout, or to stderr."""
    (sys.stderr if err else sys.stdout).write(f"{text}\n")
