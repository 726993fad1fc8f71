"""Where machine code is kept from one process to the next: one folder, private to the user. Imports no Numba.

What is read here is run, so a folder that others can write to is not used. There may be no place to keep anything; then
everything is compiled in each process.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

WEEK_SECONDS = 7 * 24 * 3600
SUM_BYTES = 32
# https://bford.info/cachedir: programs that make copies leave such folders out.
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Machine code of archsim; it may be deleted at any time.\n"
TAG_NAME = "CACHEDIR.TAG"


@cache
def code_folder(sources: Path) -> Path:
    """The folder for machine code of the files below `sources`, which need not exist.

    It is named by the contents of them all, because functions call one another over several files and share columns,
    while a cache of Numba's own asks only a function's own file whether it has changed.
    """
    state = blake2b(f"{sys.version} {version('numba')}".encode(), digest_size=8)
    for path in sorted(sources.rglob("*.py")):
        state.update(path.read_bytes())
    return _base() / f"archsim-{state.hexdigest()}"


def read_code(path: Path) -> bytes | None:
    """What `keep_code` wrote at the path; None where there is nothing. Raises ValueError where it is damaged."""
    if not is_private(path.parent):
        return None
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError("it is no plain file")  # a pipe or a device may have no end
        written = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror) from None
    if written[:SUM_BYTES] != _sum(written[SUM_BYTES:]):
        raise ValueError("its sum differs")
    return written[SUM_BYTES:]


def keep_code(path: Path, code: bytes) -> None:
    """Writes the file as a whole. Raises OSError where its folder cannot be written, or is not private."""
    _make(path.parent)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_bytes(_sum(code) + code)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def is_private(folder: Path) -> bool:
    """Whether it is a folder of this user, no link, that nobody else can read or write."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _sum(code: bytes) -> bytes:
    return blake2b(code, digest_size=SUM_BYTES).digest()


def _base() -> Path:
    """The folder that Numba's setting names, else the user's for caches."""
    if told := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(os.path.abspath(told))
    shared = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    # A relative path, such as that of a user without a home, is no place: nothing can be made below this file.
    return (shared if shared.is_absolute() else Path(os.devnull)) / "archsim"


def _make(folder: Path) -> None:
    if not folder.exists():
        _remove_old(folder.parent)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(None, "it is a link, another user's, or open to others")
    if not (folder / TAG_NAME).exists():
        (folder / TAG_NAME).write_text(TAG)


def _remove_old(base: Path) -> None:
    """Removes what this project has marked as its own, for other states of its files, a week after it was written."""
    for old in base.glob("archsim-*"):
        try:
            marked = is_private(old) and (old / TAG_NAME).read_text() == TAG
            aged = time.time() - old.stat().st_mtime > WEEK_SECONDS
        except (OSError, ValueError):  # such as a folder that another process has just removed
            continue
        if marked and aged:
            shutil.rmtree(old, ignore_errors=True)
