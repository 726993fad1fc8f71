"""Tensor, Op and Graph: what is to be computed, as a DAG of operations. No hardware, no time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from dataflow.errors import GraphError, quoted, refuse
from dataflow.format import Format
from dataflow.forms import COUNT, NAMED, TEXT, instance, misfits, optional, titled, tuple_of
from dataflow.op import OP_KINDS, Counts, Work, graph_kinds, summed, work
from dataflow.overview import Overview, Overviewed, counted, labelled
from dataflow.phase import NO_PHASE, Phase
from dataflow.role import TRAFFIC, Role, tensor_role

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named shape in a format; its role, or the name of one, says what it is to memory. Raises GraphError."""

    name: str
    shape: tuple[int, ...]
    format: Format
    role: Role = Role.ACTIVATION

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise GraphError(f"tensor {quoted(self.name)}: name is {quoted(self.name)}; text is expected")
        if type(self.role) is not Role or self.role in TRAFFIC:
            object.__setattr__(self, "role", tensor_role(self.role, f"tensor '{self.name}'"))
        if not isinstance(self.format, Format):
            told = quoted(self.format)
            raise GraphError(f"tensor '{self.name}': expected a Format such as FORMATS['fp16'], got {told}")
        # A shape without extents is that of one number; a graph has no such tensor (see add_tensor).
        shape = self.shape
        if type(shape) is not tuple and type(shape) is not list:
            raise GraphError(f"tensor '{self.name}': extents are whole numbers >= 1, got {quoted(shape)}")
        for n in shape:
            if type(n) is not int or n < 1:
                shown = ", ".join(map(quoted, shape))
                raise GraphError(f"tensor '{self.name}': extents are whole numbers >= 1, got [{shown}]")

    @property
    def bytes(self) -> int:
        """Bytes in memory, rounded up once."""
        return self.format.bytes(self.shape)


MOST_INPUTS = 8  # in an overview
NAMES = tuple_of(TEXT, "names")
OP = {
    "name": TEXT, "kind": TEXT, "inputs": NAMES, "work": instance(Work), "attributes": NAMED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: its kind, the tensors it reads and makes, its attributes and the work that follows."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    work: Work
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.inputs) is tuple and type(self.attributes) is dict and type(self.work) is Work:
            # Each step of a generation makes new ops: of the usual types only names are looked at.
            for name in (self.name, self.kind, *self.inputs, *self.attributes):
                if type(name) is not str:
                    break
            else:
                if self.outputs == (self.name,) and self.work.kind == self.kind:
                    return
        wrong = [*misfits(self, OP)]
        if not wrong and self.outputs != (self.name,):
            wrong.append(f"outputs are {quoted(self.outputs)}; a tuple of its own name is expected")
        if not wrong and self.work.kind != self.kind:
            wrong.append(f"work is of kind '{self.work.kind}'; work of kind '{self.kind}' is expected")
        refuse([f"{titled('op', self.name)}: {told}" for told in wrong])


GRAPH = {
    "name": TEXT, "phase": instance(Phase), "tokens": optional(COUNT), "weight_bytes": optional(COUNT),
    "tensors": instance(dict), "ops": instance(dict), "approximated": NAMES,
}  # fmt: skip


def _strangers(what: str, given: Mapping[str, Any], kind: type[Tensor] | type[Op]) -> Iterator[str]:
    """What of the tensors or ops by name that a graph is made with is none, or has another name."""
    if {*map(type, given.values())} <= {kind} and [one.name for one in given.values()] == [*given]:
        return
    for name, one in given.items():
        if not isinstance(one, kind):
            yield f"{what} have {quoted(name)}: {quoted(one)}; a mapping from names to {kind.__name__} is expected"
        elif one.name != name:
            yield f"{what} have {quoted(name)}: {kind.__name__} '{one.name}'; both names must be equal"


@dataclass(frozen=True, slots=True, repr=False)
class Graph(Overviewed):
    """A DAG of operations over named tensors.

    `phase` is the phase of a model that it computes, if any, `tokens` those of the phase in all sequences, and
    `weight_bytes` what the whole model takes in memory: more than this graph's own weights. `approximated` says what
    was simplified where it was read from another tool's file; reports repeat it.
    Tensors and ops are added in order of dependence (`add_tensor`, `add`). Each op is checked against the shape rule of
    its kind when it is added. Raises GraphError.
    """

    name: str
    phase: Phase = NO_PHASE
    tokens: int | None = None
    weight_bytes: int | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: dict[str, Op] = field(default_factory=dict)
    approximated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [*misfits(self, GRAPH)] or [
            *_strangers("tensors", self.tensors, Tensor), *_strangers("ops", self.ops, Op)
        ]  # fmt: skip
        if not wrong and self.ops:
            named = {*self.ops, *chain.from_iterable(map(attrgetter("inputs"), self.ops.values()))}
            wrong = [f"no tensor '{name}', which an op names" for name in sorted(named - self.tensors.keys())]
        refuse([f"{titled('graph', self.name)}: {told}" for told in wrong])

    def add_tensor(self, tensor: Tensor) -> str:
        """Adds the tensor; returns its name. Raises GraphError when the name is taken or the shape is empty."""
        if not isinstance(tensor, Tensor):
            raise GraphError(f"graph '{self.name}': expected a Tensor, got {quoted(tensor)}")
        if tensor.name in self.tensors:
            raise GraphError(f"tensor '{tensor.name}' is given twice")
        if not tensor.shape:
            raise GraphError(f"tensor '{tensor.name}': extents are whole numbers >= 1, got []")
        self.tensors[tensor.name] = tensor
        return tensor.name

    def add(
        self,
        name: str,
        kind: str,
        inputs: Sequence[str],
        *,
        format: Format,
        role: Role = Role.ACTIVATION,
        **attributes: Any,
    ) -> str:
        """Adds the op and its output tensor, which has the op's name; returns that name."""
        if not isinstance(name, str):
            raise GraphError(f"op {quoted(name)}: name is {quoted(name)}; text is expected")
        if type(inputs) not in (tuple, list) or {*map(type, inputs), type(kind)} != {str}:
            told = f"{quoted(kind)} of {quoted(inputs)}"
            raise GraphError(f"op '{name}': expected a kind and a list of names of tensors, got {told}")
        record = OP_KINDS.get(kind)
        if record is None or record.shape is None:
            raise GraphError(f"op '{name}': unknown op kind '{kind}'; op kinds are: {', '.join(graph_kinds())}")
        missing = [t for t in inputs if t not in self.tensors]
        if missing:
            raise GraphError(f"op '{name}': reads {missing}, which nothing before it makes")
        shapes = [self.tensors[t].shape for t in inputs]
        try:
            shape, extents = record.shape(shapes, attributes)
        except ValueError as error:
            raise GraphError(f"op '{name}': {kind} takes {error}, got {[list(s) for s in shapes]}") from None
        if not set(record.attributes) <= set(attributes) <= {*record.attributes, *record.optional}:
            told = ", ".join([*record.attributes, *(f"{n} if needed" for n in record.optional)])
            raise GraphError(f"op '{name}': {kind} takes the attributes ({told}), got ({', '.join(attributes)})")
        self.add_tensor(Tensor(name, shape, format, role))
        # Of formats as wide as each other, such as fp16 and bf16, the first one. By name, as most are the same.
        factors = {self.tensors[t].format.name: self.tensors[t].format.bits for t in inputs[: record.factors]}
        wide = max(factors, key=lambda name: factors[name], default="")
        item = work(kind, extents.pop("mask", None), wide, **extents)
        self.ops[name] = Op(name, kind, tuple(inputs), (name,), item, attributes)
        return name

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.ops)} ops, {len(self.tensors)} tensors>"

    def overview(self) -> Overview:
        """Its ops by kind with the counts of their work, what it reads, and what was simplified."""
        kinds: dict[str, list[Op]] = {}
        for op in self.ops.values():
            kinds.setdefault(op.kind, []).append(op)
        total, cells = self.counts(), []
        for kind, ops in {**kinds, "all": [*self.ops.values()]}.items():
            counts = summed((op.work.counts(), 1) for op in ops)
            cells.append((kind, f"{len(ops):,}", *(f"{counts.get(what, 0):,}" for what in total)))
        given = [t for t in self.tensors.values() if t.name not in self.ops and not t.role.stored]
        stored = {role: n for role, n in self.bytes_by_role().items() if role.stored}
        inputs = [f"{t.name} {list(t.shape)} {t.format.name}" for t in given[:MOST_INPUTS]]
        inputs += [f"{len(given) - MOST_INPUTS:,} more"] if len(given) > MOST_INPUTS else []
        foot = [labelled("inputs", ", ".join(inputs))] if inputs else []
        foot += [labelled("stored", ", ".join(f"{role} {n:,} B" for role, n in stored.items()))] if stored else []
        foot += [labelled("simplified", told) for told in self.approximated]
        title = " · ".join([f"graph {self.name}", *self.phase.title()])
        head = (title, f"{counted(len(self.ops), 'op')}, {counted(len(self.tensors), 'tensor')}")
        numeric = (False, True, *[True] * len(total))
        return Overview(head, ("kind", "ops", *total), tuple(cells), tuple(foot), numeric)

    def counts(self) -> Counts:
        """The counts of all ops, summed."""
        return summed((op.work.counts(), 1) for op in self.ops.values())

    @property
    def dag(self) -> networkx.DiGraph:
        """The ops as nodes, an edge for each tensor from the op that makes it to one that reads it."""
        import networkx  # here, because most commands draw no DAG and start faster without it

        dag = networkx.DiGraph()
        for op in self.ops.values():
            dag.add_node(op.name, op=op)
            for tensor in op.inputs:
                if tensor in self.ops:
                    dag.add_edge(tensor, op.name, tensor=tensor)
        return dag

    def bytes_of(self, *roles: str) -> int:
        """Bytes of all tensors with these roles; a cache counts once, as it is after the step. Raises GraphError."""
        wanted = {tensor_role(role, "bytes_of") for role in roles}
        return sum(size for role, size in self.bytes_by_role().items() if role in wanted)

    def bytes_by_role(self) -> dict[Role, int]:
        """As bytes_of, for each role that a tensor has."""
        # An append's output contains its past rows, which would otherwise count twice.
        past = {t for op in self.ops.values() if op.kind == "append" for t in op.inputs[1:]}
        found: dict[Role, int] = {}
        for tensor in self.tensors.values():
            if tensor.name not in past:
                found[tensor.role] = found.get(tensor.role, 0) + tensor.bytes
        return found

    def loads(self, op: Op) -> dict[Role, int]:
        """Bytes that the op reads from memory by role: of attention the keys that its mask lets through.

        Activations and inputs count nothing: they are not stored.
        """
        found: dict[Role, int] = {}
        reads = OP_KINDS[op.kind].reads
        for place, name in enumerate(op.inputs):
            tensor = self.in_memory(name)
            if not tensor.role.stored:
                continue
            shape = tensor.shape
            if tensor.role.gathered:  # a gather reads one row of the table for each row that it makes
                shape = self.tensors[op.name].shape
            elif reads is not None and tensor.name == name:
                shape = (reads(op.work, place), *shape[1:])
            found[tensor.role] = found.get(tensor.role, 0) + tensor.format.bytes(shape)
        return found

    def in_memory(self, name: str) -> Tensor:
        """The tensor that lies in memory where an op reads this one: behind a reshape or transpose its operand."""
        tensor = self.tensors[name]
        while not tensor.role.stored and tensor.name in self.ops:
            maker = self.ops[tensor.name]
            if maker.kind not in ("reshape", "transpose"):
                break
            tensor = self.tensors[maker.inputs[0]]
        return tensor

    def rows_not_read(self) -> dict[str, int]:
        """Rows of keys and values that no query sees, by tensor; of a cache those of its past rows, by their tensor.

        Tensors that some op reads whole are left out.
        """
        unread: dict[str, int] = {}
        whole: set[str] = set()
        for op in self.ops.values():
            if op.kind == "append":
                continue  # it is free: whoever reads its output reads its past rows
            reads = OP_KINDS[op.kind].reads
            if reads is None:
                whole.update(op.inputs)
                continue
            for place, name in enumerate(op.inputs):
                rows = self.tensors[name].shape[0] - reads(op.work, place)
                unread[name] = min(rows, unread.get(name, rows))
        found: dict[str, int] = {}
        for name in (name for name, rows in unread.items() if rows and name not in whole):
            cache = self.ops.get(name)
            past = (name,) if cache is None or cache.kind != "append" else cache.inputs[1:]
            found.update({source: min(unread[name], self.tensors[source].shape[0]) for source in past})
        return found

    def bytes_stored(self, op: Op) -> int:
        """Bytes of new cache rows that the op stores, in the format of the cache."""
        # An append is free: the op that computes the new rows, its first input, writes them into the cache.
        readers = [o for o in self.ops.values() if o.kind == "append" and o.inputs[0] == op.name]
        return sum(self.tensors[o.name].format.bytes(self.tensors[op.name].shape) for o in readers)
