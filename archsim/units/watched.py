"""Which parameters of a unit or link its formula of resources reads, found by watching it compute."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import BaseModel


def parameters_read(part: BaseModel) -> frozenset[str]:
    """The fields that `resources()` of this unit or link reads."""
    kind, seen = _watched(type(part))
    watched = part.model_copy()
    object.__setattr__(watched, "__class__", kind)
    seen.clear()
    watched.resources()  # type: ignore[attr-defined]
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
