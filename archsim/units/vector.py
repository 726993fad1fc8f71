"""Vector: a pipeline over the elements of rows, and Norm, which passes over each row twice."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from archsim.quantity import Count, Cycles
from archsim.units.fpga import FP16_BITS, Amounts, operators
from archsim.units.unit import Unit, ceil_div, largest_share, only, pooled
from dataflow.op import OP_KINDS, Work, elementwise_kinds, work


@cache
def operations(kind: str) -> int:
    """Arithmetic that an element of this op kind takes.

    >>> operations("rope"), operations("embedding")
    (3, 0)
    """
    one = work(kind, **dict.fromkeys(OP_KINDS[kind].extents, 1))
    return sum(n for what, n in one.counts().items() if what in ("flop", "exp"))


class Vector(Unit):
    """Element-wise work: cycles = ceil(elements / lanes); entering a loop that is not flattened costs `fill_cycles`.

    `loop_elements` is the number of elements after which such a loop is entered again; 0 means that the loop is
    flattened and the pipeline never drains. A mapper schedules the entry as a firing of its own (work `enter`), because
    it needs no place in the output queue.
    """

    kind: Literal["vector"]
    ops: Annotated[
        tuple[str, ...], BeforeValidator(lambda value: only(value, elementwise_kinds(), "element-wise op kind"))
    ] = Field(
        description="the op kinds that it does", examples=[["add", "mul"]]
    )
    lanes: Count = Field(description="elements per cycle")
    loop_elements: Annotated[int, Field(ge=0, strict=True)] = Field(
        0, description="elements of the innermost loop, which pays the fill each time it is entered; 0 if flat"
    )
    fill_cycles: Cycles = Field(0, description="cycles from entering the loop to its first element")

    @property
    def does(self) -> tuple[str, ...]:
        """The op kinds listed in the design, and those of any pipeline: `enter` and `copy`."""
        return (*self.ops, "enter", "copy")

    def _cycles(self, work: Work) -> int:
        if work.kind == "enter":
            return self.fill_cycles
        return ceil_div(work.elements, self.lanes)

    def _gang(self, work: Work, servers: int) -> int:
        return pooled(self, servers, "lanes")._cycles(work)

    def resources(self) -> Amounts:
        """In each lane the operators of every op kind that it does, none shared, in FP16."""
        count = self.lanes * sum(operations(kind) for kind in self.ops)
        return {**operators(count, FP16_BITS * self.lanes), "bram36": 0, "uram": 0}


class Norm(Unit):
    """Row-wise norms in two passes over the row: a sum of squares, a root, then scaling (and the running abs-max).

    cycles = rows x (2 ceil(d / lanes) + sum_fill_cycles + root_cycles + scale_fill_cycles).
    """

    kinds = ("rmsnorm",)

    kind: Literal["norm"]
    lanes: Count = Field(description="elements per cycle in each pass")
    sum_fill_cycles: Cycles = Field(description="fill and drain of the loop that sums squares")
    root_cycles: Cycles = Field(description="mean, epsilon and reciprocal root")
    scale_fill_cycles: Cycles = Field(description="fill and drain of the loop that scales and finds the abs-max")

    def _cycles(self, work: Work) -> int:
        once = self.sum_fill_cycles + self.root_cycles + self.scale_fill_cycles
        # The second pass needs the root of the first pass's sum, so the passes of a row do not overlap.
        return work["rows"] * (2 * ceil_div(work["d"], self.lanes) + once)

    def _gang(self, work: Work, servers: int) -> int:
        return self._cycles(largest_share(work, "rows", servers))

    def resources(self) -> Amounts:
        """In each lane the operators of a norm; the row that waits for its second pass has no formula."""
        return {**operators(self.lanes * operations("rmsnorm"), FP16_BITS * self.lanes), "uram": 0}
