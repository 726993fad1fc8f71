"""Whether the compiled engine has its machine code on this machine. Imports no Numba, so that asking is cheap."""

from __future__ import annotations

from pathlib import Path

from kernels.code_folder import code_folder, is_private

SOURCES = Path(__file__).parent / "compiled"
CLOCK = "clock_kernel.advance"  # the loop of the compiled engine, which is cold without machine code of it

_found: set[str] = set()  # kernels whose machine code was seen, so that the folder is searched once


def is_compiled(kernel: str) -> bool:
    """Whether machine code of this kernel, a function named as "file.function", is kept."""
    folder = code_folder(SOURCES)
    if kernel not in _found and is_private(folder) and any(folder.glob(f"{kernel}-*.code")):
        _found.add(kernel)
    return kernel in _found
