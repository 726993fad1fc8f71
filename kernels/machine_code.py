"""The decorator of compiled functions: machine code that is kept from one process to the next, where it can be.

Numba's own cache raises where it finds no place, a full disk or a damaged file, and runs what it finds in any folder.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from kernels.code_folder import code_folder, keep_code, read_code

F = TypeVar("F", bound=Callable[..., object])
njit: Any = numba.njit  # Numba's own type leaves out some options
HERE = Path(__file__).parent


def compiled(*, sources: Path = HERE, **options: Any) -> Callable[[F], F]:
    """Decorates a function that Numba compiles with these options; `sources` holds all that its code depends on."""

    def decorate(function: F) -> F:
        dispatcher = njit(**options)(function)
        dispatcher._cache = _Kept(function, sources)
        return dispatcher

    return decorate


class _Kept(NullCache):
    """What a dispatcher asks before it compiles for the types of some arguments, and tells afterwards."""

    def __init__(self, function: Callable[..., object], sources: Path) -> None:
        self._name, self._sources = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}", sources

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        try:
            code = read_code(path)
            return None if code is None else CompileResult._rebuild(target_context, *pickle.loads(code))
        except Exception as error:  # whatever the bytes are, they must not keep the program from running
            _tell(f"{path}: cannot be used ({error}); compiling it again")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if data.library.has_dynamic_globals:  # such as addresses, which the next process has elsewhere
            return
        path = self._path(sig, data.codegen)
        try:
            keep_code(path, dumps(data._reduce()))
        except OSError as error:
            _tell(f"{path.parent}: machine code cannot be kept there ({error.strerror}); each process compiles its own")

    def _path(self, sig: Any, codegen: Any) -> Path:
        key = blake2b(repr((sig, codegen.magic_tuple())).encode(), digest_size=8).hexdigest()
        return code_folder(self._sources) / f"{self._name}-{key}.code"


@cache  # once for each problem
def _tell(problem: str) -> None:
    logging.getLogger("archsim").warning(problem)
