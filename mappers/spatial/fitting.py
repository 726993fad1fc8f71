"""Fitting: the tokens and tiles with which ops fit a section and pass it soonest. Knows one section at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil

from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.errors import MappingError
from archsim.mapping import Mapping as Given
from archsim.run.bound import section_bound
from dataflow.graph import Graph, Op
from dataflow.kinds.attention import THREE_PASSES
from dataflow.op import Work, work
from dataflow.role import Role
from mappers.build.checks import check_fits
from mappers.build.layers import scope_of
from mappers.build.placement import homes_of, unit_for
from mappers.spatial.balance import balanced, passing
from mappers.spatial.builder import Matrix, SpaceBuilder
from mappers.spatial.fabric import Fabric
from mappers.spatial.fit import keys_of
from mappers.spatial.reading import Reading
from mappers.spatial.stages import PIECES, Stage, piece_of, stages_of, tokens_of
from mappers.spatial.tokens import Tokens

CLOSEST = 3  # tokens of the best estimates, of which the one with the least bound is taken
BESIDE = 4  # streams that share a link with one: a stage gets tiles whose links carry as much
Told = Mapping[str, int | None]  # by stage the tiles that the mapping gives it
Times = Callable[[int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Laid:
    """A section that fits: its ops and stages, the rows of a token, the tiles of each stage, and its estimate.

    `resident` and `places` are as in SpaceBuilder. `unhindered` is the estimate with all compute tiles, whatever the
    memory tiles; `least` are the cycles that its tasks take at least.
    """

    ops: tuple[Op, ...]
    stages: tuple[Stage, ...]
    tokens: Tokens | None
    resident: bool
    servers: Mapping[str, int] = field(default_factory=dict)
    places: int = PIECES
    estimated: int = 0
    unhindered: int = 0
    least: int = 0

    @property
    def count(self) -> int:
        """Tokens that pass."""
        return self.tokens.count if self.tokens else 1

    @property
    def named(self) -> str:
        """Its first op and its last one."""
        first, last = self.ops[0].name, self.ops[-1].name
        return first if first == last else f"{first} to {last}"

    @property
    def within(self) -> str:
        """Its first stage and its last one, by their names within a layer."""
        first, last = self.stages[0].name, self.stages[-1].name
        return first if first == last else f"{first} to {last}"

    @property
    def own(self) -> tuple[Stage, ...]:
        """The stages that have tiles of their own."""
        return tuple(stage for stage in self.stages if not stage.tail_of)

    @property
    def tiles(self) -> int:
        """Compute tiles of all stages."""
        return sum(self.servers[stage.name] for stage in self.own)


@dataclass(slots=True)
class Fitting:
    """Fits ops to a fabric as a mapping says."""

    graph: Graph
    fabric: Fabric
    given: Given
    reading: Reading
    _times: dict[object, Times] = field(default_factory=dict)  # by the works of a stage
    _moves: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)  # by the names of ops

    def laid(
        self, ops: Sequence[Op], scopes: Sequence[str], each: int | None, *, again: bool = False, only: str = ""
    ) -> Laid:
        """The ops in a section, in tokens of `each` rows, or of those that are estimated to pass soonest.

        With `again` matrices come again with each token; with `only` it has that pass of attention alone. Raises
        MappingError where nothing fits.
        """
        rows = tokens_of(ops[0], self.graph)
        sizes = [None] if rows is None else [Tokens(*rows, n) for n in ([each] if each else Tokens.sizes(*rows))]
        tried = [self._with_tokens(ops, scopes, tokens, again=again, only=only) for tokens in sizes]
        refusals: list[MappingError] = []
        found: list[Laid] = []
        for laid, told in sorted(tried, key=lambda one: one[0].estimated):
            # None passes sooner where memory tiles are short than it does with all compute tiles.
            if len(found) >= CLOSEST and laid.estimated >= sorted(one.estimated for one in found)[CLOSEST - 1]:
                break
            try:
                found.append(self._fitted(laid, told))
            except MappingError as refusal:
                refusals.append(refusal)
        if not found:
            raise min(refusals, key=lambda refusal: refusal.demand or 0)
        closest = sorted(found, key=lambda one: one.estimated)[:CLOSEST]
        return min(map(self._bounded, closest), key=lambda one: one.least)

    def _bounded(self, laid: Laid) -> Laid:
        """The section with the cycles that its tasks take at least, those that pass the mesh among them.

        Raises MappingError where the tasks need more tails or ways of the mesh than there are.
        """
        section = self.builder(laid, routed=True).section(laid.named)
        placed: dict[str, int] = {}
        for task in section.tasks:
            placed[task.unit] = placed.get(task.unit, 0) + task.servers
        for unit, servers in placed.items():
            if self.fabric.design.units[unit].arbitration == "placed":
                path, there = f"units.{unit}.count", self.fabric.design.units[unit].count
                check_fits("tasks side by side", path, servers, there, f"{path}={servers}", where=self._told_as(laid))
        return replace(laid, least=section_bound(flatten(section, self.fabric.design)))

    def taken(self, laid: Laid, held: Sequence[Matrix]) -> int:
        """The cycles that a section takes which holds these matrices, and loads as many for the next."""
        section = self.builder(laid, held=held, ahead=held).section("run")
        return run(flatten(section, self.fabric.design)).cycles

    def loaded_cycles(self, laid: Laid) -> int:
        """Cycles of the memories from which the matrices of a section come, of the slowest."""
        cycles: dict[str, int] = {}
        for matrix in self.builder(laid).matrices:
            memory = self.fabric.design.units[home := matrix.way[0]]
            size = sum(size * n for size, n in matrix.sizes)
            cycles[home] = cycles.get(home, 0) + memory.cycles(work("read", bytes=size), memory.count)
        return max(cycles.values(), default=0)

    def builder(
        self, laid: Laid, scopes: tuple[str, ...] = (), *, launch: Sequence[str] = (), held: Sequence[Matrix] = (),
        ahead: Sequence[Matrix] = (), routed: bool = False,
    ) -> SpaceBuilder:  # fmt: skip
        """The section in the making, for the layers of these scopes, or for that of its ops."""
        builder = SpaceBuilder(
            self.graph, self.fabric.design, scopes or (scope_of(laid.ops[0]),), fabric=self.fabric, tokens=laid.tokens,
            resident=laid.resident, places=laid.places, buffers=self.given.buffers, servers=laid.servers, routed=routed,
            passing_cycles=laid.estimated, held={matrix.stage for matrix in held}, ahead=ahead,
        )  # fmt: skip
        builder.lay(laid.stages)
        within = {op.name for op in laid.ops}
        for op in laid.ops:
            for cache in self.reading.caches.get(op.name, ()):
                builder.store(op, Role.CACHE, self.graph.tensors[cache].format)
            if self.reading.read_elsewhere(op.name, within):
                builder.store(op, Role.ACTIVATION, self.graph.tensors[op.name].format)
        builder.finish(launch)
        return builder

    def carried_cycles(self, names: Collection[str]) -> int:
        """Cycles of the memory in which activations lie, for these."""
        design, size = self.fabric.design, sum(self.graph.tensors[name].bytes for name in names)
        memories = [design.units[home] for home in homes_of(design, Role.ACTIVATION)[:1]]
        return sum(memory.cycles(work("read", bytes=size), memory.count) for memory in memories)

    def _with_tokens(
        self, ops: Sequence[Op], scopes: Sequence[str], tokens: Tokens | None, *, again: bool, only: str
    ) -> tuple[Laid, Told]:
        """The stages on all compute tiles, whatever the memory tiles; and the tiles that the mapping says."""
        comes_again = again or tokens is None or tokens.count == 1
        stages: list[Stage] = []
        told: dict[str, int | None] = {}
        for op in ops:
            pieces = self._pieces(op) if comes_again else 1
            for stage in stages_of(op, tokens, pieces=pieces, sockets=self.fabric.sockets):
                entry = self.given.ops.get(keys_of(op, scopes)[stage.kind])
                told[stage.name] = entry.servers if entry else None
                if only in ("", stage.kind):
                    stages.append(replace(stage, alone=bool(only), tail_of=self._tail_of(stage, stages)))
        laid = Laid(tuple(ops), tuple(stages), tokens, resident=not comes_again)
        self._check(laid, told)
        laid = self._balanced(laid, told, self.fabric.computing.count // self.fabric.sockets)
        return replace(laid, unhindered=laid.estimated), told

    def _pieces(self, op: Op) -> int:
        """In how many pieces the matrix of a product comes, a part of its columns each."""
        matrix = self.graph.in_memory(op.inputs[1]) if op.kind == "matmul" else None
        if matrix is None or not matrix.role.stored:
            return 1
        return min(op.work["n"], -(-matrix.bytes // piece_of(matrix.bytes, self.fabric.holding.holds_bytes)))

    def _check(self, laid: Laid, told: Told) -> None:
        """Raises MappingError for work that no tile does, and for more stages than tiles."""
        for stage in laid.stages:
            if stage.kind not in self.fabric.computing.does:
                unit_for(self.fabric.design, stage.kind, f"op '{stage.op.name}'")  # says what units do
        for stage in laid.own:
            if (n := told[stage.name]) and n % self.fabric.sockets:
                raise MappingError(
                    f"{n} servers of '{self.fabric.compute}' for '{stage.name}'; the design has {self.fabric.sockets} "
                    "sockets, each with as many", where=self._told_as(laid),
                    ways_out=(f"a multiple of {self.fabric.sockets}",),
                )  # fmt: skip
        asked = sum(told[stage.name] or self.fabric.sockets for stage in laid.own)
        path = f"units.{self.fabric.compute}.count"
        check_fits(
            "its stages have a tile each on every socket, or as many as the mapping says", path, asked,
            self.fabric.computing.count, f"{path}={asked}", where=self._told_as(laid),
        )  # fmt: skip

    def _told_as(self, laid: Laid) -> str:
        return f"section '{laid.named}' of '{self.graph.name}'"

    def _tail_of(self, stage: Stage, before: Sequence[Stage]) -> str:
        """The product to whose tiles an element-wise stage belongs: one whose result it alone reads; or none."""
        if not self.fabric.tail or stage.kind not in self.fabric.design.units[self.fabric.tail].does:
            return ""
        made = {one.op.name: one for one in before if one.last}
        if stage.kind == THREE_PASSES[1]:
            return next((one.name for one in before if one.op is stage.op), "")
        for name in stage.op.inputs:
            maker, exchanged = made.get(name), name in self.fabric.sharing.summed
            alone = self.reading.readers[name] == [stage.op.name] and not exchanged
            if maker and maker.kind == "matmul" and alone:
                return maker.name
        return ""

    def _balanced(self, laid: Laid, told: Told, budget: int) -> Laid:
        """The section with so many compute tiles of each socket, those of some stages as the mapping says."""
        sockets, count = self.fabric.sockets, laid.count
        times = {stage.name: self._times_of(stage) for stage in laid.own}
        shares = {stage.name: n // sockets for stage in laid.own if (n := told[stage.name])}
        if free := [name for name in times if name not in shares]:
            left = budget - sum(shares.values())
            shares |= zip(free, balanced([times[name] for name in free], left, tokens=count), strict=True)
        servers = {name: sockets * n for name, n in shares.items()}
        servers |= {stage.name: servers[stage.tail_of] for stage in laid.stages if stage.tail_of}
        stages = [each(shares[name]) for name, each in times.items()]
        ring, links = self._exchanged(laid.ops)
        between = [*self._moved(laid.ops), *ring, *links]
        moved = [[cycles // count] for cycles in between]
        estimated = passing([*stages, *moved], count, shared=sum(ring) // count)
        return replace(laid, servers=servers, estimated=estimated)

    def _exchanged(self, ops: Sequence[Op]) -> tuple[list[int], list[int]]:
        """Cycles of the ring for each exchange between sockets, and of a link for each tensor that comes whole."""
        sharing, tensors = self.fabric.sharing, self.graph.tensors
        gathered = {self.reading.maker(op.inputs[0]) for op in ops if op.name in sharing.gathered}
        if not (sharing.ring and (gathered or any(op.name in sharing.summed for op in ops))):
            return [], []
        sizes = [("all_gather", tensors[name].bytes) for name in sorted(gathered)]
        sizes += [("reduce_scatter", tensors[op.name].bytes) for op in ops if op.name in sharing.summed]
        ring = self.fabric.design.units[sharing.ring]
        each = [ring.cycles(work(kind, bytes=size, sockets=sharing.sockets)) for kind, size in sizes]
        rate = self.fabric.net.link_bandwidth if self.fabric.mesh else None
        whole = [size for kind, size in sizes if kind == "all_gather"]
        return each, [ceil(size / rate) for size in whole if rate]

    def _moved(self, ops: Sequence[Op]) -> tuple[int, int]:
        """Cycles in which activations of other sections come, and those for other sections leave."""
        key = tuple(op.name for op in ops)
        if key not in self._moves:
            read = set().union(*map(self.reading.reads, ops)).difference(key)
            come = {name for name in read if self.graph.tensors[name].role is Role.ACTIVATION}
            left = {op.name for op in ops if self.reading.read_elsewhere(op.name, key)}
            self._moves[key] = self.carried_cycles(come), self.carried_cycles(left)
        return self._moves[key]

    def _fitted(self, laid: Laid, told: Told) -> Laid:
        """The section with fewer places or compute tiles where there are not enough memory tiles."""
        holding = self.fabric.holding
        # Places of pieces leave a quarter of the tiles for what is read faster than as many tiles as hold it allow.
        while not laid.resident and laid.places > 2 and self.builder(laid).holding_tiles * 4 > holding.count * 3:
            laid = replace(laid, places=laid.places // 2)
        while (builder := self.builder(laid)).memory_tiles > holding.count:
            # What has no room is refused; what is read too fast gets fewer compute tiles, which read more slowly.
            sockets = self.fabric.sockets
            budget = laid.tiles // sockets
            least = sum((told[stage.name] or sockets) // sockets for stage in laid.own)
            shrinks = budget > least
            demand = builder.holding_tiles if shrinks else builder.memory_tiles
            check_fits(
                "the streams between its stages, and what they load", f"units.{self.fabric.memory}.count", demand,
                holding.count, f"units.{self.fabric.memory}.count={demand}", f"a larger units.{self.fabric.memory}"
                ".capacity", "shorter tokens: fewer rows of `fuse`", where=self._told_as(laid),
            )  # fmt: skip
            fewer = min(budget - 1, budget * holding.count // builder.memory_tiles)
            laid = self._balanced(laid, told, max(least, fewer))
        return laid

    def _times_of(self, stage: Stage) -> Times:
        """Cycles of some tokens of the stage by its tiles on each socket; the same function for equal stages."""
        samples, sockets, unit = stage.samples(), self.fabric.sockets, self.fabric.computing
        if samples not in self._times:
            links = [sum(n * self._link_cycles(stage, item) for item, n in token) for token in samples]

            @lru_cache(None)
            def times(tiles: int) -> tuple[int, ...]:
                busy = (sum(n * unit.cycles(item, sockets * tiles) for item, n in token) for token in samples)
                return tuple(max(cycles, link // tiles) for cycles, link in zip(busy, links, strict=True))

            self._times[samples] = times
        return self._times[samples]

    def _link_cycles(self, stage: Stage, item: Work) -> int:
        """Cycles of a tile's links for what a firing takes or gives in parts, with other streams beside it."""
        if not self.fabric.mesh:
            return 0
        if stage.kind in THREE_PASSES:
            elements, operands = item["heads"] * item["queries"] * item["keys"], 1
        else:
            activations = [name for name in stage.op.inputs if not self.graph.in_memory(name).role.stored]
            elements, operands = item.elements, 1 if stage.kind == "matmul" else max(1, len(activations))
        size = operands * self.graph.tensors[stage.op.name].format.bytes((elements,))
        return ceil(BESIDE * size / (self.fabric.sockets * self.fabric.net.link_bandwidth))
