"""Laying: which ops stand in a section together, and the sections one after another.

Knows layers and kernels. Does not know how ops fit a section.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from archsim.errors import MappingError
from archsim.mapping import NOTHING, Fused
from dataflow.graph import Op
from dataflow.kinds.attention import THREE_PASSES
from dataflow.op import work
from dataflow.role import Role
from dataflow.section import Section
from mappers.build.layers import key_of
from mappers.build.placement import homes_of
from mappers.spatial.attention import scores_of
from mappers.spatial.builder import Matrix, SpaceBuilder
from mappers.spatial.fit import keys_of
from mappers.spatial.fitting import Fitting, Laid
from mappers.spatial.stages import tokens_of

KERNEL = ("configure", "enter")  # what launches a kernel; one that runs again is entered alone
NEAR = 200  # within a part in so many is as fast
WORTH = 1.1  # a section that memory tiles hold up by less is not cut
HALVES = 3  # places at which a section is cut in two, if that may help


class Made(NamedTuple):
    """A section, the ops of its first layer, the layers that it is of, and what lies in memory beside activations."""

    section: Section
    ops: Sequence[Op]
    scopes: tuple[str, ...]
    beside: Mapping[tuple[str, str], int]


class Part(NamedTuple):
    """A section for some layers: what launches it, and the matrices that it holds from before and loads ahead."""

    name: str
    scopes: tuple[str, ...]
    launch: Sequence[str]
    held: Sequence[Matrix]
    ahead: Sequence[Matrix]


@dataclass(slots=True)
class Laying:
    """Lays groups of ops out in sections.

    `entries` and `together` say what was chosen, as a mapping does, `told` what could not be done as asked, `ideal` the
    bytes that no memory reads, by role, and `kept` the activations that go to memory.
    """

    fitting: Fitting
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    together: list[dict[str, Any]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    ideal: Counter[str] = field(default_factory=Counter)
    kept: set[str] = field(default_factory=set)

    def group(self, ops: Sequence[Op], scopes: tuple[str, ...]) -> Iterator[Made]:
        """The sections of ops that repeat together."""
        found = [laid for alike, fused in self._alike(ops, scopes) for laid in self._cut(alike, scopes, fused)]
        for laid in found:
            self._say(laid, scopes)
        if len(scopes) > 1 and len(found) == 1:
            yield from self._again(found[0], scopes)
            return
        if len(scopes) > 1 and self.fitting.given.loop == "layers":
            self.told.append(f"loop: a layer takes {len(found)} sections, so that each is launched in every layer")
        yield from self._one_after_another(found, scopes)

    def _say(self, laid: Laid, scopes: tuple[str, ...]) -> None:
        """Keeps what was chosen for a section."""
        for stage in laid.own:
            entry: dict[str, Any] = {"servers": laid.servers[stage.name]}
            if stage.alone and stage.last and laid.tokens:
                # Of passes that stand apart the op says `tile` for all three; a group would fuse them.
                tokens = laid.tokens
                entry["tile"] = {"batch": max(1, tokens.sequences), "queries": min(tokens.each, tokens.rows)}
            self.entries[keys_of(stage.op, scopes)[stage.kind]] = entry
        if not laid.stages[0].alone:
            rows = {} if laid.tokens is None else {"rows": laid.tokens.each}
            self.together.append({"ops": [key_of(op, scopes) for op in laid.ops], **rows})

    def _one_after_another(self, found: Sequence[Laid], scopes: tuple[str, ...]) -> Iterator[Made]:
        """Sections of different ops, each a kernel of its own; those of a layer repeat together."""
        together = scopes[0] if len(scopes) > 1 else ""
        held: Sequence[Matrix] = ()
        for laid, then in zip_longest(found, found[1:]):
            ahead = self._ahead(laid, held, then) if then else ()
            name = f"layers: {laid.within}" if together else laid.named
            made = self._made(laid, Part(name, scopes, KERNEL, held, ahead))
            yield made._replace(section=replace(made.section, round=together))
            held = ahead

    def _again(self, laid: Laid, scopes: tuple[str, ...]) -> Iterator[Made]:
        """A section that runs for layer after layer: the first loads what it needs, each also what the next needs."""
        again = () if self.fitting.given.loop == "layers" else KERNEL[1:]
        ahead, first, last = self._ahead(laid, None, laid), scopes[0].rstrip("."), scopes[-1].rstrip(".")
        parts = [Part(first, scopes[:1], KERNEL, (), ahead)]
        if ahead and len(scopes) > 2:
            parts.append(Part("layers", scopes[1:-1], again, ahead, ahead))
        rest = scopes[-1:] if ahead else scopes[1:]
        parts.append(Part("layers" if len(rest) > 1 else last, rest, again, ahead, ()))
        yield from (self._made(laid, part) for part in parts)

    def _ahead(self, laid: Laid, held: Sequence[Matrix] | None, then: Laid) -> Sequence[Matrix]:
        """The first matrices of the section behind for which this one has room; with None it holds as many itself."""
        if self.fitting.given.ahead == "op":
            return ()
        builder, count = self.fitting.builder, self.fitting.fabric.holding.count
        matrices = builder(then).matrices
        low, high = 0, len(matrices)  # so many fit, and more than so many do not
        while low < high:
            middle = (low + high + 1) // 2
            some = matrices[:middle]
            # The first layer holds nothing yet, and those behind it hold what the one before has loaded.
            here = [builder(laid, held=own, ahead=some) for own in ([(), some] if held is None else [held])]
            fits = max(one.memory_tiles for one in [*here, builder(then, held=some)]) <= count
            low, high = (middle, high) if fits else (low, middle - 1)
        return matrices[:low] if held is not None else matrices[: self._enough(laid, matrices[:low])]

    def _enough(self, laid: Laid, matrices: Sequence[Matrix]) -> int:
        """The fewest of these first matrices with which a layer that holds and loads them is as fast as with all.

        What the first layer loads for the next is one load more, and the last has that much less to load.
        """
        low, high = 0, len(matrices)
        best = self.fitting.taken(laid, matrices) if high else 0
        while low < high:
            middle = (low + high) // 2
            near = self.fitting.taken(laid, matrices[:middle]) * NEAR <= best * (NEAR + 1)
            low, high = (low, middle) if near else (middle + 1, high)
        return high

    def _made(self, laid: Laid, part: Part) -> Made:
        builder = self.fitting.builder(
            laid, part.scopes, launch=part.launch, held=part.held, ahead=part.ahead, routed=True
        )
        floor = None if builder.routes is None else builder.routes.floor()
        section = replace(builder.section(part.name), floor=floor)
        self.ideal.update(builder.ideal)
        self.kept.update(builder.kept)
        return Made(section, laid.ops, part.scopes, self._beside(laid, builder))

    def _beside(self, laid: Laid, builder: SpaceBuilder) -> Mapping[tuple[str, str], int]:
        """Scores that lie in memory between the passes of attention: those that are read, and those that are made."""
        homes, stage = homes_of(builder.design, Role.ACTIVATION), laid.stages[0]
        if not (stage.alone and homes):
            return {}
        size = sum(size * n for size, n in scores_of(builder, stage))
        return {(homes[0], Role.ACTIVATION.value): size * (1 + (stage.kind == THREE_PASSES[1]))}

    def _alike(self, ops: Sequence[Op], scopes: tuple[str, ...]) -> Iterator[tuple[list[Op], Fused | None]]:
        """Ops that may stand together: their rows pass together, and the mapping says nothing else."""
        groups = {name: fused for fused in self.fitting.given.fuse for name in fused.ops}
        alike: list[Op] = []
        now: Fused | None = None
        for op in ops:
            fused = groups.get(key_of(op, scopes))
            if alike and (fused is not now or not self._joins(op, alike, fused)):
                if fused is not None and fused is now:
                    told = f"'{op.name}' reads other rows than those that pass the ops before it; fuse them apart"
                    path = f"fuse.{self.fitting.given.fuse.index(fused)}.ops"
                    raise MappingError(self.fitting.given.document.problem(path, told))
                yield alike, now
                alike = []
            alike.append(op)
            now = fused
        yield alike, now

    def _joins(self, op: Op, alike: Sequence[Op], fused: Fused | None) -> bool:
        reading, graph = self.fitting.reading, self.fitting.graph
        rows = tokens_of(op, graph)
        if rows is None or rows != tokens_of(alike[0], graph) or reading.rearranged(op, alike):
            return False
        if fused is not None or self.fitting.given.sections == "fit":
            return True
        return op.kind != "attention" and reading.side_by_side(op, alike)

    def _cut(self, ops: list[Op], scopes: tuple[str, ...], fused: Fused | None) -> Iterator[Laid]:
        """As few sections as fit, each with as many ops as fit; or the one that the mapping says."""
        rows = None if fused is None else fused.rows
        if fused is None and self.fitting.given.sections == "op" and ops[0].kind == "attention":
            yield from self._passes(ops, scopes)
            return
        while ops:
            fitting, beyond, found, tried = 0, len(ops) + 1, None, len(ops)
            while fitting < tried < beyond:
                try:
                    found, fitting = self.fitting.laid(ops[:tried], scopes, rows), tried
                except MappingError as refusal:
                    if refusal.demand is None or (fused is not None and len(ops) > 1):
                        raise
                    beyond = tried
                tried = (fitting + beyond) // 2
            if found is None:
                found, fitting = self.fitting.laid(ops[:1], scopes, rows, again=True), 1
            yield from self._split(found, scopes) if fused is None else [found]
            ops = ops[fitting:]

    def _passes(self, ops: list[Op], scopes: tuple[str, ...]) -> Sequence[Laid]:
        """A section for each pass of attention, in tokens of as many rows each: what one leaves the next one reads."""
        if tile := self.fitting.given.ops.get(key_of(ops[0], scopes), NOTHING).tile:
            wanted = {tile.get("batch", 1) * tile.get("queries", ops[0].work["queries"])}
        else:
            alone = [self.fitting.laid(ops, scopes, None, only=kind).tokens for kind in THREE_PASSES]
            wanted = {tokens.each for tokens in alone if tokens}
        found: list[list[Laid]] = []
        refusals: list[MappingError] = []
        for rows in sorted(wanted):
            try:
                found.append([self.fitting.laid(ops, scopes, rows, only=kind) for kind in THREE_PASSES])
            except MappingError as refusal:
                refusals.append(refusal)
        if not found:
            raise refusals[0]
        return min(found, key=lambda passes: sum(laid.least for laid in passes))

    def _split(self, laid: Laid, scopes: tuple[str, ...]) -> Sequence[Laid]:
        """The section, or two of its halves where memory tiles hold it up for longer than the cut takes."""
        best: tuple[int, Sequence[Laid]] = laid.least, [laid]
        # One token waits for each stage in turn; if its matrices come meanwhile, no cut makes that shorter.
        unhindered = self.fitting.loaded_cycles(laid) if laid.count == 1 else laid.unhindered
        taken = laid.least if laid.count == 1 else laid.estimated
        if taken <= WORTH * unhindered or len(laid.ops) == 1:
            return best[1]
        ops, learned = list(laid.ops), self.fitting.reading.learned_bytes
        whole = sum(map(learned, ops))
        halves = sorted(range(1, len(ops)), key=lambda n: abs(2 * sum(map(learned, ops[:n])) - whole))
        for n in halves[:HALVES]:
            try:
                parts = [self.fitting.laid(part, scopes, None) for part in (ops[:n], ops[n:])]
            except MappingError:
                continue
            cycles = sum(part.least for part in parts) + self._between(ops[:n], ops[n:])
            best = min(best, (cycles, parts), key=lambda one: one[0])
        return best[1]

    def _between(self, first: Sequence[Op], second: Sequence[Op]) -> int:
        """Cycles that a cut takes: another launch, and what passes leaves and comes back."""
        launcher, made = self.fitting.fabric.launcher, {op.name for op in first}
        units, passed = self.fitting.fabric.design.units, set().union(*map(self.fitting.reading.reads, second)) & made
        launch = sum(units[launcher].cycles(work(kind)) for kind in KERNEL) if launcher else 0
        return launch + 2 * self.fitting.carried_cycles(passed)
