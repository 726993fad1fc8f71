"""The shapes of one lowering onto a table-lookup accelerator, read off the graph once, and what does not fit.

Knows dimensions and capacities. Does not know tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import DecodeAttention, Memory, PrefillAttention, WeightBuffer, WeightLoader
from dataflow.format import Format
from dataflow.graph import Graph
from mappers.table_lookup.builder import VECTOR_ELEMENTS, Parts
from mappers.table_lookup.limits import misfits

Buffering = Literal["single", "double"]
AttentionOrder = Literal["reversed", "plain"]

LINEARS = ("q", "k", "v", "o", "up", "gate", "down")


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph's shapes beside the design's parts. `padded` rows are what the accelerator works on."""

    graph: Graph
    design: Design
    parts: Parts
    buffering: Buffering
    order: AttentionOrder
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rows: int
    padded: int
    keys: int
    group: int
    layout: Format
    activation_bytes: int

    @staticmethod
    def of(graph: Graph, design: Design, buffering: Buffering, order: AttentionOrder) -> Plan:
        """The plan of this graph. Raises MappingError where it is no decoder or the design lacks a part."""
        missing = [f"layer0.{n}" for n in (*LINEARS, "attention") if f"layer0.{n}" not in graph.ops]
        if missing:
            raise MappingError(
                f"graph '{graph.name}' has no op {', '.join(map(repr, missing))}; a table-lookup accelerator runs "
                "decoder layers of q, k, v, attention, o, up, gate and down"
            )
        parts = Parts.of(design)
        prefill: PrefillAttention = design.units[parts.prefill]  # type: ignore[assignment]
        loader: WeightLoader = design.units[parts.loader]  # type: ignore[assignment]
        attention = graph.ops["layer0.attention"]
        rows = graph.tensors["embedding"].shape[0]
        padded = ceil(rows / prefill.query_parallel) * prefill.query_parallel
        return Plan(
            graph, design, parts, buffering, order,
            layers=sum(1 for op in graph.ops.values() if op.kind == "attention"),
            heads=attention.attributes["heads"],
            kv_heads=attention.attributes["kv_heads"],
            head_dim=attention.work["head_dim"],
            rows=rows,
            padded=padded if graph.about["phase"] == "prefill" else rows,
            keys=graph.tensors["layer0.k_cache"].shape[0],
            group=prefill.query_parallel,
            layout=loader.layout,
            activation_bytes=graph.tensors["embedding"].format.bytes((1,)),
        )  # fmt: skip

    @property
    def prefill(self) -> bool:
        """True where the graph reads a prompt, False where it makes the next token."""
        return bool(self.graph.about["phase"] == "prefill")

    def shape(self, linear: str) -> tuple[int, int]:
        """Outputs n and inputs k of a layer's matrix."""
        n, k = self.graph.tensors[f"layer0.{linear}.w"].shape
        return n, k

    def weight_bytes(self, linear: str) -> int:
        """Bytes of a layer's matrix in the loader's layout."""
        return self.layout.bytes(self.shape(linear))


def problems(plan: Plan) -> Iterator[MappingError]:
    """Everything that does not fit, the most basic first."""
    yield from misfits(plan.design, plan.parts, plan.activation_bytes)
    yield from _sequences(plan)
    yield from _weights(plan)
    yield from _widths(plan)
    yield from _buffer(plan)
    yield from _context(plan)
    yield from _capacity(plan)


def _sequences(plan: Plan) -> Iterator[MappingError]:
    batch = plan.graph.about["batch"]
    if batch != 1:
        yield MappingError(
            f"'{plan.design.name}' serves one sequence",
            resource="sequences",
            demand=batch,
            capacity=1,
            ways_out=("--batch 1", "another design"),
        )


def _weights(plan: Plan) -> Iterator[MappingError]:
    op = plan.graph.ops["layer0.q"]
    if op.kind != "ternary_matmul":
        yield MappingError(
            f"op '{op.name}' is a {op.kind} on {plan.graph.tensors['layer0.q.w'].format.name} weights; the layers' "
            f"matrices run on '{plan.parts.lookup}', which does ternary_matmul",
            ways_out=("a model with weights: ternary", "a design with a unit that does matmul"),
        )


def _widths(plan: Plan) -> Iterator[MappingError]:
    for linear in LINEARS:
        n, k = plan.shape(linear)
        for axis, extent in (("inputs", k), ("outputs", n)):
            if extent % VECTOR_ELEMENTS:
                yield MappingError(
                    f"{extent} {axis} are no multiple of {VECTOR_ELEMENTS}, the vector that FIFOs carry; the engine "
                    "pads inputs with zeros inside a block, never vectors",
                    where=f"op 'layer0.{linear}'",
                    ways_out=("a model padded to such widths",),
                )


def _buffer(plan: Plan) -> Iterator[MappingError]:
    buffer: WeightBuffer = plan.design.units[plan.parts.buffer]  # type: ignore[assignment]
    loader: WeightLoader = plan.design.units[plan.parts.loader]  # type: ignore[assignment]
    region = plan.layout.bytes((loader.region_outputs, loader.region_blocks * loader.block_inputs))
    linear = max(LINEARS, key=plan.weight_bytes)
    double = plan.buffering == "double"
    demand = (2 if double else 1) * plan.weight_bytes(linear) // region
    if demand > buffer.regions:
        path = f"units.{plan.parts.buffer}.regions"
        n, k = plan.shape(linear)
        yield MappingError(
            f"{'two matrices' if double else 'a matrix'} of {n} x {k} weights",
            where=f"op 'layer0.{linear}'",
            resource=path,
            demand=demand,
            capacity=buffer.regions,
            ways_out=(*(("weight_buffering=single",) if double else ()), f"{path}={demand}"),
        )


def _context(plan: Plan) -> Iterator[MappingError]:
    decode: DecodeAttention = plan.design.units[plan.parts.decode]  # type: ignore[assignment]
    prefill: PrefillAttention = plan.design.units[plan.parts.prefill]  # type: ignore[assignment]
    if plan.prefill:
        what, path, limit = "a prompt", f"units.{plan.parts.prefill}.max_context", prefill.max_context
    else:
        what, path, limit = "a context", f"units.{plan.parts.decode}.score_depth", decode.score_depth
    if plan.keys > limit:
        yield MappingError(
            f"{what} of {plan.keys} tokens",
            resource=path,
            demand=plan.keys,
            capacity=limit,
            ways_out=(f"at most {limit} tokens", f"{path}={plan.keys}"),
        )


def _capacity(plan: Plan) -> Iterator[MappingError]:
    memory: Memory = plan.design.units[plan.parts.memory]  # type: ignore[assignment]
    weights = plan.layers * sum(map(plan.weight_bytes, LINEARS))
    demand = weights + plan.graph.bytes_of("embedding", "lm_head", "cache", "norm")
    if demand > memory.capacity:
        yield MappingError(
            f"weights and cache of '{plan.graph.name}'",
            resource=f"units.{plan.parts.memory}.capacity",
            demand=demand,
            capacity=memory.capacity,
            dimension="bytes",
            ways_out=("a smaller model", "a larger capacity"),
        )
