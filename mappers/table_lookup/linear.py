"""The weight load and the fused linear of a table-lookup accelerator.

Each function adds the tasks of one call, joined by the FIFOs of the design; which call comes after which is said by the
caller. Source of the structure: arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.units import TableLookup, Vector
from archsim.units.unit import ceil_div
from dataflow.op import Work, work
from dataflow.pattern import Pattern, sequence
from mappers.table_lookup.builder import VECTOR_ELEMENTS, Site, link_depth

TOKEN_ELEMENTS = 2  # INT8 elements per token of the quantised FIFO; 1 is exact and takes 1.7 times as long to run


@dataclass(frozen=True, slots=True)
class Linear:
    """A fused linear: its op and those of quantisation, scaling and the element-wise step, and its shape."""

    name: str
    quantize: str
    dequantize: str
    fused: str  # the op of the element-wise unit, "" where it only passes vectors on
    rows: int
    k: int
    n: int
    fused_work: Work | None
    operand_bytes: int  # per row, read beside the accumulators; 0 where the fused step has one operand
    role: str  # of what is written: activation or cache


def load(site: Site, name: str, matmul: str | tuple[str, ...], weight_bytes: int, after: Sequence[str]) -> None:
    """Weights from memory to the buffer: bursts on every port together, then beats into the buffer."""
    site.sketch.part = "weight load"
    s, p = site.sketch, site.parts
    tile = site.loader.burst_beats * site.loader.beat_bytes
    read, runs = site.bursts(f"{name}.read", "read", weight_bytes, burst=tile, role="weight", op=matmul)
    beats = sequence(*((work("move", bytes=b), n) for b, n in runs))
    load = s.task(f"{name}.load", p.loader, s.tasks[read].firings, beats)
    s.stream(read, load, site.outstanding, token_bytes=tile, fifo=f"{p.loader} requests")
    site.call(name, after, [read], [load])


def linear(site: Site, op: Linear, after: Sequence[str]) -> None:
    """read -> quantise -> look up -> dequantise -> element-wise -> write, over all rows."""
    site.sketch.part = "linear"
    s, p, d = site.sketch, site.parts, site.design
    vectors_in, vectors_out = op.k // VECTOR_ELEMENTS, op.n // VECTOR_ELEMENTS
    read, move = _reads(site, f"{op.name}.in", p.reader, op.rows, vectors_in, "activation")
    lookup_unit: TableLookup = d.units[p.lookup]  # type: ignore[assignment]
    token = _token(site, lookup_unit)
    quantize = _quantize(site, op, token)
    site.link(move, quantize, takes=_enters(site, token))
    lookup = _lookup(site, op, lookup_unit, token, quantize)
    rows = range(op.rows)
    tile = ((rows, range(0, op.n, VECTOR_ELEMENTS)),)
    firings = op.rows * vectors_out
    scale = s.task(
        f"{op.name}.dequantise",
        p.dequantiser,
        firings,
        work("dequantize", rows=1, d=VECTOR_ELEMENTS),
        op=op.dequantize,
        tiles=tile,
    )
    drains = sequence((0, _row_firings(site, op, lookup_unit, token) - vectors_out), (1, vectors_out))
    site.link(lookup, scale, gives=drains)
    fused = s.task(
        f"{op.name}.elementwise",
        p.elementwise,
        firings,
        op.fused_work or work("copy", d=VECTOR_ELEMENTS),
        op=op.fused,
        tiles=tile if op.fused else (),
    )
    site.link(scale, fused)
    starters = [read]
    if op.operand_bytes:
        starters.append(_operand(site, op, fused, vectors_out))
    finals = [_writes(site, f"{op.name}.out", op, fused)]
    site.call(op.name, after, starters, finals)


def _block(site: Site, unit: TableLookup) -> int:
    """Inputs of a block: what the tables take, in whole index vectors of the stored layout or whole parts of one.

    The layout packs the indices of `block_inputs` weights side by side, so tables beyond a multiple of that stay idle,
    and fewer tables read a vector in equal parts.
    """
    vector = site.loader.block_inputs
    if unit.block_inputs >= vector:
        return vector * (unit.block_inputs // vector)
    groups = vector // unit.group_size
    return unit.group_size * max(t for t in range(1, unit.num_tables + 1) if groups % t == 0)


def _blocks(site: Site, unit: TableLookup, k: int) -> list[tuple[int, int]]:
    """The blocks of a row as (inputs with their padding, inputs that are real); a row is padded to whole vectors."""
    block, padded = _block(site, unit), ceil_div(k, site.loader.block_inputs) * site.loader.block_inputs
    starts = range(0, padded, block)
    return [(min(block, padded - start), min(block, k - start)) for start in starts if start < k]


def _token(site: Site, unit: TableLookup) -> int:
    """INT8 elements per token: two, so that the grain hardly shows, or as many as a cycle moves.

    It does not depend on the depth beyond what a token needs, so that a deeper FIFO holds no fewer elements in tokens.
    """
    quantiser: Vector = site.design.units[site.parts.quantiser]  # type: ignore[assignment]
    depth = link_depth(site.design, site.parts.quantiser, site.parts.lookup)
    grain = max(TOKEN_ELEMENTS, quantiser.lanes, unit.takes_per_cycle)
    return grain if grain <= depth and _block(site, unit) % grain == 0 else 1


def _enters(site: Site, token: int) -> Pattern[int]:
    """A vector is taken when its loop is entered, and none while its elements are made."""
    return sequence((1, 1), (0, VECTOR_ELEMENTS // token))


def _quantize(site: Site, op: Linear, token: int) -> str:
    groups = VECTOR_ELEMENTS // token
    return site.sketch.task(
        f"{op.name}.quantise",
        site.parts.quantiser,
        op.rows * op.k // VECTOR_ELEMENTS * (1 + groups),
        sequence((work("enter"), 1), (work("quantize", rows=1, d=token), groups)),
        op=op.quantize,
        tiles=((range(op.rows), range(0, op.k, token)),),
    )


def _row_firings(site: Site, op: Linear, unit: TableLookup, token: int) -> int:
    return sum(padded // token + 1 for padded, _ in _blocks(site, unit, op.k)) + op.n // VECTOR_ELEMENTS


def _lookup(site: Site, op: Linear, unit: TableLookup, token: int, quantize: str) -> str:
    """Per block: take its activations (zeros where the row has ended), look up every output; then drain."""
    s, p = site.sketch, site.parts
    takes: list[tuple[int, int]] = []
    works: list[tuple[Work, int]] = []
    for padded, real in _blocks(site, unit, op.k):
        takes += [(1, real // token), (0, (padded - real) // token), (0, 1)]
        works += [(work("take", d=token), padded // token), (work("ternary_matmul", m=1, k=real, n=op.n), 1)]
    takes.append((0, op.n // VECTOR_ELEMENTS))
    works.append((work("drain", d=VECTOR_ELEMENTS), op.n // VECTOR_ELEMENTS))
    lookup = s.task(
        f"{op.name}.lookup",
        p.lookup,
        op.rows * _row_firings(site, op, unit, token),
        sequence(*works),
        op=op.name,
        tiles=((range(op.rows), range(0, op.k, _block(site, unit))),),
    )
    made = sequence((0, 1), (1, VECTOR_ELEMENTS // token))
    site.link(quantize, lookup, token=token, gives=made, takes=sequence(*takes))
    return lookup


def _reads(site: Site, name: str, channel: str, rows: int, vectors: int, role: str) -> tuple[str, str]:
    """Rows of vectors from memory in bursts, then one by one over a port; the two tasks' names."""
    s = site.sketch
    read, runs = site.bursts(f"{name}.read", "read", vectors * site.vector_bytes, times=rows, role=role)
    move = s.task(f"{name}.move", channel, rows * vectors, work("move", bytes=site.vector_bytes))
    s.stream(
        read,
        move,
        site.outstanding * site.burst_bytes // site.vector_bytes,
        token_bytes=site.vector_bytes,
        gives=sequence(*((b // site.vector_bytes, n) for b, n in runs)),
        fifo=f"{channel} requests",
    )
    return read, move


def _operand(site: Site, op: Linear, fused: str, vectors_out: int) -> str:
    vectors = -(-op.operand_bytes // site.vector_bytes)
    p = site.parts
    read, move = _reads(site, f"{op.name}.operand", p.operand_reader, op.rows, vectors, "activation")
    site.link(move, fused, takes=sequence((1, vectors), (0, vectors_out - vectors)))
    return read


def _writes(site: Site, name: str, op: Linear, producer: str) -> str:
    s, p = site.sketch, site.parts
    vectors = op.n // VECTOR_ELEMENTS
    move = s.task(f"{name}.move", p.writer, op.rows * vectors, work("move", bytes=site.vector_bytes))
    site.link(producer, move)
    write, runs = site.bursts(f"{name}.write", "write", vectors * site.vector_bytes, times=op.rows, role=op.role)
    s.stream(
        move,
        write,
        site.outstanding * site.burst_bytes // site.vector_bytes,
        token_bytes=site.vector_bytes,
        takes=sequence(*((b // site.vector_bytes, n) for b, n in runs)),
        fifo=f"{p.writer} requests",
    )
    return write
