"""The decorators of the compiled engine: functions in machine code that is kept from one process to the next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import kernels.machine_code
from archsim.engine.machine_code_folder import SOURCES, is_compiled
from kernels.machine_code import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """A function in machine code that is kept on disk.

    It may allocate nothing: references to its arrays are not counted, which would take most of the time.
    """
    return kernels.machine_code.compiled(sources=SOURCES, _nrt=False)(function)


def inlined(function: F) -> F:
    """A function that becomes part of those that call it; it may allocate nothing.

    LLVM puts it there (`forceinline`). Numba could do so itself, but then types and lowers it anew at every call, which
    took two thirds of the time to compile.
    """
    return njit(forceinline=True, _nrt=False)(function)


@cache
def tell_if_cold(kernel: str) -> None:
    """Says on stderr (as a logger's warning) that a kernel has to be compiled first, where no machine code is kept."""
    if not is_compiled(kernel):
        _tell()


@cache  # several kernels are compiled in one go, so this is said once for all
def _tell() -> None:
    logging.getLogger("archsim").warning("compiling the engine for this machine, once: about a quarter of a minute")
