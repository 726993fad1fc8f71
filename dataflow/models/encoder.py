"""The vision encoder and its connector as ops of a graph, for one video frame per sequence."""

from __future__ import annotations

from functools import partial

from dataflow.format import format_named
from dataflow.graph import Graph, Tensor
from dataflow.models.linear import add_linears, add_norm
from dataflow.models.model import Model
from dataflow.models.vision import Vision
from dataflow.role import Role


def add_encoder(model: Model, graph: Graph, vision: Vision, *, batch: int) -> str:
    """Adds the ops of one frame per sequence; returns the name of its rows [batch x frame_tokens, model.hidden].

    Pixels are the tensor `vision.pixels` [batch x patches, patch_inputs]; patches pooled together are consecutive.
    """
    act = format_named(model.activations)
    linears = partial(add_linears, model, graph, "vision", vision.outer_linears(model.hidden))
    shape = (batch * vision.patches, vision.patch_inputs)
    pixels = graph.add_tensor(Tensor("vision.pixels", shape, act, Role.INPUT))
    # A convolution with a stride of one patch is a matrix product over flattened patches.
    (x,) = linears(pixels, "patch_input", "patch_embedding")
    for layer in range(vision.layers):
        x = _layer(model, graph, vision, f"vision.layer{layer}", x, batch=batch)
    x = _norm(model, graph, vision, "vision.final_norm", x)
    x = graph.add("vision.pool", "pool", (x,), format=act, batch=batch, tokens=vision.frame_tokens)
    x = graph.add("vision.connect_gelu", "gelu", linears(x, "connect_input", "connect_in"), format=act)
    (x,) = linears(x, "connect_out_input", "connect_out")
    return x


def _layer(model: Model, graph: Graph, vision: Vision, name: str, x: str, *, batch: int) -> str:
    act, heads = format_named(model.activations), vision.heads
    linears = partial(add_linears, model, graph, name, vision.linears)
    q, k, v = linears(_norm(model, graph, vision, f"{name}.input_norm", x), "attention_input", "q", "k", "v")
    # Patches have no order in time, so the attention is not causal and has no cache.
    a = graph.add(
        f"{name}.attention", "attention", (q, k, v), format=act, batch=batch, heads=heads, kv_heads=heads, causal=False
    )
    x = graph.add(f"{name}.attention_residual", "add", (*linears(a, "o_input", "o"), x), format=act)
    up = linears(_norm(model, graph, vision, f"{name}.ffn_norm", x), "ffn_input", "up")
    h = graph.add(f"{name}.gelu", "gelu", up, format=act)
    return graph.add(f"{name}.ffn_residual", "add", (*linears(h, "down_input", "down"), x), format=act)


def _norm(model: Model, graph: Graph, vision: Vision, name: str, x: str) -> str:
    return add_norm(model, graph, name, x, kind="layernorm", width=vision.hidden, eps=vision.norm_eps)
