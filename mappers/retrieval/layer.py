"""LayerBuilder: the tasks of a layer whose weights come in tiles and whose attention reads a selection.

Ops follow one another on the units that do them. Only movements run beside them: weights ahead of their op, kept keys
and values from the main memory, misses from the tier beyond, and new and evicted cache rows on their way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archsim.units import ThresholdUnit
from archsim.units.unit import ceil_div
from dataflow.graph import Op
from dataflow.op import Work, work
from dataflow.pattern import Pattern, sequence
from dataflow.role import Role
from dataflow.section import Section
from mappers.build.checks import check_fits
from mappers.build.op_builder import OVERLAPPED, Operand, Piece, each_size, gathers
from mappers.build.pieces import OpPiece, best_size, chunks, cut_attention, even
from mappers.retrieval.cache import FETCHES, CachePlan, Tiers
from mappers.tiled.builder import TiledBuilder
from mappers.tiled.planner import Planner


@dataclass(slots=True, kw_only=True)
class LayerBuilder(TiledBuilder):
    """A layer in the making. `plan` is the plan of its cache, None for ops without one.

    `fetches`: whether a fetch runs in this section, for this layer or, where it is predicted, for the next one.
    """

    tiers: Tiers
    plan: CachePlan | None
    fetches: bool

    def layer(self, planner: Planner, *, name: str, fetch_only: bool = False) -> Section:
        """The section of the ops, repeated for each scope; with `fetch_only` that of the selection and fetch alone."""
        fetched = None
        # What is known before the layer is fetched from its start, beside the ops that come before attention.
        if self.plan is not None and self.fetches and (fetch_only or self.plan.known_ahead):
            fetched = self._fetch(self.plan, self._choose(self.plan, []))

        def attention(op: Op, op_name: str, after: list[str], early: list[str]) -> list[str] | None:
            if self.plan is None or not self.plan.is_for(op):
                return None
            unit = planner.unit_named(op) or self.unit_for(op.kind, f"op '{op_name}'", self.plan.attentions[0])
            return self._attend(self.plan, op, op_name, unit, after, early, fetched)

        if not fetch_only:
            planner.add(self, self.ops, attention)
        family = self.scopes[0].rstrip("0123456789.")
        return self.section(name or (f"{family}s" if family else self.ops[0].name))

    def part_of_load(self, role: Role) -> str:
        """As in OpBuilder; nothing for weights, most of whose loads run ahead and wait for room most of the time."""
        return "" if role.learned else f"{role} load"

    def _attend(
        self, plan: CachePlan, op: Op, name: str, unit: str, after: Sequence[str], early: Sequence[str],
        fetched: str | None,
    ) -> list[str]:  # fmt: skip
        """Adds attention to the new rows and the resident tokens, then to the fetched tokens as they arrive.

        `fetched`: the last task of a fetch that was started before, for this layer or, with prediction, the next one.
        Returns the calls after which the next op may begin.
        """
        known = early  # what is known before the layer is read beside the op before
        if not plan.known_ahead:
            known = after = self._choose(plan, after)
            fetched = self._fetch(plan, after)
        arriving = fetched if plan.prediction == "this" else None
        size = plan.cache.token_bytes
        # New keys and values are on chip like the queries, or lie where those have spilled to.
        spilled, results = self.moved(op, unit, lambda one: one.inputs), self.results(op, unit)
        new = self._new_rows(plan, [*spilled, *results])
        most = self._tokens_of_a_piece(plan, unit)
        near = list(plan.hit_pieces(most))
        if not arriving:  # misses were fetched during the layer before, into one stretch
            near += [(1, tokens, n) for tokens, n in chunks(plan.batch * plan.misses, most)]
        self.part = "attention"
        ahead = self.compute(name, [*new, *plan.kept_works(near)], after, unit=unit, op=name)
        before = sum(n for _, n in new)
        for one in spilled:
            load = f"load {name} {one.role} of {one.way[0]}"
            pieces = [(1, n, times) for n, times in even(one.size, before)]
            self.bring(load, one.way, pieces, name, ahead=ahead, role=one.role)
            self.call(load, after)
        if near:
            # The firings before the first piece are attention to the new rows.
            way, first = self.tiers.way, ahead + before
            with self.living(early=int(plan.known_ahead)):
                self.bring("read kept", way, near, name, ahead=first, role=Role.CACHE, token_bytes=size)
            self.call("read kept", known)
        last = name
        if arriving:
            self.part, last = "fetch", f"{name} to fetched"
            far, waits = _read_in_pieces(plan, most)
            ahead = self.compute(last, plan.kept_works(far), [name], unit=unit, op=name)
            self.call(name, last=[last])
            with self.living(early=int(plan.known_ahead)):
                read = self.bring(
                    "read fetched", self.tiers.way, far, last, ahead=ahead, role=Role.CACHE, token_bytes=size
                )
            if plan.known_ahead:  # else the fetch itself waits for what is known
                self.call(read, known)
            self.stream(arriving, read, self.tasks[arriving].firings, takes=waits)
        self._evict(plan, after)
        # New rows are attended to where they are made, and have left when the next op begins.
        return [name, *self.stores_of(op), *(self.leave(op, last, one, ahead) for one in results)]

    def _new_rows(self, plan: CachePlan, spilled: Sequence[Operand]) -> list[tuple[Work, int]]:
        """Attention of the new rows among themselves, in pieces where what it reads or makes has spilled."""
        whole, size = plan.new_work(), sum(one.size for one in spilled)
        if not size:
            return [(whole, 1)]
        room = min(-(-size // OVERLAPPED), *(self.room(one.way, size) for one in spilled))
        return [(item, n) for item, _, n in cut_attention(whole, size, max(1, room))]

    def _tokens_of_a_piece(self, plan: CachePlan, unit: str) -> int:
        """Tokens with which all kept ones pass through the chip soonest."""
        size, stages = plan.cache.token_bytes, [self.design.units[name] for name in (*self.tiers.way, unit)]

        def pieces(piece_bytes: int) -> list[OpPiece]:
            near = plan.hit_pieces(max(1, piece_bytes // size))
            return [(plan.kept_work(n * each), n * each * size, times) for n, each, times in near]

        whole = plan.batch * plan.step.hits * size
        places = self.lying.queue_places
        piece, cycles = best_size(whole, self.room(self.tiers.way, whole), pieces, stages, places=places)
        self.estimated, self.least = self.estimated + cycles, self.least + cycles
        return max(1, piece // size)

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
            name, chooser = f"select {place} {item.kind}", self.unit_for(item.kind, "the selection")
            unit = self.design.units[chooser]
            if isinstance(unit, ThresholdUnit):
                check_fits(
                    "the selection's rule cuts a row's scores into more buckets than the threshold unit",
                    f"units.{chooser}.buckets", ceil_div(item["passes"], item["rows"]), unit.buckets,
                    "fewer selection.settings.buckets", "more buckets",
                )  # fmt: skip
            self.compute(name, [(item, plan.batch)], waits, unit=chooser)
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
        self.task("fetch", self.tiers.beyond, gathers(pieces, size), role=Role.FETCHED)
        # Where a unit issues the requests, each piece is fetched as soon as its own requests are out.
        if self._has_unit_for("issue"):
            issues, issuer = [(work("issue", requests=n), t) for n, _, t in pieces], self.unit_for("issue", "the fetch")
            ahead = self.compute("issue", issues, after, unit=issuer)
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
        self.task("evict", self.tiers.main, each_size("read", sizes), role=Role.EVICTED)
        self.call("evict", after)
        self._carry("evict", sizes, Role.EVICTED, beyond, depth=2)

    def _carry(self, source: str, sizes: list[tuple[int, int]], role: Role, memory: str, *, depth: int) -> str:
        """Adds the way of what `source` reads over the channels into a memory; returns the last task.

        `depth` is that of the first queue; the others have two places.
        """
        last, largest = source, max(size for size, _ in sizes)
        for channel in self.tiers.channels:
            over = self.task(f"{source} over {channel}", channel, each_size("move", sizes), role=role)
            self.stream(last, over, depth if last == source else 2, token_bytes=largest)
            last = over
        written = self.task(str(role), memory, each_size("write", sizes), role=role)
        self.stream(last, written, 2, token_bytes=largest)
        return written


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
