"""Runs of rules that the processes of a sweep share: each is made once, by the process that needs it first.

Knows a private folder and hashes. Does not know what a run is.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

T = TypeVar("T")

_folders: list[Path] = []  # the folder of this process, if it shares runs


def share_in(folder: str | None) -> None:
    """Shares runs from now on with the processes that have the same folder, which must be private; None ends it."""
    _folders[:] = [] if folder is None else [Path(folder)]


def shared(key: object, make: Callable[[], T]) -> T:
    """What `make` gives for this key: read, where another process of the folder has made it, else made and written.

    The text of `key` must say all that the result depends on. Others that need the same wait meanwhile.
    """
    if not _folders:
        return make()
    path = _folders[0] / hashlib.sha256(repr(key).encode()).hexdigest()
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire()
    except OSError:  # such as a full disk: nothing is shared then
        return make()
    with lock:
        lock.release()  # once of the two times that it is held
        if path.exists():
            found: T = pickle.loads(path.read_bytes())
            return found
        made = make()
        with suppress(OSError):
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps(made))
            os.replace(part, path)
        return made
