"""Fabric: the units of a design that ops are laid out on, found by their kinds. Knows units, no ops."""

from __future__ import annotations

from dataclasses import dataclass

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import ComputeTile, Launcher, MemoryTile, Mesh, TileTail, Unit
from mappers.spatial.sharing import Sharing
from mappers.spatial.stages import Stage

# Kinds of units of which a fabric has one, or may have one.
PARTS: tuple[tuple[type[Unit], bool], ...] = (
    (ComputeTile, True), (TileTail, False), (MemoryTile, True), (Launcher, False), (Mesh, False)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fabric:
    """The tiles of a design, their tails, its launcher and mesh by name, or empty, and how sockets share a graph."""

    design: Design
    compute: str
    tail: str
    memory: str
    launcher: str
    mesh: str
    sharing: Sharing

    @property
    def sockets(self) -> int:
        """Sockets that work on a graph together."""
        return self.sharing.sockets

    @property
    def computing(self) -> ComputeTile:
        """The compute tiles."""
        unit = self.design.units[self.compute]
        assert isinstance(unit, ComputeTile)
        return unit

    @property
    def holding(self) -> MemoryTile:
        """The memory tiles."""
        unit = self.design.units[self.memory]
        assert isinstance(unit, MemoryTile)
        return unit

    @property
    def net(self) -> Mesh:
        """The mesh of a socket."""
        unit = self.design.units[self.mesh]
        assert isinstance(unit, Mesh)
        return unit

    def unit_of(self, stage: Stage) -> ComputeTile | TileTail:
        """The tiles that a stage runs on, or their tails."""
        unit = self.design.units[self.tail if stage.tail_of else self.compute]
        assert isinstance(unit, ComputeTile | TileTail)
        return unit

    def tiles_for(self, size: int) -> int:
        """Memory tiles that hold so many bytes, as many on each socket; one on each at least."""
        return self.sockets * max(1, -(-size // (self.sockets * int(self.holding.capacity))))


def fabric_of(design: Design, sharing: Sharing) -> Fabric:
    """The fabric of a design. Raises MappingError where it lacks tiles, or has several units of a kind."""
    names = []
    for kind, needed in PARTS:
        found = list(design.of_kind(kind))
        if len(found) > 1 or (needed and not found):
            there = f"units {' and '.join(map(repr, found))} are" if found else "no unit is"
            what = kind.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]
            raise MappingError(
                f"{there} of kind {what}; ops are laid out in space on one of them", where=f"design '{design.name}'",
                ways_out=("mapping: {order: time} in the design", "units of kind node, for attention alone"),
            )  # fmt: skip
        names.append(found[0] if found else "")
    compute, tail, memory, launcher, mesh = names
    return Fabric(design, compute, tail, memory, launcher, mesh, sharing)
