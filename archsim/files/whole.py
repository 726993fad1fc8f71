"""A file that is written whole or not at all: beside its place first, then moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from archsim.errors import InputError


@contextmanager
def whole_file(given: str | os.PathLike[str], *, where: str) -> Iterator[Path]:
    """A place to write the file at, which moves to the path that is given once all is written.

    After a fault nothing is left, and what stood at the path before still stands there. Raises InputError, which begins
    with `where`, for a path that cannot be written.
    """
    told = f"{where} {os.fspath(given)!r}: cannot be written"
    try:
        path = _place(given, told)
        # Private, and on the same disk: only such a place can be renamed into the other.
        with TemporaryDirectory(prefix=".archsim-", dir=path.parent) as private:
            part = Path(private, "part" + path.suffix)
            yield part
            os.replace(part, path)
    except OSError as error:
        raise InputError(f"{told}: {error.strerror or error}") from None


def check_place(given: str, *, where: str) -> Path:
    """The place where `whole_file` may write, before what takes long. Raises InputError as it does."""
    told = f"{where} {given!r}: cannot be written"
    try:
        path = _place(given, told)
        with TemporaryDirectory(prefix=".archsim-", dir=path.parent):
            return path
    except OSError as error:
        raise InputError(f"{told}: {error.strerror or error}") from None


def _place(given: str | os.PathLike[str], told: str) -> Path:
    if "\0" in os.fspath(given):
        raise InputError(f"{told}: a name cannot hold a null character")
    if not os.fspath(given):
        raise InputError(f"{told}: expected the name of a file")
    # A link leads to the file that is to be replaced.
    path = Path(os.path.realpath(given))
    if path.is_dir():
        raise InputError(f"{told}: is a directory; name a file in it")
    if path.exists() and not path.is_file():
        raise InputError(f"{told}: is a device or a pipe; name a file")
    if not path.parent.exists():
        raise InputError(f"{told}: there is no folder {os.path.dirname(given)!r}; make it first")
    return path
