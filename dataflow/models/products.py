"""Graphs of products alone: workloads without a network."""

from __future__ import annotations

import re

from dataflow.errors import GraphError, quoted, refuse
from dataflow.format import BF16, Format, format_named
from dataflow.graph import Graph, Tensor
from dataflow.role import Role
from kernels.limits import EXTENT

GEMM = "gemm:"  # how a product starts where it stands in the place of a model


def gemm(*, m: int, n: int, k: int, format: Format = BF16, name: str = "gemm") -> Graph:
    """The graph of x [m, k] times the transpose of a weight [n, k]: m rows, n columns, k summed over.

    Raises GraphError.

    >>> gemm(m=4, n=8, k=2).ops["gemm"].work
    Work(kind='matmul', extents=(1, 4, 2, 8), mask=None, format='bf16')
    """
    extents = {"m": m, "n": n, "k": k}
    # Checked here, so that a message names the extent; tensors would only complain about their shapes.
    refuse([
        f"gemm: {what}: a whole number >= 1, got {quoted(extent)}"
        for what, extent in extents.items()
        if type(extent) is not int or extent < 1
    ])
    graph = Graph(f"gemm {m} x {n} x {k}{'' if format == BF16 else f' {format.name}'}" if name == "gemm" else name)
    add_gemm(graph, name, m=m, n=n, k=k, format=format)
    return graph


def gemm_named(text: str) -> Graph:
    """The graph of a product that is written gemm:MxNxK, in bf16, or gemm:MxNxK:FORMAT. Raises GraphError.

    >>> str(gemm_named("gemm:4x8x2").ops["gemm"].work), str(gemm_named("gemm:4x8x2:int8").ops["gemm"].work)
    ('matmul(batch=1, m=4, k=2, n=8, bf16)', 'matmul(batch=1, m=4, k=2, n=8, int8)')
    """
    # Not int alone, which also reads the digits of other scripts, and 1_000.
    found = re.fullmatch(f"{GEMM}([0-9]{{1,10}})x([0-9]{{1,10}})x([0-9]{{1,10}})(?::([A-Za-z0-9]{{1,20}}))?", text)
    extents = [int(extent) for extent in found.groups()[:3]] if found else []
    if found is None or min(extents) < 1 or max(extents) > EXTENT:
        form = f"expected {GEMM}MxNxK with M rows, N columns and K summed over"
        such = f"such as {GEMM}128x64x256, or {GEMM}128x64x256:int8 in another format than bf16"
        raise GraphError(f"{quoted(text)}: {form}, each a whole number from 1 to {EXTENT}, {such}")
    m, n, k = extents
    try:
        return gemm(m=m, n=n, k=k, format=BF16 if found[4] is None else format_named(found[4]))
    except GraphError as error:
        raise GraphError([f"{quoted(text)}: {told}" for told in error.problems]) from None


def add_gemm(graph: Graph, name: str, *, m: int, n: int, k: int, format: Format, batch: int = 1) -> str:
    """Adds the product with its operands, `<name>.x` from outside and `<name>.w` stored; returns its name.

    With a batch both operands have one matrix for each member.
    """
    outer = (batch,) if batch > 1 else ()
    x = graph.add_tensor(Tensor(f"{name}.x", (*outer, m, k), format, Role.INPUT))
    w = graph.add_tensor(Tensor(f"{name}.w", (*outer, n, k), format, Role.WEIGHT))
    return graph.add(name, "matmul", (x, w), format=format)
