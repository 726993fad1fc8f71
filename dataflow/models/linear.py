"""Norms and linear layers of a model as ops: a plain matmul, or a ternary one between quantisation and scaling.

Knows which ops a format of weights needs. Does not know the order of layers.
"""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.format import INT8, INT32, TERNARY, format_named
from dataflow.graph import Graph, Tensor
from dataflow.models.model import Model
from dataflow.role import Role


def add_norm(model: Model, graph: Graph, name: str, x: str, *, kind: str, width: int, eps: float) -> str:
    """Adds a norm of this kind over rows of `width`, with its scales; returns its name."""
    act = format_named(model.activations)
    weight = graph.add_tensor(Tensor(f"{name}.w", (width,), act, Role.NORM))
    return graph.add(name, kind, (x, weight), format=act, eps=eps)


def add_linears(
    model: Model, graph: Graph, scope: str, matrices: Mapping[str, tuple[int, int]], x: str, quantized: str, *names: str
) -> list[str]:
    """Adds x times each named matrix of `matrices` (outputs n, inputs k), in the format of activations.

    Returns the names of the products. The matrix of `q` is the tensor `<scope>.q.w`. Ternary ones read x quantised
    once to INT8 rows, as `<scope>.<quantized>`, and their sums are scaled by `<scope>.q_scale`.
    """
    weights, act = format_named(model.weights), format_named(model.activations)
    if weights == TERNARY:
        x = graph.add(f"{scope}.{quantized}", "quantize", (x,), format=INT8)
    products = []
    for matrix in names:
        name = f"{scope}.{matrix}"
        w = graph.add_tensor(Tensor(f"{name}.w", matrices[matrix], weights, Role.WEIGHT))
        if weights != TERNARY:
            products.append(graph.add(name, "matmul", (x, w), format=act))
            continue
        # INT32, because a sum of more than 258 INT8 activations overflows 16 bits.
        product = graph.add(name, "ternary_matmul", (x, w), format=INT32)
        products.append(graph.add(f"{name}_scale", "dequantize", (product,), format=act))
    return products
