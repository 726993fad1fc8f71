"""Edits of a document: the same mapping with the values at some dotted paths replaced.

Knows nested mappings and paths. Does not know what a design or a selection is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from archsim.errors import DesignError
from archsim.files.document import Document
from dataflow.errors import guess


def edited(document: Document, changes: Mapping[str, Any], *, opens: int) -> Document:
    """The document with the values at these dotted paths replaced, named by the changes.

    A mapping that is not there is opened for the last key of a path when it stands at least `opens` keys deep; whether
    it may be there is for the reader to say. Raises DesignError when a path is not there.
    """
    data = copy.deepcopy(document.data)
    problems = [problem for path, value in changes.items() if (problem := _set(data, path, value, opens))]
    if problems:
        raise DesignError([f"{document.path}: {problem}" for problem in problems])
    shown = ", ".join(f"{path}={value}" for path, value in changes.items())
    return Document(f"{document.path} with {shown}", data, {})


def _set(data: Any, path: str, value: Any, opens: int) -> str | None:
    """Replaces the value at the path in place; returns what is wrong, if anything."""
    *parents, last = path.split(".")
    at = data
    for i, key in enumerate(parents):
        if isinstance(at, dict) and key not in at and len(parents) - 1 == i >= opens:
            at[key] = {}  # an optional mapping, such as the energy of a unit
        if not isinstance(at, dict) or key not in at:
            return (
                f"{path}: no '{key}' " + (f"under '{'.'.join(parents[:i])}'" if i else "at the top") + _known(at, key)
            )
        at = at[key]
    if not isinstance(at, dict):
        return f"{path}: '{'.'.join(parents)}' holds one value, not keys"
    at[last] = value
    return None


def _known(at: Any, key: str) -> str:
    if not isinstance(at, dict):
        return ""
    return f"; {guess(key, at, otherwise='there are')}"
