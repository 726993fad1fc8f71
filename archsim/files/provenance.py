"""Where the numbers of a file are from: assumed, fitted to a published point, or set in a variant.

Knows paths and reasons. Does not know what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from archsim.errors import DesignError
from archsim.files.document import Document
from archsim.files.edits import edited
from archsim.files.validate import validate

FROZEN = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Fitted(BaseModel):
    """Why a number was fitted, and the published point it was fitted to."""

    model_config = FROZEN

    point: str = Field(description="the id of the published point")
    reason: str = Field(description="what the number stands for")


class Sourced(BaseModel):
    """What a YAML file describes, with the fields `assumed` and `fitted` that say where its numbers are from.

    Frozen. A variant is `with_({path: value})`, which edits the written form and reads it again.
    """

    model_config = FROZEN

    # How many keys deep a mapping may stand that an edit opens where it is not there, as the energy of a unit.
    opens: ClassVar[int] = 0

    _document: Document = PrivateAttr()
    _changed: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def read(cls, document: Document) -> Self:
        """What the document describes. Raises DesignError with every problem."""
        found = validate(document, cls, context=cls._context(document))
        found._document = document
        problems = [
            document.problem(f"{where}.{path}", "no such key in this file; an entry names a number that stands in it")
            for where in ("assumed", "fitted")
            for path in vars(found)[where]
            if not _stands(document.data, path)
        ]
        if problems:
            raise DesignError(problems)
        return found

    @classmethod
    def _context(cls, document: Document) -> dict[str, Any] | None:
        """What the fields need to know to be read, such as the clock."""
        return None

    @property
    def document(self) -> Document:
        """The written form that this was read from."""
        return self._document

    def with_(self, changes: Mapping[str, Any]) -> Self:
        """This with the values at these dotted paths replaced, read anew so that everything that follows is new too.

        Raises DesignError when a path is not there or the new value cannot be right.
        """
        variant = self.read(edited(self._document, changes, opens=self.opens))
        variant._changed = (*self._changed, *changes)
        return variant

    def assumptions(self) -> dict[str, str]:
        """Why each number that the source does not give was assumed; of one that a variant changed, that it was set."""
        fitted: Iterable[str] = vars(self)["fitted"]
        reasons: dict[str, str] = {**vars(self)["assumed"], **{path: "" for path in fitted if self._set(path)}}
        return {path: "set in this variant" if self._set(path) else why for path, why in sorted(reasons.items())}

    def fits(self) -> dict[str, str]:
        """The point that each fitted number was fitted to; numbers that a variant changed are left out."""
        fitted: Mapping[str, Fitted] = vars(self)["fitted"]
        return {path: entry.point for path, entry in sorted(fitted.items()) if not self._set(path)}

    def _set(self, path: str) -> bool:
        """True where a variant changed the number at the path, or a mapping that holds it."""
        return any(path == one or path.startswith(f"{one}.") for one in self._changed)


def _stands(data: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
