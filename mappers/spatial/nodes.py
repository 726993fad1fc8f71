"""Nodes: attention laid out in space with elements as tokens: the expressions of an algorithm, a node each, and FIFOs.

Knows which tokens each node takes and gives, row by row, and which FIFO is long: one that crosses a barrier of the
algorithm, where the complete row must be held. Does not know how long anything takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Node
from dataflow.cascade import CASCADES, Cascade, passes
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Counts, work
from dataflow.schedule import Schedule
from dataflow.section import Section
from dataflow.task import UNLIMITED
from kernels.limits import LISTED, TASKS, beyond
from mappers.build.checks import check_fits, check_no_placement
from mappers.build.section_builder import SectionBuilder
from mappers.spatial.pipeline import Pipeline

Form = Literal["memory_free", "naive", "scaled", "reordered", "reordered_without_max"]
Heads = Literal["parallel", "sequential"]
Edge = tuple[str, str]  # of a cascade: the producer and the consumer

RESIDENT = "q, k and v lie beside the nodes that read them: loading them takes no time and no FIFO"


def lower_on_nodes(graph: Graph, design: Design, *, form: Form, heads: Heads, mapper: str) -> Schedule:
    """The schedule, a section for each attention op: they run one after another on the same nodes.

    A token is one score or one vector of values. Masked keys are skipped. Raises MappingError for ops other than
    attention, tensors that lie in memory, nodes that the design lacks or has twice, and FIFOs without a depth.
    """
    ops = [op for op in graph.ops.values() if not OP_KINDS[op.kind].free]
    _check_graph(graph, ops)
    if design.links:
        raise MappingError("links: this mapper joins any two nodes by a FIFO", ways_out=("depths under fifos",))
    cascade = CASCADES[form]
    units, entries = _units(cascade, design), _entries(cascade, design)
    check_no_placement(design, "paths", "home", "place")
    for op in ops:
        # Both are asked before a pipeline is made.
        pipelines = _lanes(op) if heads == "parallel" else 1
        _check_count(op, units, pipelines, design)
        _check_listed(op, len(units), pipelines)
    streamed = {op.name: list(_pipelines(op, cascade, heads)) for op in ops}
    return Schedule(
        graph, design.name, mapper,
        tuple(_section(graph, design, op, streamed[op.name], entries, units) for op in ops),
        recomputed=_recomputed(graph, streamed), options={"form": form, "heads": heads},
        approximated=(RESIDENT, *_unbounded(design, entries)),
    )  # fmt: skip


def _check_graph(graph: Graph, ops: list[Op]) -> None:
    foreign = [op for op in ops if op.kind != "attention"]
    if foreign:
        kinds = ", ".join(dict.fromkeys(op.kind for op in foreign))
        raise MappingError(
            f"this mapper streams attention ops only; {len(foreign)} of {len(ops)} ops are others ({kinds})",
            where=f"op '{foreign[0].name}'",
            ways_out=("--phase attention, which is the attention of a layer alone", "another design or mapper"),
        )
    stored = [tensor.name for tensor in graph.tensors.values() if tensor.role.multiplied]
    if not ops or stored:
        what = f"tensor '{stored[0]}' lies in memory, which this machine has none of" if ops else "no attention op"
        raise MappingError(what, where=f"graph '{graph.name}'", ways_out=("--phase attention",))


def _entries(cascade: Cascade, design: Design) -> dict[Edge, str]:
    """For each edge of the cascade the entry of `fifos` that gives its depth."""
    # Between two passes the complete row waits, so only an edge that crosses to a later pass needs a long FIFO.
    crossings = passes(cascade).crossings
    classes = {edge: "long" if edge in crossings else "short" for edge in _edges(cascade)}
    known = {*map(_name, classes), "short", "long"}
    problems = [
        f"fifos.{name}: the {cascade.name} form has no such FIFO; {guess(name, sorted(known), otherwise='there are')}"
        for name in design.fifos
        if name not in known
    ]
    # A FIFO's own entry comes before that of its class.
    entries = {edge: _name(edge) if _name(edge) in design.fifos else kind for edge, kind in classes.items()}
    problems += [
        f"fifos: no depth for the {entry} FIFO '{_name(edge)}'; give fifos.{entry}"
        for edge, entry in entries.items()
        if entry not in design.fifos
    ]
    if problems:
        raise MappingError("\n".join(problems))
    return entries


def _edges(cascade: Cascade) -> list[Edge]:
    """The edges (producer, consumer) of the cascade, with the one to the sink that takes the result."""
    # Operands are no edges: they lie beside the nodes that read them.
    made = {e.name for e in cascade.expressions}
    edges = [(read, e.name) for e in cascade.expressions for read in e.reads if read in made]
    return [*edges, (cascade.expressions[-1].name, "sink")]


def _name(edge: Edge) -> str:
    return f"{edge[0]} > {edge[1]}"


def _units(cascade: Cascade, design: Design) -> dict[str, str]:
    """For each expression and the sink, the unit whose nodes do its pattern; MappingError if none or several do."""
    patterns = {**{e.name: cascade.node(e) for e in cascade.expressions}, "sink": "sink"}
    nodes = design.of_kind(Node)
    doing = {p: [name for name, node in nodes.items() if p in node.does] for p in dict.fromkeys(patterns.values())}
    for pattern, names in doing.items():
        if len(names) > 1:
            raise MappingError(
                f"units {', '.join(map(repr, names))} of '{design.name}' all do {pattern}; one unit does a pattern"
            )
    lacking = [pattern for pattern, names in doing.items() if not names]
    if lacking:
        does = "; ".join(f"{name} {' '.join(node.does)}" for name, node in nodes.items()) or "none"
        raise MappingError(f"no node of '{design.name}' does {', '.join(lacking)}; nodes do: {does}")
    return {task: doing[pattern][0] for task, pattern in patterns.items()}


def _check_count(op: Op, units: dict[str, str], pipelines: int, design: Design) -> None:
    # Tasks are placed: every node of every pipeline takes a server of its own.
    for unit in dict.fromkeys(units.values()):
        each, nodes, path = list(units.values()).count(unit), design.units[unit].count, f"units.{unit}.count"
        demand = pipelines * each
        # Sequential heads help only where one pipeline fits.
        ways = (*(["heads=sequential"] if each <= nodes else []), f"{path}={demand}")
        what = f"{pipelines} pipelines, each with nodes of its own"
        check_fits(what, path, demand, nodes, *ways, where=f"op '{op.name}'")


def _lanes(op: Op) -> int:
    """Heads of all sequences."""
    return op.work["batch"] * op.work["heads"]


def _check_listed(op: Op, nodes: int, pipelines: int) -> None:
    """Raises MappingError where the section would be too long to write down."""
    queries, keys, mask = op.work["queries"], op.work["keys"], op.work.mask
    assert mask is not None
    # Where all queries see the same keys, one tile of a task stands for all of them.
    alike = mask.seen(0, queries=queries, keys=keys) == mask.seen(queries - 1, queries=queries, keys=keys)
    listed = queries if alike else nodes * _lanes(op) * queries
    found = (
        beyond(nodes * pipelines, TASKS, of="tasks to write down", instead="take fewer heads, or heads=sequential"),
        beyond(listed, LISTED, of="rows to write down", instead="take fewer queries or heads"),
    )
    if any(found):
        raise MappingError("; ".join(filter(None, found)), where=f"op '{op.name}'")


def _pipelines(op: Op, cascade: Cascade, how: Heads) -> Iterator[Pipeline]:
    """The pipelines of an attention op: one for each head of each sequence, or one for all."""
    # Rows of all sequences are stacked, and all sequences have the same mask.
    batch, heads, queries, keys, mask = *(op.work[e] for e in ("batch", "heads", "queries", "keys")), op.work.mask
    assert mask is not None
    seen = tuple(mask.seen(i, queries=queries, keys=keys) for i in range(queries))
    widths = (op.work["qk_dim"], op.work["v_dim"])
    if how == "sequential" or batch * heads == 1:
        yield Pipeline("", cascade, *widths, (range(batch), range(heads)), seen)
        return
    for sequence in range(batch):
        for head in range(heads):
            where = f"sequence {sequence} head {head}: " if batch > 1 else f"head {head}: "
            yield Pipeline(where, cascade, *widths, (range(sequence, sequence + 1), range(head, head + 1)), seen)


def _section(
    graph: Graph, design: Design, op: Op, pipelines: list[Pipeline], entries: dict[Edge, str], units: dict[str, str]
) -> Section:
    builder = SectionBuilder(graph, design, ("",), part="attention")
    # The width of every FIFO follows from the format of the queries: a node's values are no tensors of the graph.
    scalar = graph.tensors[op.inputs[0]].format
    for pipeline in pipelines:
        for e in pipeline.cascade.expressions:
            builder.task(
                pipeline.prefix + e.name, units[e.name], pipeline.work(e), firings=pipeline.firings(e.name),
                op=op.name, tiles=pipeline.tiles(e.name), expression=e.name,
            )  # fmt: skip
        # The sink takes a result a row and computes nothing; without it the last node would have no consumer.
        nothing = work("sink", mac=0, exp=0, flop=0)
        sink = f"{pipeline.prefix}sink"
        builder.task(sink, units["sink"], nothing, firings=pipeline.rows, op=op.name, expression="sink")
        for (source, reader), entry in entries.items():
            builder.stream(
                pipeline.prefix + source, pipeline.prefix + reader, design.fifos[entry], gives=pipeline.gives(source),
                takes=pipeline.takes(source, reader), name=pipeline.prefix + _name((source, reader)),
                token_bytes=scalar.bytes((pipeline.width(source),)),
            )  # fmt: skip
    return builder.section(op.name)


def _recomputed(graph: Graph, pipelines: dict[str, list[Pipeline]]) -> Counts:
    """Work of the algorithm beyond the graph's, which has the products and one exponential for each score."""
    done: Counts = {}
    for pipeline in chain(*pipelines.values()):
        for e in pipeline.cascade.expressions:
            times = pipeline.firings(e.name)
            for what, n in pipeline.counts(e).items():
                done[what] = done.get(what, 0) + n * times
    asked = graph.counts()
    return {what: n - asked.get(what, 0) for what, n in done.items() if n != asked.get(what, 0)}


def _unbounded(design: Design, entries: dict[Edge, str]) -> Iterator[str]:
    for entry in dict.fromkeys(entry for entry in entries.values() if design.fifos[entry] == UNLIMITED):
        names = [f"'{_name(edge)}'" for edge, its_entry in entries.items() if its_entry == entry]
        verb = "fill" if len(names) > 1 else "fills"
        yield f"fifos.{entry} of '{design.name}' is assumed inf: {', '.join(names)} never {verb}"
