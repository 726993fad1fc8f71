"""LayerBuilder: the tasks of a layer, with weights streamed through the chip and a cache that is chosen from.

Ops follow one another on the units that do them. Only movements run beside them: weights ahead of their op, kept keys
and values from the main memory, what is missed from the tier beyond, new rows and the oldest out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.errors import MappingError
from archsim.units import CoreArray, ThresholdUnit
from dataflow.graph import Op
from dataflow.op import Work, work
from dataflow.pattern import Pattern, sequence
from dataflow.section import Section
from mappers.build.layers import name_within
from mappers.build.section_builder import SectionBuilder, chunks
from mappers.retrieval.cache import FETCHES, WEIGHTS, CachePlan, Tiers

# Of the memory on chip: four flows may be under way at once (the weights of an op and of the next, cached keys that are
# resident and that were fetched), each with two pieces that have come and two that the cores take.
PIECES = 16

Run = tuple[int, int, int]  # requests of a piece, bytes or tokens of each, how many such pieces
Piece = tuple[Work, int, int]  # work, bytes of weights, how many such pieces


@dataclass(slots=True, kw_only=True)
class LayerBuilder(SectionBuilder):
    """A layer in the making. `plan` is that of its cache, None for ops without one.

    `fetches` says whether a fetch runs here: of what the layer misses, or of the next layer's where that is predicted.
    `last_load` is the load of weights that the next one comes after.
    """

    tiers: Tiers
    plan: CachePlan | None
    fetches: bool
    last_load: str | None = None

    def layer(self, ops: Sequence[Op], *, name: str) -> Section:
        """The section of these ops, repeated for each scope; without ops that of the choice and its fetch alone."""
        after: list[str] = []
        fetched = None
        if self.plan is not None and self.fetches and (not ops or self.plan.known_ahead):
            fetched = self._fetch(self.plan, self._choose(self.plan, []))
        for op in ops:
            called = name_within(op)
            if self.plan is not None and self.plan.is_for(op):
                self._attend(self.plan, called, after, fetched)
            else:
                self._op(op, called, after)
            after = [called]
        family = self.scopes[0].rstrip("0123456789.")
        return self.section(name or (f"{family}s" if family else ops[0].name))

    @property
    def piece_bytes(self) -> int:
        """Bytes of a piece of weights, or of keys and values, on their way through the chip."""
        return self.design.units[self.tiers.buffer].capacity // PIECES  # type: ignore[union-attr]

    def _compute(
        self,
        name: str,
        kind: str,
        runs: Sequence[tuple[Work, int]],
        after: Sequence[str],
        *,
        op: str = "",
        tiles: tuple[tuple[range, range], ...] = (),
    ) -> int:
        """A call of one task on the unit that does this kind, begun by a launch where the unit has such.

        Returns how many firings come before those of `runs`.
        """
        unit = self.unit_for(kind, f"op '{name}'")
        launch = [(work("enter"), 1)] if "enter" in self.design.units[unit].does else []
        self.task(name, unit, [*launch, *runs], op=op, tiles=tiles)
        self.call(name, after)
        return len(launch)

    def _bring(self, name: str, pieces: Sequence[Run], reader: str, ahead: int, role: str) -> str:
        """Bytes from the main memory to the one on chip and from there to the reader, piece by piece.

        A piece, of (requests, bytes of each), for each of the reader's firings after the first `ahead`.
        """
        sizes = [(requests * each, times) for requests, each, times in pieces]
        count, largest = sum(n for _, n in sizes), max(size for size, _ in sizes)
        if largest > self.piece_bytes:
            raise MappingError(
                f"'{name}' passes through '{self.tiers.buffer}' in pieces of {largest} B, {PIECES} of which lie there",
                resource=f"units.{self.tiers.buffer}.capacity", demand=PIECES * largest,
                capacity=PIECES * self.piece_bytes, dimension="bytes", ways_out=("a larger capacity",),
            )  # fmt: skip
        gathers = [(work("gather", requests=of, bytes=each), times) for of, each, times in pieces]
        self.task(name, self.tiers.main, gathers, role=role)
        self.task(f"{name} on chip", self.tiers.buffer, _each("read", sizes), role=role)
        self.stream(name, f"{name} on chip", 2, token_bytes=largest)
        takes = sequence((0, ahead), (1, count))
        self.stream(f"{name} on chip", reader, 2, takes=takes, token_bytes=largest)
        return name

    def _op(self, op: Op, name: str, after: Sequence[str]) -> None:
        """An op whose operands but weights are on chip, its weights streamed piece by piece, its cache rows stored."""
        self.part = op.kind
        weights = self.graph.bytes_loaded(op, *WEIGHTS)
        pieces, tiles = self._pieces(op, weights)
        ahead = self._compute(name, op.kind, [(item, n) for item, _, n in pieces], after, op=name, tiles=tiles)
        if weights:
            role = next(self.graph.tensors[t].role for t in op.inputs if self.graph.tensors[t].role in WEIGHTS)
            self.part = ""  # it runs ahead of its op, and is blocked most of the time
            load = self._bring(f"load {name}", [(1, size, n) for _, size, n in pieces], name, ahead, role)
            self.last_load = self.call(load, [self.last_load] if self.last_load else [])
        stored = self.graph.bytes_stored(op)
        if stored:
            self.task(f"store {name}", self.tiers.main, work("write", bytes=stored), role="cache")
            self.call(f"store {name}", [name])

    def _pieces(self, op: Op, weights: int) -> tuple[list[Piece], tuple[tuple[range, range], ...]]:
        """The op in pieces whose weights fit a piece of the memory on chip, and their tiles where they have such."""
        if op.kind == "embedding" and weights:
            rows, d = op.work.extents
            some = chunks(rows, max(1, self.piece_bytes * rows // weights))
            return _with_bytes([(work("embedding", rows=r, d=d), count) for r, count in some], rows * d, weights), ()
        if op.kind not in ("matmul", "ternary_matmul") or not weights:
            return [(op.work, weights, 1)], ()
        m, k, n = op.work.extents
        wide, deep = self._tile(op, self.piece_bytes * k * n // weights)
        cut = [(work(op.kind, m=m, k=d, n=w), a * b) for w, a in chunks(n, wide) for d, b in chunks(k, deep)]
        whole = op.kind == "matmul" and deep == k
        return _with_bytes(cut, m * k * n, weights), (((range(0, m, m), range(0, n, wide)),) if whole else ())

    def _tile(self, op: Op, elements: int) -> tuple[int, int]:
        """Outputs and inputs of a piece of so many weights: whole rows of the unit's trees where these fit."""
        _, k, n = op.work.extents
        unit = self.design.units[self.unit_for(op.kind, f"op '{op.name}'")]
        trees, inputs = (unit.trees, unit.inputs) if isinstance(unit, CoreArray) else (1, 1)
        if elements >= k * min(n, trees):
            return min(n, max(1, elements // k // trees) * trees), k
        wide = min(n, trees, max(1, elements))
        deep = elements // wide
        return wide, max(1, deep // inputs * inputs or deep)

    def _attend(self, plan: CachePlan, name: str, after: Sequence[str], fetched: str | None) -> None:
        """Attention to the new rows and to what is resident, then to what is fetched as it comes.

        `fetched` is what has been fetched so far for this layer, or for the next one where those are predicted.
        """
        known: Sequence[str] = ()
        if not plan.known_ahead:
            known = after = self._choose(plan, after)
            fetched = self._fetch(plan, after)
        comes = fetched if plan.prediction == "this" else None
        most = max(1, self.piece_bytes // plan.cache.token_bytes)  # tokens of a piece
        size = plan.cache.token_bytes
        self.part = "attention"
        near = list(plan.hits(most))
        if not comes:  # what was fetched for this layer lies in one stretch
            near += [(1, tokens, n) for tokens, n in chunks(plan.batch * plan.misses, most)]
        runs = [(plan.new_work(), 1), *((plan.kept_work(of * each), n) for of, each, n in near)]
        ahead = self._compute(name, "attention", runs, after, op=name)
        if near:
            pieces = [(of, each * size, n) for of, each, n in near]
            self.call(self._bring("read kept", pieces, name, ahead + 1, "cache"), known)
        if comes:
            self.part = "fetch"
            far, waits = _read_in_pieces(plan, most)
            task, runs = f"{name} to fetched", [(plan.kept_work(tokens), n) for tokens, n in far]
            ahead = self._compute(task, "attention", runs, [name], op=name)
            self.call(name, last=[task])
            pieces = [(1, tokens * size, n) for tokens, n in far]
            read = self._bring("read fetched", pieces, task, ahead, "cache")
            self.stream(comes, read, self.tasks[comes].firings, takes=waits)
        self._evict(plan, after)

    def _choose(self, plan: CachePlan, after: Sequence[str]) -> list[str]:
        """The choice: its works one after another, sequence by sequence, its metadata read before they are scored."""
        self.part = "selection"
        waits = list(after)
        if plan.step.metadata_read_bytes:
            read = work("read", bytes=plan.step.metadata_read_bytes)
            self.task("read metadata", self.tiers.main, read, firings=plan.batch, role="metadata")
            waits.append(self.call("read metadata", after))
        for place, item in enumerate(plan.step.works, start=1):
            if item.kind in ("hash_compare", "threshold") and not self._is_done(item.kind):
                item = work("compare", comparisons=item.elements)  # what it is to a design without a unit for it
            unit = self.design.units[self.unit_for(item.kind, "the selection")]
            if isinstance(unit, ThresholdUnit) and item["passes"] > item["rows"] * unit.buckets:
                raise MappingError(
                    "the selection's rule cuts a row's scores into more buckets than the threshold unit",
                    resource=f"units.{self.unit_for(item.kind, 'the selection')}.buckets",
                    demand=-(-item["passes"] // item["rows"]), capacity=unit.buckets,
                    ways_out=("fewer selection.settings.buckets", "more buckets"),
                )  # fmt: skip
            name = f"select {place} {item.kind}"
            self._compute(name, item.kind, [(item, plan.batch)], waits)
            waits = [name]
        return waits

    def _is_done(self, kind: str) -> bool:
        """True where a unit of the design does this kind."""
        return any(kind in unit.does for unit in self.design.units.values())

    def _fetch(self, plan: CachePlan, after: Sequence[str]) -> str | None:
        """The misses, from the tier beyond over the channels into the main memory; the last task, if there is any."""
        fetches, size = list(plan.fetches()), plan.cache.token_bytes
        if not fetches:
            return None
        assert self.tiers.beyond is not None, "what is missed lies beyond the main memory"
        self.part = "fetch"
        pieces = sum(times for _, _, times in fetches)
        gather = [(work("gather", requests=of, bytes=each * size), times) for of, each, times in fetches]
        self.task("fetch", self.tiers.beyond, gather, role="fetched")
        if self._is_done("issue"):
            ahead = self._compute("issue", "issue", [(work("issue", requests=of), n) for of, _, n in fetches], after)
            self.stream("issue", "fetch", 2, gives=sequence((0, ahead), (1, pieces)))
        else:
            self.call("fetch", after)
        sizes = [(of * each * size, times) for of, each, times in fetches]
        return self._carry("fetch", sizes, to=("fetched", self.tiers.main), depth=pieces)

    def _evict(self, plan: CachePlan, after: Sequence[str]) -> None:
        """The oldest resident rows leave for the tier beyond where the new ones find no room."""
        beyond = self.tiers.beyond
        if not plan.evicted or beyond is None:
            return
        self.part = "eviction"
        total = plan.batch * plan.evicted * plan.bytes_of_a_layer_token
        request = self.design.units[beyond].request_bytes or total  # type: ignore[union-attr]
        sizes = chunks(total, request * -(-total // (request * FETCHES)))  # whole requests, as one stretch has
        self.task("evict", self.tiers.main, _each("read", sizes), role="evicted")
        self.call("evict", after)
        self._carry("evict", sizes, to=("evicted", beyond), depth=2)

    def _carry(self, source: str, sizes: list[tuple[int, int]], *, to: tuple[str, str], depth: int) -> str:
        """What a task reads, over the channels into a memory; `depth` is that of the first queue, the others have 2."""
        name, memory = to
        last, largest = source, max(size for size, _ in sizes)
        for channel in self.tiers.channels:
            self.task(f"{source} over {channel}", channel, _each("move", sizes))
            self.stream(last, f"{source} over {channel}", depth if last == source else 2, token_bytes=largest)
            last = f"{source} over {channel}"
        self.task(name, memory, _each("write", sizes), role=name)
        self.stream(last, name, 2, token_bytes=largest)
        return name


def _with_bytes(cut: list[tuple[Work, int]], total: int, weights: int) -> list[Piece]:
    """The works with their share of the weights, as their extents have of `total`; rounded up, the last one less."""
    found: list[Piece] = []
    left = weights
    for item, count in cut:
        extent = item.counts().get("mac", item.elements)
        size = -(-weights * extent // total)
        fits = min(count, left // size) if size else count
        found += [(item, size, fits)] if fits else []
        left -= size * fits
        for _ in range(count - fits):
            found.append((item, min(size, left), 1))
            left -= min(size, left)
    return found


def _read_in_pieces(plan: CachePlan, most: int) -> tuple[list[tuple[int, int]], Pattern[int]]:
    """The fetched tokens in reads of `most` at most: (tokens, how many such), and the fetches that each read waits for.

    The first read of a fetched piece waits for it, the others of the piece for nothing.
    """
    reads: list[tuple[int, int]] = []
    waits: list[tuple[int, int]] = []
    for of, each, times in plan.fetches():
        cut = chunks(of * each, most)
        count = sum(n for _, n in cut)
        reads += cut * times if len(cut) > 1 else [(cut[0][0], cut[0][1] * times)]
        waits += [(1, 1), (0, count - 1)] * times if count > 1 else [(1, times)]
    return reads, sequence(*waits)


def _each(kind: str, sizes: Sequence[tuple[int, int]]) -> list[tuple[Work, int]]:
    """A movement for each size: (bytes, how many such)."""
    return [(work(kind, bytes=size), count) for size, count in sizes]
