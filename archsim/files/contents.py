"""What a file holds, as a hash: inputs are told apart by their content, whatever their names, sizes and times are."""

from __future__ import annotations

import hashlib
import os
import time
from functools import cache
from pathlib import Path

SETTLED = 2_000_000_000  # ns; two writes within one tick of the clock leave the same times

_HASHES: dict[tuple[int, ...], str] = {}


def content_hash(path: str | os.PathLike[str]) -> str | None:
    """The SHA-256 of a file, in hexadecimal; None where there is no such file, or it cannot be read.

    Remembered until the file changes, for sweeps that read one large recording many times.
    """
    if not os.path.isfile(path):  # a pipe or a device may have no end
        return None
    try:
        with open(path, "rb") as file:
            # Nothing but the system sets the time of the last change, whatever a copy does to that of the last write.
            found = os.fstat(file.fileno())
            state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if state not in _HASHES:
                told = hashlib.file_digest(file, "sha256").hexdigest()
                if time.time_ns() - found.st_ctime_ns < SETTLED:
                    return told
                _HASHES[state] = told
            return _HASHES[state]
    except (OSError, ValueError):
        return None


@cache
def code_hash() -> str:
    """The SHA-256 of archsim's own code, all packages together: what another version would answer is another answer."""
    state = hashlib.sha256()
    top = Path(__file__).parents[2]
    for package in ("archsim", "dataflow", "kernels", "mappers"):
        for path in sorted((top / package).rglob("*.py")):
            state.update(f"{path.relative_to(top).as_posix()}\0".encode() + path.read_bytes())
    return state.hexdigest()
