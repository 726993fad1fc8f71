"""The layers of a decoder as ops of a graph, the same for every phase.

Knows the order of the ops, their names and the caches. Does not know phases, nor the limits of a model.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dataflow.format import FP32, INT32, format_named
from dataflow.graph import Graph, Op, Tensor
from dataflow.models.linear import add_linears, add_norm
from dataflow.models.model import Model
from dataflow.role import Role


def add_embedding(model: Model, graph: Graph, *, rows: int) -> str:
    """Adds the embedding of `rows` ids, sequence by sequence; returns the name of its output."""
    graph.add_tensor(Tensor("ids", (rows,), INT32, Role.INPUT))
    table = Tensor("embedding.table", (model.vocab, model.hidden), format_named(model.embedding), Role.EMBEDDING)
    ids_and_table = ("ids", graph.add_tensor(table))
    return graph.add("embedding", "embedding", ids_and_table, format=format_named(model.activations))


def add_decoder(model: Model, graph: Graph, x: str, *, cached: int, batch: int, every_row: bool = False) -> Graph:
    """Adds all layers on the new rows x, the final norm and the LM head on each sequence's last row; returns the graph.

    Each cache holds `cached` rows before, of all sequences together. With `every_row` the LM head is on every new row.
    """
    act = format_named(model.activations)
    ops, tensors, read = len(graph.ops), len(graph.tensors), x
    x = _layer(model, graph, "layer0", x, cached=cached, batch=batch)
    first = [*graph.ops.values()][ops:], [*graph.tensors.values()][tensors:], read
    for layer in range(1, model.layers):
        x = _same_layer(graph, *first, name=f"layer{layer}", x=x)
    x = _norm(model, graph, "final_norm", x, model.hidden)
    # Only the last row of a sequence predicts its next token.
    if not every_row:
        x = graph.add("last_row", "select", (x,), format=act, batch=batch)
    graph.add_tensor(Tensor("lm_head.w", (model.vocab, model.hidden), format_named(model.lm_head), Role.LM_HEAD))
    graph.add("lm_head", "matmul", (x, "lm_head.w"), format=FP32)
    return graph


def _layer(model: Model, graph: Graph, name: str, x: str, *, cached: int, batch: int) -> str:
    act, linears = format_named(model.activations), partial(add_linears, model, graph, name, model.linears)
    # q, k and v read the same rows, so one quantisation serves all three; another serves up and gate.
    normed = _norm(model, graph, f"{name}.input_norm", x, model.hidden)
    q, k, v = linears(normed, "attention_input", "q", "k", "v")
    a = add_attention(model, graph, name, (q, k, v), cached=cached, batch=batch)
    if model.sub_norms:
        a = _norm(model, graph, f"{name}.attention_norm", a, model.heads * model.head_dim)
    x = graph.add(f"{name}.attention_residual", "add", (*linears(a, "o_input", "o"), x), format=act)
    up, gate = linears(_norm(model, graph, f"{name}.ffn_norm", x, model.hidden), "ffn_input", "up", "gate")
    h = graph.add(f"{name}.silu", "silu_mul", (gate, up), format=act)
    if model.sub_norms:
        h = _norm(model, graph, f"{name}.down_norm", h, model.ffn)
    return graph.add(f"{name}.ffn_residual", "add", (*linears(h, "down_input", "down"), x), format=act)


def _same_layer(graph: Graph, ops: list[Op], tensors: list[Tensor], read: str, *, name: str, x: str) -> str:
    """Adds a layer on x that is as the one of these ops and tensors, which reads `read`; returns its last op's name."""
    named = {read: x}
    for tensor in tensors:
        named[tensor.name] = f"{name}.{tensor.name.partition('.')[2]}"
        graph.add_tensor(replace(tensor, name=named[tensor.name]))
    for op in ops:
        own = named[op.name]
        graph.ops[own] = Op(own, op.kind, tuple([named[one] for one in op.inputs]), (own,), op.work, op.attributes)
    return named[ops[-1].name]


def add_attention(model: Model, graph: Graph, name: str, qkv: tuple[str, str, str], *, cached: int, batch: int) -> str:
    """Adds RoPE, the caches and attention of a layer: everything in it that depends on the number of cached keys."""
    q, k, v = qkv
    # `past` is the position of each sequence's first new row, by which RoPE turns it.
    act, base, past = format_named(model.activations), model.rope_base, cached // batch
    q = graph.add(f"{name}.q_rope", "rope", (q,), format=act, heads=model.heads, base=base, past=past, batch=batch)
    k = graph.add(f"{name}.k_rope", "rope", (k,), format=act, heads=model.kv_heads, base=base, past=past, batch=batch)
    keys, values = (_cached(model, graph, f"{name}.{n}_cache", new, cached, batch) for n, new in (("k", k), ("v", v)))
    return graph.add(
        f"{name}.attention", "attention", (q, keys, values), format=act, batch=batch, heads=model.heads,
        kv_heads=model.kv_heads, window=model.window,
    )  # fmt: skip


def _norm(model: Model, graph: Graph, name: str, x: str, width: int) -> str:
    return add_norm(model, graph, name, x, kind="rmsnorm", width=width, eps=model.norm_eps)


def _cached(model: Model, graph: Graph, name: str, new: str, cached: int, batch: int) -> str:
    """Adds the cache after the step: for each sequence its past rows, then the new ones."""
    width, stored = model.kv_heads * model.head_dim, format_named(model.cache)
    # A tensor has at least one row, so the first step has no tensor of past rows.
    past = (graph.add_tensor(Tensor(f"{name}.past", (cached, width), stored, Role.CACHE)),) if cached else ()
    return graph.add(name, "append", (new, *past), format=stored, role=Role.CACHE, batch=batch)
