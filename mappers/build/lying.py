"""Lying: where the tensors of a graph lie, stored ones throughout, activations from the op that makes them on.

Knows homes, capacities and the order of ops. Does not know tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from math import ceil
from typing import NamedTuple

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Room
from archsim.run.capacity import NOWHERE, Holds
from archsim.units import Memory
from dataflow.graph import Graph, Op, Tensor
from dataflow.op import OP_KINDS
from dataflow.role import STORED, Role
from dataflow.schedule import Schedule
from mappers.build.checks import check_schedule
from mappers.build.layers import Group, name_within
from mappers.build.pieces import PLACES
from mappers.build.placement import homes_of, memories_beside, memories_outward, reader_of, way_in

# Parts of a memory that are kept for the pieces that pass it: the one that serves best.
FOR_PIECES = (Fraction(1, 3), Fraction(2, 3), Fraction(1))
# Places of each queue of pieces. With one, a piece arrives only when the one before has been read.
QUEUE_PLACES = (PLACES, 1)
PARTS_OF_ROOM = 8  # a piece takes so many parts of its room at most, or fewer where rows take more than theirs
NEAR = 50  # within a part in so many of the least time, no other part of the memory is tried
NOTHING: Holds = {}


@dataclass(frozen=True)
class Lying:
    """`stored`: bytes of stored tensors; `parts`: bytes of each activation; `live`: of all activations during an op.

    All are by (memory, role). `behind` names the tensor whose elements a free op gives in other order or part: a
    reshape gives those of its input. Where layers repeat, the op of one layer stands for that of others: `twins` has
    the scope of the layer for those of the others. `queue_places` are those of each queue of pieces, `part_of_room` is
    what a piece takes of its room at most, `share` the part of a memory that was kept for tiles and pieces.
    """

    stored: Holds = field(default_factory=dict)
    parts: Mapping[str, Holds] = field(default_factory=dict)
    live: Mapping[str, Holds] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)
    queue_places: int = PLACES
    part_of_room: Fraction = Fraction(1)
    share: Fraction = FOR_PIECES[0]

    @property
    def room(self) -> Room:
        """How memories are shared, as a mapping says it."""
        return Room(kept=str(self.share), piece=str(self.part_of_room), places=self.queue_places)

    def same(self, op: Op, scopes: Sequence[str]) -> Iterator[str]:
        """The names of this op in layers that stand for all of these scopes."""
        name = name_within(op)
        for scope in dict.fromkeys(self.twins.get(scope, scope) for scope in scopes):
            yield scope + name

    def during(self, ops: Sequence[Op], scopes: Sequence[str]) -> Holds:
        """Bytes of activations, at most, while ops run that repeat under these scopes."""
        return _most(self.live.get(name, NOTHING) for op in ops for name in self.same(op, scopes))

    def most(self) -> Holds:
        """Bytes of activations when most lie in each memory."""
        return _most(self.live.values())

    def parts_of(self, names: Iterable[str]) -> Holds:
        """Bytes of these tensors; each tensor counts once."""
        found: dict[tuple[str, str], int] = {}
        for tensor in dict.fromkeys(self.behind.get(name, name) for name in names):
            for place, size in self.parts.get(tensor, NOTHING).items():
                found[place] = found.get(place, 0) + size
        return found

    @cached_property
    def places(self) -> frozenset[tuple[str, str]]:
        """All (memory, role) in which a part of an activation lies."""
        return frozenset(place for parts in self.parts.values() for place in parts if place[0] != NOWHERE)


def _most(holds: Iterable[Holds]) -> Holds:
    found: dict[tuple[str, str], int] = {}
    for now in holds:
        for at, size in now.items():
            found[at] = max(found.get(at, 0), size)
    return found


def stored_by_home(
    graph: Graph, design: Design, groups: Iterable[Group], *, roles: Collection[Role] = STORED,
    unit_of: Callable[[Op], str] = lambda op: "",
) -> tuple[dict[tuple[str, str], int], set[str]]:  # fmt: skip
    """Bytes of stored tensors by (home, role), and the memories that they pass on the way to the units.

    `unit_of` names the unit of an op, or nothing where the design decides.
    """
    lying: dict[tuple[str, str], dict[str, int]] = {}
    passed: set[str] = set()
    for ops, scopes in groups:
        for op in ops:
            unit, where = "", f"op '{op.name}'"
            for place, name in enumerate(op.inputs):
                role = graph.in_memory(name).role
                if role not in roles:
                    continue
                unit = unit or unit_of(op) or reader_of(design, op, graph)
                way = way_in(design, unit, role, where)
                passed.update(way[1:])
                # The layers that repeat have tensors of their own.
                for scope in scopes if way else ():
                    tensor = graph.in_memory(graph.ops[scope + name_within(op)].inputs[place])
                    lying.setdefault((way[0], role), {})[tensor.name] = tensor.bytes
    return {at: sum(tensors.values()) for at, tensors in lying.items()}, passed


def lay(
    graph: Graph, design: Design, groups: Iterable[Group], stored: Holds, *, passed: Collection[str] = (),
    homes: Callable[[Role], Sequence[str]] | None = None, keeps_rows: bool = False, share: Fraction = FOR_PIECES[0],
    passing: Collection[str] = (),
) -> Lying:  # fmt: skip
    """Where the tensors lie, beside stored ones: each activation in its home, and what has no room there in the next.

    `groups` are the ops by layers, and `homes` gives the memories of a role, those of the design unless given. Of a
    memory that pieces of operands pass, a part is kept for these. An op of rows writes over an operand that no later op
    reads. New rows of a cache lie nowhere else, unless the mapper `keeps_rows` until attention has read them.
    `share` is the part that is kept; `passing` are tensors that pass between ops in streams and are never there whole.
    Raises MappingError for an activation that fits in none of its homes.
    """
    free: dict[str, int] = {}
    for name, memory in design.of_kind(Memory).items():
        rest = memory.holds_bytes - sum(size for (lies_in, _), size in stored.items() if lies_in == name)
        free[name] = max(0, rest - ceil(rest * share) if name in passed else rest)
    walk = _Walk(graph, design, homes or partial(homes_of, design), free, keeps_rows=keeps_rows, passing=passing)
    for ops, scopes in groups:
        walk.layers(ops, scopes)
    return Lying(stored, walk.parts, walk.live, walk.behind, walk.twins, share=share)


class _Walk:
    """A walk over the ops: what is free in each memory and what lies there now."""

    def __init__(
        self, graph: Graph, design: Design, homes: Callable[[Role], Sequence[str]], free: dict[str, int], *,
        keeps_rows: bool, passing: Collection[str],
    ) -> None:  # fmt: skip
        self.graph, self.design, self.homes, self.free = graph, design, homes, free
        self.now: dict[tuple[str, str], int] = {}
        self.parts: dict[str, dict[tuple[str, str], int]] = {}
        self.live: dict[str, Holds] = {}
        self.twins: dict[str, str] = {}
        self.behind: dict[str, str] = {}
        self.last: dict[str, str] = {}  # the last op that reads each tensor; of results none
        self.rows: set[str] = set()  # what only goes into a cache
        self.passing = passing
        for op in graph.ops.values():
            if op.kind == "append" and not keeps_rows:
                self.rows.add(self.behind.get(op.inputs[0], op.inputs[0]))
            elif OP_KINDS[op.kind].free:
                self.behind[op.name] = self.behind.get(op.inputs[0], op.inputs[0])
            else:
                for name in op.inputs:
                    self.last[self.behind.get(name, name)] = op.name
        self.rows -= set(self.last)
        for name, tensor in graph.tensors.items():
            if name in self.last and name not in graph.ops and not tensor.role.stored:
                self._place(name, f"tensor '{name}'")

    def layers(self, ops: Sequence[Op], scopes: Sequence[str]) -> None:
        """Walks the layers until one leaves all as the one before did; it stands for those that follow."""
        names = [name_within(op) for op in ops]
        before: object = None
        for i, scope in enumerate(scopes):
            for name in names:
                self._op(self.graph.ops[scope + name])
            left = dict(self.free), {at: size for at, size in self.now.items() if size}
            if left == before:
                self.twins |= dict.fromkeys(scopes[i + 1 :], scope)
                # What the last layer makes is read after it.
                for made in names if i + 1 < len(scopes) else ():
                    self.parts[scopes[-1] + made] = self.parts.get(scope + made, {})
                return
            before = left

    def _op(self, op: Op) -> None:
        read = dict.fromkeys(self.behind.get(name, name) for name in op.inputs)
        done = [name for name in read if name in self.parts and self.last[name] == op.name]
        over = OP_KINDS[op.kind].elementwise  # of rows: its result lies where an operand lay
        if over:
            self._let_go(done)
        for name in op.outputs:
            nowhere = name in self.rows or name in self.passing
            if name not in self.parts and not nowhere and not self.graph.tensors[name].role.stored:
                self._place(name, f"op '{op.name}'")
        self.live[op.name] = {where: size for where, size in self.now.items() if size}
        if not over:
            self._let_go(done)

    def _place(self, name: str, where: str) -> None:
        tensor = self.graph.tensors[name]
        role, left = tensor.role, tensor.bytes
        memories, parts = self.homes(role), self.parts.setdefault(name, {})
        for memory in memories or (NOWHERE,):
            size = min(left, self.free[memory]) if memories else left
            if size:
                parts[memory, role] = size
                self.now[memory, role] = self.now.get((memory, role), 0) + size
                left -= size
                if memories:
                    self.free[memory] -= size
        if left:
            raise _no_room(self.design, tensor, where, memories, tensor.bytes - left)

    def _let_go(self, names: Iterable[str]) -> None:
        for name in names:
            for (memory, role), size in self.parts[name].items():
                self.now[memory, role] -= size
                if memory != NOWHERE:
                    self.free[memory] += size


class Made(NamedTuple):
    """A schedule, the cycles that its pieces are estimated to take, and those that they need at least."""

    schedule: Schedule
    estimated: int
    least: int


def with_room(
    made: Callable[[Lying], Made], graph: Graph, design: Design, groups: list[Group], stored: Holds, *,
    passed: Collection[str], keeps_rows: bool = False, room: Room | None = None, passing: Collection[str] = (),
) -> Schedule:  # fmt: skip
    """The schedule that is made of where the tensors lie, with as much of a memory kept for pieces as serves best.

    More room for pieces makes activations spill, so several parts are tried where some do, until one is near the least
    time; with `room` only that. The rest is as for `lay`. Raises MappingError where pieces do not fit beside any.
    """
    laid = partial(lay, graph, design, groups, stored, passed=passed, keeps_rows=keeps_rows, passing=passing)
    if room is not None:
        lying = laid(share=room.kept)
        schedule = made(replace(lying, queue_places=room.places, part_of_room=room.piece)).schedule
        check_schedule(schedule, design)
        return schedule
    beside, refusals, fitting = memories_beside(design), list[MappingError](), list[Made]()
    # Another part changes something only where activations can lie elsewhere.
    for share in FOR_PIECES if len(homes_of(design, Role.ACTIVATION)) > 1 else FOR_PIECES[:1]:
        lying = laid(share=share)
        here = list(_fitting(made, design, lying, refusals))
        fitting += here
        # Where nothing spills, more room for pieces would only take it away.
        spills = any(memory not in beside for memory, _ in lying.places)
        if any(not spills or one.estimated * NEAR <= one.least * (NEAR + 1) for one in here):
            break
    if fitting:
        return min(fitting, key=lambda one: one.estimated).schedule  # the first of equals
    # What all of a memory, or the most that was tried, has no room for; of these what asks for least.
    raise min(refusals, key=lambda refusal: (-(refusal.capacity or 0), refusal.demand or 0))


def _fitting(
    made: Callable[[Lying], Made], design: Design, lying: Lying, refusals: list[MappingError]
) -> Iterator[Made]:
    """For each number of places what fits with the most of its room; adds to the refusals what does not fit."""
    for places in QUEUE_PLACES:
        fits, more, found = 0, PARTS_OF_ROOM + 1, None  # so many parts fit, and so many more do not
        refused: dict[str, int] = {}  # the parts that did not fit, by what was told
        parts = PARTS_OF_ROOM
        while fits < parts < more:
            try:
                one = made(replace(lying, queue_places=places, part_of_room=Fraction(parts, PARTS_OF_ROOM)))
                check_schedule(one.schedule, design)
                fits, found = parts, one
                parts = (fits + more) // 2
            except MappingError as refusal:
                if refusal.demand is None:  # of no amount of room
                    raise
                refusals.append(refusal)
                if not fits and refused.setdefault(str(refusal), parts) >= 2 * parts:
                    break  # half the room asks for as much, so that it is no matter of the room
                even = parts * (refusal.capacity or 0) // (refusal.demand or 1)  # where each part asks for as much
                # Sizes of pieces go by halves, so that one part less may halve what is asked, but no more.
                more = min(parts, 2 * even + 2)
                parts = even if fits < even < more else (fits + more) // 2
        if found:
            yield found
        if fits == PARTS_OF_ROOM:
            return


def told_of_activations(lying: Lying, design: Design) -> Iterator[str]:
    """How activations are simplified."""
    if not homes_of(design, Role.ACTIVATION):
        yield "activations have no home: they take no room and move no bytes"
    lies_in = {memory for memory, role in lying.places if role == Role.ACTIVATION}
    for memory in (name for name in design.units if name in lies_in):
        if memory in memories_beside(design):
            yield f"activations in '{memory}' are used in place: the rates of the units cover their bytes"
        else:
            yield (
                f"activations in '{memory}' are written once, and read once by each op that reads them; by products as "
                "often as their loops say"
            )


def _no_room(design: Design, tensor: Tensor, where: str, homes: Sequence[str], room: int) -> MappingError:
    outward = next(memories_outward(design, homes[-1]), "a memory further out")
    further = f"home: {{{tensor.role}: [{', '.join([*homes, outward])}]}} in the design"
    return MappingError(
        f"{tensor.role} '{tensor.name}' fits nowhere beside what lies there already", where=where,
        resource=f"room in {' and '.join(map(repr, homes))}", demand=tensor.bytes, capacity=room, dimension="bytes",
        ways_out=(further, "a larger capacity", "a shorter prompt or a smaller batch"),
    )  # fmt: skip
