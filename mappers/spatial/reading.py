"""Reading: which op reads what of which, behind free ops. Knows a graph, no hardware."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS


def behind(graph: Graph, name: str) -> str:
    """The tensor whose elements this one gives in other order, shape or part; itself where it has its own."""
    while name in graph.ops and OP_KINDS[graph.ops[name].kind].free:
        name = graph.ops[name].inputs[0]
    return name


@dataclass(slots=True)
class Reading:
    """A graph by its readers. `caches` are those that new rows of an op go to."""

    graph: Graph
    caches: dict[str, list[str]] = field(default_factory=dict)
    readers: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for op in self.graph.ops.values():
            if op.kind == "append":
                self.caches.setdefault(self.maker(op.inputs[0]), []).append(op.name)
            for name in op.inputs:
                self.readers.setdefault(name, []).append(op.name)

    def maker(self, name: str) -> str:
        """The tensor of which this one has the elements, behind free ops."""
        return behind(self.graph, name)

    def reads(self, op: Op) -> set[str]:
        """The tensors that the op reads, behind free ops."""
        return {self.maker(name) for name in op.inputs}

    def read_elsewhere(self, name: str, within: Collection[str]) -> bool:
        """True where an op other than these reads the tensor, or none does: then it is a result of the graph."""
        readers = self.readers.get(name, [])
        for reader in (self.graph.ops[one] for one in readers if self.graph.ops[one].kind != "append"):
            free = OP_KINDS[reader.kind].free
            if self.read_elsewhere(reader.name, within) if free else reader.name not in within:
                return True
        return not readers

    def rearranged(self, op: Op, before: Sequence[Op]) -> bool:
        """True where the op reads other rows than these make: some alone, or elements in another order."""
        made = {one.name for one in before}
        for name in op.inputs:
            while name in self.graph.ops and OP_KINDS[(one := self.graph.ops[name]).kind].free:
                whole = one.kind == "select" and self._rows(name) == self._rows(one.inputs[0])
                if one.kind != "append" and not whole and self.maker(name) in made:
                    return True
                name = one.inputs[0]
        return False

    def _rows(self, name: str) -> int:
        return self.graph.tensors[name].shape[0]

    def side_by_side(self, op: Op, before: Sequence[Op]) -> bool:
        """True where one operator does these: ops of one kind, none of which reads what another makes."""
        return op.kind == before[0].kind and self.reads(op).isdisjoint(one.name for one in before)

    def learned_bytes(self, op: Op) -> int:
        """Bytes of the weights that the op reads."""
        return sum(tensor.bytes for tensor in map(self.graph.in_memory, op.inputs) if tensor.role.learned)
