"""Floor: where the stages of a section lie on a grid of tiles, and what passes between neighbours. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Spot = tuple[int, int]  # row and column


@dataclass(frozen=True, slots=True)
class Floor:
    """The placed tiles of a section on one of `sockets` alike.

    `computing` and `holding` say for each spot which stage lies there, or which task reads what lies there. `loads` are
    bytes from a spot to its neighbour for each token of the section, on average.
    """

    rows: int
    columns: int
    sockets: int
    computing: Mapping[Spot, str]
    holding: Mapping[Spot, str]
    loads: Mapping[tuple[Spot, Spot], float]
