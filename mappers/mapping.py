"""Mapping: where each op runs and in what tiles, as data that is printed, edited, saved and used again.

Knows names and numbers. Does not know what they cost.
"""

from __future__ import annotations

from collections.abc import Mapping as Entries
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, Field

from archsim.files.document import read_text, write
from archsim.files.provenance import FROZEN, Fitted, Sourced
from archsim.files.shipped import found
from archsim.quantity import Count
from dataflow.graph import Op
from dataflow.name import Name


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
    assumed: dict[str, str] = Field(default_factory=dict, description="dotted path -> why this number was assumed")
    fitted: dict[str, Fitted] = Field(default_factory=dict, description="dotted path -> the point it was fitted to")

    def of(self, op: Op) -> OpMapping | None:
        """The first entry that names this op."""
        return next((one for key, one in self.ops.items() if self.names(key, op)), None)

    @staticmethod
    def names(key: str, op: Op) -> bool:
        """True where an entry of this key is for the op."""
        return fnmatchcase(op.name, key)

    def __str__(self) -> str:
        return self.name

    def written(self) -> str:
        """Its YAML, which reads back to itself."""
        return write(self.document.data)


def mapping_of(name: str, source: str, ops: Entries[str, OpMapping]) -> Mapping:
    """The mapping with these entries."""
    data: dict[str, Any] = {"name": name, "version": 1, "source": source}
    data["ops"] = {key: one.model_dump(mode="json") for key, one in ops.items()}
    return Mapping.read(read_text(write(data), path=name))


def load_mapping(name: str) -> Mapping:
    """The mapping of a shipped name, or of a path. Raises DesignError with every problem of the file."""
    return Mapping.read(found(name, "mappings", "mapping"))
