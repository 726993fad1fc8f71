"""Rules that several op kinds share: shapes, counts by element, and tiles of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dataflow.op import Box, Counts, Operands, OpKind, Shape, ShapeRule, Work

if TYPE_CHECKING:
    import numpy as np

ROWS_D = ("rows", "d")


def need(condition: bool, rule: str) -> None:
    """Raises ValueError with the rule unless the condition holds."""
    if not condition:
        raise ValueError(rule)


def ranks(shapes: list[Shape], *wanted: int, rule: str) -> None:
    """Raises ValueError with the rule unless the shapes have these ranks."""
    need(tuple(map(len, shapes)) == wanted, rule)


def count_of(attributes: Mapping[str, Any], name: str) -> int:
    """The attribute as a count. Raises ValueError where it is missing or no whole number of one or more."""
    value: Any = attributes.get(name)
    need(type(value) is int and value >= 1, f"{name}, a whole number >= 1")
    return value


def area(work: Work) -> int:
    """rows x d."""
    return work.extents[0] * work.extents[1]


def per_element(*, flop: int = 0, exp: int = 0) -> Callable[[Work], Counts]:
    """Counts of so many operations for each element of [rows, d]."""
    each = {what: n for what, n in (("exp", exp), ("flop", flop)) if n}
    return lambda work: {what: n * area(work) for what, n in each.items()}


def rows_d(shape: Shape) -> tuple[Shape, dict[str, Any]]:
    """What a shape rule gives for an output [rows, d]."""
    return shape, dict(zip(ROWS_D, shape, strict=True))


def same_shape(inputs: int) -> ShapeRule:
    """The rule of kinds that map inputs of one shape [rows, d] to that shape."""

    def shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
        rule = f"{inputs} inputs of one shape [rows, d]"
        ranks(shapes, *[2] * inputs, rule=rule)
        need(all(s == shapes[0] for s in shapes), rule)
        return rows_d(shapes[0])

    return shape


def part(array: np.ndarray, box: Box) -> np.ndarray:
    """A view of a part of an array: a range for each of its first axes."""
    found: np.ndarray = array[tuple(slice(r.start, r.stop) for r in box)]
    return found


def rowwise(meaning: str, *, flop: int, exp: int = 0, **record: Any) -> OpKind:
    """The record of a kind over the elements of [rows, d], with so many operations for each; `record` has the rest."""
    return OpKind(
        meaning=meaning, extents=ROWS_D, count=per_element(flop=flop, exp=exp), elements=area, axes=ROWS_D,
        rows=("rows",), elementwise=True, **record,
    )  # fmt: skip


def pointwise(meaning: str, **record: Any) -> OpKind:
    """As rowwise, of a kind whose elements need that element of each input alone."""
    return rowwise(meaning, pointwise=True, **record)


def of_parts(module: str, kernel: str) -> Callable[[Operands, Box], np.ndarray]:
    """The tile of a kind without mixing: a kernel, imported when it is called, on the same part of every input."""
    return lambda x, box: getattr(import_module(module), kernel)(*(part(array, box) for array in x.inputs))
