"""Where the numbers of a file come from: assumed, fitted to a published point, or set in a variant.

Knows paths and reasons. Does not know what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from archsim.errors import DesignError, InputError
from archsim.files.document import Document
from archsim.files.edits import edited
from archsim.files.validate import validate

FROZEN = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Fitted(BaseModel):
    """The published point that a number was fitted to, and what the number stands for."""

    model_config = FROZEN

    point: str = Field(description="id of the published point")
    reason: str = Field(description="what the number stands for")


class FrozenDict(dict[str, Any]):
    """A dict that takes nothing new: what is set in one of a design would be lost in its variants."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise InputError("what was read from a file is frozen; with_({path: value}) gives a variant")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class Sourced(BaseModel):
    """An object read from a YAML file; its fields `assumed` and `fitted` say where its numbers come from.

    Frozen. A variant is `with_({path: value})`, which edits the written form and reads it again.
    """

    model_config = FROZEN

    # Depth in keys from which on an edit may create a missing mapping, such as the energy of a unit.
    opens: ClassVar[int] = 0

    _document: Document = PrivateAttr()
    _changed: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def read(cls, document: Document) -> Self:
        """The object that the document describes. Raises DesignError with every problem."""
        found = validate(document, cls, context=cls._context(document))
        found._document = document
        for name, value in vars(found).items():
            if isinstance(value, dict):
                vars(found)[name] = FrozenDict(value)
        problems = [
            document.problem(f"{where}.{path}", "no such key in this file; an entry names a number that stands in it")
            for where in ("assumed", "fitted")
            for path in vars(found)[where]  # `vars`, because the fields belong to the subclasses
            if not _exists(document.data, path)
        ]
        if problems:
            raise DesignError(problems)
        return found

    @classmethod
    def _context(cls, document: Document) -> dict[str, Any] | None:
        """What fields need for reading their values, such as the clock."""
        return None

    @property
    def document(self) -> Document:
        """The document that this was read from."""
        return self._document

    @property
    def seed(self) -> int | None:
        """The seed of what is drawn for it; None where nothing is."""
        return None

    @property
    def files(self) -> dict[str, str]:
        """The files that a run reads beside this one, by the key that names them."""
        return {}

    def with_(self, changes: Mapping[str, Any]) -> Self:
        """A variant with the values at these dotted paths replaced, read anew so that every derived number follows.

        Raises DesignError for a path that does not exist and for a value that cannot be right.
        """
        variant = self.read(edited(self._document, changes, opens=self.opens))
        variant._changed = (*self._changed, *changes)
        return variant

    def assumptions(self) -> dict[str, str]:
        """Why each number was assumed, by path; a number that a variant changed says so instead."""
        fitted: Iterable[str] = vars(self)["fitted"]
        # A fitted number that a variant changed is no longer fitted.
        reasons: dict[str, str] = {**vars(self)["assumed"], **{path: "" for path in fitted if self._is_changed(path)}}
        return {path: "set in this variant" if self._is_changed(path) else why for path, why in sorted(reasons.items())}

    def fits(self) -> dict[str, str]:
        """The published point of each fitted number; numbers that a variant changed are left out."""
        fitted: Mapping[str, Fitted] = vars(self)["fitted"]
        return {path: entry.point for path, entry in sorted(fitted.items()) if not self._is_changed(path)}

    def _is_changed(self, path: str) -> bool:
        """True if a variant changed the number at the path, or a mapping that holds it."""
        return any(path == changed or path.startswith(f"{changed}.") for changed in self._changed)


def _exists(data: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
