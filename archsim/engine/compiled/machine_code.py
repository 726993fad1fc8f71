"""The decorators of the compiled engine: functions in machine code that is kept from one process to the next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numba

from archsim.engine.machine_code_folder import folder, is_compiled

F = TypeVar("F", bound=Callable[..., object])
config: Any = numba.config
njit: Any = numba.njit  # Numba's own type leaves out the option _nrt


def compiled(function: F) -> F:
    """A function in machine code that is kept on disk.

    It may allocate nothing: references to its arrays are not counted, which would take most of the time.
    """
    # Numba reads the folder from its configuration when a function is decorated, and has no argument for it.
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder())
    try:
        return njit(cache=True, _nrt=False)(function)
    finally:
        config.CACHE_DIR = before


def inlined(function: F) -> F:
    """A function that becomes part of those that call it; it may allocate nothing."""
    return njit(inline="always", _nrt=False)(function)


@cache
def tell_if_cold(kernel: str) -> None:
    """Says on stderr (as a logger's warning) that a kernel has to be compiled first, where no machine code is kept."""
    if not is_compiled(kernel):
        _tell()


@cache  # several kernels are compiled in one go, so this is said once for all
def _tell() -> None:
    logging.getLogger("archsim").warning("compiling the engine for this machine, once: about half a minute")
