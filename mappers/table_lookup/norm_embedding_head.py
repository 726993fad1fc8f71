"""The norm, the embedding and the LM head of a table-lookup accelerator, row by row through memory.

Each function adds the tasks of one call; the caller decides the order of calls. Source of the structure:
arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence

from archsim.units.unit import ceil_div
from dataflow.op import work
from dataflow.role import Role
from mappers.build.pieces import chunks
from mappers.build.section_builder import OpNames
from mappers.table_lookup.builder import CallBuilder

HEAD_ROWS = 64  # outputs of the LM head per firing


def norm(builder: CallBuilder, name: str, *, op: OpNames, d: int, after: Sequence[str]) -> None:
    """A norm row by row: in bursts into the unit's row buffer, normalised, and out in bursts."""
    builder.part = "norm"
    shapes, rows = builder.shapes, builder.shapes.padded
    unit, size, burst = shapes.names.norm, d * shapes.activation_bytes, shapes.burst_bytes
    tiles = ((range(rows), range(0, d, d)),)
    norm = builder.task(name, unit, work("rmsnorm", rows=1, d=d), firings=rows, op=op, tiles=tiles)
    read, runs = builder.bursts(f"{name}.read", "read", size, times=rows, role=Role.ACTIVATION)
    write, _ = builder.bursts(f"{name}.write", "write", size, times=rows, role=Role.ACTIVATION)
    bursts = sum(n for _, n in runs)
    # The unit holds a row while it scales it; the port holds the requests under way.
    depth = bursts + shapes.loader.outstanding
    builder.stream(read, norm, depth, takes=bursts, token_bytes=burst, fifo=f"{unit} rows in")
    builder.stream(norm, write, depth, gives=bursts, token_bytes=burst, fifo=f"{unit} rows out")
    builder.call(name, after, first=[read], last=[write])


def embedding(builder: CallBuilder) -> None:
    """Copies rows of the embedding table to where the first norm reads them, both in memory."""
    builder.part = "embedding"
    shapes, read, write = builder.shapes, "embedding.read", "embedding.write"
    memory, rows, d = shapes.names.memory, shapes.padded, shapes.shape("q")[1]
    stored, size = d * shapes.element_bytes("embedding.table"), d * shapes.activation_bytes
    builder.task(read, memory, work("read", bytes=stored), firings=rows, op="embedding", role=Role.EMBEDDING)
    builder.task(write, memory, work("write", bytes=size), firings=rows, role=Role.ACTIVATION)
    builder.stream(read, write, 2, token_bytes=size, fifo="embedding rows")
    builder.call("embedding", first=[read], last=[write])


def lm_head(builder: CallBuilder) -> None:
    """The LM head as a matmul on the host, which reads its weights at the same time."""
    builder.part = "LM head"
    graph, names = builder.graph, builder.shapes.names
    whole = graph.ops["lm_head"].work
    k, n = whole["k"], whole["n"]
    runs, weight_bytes = chunks(n, HEAD_ROWS), graph.tensors["lm_head.w"].bytes
    reads = [(work("read", bytes=ceil_div(weight_bytes * rows, n)), count) for rows, count in runs]
    read = builder.task("lm_head.read", names.memory, reads, role=Role.LM_HEAD)
    tiles = ((range(1), range(1), range(0, k, k), range(0, n, HEAD_ROWS)),)
    products = [(whole.part(m=1, k=k, n=rows), count) for rows, count in runs]
    head = builder.task("lm_head", names.host, products, op="lm_head", tiles=tiles)
    builder.stream(read, head, 2, token_bytes=ceil_div(weight_bytes * HEAD_ROWS, n), fifo=f"{names.host} weights")
    builder.call("lm_head", first=[read], last=[head])
