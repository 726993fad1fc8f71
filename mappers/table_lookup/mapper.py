"""Lowers a decoder onto a table-lookup accelerator: the order of its calls in a layer.

Source of the order: arXiv 2510.15926. Every call starts when the one before has ended, but for the load of o, which is
issued before attention, and for loads that run ahead under double buffering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsim.design.design import Design
from dataflow.graph import Graph, Op
from dataflow.op import Counts, Work, work
from dataflow.schedule import Schedule, Section
from mappers.build.section_builder import Sketch
from mappers.table_lookup import attention as row_calls
from mappers.table_lookup import linear as linear_calls
from mappers.table_lookup.builder import VECTOR_ELEMENTS, Site
from mappers.table_lookup.linear import TOKEN_ELEMENTS, Linear
from mappers.table_lookup.shapes import LINEARS, AttentionOrder, Buffering, Plan, problems

QUANTIZED = {
    "q": "attention_input", "k": "attention_input", "v": "attention_input", "o": "o_input",
    "up": "ffn_input", "gate": "ffn_input", "down": "down_input",
}  # fmt: skip
FUSED = {"q": "q_rope", "k": "k_rope", "o": "attention_residual", "gate": "silu", "down": "ffn_residual"}


def lower_table_lookup(
    graph: Graph, design: Design, *, weight_buffering: Buffering, attention_order: AttentionOrder
) -> Schedule:
    """The schedule of a decoder's prefill or decode on a table-lookup accelerator. Raises MappingError."""
    plan = Plan.of(graph, design, weight_buffering, attention_order)
    for problem in problems(plan):
        raise problem
    return Schedule(
        graph,
        design.name,
        "temporal",
        _sections(plan),
        recomputed=_recomputed(plan),
        approximated=(
            "host: sampling, the embedding's gather, RoPE tables and the start of each call take no time of their own",
            f"INT8 FIFO: tokens of {TOKEN_ELEMENTS} elements or a cycle's, which cost 0.1 % against single ones",
            "memory queues: requests under way as on the weight ports; two rows or groups wait before attention",
        ),
        options={"weight_buffering": weight_buffering, "attention_order": attention_order},
    )


def at_context(schedule: Schedule, graph: Graph, design: Design) -> Schedule:
    """The schedule of a decode step that differs from this schedule's in its context alone.

    Equal to lowering it anew; only the tasks of attention are made, and of those the ones that are as before are shared
    with everything else. Whether the context fits is not asked again: it does where a longer one did.
    """
    sections = tuple(_attended(section, graph, design) for section in schedule.sections)
    return replace(schedule, graph=graph, sections=sections)


def _attended(section: Section, graph: Graph, design: Design) -> Section:
    """The section with its attention, if it has one, over the keys of this graph."""
    known = {task.name: task for task in section.tasks}
    if "attention.scores" not in known:
        return section
    plan = Plan.of(graph, design, "single", "reversed")  # neither is of attention over a cache
    site = _site(plan, [op.removesuffix("attention") for op in known["attention.scores"].ops])
    _attention(plan, site, [])
    for name, task in site.sketch.tasks.items():
        old = known[name]
        # What joins it to calls before and after is as it was: their tasks fire as often at any context.
        task = replace(task, takes={**old.takes, **task.takes}, gives={**old.gives, **task.gives})
        if task != old:
            known[name] = task
    return Section(
        section.name, tuple(known.values()), section.streams, section.repeat, section.orders, like=section
    )


def _sections(plan: Plan) -> tuple[Section, ...]:
    """Embedding and first norm; the layers; the LM head. Under double buffering the last layer loads nothing ahead."""
    scopes = tuple(f"layer{i}." for i in range(plan.layers))
    if plan.buffering == "single":
        return (_first(plan), _layers(plan, scopes), _head(plan))
    running = (_layers(plan, scopes[:-1], next_load=scopes[1:]),) if plan.layers > 1 else ()
    return (_first(plan), *running, _layers(plan, scopes[-1:]), _head(plan))


def _site(plan: Plan, scopes: Sequence[str]) -> Site:
    return Site(plan.design, plan.parts, Sketch(tuple(scopes)), plan.activation_bytes)


def _first(plan: Plan) -> Section:
    site = _site(plan, [""])
    width = plan.graph.tensors["embedding"].shape[1]
    row_calls.embedding(site, "embedding", "embedding", plan.padded, width * plan.activation_bytes)
    row_calls.norm(site, "input_norm", "layer0.input_norm", plan.padded, width, ["embedding"])
    if plan.buffering == "double":
        linear_calls.load(site, "load q", "layer0.q", plan.weight_bytes("q"), [])
    return site.sketch.section("embedding")


def _head(plan: Plan) -> Section:
    site = _site(plan, [""])
    head = plan.graph.ops["lm_head"].work
    stored = plan.graph.tensors["lm_head.w"].bytes
    row_calls.lm_head(site, "lm_head", "lm_head", k=head["k"], n=head["n"], weight_bytes=stored)
    return site.sketch.section("lm_head")


def _layers(plan: Plan, scopes: Sequence[str], next_load: Sequence[str] = ()) -> Section:
    """The calls of a layer, and the norm that the next one begins with; `next_load` names who loads ahead for q."""
    site = _site(plan, scopes)
    double = plan.buffering == "double"
    chain: list[str] = []  # what the next call waits for
    for i, name in enumerate(LINEARS):
        loaded = f"load {name}"
        early = name == "o"  # issued before attention, where it can hide
        if early and not double:
            linear_calls.load(site, loaded, name, plan.weight_bytes(name), chain)
        chain = _between(plan, site, name, chain)
        if not early and not double:
            linear_calls.load(site, loaded, name, plan.weight_bytes(name), chain)
            chain = []
        if not double or i:
            chain = [*chain, loaded]
        if double:
            _load_next(plan, site, i, chain, next_load)
        linear_calls.linear(site, _linear(plan, name), chain)
        chain = [name]
    following = (f"layer{int(scope[5:-1]) + 1}.input_norm" for scope in scopes)
    ops = tuple(op if op in plan.graph.ops else "final_norm" for op in following)
    row_calls.norm(site, "next_norm", ops, plan.padded, plan.shape("q")[1], chain)
    return site.sketch.section("layers" if len(scopes) > 1 else scopes[0].rstrip("."))


def _load_next(plan: Plan, site: Site, i: int, after: list[str], next_load: Sequence[str]) -> None:
    """The load of the matrix after this one, beside it; after down, the q of the next layer if there is one."""
    if i + 1 < len(LINEARS):
        following = LINEARS[i + 1]
        linear_calls.load(site, f"load {following}", following, plan.weight_bytes(following), after)
    elif next_load:
        ops = tuple(f"{scope}q" for scope in next_load)
        linear_calls.load(site, "load next q", ops, plan.weight_bytes("q"), after)


def _between(plan: Plan, site: Site, name: str, chain: list[str]) -> list[str]:
    """The calls between the linear before and this one: attention and norms. Returns what the next call waits for."""
    if name == "o":
        _attention(plan, site, chain)
        chain = ["attention"]
    norm = {"o": "attention_norm", "up": "ffn_norm", "down": "down_norm"}.get(name)
    if norm and f"layer0.{norm}" in plan.graph.ops:
        row_calls.norm(site, norm, norm, plan.padded, plan.shape(name)[1], chain)
        chain = [norm]
    return chain


def _attention(plan: Plan, site: Site, after: list[str]) -> None:
    heads = {"heads": plan.heads, "kv_heads": plan.kv_heads, "head_dim": plan.head_dim}
    if plan.prefill:
        groups = [range(start, start + plan.group) for start in range(0, plan.padded, plan.group)]
        skips = plan.order == "reversed"
        row_calls.prefill_attention(site, "attention", groups=groups, skips_masked=skips, after=after, **heads)
    else:
        row_calls.decode_attention(site, "attention", context=plan.keys, after=after, **heads)


def _linear(plan: Plan, name: str) -> Linear:
    n, k = plan.shape(name)
    fused = FUSED.get(name, "")
    op = plan.graph.ops.get(f"layer0.{fused}")
    row_bytes = n * plan.activation_bytes
    operand = {"rope": plan.head_dim * plan.activation_bytes, "add": row_bytes, "silu_mul": row_bytes}
    return Linear(
        name=name,
        quantize=QUANTIZED[name],
        dequantize=f"{name}_scale",
        fused=fused,
        rows=plan.padded,
        k=k,
        n=n,
        fused_work=_vector_work(op) if op else None,
        operand_bytes=operand[op.kind] if op else 0,
        role="cache" if name in ("k", "v") else "activation",
    )


def _vector_work(op: Op) -> Work:
    """The work of this op on one vector."""
    if op.kind == "rope":
        return work("rope", rows=1, heads=1, head_dim=VECTOR_ELEMENTS)
    return work(op.kind, rows=1, d=VECTOR_ELEMENTS)


def _recomputed(plan: Plan) -> Counts:
    """Work beyond the graph's: rows that pad the prompt, rows quantised anew for each linear, masked scores."""
    extra: Counts = {}
    uses = {name: list(QUANTIZED.values()).count(name) for name in QUANTIZED.values()}
    for op in plan.graph.ops.values():
        if op.name == "lm_head":
            continue
        asked, scheduled = plan.rows, plan.padded * uses.get(op.name.rpartition(".")[2], 1)
        if op.kind == "attention":
            asked, scheduled = op.work["pairs"], _scored_pairs(plan)
        for what, n in op.work.counts().items():
            extra[what] = extra.get(what, 0) + n * scheduled // asked - n
    return {what: n for what, n in extra.items() if n}


def _scored_pairs(plan: Plan) -> int:
    """Pairs that the engine scores; in reversed order a group of queries skips the keys newer than its own."""
    if not plan.prefill:
        return plan.keys
    groups = plan.padded // plan.group
    steps = plan.padded * (groups + 1) // 2 if plan.order == "reversed" else plan.padded * groups
    return steps * plan.group
