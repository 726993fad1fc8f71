"""Lowers a decoder onto a table-lookup accelerator: the order of its calls in a layer.

Source of the order: arXiv 2510.15926. Every call starts when the one before has ended, except the load of o, which is
issued before attention, and the loads that run ahead under double buffering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from archsim.design.design import Design
from archsim.errors import MappingError
from dataflow.graph import Graph
from dataflow.models.phases import Decode, Prefill
from dataflow.op import Counts, work
from dataflow.phase import Phase
from dataflow.role import Role
from dataflow.schedule import Schedule
from dataflow.section import Section
from mappers.build.section_builder import WEIGHT_BUFFERING, Buffering
from mappers.mapper import Mapper, option
from mappers.table_lookup import attention, linear, norm_embedding_head
from mappers.table_lookup.builder import VECTOR_ELEMENTS, CallBuilder
from mappers.table_lookup.limits import problems
from mappers.table_lookup.linear import TOKEN_ELEMENTS, Linear
from mappers.table_lookup.shapes import LINEARS, AttentionOrder, Shapes

# linear -> the op that quantises its input. The engine quantises a shared input anew for each linear that reads it.
QUANTIZED = {
    "q": "attention_input", "k": "attention_input", "v": "attention_input", "o": "o_input",
    "up": "ffn_input", "gate": "ffn_input", "down": "down_input",
}  # fmt: skip
# linear -> the op that the element-wise unit does on its outputs; the others are only passed on.
FUSED = {"q": "q_rope", "k": "k_rope", "o": "attention_residual", "gate": "silu", "down": "ffn_residual"}


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

    weight_buffering: Buffering = option(WEIGHT_BUFFERING, default="single")
    attention_order: AttentionOrder = option(
        "a prefill attends newest queries first and skips masked keys, or oldest first to every key", default="reversed"
    )

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule."""
        # Depths that no stream would use are refused, not ignored.
        if design.fifos:
            raise MappingError("fifos: this mapper joins units by the design's links", ways_out=("links with a depth",))
        shapes = Shapes.of(graph, design, self.weight_buffering, self.attention_order)
        for problem in problems(shapes):
            raise problem
        return Schedule(
            graph, design.name, self.name, _sections(shapes), recomputed=_recomputed(shapes),
            approximated=APPROXIMATED, options=self.options(),
        )  # fmt: skip

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """As Mapper.step; only the tasks of attention are made, all tasks that do not change are shared."""
        shapes = Shapes.of(graph, design, self.weight_buffering, self.attention_order)
        return replace(previous, graph=graph, sections=tuple(_attended(s, shapes) for s in previous.sections))


def _attended(section: Section, shapes: Shapes) -> Section:
    """The section with its attention, if it has one, over the keys of these shapes."""
    known = {task.name: task for task in section.tasks}
    if "attention.scores" not in known:
        return section
    builder = _builder(shapes, [op.removesuffix("attention") for op in known["attention.scores"].ops])
    _attention(shapes, builder, [])
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
    return CallBuilder(
        shapes.graph, shapes.design, tuple(scopes), names=shapes.names, activation_bytes=shapes.activation_bytes
    )


def _embedding(shapes: Shapes) -> Section:
    builder = _builder(shapes, [""])
    width = shapes.graph.tensors["embedding"].shape[1]
    norm_embedding_head.embedding(builder, shapes.padded, width * shapes.activation_bytes)
    norm_embedding_head.norm(
        builder, "input_norm", op="layer0.input_norm", rows=shapes.padded, d=width, after=["embedding"]
    )
    # No layer before the first one loads its q ahead.
    if shapes.buffering == "double":
        linear.load(builder, "load q", matmul="layer0.q", weight_bytes=shapes.weight_bytes("q"), after=[])
    return builder.section("embedding")


def _lm_head(shapes: Shapes) -> Section:
    builder = _builder(shapes, [""])
    head = shapes.graph.ops["lm_head"].work
    stored = shapes.graph.tensors["lm_head.w"].bytes
    norm_embedding_head.lm_head(builder, k=head["k"], n=head["n"], weight_bytes=stored)
    return builder.section("lm_head")


def _layers(shapes: Shapes, scopes: Sequence[str], next_load: Sequence[str] = ()) -> Section:
    """The calls of a layer, and the norm with which the next one begins.

    `next_load` has the scopes of the layers whose q these layers load ahead.
    """
    builder = _builder(shapes, scopes)
    double = shapes.buffering == "double"
    chain: list[str] = []  # what the next call waits for
    for i, name in enumerate(LINEARS):
        loaded = f"load {name}"
        early = name == "o"  # issued before attention, beside which it runs
        if early and not double:
            linear.load(builder, loaded, matmul=name, weight_bytes=shapes.weight_bytes(name), after=chain)
        chain = _between(shapes, builder, name, chain)
        if not early and not double:
            linear.load(builder, loaded, matmul=name, weight_bytes=shapes.weight_bytes(name), after=chain)
            chain = []
        # Under double buffering q was loaded before this layer began.
        if not double or i:
            chain = [*chain, loaded]
        if double and i + 1 < len(LINEARS):
            ahead = LINEARS[i + 1]
            linear.load(builder, f"load {ahead}", matmul=ahead, weight_bytes=shapes.weight_bytes(ahead), after=chain)
        elif double and next_load:
            ops = tuple(f"{scope}q" for scope in next_load)
            linear.load(builder, "load next q", matmul=ops, weight_bytes=shapes.weight_bytes("q"), after=chain)
        linear.linear(builder, _linear(shapes, name), chain)
        chain = [name]
    following = (f"layer{int(scope[5:-1]) + 1}.input_norm" for scope in scopes)
    ops = tuple(op if op in shapes.graph.ops else "final_norm" for op in following)
    norm_embedding_head.norm(builder, "next_norm", op=ops, rows=shapes.padded, d=shapes.shape("q")[1], after=chain)
    return builder.section("layers" if len(scopes) > 1 else scopes[0].rstrip("."))


def _between(shapes: Shapes, builder: CallBuilder, name: str, chain: list[str]) -> list[str]:
    """Adds the calls between the linear before and this one, attention and norms; returns those to wait for."""
    if name == "o":
        _attention(shapes, builder, chain)
        chain = ["attention"]
    norm = {"o": "attention_norm", "up": "ffn_norm", "down": "down_norm"}.get(name)
    # Not every model has norms before o and before down.
    if norm and f"layer0.{norm}" in shapes.graph.ops:
        norm_embedding_head.norm(builder, norm, op=norm, rows=shapes.padded, d=shapes.shape(name)[1], after=chain)
        chain = [norm]
    return chain


def _attention(shapes: Shapes, builder: CallBuilder, after: list[str]) -> None:
    heads = {"heads": shapes.heads, "kv_heads": shapes.kv_heads, "head_dim": shapes.head_dim}
    if shapes.prefill:
        attention.prefill_attention(builder, groups=shapes.groups(), after=after, **heads)
    else:
        attention.decode_attention(builder, seen=shapes.seen, after=after, **heads)


def _linear(shapes: Shapes, name: str) -> Linear:
    n, k = shapes.shape(name)
    fused = FUSED.get(name, "")
    op = shapes.graph.ops.get(f"layer0.{fused}")
    row_bytes = n * shapes.activation_bytes
    # The second operand per row: one table for all heads, or the other input of an addition or a gate.
    operand = {"rope": shapes.head_dim * shapes.activation_bytes, "add": row_bytes, "silu_mul": row_bytes}
    return Linear(
        name=name, quantize=QUANTIZED[name], dequantize=f"{name}_scale", fused=fused, rows=shapes.padded, k=k, n=n,
        fused_work=work(op.kind, rows=1, d=VECTOR_ELEMENTS) if op else None,
        operand_bytes=operand[op.kind] if op else 0, role=Role.CACHE if name in ("k", "v") else Role.ACTIVATION,
    )  # fmt: skip


def _recomputed(shapes: Shapes) -> Counts:
    """Work beyond the graph's: rows that pad the prompt, rows quantised anew for each linear, masked scores."""
    extra: Counts = {}
    uses = {name: list(QUANTIZED.values()).count(name) for name in QUANTIZED.values()}
    # A step scores one key for a group of queries.
    scored = sum(len(group) * len(seen) for group, seen in shapes.groups()) if shapes.prefill else len(shapes.seen)
    for op in shapes.graph.ops.values():
        # The host works on the one row of the graph, without padding.
        if op.name == "lm_head":
            continue
        asked, scheduled = shapes.rows, shapes.padded * uses.get(op.name.rpartition(".")[2], 1)
        if op.kind == "attention":
            asked, scheduled = op.work.pairs, scored
        for what, n in op.work.counts().items():
            extra[what] = extra.get(what, 0) + n * scheduled // asked - n
    return {what: n for what, n in extra.items() if n}
