"""Lowers a decoder onto a table-lookup accelerator: the order of its calls in a layer, and what does not fit.

Source of the order: arXiv 2510.15926. Every call starts when the one before has ended, but for the load of o, which is
issued before attention, and for loads that run ahead under double buffering.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Literal

from archsim.design import Design
from archsim.errors import MappingError
from archsim.units import DecodeAttention, Memory, PrefillAttention, WeightBuffer, WeightLoader
from dataflow.graph import Graph, Op
from dataflow.op import Counts, Work, work
from dataflow.schedule import Schedule, Section
from mappers.lookup_calls import TOKEN_ELEMENTS, VECTOR_ELEMENTS, Calls, Linear
from mappers.lookup_parts import Parts
from mappers.sketch import Sketch

Buffering = Literal["single", "double"]
AttentionOrder = Literal["reversed", "plain"]

LINEARS = ("q", "k", "v", "o", "up", "gate", "down")
QUANTIZED = {
    "q": "attention_input",
    "k": "attention_input",
    "v": "attention_input",
    "o": "o_input",
    "up": "ffn_input",
    "gate": "ffn_input",
    "down": "down_input",
}
FUSED = {"q": "q_rope", "k": "k_rope", "o": "attention_residual", "gate": "silu", "down": "ffn_residual"}


def lower_table_lookup(
    graph: Graph, design: Design, *, weight_buffering: Buffering, attention_order: AttentionOrder
) -> Schedule:
    """The schedule of a decoder's prefill or decode on a table-lookup accelerator. Raises MappingError."""
    plan = _Plan(graph, design, weight_buffering, attention_order)
    problems = plan.problems()
    if problems:
        raise problems[0]
    return Schedule(
        graph,
        design.name,
        "temporal",
        plan.sections(),
        recomputed=plan.recomputed(),
        approximated=(
            "host: sampling, the embedding's gather, RoPE tables and the start of each call take no time of their own",
            f"INT8 FIFO: tokens of up to {TOKEN_ELEMENTS} elements, whose places are held until the last is read",
        ),
        options={"weight_buffering": weight_buffering, "attention_order": attention_order},
    )


class _Plan:
    """The shapes of one lowering, read off the graph once."""

    def __init__(self, graph: Graph, design: Design, buffering: Buffering, order: AttentionOrder) -> None:
        self.graph, self.design, self.buffering, self.order = graph, design, buffering, order
        self.parts = Parts.of(design)
        self.layers = sum(1 for name in graph.ops if name.endswith(".attention"))
        missing = [f"layer0.{n}" for n in LINEARS if f"layer0.{n}" not in graph.ops]
        if missing:
            raise MappingError(
                f"graph '{graph.name}' has no op {', '.join(map(repr, missing))}; a table-lookup accelerator runs "
                "decoder layers of q, k, v, attention, o, up, gate and down"
            )
        attention = graph.ops["layer0.attention"]
        self.heads, self.kv_heads = attention.attributes["heads"], attention.attributes["kv_heads"]
        self.head_dim = attention.work["head_dim"]
        self.keys = graph.tensors["layer0.k_cache"].shape[0]
        self.rows = graph.tensors["embedding"].shape[0]
        prefill: PrefillAttention = design.units[self.parts.prefill]  # type: ignore[assignment]
        self.group = prefill.query_parallel
        self.prefill = graph.about["phase"] == "prefill"
        self.padded = ceil(self.rows / self.group) * self.group if self.prefill else self.rows
        self.layout = design.units[self.parts.loader].layout  # type: ignore[attr-defined]
        self.activation_bytes = int(graph.tensors["embedding"].format.bits) // 8

    def shape(self, linear: str) -> tuple[int, int]:
        """Outputs n and inputs k of a layer's matrix."""
        n, k = self.graph.tensors[f"layer0.{linear}.w"].shape
        return n, k

    def weight_bytes(self, linear: str) -> int:
        """Bytes of a layer's matrix in the loader's layout."""
        return int(self.layout.bytes(self.shape(linear)))

    # What fits -----------------------------------------------------------------------------------------------------

    def problems(self) -> list[MappingError]:
        """Everything that does not fit, the most basic first."""
        return [
            p
            for p in (self._batch(), self._weights(), *self._dims(), self._buffer(), self._context(), self._capacity())
            if p
        ]

    def _batch(self) -> MappingError | None:
        batch = self.graph.about["batch"]
        if batch == 1:
            return None
        return MappingError(
            f"'{self.design.name}' serves one sequence",
            resource="sequences",
            demand=batch,
            capacity=1,
            ways_out=("--batch 1", "another design"),
        )

    def _weights(self) -> MappingError | None:
        op = self.graph.ops["layer0.q"]
        if op.kind == "ternary_matmul":
            return None
        return MappingError(
            f"op '{op.name}' is a {op.kind} on {self.graph.tensors['layer0.q.w'].format.name} weights; the layers' "
            f"matrices run on '{self.parts.lookup}', which does ternary_matmul",
            ways_out=("a model with weights: ternary", "a design with a unit that does matmul"),
        )

    def _dims(self) -> list[MappingError]:
        found = []
        for linear in LINEARS:
            n, k = self.shape(linear)
            for axis, extent in (("inputs", k), ("outputs", n)):
                if extent % VECTOR_ELEMENTS:
                    found.append(
                        MappingError(
                            f"{extent} {axis} are no multiple of {VECTOR_ELEMENTS}, the vector that the FIFOs carry; the "
                            "engine pads inputs with zeros inside a block, never vectors",
                            where=f"op 'layer0.{linear}'",
                            ways_out=("a model padded to such widths",),
                        )
                    )
        return found

    def _buffer(self) -> MappingError | None:
        buffer: WeightBuffer = self.design.units[self.parts.buffer]  # type: ignore[assignment]
        loader: WeightLoader = self.design.units[self.parts.loader]  # type: ignore[assignment]
        region = self.layout.bytes((loader.region_outputs, loader.region_blocks * loader.block_inputs))
        linear = max(LINEARS, key=self.weight_bytes)
        copies = 2 if self.buffering == "double" else 1
        demand = copies * self.weight_bytes(linear) // region
        if demand <= buffer.regions:
            return None
        single = ("weight_buffering=single",) if copies == 2 else ()
        return MappingError(
            f"{'two matrices' if copies == 2 else 'a matrix'} of {self.shape(linear)} weights",
            where=f"op 'layer0.{linear}'",
            resource=f"units.{self.parts.buffer}.regions",
            demand=demand,
            capacity=buffer.regions,
            ways_out=(*single, f"units.{self.parts.buffer}.regions={demand}"),
        )

    def _context(self) -> MappingError | None:
        decode: DecodeAttention = self.design.units[self.parts.decode]  # type: ignore[assignment]
        prefill: PrefillAttention = self.design.units[self.parts.prefill]  # type: ignore[assignment]
        if self.prefill:
            what, path, limit = "a prompt", f"units.{self.parts.prefill}.max_context", prefill.max_context
        else:
            what, path, limit = "a context", f"units.{self.parts.decode}.score_depth", decode.score_depth
        if self.keys <= limit:
            return None
        return MappingError(
            f"{what} of {self.keys} tokens",
            resource=path,
            demand=self.keys,
            capacity=limit,
            ways_out=(f"at most {limit} tokens", f"{path}={self.keys}"),
        )

    def _capacity(self) -> MappingError | None:
        memory: Memory = self.design.units[self.parts.memory]  # type: ignore[assignment]
        weights = self.layers * sum(map(self.weight_bytes, LINEARS))
        demand = weights + self.graph.bytes_of("embedding", "lm_head", "cache", "norm")
        if demand <= memory.capacity:
            return None
        return MappingError(
            f"weights and cache of '{self.graph.name}'",
            resource=f"units.{self.parts.memory}.capacity",
            demand=demand,
            capacity=memory.capacity,
            dimension="bytes",
            ways_out=("a smaller model", "a larger capacity"),
        )

    # What runs -----------------------------------------------------------------------------------------------------

    def sections(self) -> tuple[Section, ...]:
        """Embedding and first norm; the layers; the LM head."""
        names = tuple(f"layer{i}." for i in range(self.layers))
        last = self.layers - 1
        if self.buffering == "single":
            layers = [self._layer(names)]
        else:
            layers = [self._layer(names[:last], next_load=names[1:])] if last else []
            layers.append(self._layer(names[last:]))
        return (self._first(), *layers, self._head())

    def _calls(self, scopes: Sequence[str]) -> Calls:
        return Calls(self.design, self.parts, Sketch(tuple(scopes)), activation_bytes=self.activation_bytes)

    def _first(self) -> Section:
        calls = self._calls([""])
        width = self.graph.tensors["embedding"].shape[1]
        calls.embedding("embedding", "embedding", self.padded, width * self.activation_bytes)
        calls.norm("input_norm", "layer0.input_norm", self.padded, width, ["embedding"])
        if self.buffering == "double":
            calls.load("load q", "layer0.q", self.weight_bytes("q"), [])
        return calls.sketch.section("embedding")

    def _head(self) -> Section:
        calls = self._calls([""])
        head = self.graph.ops["lm_head"]
        weight_bytes = self.graph.tensors["lm_head.w"].bytes
        calls.lm_head("lm_head", "lm_head", k=head.work["k"], n=head.work["n"], weight_bytes=weight_bytes, after=[])
        return calls.sketch.section("lm_head")

    def _layer(self, scopes: Sequence[str], next_load: Sequence[str] = ()) -> Section:
        """The calls of a layer, and the norm that the next one begins with; `next_load` names who loads ahead for q."""
        calls = self._calls(scopes)
        double = self.buffering == "double"
        chain: list[str] = []  # what the next call waits for
        for i, linear in enumerate(LINEARS):
            load = f"load {linear}"
            ahead = linear == "o"  # issued before attention, where it can hide
            if ahead and not double:
                calls.load(load, linear, self.weight_bytes(linear), chain)
            chain = self._between(calls, linear, chain)
            if not ahead and not double:
                calls.load(load, linear, self.weight_bytes(linear), chain)
                chain = []
            if not double or i:
                chain = [*chain, load]
            if double:
                self._load_next(calls, i, chain, next_load)
            calls.linear(self._linear(linear), chain)
            chain = [linear]
        following = (f"layer{int(scope[5:-1]) + 1}.input_norm" for scope in scopes)
        ops = tuple(op if op in self.graph.ops else "final_norm" for op in following)
        calls.norm("next_norm", ops, self.padded, self.shape("q")[1], chain)
        return calls.sketch.section("layers" if len(scopes) > 1 else scopes[0].rstrip("."))

    def _load_next(self, calls: Calls, i: int, after: list[str], next_load: Sequence[str]) -> None:
        """The load of the matrix after this one, beside it; after down it is the q of the next layer, if there is one."""
        if i + 1 < len(LINEARS):
            following = LINEARS[i + 1]
            calls.load(f"load {following}", following, self.weight_bytes(following), after)
        elif next_load:
            calls.load("load next q", tuple(f"{scope}q" for scope in next_load), self.weight_bytes("q"), after)

    def _between(self, calls: Calls, linear: str, chain: list[str]) -> list[str]:
        """The calls between the linear before and this one: attention and norms."""
        if linear == "o":
            self._attention(calls, chain)
            chain = ["attention"]
        norm = {"o": "attention_norm", "up": "ffn_norm", "down": "down_norm"}.get(linear)
        if norm and f"layer0.{norm}" in self.graph.ops:
            calls.norm(norm, norm, self.padded, self.shape(linear)[1], chain)
            chain = [norm]
        return chain

    def _attention(self, calls: Calls, after: list[str]) -> None:
        heads = {"heads": self.heads, "kv_heads": self.kv_heads, "head_dim": self.head_dim}
        if self.prefill:
            groups = [range(start, start + self.group) for start in range(0, self.padded, self.group)]
            calls.prefill_attention(
                "attention", "attention", groups=groups, keys=self.padded, order=self.order, after=after, **heads
            )
        else:
            calls.decode_attention("attention", "attention", context=self.keys, after=after, **heads)

    def _linear(self, name: str) -> Linear:
        n, k = self.shape(name)
        fused = FUSED.get(name, "")
        op = self.graph.ops.get(f"layer0.{fused}")
        row_bytes = n * self.activation_bytes
        operand = {"rope": self.head_dim * self.activation_bytes, "add": row_bytes, "silu_mul": row_bytes}
        return Linear(
            name=name,
            quantize=QUANTIZED[name],
            matmul=name,
            dequantize=f"{name}_scale",
            fused=fused,
            rows=self.padded,
            k=k,
            n=n,
            fused_work=_vector_work(op) if op else None,
            operand_bytes=operand[op.kind] if op else 0,
            role="cache" if name in ("k", "v") else "activation",
        )

    def recomputed(self) -> Counts:
        """Work beyond the graph's: rows that pad the prompt, rows quantised anew for each linear, masked scores."""
        extra: Counts = {}
        uses = {name: list(QUANTIZED.values()).count(name) for name in QUANTIZED.values()}
        for op in self.graph.ops.values():
            times = uses.get(op.name.rpartition(".")[2], 1)
            rows, scheduled = self.rows, self.padded * times
            if op.name == "lm_head":
                continue
            if op.kind == "attention":
                rows, scheduled = op.work["pairs"], self._scored_pairs()
            for what, n in op.work.counts().items():
                extra[what] = extra.get(what, 0) + n * scheduled // rows - n
        return {what: n for what, n in extra.items() if n}

    def _scored_pairs(self) -> int:
        """Pairs that the attention engine scores: in reversed order a group of g rows skips the keys newer than its own."""
        if not self.prefill:
            return self.keys
        steps = self.padded * (self.padded + self.group) // (2 * self.group)
        if self.order == "plain":
            steps = self.padded * self.padded // self.group
        return steps * self.group


def _vector_work(op: Op) -> Work:
    """The work of this op on one vector."""
    if op.kind == "rope":
        return work("rope", rows=1, heads=1, head_dim=VECTOR_ELEMENTS)
    return work(op.kind, rows=1, d=VECTOR_ELEMENTS)
