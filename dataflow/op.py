"""Work and OpKind: a piece of computation before any hardware, and all that is known of its kind.

The kinds stand in dataflow/kinds, a file for each family. No rates, no cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any

from dataflow.errors import GraphError, guess, quoted
from dataflow.mask import EVERY_KEY, Mask

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]
Counts = dict[str, int]
Box = tuple[range, ...]  # a part of an op: a range on each of its axes


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of computation before any hardware: an op kind, its loop extents in the order of its record, its mask.

    Only attention has a mask. `format` is the name of the format in which a product multiplies its factors; empty where
    nobody says it, and of work that is no product.

    >>> work("ternary_matmul", m=1, k=84, n=1536).counts()
    {'mac': 129024}
    """

    kind: str
    extents: tuple[int, ...]
    mask: Mask | None = None
    format: str = ""

    def __post_init__(self) -> None:
        record = OP_KINDS.get(self.kind) if isinstance(self.kind, str) else None
        if record is None:
            raise GraphError(f"unknown op kind {quoted(self.kind)}; op kinds are: {', '.join(OP_KINDS)}")
        names, given = record.extents, self.extents
        if not isinstance(given, tuple) or len(given) != len(names):
            told = f"({', '.join(map(quoted, given))})" if isinstance(given, tuple) else quoted(given)
            wanted = f"takes a tuple of the extents ({', '.join(names)})"
            raise GraphError(f"work of kind '{self.kind}' {wanted}, got {told}")
        if given and ({*map(type, given)} != {int} or min(given) < 0):
            bad = [f"{name}={quoted(n)}" for name, n in zip(names, given, strict=True) if type(n) is not int or n < 0]
            raise GraphError(f"work of kind '{self.kind}': extents are whole numbers >= 0, got {', '.join(bad)}")
        if not isinstance(self.mask, Mask if record.masked else NoneType):
            told = str(self.mask) if isinstance(self.mask, Mask) else quoted(self.mask)
            raise GraphError(f"work of kind '{self.kind}' has {'a Mask' if record.masked else 'no mask'}, got {told}")
        if type(self.format) is not str:
            told = f"has the name of a format, such as 'bf16', got {quoted(self.format)}"
            raise GraphError(f"work of kind '{self.kind}' {told}")

    def __getitem__(self, extent: str) -> int:
        names = OP_KINDS[self.kind].extents
        try:
            return self.extents[names.index(extent)]
        except ValueError:
            hint = guess(extent, names, otherwise="extents are")
            raise GraphError(f"{self} has no extent '{extent}'; {hint}") from None

    def part(self, mask: Mask | None = None, /, **extents: int) -> Work:
        """The work of a part of this one: of its kind and in its format, with extents and a mask as in `work`.

        >>> str(work("matmul", None, "int8", m=4, k=2, n=8).part(m=1, k=2, n=8))
        'matmul(batch=1, m=1, k=2, n=8, int8)'
        """
        return work(self.kind, mask, self.format, **extents)

    def counts(self) -> Counts:
        """The counts of this work: mac, exp, flop (other scalar arithmetic), read, written and moved (bytes)."""
        return OP_KINDS[self.kind].count(self)

    @property
    def elements(self) -> int:
        """The elements that this work makes, moves or compares, by the rule of its kind."""
        return OP_KINDS[self.kind].elements(self)

    @property
    def pairs(self) -> int:
        """Of attention: the pairs of a query and a key that the mask lets through, over all sequences."""
        assert self.mask is not None, "only attention has pairs"
        return self["batch"] * self.mask.pairs(self["queries"], self["keys"])

    def __str__(self) -> str:
        inside = [f"{n}={v}" for n, v in zip(OP_KINDS[self.kind].extents, self.extents, strict=True)]
        inside += [str(told) for told in (self.mask, self.format) if told]
        return f"{self.kind}({', '.join(inside)})"


@dataclass(frozen=True, slots=True)
class Operands:
    """What an op computes from: the arrays that it reads, its work and attributes, and the scales of its integers.

    `row_scales` float32 [rows] belong to the INT8 rows whose product the op reads, `weight_scale` to the matrix.
    """

    work: Work
    attributes: Mapping[str, Any]
    inputs: tuple[np.ndarray, ...]
    row_scales: np.ndarray | None = None
    weight_scale: float = 1.0


ShapeRule = Callable[[list[Shape], Mapping[str, Any]], tuple[Shape, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpKind:
    """All that is known of an op kind: one record, from which graphs, mappers, units and kernels take it.

    `extents` are its loops and `defaults` those that may be left out: a number, or the name of the extent that it
    equals. `shape` maps (input shapes, attributes) to (output shape, extents and mask) and raises ValueError, with what
    the kind takes, where they do not fit; kinds without one are work that only a mapper schedules. An op has all of
    `attributes` and may have those in `optional`.

    An op is cut into tiles along `axes`, which are extents; tiles add up over those in `sums`, and one element of
    `rows` is the least that a mapping row by row computes. `tile` gives the numbers of a tile, with the axes not in
    `sums`; `evaluate` those of a whole op that has no tiles. Both import the kernels when they are called, because
    these compile. `reads` gives the rows of an input that the op needs where these are not all. A product multiplies
    its first `factors` inputs, in the widest of their formats. `elementwise` marks what a lane does an element a cycle,
    `pointwise` those of which an element needs that element of each input alone, so that columns are cut as rows are.
    `free` says why a kind needs no unit; with `simplifies` a report repeats it, because elements move.
    """

    meaning: str
    extents: tuple[str, ...]
    count: Callable[[Work], Counts]
    elements: Callable[[Work], int]
    defaults: Mapping[str, int | str] = field(default_factory=dict)
    shape: ShapeRule | None = None
    attributes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    masked: bool = False
    axes: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    tile: Callable[[Operands, Box], np.ndarray] | None = None
    evaluate: Callable[[Operands], np.ndarray] | None = None
    reads: Callable[[Work, int], int] | None = None
    factors: int = 0
    free: str = ""
    simplifies: bool = False
    elementwise: bool = False
    pointwise: bool = False


# Filled by dataflow/kinds; users add kinds of their own by mappers.extend.
OP_KINDS: dict[str, OpKind] = {}


def summed(counts: Iterable[tuple[Mapping[str, int], int]]) -> Counts:
    """The sums of counts, each of them so many times.

    >>> summed([({"mac": 2, "exp": 1}, 3), ({"mac": 4}, 1)])
    {'mac': 10, 'exp': 3}
    """
    out: Counts = {}
    for each, times in counts:
        for what, n in each.items():
            out[what] = out.get(what, 0) + n * times
    return out


def graph_kinds() -> list[str]:
    """The kinds that a graph may contain: those with a shape rule."""
    return [name for name, kind in OP_KINDS.items() if kind.shape is not None]


def elementwise_kinds() -> list[str]:
    """The kinds that a lane does element by element."""
    return [name for name, kind in OP_KINDS.items() if kind.elementwise]


def computes(item: Work) -> bool:
    """True if the work does arithmetic, rather than only moving or comparing data."""
    counts = item.counts()
    return any(counts.get(what) for what in ("mac", "flop", "exp"))


def work(kind: str, mask: Mask | None = None, format: str = "", /, **extents: int) -> Work:
    """A Work of this kind, with every extent of its record that has no default; attention sees every key unless masked.

    `format` is the name of the format in which a product multiplies.
    Raises GraphError on a wrong kind, extent or mask.
    """
    if not isinstance(kind, str) or kind not in OP_KINDS:
        raise GraphError(f"unknown op kind {quoted(kind)}; op kinds are: {', '.join(OP_KINDS)}")
    record = OP_KINDS[kind]
    names, given = record.extents, tuple(extents)
    mask = EVERY_KEY if mask is None and record.masked else mask
    if given == names:
        return Work(kind, tuple(extents.values()), mask, format)
    for name, value in record.defaults.items():
        extents.setdefault(name, extents.get(value, 0) if isinstance(value, str) else value)
    if set(extents) != set(names):
        told = ", ".join(f"{n}, if not {record.defaults[n]}" if n in record.defaults else n for n in names)
        raise GraphError(f"work of kind '{kind}' takes the extents ({told}), got ({', '.join(given)})")
    return Work(kind, tuple([extents[n] for n in names]), mask, format)
