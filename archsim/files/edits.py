"""Edits of a document: the same mapping with the values at some dotted paths replaced; and what edits would be.

Knows nested mappings and paths. Does not know what a design or a selection is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from archsim.errors import DesignError, quoted
from archsim.files.document import Document, path_below
from archsim.files.json_text import json_line
from dataflow.errors import guess


def edited(document: Document, changes: Mapping[str, Any], *, opens: int) -> Document:
    """A copy of the document with the values at these dotted paths replaced; its path names the changes.

    If the mapping of a path's last key is missing and stands at least `opens` keys deep, it is created; reading the
    edited document then checks whether it may be there. Raises DesignError for a path that does not exist.
    """
    data = copy.deepcopy(document.data)
    if not isinstance(changes, Mapping) or not all(isinstance(path, str) for path in changes):
        raise DesignError(f"{document.path}: changes: expected a mapping of dotted paths to values")
    problems = [problem for path, value in changes.items() if (problem := _set(data, path, value, opens))]
    if problems:
        raise DesignError([f"{document.path}: {problem}" for problem in problems])
    shown = ", ".join(f"{path}={_shown(value)}" for path, value in changes.items())
    # Without lines, because the values are no longer those of the file.
    return Document(f"{document.path} with {shown}", data, {}, document.given)


def _shown(value: Any) -> Any:
    # Python refuses to turn an int of more than 4,300 digits into text.
    return quoted(value) if isinstance(value, int) and value.bit_length() > 200 else value


def keys_of(data: Any, path: str) -> list[str]:
    """The keys of a dotted path; a key that has dots in it, such as the name of an op, is taken where the data has it.

    >>> keys_of({"ops": {"layer*.q": {"unit": "array"}}}, "ops.layer*.q.unit")
    ['ops', 'layer*.q', 'unit']

    Of a list the keys are places, from 0 on.
    """
    words, keys = path.split("."), list[str]()
    while words:
        taken = 1
        if isinstance(data, dict):
            taken = next((n for n in range(len(words), 0, -1) if ".".join(words[:n]) in data), 1)
        keys.append(".".join(words[:taken]))
        data = inside(data, keys[-1])
        words = words[taken:]
    return keys


def differing(a: Any, b: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """The values that differ between two documents as written, by dotted path; None where there is none.

    >>> differing({"mm": {"lanes": 4, "kind": "vector"}}, {"mm": {"lanes": 8, "kind": "vector"}, "bits": 1})
    {'mm.lanes': (4, 8), 'bits': (None, 1)}
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = dict.fromkeys([*a, *b])
        return {at: two for key in keys for at, two in differing(a.get(key), b.get(key), path_below(path, key)).items()}
    if a is None and isinstance(b, Mapping) and b:
        return differing({}, b, path)
    if b is None and isinstance(a, Mapping) and a:
        return differing(a, {}, path)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and any(isinstance(x, Mapping) for x in a):
        return {at: two for i in range(len(a)) for at, two in differing(a[i], b[i], path_below(path, str(i))).items()}
    # As text, for Python takes 1, 1.0 and true as equal.
    return {} if json_line(a) == json_line(b) else {path: (a, b)}


def inside(data: Any, key: str) -> Any:
    """The value under a key, or at a place of a list; None where there is none."""
    if isinstance(data, list):
        return data[int(key)] if key.isdecimal() and key.isascii() and int(key) < len(data) else None
    return data.get(key) if isinstance(data, dict) else None


def _set(data: Any, path: str, value: Any, opens: int) -> str | None:
    """Replaces the value at the path in place; returns what is wrong, if anything."""
    *parents, last = keys_of(data, path)
    at = data
    for i, key in enumerate(parents):
        if isinstance(at, dict) and key not in at and len(parents) - 1 == i >= opens:
            at[key] = {}  # an optional mapping, such as the energy of a unit
        if isinstance(at, list) and inside(at, key) is not None:
            at = at[int(key)]
            continue
        if not isinstance(at, dict) or key not in at:
            hint = f"; {guess(key, at, otherwise='there are')}" if isinstance(at, dict) else ""
            return f"{path}: no '{key}' " + (f"under '{'.'.join(parents[:i])}'" if i else "at the top") + hint
        at = at[key]
    if isinstance(at, list) and inside(at, last) is not None:
        at[int(last)] = value
        return None
    if not isinstance(at, dict):
        return f"{path}: '{'.'.join(parents)}' holds one value, not keys"
    at[last] = value  # may be a new key: an optional field, or one that validation refuses
    return None
