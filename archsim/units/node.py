"""Node: one operation of a streaming machine, joined to others by FIFOs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from archsim.quantity import Count
from archsim.units.unit import Unit
from dataflow.op import NODE_KINDS, Work


def _node_kinds(value: Any) -> Any:
    for kind in value if isinstance(value, list | tuple) else ():
        if isinstance(kind, str) and kind not in NODE_KINDS:
            raise ValueError(f"{kind!r} is no pattern of a node; those are: {', '.join(NODE_KINDS)}")
    return value


class Node(Unit):
    """Nodes that fire once in `interval_cycles`, whatever they compute; `latency_cycles` later the result is visible.

    A node serves one task for as long as a section runs; `count` says how many nodes of this unit there are. With
    latency L as papers count it, from the start of a firing to its visible result, latency_cycles is L less the
    interval.
    """

    kind: Literal["node"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has a node of its own")
    ops: Annotated[tuple[str, ...], BeforeValidator(_node_kinds)] = Field(
        description=f"the patterns that it does, of: {', '.join(NODE_KINDS)}"
    )
    interval_cycles: Count = Field(description="cycles from the start of a firing to the next")

    @property
    def does(self) -> tuple[str, ...]:
        """The patterns listed in the design."""
        return self.ops

    def _cycles(self, work: Work) -> int:
        return self.interval_cycles
