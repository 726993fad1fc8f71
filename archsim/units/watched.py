"""The formula of resources of a unit or link: what it gives, and which parameters it reads, found by watching it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from dataflow.errors import InputError


def computed(part: Any) -> Any:
    """What `resources()` of this unit or link gives.

    Raises RuntimeError for a ValueError of the formula, which pydantic would take for a mistake in the file it reads.
    """
    try:
        return part.resources()
    except InputError:
        raise
    except (ValueError, AssertionError) as fault:
        raise RuntimeError(f"resources() of {type(part).__name__}: {type(fault).__name__}: {fault}") from fault


def parameters_read(part: BaseModel) -> frozenset[str]:
    """The fields that `resources()` of this unit or link reads."""
    kind, seen = _watched(type(part))
    watched = part.model_copy()
    object.__setattr__(watched, "__class__", kind)
    seen.clear()
    computed(watched)
    return frozenset(seen) & frozenset(type(part).model_fields)


@lru_cache(maxsize=1 << 8)
def _watched(kind: type[BaseModel]) -> tuple[type[BaseModel], set[str]]:
    """A subclass that notes the names of all attributes that are read, and the set in which it notes them."""
    seen: set[str] = set()

    def noting(self: Any, name: str) -> Any:
        seen.add(name)
        return kind.__getattribute__(self, name)

    body = {"__getattribute__": noting, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    made: Any = type(kind)  # the metaclass, which makes classes of models
    return made(kind.__name__, (kind,), body), seen
