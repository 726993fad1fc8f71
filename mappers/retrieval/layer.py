"""LayerBuilder: the tasks of a layer whose weights stream through the chip and whose attention reads a selection.

Ops follow one another on the units that do them. Only movements run beside them: weights ahead of their op, kept keys
and values from the main memory, misses from the tier beyond, and new and evicted cache rows on their way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.units import CoreArray, ThresholdUnit
from archsim.units.unit import ceil_div
from dataflow.graph import Op
from dataflow.op import Box, Work, work
from dataflow.pattern import Pattern, sequence
from dataflow.role import Role
from dataflow.section import Section
from mappers.build.checks import check_fits
from mappers.build.layers import name_within
from mappers.build.section_builder import Runs, SectionBuilder, chunks
from mappers.retrieval.cache import FETCHES, CachePlan, Piece, Tiers

# The memory on chip holds this many pieces. Four flows may share it (weights of an op and of the next, resident cached
# keys, fetched ones), each with two pieces that have arrived and two that the cores read.
PIECES = 16

WeightPieces = tuple[Work, int, int]  # work of a piece, its bytes of weights, how many such pieces


@dataclass(slots=True, kw_only=True)
class LayerBuilder(SectionBuilder):
    """A layer in the making. `plan` is the plan of its cache, None for ops without one.

    `fetches`: whether a fetch runs in this section, for this layer or, where it is predicted, for the next one.
    `last_load`: the latest load of weights, after which the next one starts.
    """

    tiers: Tiers
    plan: CachePlan | None
    fetches: bool
    last_load: str | None = None

    def layer(self, ops: Sequence[Op], *, name: str) -> Section:
        """The section of these ops, repeated for each scope; without ops, only a selection and its fetch."""
        after: list[str] = []
        fetched = None
        # What is known before the layer is fetched from its start, beside the ops that come before attention.
        if self.plan is not None and self.fetches and (not ops or self.plan.known_ahead):
            fetched = self._fetch(self.plan, self._choose(self.plan, []))
        for op in ops:
            op_name = name_within(op)
            if self.plan is not None and self.plan.is_for(op):
                self._attend(self.plan, op_name, after, fetched)
            else:
                self._op(op, op_name, after)
            after = [op_name]
        family = self.scopes[0].rstrip("0123456789.")
        return self.section(name or (f"{family}s" if family else ops[0].name))

    @property
    def piece_bytes(self) -> int:
        """Bytes of a piece of weights, or of keys and values, on their way through the chip."""
        return self.design.units[self.tiers.buffer].capacity // PIECES  # type: ignore[attr-defined]

    def _compute(
        self, name: str, runs: Runs, after: Sequence[str], *, op: str = "", tiles: tuple[Box, ...] = ()
    ) -> int:
        """Makes a call of one task on the unit that does these works; it begins with a launch where the unit has one.

        Returns how many firings come before those of `runs`: 1 with a launch, else 0.
        """
        unit = self.unit_for(runs[0][0].kind, f"op '{name}'")
        launch = [(work("enter"), 1)] if "enter" in self.design.units[unit].does else []
        self.task(name, unit, [*launch, *runs], op=op, tiles=tiles)
        self.call(name, after)
        return len(launch)

    def _bring(
        self, name: str, pieces: Sequence[Piece], reader: str, *, ahead: int, role: Role, token_bytes: int = 1
    ) -> str:
        """Adds the tasks that bring tokens from the main memory through the memory on chip to the reader, in pieces.

        Each of the reader's firings after the first `ahead` takes one piece.
        """
        sizes = [(requests * each * token_bytes, times) for requests, each, times in pieces]
        count, largest = sum(n for _, n in sizes), max(size for size, _ in sizes)
        check_fits(
            f"'{name}': {PIECES} pieces of {largest} B lie in '{self.tiers.buffer}' at once",
            f"units.{self.tiers.buffer}.capacity", PIECES * largest, PIECES * self.piece_bytes, "a larger capacity",
            dimension="bytes",
        )  # fmt: skip
        self.task(name, self.tiers.main, _gathers(pieces, token_bytes), role=role)
        self.task(f"{name} on chip", self.tiers.buffer, _each("read", sizes), role=role)
        self.stream(name, f"{name} on chip", 2, token_bytes=largest)
        takes = sequence((0, ahead), (1, count))
        self.stream(f"{name} on chip", reader, 2, takes=takes, token_bytes=largest)
        return name

    def _op(self, op: Op, name: str, after: Sequence[str]) -> None:
        """Adds an op whose activations are on chip: its weights stream in pieces, its new cache rows are stored."""
        self.part = op.kind
        loads = {role: size for role, size in self.graph.loads(op).items() if role.learned}
        weights = sum(loads.values())
        pieces, tiles = self._pieces(op, weights)
        ahead = self._compute(name, [(item, n) for item, _, n in pieces], after, op=name, tiles=tiles)
        if weights:
            self.part = ""  # the load runs ahead of its op and is blocked most of the time
            sizes = [(1, size, n) for _, size, n in pieces]
            load = self._bring(f"load {name}", sizes, name, ahead=ahead, role=next(iter(loads)))
            self.last_load = self.call(load, [self.last_load] if self.last_load else [])
        stored = self.graph.bytes_stored(op)
        if stored:
            self.task(f"store {name}", self.tiers.main, work("write", bytes=stored), role=Role.CACHE)
            self.call(f"store {name}", [name])

    def _pieces(self, op: Op, weights: int) -> tuple[list[WeightPieces], tuple[Box, ...]]:
        """The op cut so that the weights of each piece fit a piece of the memory on chip, and its tiles, if any."""
        if op.kind == "embedding" and weights:
            rows, d = op.work.extents
            row_counts = chunks(rows, max(1, self.piece_bytes * rows // weights))
            return _with_bytes([(work("embedding", rows=r, d=d), n) for r, n in row_counts], rows * d, weights), ()
        batched = op.kind == "matmul" and op.work["batch"] > 1
        if op.kind not in ("matmul", "ternary_matmul") or batched or not weights:
            return [(op.work, weights, 1)], ()
        m, k, n = (op.work[axis] for axis in ("m", "k", "n"))
        wide, deep = self._tile(op, self.piece_bytes * k * n // weights)
        cut = [(work(op.kind, m=m, k=d, n=w), a * b) for w, a in chunks(n, wide) for d, b in chunks(k, deep)]
        # The pieces of one size follow one another, so each size is a box of tiles.
        outputs, inputs = _stretches(n, wide), _stretches(k, deep)
        outer = (range(1), range(0, m, m)) if op.kind == "matmul" else (range(0, m, m),)
        tiles = tuple((*outer, along_k, along_n) for along_n in outputs for along_k in inputs)
        return _with_bytes(cut, m * k * n, weights), tiles

    def _tile(self, op: Op, elements: int) -> tuple[int, int]:
        """Outputs and inputs of a piece of at most this many weights; whole multiples of the trees where they fit."""
        k, n = op.work["k"], op.work["n"]
        unit = self.design.units[self.unit_for(op.kind, f"op '{op.name}'")]
        trees, inputs = (unit.trees, unit.inputs) if isinstance(unit, CoreArray) else (1, 1)
        if elements >= k * min(n, trees):
            return min(n, max(1, elements // k // trees) * trees), k
        wide = min(n, trees, max(1, elements))
        deep = elements // wide
        return wide, max(1, deep // inputs * inputs or deep)

    def _attend(self, plan: CachePlan, name: str, after: Sequence[str], fetched: str | None) -> None:
        """Adds attention to the new rows and the resident tokens, then to the fetched tokens as they arrive.

        `fetched`: the last task of a fetch that was started before, for this layer or, with prediction, the next one.
        """
        known: Sequence[str] = ()
        if not plan.known_ahead:
            known = after = self._choose(plan, after)
            fetched = self._fetch(plan, after)
        arriving = fetched if plan.prediction == "this" else None
        size = plan.cache.token_bytes
        most = max(1, self.piece_bytes // size)  # tokens of a piece
        self.part = "attention"
        near = list(plan.hit_pieces(most))
        if not arriving:  # misses were fetched during the layer before, into one stretch
            near += [(1, tokens, n) for tokens, n in chunks(plan.batch * plan.misses, most)]
        ahead = self._compute(name, [(plan.new_work(), 1), *plan.kept_works(near)], after, op=name)
        if near:
            # One firing more before the first piece: attention to the new rows, which are on chip.
            read = self._bring("read kept", near, name, ahead=ahead + 1, role=Role.CACHE, token_bytes=size)
            self.call(read, known)
        if arriving:
            self.part, task = "fetch", f"{name} to fetched"
            far, waits = _read_in_pieces(plan, most)
            ahead = self._compute(task, plan.kept_works(far), [name], op=name)
            self.call(name, last=[task])
            read = self._bring("read fetched", far, task, ahead=ahead, role=Role.CACHE, token_bytes=size)
            self.stream(arriving, read, self.tasks[arriving].firings, takes=waits)
        self._evict(plan, after)

    def _choose(self, plan: CachePlan, after: Sequence[str]) -> list[str]:
        """Adds the works of choosing, one after another, a firing for each sequence, after their metadata is read."""
        self.part = "selection"
        waits = list(after)
        if plan.step.metadata_read_bytes:
            read = work("read", bytes=plan.step.metadata_read_bytes)
            self.task("read metadata", self.tiers.main, read, firings=plan.batch, role=Role.METADATA)
            waits.append(self.call("read metadata", after))
        for place, item in enumerate(plan.step.works, start=1):
            # A design without a unit for it does the work as plain comparisons.
            if item.kind in ("hash_compare", "threshold") and not self._has_unit_for(item.kind):
                item = work("compare", comparisons=item.elements)
            unit_name = self.unit_for(item.kind, "the selection")
            unit = self.design.units[unit_name]
            if isinstance(unit, ThresholdUnit):
                check_fits(
                    "the selection's rule cuts a row's scores into more buckets than the threshold unit",
                    f"units.{unit_name}.buckets", ceil_div(item["passes"], item["rows"]), unit.buckets,
                    "fewer selection.settings.buckets", "more buckets",
                )  # fmt: skip
            name = f"select {place} {item.kind}"
            self._compute(name, [(item, plan.batch)], waits)
            waits = [name]
        return waits

    def _has_unit_for(self, kind: str) -> bool:
        """True where a unit of the design does this kind."""
        return any(kind in unit.does for unit in self.design.units.values())

    def _fetch(self, plan: CachePlan, after: Sequence[str]) -> str | None:
        """Adds the fetch of the misses from the tier beyond into the main memory; returns its last task, if any."""
        pieces, size = list(plan.fetch_pieces()), plan.cache.token_bytes
        if not pieces:
            return None
        assert self.tiers.beyond is not None, "what is missed lies beyond the main memory"
        self.part = "fetch"
        firings = sum(times for _, _, times in pieces)
        self.task("fetch", self.tiers.beyond, _gathers(pieces, size), role=Role.FETCHED)
        # Where a unit issues the requests, each piece is fetched as soon as its own requests are out.
        if self._has_unit_for("issue"):
            ahead = self._compute("issue", [(work("issue", requests=n), times) for n, _, times in pieces], after)
            self.stream("issue", "fetch", 2, gives=sequence((0, ahead), (1, firings)))
        else:
            self.call("fetch", after)
        sizes = [(n * each * size, times) for n, each, times in pieces]
        return self._carry("fetch", sizes, Role.FETCHED, self.tiers.main, depth=firings)

    def _evict(self, plan: CachePlan, after: Sequence[str]) -> None:
        """Adds the move of the oldest resident tokens to the tier beyond, where new ones need their room."""
        beyond = self.tiers.beyond
        if not plan.evicted or beyond is None:
            return
        self.part = "eviction"
        total = plan.batch * plan.evicted * plan.bytes_of_a_layer_token
        request = self.design.units[beyond].request_bytes or total  # type: ignore[attr-defined]
        # Pieces of whole requests, so that cutting the stretch adds no request.
        sizes = chunks(total, request * -(-total // (request * FETCHES)))
        self.task("evict", self.tiers.main, _each("read", sizes), role=Role.EVICTED)
        self.call("evict", after)
        self._carry("evict", sizes, Role.EVICTED, beyond, depth=2)

    def _carry(self, source: str, sizes: list[tuple[int, int]], role: Role, memory: str, *, depth: int) -> str:
        """Adds the way of what `source` reads over the channels into a memory; returns the last task.

        `depth` is that of the first queue; the others have two places.
        """
        last, largest = source, max(size for size, _ in sizes)
        for channel in self.tiers.channels:
            over = self.task(f"{source} over {channel}", channel, _each("move", sizes))
            self.stream(last, over, depth if last == source else 2, token_bytes=largest)
            last = over
        written = self.task(str(role), memory, _each("write", sizes), role=role)
        self.stream(last, written, 2, token_bytes=largest)
        return written


def _stretches(total: int, size: int) -> list[range]:
    """The ranges, in steps of a piece, of all whole pieces and of the rest.

    >>> _stretches(10, 4), _stretches(3, 4)
    ([range(0, 8, 4), range(8, 10, 2)], [range(0, 3, 3)])
    """
    whole = total // size * size
    return [range(start, stop, min(size, stop - start)) for start, stop in ((0, whole), (whole, total)) if stop > start]


def _with_bytes(cut: list[tuple[Work, int]], total: int, weights: int) -> list[WeightPieces]:
    """The works with shares of the weight bytes, by their part of `total` extents, rounded up; the last get less."""
    found: list[WeightPieces] = []
    # The shares must add up to the weights exactly: a law holds bytes read against bytes stored.
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


def _read_in_pieces(plan: CachePlan, most: int) -> tuple[list[Piece], Pattern[int]]:
    """The fetched tokens in reads of at most `most`, and the pieces that each read waits for.

    The first read of a fetched piece waits for it; the other reads of the piece wait for nothing.
    """
    reads: list[Piece] = []
    waits: list[tuple[int, int]] = []
    for requests, each, times in plan.fetch_pieces():
        cut = [(1, tokens, n) for tokens, n in chunks(requests * each, most)]
        count = sum(n for _, _, n in cut)
        reads += cut * times if len(cut) > 1 else [(1, cut[0][1], cut[0][2] * times)]
        waits += [(1, 1), (0, count - 1)] * times if count > 1 else [(1, times)]
    return reads, sequence(*waits)


def _gathers(pieces: Sequence[Piece], token_bytes: int) -> list[tuple[Work, int]]:
    """A gather for each of the pieces."""
    return [(work("gather", requests=n, bytes=each * token_bytes), times) for n, each, times in pieces]


def _each(kind: str, sizes: Sequence[tuple[int, int]]) -> list[tuple[Work, int]]:
    """A movement for each of the sizes (bytes, how many such)."""
    return [(work(kind, bytes=size), count) for size, count in sizes]
