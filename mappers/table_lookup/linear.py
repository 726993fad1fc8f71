"""The weight load and the fused linear of a table-lookup accelerator.

Each function adds the tasks of one call, joined by the FIFOs of the design; the caller decides the order of calls.
Source of the structure: arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.units import TableLookup, Vector
from archsim.units.unit import ceil_div
from dataflow.op import Work, work
from dataflow.pattern import sequence
from dataflow.role import Role
from mappers.table_lookup.builder import VECTOR_ELEMENTS, CallBuilder, link_depth

TOKEN_ELEMENTS = 2  # INT8 elements per token of the quantised FIFO; 1 is exact and takes 1.7 times as long to run


@dataclass(frozen=True, slots=True)
class Linear:
    """A fused linear: its op, the ops of quantisation, scaling and the element-wise step, and its shape."""

    name: str
    quantize: str
    dequantize: str
    fused: str  # the op of the element-wise unit, "" where it only passes vectors on
    rows: int
    k: int
    n: int
    fused_work: Work | None
    operand_bytes: int  # per row, read beside the accumulators; 0 where the fused step has one operand
    role: Role  # of what is written: activation or cache


def load(
    builder: CallBuilder, name: str, *, matmul: str | tuple[str, ...], weight_bytes: int, after: Sequence[str]
) -> None:
    """Weights from memory to the buffer: bursts on every port together, then beats into the buffer."""
    builder.part = "weight load"
    loader, unit = builder.names.loader, builder.loader
    # The ports are read together: one request on each brings burst_beats beats of the layout.
    tile = unit.burst_beats * unit.beat_bytes
    read, runs = builder.bursts(f"{name}.read", "read", weight_bytes, burst=tile, role=Role.WEIGHT, op=matmul)
    load = builder.task(f"{name}.load", loader, [(work("move", bytes=b), n) for b, n in runs])
    builder.stream(read, load, unit.outstanding, token_bytes=tile, fifo=f"{loader} requests")
    builder.call(name, after, first=[read], last=[load])


def linear(builder: CallBuilder, op: Linear, after: Sequence[str]) -> None:
    """read -> quantise -> look up -> dequantise -> element-wise -> write, over all rows."""
    builder.part = "linear"
    names = builder.names
    vectors_in, vectors_out = op.k // VECTOR_ELEMENTS, op.n // VECTOR_ELEMENTS
    read, move = _reads(builder, f"{op.name}.in", names.reader, op.rows, vectors_in)
    lookup_unit: TableLookup = builder.design.units[names.lookup]  # type: ignore[assignment]
    token = _token_elements(builder, lookup_unit)
    groups = VECTOR_ELEMENTS // token
    quantize = builder.task(
        f"{op.name}.quantise", names.quantiser, [(work("enter"), 1), (work("quantize", rows=1, d=token), groups)],
        firings=op.rows * vectors_in * (1 + groups), op=op.quantize, tiles=((range(op.rows), range(0, op.k, token)),),
    )  # fmt: skip
    # A vector is taken when its loop is entered; the firings that quantise its elements take none.
    builder.link(move, quantize, takes=sequence((1, 1), (0, groups)))
    lookup, firings = _lookup(builder, op, lookup_unit, token, quantize)
    tile = ((range(op.rows), range(0, op.n, VECTOR_ELEMENTS)),)
    scale = builder.task(
        f"{op.name}.dequantise", names.dequantiser, work("dequantize", rows=1, d=VECTOR_ELEMENTS),
        firings=op.rows * vectors_out, op=op.dequantize, tiles=tile,
    )  # fmt: skip
    builder.link(lookup, scale, gives=sequence((0, firings - vectors_out), (1, vectors_out)))
    fused = builder.task(
        f"{op.name}.elementwise", names.elementwise, op.fused_work or work("copy", d=VECTOR_ELEMENTS),
        firings=op.rows * vectors_out, op=op.fused, tiles=tile if op.fused else (),
    )  # fmt: skip
    builder.link(scale, fused)
    first = [read]
    if op.operand_bytes:
        # An operand shorter than a row, such as the RoPE table of one head, comes with the row's first vectors.
        vectors = ceil_div(op.operand_bytes, builder.vector_bytes)
        operand, moved = _reads(builder, f"{op.name}.operand", names.operand_reader, op.rows, vectors)
        builder.link(moved, fused, takes=sequence((1, vectors), (0, vectors_out - vectors)))
        first.append(operand)
    builder.call(op.name, after, first=first, last=[_writes(builder, op, fused)])


def _token_elements(builder: CallBuilder, unit: TableLookup) -> int:
    """INT8 elements per token: TOKEN_ELEMENTS, or as many as a cycle moves; 1 where such a token does not fit.

    A token needs room in the FIFO and must divide a block of inputs. Beyond that the depth does not matter, so that a
    deeper FIFO never holds fewer elements.
    """
    quantiser: Vector = builder.design.units[builder.names.quantiser]  # type: ignore[assignment]
    depth = link_depth(builder.design, builder.names.quantiser, builder.names.lookup)
    elements = max(TOKEN_ELEMENTS, quantiser.lanes, unit.takes_per_cycle)
    return elements if elements <= depth and _block_inputs(builder, unit) % elements == 0 else 1


def _block_inputs(builder: CallBuilder, unit: TableLookup) -> int:
    """Inputs of a block: as many as the tables take, in whole index vectors of the stored layout or equal parts of one.

    The layout packs the indices of the loader's `block_inputs` weights side by side. Tables beyond a multiple of that
    stay idle; fewer tables read a vector in equal parts.
    """
    vector = builder.loader.block_inputs
    if unit.block_inputs >= vector:
        return vector * (unit.block_inputs // vector)
    groups = vector // unit.group_size
    return unit.group_size * max(t for t in range(1, unit.num_tables + 1) if groups % t == 0)


def _lookup(builder: CallBuilder, op: Linear, unit: TableLookup, token: int, quantize: str) -> tuple[str, int]:
    """Per block: take its activations (zeros beyond the row's end), then look up every output; after all blocks, drain.

    Returns the task and its firings for a row.
    """
    block, vector = _block_inputs(builder, unit), builder.loader.block_inputs
    padded = ceil_div(op.k, vector) * vector  # a row is padded to whole index vectors
    takes: list[tuple[int, int]] = []
    works: list[tuple[Work, int]] = []
    for start in range(0, op.k, block):
        # Zeros beyond the row take the engine's time but come from no FIFO.
        inputs, real = min(block, padded - start), min(block, op.k - start)
        takes += [(1, real // token), (0, (inputs - real) // token), (0, 1)]
        works += [(work("take", d=token), inputs // token), (work("ternary_matmul", m=1, k=real, n=op.n), 1)]
    drains = op.n // VECTOR_ELEMENTS
    takes.append((0, drains))
    works.append((work("drain", d=VECTOR_ELEMENTS), drains))
    firings = sum(n for _, n in works)
    lookup = builder.task(
        f"{op.name}.lookup", builder.names.lookup, works, firings=op.rows * firings, op=op.name,
        tiles=((range(op.rows), range(0, op.k, block), range(0, op.n, op.n)),),
    )  # fmt: skip
    made = sequence((0, 1), (1, VECTOR_ELEMENTS // token))
    builder.link(quantize, lookup, token=token, gives=made, takes=sequence(*takes))
    return lookup, firings


def _reads(builder: CallBuilder, name: str, channel: str, rows: int, vectors: int) -> tuple[str, str]:
    """Rows of vectors from memory in bursts, then one vector at a time over a port; returns the names of both tasks."""
    size = builder.vector_bytes
    read, runs = builder.bursts(f"{name}.read", "read", vectors * size, times=rows, role=Role.ACTIVATION)
    move = builder.task(f"{name}.move", channel, work("move", bytes=size), firings=rows * vectors)
    builder.stream(
        read, move, builder.bytes_in_flight // size, token_bytes=size,
        gives=sequence(*((b // size, n) for b, n in runs)), fifo=f"{channel} requests",
    )  # fmt: skip
    return read, move


def _writes(builder: CallBuilder, op: Linear, producer: str) -> str:
    """The producer's vectors, one at a time over the writer's port, then in bursts to memory; returns the write."""
    size, vectors, writer = builder.vector_bytes, op.n // VECTOR_ELEMENTS, builder.names.writer
    move = builder.task(f"{op.name}.out.move", writer, work("move", bytes=size), firings=op.rows * vectors)
    builder.link(producer, move)
    write, runs = builder.bursts(f"{op.name}.out.write", "write", vectors * size, times=op.rows, role=op.role)
    builder.stream(
        move, write, builder.bytes_in_flight // size, token_bytes=size,
        takes=sequence(*((b // size, n) for b, n in runs)), fifo=f"{writer} requests",
    )  # fmt: skip
    return write
