"""Mesh: the switches of a fabric and the links between them."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, model_validator

from archsim.quantity import BytesPerCycle, Count, Cycles, Limit
from archsim.units.unit import Unit
from dataflow.op import Work
from dataflow.task import UNLIMITED

MOST = 1 << 18  # switches: the loads of all links of larger ones would take minutes and gigabytes


class Mesh(Unit):
    """Switches in rows x columns, joined to their neighbours by links in both directions; streams are routed over it.

    route: hops x hop_cycles + load / link_bandwidth cycles. `load` are the bytes that pass the busiest link on the way
    for a token, those of other streams with it; a mapper schedules the hops with the first token of a stream alone,
    because the tokens behind it follow at the rate of the links.
    """

    kinds = ("route",)

    kind: Literal["mesh"]
    arbitration: Literal["placed"] = Field("placed", description="placed: every stream has a way of its own")
    count: Limit = Field(UNLIMITED, description="streams at once; their loads share the links")
    rows: Count = Field(description="switches from top to bottom; beside each stands a tile")
    columns: Count = Field(description="switches from left to right")
    hop_cycles: Cycles = Field(description="cycles from a switch to the next")
    link_bandwidth: BytesPerCycle = Field(description="of a link, in one direction")

    @model_validator(mode="after")
    def _of_a_size(self) -> Mesh:
        if self.rows * self.columns > MOST:
            raise ValueError(f"{self.rows} rows x {self.columns} columns; a mesh has {MOST:,} switches at most")
        return self

    def _cycles(self, work: Work) -> Fraction:
        return work["hops"] * self.hop_cycles + work["load"] / self.link_bandwidth
