"""Loops over tiles against a plain walk of them: stays, bytes, runs and boxes, for drawn extents, tiles and orders."""

from __future__ import annotations

from itertools import groupby, permutations, product
from random import Random

import pytest

from mappers.tiled.nest import Nest

AXES = ("m", "k", "n")
OPERANDS = {"x": ("m", "k"), "w": ("n", "k"), "y": ("m", "n")}


def drawn(seed: int) -> Nest:
    random = Random(seed)
    extents = {axis: random.randint(1, 9) for axis in AXES}
    tile = {axis: random.randint(1, extents[axis]) for axis in AXES}
    return Nest(extents, tile, random.choice(list(permutations(AXES))))


def walk(nest: Nest) -> list[dict[str, range]]:
    """The tile of each step, by plain loops."""
    starts = [range(0, nest.extents[axis], nest.tile[axis]) for axis in nest.order]
    return [
        {
            axis: range(at, min(at + nest.tile[axis], nest.extents[axis]))
            for axis, at in zip(nest.order, places, strict=True)
        }
        for places in product(*starts)
    ]


@pytest.mark.parametrize("seed", range(300))
def test_what_a_plain_walk_finds(seed: int) -> None:
    nest = drawn(seed)
    steps = walk(nest)
    assert nest.steps == len(steps)
    sizes = [tuple(len(step[axis]) for axis in AXES) for step in steps]
    assert [size for size, n in nest.runs(AXES) for _ in range(n)] == sizes
    computed = [
        tuple(range(a, min(a + along.step, along.stop)) for a, along in zip(place, box, strict=True))
        for box in nest.boxes(AXES)
        for place in product(*box)
    ]
    assert computed == [tuple(step[axis] for axis in AXES) for step in steps]
    for axes in OPERANDS.values():
        stays = [tile for tile, _ in groupby(tuple(step[axis] for axis in axes) for step in steps)]
        assert nest.stays(axes) == len(stays)
        assert nest.again(axes) * len(set(stays)) == len(stays)
        moved = [tuple(map(len, tile)) for tile in stays]
        assert [size for size, n in nest.runs(axes, through=axes) for _ in range(n)] == moved
        assert sorted(size for size, n in nest.shapes(axes) for _ in range(n * nest.again(axes))) == sorted(moved)
        # A stay is as many steps as loops inside turn, so it is always as long.
        assert {len(list(same)) for _, same in groupby(tuple(step[a] for a in axes) for step in steps)} == {
            nest.steps // nest.stays(axes)
        }
