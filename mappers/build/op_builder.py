"""OpBuilder: ops whose operands come from their homes hop by hop, in pieces, and whose results leave the same way.

Knows what several mappers move alike. Does not know the order of ops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from archsim.run.capacity import NOWHERE
from archsim.units import Memory
from dataflow.format import Format
from dataflow.graph import Op
from dataflow.op import OP_KINDS, Box, Work, work
from dataflow.pattern import sequence
from dataflow.role import Role
from mappers.build.layers import name_within
from mappers.build.lying import Lying
from mappers.build.pieces import MOST_PIECES, OpPiece, Worker, best_size, cut, even
from mappers.build.placement import Way, memories_beside, reader_of, way_from, way_in, way_of_activation
from mappers.build.section_builder import SectionBuilder, Tokens

IDEAL = "bytes of an ideal memory, or of roles without a home"
Piece = tuple[int, int, int]  # requests of a piece, tokens of each request, how many such pieces follow one another

# A piece has room for as many flows beside it (weights of the next op, resident cached keys, fetched ones), each with
# pieces that have arrived and pieces that the unit reads.
FLOWS = 4
SPILL_FLOWS = 2  # for each memory to which activations move: those read and those written
QUEUES = 2  # of a flow in a memory
PART_OF_ROWS = 8  # of such a piece: new keys and new values leave in queues of their own, one piece in all
OVERLAPPED = 8  # pieces at least of what an op makes, so that most of it leaves while the op runs


class Operand(NamedTuple):
    """Bytes that an op reads or makes, and the way from the memory in which they lie inward to the unit of the op."""

    way: Way
    size: int
    role: Role


@dataclass(slots=True)
class OpBuilder(SectionBuilder):
    """A section of ops in the making. `ops` are those of the first scope, and `lying` says where their tensors lie.

    `layers` are the scopes of all layers in which the ops are alike, where the section repeats but some of them.
    `ideal` counts the bytes, by role, that no memory reads. `estimated`: the cycles that pieces are estimated to take;
    `least`: those that their memories, channels and units need.
    """

    ops: Sequence[Op] = ()
    layers: tuple[str, ...] = ()
    lying: Lying = field(default_factory=Lying)
    ideal: Counter[str] = field(default_factory=Counter)
    estimated: int = 0
    least: int = 0
    _flows: int = field(init=False)
    _caches: dict[str, list[str]] = field(default_factory=dict)  # by the op that makes their new rows
    _stores: dict[str, str] = field(default_factory=dict)  # the call that writes the new rows of a cache

    def __post_init__(self) -> None:
        self.layers = self.layers or tuple(self.scopes)
        self.holds = self.lying.during(self.ops, self.layers)
        for one in self.graph.ops.values():
            if one.kind == "append":
                self._caches.setdefault(one.inputs[0], []).append(one.name)
        beside = memories_beside(self.design) if self.lying.places else ()
        self._flows = FLOWS + SPILL_FLOWS * sum(memory not in beside for memory, _ in self.lying.places)

    def operands(self, op: Op, unit: str) -> list[Operand]:
        """What the op reads on the unit and must come there: stored tensors, then activations that lie elsewhere."""
        found = []
        for role, size in self.graph.loads(op).items():
            if way := way_in(self.design, unit, role, f"op '{op.name}'"):
                found.append(Operand(way, size, role))
            else:
                self.ideal[role] += size * len(self.scopes)
        tensors = self.graph.tensors
        return found + self.moved(op, unit, lambda one: (n for n in one.inputs if not tensors[n].role.stored))

    def results(self, op: Op, unit: str) -> list[Operand]:
        """What the op makes on the unit and goes to another memory: activations, then new rows of a cache."""
        return self.moved(op, unit, lambda one: one.outputs) + self.rows(op, unit)

    def moved(self, op: Op, unit: str, names: Callable[[Op], Iterable[str]]) -> list[Operand]:
        """The parts of these activations of the op that do not lie beside the unit; the most of all repetitions."""
        most: dict[tuple[str, str], int] = {}
        if not self.lying.places:
            return []
        for same in self.lying.same(op, self.layers):
            for at, size in self.lying.parts_of(names(self.graph.ops[same])).items():
                most[at] = max(most.get(at, 0), size)
        ways = {
            (memory, role): way_of_activation(self.design, memory, unit, Role(role), f"op '{op.name}'")
            for memory, role in most
            if memory != NOWHERE
        }
        return [Operand(way, most[at], Role(at[1])) for at, way in ways.items() if way]

    def format_of_rows(self, op: Op) -> Format:
        """The format of the cache into which new rows of the op go."""
        return self.graph.tensors[self._caches[op.name][0]].format

    def rows(self, op: Op, unit: str) -> list[Operand]:
        """The new rows of a cache that the op makes, if any, and the way to where the op that reads the cache looks."""
        caches = self._caches.get(op.name)
        if caches is None:
            return []
        reader = next((one for one in self.graph.ops.values() if not set(caches).isdisjoint(one.inputs)), op)
        where = f"op '{op.name}'"
        reads = reader_of(self.design, reader, self.graph)
        homes = way_in(self.design, reads, Role.CACHE, where)[:1]
        ways = [way_from(self.design, home, unit, Role.CACHE, where) for home in homes]
        return [Operand(way, self.graph.bytes_stored(op), Role.CACHE) for way in ways if way]

    def room(self, way: Way, size: int) -> int:
        """Bytes of the largest piece that the memories on the way inward have room for; `size` where there are none."""
        memories = [hop for hop in way[1:] if isinstance(self.design.units[hop], Memory)]
        pieces = self._flows * QUEUES * self.lying.queue_places + 1  # and one of new rows
        return min((int(self._free(hop) * self.lying.part_of_room / pieces) for hop in memories), default=size)

    def _free(self, memory: str) -> int:
        """Bytes of a memory beside the tensors that lie in it."""
        lying = (*self.lying.stored.items(), *self.holds.items())
        taken = sum(size for (lies_in, _), size in lying if lies_in == memory)
        return max(0, self.design.units[memory].holds_bytes - taken)

    def streamed(
        self, op: Op, name: str, unit: str, operands: Sequence[Operand], results: Sequence[Operand], *,
        after: Sequence[str],
    ) -> list[str]:  # fmt: skip
        """Adds the op in pieces, each of which takes its part of the operands and gives its part of the results.

        Loads wait for the calls of `after`, as the op does. Returns the calls after which the next op may begin.
        """
        self.part = op.kind
        # Each row of an op of rows needs all that it reads of weights, so these come at once, before the first row.
        of_rows = OP_KINDS[op.kind].elementwise
        whole = [one for one in operands if of_rows and one.role.learned and not one.role.gathered]
        spilled = [one for one in results if one.role is not Role.CACHE]
        passing = [*(one for one in operands if one not in whole), *spilled]
        least = OVERLAPPED if spilled else 1
        pieces, tiles = self.pieces(op, passing, self.design.units[unit], least=least)
        first = self.compute(name, [(item, n) for item, _, n in pieces], after, unit=unit, op=name, tiles=tiles)
        firings = sum(n for _, _, n in pieces)
        largest = _largest(passing)
        for operand in operands:
            parts = even(operand.size, 1 if operand in whole else min(firings, self._many(operand)))
            if operand is largest:
                parts = [(n, t) for _, n, t in pieces if n]  # of small operands the last pieces have no byte
            load = self.load_name(name, operand, operands)
            self.part = self.part_of_load(operand.role)
            read = [(1, n, t) for n, t in parts]
            self.bring(load, operand.way, read, name, ahead=first, role=operand.role)
            self.call(load, [*after, *self.stores_before(op, operand)])
        stores = [(one, self.leave(op, name, one, first)) for one in results]
        # Nothing but loads of a cache waits for its new rows.
        return [name, *(store for one, store in stores if one.role is not Role.CACHE)]

    def part_of_load(self, role: Role) -> str:
        """The part of a report to which a load belongs."""
        return f"{'weight' if role.learned else role} load"

    def load_name(self, name: str, operand: Operand, operands: Sequence[Operand]) -> str:
        return f"load {name}" if operand is operands[0] else f"load {name} {operand.role} of {operand.way[0]}"

    def pieces(
        self, op: Op, passing: Sequence[Operand], unit: Worker, *, least: int
    ) -> tuple[Sequence[OpPiece], tuple[Box, ...]]:
        """The op cut into so many pieces at least of what passes the chip, and its tiles, if any."""
        largest = _largest(passing)
        if largest is None:
            return [(op.work, 0, 1)], ()
        total, size = sum(one.size for one in passing), largest.size
        room = min(self.room(one.way, total) for one in passing)
        stages: list[Worker] = [*(self.design.units[name] for name in largest.way), unit]
        # All of them come or go in as many pieces, so the largest has its share of the room.
        most = min(room * size // total, -(-size // least))
        places = self.lying.queue_places
        beside = [[one.size for one in passing if one is not largest and hop in one.way] for hop in largest.way]
        piece, cycles = best_size(
            size, most, lambda most: cut(op, size, most)[0], stages, places=places, beside=beside
        )
        carried = self._carried(passing)
        self.estimated += max(cycles, carried)
        self.least += max(carried, stages[-1].cycles(op.work)) if carried else cycles
        return cut(op, size, piece)

    def _carried(self, passing: Sequence[Operand]) -> int:
        """Cycles of the memory or channel that carries the most of what passes."""
        if self._flows == FLOWS:
            return 0  # the estimate of the pieces has them: nothing else moves
        sizes = Counter[str]()
        for one in passing:
            sizes.update(dict.fromkeys(one.way, one.size))
        units = {name: self.design.units[name] for name in sizes}
        return max(units[name].cycles(work(units[name].does[0], bytes=size)) for name, size in sizes.items())

    def bring(
        self, name: str, way: Way, pieces: Sequence[Piece], reader: str, *, ahead: int, role: Role,
        token_bytes: int = 1,
    ) -> str:  # fmt: skip
        """Adds the tasks that bring tokens from their home to the reader, hop by hop, in pieces; returns the first one.

        The reader takes a piece in each firing after the first `ahead`, as long as there are pieces.
        """
        sizes = [(requests * each * token_bytes, times) for requests, each, times in pieces]
        count, largest, places = sum(n for _, n in sizes), max(size for size, _ in sizes), self.lying.queue_places
        last = self.task(name, way[0], gathers(pieces, token_bytes), role=role)
        lies_in = ""
        for hop in way[1:]:
            passed = f"{name} on chip" if hop == way[-1] else f"{name} through {hop}"
            stored = isinstance(self.design.units[hop], Memory)
            self.task(passed, hop, each_size("read" if stored else "move", sizes), role=role)
            lies_in = hop if stored else lies_in  # a piece lies in the memory that it goes to, or comes from
            self.stream(last, passed, places, token_bytes=largest, memory=lies_in)
            last, lies_in = passed, hop if stored else ""
        behind = self.tasks[reader].firings - ahead - count
        takes = sequence((0, ahead), (1, count), (0, behind))
        self.stream(last, reader, places, takes=takes, token_bytes=largest, memory=lies_in)
        return name

    def leave(self, op: Op, task: str, result: Operand, first: int) -> str:
        """Adds the way out of what the task makes for the op to the memory in which it lies; returns the call.

        Activations leave in each firing after the first `first`. Rows of a cache leave at once over one hop, else in as
        few pieces as have room and overlap.
        """
        rows, firings = result.role is Role.CACHE, self.tasks[task].firings - first
        self.part = op.kind if rows else f"{result.role} store"
        few = max(self._few(result), OVERLAPPED if len(result.way) > 1 else 1)
        # One in each firing repeats in a short period; several firings to a piece do so only by chance.
        many = firings if firings <= result.size else self._many(result)
        sizes = even(result.size, min(firings, few) if rows else many)
        count = sum(n for _, n in sizes)
        # A piece leaves when the firings that make it have ended.
        gives = [
            run for n, times in even(firings, count)
            for run in ([(1, times)] if n == 1 else [(0, n - 1), (1, 1)] * times)
        ]  # fmt: skip
        name = f"store {name_within(op)}" if rows else f"store {name_within(op)} {result.role} in {result.way[0]}"
        self._take(name, result, sizes, task, gives=sequence((0, first), *gives))
        if rows:
            self._stores.update(dict.fromkeys(self._caches[op.name], name))
        return self.call(name)

    def _few(self, one: Operand) -> int:
        """As few pieces as have room."""
        room = max(1, self.room(one.way, PART_OF_ROWS * one.size) // PART_OF_ROWS)
        return -(-one.size // room)

    def _many(self, one: Operand) -> int:
        """As many pieces as serve: more would cut to single bytes what passes beside a large matrix."""
        return max(MOST_PIECES, self._few(one))

    def stores_before(self, op: Op, operand: Operand) -> list[str]:
        """The calls that write the new rows of the caches which this operand of the op brings."""
        return self.stores_of(op) if operand.role is Role.CACHE else []

    def stores_of(self, op: Op) -> list[str]:
        """The calls that write the new rows of the caches which this op reads."""
        return [self._stores[name] for name in op.inputs if name in self._stores]

    def _take(
        self, name: str, result: Operand, sizes: Sequence[tuple[int, int]], producer: str, *, gives: Tokens
    ) -> None:
        """Adds the tasks that take pieces of what the producer makes out over the way, hop by hop."""
        largest, last, lies_in = max(size for size, _ in sizes), producer, ""
        for hop in reversed(result.way):
            passed = name if hop == result.way[0] else f"{name} through {hop}"
            memory = isinstance(self.design.units[hop], Memory)
            self.task(passed, hop, each_size("write" if memory else "move", sizes), role=result.role)
            # A piece lies in the memory that it comes from, or that the unit writes it into.
            lies_in = lies_in or (hop if memory and hop != result.way[0] else "")
            self.stream(
                last, passed, self.lying.queue_places, gives=gives if last == producer else 1, token_bytes=largest,
                memory=lies_in,
            )  # fmt: skip
            last, lies_in = passed, hop if memory else ""


def _largest(passing: Sequence[Operand]) -> Operand | None:
    return max(passing, key=lambda one: one.size, default=None)


def gathers(pieces: Sequence[Piece], token_bytes: int) -> list[tuple[Work, int]]:
    """A gather for each of the pieces."""
    return [(work("gather", requests=n, bytes=each * token_bytes), times) for n, each, times in pieces]


def each_size(kind: str, sizes: Sequence[tuple[int, int]]) -> list[tuple[Work, int]]:
    """A movement for each of the sizes (bytes, how many such)."""
    return [(work(kind, bytes=size), count) for size, count in sizes]
