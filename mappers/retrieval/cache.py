"""CachePlan: the cache of a graph, what a selection keeps of it in this step, and the memories that hold it.

A token here is the key and the value of one token in one KV head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.selection.layer_cache import LayerCache
from archsim.selection.selection import Selection, Use
from archsim.selection.step import SelectionStep, selection_step
from archsim.units import Memory
from dataflow.graph import Graph, Op
from dataflow.op import OP_KINDS, Counts, Work
from dataflow.role import LEARNED, Role
from mappers.build.layers import Group
from mappers.build.lying import stored_by_home
from mappers.build.op_builder import Piece
from mappers.build.pieces import chunks, even
from mappers.build.placement import Way, path_of, unit_for, way_in

Prediction = Literal["this", "previous"]
Layout = Literal["clustered", "scattered"]

FETCHES = 32  # pieces of a layer's fetch: attention starts on the first while the others arrive


@dataclass(frozen=True, slots=True)
class Tiers:
    """The way of resident keys and values from their home, the main memory, and what lies beyond it on their path.

    `beyond` is the memory behind the channels, if any; `weights` is the home of weights.
    """

    way: Way
    channels: tuple[str, ...]
    beyond: str | None
    weights: str

    @property
    def main(self) -> str:
        """The memory that holds the newest cached tokens."""
        return self.way[0]

    @staticmethod
    def of(graph: Graph, design: Design, unit_named: Callable[[Op], str] = lambda op: "") -> Tiers:
        """The tiers of the unit that attends, which is the one named for its op, if any.

        Raises MappingError where the design does not say in which memories the cache lies.
        """
        if not design.tiers and not design.paths:
            raise MappingError(
                f"tiers: '{design.name}' does not say in which memories the cache lies",
                ways_out=("tiers: [on chip, main memory, channel, memory beyond] in the design",
                          "paths and a home of the cache", "another mapper"),
            )  # fmt: skip
        needing = [op for op in graph.ops.values() if not OP_KINDS[op.kind].free]
        # The last attention is that of the decoder: a vision tower, which has no cache, comes before it.
        op = next((op for op in reversed(needing) if op.kind == "attention"), needing[0])
        unit = unit_named(op) or unit_for(design, op.kind, f"op '{op.name}'", op=op, graph=graph)
        way, weights = (way_in(design, unit, role, f"op '{op.name}'") for role in (Role.CACHE, Role.WEIGHT))
        if not way or not weights:
            raise MappingError(
                f"the {'weights' if way else 'cache'} of '{unit}' has no home, and this mapper counts its bytes",
                ways_out=("home: {weight: a memory, cache: a memory} in the design", "--mapper tiled"),
            )
        *channels, beyond = path_of(design, unit, Role.CACHE)[len(way) :] or (None,)
        return Tiers(way, tuple(name for name in channels if name), beyond, weights[0])


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The attention ops that read a cache, what one layer and sequence keeps of it, and where the cache lies.

    `attentions`: equal ops, one in each layer. `cache.cached`: the tokens that can be chosen, of a window those that
    it lets the new row see. `stored`: all tokens of a sequence after the step. `resident`: how many of its newest
    tokens lie in the main memory before the step; `resident_after`: after it.
    """

    attentions: tuple[Op, ...]
    batch: int
    cache: LayerCache
    stored: int
    resident: int
    resident_after: int
    use: Use
    step: SelectionStep
    prediction: Prediction
    layout: Layout

    @property
    def layers(self) -> int:
        """Layers that have a cache."""
        return len(self.attentions)

    @property
    def evicted(self) -> int:
        """Tokens of a sequence, the oldest resident ones, that leave the main memory in this step."""
        return self.cache.rows - (self.resident_after - self.resident)

    @property
    def known_ahead(self) -> bool:
        """True where the kept tokens are known before the layer begins: predicted, or by a rule without a query."""
        return self.prediction == "previous" or not (self.step.works or self.step.metadata_read_bytes)

    @property
    def bytes_of_a_layer_token(self) -> int:
        """Bytes of one token's keys and values in a layer, over all KV heads."""
        return self.cache.kv_heads * self.cache.token_bytes

    @property
    def misses(self) -> int:
        """Kept tokens of a layer and sequence that are not resident."""
        return self.step.kept - self.step.hits

    @property
    def miss_requests(self) -> int:
        """Requests that fetch the misses of one sequence."""
        return self.step.miss_groups if self.layout == "clustered" else self.step.miss_stretches

    def is_for(self, op: Op) -> bool:
        """True for one of these attention ops."""
        return any(op is attention for attention in self.attentions)

    def new_work(self) -> Work:
        """Attention of the new rows among themselves, over all sequences and heads."""
        rows, heads = self.cache.rows, self.cache.heads
        whole = self.attentions[0].work
        return whole.part(
            whole.mask, batch=self.batch, heads=heads, kv_heads=self.cache.kv_heads, queries=rows, keys=rows,
            qk_dim=self.cache.head_dim,
        )  # fmt: skip

    def kept_work(self, tokens: int) -> Work:
        """Attention of a sequence's rows to this many tokens, each seen by the query heads that share its KV head."""
        heads, rows = self.cache.heads // self.cache.kv_heads, self.cache.rows
        # Tokens of several sequences and KV heads: each is the key of a row and of the heads that share its KV head.
        whole = self.attentions[0].work
        return whole.part(heads=heads, kv_heads=1, queries=rows, keys=tokens, qk_dim=self.cache.head_dim)

    def kept_works(self, pieces: Iterable[Piece]) -> list[tuple[Work, int]]:
        """Attention to the tokens of each piece, and how many such pieces there are."""
        return [(self.kept_work(requests * each), times) for requests, each, times in pieces]

    def fetch_pieces(self) -> Iterator[Piece]:
        """The misses of all sequences in pieces."""
        size = -(-self.batch * self.miss_requests // FETCHES)
        for each, count in even(self.batch * self.misses, self.batch * self.miss_requests):
            for requests, times in chunks(count, size):
                yield requests, each, times

    def hit_pieces(self, most: int) -> Iterator[Piece]:
        """The hits of all sequences in pieces of at most `most` tokens."""
        requests = self.step.hit_groups if self.layout == "clustered" else self.step.hit_stretches
        for each, count in even(self.batch * self.step.hits, self.batch * requests):
            # Whole requests share a piece; a request that is larger than a piece is cut.
            if each <= most:
                yield from ((together, each, times) for together, times in chunks(count, most // each))
            else:
                yield from ((1, tokens, times * count) for tokens, times in chunks(each, most))

    def recomputed(self) -> Counts:
        """Work of choosing, which the graph does not have, over all layers."""
        macs = sum(item.counts().get("mac", 0) for item in self.step.works)
        return {"mac": self.layers * self.batch * macs} if macs else {}

    def skipped(self) -> Counts:
        """Work of dense attention that is not done, and under "cache" the bytes not read, over all layers."""
        done = (self.attentions[0].work, self.new_work(), self.kept_work(self.batch * self.step.kept))
        dense, new, kept = (item.counts() for item in done)
        left = {what: dense[what] - new[what] - kept[what] for what in ("mac", "exp")}
        left["cache"] = self.batch * (self.cache.cached * self.cache.kv_heads - self.step.kept) * self.cache.token_bytes
        return {what: self.layers * n for what, n in left.items() if n}


def plan_cache(
    graph: Graph, design: Design, tiers: Tiers, selection: Selection, beside: int, *, prediction: Prediction,
    layout: Layout,
) -> CachePlan | None:  # fmt: skip
    """What the selection keeps in this graph's step, `beside` so many bytes in the main memory; None without a cache.

    Raises MappingError where attention ops over caches differ, keys and values differ in width, a window shows each new
    row other cached tokens, or an element of a cache is no whole number of bytes.
    """
    # Attention over a cache reads keys that an append op joined to it; that of a vision tower does not.
    appended = {name for name, op in graph.ops.items() if op.kind == "append"}
    found = [op for op in graph.ops.values() if op.kind == "attention" and op.inputs[1] in appended]
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
    if op.work["v_dim"] != op.work["qk_dim"]:
        raise MappingError(
            f"keys of {op.work['qk_dim']} elements and values of {op.work['v_dim']}; a cached token is a key and a "
            "value of one width",
            where=f"op '{op.name}'", ways_out=("values as wide as keys",),
        )  # fmt: skip
    keys, rows = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[0]].shape[0] // batch
    if keys.format.bits % 8:
        raise MappingError(
            f"an element of '{keys.name}' is {keys.format.bits} bit; keys of a head are fetched in whole bytes",
            ways_out=("a cache in bf16, fp16, fp32 or int8",),
        )
    head_dim, before = keys.shape[1] // kv_heads, keys.shape[0] // batch - rows
    visible = _visible(op, before)
    cache = LayerCache(heads, kv_heads, head_dim, int(keys.format.bits // 8), visible, rows)
    main: Memory = design.units[tiers.main]  # type: ignore[assignment]
    free = max(0, main.holds_bytes - beside) if main.cache_region is None else main.cache_region
    region = free // (len(found) * batch * kv_heads * cache.token_bytes)  # tokens of a sequence that have room
    resident, after = (min(round(selection.resident * tokens), region) for tokens in (before, before + rows))
    use: Use = graph.phase.use  # type: ignore[assignment]
    step = selection_step(selection, cache, use=use, resident=min(resident, visible))
    return CachePlan(tuple(found), batch, cache, before + rows, resident, after, use, step, prediction, layout)


def _visible(op: Op, cached: int) -> int:
    """How many of the cached tokens the new rows see, the newest ones. Raises MappingError where rows differ."""
    mask, rows, keys = op.work.mask, op.work["queries"], op.work["keys"]
    assert mask is not None
    if mask.window is None or mask.window >= keys or not cached:
        return cached
    if rows > 1:
        raise MappingError(
            f"a {mask} shows each of the {rows} new rows of a sequence other ones of the {cached} cached tokens; "
            "a selection chooses for all rows together",
            where=f"op '{op.name}'",
            ways_out=("one new row, as a decode step has", f"a context of at most {mask.window} tokens", "no window"),
        )
    return mask.window - 1  # and its own key


def learned_by_home(
    graph: Graph, design: Design, groups: list[Group], tiers: Tiers, unit_named: Callable[[Op], str]
) -> tuple[dict[tuple[str, str], int], set[str]]:
    """Bytes of weights by (memory, role), and the memories that they pass; of a phase those of its whole model."""
    found, passed = stored_by_home(graph, design, groups, roles=LEARNED, unit_of=unit_named)
    if graph.weight_bytes is not None:
        # What this graph does not read of the model lies where weights do.
        at = tiers.weights, str(Role.WEIGHT)
        found[at] = found.get(at, 0) + max(0, graph.weight_bytes - sum(found.values()))
    return found, passed


def cache_by_home(graph: Graph, tiers: Tiers, plan: CachePlan) -> dict[tuple[str, str], int]:
    """Bytes of the cache and of what a layer fetches by (memory, role), after the step.

    Raises MappingError for a cache that no tier holds.
    """
    token = plan.layers * plan.batch * plan.bytes_of_a_layer_token  # over all layers and sequences
    away = plan.stored - plan.resident_after
    lying = {(tiers.main, str(Role.CACHE)): plan.resident_after * token}
    # What is fetched lies there until its layer is done. With prediction the fetch for the next layer arrives while
    # this layer uses its own.
    at_once = 2 if plan.prediction == "previous" else 1
    if plan.misses:
        lying[tiers.main, Role.FETCHED] = at_once * plan.misses * plan.batch * plan.cache.token_bytes
    if away and tiers.beyond is None:
        raise MappingError(
            f"no memory holds {away} of the {plan.stored} cached tokens of '{graph.name}'",
            resource=f"units.{tiers.main}", demand=plan.stored * token, capacity=plan.resident_after * token,
            dimension="bytes",
            ways_out=("a tier beyond the main memory", "a larger cache_region", "a shorter context", "a smaller batch"),
        )  # fmt: skip
    if away and tiers.beyond is not None:
        lying[tiers.beyond, Role.CACHE] = away * token
    return lying
