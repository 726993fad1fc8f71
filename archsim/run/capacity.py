"""Capacity: what lies in each memory while a section runs, and the law that it fits.

Knows tensors and queues that lie in memories. Does not know when tokens come and go: a queue takes all of its places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from archsim.design.design import Design
from archsim.quantity import show

QUEUES = "queues"  # beside roles: the places of streams
NOWHERE = ""  # what lies in no memory of the design
NO_QUEUES: Mapping[str, int] = {}

Holds = Mapping[tuple[str, str], int]  # bytes by (memory, role)
Held = dict[str, dict[str, int]]  # bytes by memory, then by role


class Overfull(NamedTuple):
    """A memory that is asked to hold more than it can: what lies in it, by role, and its capacity in bytes."""

    memory: str
    contents: Mapping[str, int]
    capacity: int

    @property
    def demand(self) -> int:
        """Bytes asked of it."""
        return sum(self.contents.values())

    def __str__(self) -> str:
        inside = ", ".join(f"{role} {show(n, 'bytes')}" for role, n in self.contents.items() if n)
        return f"'{self.memory}' is to hold {inside}"


def held(*holds: Holds, queues: Mapping[str, int] = NO_QUEUES) -> Held:
    """What lies in each memory, by role: tensors, and the places of streams; what lies in none is under NOWHERE."""
    found: Held = {}
    for each in (*holds, {(memory, QUEUES): size for memory, size in queues.items()}):
        for (memory, role), size in each.items():
            inside = found.setdefault(memory, {})
            inside[role] = inside.get(role, 0) + size
    return found


def overfull(inside: Held, design: Design) -> Iterator[Overfull]:
    """The memories that cannot hold what lies in them; a name that is no memory of the design holds nothing."""
    for memory, contents in inside.items():
        unit = design.units.get(memory)
        capacity = unit.holds_bytes if unit is not None else 0
        if memory != NOWHERE and sum(contents.values()) > capacity:
            yield Overfull(memory, contents, capacity)
