"""The layers of a decoder as ops of a graph, whatever the phase that they run in.

Knows the order of the ops, their names and what lies in the cache. Does not know phases, nor what a model may be asked.
"""

from __future__ import annotations

from dataflow.format import FP32, INT32, format_named
from dataflow.graph import Graph, Tensor
from dataflow.models.linear import linear, quantized
from dataflow.models.model import Model


def embedded(model: Model, graph: Graph, *, rows: int) -> str:
    """Adds the embedding of `rows` ids, sequence by sequence; returns its name."""
    graph.add_tensor(Tensor("ids", (rows,), INT32, "input"))
    graph.add_tensor(Tensor("embedding.table", (model.vocab, model.hidden), format_named(model.embedding), "embedding"))
    return graph.add("embedding", "embedding", ("ids", "embedding.table"), format=format_named(model.activations))


def decoded(model: Model, graph: Graph, x: str, *, cached: int, batch: int) -> Graph:
    """The graph with all layers on the new rows x, the final norm and the LM head of each sequence's last row.

    `cached` rows, those of all sequences together, lie in each cache before.
    """
    act = format_named(model.activations)
    for layer in range(model.layers):
        x = _layer(model, graph, f"layer{layer}", x, cached=cached, batch=batch)
    x = _norm(model, graph, "final_norm", x, model.hidden)
    x = graph.add("last_row", "select", (x,), format=act, batch=batch)
    graph.add_tensor(Tensor("lm_head.w", (model.vocab, model.hidden), format_named(model.lm_head), "lm_head"))
    graph.add("lm_head", "matmul", (x, "lm_head.w"), format=FP32)
    return graph


def _layer(model: Model, graph: Graph, name: str, x: str, *, cached: int, batch: int) -> str:
    act = format_named(model.activations)
    normed = _quantized(
        model, graph, f"{name}.attention_input", _norm(model, graph, f"{name}.input_norm", x, model.hidden)
    )
    q, k, v = (_linear(model, graph, f"{name}.{w}", normed) for w in ("q", "k", "v"))
    a = attended(model, graph, name, (q, k, v), cached=cached, batch=batch)
    if model.sub_norms:
        a = _norm(model, graph, f"{name}.attention_norm", a, model.heads * model.head_dim)
    o = _linear(model, graph, f"{name}.o", _quantized(model, graph, f"{name}.o_input", a))
    x = graph.add(f"{name}.attention_residual", "add", (o, x), format=act)
    normed = _quantized(model, graph, f"{name}.ffn_input", _norm(model, graph, f"{name}.ffn_norm", x, model.hidden))
    up, gate = (_linear(model, graph, f"{name}.{w}", normed) for w in ("up", "gate"))
    h = graph.add(f"{name}.silu", "silu_mul", (gate, up), format=act)
    if model.sub_norms:
        h = _norm(model, graph, f"{name}.down_norm", h, model.ffn)
    down = _linear(model, graph, f"{name}.down", _quantized(model, graph, f"{name}.down_input", h))
    return graph.add(f"{name}.ffn_residual", "add", (down, x), format=act)


def attended(model: Model, graph: Graph, name: str, projected: tuple[str, str, str], *, cached: int, batch: int) -> str:
    """RoPE, the caches and attention: all of a layer that depends on how many keys there are already."""
    q, k, v = projected
    act, base, past = format_named(model.activations), model.rope_base, cached // batch
    q = graph.add(f"{name}.q_rope", "rope", (q,), format=act, heads=model.heads, base=base, past=past, batch=batch)
    k = graph.add(f"{name}.k_rope", "rope", (k,), format=act, heads=model.kv_heads, base=base, past=past, batch=batch)
    keys, values = (_cached(model, graph, f"{name}.{n}_cache", new, cached, batch) for n, new in (("k", k), ("v", v)))
    return graph.add(
        f"{name}.attention",
        "attention",
        (q, keys, values),
        format=act,
        batch=batch,
        heads=model.heads,
        kv_heads=model.kv_heads,
    )


def _norm(model: Model, graph: Graph, name: str, x: str, width: int) -> str:
    act = format_named(model.activations)
    weight = graph.add_tensor(Tensor(f"{name}.w", (width,), act, "norm"))
    return graph.add(name, "rmsnorm", (x, weight), format=act, eps=model.norm_eps)


def _quantized(model: Model, graph: Graph, name: str, x: str) -> str:
    return quantized(graph, name, x, weights=format_named(model.weights))


def _linear(model: Model, graph: Graph, name: str, x: str) -> str:
    weights, act = format_named(model.weights), format_named(model.activations)
    return linear(graph, name, x, shape=model.linears[name.rsplit(".", 1)[1]], weights=weights, activations=act)


def _cached(model: Model, graph: Graph, name: str, new: str, cached: int, batch: int) -> str:
    """The cache after the step: what lay in it, then the new rows of each sequence."""
    width, stored = model.kv_heads * model.head_dim, format_named(model.cache)
    past = (graph.add_tensor(Tensor(f"{name}.past", (cached, width), stored, "cache")),) if cached else ()
    return graph.add(name, "append", (new, *past), format=stored, role="cache", batch=batch)
