"""The vision encoder and its connector as ops of a graph, for one video frame per sequence."""

from __future__ import annotations

from dataflow.format import format_named
from dataflow.graph import Graph, Tensor
from dataflow.models.linear import add_linear, add_quantize
from dataflow.models.model import Model
from dataflow.models.vision import Vision
from dataflow.role import Role


def add_encoder(model: Model, graph: Graph, *, batch: int) -> str:
    """Adds the ops of one frame per sequence; returns the name of its rows [batch x frame_tokens, model.hidden].

    Pixels are the tensor `vision.pixels` [batch x patches, patch_inputs]; patches pooled together are consecutive.
    """
    vision, act = _vision(model), format_named(model.activations)
    shape = (batch * vision.patches, vision.patch_inputs)
    pixels = graph.add_tensor(Tensor("vision.pixels", shape, act, Role.INPUT))
    # A convolution with a stride of one patch is a matrix product over flattened patches.
    x = _linear(model, graph, "vision.patch_embedding", _quantized(model, graph, "vision.patch_input", pixels))
    for layer in range(vision.layers):
        x = _layer(model, graph, f"vision.layer{layer}", x, batch=batch)
    x = _norm(model, graph, "vision.final_norm", x)
    x = graph.add("vision.pool", "pool", (x,), format=act, batch=batch, tokens=vision.frame_tokens)
    x = _linear(model, graph, "vision.connect_in", _quantized(model, graph, "vision.connect_input", x))
    x = graph.add("vision.connect_gelu", "gelu", (x,), format=act)
    return _linear(model, graph, "vision.connect_out", _quantized(model, graph, "vision.connect_out_input", x))


def _layer(model: Model, graph: Graph, name: str, x: str, *, batch: int) -> str:
    act, heads = format_named(model.activations), _vision(model).heads
    normed = _quantized(model, graph, f"{name}.attention_input", _norm(model, graph, f"{name}.input_norm", x))
    q, k, v = (_linear(model, graph, f"{name}.{w}", normed) for w in ("q", "k", "v"))
    # Patches have no order in time, so the attention is not causal and has no cache.
    a = graph.add(
        f"{name}.attention", "attention", (q, k, v), format=act, batch=batch, heads=heads, kv_heads=heads, causal=False
    )
    o = _linear(model, graph, f"{name}.o", _quantized(model, graph, f"{name}.o_input", a))
    x = graph.add(f"{name}.attention_residual", "add", (o, x), format=act)
    normed = _quantized(model, graph, f"{name}.ffn_input", _norm(model, graph, f"{name}.ffn_norm", x))
    up = _linear(model, graph, f"{name}.up", normed)
    h = graph.add(f"{name}.gelu", "gelu", (up,), format=act)
    down = _linear(model, graph, f"{name}.down", _quantized(model, graph, f"{name}.down_input", h))
    return graph.add(f"{name}.ffn_residual", "add", (down, x), format=act)


def _vision(model: Model) -> Vision:
    assert model.vision is not None, "a frame of a model without vision is refused before"
    return model.vision


def _norm(model: Model, graph: Graph, name: str, x: str) -> str:
    vision, act = _vision(model), format_named(model.activations)
    weight = graph.add_tensor(Tensor(f"{name}.w", (vision.hidden,), act, Role.NORM))
    return graph.add(name, "layernorm", (x, weight), format=act, eps=vision.norm_eps)


def _quantized(model: Model, graph: Graph, name: str, x: str) -> str:
    return add_quantize(graph, name, x, weights=format_named(model.weights))


def _linear(model: Model, graph: Graph, name: str, x: str) -> str:
    vision = _vision(model)
    shape = {**vision.linears, **vision.outer_linears(model.hidden)}[name.rsplit(".", 1)[1]]
    weights, act = format_named(model.weights), format_named(model.activations)
    return add_linear(graph, name, x, shape=shape, weights=weights, activations=act)
