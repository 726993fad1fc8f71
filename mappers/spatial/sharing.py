"""Sharing: how sockets work on one graph together: which tensors they gather, and which sums they exchange.

Knows which ops follow which. Does not know how long an exchange takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Ring
from dataflow.graph import Graph

TOLD = (
    "sockets share every op: products by the columns of their matrix after all-gather, or by its rows before "
    "reduce-scatter; what goes row by row by columns, and the sums of a norm over all sockets take no time",
    "the tiles of all sockets share a product along m and n alike; how sums along k are cut over sockets only changes "
    "how they round up",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sharing:
    """`gathered`: ops whose first operand every socket needs whole; `summed`: ops whose result is a sum over sockets.

    A product of what lies by columns as rows of the layer do gathers it, and makes columns of its own: heads, or those
    of a feed-forward layer. A product of these multiplies what each socket has, so that its sums are exchanged.
    """

    ring: str
    sockets: int
    gathered: frozenset[str] = field(default_factory=frozenset)
    summed: frozenset[str] = field(default_factory=frozenset)


def sharing_of(graph: Graph, design: Design) -> Sharing:
    """How the sockets of the design share the graph; with one socket nothing is exchanged.

    Raises MappingError where there are several rings, or a placed unit has no tiles for each socket.
    """
    rings = design.of_kind(Ring)
    if not rings:
        return Sharing("", 1)
    if len(rings) > 1:
        raise MappingError(f"units {' and '.join(map(repr, rings))} are rings of sockets; this mapper uses one")
    (name, ring), gathered, summed = *rings.items(), set[str](), set[str]()
    if ring.sockets == 1:
        return Sharing("", 1)
    for unit, one in design.units.items():
        if one.arbitration == "placed" and one.count % ring.sockets:
            told = f"{one.count}; '{name}' has {ring.sockets} sockets, each with as many"
            raise MappingError(told, where=f"units.{unit}.count", ways_out=(f"a multiple of {ring.sockets}",))
    own: set[str] = set()  # tensors that lie by heads, or by columns of a feed-forward layer
    for op in graph.ops.values():
        if op.kind == "matmul":
            if op.inputs[0] in own:
                summed.add(op.name)
            else:
                gathered.add(op.name)
                own.add(op.name)
        elif op.kind == "attention" or any(tensor in own for tensor in op.inputs):
            own.add(op.name)
    return Sharing(name, ring.sockets, frozenset(gathered), frozenset(summed))
