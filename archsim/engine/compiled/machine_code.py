"""The decorators of the compiled engine, and where its machine code is kept from one process to the next.

Numba asks only a function's own file whether it has changed. Here functions call one another over several files and
share columns, so the code is kept in a folder that is named by the contents of them all.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir
from typing import Any, TypeVar

import numba

SOURCES = (
    "clock_state.py", "clock_kernel.py", "order_state.py", "order_kernel.py", "steady_state.py", "machine_code.py",
)  # fmt: skip

WEEK_SECONDS = 7 * 24 * 3600

F = TypeVar("F", bound=Callable[..., object])
config: Any = numba.config
njit: Any = numba.njit  # whose types leave out the option


def compiled(function: F) -> F:
    """A function in machine code that is kept on disk.

    It may allocate nothing: references to its arrays are not counted, which would take most of the time.
    """
    before, config.CACHE_DIR = config.CACHE_DIR, str(FOLDER)
    try:
        return njit(cache=True, _nrt=False)(function)
    finally:
        config.CACHE_DIR = before


def inlined(function: F) -> F:
    """A function that becomes part of those that call it; it may allocate nothing."""
    return njit(inline="always", _nrt=False)(function)


@cache
def tell_if_cold(kernel: str) -> None:
    """Says on stderr (as a logger's warning) that a kernel's machine code has to be made first, where none is kept."""
    if not any(FOLDER.rglob(f"{kernel}.*.nbc")):
        _tell()


@cache
def _tell() -> None:
    logging.getLogger("archsim").warning("compiling the engine for this machine, once: about half a minute")


def _folder() -> Path:
    """The first that can be written to: where Numba is told to keep code, beside these files, the user's cache."""
    here = Path(__file__).parent
    digest = blake2b(b"".join((here / name).read_bytes() for name in SOURCES), digest_size=8).hexdigest()
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    told = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    for base in (*told, here / "__pycache__", user / "archsim"):
        try:
            folder = base / f"engine-{digest}"
            if not folder.exists():
                _remove_old(base)
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    return Path(gettempdir()) / f"archsim-{os.getpid()}"


def _remove_old(base: Path) -> None:
    """Removes machine code of other states of these files that has lain for a week."""
    for folder in base.glob("engine-*"):
        if time.time() - folder.stat().st_mtime > WEEK_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


FOLDER = _folder()
