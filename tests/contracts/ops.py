"""What every op kind must hold to, as functions of its name in OP_KINDS; an op kind added by a user runs too.

Shape rules are tried on the shapes below, with 2 for every attribute that they ask for.
"""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from contracts.kinds import larger, works
from dataflow import OP_KINDS, Operands, Work, computes, work
from dataflow.numeric.cover import sizes_of, whole_of

COUNTED = {"mac", "exp", "flop", "read", "written", "moved"}
SHAPES = (
    [(6, 12)], [(6, 12), (6, 12)], [(6, 12), (12,)], [(6,), (9, 12)], [(6, 12), (8, 12)], [(2, 6, 12), (2, 8, 12)],
    [(6, 12), (10, 12), (10, 12)], [(12,)], [(2, 3, 4)],
)  # fmt: skip
# Kinds of integers: the type and the end of each input that is drawn from 0, or from -end where it is signed.
INTEGERS = {
    "embedding": ((np.int64, 0, 9), None),
    "ternary_matmul": ((np.int8, -127, 128), (np.int8, -1, 2)),
    "dequantize": ((np.int32, -900, 900),),
}


class EveryAttribute(dict):
    """Attributes of which each is 2."""

    def __missing__(self, key: str) -> int:
        return 2

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


def accepted(name: str) -> Iterator[tuple[list[tuple[int, ...]], tuple[int, ...], Work]]:
    """The drawn input shapes that the shape rule takes, with the output's shape and the work."""
    rule = OP_KINDS[name].shape
    for shapes in SHAPES if rule else ():
        try:
            shape, extents = rule(list(shapes), EveryAttribute())
        except ValueError:
            continue
        yield shapes, shape, work(name, extents.pop("mask", None), **extents)


def names_its_extents(name: str) -> None:
    record = OP_KINDS[name]
    assert record.meaning
    assert len(set(record.extents)) == len(record.extents)
    assert all(extent.isidentifier() for extent in record.extents)
    assert {*record.axes, *record.sums, *record.rows, *record.defaults} <= set(record.extents)
    assert set(record.sums) <= set(record.axes)
    assert set(record.rows) <= set(record.axes) or record.tile is None
    for value in record.defaults.values():
        assert value in record.extents if isinstance(value, str) else value >= 0


def counts_whole_numbers_that_grow(name: str) -> None:
    for item in works(name):
        counts = item.counts()
        assert set(counts) <= COUNTED
        assert all(type(n) is int and n >= 0 for n in (*counts.values(), item.elements))
        for more in larger(item):
            assert more.elements >= item.elements
            assert all(more.counts().get(what, 0) >= n for what, n in counts.items())


def computes_nothing_where_it_needs_no_unit(name: str) -> None:
    record = OP_KINDS[name]
    if record.free:
        assert len(record.free) > 5, "it says why"
        assert not any(computes(item) for item in works(name))
        assert record.shape is not None


def has_numbers_where_a_graph_may_contain_it(name: str) -> None:
    record = OP_KINDS[name]
    assert (record.shape is None) == (record.tile is None and record.evaluate is None)
    assert record.tile is None or record.axes
    for _, shape, item in accepted(name):
        assert all(type(n) is int and n >= 1 for n in shape)
        assert all(type(n) is int and n >= 1 for n in item.extents)


def refuses_shapes_with_a_rule(name: str) -> None:
    rule = OP_KINDS[name].shape
    if rule:
        with pytest.raises(ValueError) as raised:
            rule([], EveryAttribute())
        assert str(raised.value)


def operands(name: str, shapes: list[tuple[int, ...]], item: Work, seed: int) -> Operands:
    random = np.random.default_rng(seed)
    drawn = INTEGERS.get(name, ())
    inputs = []
    for place, shape in enumerate(shapes):
        whole = drawn[place] if place < len(drawn) else None
        inputs.append(
            random.normal(0, 3, shape).astype(np.float32)
            if whole is None
            else random.integers(whole[1], whole[2], shape).astype(whole[0])
        )
    scales = random.uniform(0.5, 2, shapes[0][0]).astype(np.float32)
    return Operands(item, EveryAttribute(), tuple(inputs), scales, 0.5)


def has_tiles_that_make_the_whole(name: str) -> None:
    """Tiles cut at random places, put side by side and added up over the axes in sums, are the tile of the whole."""
    record = OP_KINDS[name]
    if record.tile is None:
        return
    found = list(accepted(name))
    if not found:
        pytest.skip(f"{name}: its shape rule takes none of the drawn shapes")
    kept = [i for i, axis in enumerate(record.axes) if axis not in record.sums]
    random = np.random.default_rng(0)
    for seed, (shapes, shape, item) in enumerate(found):
        x, sizes = operands(name, shapes, item, seed), sizes_of(item)
        whole = np.asarray(record.tile(x, whole_of(item))).reshape([sizes[i] for i in kept])
        assert whole.size == np.prod(shape)
        assert np.isfinite(whole).all()
        cuts = [sorted({0, size, *random.integers(0, size + 1, 2).tolist()}) for size in sizes]
        joined, count = np.zeros(whole.shape, whole.dtype), np.zeros(whole.shape, int)
        for box in product(*([range(a, b) for a, b in pairwise(ends)] for ends in cuts)):
            place = tuple(slice(box[i].start, box[i].stop) for i in kept)
            joined[place] += np.asarray(record.tile(x, box)).reshape(joined[place].shape)
            count[place] += 1
        assert (count >= 1).all()
        # Sums of floats in another order differ by rounding; whole numbers do not.
        far = 0 if whole.dtype.kind == "i" else 1e-4 if record.sums else 1e-6
        np.testing.assert_allclose(joined, whole, rtol=far, atol=far)


CONTRACTS = (
    names_its_extents,
    counts_whole_numbers_that_grow,
    computes_nothing_where_it_needs_no_unit,
    has_numbers_where_a_graph_may_contain_it,
    refuses_shapes_with_a_rule,
    has_tiles_that_make_the_whole,
)
