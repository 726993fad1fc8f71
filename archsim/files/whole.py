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
    # A link leads to the file that is to be replaced.
    path = Path(os.path.realpath(given)) if "\0" not in os.fspath(given) else None
    if path is None:
        raise InputError(f"{told}: a name cannot hold a null character")
    try:
        if path.is_dir():
            raise InputError(f"{told}: is a directory; name a file in it")
        # Private, and on the same disk: only such a place can be renamed into the other.
        with TemporaryDirectory(prefix=".archsim-", dir=path.parent) as private:
            part = Path(private, "part" + path.suffix)
            yield part
            os.replace(part, path)
    except OSError as error:
        raise InputError(f"{told}: {error.strerror or error}") from None
