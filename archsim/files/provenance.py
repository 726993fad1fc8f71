"""Where the numbers of a file come from: assumed, fitted to a published point, or set in a variant.

Knows paths and reasons. Does not know what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from archsim.errors import DesignError, InputError
from archsim.files.document import Document
from archsim.files.edits import edited, inside, keys_of
from archsim.files.overview import of_file, written
from archsim.files.validate import validate
from dataflow.overview import Overview, Overviewed, counted

SET = "set in this variant"  # the reason of a number that a variant changed
SAID = ("name", "source", "approximated", "assumed", "fitted")  # what a file says of itself, no number of the machine

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


class Sourced(Overviewed, BaseModel):
    """An object read from a YAML file; its fields `assumed` and `fitted` say where its numbers come from.

    Frozen. A variant is `with_({path: value})`, which edits the written form and reads it again.
    """

    model_config = FROZEN

    # Depth in keys from which on an edit may create a missing mapping, such as the energy of a unit.
    opens: ClassVar[int] = 0
    # Of the overview: the key whose entries are the rows, what a row is, and the keys that have a column.
    rows: ClassVar[tuple[str, str, tuple[str, ...]]]

    _document: Document = PrivateAttr()
    _origin: Any = PrivateAttr(None)  # of a variant what was read from the file; None of what was read itself

    @property
    def _changed(self) -> tuple[str, ...]:
        """The paths that this variant, or the one whose written form was read, has set."""
        paths = [path for path, why in vars(self)["assumed"].items() if why == SET]
        return tuple(path for path in paths if not any(path.startswith(f"{other}.") for other in paths))

    @property
    def _altered(self) -> tuple[str, ...]:
        """The paths that this variant has set to other values than its file has; all set ones where that is not known.

        Values are compared as read, so that 0.8 GHz is 800 MHz and a default is what it stands for.
        """
        origin: Sourced | None = self._origin
        if origin is None:
            return self._changed
        before = origin._altered
        return tuple(path for path in self._changed if path in before or _value(self, path) != _value(origin, path))

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

    @property
    def is_variant(self) -> bool:
        """True where values were changed since it was read."""
        return bool(self._changed)

    def with_(self, changes: Mapping[str, Any]) -> Self:
        """A variant with the values at these dotted paths replaced, read anew so that every derived number follows.

        Its written form says which values were set, under `assumed`. Raises DesignError for a path that does not
        exist and for a value that cannot be right.
        """
        document = edited(self._document, changes, opens=self.opens)
        variant = self.read(replace(document, data=_said_to_be_set(document.data, changes)))
        variant._origin = self._origin or self
        return variant

    def changed(self) -> dict[str, Any]:
        """The values that this variant has set, by path."""
        return {path: self.at(path) for path in self._changed}

    def at(self, path: str) -> Any:
        """The value at a dotted path as it is written; None where there is none."""
        data = self._document.data
        return reduce(inside, keys_of(data, path), data)

    def overview(self) -> Overview:
        """Its name and source, what the file says as it is written, and how many numbers have no source."""
        data, (table, row, columns) = self._document.data, self.rows
        assumed = [why for why in self.assumptions().values() if why != SET]
        foot = [("simplified", told) for told in self.simplified()]
        foot += [("assumed", f"{counted(len(assumed), 'number')}; assumptions() has the reasons")] if assumed else []
        foot += [("set", f"{path}={written(value)}") for path, value in self.changed().items()]
        foot += [("fitted", f"{path}, to the published point {point}") for path, point in self.fits().items()]
        head = f"{type(self).__name__.lower()} {data['name']}: {data['source']}"
        return of_file(data, head=head, table=table, row=row, columns=columns, foot=foot, leave_out=SAID)

    def simplified(self) -> tuple[str, ...]:
        """What it leaves out of its source."""
        return ()

    def assumptions(self) -> dict[str, str]:
        """Why each number was assumed, by path; a number that a variant changed says so instead."""
        return dict(sorted(vars(self)["assumed"].items()))

    def fits(self) -> dict[str, str]:
        """The published point of each fitted number; numbers that a variant changed are left out."""
        fitted: Mapping[str, Fitted] = vars(self)["fitted"]
        return {path: entry.point for path, entry in sorted(fitted.items())}


def _said_to_be_set(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The data in which values at these paths, and below, are no longer assumed or fitted for a reason, but set."""
    numbers = [path for path in changes if path.partition(".")[0] not in SAID]
    said = {where: data.get(where, {}) for where in ("assumed", "fitted")}
    if not numbers or not all(isinstance(entries, dict) for entries in said.values()):
        return data
    below = [
        path
        for path in dict.fromkeys([*said["assumed"], *said["fitted"]])
        if any(path == number or path.startswith(f"{number}.") for number in numbers)
    ]
    kept = {where: {p: e for p, e in entries.items() if p not in below} for where, entries in said.items()}
    kept["assumed"] |= dict.fromkeys([*numbers, *(path for path in below if _exists(data, path))], SET)
    return {**data, **{where: entries for where, entries in kept.items() if entries or where in data}}


def _exists(data: Any, path: str) -> bool:
    for key in keys_of(data, path):
        if not (isinstance(data, dict) and key in data) and inside(data, key) is None:
            return False
        data = inside(data, key)
    return True


def _value(read: Any, path: str) -> Any:
    """The value that was read at a dotted path; None where there is none."""
    for key in path.split("."):
        if isinstance(read, BaseModel):
            names = {field.alias or name: name for name, field in type(read).model_fields.items()}
            read = getattr(read, names.get(key, key), None)
        elif isinstance(read, Mapping):
            read = read.get(key)
        else:
            read = read[int(key)] if isinstance(read, tuple) and key.isdigit() and int(key) < len(read) else None
    return read
