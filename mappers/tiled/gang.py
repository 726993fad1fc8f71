"""Gangs: how many servers of a unit do a firing together unless a mapping says otherwise."""

from __future__ import annotations

from archsim.errors import MappingError
from archsim.units import Unit
from dataflow.op import Work
from mappers.tiled.operands import PRODUCTS

TOGETHER = {*PRODUCTS, "attention_scores", "attention_sums", "enter"}


def servers_of(unit: Unit, item: Work) -> int:
    """All servers of a unit that does products alone and can share a firing; else one, as its tasks have to agree."""
    if unit.count == 1 or not set(unit.does) <= TOGETHER:
        return 1
    try:
        unit.cycles(item, unit.count)
    except MappingError:
        return 1
    return unit.count
