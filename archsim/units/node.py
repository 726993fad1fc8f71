"""Node: one operation of a streaming machine, connected to others by FIFOs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from archsim.quantity import Count
from archsim.units.unit import Unit, only
from dataflow.kinds.movement import NODE_KINDS
from dataflow.op import Work


class Node(Unit):
    """Nodes that fire once in `interval_cycles`, whatever they compute; `latency_cycles` later the result is visible.

    A node serves one task while a section runs; `count` says how many nodes of this unit there are. Papers count a
    latency L from the start of a firing to its visible result; latency_cycles is then L - interval_cycles.
    """

    kind: Literal["node"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has a node of its own")
    ops: Annotated[
        tuple[str, ...], BeforeValidator(lambda value: only(value, NODE_KINDS, "pattern of a node"))
    ] = Field(
        description=f"the patterns that it can do, of: {', '.join(NODE_KINDS)}", examples=[["map", "zip"]]
    )
    interval_cycles: Count = Field(description="initiation interval: cycles from one start of a firing to the next")

    @property
    def does(self) -> tuple[str, ...]:
        """The patterns listed in the design."""
        return self.ops

    def _cycles(self, work: Work) -> int:
        return self.interval_cycles
