"""The calls of a table-lookup accelerator: weight load, linear, norm, prefill and decode attention, LM head.

Each function adds the tasks of one call to a sketch, joined by the FIFOs of the design, and returns nothing; which call
comes after which is said by the caller. Source of the structure: arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from archsim.design import Design
from archsim.errors import MappingError
from archsim.units import DecodeAttention, TableLookup, Vector, WeightLoader
from dataflow.op import Work, work
from dataflow.schedule import Pattern, sequence
from mappers.lookup_parts import Parts, link_depth
from mappers.sketch import Sketch, chunks

VECTOR_ELEMENTS = 16  # elements that the float path moves at once: 256 bit of FP16 (arXiv 2510.15926)
TOKEN_ELEMENTS = 4  # INT8 elements per token of the quantised FIFO, where depth and block are multiples of it
HEAD_ROWS = 64  # outputs of the LM head per firing


@dataclass(frozen=True, slots=True)
class Linear:
    """A fused linear: the op names of quantisation, matmul, scaling and the element-wise step, and its shape."""

    name: str
    quantize: str
    matmul: str
    dequantize: str
    fused: str  # the op of the element-wise unit, "" where it only passes vectors on
    rows: int
    k: int
    n: int
    fused_work: Work | None
    operand_bytes: int  # per row, read beside the accumulators; 0 where the fused step has one operand
    role: str  # of what is written: activation or cache


class Calls:
    """Adds calls to a sketch on one design. Holds only what every call needs: the design, its parts and the sketch."""

    def __init__(self, design: Design, parts: Parts, sketch: Sketch, *, activation_bytes: int) -> None:
        self.design, self.parts, self.sketch = design, parts, sketch
        self.loader: WeightLoader = design.units[parts.loader]  # type: ignore[assignment]
        self.vector_bytes = VECTOR_ELEMENTS * activation_bytes
        self.activation_bytes = activation_bytes
        # Requests of activations and cache rows: a burst of one port.
        self.burst_bytes = self.loader.burst_beats * self.loader.port_bits // 8
        self.outstanding = self.loader.outstanding

    def load(self, name: str, matmul: str | tuple[str, ...], weight_bytes: int, after: Sequence[str]) -> None:
        """Weights from memory to the buffer: bursts on every port together, then beats into the buffer."""
        self.sketch.part = "weight load"
        s, p = self.sketch, self.parts
        tile = self.loader.burst_beats * self.loader.beat_bytes
        runs = chunks(weight_bytes, tile)
        firings = sum(n for _, n in runs)
        read = s.task(
            f"{name}.read",
            p.memory,
            firings,
            sequence(*((work("read", bytes=b), n) for b, n in runs)),
            role="weight",
            op=matmul,
        )
        load = s.task(f"{name}.load", p.loader, firings, sequence(*((work("move", bytes=b), n) for b, n in runs)))
        s.stream(read, load, self.outstanding, token_bytes=tile)
        self._call(name, after, [read], [load])

    def linear(self, op: Linear, after: Sequence[str]) -> None:
        """read -> quantise -> look up -> dequantise -> element-wise -> write, over all rows."""
        self.sketch.part = "linear"
        s, p, d = self.sketch, self.parts, self.design
        vectors_in, vectors_out = op.k // VECTOR_ELEMENTS, op.n // VECTOR_ELEMENTS
        read, move = self._reads(f"{op.name}.in", p.reader, op.rows, vectors_in, "activation")
        lookup_unit: TableLookup = d.units[p.lookup]  # type: ignore[assignment]
        token = self._token(lookup_unit)
        quantize = self._quantize(op, token)
        s.stream(
            move,
            quantize,
            link_depth(d, p.reader, p.quantiser),
            token_bytes=self.vector_bytes,
            takes=self._enters(token),
        )
        lookup = self._lookup(op, lookup_unit, token, quantize)
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
        drains = sequence((0, self._row_firings(op, lookup_unit, token) - vectors_out), (1, vectors_out))
        s.stream(lookup, scale, link_depth(d, p.lookup, p.dequantiser), gives=drains)
        fused = s.task(
            f"{op.name}.elementwise",
            p.elementwise,
            firings,
            op.fused_work or work("copy", d=VECTOR_ELEMENTS),
            op=op.fused,
            tiles=tile if op.fused else (),
        )
        s.stream(scale, fused, link_depth(d, p.dequantiser, p.elementwise), token_bytes=self.vector_bytes)
        starters = [read]
        if op.operand_bytes:
            starters.append(self._operand(op, fused, vectors_out))
        finals = [self._writes(f"{op.name}.out", op, fused)]
        self._call(op.name, after, starters, finals)

    def _token(self, unit: TableLookup) -> int:
        return gcd(TOKEN_ELEMENTS, unit.block_inputs, link_depth(self.design, self.parts.quantiser, self.parts.lookup))

    def _enters(self, token: int) -> Pattern[int]:
        """A vector is taken when its loop is entered, and none while its elements are made."""
        return sequence((1, 1), (0, VECTOR_ELEMENTS // token))

    def _quantize(self, op: Linear, token: int) -> str:
        unit: Vector = self.design.units[self.parts.quantiser]  # type: ignore[assignment]
        if unit.loop_elements != VECTOR_ELEMENTS:
            raise MappingError(
                f"unit '{self.parts.quantiser}': its loop runs over a vector of {VECTOR_ELEMENTS} "
                f"elements, loop_elements is {unit.loop_elements}"
            )
        groups = VECTOR_ELEMENTS // token
        return self.sketch.task(
            f"{op.name}.quantise",
            self.parts.quantiser,
            op.rows * op.k // VECTOR_ELEMENTS * (1 + groups),
            sequence((work("enter"), 1), (work("quantize", rows=1, d=token), groups)),
            op=op.quantize,
            tiles=((range(op.rows), range(0, op.k, token)),),
        )

    def _row_firings(self, op: Linear, unit: TableLookup, token: int) -> int:
        blocks = -(-op.k // unit.block_inputs)
        return blocks * (unit.block_inputs // token + 1) + op.n // VECTOR_ELEMENTS

    def _lookup(self, op: Linear, unit: TableLookup, token: int, quantize: str) -> str:
        """Per block: take its activations (zeros where the row has ended), look up every output; then drain."""
        s, p, block = self.sketch, self.parts, unit.block_inputs
        takes: list[tuple[int, int]] = []
        works: list[tuple[Work, int]] = []
        for start in range(0, op.k, block):
            real = min(block, op.k - start)
            takes += [(1, real // token), (0, (block - real) // token), (0, 1)]
            works += [(work("take", d=token), block // token), (work("ternary_matmul", m=1, k=real, n=op.n), 1)]
        takes.append((0, op.n // VECTOR_ELEMENTS))
        works.append((work("drain", d=VECTOR_ELEMENTS), op.n // VECTOR_ELEMENTS))
        lookup = s.task(
            f"{op.name}.lookup",
            p.lookup,
            op.rows * self._row_firings(op, unit, token),
            sequence(*works),
            op=op.matmul,
            tiles=((range(op.rows), range(0, op.k, block)),),
        )
        s.stream(
            quantize,
            lookup,
            link_depth(self.design, p.quantiser, p.lookup) // token,
            token_bytes=token,
            gives=sequence((0, 1), (1, VECTOR_ELEMENTS // token)),
            takes=sequence(*takes),
        )
        return lookup

    def _reads(self, name: str, channel: str, rows: int, vectors: int, role: str) -> tuple[str, str]:
        """Rows of vectors from memory in bursts, then one by one over a port; the two tasks' names."""
        s = self.sketch
        runs = chunks(vectors * self.vector_bytes, self.burst_bytes)
        read = s.task(
            f"{name}.read",
            self.parts.memory,
            rows * sum(n for _, n in runs),
            sequence(*((work("read", bytes=b), n) for b, n in runs)),
            role=role,
        )
        move = s.task(f"{name}.move", channel, rows * vectors, work("move", bytes=self.vector_bytes))
        s.stream(
            read,
            move,
            self.outstanding * self.burst_bytes // self.vector_bytes,
            token_bytes=self.vector_bytes,
            gives=sequence(*((b // self.vector_bytes, n) for b, n in runs)),
        )
        return read, move

    def _operand(self, op: Linear, fused: str, vectors_out: int) -> str:
        vectors = -(-op.operand_bytes // self.vector_bytes)
        p = self.parts
        read, move = self._reads(f"{op.name}.operand", p.operand_reader, op.rows, vectors, "activation")
        self.sketch.stream(
            move,
            fused,
            link_depth(self.design, p.operand_reader, p.elementwise),
            takes=sequence((1, vectors), (0, vectors_out - vectors)),
            token_bytes=self.vector_bytes,
        )
        return read

    def _writes(self, name: str, op: Linear, producer: str) -> str:
        s, p = self.sketch, self.parts
        vectors = op.n // VECTOR_ELEMENTS
        move = s.task(f"{name}.move", p.writer, op.rows * vectors, work("move", bytes=self.vector_bytes))
        s.stream(producer, move, link_depth(self.design, p.elementwise, p.writer), token_bytes=self.vector_bytes)
        runs = chunks(vectors * self.vector_bytes, self.burst_bytes)
        write = s.task(
            f"{name}.write",
            p.memory,
            op.rows * sum(n for _, n in runs),
            sequence(*((work("write", bytes=b), n) for b, n in runs)),
            role=op.role,
        )
        s.stream(
            move,
            write,
            self.outstanding * self.burst_bytes // self.vector_bytes,
            token_bytes=self.vector_bytes,
            takes=sequence(*((b // self.vector_bytes, n) for b, n in runs)),
        )
        return write

    def norm(self, name: str, op: str | tuple[str, ...], rows: int, d: int, after: Sequence[str]) -> None:
        """Row by row: in bursts into the unit's row buffer, normed, and out in bursts."""
        self.sketch.part = "norm"
        s, p = self.sketch, self.parts
        runs = chunks(d * self.activation_bytes, self.burst_bytes)
        bursts = sum(n for _, n in runs)
        norm = s.task(name, p.norm, rows, work("rmsnorm", rows=1, d=d), op=op, tiles=((range(rows), range(0, d, d)),))
        reads = sequence(*((work("read", bytes=b), n) for b, n in runs))
        writes = sequence(*((work("write", bytes=b), n) for b, n in runs))
        read = s.task(f"{name}.read", p.memory, rows * bursts, reads, role="activation")
        write = s.task(f"{name}.write", p.memory, rows * bursts, writes, role="activation")
        # The unit holds a row while it scales it; the requests under way are held by the port.
        s.stream(read, norm, bursts + self.outstanding, takes=bursts, token_bytes=self.burst_bytes)
        s.stream(norm, write, bursts + self.outstanding, gives=bursts, token_bytes=self.burst_bytes)
        self._call(name, after, [read], [write])

    def _rows_read(
        self, name: str, consumer: str, rows: int, row_bytes: int, takes: Pattern[int], depth: int, role: str
    ) -> str:
        read = self.sketch.task(name, self.parts.memory, rows, work("read", bytes=row_bytes), role=role)
        self.sketch.stream(read, consumer, depth, takes=takes, token_bytes=row_bytes)
        return read

    def prefill_attention(
        self,
        name: str,
        op: str,
        *,
        groups: Sequence[range],
        keys: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        order: str,
        after: Sequence[str],
    ) -> None:
        """Groups of queries against key and value rows, one row per step; masked rows are skipped in reversed order."""
        self.sketch.part = "attention"
        s, p = self.sketch, self.parts
        size = len(groups[0])
        spans = [range(g.start, keys) if order == "reversed" else range(keys) for g in groups]
        step = work("attention", pairs=size, heads=heads, head_dim=head_dim)
        drain = work("drain", d=size * heads * head_dim)
        runs = [(item, n) for span in spans for item, n in ((step, len(span)), (drain, 1))]
        tiles = tuple((range(g.start, g.stop, size), span) for g, span in zip(groups, spans, strict=True))
        attend = s.task(name, p.prefill, sum(n for _, n in runs), sequence(*runs), op=op, tiles=tiles)
        row, kv_row = (n * head_dim * self.activation_bytes for n in (heads, kv_heads))
        steps = sum(len(span) for span in spans)
        each_step = sequence(*((t, n) for span in spans for t, n in ((1, len(span)), (0, 1))))
        first_steps = sequence(*((t, n) for span in spans for t, n in ((size, 1), (0, len(span)))))
        in_flight = max(1, self.outstanding * self.burst_bytes // kv_row)
        reads = [
            self._rows_read(f"{name}.q.read", attend, len(groups) * size, row, first_steps, 2 * size, "activation")
        ]
        for tensor in ("k", "v"):
            reads.append(
                self._rows_read(f"{name}.{tensor}.read", attend, steps, kv_row, each_step, 1 + in_flight, "cache")
            )
        write = s.task(f"{name}.write", p.memory, len(groups) * size, work("write", bytes=row), role="activation")
        s.stream(
            attend,
            write,
            2 * size,
            token_bytes=row,
            gives=sequence(*((t, n) for span in spans for t, n in ((0, len(span)), (size, 1)))),
        )
        self._call(name, after, reads, [write])

    def decode_attention(
        self, name: str, op: str, *, context: int, heads: int, kv_heads: int, head_dim: int, after: Sequence[str]
    ) -> None:
        """One query in two passes over the cache; the raw scores of all cached tokens wait in between."""
        self.sketch.part = "attention"
        s, p = self.sketch, self.parts
        unit: DecodeAttention = self.design.units[p.decode]  # type: ignore[assignment]
        extents = {"pairs": 1, "heads": heads, "head_dim": head_dim}
        tiles = ((range(1), range(context)),)
        scores = s.task(f"{name}.scores", p.decode, context, work("attention_scores", **extents), op=op, tiles=tiles)
        drain = work("drain", d=heads * head_dim)
        values = s.task(
            f"{name}.values",
            p.decode,
            context + 1,
            sequence((work("attention_values", **extents), context), (drain, 1)),
            op=op,
            tiles=tiles,
        )
        row, kv_row = (n * head_dim * self.activation_bytes for n in (heads, kv_heads))
        each_row = sequence((1, context), (0, 1))
        s.stream(scores, values, unit.score_depth, takes=each_row, token_bytes=heads * self.activation_bytes)
        in_flight = max(1, self.outstanding * self.burst_bytes // kv_row)
        first = sequence((1, 1), (0, context - 1))
        reads = [
            self._rows_read(f"{name}.q.read", scores, 1, row, first, 1, "activation"),
            self._rows_read(f"{name}.k.read", scores, context, kv_row, sequence((1, context)), 1 + in_flight, "cache"),
            self._rows_read(f"{name}.v.read", values, context, kv_row, each_row, 1 + in_flight, "cache"),
        ]
        write = s.task(f"{name}.write", p.memory, 1, work("write", bytes=row), role="activation")
        s.stream(values, write, 1, gives=sequence((0, context), (1, 1)), token_bytes=row)
        self._call(name, after, reads, [write])

    def embedding(self, name: str, op: str, rows: int, row_bytes: int) -> None:
        """Rows of the table from memory to where the first norm reads them."""
        self.sketch.part = "embedding"
        s, p = self.sketch, self.parts
        read = s.task(f"{name}.read", p.memory, rows, work("read", bytes=row_bytes), op=op, role="embedding")
        write = s.task(f"{name}.write", p.memory, rows, work("write", bytes=row_bytes), role="activation")
        s.stream(read, write, 2, token_bytes=row_bytes)
        self._call(name, [], [read], [write])

    def lm_head(self, name: str, op: str, *, k: int, n: int, weight_bytes: int, after: Sequence[str]) -> None:
        """The host's matmul, its weights read beside it."""
        self.sketch.part = "LM head"
        s, p = self.sketch, self.parts
        runs = chunks(n, HEAD_ROWS)
        firings = sum(count for _, count in runs)
        read = s.task(
            f"{name}.read",
            p.memory,
            firings,
            sequence(*((work("read", bytes=weight_bytes * r // n), c) for r, c in runs)),
            role="lm_head",
        )
        head = s.task(
            name,
            p.host,
            firings,
            sequence(*((work("matmul", m=1, k=k, n=r), c) for r, c in runs)),
            op=op,
            tiles=((range(1), range(0, n, HEAD_ROWS)),),
        )
        s.stream(read, head, 2, token_bytes=weight_bytes * HEAD_ROWS // n)
        self._call(name, after, [read], [head])

    def _call(self, name: str, after: Sequence[str], starters: list[str], finals: list[str]) -> None:
        self.sketch.finals[name] = finals
        for call in after:
            self.sketch.after(call, starters)
