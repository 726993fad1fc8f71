"""TiledBuilder: adds products in tiles: each operand's tiles come hop by hop, stay while they serve, and leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from archsim.units import Memory
from dataflow.graph import Op
from dataflow.op import OP_KINDS
from dataflow.pattern import repeating
from dataflow.role import Role
from dataflow.section import Section
from mappers.build.op_builder import Ahead, OpBuilder, each_size
from mappers.tiled.nest import Nest
from mappers.tiled.operands import Moved
from mappers.tiled.search import lies_in
from mappers.tiled.turns import Turn, order_of


@dataclass(slots=True)
class TiledBuilder(OpBuilder):
    """A section in the making whose products run in tiles.

    `together` has the groups of tasks that take turns on their units.
    """

    together: list[tuple[Turn, ...]] = field(default_factory=list)

    def section(self, name: str) -> Section:
        """As SectionBuilder.section, with the orders of units whose tasks take turns."""
        made = OpBuilder.section(self, name)  # super() does not know a class with slots
        units = dict.fromkeys(self.tasks[turn.task].unit for group in self.together for turn in group)
        orders = {unit: tuple(order_of(unit, self.tasks, self.together)) for unit in units}
        return replace(made, orders=orders) if orders else made

    def room_for_tiles(self, memory: str) -> int:
        """Bytes of a memory that the tiles of an op may take."""
        return int(self._free(memory) * self.lying.part_of_room / self.shares)

    def room_beside(self, memory: str) -> int:
        """Bytes of a memory beside the tensors that lie in it."""
        return self._free(memory)

    def tiled(
        self, op: Op, name: str, unit: str, moved: Sequence[Moved], nest: Nest, *, servers: int, buffers: int,
        after: Sequence[str], ahead: Ahead, beside: bool = False,
    ) -> list[str]:  # fmt: skip
        """Adds a product, a firing for each tile. Returns the calls after which the next op may begin.

        A load of a tile waits until one of `buffers` places is free, which is when the stay of an earlier tile has
        ended. Loads of weights run `ahead`, others wait for the calls of `after`, as the product does. Where it runs
        `beside` other ops it has queues of its own.
        """
        own = f"{name} " if beside else ""
        axes = OP_KINDS[op.kind].axes
        self.part = op.kind
        runs = [(op.work.part(**dict(zip(axes, sizes, strict=True))), n) for sizes, n in nest.runs(axes)]
        first = self.compute(name, runs, after, unit=unit, op=name, tiles=nest.boxes(axes), servers=servers)
        done = [name]
        for place, one in enumerate(moved):
            if one.made:
                done += self._leave(op, name, one, nest, first, buffers, f"{own}{one.role} of {one.way[0]} {place}")
                continue
            learned = one.role.learned
            load = f"load {name}" if place == 0 else f"load {name} {one.tensor.rpartition('.')[2]}"
            flow = f"{own}{ahead.flow} {place}" if learned else f"{own}{one.role} of {one.way[0]} {place}"
            self.part = self.part_of_load(one.role)
            self._come(load, one, one.comes(nest), name, flow, buffers, _begins(nest, one, first))
            freed = f"{load} freed"
            self.stream(name, load, buffers, gives=repeating(*_ends(nest, one, first)), initial=buffers, name=freed)
            self.call(load, ahead.after if learned else after)
        return done

    def _come(
        self, load: str, one: Moved, pieces: Sequence[tuple[int, int]], reader: str, flow: str, buffers: int,
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
            name, memory = f"{last} > {passed}", hop if stored else ""
            self.stream(
                last, passed, buffers, token_bytes=largest, name=name, fifo=f"{flow} into {hop}", memory=memory
            )  # fmt: skip
            if hop == beside:
                self.also(name, reader, repeating(*takes))
            last = passed
        if not beside:
            self.stream(last, reader, buffers, takes=repeating(*takes), token_bytes=largest)
        else:
            # The first stay waits for nobody, so one signal is there at the start; the last one is left over.
            self.stream(last, reader, buffers + 1, takes=repeating(*takes), initial=1)
            self._last[reader].append(last)  # what comes after the op waits for its last tile to be read

    def _leave(
        self, op: Op, name: str, one: Moved, nest: Nest, first: int, buffers: int, flow: str
    ) -> list[str]:  # fmt: skip
        """Adds the way out of tiles that are made, and the way back of those that are not summed up; their calls."""
        rows = one.role is Role.CACHE
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
                last, passed, buffers, gives=repeating(*_ends(nest, one, first)) if last == name else 1,
                token_bytes=0 if memory and not inside else largest, fifo=f"{flow} outward into {hop}",
                memory=memory if inside else "",
            )  # fmt: skip
            last = passed
        begins = repeating(*_begins(nest, one, first))
        self.stream(store, name, buffers, takes=begins, initial=buffers, name=f"{store} freed")
        self.call(store)
        if nest.again(one.axes) > 1:
            self._come_back(store, one, nest, name, first, buffers, f"sums of {flow}")
        if rows:
            self._stores.update(dict.fromkeys(self._caches[op.name], store))
        return [] if rows else [store]

    def _come_back(self, store: str, one: Moved, nest: Nest, name: str, first: int, buffers: int, flow: str) -> None:
        """Adds the loads of sums that left before they were complete; each waits until its tile has been stored."""
        load, visits = f"load sums of {name}", nest.visits(one.axes)
        stay = nest.steps // nest.stays(one.axes)
        pieces = [(one.bytes(sizes), n) for (sizes, again, _), n in visits if again]
        takes = [run for (_, again, _), n in visits for run in at_begins(int(again), stay, n)]
        freed = [run for (_, again, _), n in visits for run in at_ends(int(again), stay, n)]
        self.part = self.part_of_load(one.role)
        self._come(load, one, pieces, name, flow, buffers, [(0, first), *takes])
        self.stream(name, load, buffers, gives=repeating((0, first), *freed), initial=buffers, name=f"{load} freed")
        stored = repeating(*((int(not good), n) for (_, _, good), n in visits))
        self.stream(store, load, nest.stays(one.axes), gives=stored)


def at_begins(token: int, steps: int, many: int) -> list[tuple[int, int]]:
    """The tokens of the steps of so many stays, one at the beginning of each."""
    return [(token, many)] if steps == 1 else [(token, 1), (0, steps - 1)] * many


def at_ends(token: int, steps: int, many: int) -> list[tuple[int, int]]:
    """The tokens of the steps of so many stays, one at the end of each."""
    return [(token, many)] if steps == 1 else [(0, steps - 1), (token, 1)] * many


def _begins(nest: Nest, one: Moved, first: int) -> list[tuple[int, int]]:
    """A token at the first step of each stay, after so many firings of a launch."""
    return [(0, first), *at_begins(1, nest.steps // nest.stays(one.axes), nest.stays(one.axes))]


def _ends(nest: Nest, one: Moved, first: int) -> list[tuple[int, int]]:
    """A token at the last step of each stay, after a launch too."""
    return [(0, first), *at_ends(1, nest.steps // nest.stays(one.axes), nest.stays(one.axes))]
