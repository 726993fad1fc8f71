"""CoreArray: cores of multiply-add trees and vector lanes, as engines of attention and of whole layers have them."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from archsim.quantity import Count
from archsim.units.fpga import FP16_BITS, Amounts, multiply_adds, operators
from archsim.units.unit import Unit, ceil_div, pooled
from dataflow.op import Work, elementwise_kinds


class CoreArray(Unit):
    """Cores that share all work evenly: trees of `inputs` multiply-adds for products, lanes for everything else.

    A step is one cycle in which every tree of a core works on one output. With trees_all = cores x trees and
    lanes_all = cores x lanes, in cycles:
    matmul: batch x m x ceil(k / inputs) x ceil(n / trees) / cores. A tree sums over k; the trees of a core split n.
    attention: the larger of pairs x heads x (ceil(qk_dim / inputs) + v_dim / inputs) / trees_all and
    pairs x heads / lanes_all. Scores sum over the head; values sum over the keys, which fill the inputs. Trees and
    lanes work at the same time, on successive pairs.
    score: mac / (trees_all x inputs). compare: comparisons / lanes_all. element-wise: elements / lanes_all.
    derived from the counts of trees and lanes. Not modelled: fill, the ports of the on-chip memory, a last core that
    attention leaves idle, lanes that need several cycles for an element.
    """

    kind: Literal["core_array"]
    cores: Count = Field(description="cores, which share all work evenly")
    trees: Count = Field(description="multiply-add trees of a core; each makes one output")
    inputs: Count = Field(description="multiply-adds of a tree per cycle")
    lanes: Count = Field(description="lanes of a core for exponentials, comparisons and element-wise work")

    @property
    def does(self) -> tuple[str, ...]:
        """Products, comparisons, and everything that a lane does element by element."""
        return ("matmul", "attention", *elementwise_kinds(), "score", "compare")

    def tile(self, work: Work) -> dict[str, int]:
        """Of a matmul the inputs and outputs that the trees of a core take at once."""
        return {"k": self.inputs, "n": self.trees} if work.kind == "matmul" else {}

    def _cycles(self, work: Work) -> Fraction | int:
        if work.kind == "matmul":
            steps = work["batch"] * work["m"] * ceil_div(work["k"], self.inputs) * ceil_div(work["n"], self.trees)
            return Fraction(steps, self.cores)  # rounded up once, in Unit.cycles
        if work.kind == "score":
            return Fraction(work["mac"], self.cores * self.trees * self.inputs)
        if work.kind == "attention":
            pairs = work.pairs * work["heads"]
            # Only scores round up: a head is a sum of its own, while the keys of a value sum fill the trees.
            tree_steps = pairs * (ceil_div(work["qk_dim"], self.inputs) + Fraction(work["v_dim"], self.inputs))
            return max(tree_steps / (self.cores * self.trees), Fraction(pairs, self.cores * self.lanes))
        return Fraction(work.elements, self.cores * self.lanes)

    def _gang(self, work: Work, servers: int) -> Fraction | int:
        return pooled(self, servers, "cores")._cycles(work)

    def resources(self) -> Amounts:
        """A DSP for each multiply-add of a tree, and the operators of the lanes; memories have no formula."""
        products, lanes = multiply_adds(self.cores * self.trees * self.inputs), self.cores * self.lanes
        on_lanes = operators(lanes, FP16_BITS * lanes)
        return {resource: products[resource] + on_lanes[resource] for resource in products}
