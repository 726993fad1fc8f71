"""ComputeTile: compute units of a fabric, each a systolic array or a pipeline of vector lanes, as its task asks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isqrt
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from archsim.quantity import Count, CyclesTime
from archsim.units.array import product_of
from archsim.units.unit import Unit, ceil_div
from dataflow.op import Work, elementwise_kinds

PRODUCTS = ("matmul", "attention_scores", "attention_sums")


class Split(NamedTuple):
    """How a product is shared: `lanes` tiles along the extent that lies on lanes, `stages` along that on stages.

    Both are 0 where each tile makes whole dot products, with its lanes along the sum. `cycles` are those of a product.
    """

    lanes: int
    stages: int
    lanes_along: Literal["m", "n", "k"]
    cycles: int


class ComputeTile(Unit):
    """Tiles of lanes x stages multiply-adds that stand side by side; a task has some of them for itself.

    A product of m x k with k x n on s tiles takes the least of these, in cycles:
    systolic: ceil(x / (a lanes)) x ceil(y / (b stages)) x k, with x, y = m, n or n, m, over all a x b <= s. Outputs
    stay in place. As the cost law in the source of DFModel.
    reduction: ceil(m n / s) x ceil(k / lanes), where a tile sums across its lanes.
    A multiply-add makes one product a cycle in every format. Several products go to tiles of their own.
    Other work: ceil(elements / (lanes s)) x ceil(operations / stages), with the operations of an element: an expression
    longer than the stages passes twice.
    `latency_cycles` are stages + ceil(log2 lanes) unless given: the pipeline, and the tree that sums across lanes.
    Not modelled: the load of a configuration (see Launcher), the fill of a systolic product beside its latency.
    """

    kind: Literal["compute_tile"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has tiles of its own")
    lanes: Count = Field(description="lanes of a tile: elements a cycle")
    stages: Count = Field(description="stages of a lane: operations on an element, or multiply-adds, a cycle")
    latency_cycles: CyclesTime = Field(
        0, description="cycles, or a time, after the end of a firing until its tokens are visible; stages + ceil(log2 "
        "lanes) unless given"
    )  # fmt: skip

    @model_validator(mode="after")
    def _with_latency(self) -> ComputeTile:
        if "latency_cycles" not in self.model_fields_set:
            object.__setattr__(self, "latency_cycles", self.stages + (self.lanes - 1).bit_length())
        return self

    @property
    def does(self) -> tuple[str, ...]:
        """Products, those of attention among them, and all that a lane does element by element."""
        return (*PRODUCTS, *elementwise_kinds())

    def split(self, work: Work, servers: int = 1) -> Split:
        """How one of the products of this work is shared over the tiles that it gets."""
        count, m, k, n = product_of(work)
        each = max(1, servers // count) if count else servers
        return _best(m, k, n, each, self.lanes, self.stages)

    def _cycles(self, work: Work) -> int:
        return self._gang(work, 1)

    def _gang(self, work: Work, servers: int) -> int:
        if work.kind in PRODUCTS:
            count = product_of(work)[0]
            return ceil_div(count, min(servers, count)) * self.split(work, servers).cycles if count else 0
        elements, counts = work.elements, work.counts()
        operations = ceil_div(counts.get("flop", 0) + counts.get("exp", 0), elements) if elements else 0
        return ceil_div(elements, self.lanes * servers) * max(1, ceil_div(operations, self.stages))


# Cached, because a mapper asks for the same products with many numbers of tiles.
@lru_cache(maxsize=1 << 16)
def _best(m: int, k: int, n: int, servers: int, lanes: int, stages: int) -> Split:
    """The split with the least cycles; of equals the one with the fewest tiles."""
    if not m * k * n:
        return Split(0, 0, "k", 0)
    found = [Split(0, 0, "k", ceil_div(m * n, servers) * ceil_div(k, lanes))]
    ways: tuple[tuple[int, int, Literal["m", "n"]], ...] = ((m, n, "m"), (n, m, "n"))
    for x, y, along in ways:
        on_lanes, on_stages = ceil_div(x, lanes), ceil_div(y, stages)
        for a in _worthwhile(on_lanes, servers):
            b = min(servers // a, on_stages)
            turns = ceil_div(on_stages, b)
            found.append(Split(a, ceil_div(on_stages, turns), along, ceil_div(on_lanes, a) * turns * k))
    return min(found, key=lambda one: (one.cycles, one.lanes * one.stages or servers))


def _worthwhile(parts: int, servers: int) -> Iterator[int]:
    """The least numbers of tiles for each number of turns that the parts may take: more tiles save none.

    >>> [*_worthwhile(7, 5)]
    [1, 2, 3, 4]
    """
    root = isqrt(parts)
    fewest = {*range(1, root + 1), *(ceil_div(parts, turns) for turns in range(1, root + 2))}
    return (n for n in sorted(fewest) if n <= servers)
