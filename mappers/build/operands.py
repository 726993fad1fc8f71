"""What an op of a graph reads from memory and writes there beside its activations, and which unit does it."""

from __future__ import annotations

from archsim.design.design import Design
from archsim.errors import MappingError
from dataflow.graph import Graph, Op

STORED = ("weight", "lm_head", "cache", "norm")  # roles whose tensors are read whole


def unit_for(kind: str, design: Design, *, where: str) -> str:
    """The unit that does this kind, by name the first. Raises MappingError where none does."""
    for name, unit in sorted(design.units.items()):
        if kind in unit.does:
            return name
    does = "; ".join(f"{name} {' '.join(unit.does)}" for name, unit in design.units.items())
    raise MappingError(f"no unit of '{design.name}' does '{kind}'; units do: {does}", where=where)


def bytes_loaded(graph: Graph, op: Op, *, roles: tuple[str, ...] = (*STORED, "embedding")) -> int:
    """Bytes of all its inputs of these roles: all of a weight or cache, of a table the rows that are gathered."""
    return sum(loaded(graph, op, tensor) for tensor in op.inputs if graph.tensors[tensor].role in roles)


def loaded(graph: Graph, op: Op, name: str) -> int:
    """Bytes of this input that come from memory; 0 of one that another op makes."""
    tensor = graph.tensors[name]
    if tensor.role == "embedding":
        return tensor.format.bytes(graph.tensors[op.name].shape)
    return tensor.bytes if tensor.role in STORED else 0


def bytes_stored(graph: Graph, op: Op) -> int:
    """Bytes of new cache rows that this op makes."""
    readers = [o for o in graph.ops.values() if o.kind == "append" and o.inputs[0] == op.name]
    return sum(graph.tensors[o.name].format.bytes(graph.tensors[op.name].shape) for o in readers)
