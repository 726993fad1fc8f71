"""Tiling: how an op is cut, as data that reports print. Nothing is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class TiledOperand(NamedTuple):
    """An operand of a tiled op: how often each of its tiles comes or leaves, and the bytes of all over each hop."""

    tensor: str
    role: str
    way: tuple[str, ...]
    times: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """An op, or a pattern of equal ones: its unit and servers, the extents of a tile by axis, and its loops.

    `order` has the loops that turn, outermost first; without any the op is one tile. What lies beside the unit is no
    operand here. `estimated_cycles` are of one of the ops; short ones were chosen by a run instead.
    """

    op: str
    unit: str
    servers: int
    tile: Mapping[str, int]
    order: tuple[str, ...]
    tiles: int
    operands: tuple[TiledOperand, ...]
    estimated_cycles: int
