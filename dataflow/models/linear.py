"""A linear layer as ops of a graph: a plain matmul, or a ternary one between quantisation and scaling.

Knows which ops a format of weights needs. Does not know networks.
"""

from __future__ import annotations

from dataflow.format import INT8, INT32, TERNARY, Format
from dataflow.graph import Graph, Tensor
from dataflow.role import Role


def add_quantize(graph: Graph, name: str, x: str, *, weights: Format) -> str:
    """Quantises x to INT8 rows if the weights are ternary; returns the name of what the matrix reads, x otherwise."""
    return graph.add(name, "quantize", (x,), format=INT8) if weights == TERNARY else x


def add_linear(graph: Graph, name: str, x: str, *, shape: tuple[int, int], weights: Format, activations: Format) -> str:
    """Adds x times a matrix of `shape` (outputs n, inputs k), in the format of activations; returns its name.

    The matrix is the tensor `<name>.w`. A ternary one reads x quantised, and its sums are scaled by `<name>_scale`.
    """
    w = graph.add_tensor(Tensor(f"{name}.w", shape, weights, Role.WEIGHT))
    if weights != TERNARY:
        return graph.add(name, "matmul", (x, w), format=activations)
    # INT32, because a sum of more than 258 INT8 activations overflows 16 bits.
    product = graph.add(name, "ternary_matmul", (x, w), format=INT32)
    return graph.add(f"{name}_scale", "dequantize", (product,), format=activations)
