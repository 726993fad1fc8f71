"""Graphs of products alone: workloads without a network."""

from __future__ import annotations

from dataflow.errors import quoted, refuse
from dataflow.format import BF16, Format
from dataflow.graph import Graph, Tensor
from dataflow.role import Role


def gemm(*, m: int, n: int, k: int, format: Format = BF16, name: str = "gemm") -> Graph:
    """The graph of x [m, k] times the transpose of a weight [n, k]: m rows, n columns, k summed over.

    Raises GraphError.

    >>> gemm(m=4, n=8, k=2).ops["gemm"].work
    Work(kind='matmul', extents=(1, 4, 2, 8), mask=None)
    """
    extents = {"m": m, "n": n, "k": k}
    # Checked here, so that a message names the extent; tensors would only complain about their shapes.
    refuse([
        f"gemm: {what}: a whole number >= 1, got {quoted(extent)}"
        for what, extent in extents.items()
        if type(extent) is not int or extent < 1
    ])
    graph = Graph(f"gemm {m} x {n} x {k}" if name == "gemm" else name)
    add_gemm(graph, name, m=m, n=n, k=k, format=format)
    return graph


def add_gemm(graph: Graph, name: str, *, m: int, n: int, k: int, format: Format) -> str:
    """Adds the product with its operands, `<name>.x` from outside and `<name>.w` stored; returns its name."""
    x = graph.add_tensor(Tensor(f"{name}.x", (m, k), format, Role.INPUT))
    w = graph.add_tensor(Tensor(f"{name}.w", (n, k), format, Role.WEIGHT))
    return graph.add(name, "matmul", (x, w), format=format)
