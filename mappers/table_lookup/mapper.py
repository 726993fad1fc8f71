"""Lowers a decoder onto a table-lookup accelerator: the order of its calls in a layer.

Source of the order: arXiv 2510.15926. Every call starts when the one before has ended, except the load of o, which is
issued before attention, and the loads that run ahead under double buffering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from archsim.design.design import Design
from dataflow.graph import Graph
from dataflow.models.phases import Decode, Prefill
from dataflow.op import Counts
from dataflow.phase import Phase
from dataflow.role import Role
from dataflow.schedule import Schedule
from dataflow.section import Section
from mappers.build.checks import check_no_fifos, check_no_placement
from mappers.build.layers import Group, layers_of
from mappers.build.lying import lay
from mappers.mapper import Mapper, option
from mappers.table_lookup.attention import attention
from mappers.table_lookup.builder import CallBuilder
from mappers.table_lookup.limits import check_limits
from mappers.table_lookup.linear import QUANTIZED, TOKEN_ELEMENTS, linear, load
from mappers.table_lookup.norm_embedding_head import embedding, lm_head, norm
from mappers.table_lookup.shapes import LINEARS, AttentionOrder, Buffering, Shapes

APPROXIMATED = (
    "on the host, sampling, the embedding's gather, RoPE tables and launches take no time; the LM head does",
    f"INT8 FIFO: {TOKEN_ELEMENTS} elements, or all that move in a cycle, are one token; "
    "the time changes by 0.1 % against single ones",
    "every memory port has as many requests in flight as a weight port; "
    "the queue before attention holds two groups of queries",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLookupPipeline(Mapper):
    """A decoder's prefill or decode as fused linears on a table-lookup accelerator.

    Raises MappingError with the resource, the demand, the capacity and the ways out.
    """

    name: ClassVar[str] = "table_lookup"
    phases: ClassVar[tuple[type[Phase], ...] | None] = (Prefill, Decode)

    weight_buffering: Buffering = option(
        "a matrix is loaded before its linear, or during the linear before, which needs room for two", default="single"
    )
    attention_order: AttentionOrder = option(
        "a prefill attends newest queries first and skips masked keys, or oldest first to every key", default="reversed"
    )

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule."""
        check_no_fifos(design)
        shapes = Shapes.of(graph, design, self.weight_buffering, self.attention_order)
        check_no_placement(design, "place")
        lies = check_limits(shapes)
        groups, homes = layers_of(graph.ops.values()), (shapes.names.memory,)
        activations = lay(graph, design, groups, lies, homes=lambda _: homes).most()
        return Schedule(
            graph, design.name, self.name, _sections(shapes), recomputed=_recomputed(shapes, groups),
            holds={**lies, **activations},
            approximated=APPROXIMATED, options=self.options(),
        )  # fmt: skip

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; only the tasks of attention are made, all tasks that do not change are shared."""
        shapes = Shapes.of(graph, design, self.weight_buffering, self.attention_order)
        sections = tuple(_attended(s, shapes) for s in previous.sections)
        holds = {**previous.holds, (shapes.names.memory, str(Role.CACHE)): graph.bytes_of(Role.CACHE)}
        return replace(previous, graph=graph, sections=sections, holds=holds)


def _attended(section: Section, shapes: Shapes) -> Section:
    """The section with its attention, if it has one, over the keys of these shapes."""
    known = {task.name: task for task in section.tasks}
    if "attention.scores" not in known:
        return section
    builder = _builder(shapes, [op.removesuffix("attention") for op in known["attention.scores"].ops])
    attention(builder, [])
    changed = {}
    for name, task in builder.tasks.items():
        old = known[name]
        # Streams from the calls before and to those after stay: the tasks at their ends fire as often at any context.
        task = replace(task, takes={**old.takes, **task.takes}, gives={**old.gives, **task.gives})
        if task != old:
            changed[name] = task
    return section.with_tasks(changed)


def _sections(shapes: Shapes) -> tuple[Section, ...]:
    """Embedding and first norm; the layers; the LM head."""
    scopes = tuple(f"layer{i}." for i in range(shapes.layers))
    if shapes.buffering == "single":
        return (_embedding(shapes), _layers(shapes, scopes), _lm_head(shapes))
    # Under double buffering the last layer is a section of its own, because it loads no q for a next one.
    running = (_layers(shapes, scopes[:-1], next_load=scopes[1:]),) if shapes.layers > 1 else ()
    return (_embedding(shapes), *running, _layers(shapes, scopes[-1:]), _lm_head(shapes))


def _builder(shapes: Shapes, scopes: Sequence[str]) -> CallBuilder:
    return CallBuilder(shapes.graph, shapes.design, tuple(scopes), shapes=shapes)


def _embedding(shapes: Shapes) -> Section:
    builder = _builder(shapes, [""])
    embedding(builder)
    norm(builder, "input_norm", op="layer0.input_norm", d=shapes.shape("q")[1], after=["embedding"])
    # No layer before the first one loads its q ahead.
    if shapes.buffering == "double":
        load(builder, "q", [], op="layer0.q")
    return builder.section("embedding")


def _lm_head(shapes: Shapes) -> Section:
    builder = _builder(shapes, [""])
    lm_head(builder)
    return builder.section("lm_head")


def _layers(shapes: Shapes, scopes: Sequence[str], next_load: Sequence[str] = ()) -> Section:
    """The calls of a layer, and the norm with which the next one begins.

    `next_load` has the scopes of the layers whose q these layers load ahead.
    """
    builder = _builder(shapes, scopes)
    double = shapes.buffering == "double"
    chain: list[str] = []  # what the next call waits for
    for name, following in zip(LINEARS, (*LINEARS[1:], ""), strict=True):
        # The load of o is issued before attention, beside which it runs.
        early = [load(builder, name, chain)] if name == "o" and not double else []
        chain = [*_between(builder, name, chain), *early]
        if not double and not early:
            chain = [load(builder, name, chain)]
        if double and name != "q":  # q was loaded before this layer began
            chain.append(f"load {name}")
        if double and following:
            load(builder, following, chain)
        elif double and next_load:
            load(builder, "q", chain, name="load next q", op=tuple(f"{scope}q" for scope in next_load))
        linear(builder, name, chain)
        chain = [name]
    norms = (f"layer{int(scope[5:-1]) + 1}.input_norm" for scope in scopes)
    ops = tuple(op if op in shapes.graph.ops else "final_norm" for op in norms)
    norm(builder, "next_norm", op=ops, d=shapes.shape("q")[1], after=chain)
    return builder.section("layers" if len(scopes) > 1 else scopes[0].rstrip("."))


def _between(builder: CallBuilder, name: str, chain: list[str]) -> list[str]:
    """Adds the calls between the linear before and this one, attention and norms; returns those to wait for."""
    if name == "o":
        attention(builder, chain)
        chain = ["attention"]
    before = {"o": "attention_norm", "up": "ffn_norm", "down": "down_norm"}.get(name)
    # Not every model has norms before o and before down.
    if before and f"layer0.{before}" in builder.graph.ops:
        norm(builder, before, op=before, d=builder.shapes.shape(name)[1], after=chain)
        chain = [before]
    return chain


def _recomputed(shapes: Shapes, groups: Sequence[Group]) -> Counts:
    """Work beyond the graph's: rows that pad the prompt, rows quantised anew for each linear, masked scores."""
    extra: Counts = {}
    uses = {name: list(QUANTIZED.values()).count(name) for name in QUANTIZED.values()}
    # A step scores one key for a group of queries.
    scored = sum(len(group) * len(seen) for group, seen in shapes.groups()) if shapes.prefill else len(shapes.seen)
    for op, layers in ((op, len(scopes)) for ops, scopes in groups for op in ops):
        # The host works on the one row of the graph, without padding.
        if op.name == "lm_head":
            continue
        asked, scheduled = shapes.rows, shapes.padded * uses.get(op.name.rpartition(".")[2], 1)
        if op.kind == "attention":
            asked, scheduled = op.work.pairs, scored
        for what, n in op.work.counts().items():
            extra[what] = extra.get(what, 0) + layers * (n * scheduled // asked - n)
    return {what: n for what, n in extra.items() if n}
