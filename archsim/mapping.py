"""Mapping: where each op runs and in what tiles, as data that is printed, edited, saved and used again.

Knows names and numbers. Does not know what they cost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Entries
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from archsim.files.document import Document, write
from archsim.files.provenance import FROZEN, Fitted, Sourced
from archsim.files.shipped import found
from archsim.quantity import Count, Written
from dataflow.errors import InputError, quoted
from dataflow.graph import Op
from dataflow.name import LONGEST_NAME, Name


def _part(value: Any, _: Fraction | None) -> Fraction:
    written = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", value) if isinstance(value, str) else None
    if value in (1, "1") and not isinstance(value, bool):
        return Fraction(1)
    if written and 0 < int(written[1]) <= int(written[2]):
        return Fraction(int(written[1]), int(written[2]))
    raise InputError(f"expected a part such as 1/3, above 0 and at most 1, got {quoted(value)}")


Part = Annotated[Fraction, Written("part", "1/3", _part, 1)]


class OpMapping(BaseModel):
    """Where an op runs, with how many servers at once, in what tiles, and how far its loads run ahead."""

    model_config = FROZEN

    unit: str = Field(description="the unit that does the op")
    servers: Count = Field(1, description="servers of the unit that do each tile together")
    tile: dict[str, Count] = Field(description="axis of the op -> its extent in a tile; the last one may be smaller")
    order: tuple[str, ...] = Field(description="the loops over tiles, outermost first: every axis of the op")
    buffers: Count = Field(2, description="places for tiles of each operand in the memory nearest to the unit")
    ahead: Literal["op", "next_op"] = Field(
        "op", description="loads of weights begin with the op, or run beside the one before"
    )


class Room(BaseModel):
    """How the room of memories is shared between tensors that lie there and what passes in tiles and pieces."""

    model_config = FROZEN

    kept: Part = Field(description="of a memory that tiles and pieces pass, the part in which no activation lies")
    piece: Part = Field(description="of the room of a piece of an op without tiles, the part that it takes at most")
    places: Count = Field(description="places of each queue of such pieces")

    def written(self) -> dict[str, Any]:
        """As a file has it."""
        parts = {"kept": self.kept, "piece": self.piece}
        return {name: 1 if part == 1 else str(part) for name, part in parts.items()} | {"places": self.places}


class Mapping(Sourced):
    """How the ops of a graph are mapped on a design.

    Frozen. A variant is `mapping.with_({"ops.gemm.tile.m": 64})`, which edits the written form and reads it again.
    """

    name: Name = Field(description="the name that reports print")
    version: Literal[1] = Field(1, description="version of this form of file")
    source: str = Field(description="who chose it, and by what")
    ops: dict[str, OpMapping] = Field(
        description="op -> its mapping; of ops that repeat in layers a pattern such as layer*.q; an op that no entry "
        "names is mapped by the mapper"
    )
    room: Room | None = Field(None, description="how memories are shared; chosen by the mapper unless given")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    def of(self, op: Op) -> OpMapping | None:
        """The first entry that names this op."""
        return next((one for key, one in self.ops.items() if self.names(key, op)), None)

    @staticmethod
    def names(key: str, op: Op) -> bool:
        """True where an entry of this key is for the op."""
        return op.name == key or fnmatchcase(op.name, key)

    def __str__(self) -> str:
        """The name, and the paths that a variant changed with their values."""
        values = ", ".join(f"{path}={value}" for path, value in self.changed().items())
        return f"{self.name} ({values})" if values else self.name

    def completed(self, ops: Entries[str, OpMapping], room: Room) -> Mapping:
        """The mapping with these entries behind its own, and with this room unless it has one."""
        added = {key: one for key, one in _written(ops).items() if key not in self.ops}
        if not added and self.room is not None:
            return self
        data = self.document.data
        shared = data["room"] if self.room is not None else room.written()
        return Mapping.read(replace(self.document, data={**data, "ops": {**data["ops"], **added}, "room": shared}))

    def without_room(self) -> Mapping:
        """The mapping with the room left open."""
        data = {key: value for key, value in self.document.data.items() if key != "room"}
        return Mapping.read(replace(self.document, data=data))

    def written(self) -> str:
        """Its YAML, which reads back to itself."""
        return write(self.document.data)


def mapping_of(name: str, source: str, ops: Entries[str, OpMapping], room: Room | None = None) -> Mapping:
    """The mapping with these entries; of a name that no file can have what a file can."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)[:LONGEST_NAME].strip() or "mapping"
    data: dict[str, Any] = {"name": name, "version": 1, "source": source, "ops": _written(ops)}
    if room is not None:
        data["room"] = room.written()
    return Mapping.read(Document(name, data))


def _written(ops: Entries[str, OpMapping]) -> dict[str, Any]:
    return {key: one.model_dump(mode="json") for key, one in ops.items()}


def load_mapping(name: str) -> Mapping:
    """The mapping of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return Mapping.read(found(name, "mappings", "mapping"))
