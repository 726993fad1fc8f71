"""The kinds of hardware: KINDS lists them by name, and a design's units are read as AnyUnit."""

from typing import Annotated

from pydantic import Field

from archsim.units.attention import DecodeAttention, PrefillAttention
from archsim.units.core_array import CoreArray
from archsim.units.gpu import Gpu
from archsim.units.host import Host
from archsim.units.matmul_array import MatmulArray
from archsim.units.memory import Channel, Memory
from archsim.units.node import Node
from archsim.units.scratchpad import Scratchpad
from archsim.units.selector import HashComparator, KvManager, ThresholdUnit
from archsim.units.table_lookup import TableLookup, WeightBuffer, WeightLoader
from archsim.units.unit import Unit
from archsim.units.vector import Norm, Vector

KINDS: dict[str, type[Unit]] = {
    "channel": Channel,
    "core_array": CoreArray,
    "decode_attention": DecodeAttention,
    "gpu": Gpu,
    "hash_comparator": HashComparator,
    "host": Host,
    "kv_manager": KvManager,
    "matmul_array": MatmulArray,
    "memory": Memory,
    "node": Node,
    "norm": Norm,
    "prefill_attention": PrefillAttention,
    "scratchpad": Scratchpad,
    "table_lookup": TableLookup,
    "threshold_unit": ThresholdUnit,
    "vector": Vector,
    "weight_buffer": WeightBuffer,
    "weight_loader": WeightLoader,
}

# Written out, because a type checker cannot read the members from KINDS; a test keeps the two equal.
AnyUnit = Annotated[
    Channel | CoreArray | DecodeAttention | Gpu | HashComparator | Host | KvManager | MatmulArray | Memory | Node | Norm
    | PrefillAttention | Scratchpad | TableLookup | ThresholdUnit | Vector | WeightBuffer | WeightLoader,
    Field(discriminator="kind"),
]  # fmt: skip

__all__ = [
    "KINDS", "AnyUnit", "Channel", "CoreArray", "DecodeAttention", "Gpu", "HashComparator", "Host", "KvManager",
    "MatmulArray", "Memory", "Node", "Norm", "PrefillAttention", "Scratchpad", "TableLookup", "ThresholdUnit", "Unit",
    "Vector", "WeightBuffer", "WeightLoader",
]  # fmt: skip
