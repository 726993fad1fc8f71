"""The kinds of hardware: KINDS lists them by name, and a design's units are read as AnyUnit."""

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from archsim.units.array import Array
from archsim.units.arrivals import Arrivals
from archsim.units.attention import DecodeAttention, PrefillAttention
from archsim.units.compute_tile import ComputeTile
from archsim.units.core_array import CoreArray
from archsim.units.gpu import Gpu
from archsim.units.host import Host
from archsim.units.launcher import Launcher
from archsim.units.matmul_array import MatmulArray
from archsim.units.memory import Channel, Memory
from archsim.units.memory_tile import MemoryTile
from archsim.units.mesh import Mesh
from archsim.units.node import Node
from archsim.units.ring import Ring
from archsim.units.selector import HashComparator, KvManager, ThresholdUnit
from archsim.units.table_lookup import TableLookup, WeightBuffer, WeightLoader
from archsim.units.tile_tail import TileTail
from archsim.units.unit import Unit, ceil_div
from archsim.units.vector import Norm, Vector

KINDS: dict[str, type[Unit]] = {
    kind.model_fields["kind"].annotation.__args__[0]: kind  # type: ignore[union-attr]
    for kind in (
        Array, Arrivals, Channel, ComputeTile, CoreArray, DecodeAttention, Gpu, HashComparator, Host, KvManager,
        Launcher, MatmulArray, Memory, MemoryTile, Mesh, Node, Norm, PrefillAttention, Ring, TableLookup, ThresholdUnit,
        TileTail, Vector, WeightBuffer, WeightLoader,
    )
}  # fmt: skip


def any_unit() -> Any:
    """The type of a unit of any kind, told apart by `kind`."""
    return Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


if TYPE_CHECKING:
    AnyUnit = Unit  # a type checker cannot read the members from KINDS
else:
    AnyUnit = any_unit()

__all__ = [
    "KINDS", "AnyUnit", "Array", "Arrivals", "Channel", "ComputeTile", "CoreArray", "DecodeAttention", "Gpu",
    "HashComparator", "Host", "KvManager", "Launcher", "MatmulArray", "Memory", "MemoryTile", "Mesh", "Node", "Norm",
    "PrefillAttention", "Ring", "TableLookup", "ThresholdUnit", "TileTail", "Unit", "Vector", "WeightBuffer",
    "WeightLoader", "any_unit", "ceil_div",
]  # fmt: skip
