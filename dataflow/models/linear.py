"""A matrix product as ops of a graph: plain, or ternary between a quantiser and a scale.

Knows what a network's format of weights asks for. Does not know which networks there are.
"""

from __future__ import annotations

from dataflow.format import INT8, INT32, TERNARY, Format
from dataflow.graph import Graph, Tensor


def quantized(graph: Graph, name: str, x: str, *, weights: Format) -> str:
    """The name of x as a matrix of these weights reads it: INT8 rows where they are ternary, otherwise x itself."""
    return graph.add(name, "quantize", (x,), format=INT8) if weights == TERNARY else x


def linear(graph: Graph, name: str, x: str, *, shape: tuple[int, int], weights: Format, activations: Format) -> str:
    """The name of x times a matrix of `shape` (outputs n, inputs k), in the format of activations.

    The matrix is the tensor `<name>.w`. A ternary one reads x quantised, and its sums are scaled by `<name>_scale`.
    """
    w = graph.add_tensor(Tensor(f"{name}.w", shape, weights, "weight"))
    if weights != TERNARY:
        return graph.add(name, "matmul", (x, w), format=activations)
    product = graph.add(name, "ternary_matmul", (x, w), format=INT32)
    return graph.add(f"{name}_scale", "dequantize", (product,), format=activations)
