"""A file that is written whole or not at all, and in the place of no file of another kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from archsim.errors import InputError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that archsim writes, such as a page, and what knows one by its contents."""

    name: str
    is_one: Callable[[Path], bool]


@contextmanager
def whole_file(given: str | os.PathLike[str], *, where: str, over: Kind | None = None) -> Iterator[Path]:
    """A place to write the file at, which moves to the path that is given once all is written.

    It takes the place of a file of the kind `over`; without that, of any. After a fault nothing is left, and what stood
    at the path before still stands there. Raises InputError, which begins with `where`, for a path that cannot be
    written, and for a file there of another kind.
    """
    with _private(given, where, over) as (path, private):
        part = Path(private, "part" + path.suffix)
        yield part
        os.replace(part, path)


def check_place(given: str, *, where: str, over: Kind | None) -> None:
    """Raises InputError where `whole_file` would, before what takes long."""
    with _private(given, where, over):
        pass


@contextmanager
def _private(given: str | os.PathLike[str], where: str, over: Kind | None) -> Iterator[tuple[Path, str]]:
    """The path that is given, and a private folder on the same disk: only from such a one can a file be renamed."""
    told = f"{where} {os.fspath(given)!r}"
    try:
        path = _place(given, f"{told}: cannot be written")
        if over is not None and path.exists() and not _is_one(path, over):
            force = "--force" if where.startswith("--") else "force=True"
            way_out = f"name another file, or give {force} to write over it"
            raise InputError(f"{told}: is there already and no {over.name} of archsim; {way_out}")
        with TemporaryDirectory(prefix=".archsim-", dir=path.parent) as private:
            yield path, private
    except OSError as error:
        raise InputError(f"{told}: cannot be written: {error.strerror or error}") from None


def _is_one(path: Path, kind: Kind) -> bool:
    with suppress(OSError):  # of a file that cannot be read
        return kind.is_one(path)
    return False


def _place(given: str | os.PathLike[str], told: str) -> Path:
    if os.fspath(given) == "-":
        raise InputError(f"{told}: stdout is for the report; name a file")
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
