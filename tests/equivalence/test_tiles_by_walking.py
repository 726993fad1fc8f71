"""Products in tiles against a plain walk of their loops: bytes over each hop, work, numbers, and both engines."""

from __future__ import annotations

from itertools import groupby, permutations, product
from random import Random

import numpy as np
import pytest

import archsim
import dataflow
import mappers
from dataflow.numeric.evaluate import evaluate, replay

AXES = ("batch", "m", "k", "n")
OPERANDS = {"input": ("m", "k"), "weight": ("n", "k"), "activation": ("m", "n")}
TWO_LEVEL = archsim.load_design("systolic_two_level").with_({"units.array.rows": 4, "units.array.columns": 3})


class Drawn:
    """A product with drawn extents, tile, order of loops and buffers."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.extents = {axis: random.randint(1, 12) for axis in AXES[1:]}
        self.tile = {axis: random.randint(1, extent) for axis, extent in self.extents.items()}
        self.order = random.choice(list(permutations(AXES)))
        self.graph = dataflow.gemm(**self.extents)
        self.mapping = TWO_LEVEL.own_mapping("gemm").with_({
            "ops.gemm.tile": {"batch": 1, **self.tile}, "ops.gemm.order": self.order,
            "ops.gemm.buffers": random.choice((1, 2, 3)), "ops.gemm.ahead": random.choice(("op", "next_op")),
        })  # fmt: skip
        self.schedule = mappers.lower(self.graph, TWO_LEVEL, mapping=self.mapping)

    def steps(self) -> list[dict[str, tuple[int, int]]]:
        """The tile of each step: from where to where along each axis."""
        loops = [axis for axis in self.order if axis != "batch"]
        starts = [range(0, self.extents[axis], self.tile[axis]) for axis in loops]
        return [
            {axis: (at, min(at + self.tile[axis], self.extents[axis])) for axis, at in zip(loops, places, strict=True)}
            for places in product(*starts)
        ]


def walked(drawn: Drawn) -> dict[tuple[str, str], int]:
    """Bytes read and written over a hop, by role: a tile moves when the one before it was another one."""
    steps, found = drawn.steps(), dict[tuple[str, str], int]()
    for role, axes in OPERANDS.items():
        stays = [tile for tile, _ in groupby(tuple(step[axis] for axis in axes) for step in steps)]
        sizes = [2 * int(np.prod([stop - start for start, stop in tile])) for tile in stays]
        if role == "activation":
            found["written", role] = sum(sizes)
            # Sums that have left come back, but for the first time that each tile is made.
            seen: set[object] = set()
            found["read", role] = sum(n for tile, n in zip(stays, sizes, strict=True) if tile in seen or seen.add(tile))
        else:
            found["read", role] = sum(sizes)
    return {at: n for at, n in found.items() if n}


@pytest.mark.parametrize("seed", range(120))
def test_bytes_over_each_hop_are_those_of_a_walk(seed: int) -> None:
    drawn = Drawn(seed)
    report = archsim.simulate(drawn.schedule, TWO_LEVEL, engine="compiled")
    expected = walked(drawn)
    for memory in ("dram", "sram"):
        assert {at: n for at, n in report.traffic[memory].items() if n} == expected, memory


@pytest.mark.parametrize("seed", range(40))
def test_both_engines_and_the_numbers(seed: int) -> None:
    drawn = Drawn(seed)
    compiled, simpy = (archsim.simulate(drawn.schedule, TWO_LEVEL, engine=engine) for engine in ("compiled", "simpy"))
    assert compiled.cycles == simpy.cycles
    assert compiled.units == simpy.units
    random = np.random.default_rng(seed)
    inputs = {
        name: random.integers(-4, 5, tensor.shape).astype(np.float32)
        for name, tensor in drawn.graph.tensors.items()
        if name not in drawn.graph.ops
    }
    assert np.array_equal(replay(drawn.schedule, inputs)["gemm"], evaluate(drawn.graph, inputs)["gemm"])
