"""JSON as this project writes it: one form, and no NaN, which is no JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any


def json_text(data: Any) -> str:
    """The data as JSON on lines of their own. Raises ValueError for NaN and infinities.

    >>> print(json_text({"cycles": 3, "seconds": None}))
    {
     "cycles": 3,
     "seconds": null
    }
    """
    return json.dumps(data, indent=1, allow_nan=False)


def finite(line: Mapping[str, Any]) -> dict[str, Any]:
    """The entries with numbers that JSON does not have as text.

    >>> finite({"a": 1.5, "b": float("nan")})
    {'a': 1.5, 'b': 'nan'}
    """
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in line.items()
    }


def json_line(data: Any) -> str:
    """The data as JSON on one line, keys in order: equal data give equal text. Raises ValueError as json_text.

    >>> json_line({"b": 1.0, "a": [True, None]})
    '{"a":[true,null],"b":1.0}'
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(of: object, names: str) -> dict[str, Any]:
    """These attributes, named in one text, as JSON has them: fractions as floats, tuples as lists, objects as text."""
    return {name: _plain(getattr(of, name)) for name in names.split()}


def _plain(value: Any) -> Any:
    # Text and numbers first: a report of many ops has thousands of them.
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _plain(inside) for key, inside in value.items()}
    return [_plain(inside) for inside in value] if isinstance(value, tuple) else str(value)
