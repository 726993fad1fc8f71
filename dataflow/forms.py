"""Forms: of what kind the values are that a user gives from Python, and the words for them.

Knows the types of values, not what they mean: whether a name is known or a sum is right is checked where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from math import isfinite
from typing import Any, NamedTuple

from dataflow.errors import quoted


class Form(NamedTuple):
    """What is expected of a value, in words, and a function that shows what is wrong with one: None if it fits.

    Every value of the types `kinds` fits, so that the function need not be called for most values.
    """

    told: str
    wrong: Callable[[Any], str | None]
    kinds: tuple[type, ...] = ()


def form(told: str, fits: Callable[[Any], bool], *kinds: type) -> Form:
    """The form of the values for which `fits` holds: it does for every value of these types.

    >>> WHOLE.wrong(3), WHOLE.wrong(True), optional(WHOLE).wrong(None), tuple_of(WHOLE, "whole numbers").wrong([1, 2.5])
    (None, 'true', None, 'a list with 2.5')
    """
    return Form(told, lambda value: None if fits(value) else quoted(value), kinds)


def instance(kind: type) -> Form:
    """The form of the objects of a class."""
    return form(f"a {kind.__name__}", lambda value: isinstance(value, kind), kind)


def optional(inner: Form) -> Form:
    """The form that also takes None."""
    kinds = (*inner.kinds, type(None))
    return Form(f"{inner.told} or None", lambda value: None if value is None else inner.wrong(value), kinds)


def tuple_of(inner: Form, told: str, *, lists: bool = True) -> Form:
    """The form of tuples, and if asked of lists, whose parts have one form."""

    def wrong(value: Any) -> str | None:
        if not isinstance(value, tuple) and not (lists and isinstance(value, list)):
            return quoted(value)
        for one in value:
            if type(one) not in inner.kinds and (found := inner.wrong(one)) is not None:
                return f"a list with {found}"
        return None

    return Form(f"a tuple of {told}", wrong)


def mapping_of(keys: Form, values: Form, told: str) -> Form:
    """The form of mappings whose keys have one form and whose values have another."""

    def wrong(value: Any) -> str | None:
        if type(value) is not dict and not isinstance(value, Mapping):
            return quoted(value)
        for key, inside in value.items():
            if type(key) not in keys.kinds and keys.wrong(key) is not None:
                return f"a mapping with the key {_shown(key)}"
            if type(inside) not in values.kinds and (found := values.wrong(inside)) is not None:
                return f"a mapping with {_shown(key)}: {found}"
        return None

    return Form(f"a mapping {told}", wrong)


def _shown(key: Any) -> str:
    return f"({', '.join(map(quoted, key))})" if isinstance(key, tuple) else quoted(key)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool) and isfinite(value)


def _not_plain(value: Any) -> str | None:
    if isinstance(value, float) and not isfinite(value):
        return quoted(value)
    if isinstance(value, Mapping):
        return OPTIONS.wrong(value)
    return tuple_of(PLAIN, "").wrong(value) if isinstance(value, tuple) else None


TEXT = form("text", lambda value: isinstance(value, str), str)
WHOLE = form("a whole number", lambda value: type(value) is int, int)
COUNT = form("a whole number >= 0", lambda value: type(value) is int and value >= 0)
FINITE = form("a finite number", _is_finite)
PLAIN = Form("no NaN and no infinity", _not_plain)
ANYTHING = form("anything", lambda value: True)
NAMED = mapping_of(TEXT, ANYTHING, "from names to values")
OPTIONS = mapping_of(TEXT, PLAIN, "from names to values, with finite numbers")
COUNTS = mapping_of(TEXT, WHOLE, "from what is counted to whole numbers")
DEPTHS = mapping_of(TEXT, WHOLE, "from the names of queues to whole numbers")
NOTES = mapping_of(TEXT, TEXT, "from text to text")
# Bytes that lie in memories.
HOLDS = mapping_of(
    form("", lambda key: isinstance(key, tuple) and len(key) == 2 and all(isinstance(name, str) for name in key)),
    COUNT,
    "from (memory, role), both text, to bytes, whole numbers >= 0,",
)


def misfits(of: object, forms: Mapping[str, Form]) -> Iterator[str]:
    """A line for each field of the object whose value does not have its form."""
    for name, expected in forms.items():
        value = getattr(of, name)
        if type(value) not in expected.kinds and (found := expected.wrong(value)) is not None:
            yield f"{name} {'are' if name.endswith('s') else 'is'} {found}; {expected.told} is expected"


def titled(what: str, name: object) -> str:
    """How messages speak of a thing by its name, which may be no text.

    >>> titled("task", "load w3"), titled("task", None)
    ("task 'load w3'", 'task nothing')
    """
    return f"{what} '{name}'" if isinstance(name, str) else f"{what} {quoted(name)}"
