"""Where the compiled engine keeps its machine code, and whether it is there. Imports no Numba, so that asking is cheap.

Numba asks only a function's own file whether it has changed. Here functions call one another over several files and
share columns, so the code is kept in a folder that is named by the contents of them all.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir

HERE = Path(__file__).parent / "compiled"
SOURCES = (
    "run_table.py", "clock_state.py", "clock_kernel.py", "order_state.py", "order_kernel.py", "steady_state.py",
    "machine_code.py",
)  # fmt: skip
CLOCK = "clock_kernel.advance"  # the loop of the compiled engine, which is cold without machine code of it
WEEK_SECONDS = 7 * 24 * 3600


_found: set[str] = set()  # kernels whose machine code was seen, so that the folder is searched once


def is_compiled(kernel: str) -> bool:
    """Whether machine code of this kernel, a function named as "file.function", is kept in the folder for it."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    # Numba names a file by the function, its line, the version of Python and the count of its signatures.
    if kernel not in _found and any(folder().rglob(f"{kernel}-*.{version}.*.nbc")):
        _found.add(kernel)
    return kernel in _found


@cache
def folder() -> Path:
    """The folder for machine code: the first candidate that can be written to, else one of this process alone."""
    for candidate in _candidates():
        try:
            if not candidate.exists():
                _remove_old(candidate.parent)
            candidate.mkdir(parents=True, exist_ok=True)
            if os.access(candidate, os.W_OK):
                return candidate
        except OSError:
            continue
    return Path(gettempdir()) / f"archsim-{os.getpid()}"


def _candidates() -> Iterator[Path]:
    """In order: the folder that Numba's setting names, one beside the engine's files, one in the user's cache."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    digest = blake2b(b"".join((HERE / name).read_bytes() for name in SOURCES), digest_size=8).hexdigest()
    for base in (*([Path(told)] if told else []), HERE / "__pycache__", user / "archsim"):
        yield base / f"engine-{digest}"


def _remove_old(base: Path) -> None:
    """Removes machine code of other states of the engine's files that has lain for a week."""
    for old in base.glob("engine-*"):
        if time.time() - old.stat().st_mtime > WEEK_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
