"""The weight load and the fused linear of a table-lookup accelerator.

Each function adds the tasks of one call, joined by the FIFOs of the design; the caller decides the order of calls.
Source of the structure: arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence

from archsim.units import TableLookup, Vector
from archsim.units.unit import ceil_div
from dataflow.op import Work, work
from dataflow.pattern import sequence
from dataflow.role import Role
from mappers.build.section_builder import OpNames
from mappers.table_lookup.builder import CallBuilder
from mappers.table_lookup.shapes import VECTOR_ELEMENTS
from mappers.table_lookup.unit_names import link_between

TOKEN_ELEMENTS = 2  # INT8 elements per token of the quantised FIFO; 1 is exact and takes 1.7 times as long to run
# linear -> the op that quantises its input. The engine quantises a shared input anew for each linear that reads it.
QUANTIZED = {
    "q": "attention_input", "k": "attention_input", "v": "attention_input", "o": "o_input",
    "up": "ffn_input", "gate": "ffn_input", "down": "down_input",
}  # fmt: skip
# linear -> the op that the element-wise unit does on its outputs; the others are only passed on.
FUSED = {"q": "q_rope", "k": "k_rope", "o": "attention_residual", "gate": "silu", "down": "ffn_residual"}


def load(builder: CallBuilder, linear: str, after: Sequence[str], *, name: str = "", op: OpNames = "") -> str:
    """A linear's weights from memory to the buffer: bursts on every port together, then beats into the buffer.

    The call is named "load" and the linear, and does its op, unless it has another name and does other ops. Returns the
    name.
    """
    builder.part = "weight load"
    unit, name = builder.shapes.loader, name or f"load {linear}"
    # The ports are read together: one request on each brings burst_beats beats of the layout.
    tile, size = unit.burst_beats * unit.beat_bytes, builder.shapes.weight_bytes(linear)
    read, runs = builder.bursts(f"{name}.read", "read", size, burst=tile, role=Role.WEIGHT, op=op or linear)
    loader = builder.shapes.names.loader
    load = builder.task(f"{name}.load", loader, [(work("move", bytes=b), n) for b, n in runs])
    builder.stream(read, load, unit.outstanding, token_bytes=tile, fifo=f"{loader} requests")
    return builder.call(name, after, first=[read], last=[load])


def linear(builder: CallBuilder, name: str, after: Sequence[str]) -> None:
    """read -> quantise -> look up -> dequantise -> element-wise -> write, over all rows."""
    builder.part = "linear"
    shapes, names, rows = builder.shapes, builder.shapes.names, builder.shapes.padded
    n, k = shapes.shape(name)
    vectors_in, vectors_out = k // VECTOR_ELEMENTS, n // VECTOR_ELEMENTS
    read, move = _reads(builder, f"{name}.in", names.reader, vectors_in)
    token = _token_elements(builder)
    groups = VECTOR_ELEMENTS // token
    quantize = builder.task(
        f"{name}.quantise", names.quantiser, [(work("enter"), 1), (work("quantize", rows=1, d=token), groups)],
        firings=rows * vectors_in * (1 + groups), op=QUANTIZED[name], tiles=((range(rows), range(0, k, token)),),
    )  # fmt: skip
    # A vector is taken when its loop is entered; the firings that quantise its elements take none.
    builder.link(move, quantize, takes=sequence((1, 1), (0, groups)))
    lookup, firings = _lookup(builder, name, token, quantize)
    tile = ((range(rows), range(0, n, VECTOR_ELEMENTS)),)
    scale = builder.task(
        f"{name}.dequantise", names.dequantiser, work("dequantize", rows=1, d=VECTOR_ELEMENTS),
        firings=rows * vectors_out, op=f"{name}_scale", tiles=tile,
    )  # fmt: skip
    builder.link(lookup, scale, gives=sequence((0, firings - vectors_out), (1, vectors_out)))
    fused = FUSED.get(name, "")
    op = builder.graph.ops.get(f"layer0.{fused}")
    each = work(op.kind, rows=1, d=VECTOR_ELEMENTS) if op else work("copy", d=VECTOR_ELEMENTS)
    last = builder.task(
        f"{name}.elementwise", names.elementwise, each, firings=rows * vectors_out, op=fused,
        tiles=tile if fused else (),
    )  # fmt: skip
    builder.link(scale, last)
    first = [read]
    if op:
        # The second operand per row: the other input of an addition or a gate, or the RoPE table of one head, which
        # comes with the row's first vectors.
        size = shapes.head_bytes if op.kind == "rope" else n * shapes.activation_bytes
        vectors = ceil_div(size, shapes.vector_bytes)
        operand, moved = _reads(builder, f"{name}.operand", names.operand_reader, vectors)
        builder.link(moved, last, takes=sequence((1, vectors), (0, vectors_out - vectors)))
        first.append(operand)
    builder.call(name, after, first=first, last=[_writes(builder, name, last, vectors_out)])


def _token_elements(builder: CallBuilder) -> int:
    """INT8 elements per token: TOKEN_ELEMENTS, or as many as a cycle moves; 1 where such a token does not fit.

    A token needs room in the FIFO and must divide a block of inputs. Beyond that the depth does not matter, so that a
    deeper FIFO never holds fewer elements.
    """
    design, names = builder.design, builder.shapes.names
    quantiser: Vector = design.units[names.quantiser]  # type: ignore[assignment]
    unit: TableLookup = design.units[names.lookup]  # type: ignore[assignment]
    _, _, depth = link_between(design, names.quantiser, names.lookup)
    elements = max(TOKEN_ELEMENTS, quantiser.lanes, unit.takes_per_cycle)
    return elements if elements <= depth and _block_inputs(builder) % elements == 0 else 1


def _block_inputs(builder: CallBuilder) -> int:
    """Inputs of a block: as many as the tables take, in whole index vectors of the stored layout or equal parts of one.

    The layout packs the indices of the loader's `block_inputs` weights side by side. Tables beyond a multiple of that
    stay idle; fewer tables read a vector in equal parts.
    """
    unit: TableLookup = builder.design.units[builder.shapes.names.lookup]  # type: ignore[assignment]
    vector = builder.shapes.loader.block_inputs
    if unit.block_inputs >= vector:
        return vector * (unit.block_inputs // vector)
    groups = vector // unit.group_size
    return unit.group_size * max(t for t in range(1, unit.num_tables + 1) if groups % t == 0)


def _lookup(builder: CallBuilder, name: str, token: int, quantize: str) -> tuple[str, int]:
    """Per block: take its activations (zeros beyond the row's end), then look up every output; after all blocks, drain.

    Returns the task and its firings for a row.
    """
    shapes, (n, k) = builder.shapes, builder.shapes.shape(name)
    whole = shapes.graph.ops[f"layer0.{name}"].work
    block, vector = _block_inputs(builder), shapes.loader.block_inputs
    padded = ceil_div(k, vector) * vector  # a row is padded to whole index vectors
    takes: list[tuple[int, int]] = []
    works: list[tuple[Work, int]] = []
    # Blocks have few different works: each is made once.
    take, parts = work("take", d=token), dict[int, Work]()
    for start in range(0, k, block):
        # Zeros beyond the row take the engine's time but come from no FIFO.
        inputs, real = min(block, padded - start), min(block, k - start)
        takes += [(1, real // token), (0, (inputs - real) // token), (0, 1)]
        if real not in parts:
            parts[real] = whole.part(m=1, k=real, n=n)
        works += [(take, inputs // token), (parts[real], 1)]
    drains = n // VECTOR_ELEMENTS
    takes.append((0, drains))
    works.append((work("drain", d=VECTOR_ELEMENTS), drains))
    firings = sum(n for _, n in works)
    lookup = builder.task(
        f"{name}.lookup", shapes.names.lookup, works, firings=shapes.padded * firings, op=name,
        tiles=((range(shapes.padded), range(0, k, block), range(0, n, n)),),
    )  # fmt: skip
    made = sequence((0, 1), (1, VECTOR_ELEMENTS // token))
    builder.link(quantize, lookup, token=token, gives=made, takes=sequence(*takes))
    return lookup, firings


def _reads(builder: CallBuilder, name: str, channel: str, vectors: int) -> tuple[str, str]:
    """Rows of vectors from memory in bursts, then one vector at a time over a port; returns the names of both tasks."""
    shapes = builder.shapes
    size, rows = shapes.vector_bytes, shapes.padded
    read, runs = builder.bursts(f"{name}.read", "read", vectors * size, times=rows, role=Role.ACTIVATION)
    move = builder.task(f"{name}.move", channel, work("move", bytes=size), firings=rows * vectors)
    given = sequence(*((b // size, n) for b, n in runs))
    depth, fifo = shapes.bytes_in_flight // size, f"{channel} requests"
    builder.stream(read, move, depth, token_bytes=size, gives=given, fifo=fifo)
    return read, move


def _writes(builder: CallBuilder, linear: str, producer: str, vectors: int) -> str:
    """The producer's vectors, one at a time over the writer's port, then in bursts to memory; returns the write."""
    shapes, writer, rows = builder.shapes, builder.shapes.names.writer, builder.shapes.padded
    role, size = Role.ACTIVATION, shapes.vector_bytes
    if linear in ("k", "v"):
        role, size = Role.CACHE, VECTOR_ELEMENTS * shapes.cache_bytes
    move = builder.task(f"{linear}.out.move", writer, work("move", bytes=size), firings=rows * vectors)
    builder.link(producer, move)
    write, runs = builder.bursts(f"{linear}.out.write", "write", vectors * size, times=rows, role=role)
    taken = sequence(*((b // size, n) for b, n in runs))
    depth, fifo = shapes.bytes_in_flight // size, f"{writer} requests"
    builder.stream(move, write, depth, token_bytes=size, takes=taken, fifo=fifo)
    return write
