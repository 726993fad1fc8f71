"""TileTail: the last part of compute tiles, which works on what leaves them, element by element."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import Count
from archsim.units.unit import Unit, ceil_div
from dataflow.op import OP_KINDS, Work


class TileTail(Unit):
    """Lanes behind the body of each compute tile: cycles = ceil(elements / (lanes servers)).

    They do what needs one element of each operand, such as exp, sigmoid or a sum with another stream, to what their own
    tiles make, so that it passes no mesh and no memory in between. Source: SN40L (arXiv 2405.07518), whose compute
    units have a head, a body and a tail. Not modelled: expressions that a tail is too short for.
    """

    kind: Literal["tile_tail"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every task has the tails of its own tiles")
    lanes: Count = Field(description="lanes of a tail: elements a cycle")

    @property
    def does(self) -> tuple[str, ...]:
        """What an element needs no other of its row for, and the exponentials of attention."""
        return (*(name for name, kind in OP_KINDS.items() if kind.pointwise), "attention_softmax")

    def _cycles(self, work: Work) -> int:
        return self._gang(work, 1)

    def _gang(self, work: Work, servers: int) -> int:
        return ceil_div(work.elements, self.lanes * servers)
