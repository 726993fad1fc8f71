"""Mapping: where each op runs and in what tiles, as data that is printed, edited, saved and used again.

Knows names and numbers. Does not know what they cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as Entries
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from archsim.files.document import Document, write
from archsim.files.provenance import FROZEN, Fitted, Sourced
from archsim.files.shipped import found
from archsim.quantity import Count, Written
from dataflow.errors import InputError, PathProblems, quoted
from dataflow.graph import Op
from dataflow.name import Name
from dataflow.op import OP_KINDS
from dataflow.overview import counted

PART = r"([0-9]{1,4})/([0-9]{1,4})"


def _part(value: Any, _: Fraction | None) -> Fraction:
    written = re.fullmatch(PART, value) if isinstance(value, str) else None
    if value in (1, "1") and not isinstance(value, bool):
        return Fraction(1)
    if written and 0 < int(written[1]) <= int(written[2]):
        return Fraction(int(written[1]), int(written[2]))
    raise InputError(f"expected a part such as 1/3, above 0 and at most 1, got {quoted(value)}")


PART_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": f"^(1|{PART})$"}, {"const": 1}], "unit": "part", "examples": ["1/3", 1],
}  # fmt: skip
Part = Annotated[Fraction, Written("part", "1/3", _part, 1), WithJsonSchema(PART_SCHEMA)]


Ahead = Literal["op", "next_op"]


@dataclass(frozen=True, slots=True)
class OpMapping:
    """How an op is mapped, with nothing left open: see Entry."""

    unit: str
    servers: int
    tile: Entries[str, int]
    order: tuple[str, ...]
    buffers: int
    results: int
    ahead: Ahead


class Entry(BaseModel):
    """Where an op runs, with how many servers at once, in what tiles, and how far its loads run ahead.

    What it leaves out is as for all ops of the mapping, or chosen.
    """

    model_config = FROZEN

    unit: str | None = Field(None, description="the unit that does the op; by the design's rules unless given")
    servers: Count | None = Field(
        None, description="servers of the unit that do each tile together; all of an array's unless given"
    )
    tile: dict[str, Count] = Field(
        default_factory=dict, description="axis of the op -> its extent in a tile; the last one may be smaller"
    )
    order: tuple[str, ...] | None = Field(
        None, description="the loops over tiles, outermost first: every axis of the op; chosen unless given"
    )
    buffers: Count | None = Field(None, description="as of the mapping, for this op")
    results: Count | None = Field(
        None, description="places for tiles of what the op makes; `buffers` or one, as serves better, unless given"
    )
    ahead: Ahead | None = Field(None, description="as of the mapping, for this op")


class _Tile:
    """`search`, `whole`, or the extents of a tile."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_tile)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        extents = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}
        return {"anyOf": [{"enum": ["search", "whole"]}, extents], "examples": ["search", {"m": 64, "n": 64, "k": 64}]}


def _tile(value: Any) -> str | dict[str, int]:
    if value in ("search", "whole"):
        return str(value)
    if not isinstance(value, Entries) or not value:
        raise ValueError(f"expected search, whole, or extents such as {{m: 64, n: 64, k: 64}}, got {quoted(value)}")
    wrong = [
        (str(axis), f"expected a whole number from 1 on, got {quoted(size)}")
        for axis, size in value.items()
        if isinstance(size, bool) or not isinstance(size, int) or size < 1
    ]
    if wrong:
        raise PathProblems(wrong)
    return {str(axis): size for axis, size in value.items()}


Tile = Annotated[str | dict[str, int], _Tile]


class Room(BaseModel):
    """How the room of memories is shared between tensors that lie there and what passes in tiles and pieces."""

    model_config = FROZEN

    kept: Part = Field(description="of a memory that tiles and pieces pass, the part in which no activation lies")
    piece: Part = Field(description="of the room that is left, the part that tiles and pieces take at most")
    places: Count = Field(description="places of each queue of pieces")

    def written(self) -> dict[str, Any]:
        """As a file has it."""
        parts = {"kept": self.kept, "piece": self.piece}
        return {name: 1 if part == 1 else str(part) for name, part in parts.items()} | {"places": self.places}


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("expected names of ops that run together, got none")
    return names


class Fused(BaseModel):
    """Ops that run together, some rows at a time, so that what passes between them is never there whole."""

    model_config = FROZEN

    ops: Annotated[tuple[str, ...], AfterValidator(_some)] = Field(
        description="names of ops that follow one another, or patterns such as layer*.gate"
    )
    rows: Count | None = Field(None, description="rows that pass the ops at a time; chosen unless given")
    columns: Count | None = Field(
        None, description="columns that pass at a time, where no op needs whole rows; all, or chosen with the rows"
    )


class _OrNone:
    """A list, or the word none, for editors."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"const": "none"}, handler(schema)]}


class Choices(BaseModel):
    """What is said of how ops run; the mapper chooses the rest."""

    model_config = FROZEN

    order: Literal["time", "space"] = Field(
        "time", description="time: ops one after another, on the units that they share; space: each on tiles of its own"
    )
    sections: Literal["fit", "op"] = Field(
        "fit", description="in space. fit: as many ops side by side as fit; op: a section, and a launch, for each"
    )
    loop: Literal["none", "layers"] = Field(
        "none", description="in space. layers: one launch for all layers, if a layer is one section; none: one for each"
    )
    tile: Tile = Field("search", description="search: what takes least; whole: one tile of all; or axis -> extent")
    buffers: Count = Field(2, description="places for tiles of each operand in the memory nearest to the unit")
    ahead: Ahead = Field("next_op", description="loads of weights begin with their op, or run beside the one before")
    cost: Literal["cycles", "bytes"] = Field("cycles", description="what tiles are chosen by")
    fuse: Annotated[
        tuple[Fused, ...], BeforeValidator(lambda value: () if value == "none" else value), _OrNone
    ] = Field(
        (), description="groups of ops that run together, each with its ops, rows and columns; none unless given"
    )
    ops: dict[str, Entry] = Field(
        default_factory=dict,
        description="op -> what is said of it; of ops that repeat in layers a pattern such as layer*.q",
    )
    room: Room | None = Field(None, description="how memories are shared; chosen by the mapper unless given")

    def entry(self, op: Op) -> Entry:
        """The first entry that names this op; an empty one where none does."""
        return self.ops.get(self.key_of(op), NOTHING)

    def key_of(self, op: Op) -> str:
        """The key of the first entry that names this op; empty where none does."""
        return next((key for key in self.ops if self.names(key, op)), "")

    def tile_of(self, op: Op) -> dict[str, int]:
        """The extents of a tile of the op that are given, by axis; the others are chosen."""
        own, extents = self.entry(op).tile, {axis: op.work[axis] for axis in OP_KINDS[op.kind].axes}
        if own:
            return dict(own)
        if isinstance(self.tile, str):
            return extents if self.tile == "whole" else {}
        return {axis: min(size, extents[axis]) for axis, size in self.tile.items() if axis in extents}

    @staticmethod
    def names(key: str, op: Op) -> bool:
        """True where an entry of this key is for the op."""
        return op.name == key or fnmatchcase(op.name, key)


NOTHING = Entry()
# Mappers of old that are mappings now: what a design says in their place.
FORMER_MAPPERS = {
    "streaming": "mapping: {order: space}", "temporal": "mapping: {order: time, tile: whole, buffers: 1, ahead: op}"
}  # fmt: skip
FIELD = re.compile(rf"ops\.(.+?)(?:\.({'|'.join(Entry.model_fields)})(\..+)?)?")


class Mapping(Choices, Sourced):
    """How the ops of a graph are mapped on a design.

    Frozen. A variant is `mapping.with_({"ops.gemm.tile.m": 64})`, which edits the written form and reads it again.
    """

    rows: ClassVar = ("ops", "op", ("unit", "tile", "order"))

    name: Name = Field(description="the name that reports print")
    version: Literal[1] = Field(1, description="version of this form of file")
    source: str = Field(description="who chose it, and by what")
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    def __str__(self) -> str:
        """The name, and the paths that a variant changed with their values."""
        values = ", ".join(f"{path}={value}" for path, value in self.changed().items())
        return f"{self.name} ({values})" if values else self.name

    def __repr__(self) -> str:
        return f"<Mapping {self}: order {self.order}, {counted(len(self.ops), 'op')}>"

    def with_(self, changes: Entries[str, Any]) -> Mapping:
        """As Sourced.with_; what is said of an op that has no entry yet becomes one."""
        opened = self.opened(changes) if isinstance(changes, Entries) else self.document
        return super(Mapping, self.read(opened)).with_(changes)

    def opened(self, paths: Iterable[str]) -> Document:
        """The written form with an empty entry for each op that these paths are about and that has none."""
        data = {**self.document.data, "ops": dict(self.document.data.get("ops") or {})}
        for path in paths:
            if isinstance(path, str) and (found := FIELD.fullmatch(path)):
                key, field, below = found.groups()
                if not field and any(key.startswith(f"{known}.") for known in data["ops"]):
                    continue  # a misspelt field of that entry
                entry = dict(data["ops"].get(key, {}))
                data["ops"][key] = {field: {}, **entry} if below else entry
        return replace(self.document, data=data)

    def completed(self, ops: Entries[str, OpMapping], parts: Entries[int, dict[str, int]], room: Room) -> Mapping:
        """The mapping with all that was chosen; itself where it says all of that.

        Chosen are these entries of ops, rows and columns of fused groups by their places, and this room.
        """
        data, said = self.document.data, self.document.data.get("ops", {})
        written = {key: {**self._entry(one), **said.get(key, {})} for key, one in ops.items()}
        # Of a tile that is given in part the rest was chosen.
        written = {key: {**entry, "tile": dict(ops[key].tile)} for key, entry in written.items()}
        kept = {key: one for key, one in said.items() if key not in written}
        whole = {**data, "ops": {**written, **kept}, "room": room.written()}
        if self.fuse:
            whole["fuse"] = [{**one, **parts.get(i, {})} for i, one in enumerate(data["fuse"])]
        return self if whole == data else Mapping.read(replace(self.document, data=whole))

    def laid_out(self, ops: Entries[str, Entries[str, Any]], groups: list[dict[str, Any]]) -> Mapping:
        """The mapping with what was chosen in space: these entries of stages, and these groups of ops in sections."""
        data = self.document.data
        said = {key: one for key, one in data.get("ops", {}).items() if key not in ops}
        whole = {**data, "ops": {**{key: dict(one) for key, one in ops.items()}, **said}, "fuse": groups}
        return self if whole == data else Mapping.read(replace(self.document, data=whole))

    def without_room(self) -> Mapping:
        """The mapping with the room left open."""
        data = {key: value for key, value in self.document.data.items() if key != "room"}
        if "assumed" in data:
            data["assumed"] = {path: why for path, why in data["assumed"].items() if path.split(".")[0] != "room"}
        return Mapping.read(replace(self.document, data=data))

    def written(self) -> str:
        """Its YAML, which reads back to itself."""
        return write(self.document.data)

    def _entry(self, one: OpMapping) -> dict[str, Any]:
        """The entry of an op, as a file has it: without what is as for all ops."""
        entry: dict[str, Any] = {
            "unit": one.unit, "servers": one.servers, "tile": dict(one.tile), "order": list(one.order)
        }  # fmt: skip
        if one.buffers != self.buffers:
            entry["buffers"] = one.buffers
        if one.results != one.buffers:
            entry["results"] = one.results
        return entry if one.ahead == self.ahead else {**entry, "ahead": one.ahead}


def load_mapping(name: str) -> Mapping:
    """The mapping of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return Mapping.read(found(name, "mappings", "mapping"))
