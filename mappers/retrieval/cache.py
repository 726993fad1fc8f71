"""CacheChoice: what a selection keeps of a graph's cache in this step, in the units that tasks are made of.

Tokens here are those of one KV head: its key and its value of one token, `token_bytes` together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.selection.selection import Selection, Use
from archsim.selection.step import LayerStep, layer_step
from dataflow.graph import Graph, Op
from dataflow.mask import causal_pairs
from dataflow.op import Counts, Work, work
from mappers.build.section_builder import chunks
from mappers.retrieval.tiers import Tiers, region_bytes

Prediction = Literal["this", "previous"]
Layout = Literal["clustered", "scattered"]

FETCHES = 32  # firings in which a layer's fetch is told, so that attention begins on the first while others come
USES: dict[str, Use] = {"frame": "frame", "question": "question"}  # of a phase; any other is text


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """The attentions whose caches are chosen from, the choice of one layer and sequence, and how a cache is laid out.

    `attentions` are alike, one in each layer. `cached` tokens of each of `batch` sequences lie in the cache before the
    step, of which the newest `resident` are in the main memory; `rows` are new, and then `resident_after` are there.
    """

    attentions: tuple[Op, ...]
    batch: int
    rows: int
    cached: int
    heads: int
    kv_heads: int
    head_dim: int
    token_bytes: int
    resident: int
    resident_after: int
    use: Use
    step: LayerStep
    prediction: Prediction
    layout: Layout

    @property
    def layers(self) -> int:
        """Layers that have a cache."""
        return len(self.attentions)

    @property
    def evicted(self) -> int:
        """Tokens of a sequence, the oldest of those resident, that leave the main memory in this step."""
        return self.rows - (self.resident_after - self.resident)

    @property
    def known_ahead(self) -> bool:
        """True where what is kept is known before the layer begins: predicted, or by a rule that asks no query."""
        return self.prediction == "previous" or not (self.step.works or self.step.metadata_read_bytes)

    @property
    def layer_token_bytes(self) -> int:
        """Bytes of a token's keys and values in one layer, all KV heads."""
        return self.kv_heads * self.token_bytes

    @property
    def misses(self) -> int:
        """Tokens of a layer and sequence that are kept and not resident."""
        return self.step.kept - self.step.hits

    @property
    def requests(self) -> int:
        """Requests in which what is missed comes, of one sequence."""
        return self.step.groups if self.layout == "clustered" else self.step.runs

    @property
    def near_requests(self) -> int:
        """Requests in which the main memory gives what is kept and resident, of one sequence."""
        return self.step.near_groups if self.layout == "clustered" else self.step.near_runs

    def is_for(self, op: Op) -> bool:
        """True of one of these attentions."""
        return any(op is one for one in self.attentions)

    def new_work(self) -> Work:
        """Attention of the new rows among themselves, all sequences and heads."""
        pairs = self.batch * causal_pairs(self.rows, self.rows)
        return work("attention", pairs=pairs, heads=self.heads, head_dim=self.head_dim)

    def kept_work(self, tokens: int) -> Work:
        """Attention of a sequence's rows to so many tokens, each seen by the query heads of its KV head."""
        return work("attention", pairs=self.rows * tokens, heads=self.heads // self.kv_heads, head_dim=self.head_dim)

    def fetches(self) -> Iterator[tuple[int, int, int]]:
        """What is missed by all sequences, in pieces: (requests of a piece, tokens of a request, how many such)."""
        size = -(-self.batch * self.requests // FETCHES)
        for count, each in _even(self.batch * self.misses, self.batch * self.requests):
            for of, times in chunks(count, size):
                yield of, each, times

    def near(self, most: int) -> Iterator[tuple[int, int, int]]:
        """What is kept and resident of all sequences, in pieces of `most` tokens at most, as fetches."""
        for count, each in _even(self.batch * self.step.hits, self.batch * self.near_requests):
            if each <= most:
                yield from ((of, each, times) for of, times in chunks(count, most // each))
            else:
                yield from ((1, part, times * count) for part, times in chunks(each, most))

    def scored(self) -> Counts:
        """Work of the choice beyond the graph's, all sequences of a layer."""
        return {"mac": self.batch * sum(item.counts().get("mac", 0) for item in self.step.works)}

    def skipped(self) -> Counts:
        """Work of a layer's dense attention that is left out, and under "cache" the bytes that are not read."""
        done = (self.attentions[0].work, self.new_work(), self.kept_work(self.batch * self.step.kept))
        dense, new, kept = (item.counts() for item in done)
        left = {what: dense[what] - new[what] - kept[what] for what in ("mac", "exp")}
        dropped = self.cached * self.kv_heads - self.step.kept
        return {**left, "cache": self.batch * dropped * self.token_bytes}


def _even(tokens: int, requests: int) -> list[tuple[int, int]]:
    """As many requests as these, as even as whole tokens allow: (how many, tokens of each).

    >>> _even(10, 4), _even(0, 0)
    ([(2, 3), (2, 2)], [])
    """
    if not tokens:
        return []
    whole, larger = divmod(tokens, requests)
    return [(count, each) for count, each in ((larger, whole + 1), (requests - larger, whole)) if count]


def choice_of(
    graph: Graph, design: Design, tiers: Tiers, selection: Selection, *, prediction: Prediction, layout: Layout
) -> CacheChoice | None:
    """What the selection keeps in this graph's step; None where no attention has a cache.

    Raises MappingError where attentions over caches differ, or an element of a cache is no whole number of bytes.
    """
    found = [op for op in graph.ops.values() if op.kind == "attention" and _is_append(graph, op.inputs[1])]
    if not found:
        return None
    op = found[0]
    for other in found:
        if other.work != op.work:
            raise MappingError(
                f"'{op.name}' is {op.work}, '{other.name}' {other.work}", where="attention",
                ways_out=("caches of one length in all layers",),
            )  # fmt: skip
    batch, heads, kv_heads = (op.attributes[name] for name in ("batch", "heads", "kv_heads"))
    keys, queries = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[0]]
    head_dim, rows = keys.shape[1] // kv_heads, queries.shape[0] // batch
    cached = keys.shape[0] // batch - rows
    if keys.format.bits % 8:
        raise MappingError(
            f"an element of '{keys.name}' is {keys.format.bits} bit; keys of a head are fetched in whole bytes",
            ways_out=("a cache in bf16, fp16, fp32 or int8",),
        )
    token_bytes = 2 * keys.format.bytes((head_dim,))
    region = region_bytes(graph, design, tiers) // (len(found) * batch * kv_heads * token_bytes)
    resident, after = (min(round(selection.resident * n), region) for n in (cached, cached + rows))
    use = USES.get(str(graph.about["phase"]), "text")
    extents = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    step = layer_step(
        selection, **extents, element_bytes=token_bytes // (2 * head_dim), cached=cached, rows=rows, use=use,
        resident=resident,
    )  # fmt: skip
    return CacheChoice(
        tuple(found), batch, rows, cached, **extents, token_bytes=token_bytes, resident=resident, resident_after=after,
        use=use, step=step, prediction=prediction, layout=layout,
    )  # fmt: skip


def _is_append(graph: Graph, name: str) -> bool:
    """True where keys are made by adding new ones to a cache."""
    return name in graph.ops and graph.ops[name].kind == "append"
