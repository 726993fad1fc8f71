"""The kinds of hardware: one file per kind, listed here in the union that a design's units are read by."""

from typing import Annotated

from pydantic import Field

from archsim.units.attention import DecodeAttention, PrefillAttention
from archsim.units.host import Host
from archsim.units.matmul_array import MatmulArray
from archsim.units.memory import Channel, Memory
from archsim.units.node import Node
from archsim.units.scratchpad import Scratchpad
from archsim.units.table_lookup import TableLookup, WeightBuffer, WeightLoader
from archsim.units.unit import Unit
from archsim.units.vector import Norm, Vector

KINDS: dict[str, type[Unit]] = {
    "channel": Channel,
    "decode_attention": DecodeAttention,
    "host": Host,
    "matmul_array": MatmulArray,
    "memory": Memory,
    "node": Node,
    "norm": Norm,
    "prefill_attention": PrefillAttention,
    "scratchpad": Scratchpad,
    "table_lookup": TableLookup,
    "vector": Vector,
    "weight_buffer": WeightBuffer,
    "weight_loader": WeightLoader,
}

AnyUnit = Annotated[
    Channel | DecodeAttention | Host | MatmulArray | Memory | Node | Norm | PrefillAttention | Scratchpad | TableLookup
    | Vector | WeightBuffer | WeightLoader,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = [
    "KINDS", "AnyUnit", "Channel", "DecodeAttention", "Host", "MatmulArray", "Memory", "Node", "Norm",
    "PrefillAttention", "Scratchpad", "TableLookup", "Unit", "Vector", "WeightBuffer", "WeightLoader",
]  # fmt: skip
