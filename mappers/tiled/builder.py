"""TiledBuilder: adds products in tiles: each operand's tiles come hop by hop, stay while they serve, and leave."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from archsim.units import Memory
from dataflow.graph import Op
from dataflow.op import OP_KINDS
from dataflow.order import Order
from dataflow.pattern import repeating
from dataflow.role import Role
from dataflow.section import Section
from dataflow.task import Stream
from mappers.build.op_builder import OpBuilder, Operand, each_size
from mappers.build.section_builder import NO_ORDERS
from mappers.tiled.nest import Nest
from mappers.tiled.operands import Moved
from mappers.tiled.product import lies_in
from mappers.tiled.turns import Turn, order_of

LAST = 2**62  # an op behind all others: of new rows of a cache until the op is known that reads the cache


class Life(NamedTuple):
    """The first and the last op, by number, during which a stream has tokens."""

    begin: int
    end: int

    def meets(self, other: Life) -> bool:
        """True where both have tokens during some op."""
        return self.begin <= other.end and other.begin <= self.end


ALWAYS = Life(0, LAST)


@dataclass(slots=True)
class TiledBuilder(OpBuilder):
    """A section in the making whose products run in tiles.

    `together` has the groups of tasks that take turns on their units. `turn` counts the ops, or groups of them, which
    are added one after another: it is that of the present one.
    """

    together: list[tuple[Turn, ...]] = field(default_factory=list)
    turn: int = 0
    _lives: dict[str, Life] = field(default_factory=dict)  # of the streams that lie in memories
    _life: Life = ALWAYS  # of the streams that are being added
    _leaving: dict[str, list[str]] = field(default_factory=dict)  # those by which the new rows of a cache leave

    def begin(self, turn: int, ops: Sequence[Op]) -> None:
        """Says which op, or group of ops, is added from now on: when it ends the new rows that it reads have left."""
        self.turn, self._life = turn, Life(turn, turn)
        for name in {name for op in ops for name in op.inputs}:
            for stream in self._leaving.get(name, ()):
                self._lives[stream] = self._lives[stream]._replace(end=turn)

    @contextmanager
    def living(self, *, early: int = 0, end: int | None = None) -> Iterator[None]:
        """What is added meanwhile may begin so many ops before the present one, and ends with the op of this number."""
        self._life = Life(self.turn - early, self.turn if end is None else end)
        yield
        self._life = Life(self.turn, self.turn)

    def stream(self, producer: str, consumer: str, depth: int, **details: Any) -> None:
        """As SectionBuilder.stream; which streams share places of a memory is found when the section is made."""
        OpBuilder.stream(self, producer, consumer, depth, **details)  # super() does not know a class with slots
        self._lives[self.streams[-1].name] = self._life

    def leave(self, op: Op, task: str, result: Operand, first: int) -> str:
        """As OpBuilder.leave. Nothing but loads of a cache waits for its new rows, which leave beside later ops."""
        rows, before = result.role is Role.CACHE, len(self.streams)
        with self.living(end=LAST if rows else None):
            call = OpBuilder.leave(self, op, task, result, first)
        if rows:
            self._rows_leave(op, before)
        return call

    def _rows_leave(self, op: Op, before: int) -> None:
        """Keeps which streams new rows of the op leave by: all that were added after so many."""
        for cache in self._caches[op.name]:
            self._leaving[cache] = [stream.name for stream in self.streams[before:]]

    def section(self, name: str, *, orders: Mapping[str, Order] = NO_ORDERS) -> Section:
        """As SectionBuilder.section, with the orders of units whose tasks take turns."""
        self.streams = placed(self.streams, self._lives)
        units = dict.fromkeys(self.tasks[turn.task].unit for group in self.together for turn in group)
        turns = {unit: tuple(order_of(unit, self.tasks, self.together)) for unit in units}
        return OpBuilder.section(self, name, orders={**orders, **turns})

    def room_for_tiles(self, memory: str, *, before: int = 0) -> int:
        """Bytes of a memory that the tiles of this op may take, or may take during so many ops `before` it."""
        turn = self.turn - before
        taken = sum(
            one.bytes for one in self.streams if one.memory == memory and self._lives[one.name].meets(Life(turn, turn))
        )
        return max(0, int(self._free(memory) * self.lying.part_of_room) - taken)

    def room_beside(self, memory: str) -> int:
        """Bytes of a memory beside the tensors that lie in it."""
        return self._free(memory)

    def tiled(
        self, op: Op, name: str, unit: str, moved: Sequence[Moved], nest: Nest, *, servers: int, buffers: int,
        results: int, after: Sequence[str], early: Sequence[str] | None,
    ) -> list[str]:  # fmt: skip
        """Adds a product, a firing for each tile. Returns the calls after which the next op may begin.

        A load of a tile waits until one of at most `buffers` places is free, which is when the stay of an earlier tile
        has ended; tiles that are made have at most `results` places. Loads of weights wait for the calls of `early`, if
        told, and others for those of `after`, as the product does.
        """
        axes = OP_KINDS[op.kind].axes
        self.part = op.kind
        runs = [(op.work.part(**dict(zip(axes, sizes, strict=True))), n) for sizes, n in nest.runs(axes)]
        first = self.compute(name, runs, after, unit=unit, op=name, tiles=nest.boxes(axes), servers=servers)
        done = [name]
        for place, one in enumerate(moved):
            places = one.places(nest, results if one.made else buffers)
            if one.made:
                with self.living(end=LAST if one.role is Role.CACHE else None):
                    done += self._leave(op, name, one, nest, first, places)
                continue
            learned = one.role.learned
            load = f"load {name}" if place == 0 else f"load {name} {one.tensor.rpartition('.')[2]}"
            self.part = self.part_of_load(one.role)
            with self.living(early=int(learned and early is not None)):
                self._come(load, one, one.comes(nest), name, places, _begins(nest, one, first))
            freed = f"{load} freed, of {places}"
            self.stream(name, load, places, gives=repeating(*_ends(nest, one, first)), initial=places, name=freed)
            self.call(load, early if learned and early is not None else after)
        return done

    def _come(
        self, load: str, one: Moved, pieces: Sequence[tuple[int, int]], reader: str, places: int,
        takes: Sequence[tuple[int, int]],
    ) -> None:  # fmt: skip
        """Adds the tasks that bring tiles to the reader, which takes them as told, in runs of tokens.

        From the memory nearest to it the unit reads a tile while it works on it: that hop holds up the next stay.
        """
        largest = max(size for size, _ in pieces)
        beside = lies_in(self.design, one)
        last = self.task(load, one.way[0], each_size("read", pieces), role=one.role)
        for hop in one.way[1:]:
            passed = f"{load} on chip" if hop == one.way[-1] else f"{load} through {hop}"
            stored = isinstance(self.design.units[hop], Memory)
            self.task(passed, hop, each_size("read" if stored else "move", pieces), role=one.role)
            name = f"{last} > {passed}"
            self.stream(last, passed, places, token_bytes=largest, name=name, memory=hop if stored else "")
            if hop == beside:
                self.also(name, reader, repeating(*takes))
            last = passed
        if not beside:
            self.stream(last, reader, places, takes=repeating(*takes), token_bytes=largest)
        else:
            # The first stay waits for nobody, so one signal is there at the start; the last one is left over.
            self.stream(last, reader, places + 1, takes=repeating(*takes), initial=1)
            self._last[reader].append(last)  # what comes after the op waits for its last tile to be read

    def _leave(self, op: Op, name: str, one: Moved, nest: Nest, first: int, places: int) -> list[str]:
        """Adds the way out of tiles that are made, and the way back of those that are not summed up; their calls."""
        rows, before = one.role is Role.CACHE, len(self.streams)
        self.part = op.kind if rows else f"{one.role} store"
        store = f"store {name}" if rows else f"store {name} {one.role} in {one.way[0]}"
        pieces = one.comes(nest)
        largest, last, memory = max(size for size, _ in pieces), name, lies_in(self.design, one)
        for hop in reversed(one.way):
            passed = store if hop == one.way[0] else f"{store} through {hop}"
            stored = isinstance(self.design.units[hop], Memory)
            self.task(passed, hop, each_size("write" if stored else "move", pieces), role=one.role)
            # A tile is made in the place in which it lies until it has left, which counts once.
            inside = last == name and memory
            self.stream(
                last, passed, places, gives=repeating(*_ends(nest, one, first)) if last == name else 1,
                token_bytes=0 if memory and not inside else largest, memory=memory if inside else "",
            )  # fmt: skip
            last = passed
        begins = repeating(*_begins(nest, one, first))
        self.stream(store, name, places, takes=begins, initial=places, name=f"{store} freed, of {places}")
        self.call(store)
        if one.again(nest) > 1:
            self._come_back(store, one, nest, name, first, places)
        if rows:
            self._stores.update(dict.fromkeys(self._caches[op.name], store))
            self._rows_leave(op, before)
        return [] if rows else [store]

    def _come_back(self, store: str, one: Moved, nest: Nest, name: str, first: int, places: int) -> None:
        """Adds the loads of sums that left before they were complete; each waits until its tile has been stored."""
        load, visits = f"load sums of {name}", nest.visits(one.axes)
        stay = nest.steps // nest.stays(one.axes)
        pieces = [(one.bytes(sizes), n) for (sizes, again, _), n in visits if again]
        takes = [run for (_, again, _), n in visits for run in at_begins(int(again), stay, n)]
        freed = [run for (_, again, _), n in visits for run in at_ends(int(again), stay, n)]
        self.part = self.part_of_load(one.role)
        self._come(load, one, pieces, name, places, [(0, first), *takes])
        given = repeating((0, first), *freed)
        self.stream(name, load, places, gives=given, initial=places, name=f"{load} freed, of {places}")
        stored = repeating(*((int(not good), n) for (_, _, good), n in visits))
        self.stream(store, load, nest.stays(one.axes), gives=stored)


def placed(streams: Sequence[Stream], lives: Mapping[str, Life]) -> list[Stream]:
    """The streams, each that lies in a memory at a byte where none lies that has tokens during the same op.

    The largest come first, each at the first byte from which there is room for it.
    """
    lying: dict[str, list[tuple[int, int, Life]]] = {}  # by memory, in order of their bytes: from, to, during
    at: dict[str, int] = {}
    for one in sorted(streams, key=lambda one: one.bytes, reverse=True):
        if not one.memory or not one.bytes:
            continue
        life, others, byte = lives[one.name], lying.setdefault(one.memory, []), 0
        for begin, end, other in others:
            if byte + one.bytes > begin and life.meets(other):
                byte = max(byte, end)
        insort(others, (byte, byte + one.bytes, life))
        at[one.name] = byte
    return [replace(one, at=at[one.name]) if one.name in at else one for one in streams]


def at_begins(token: int, steps: int, many: int) -> list[tuple[int, int]]:
    """The tokens of the steps of so many stays, one at the beginning of each."""
    return [(token, many)] if steps == 1 else [(token, 1), (0, steps - 1)] * many


def at_ends(token: int, steps: int, many: int) -> list[tuple[int, int]]:
    """The tokens of the steps of so many stays, one at the end of each."""
    return [(token, many)] if steps == 1 else [(0, steps - 1), (token, 1)] * many


def _begins(nest: Nest, one: Moved, first: int) -> list[tuple[int, int]]:
    """A token at the first step of each stay, after so many firings of a launch."""
    return [(0, first), *_at_stays(nest, one, at_begins)]


def _ends(nest: Nest, one: Moved, first: int) -> list[tuple[int, int]]:
    """A token at the last step of each stay, after a launch too."""
    return [(0, first), *_at_stays(nest, one, at_ends)]


def _at_stays(
    nest: Nest, one: Moved, at: Callable[[int, int, int], list[tuple[int, int]]]
) -> Iterator[tuple[int, int]]:
    """A token in each stay for which a tile comes or leaves."""
    steps, stays = nest.steps // nest.stays(one.axes), nest.stays(one.axes)
    runs = [(good, n) for (_, _, good), n in nest.visits(one.axes)] if one.complete else [(True, stays)]
    for moves, n in runs:
        yield from at(int(moves), steps, n)
