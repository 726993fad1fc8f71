"""What several mappers check: that a demand fits a resource, and that a design declares nothing that they ignore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.mapping import Mapping
from archsim.run.capacity import NOWHERE, QUEUES, Held, held, overfull
from archsim.units.fifo_memory import bytes_on_chip
from dataflow.graph import Graph
from dataflow.role import LEARNED, Role
from dataflow.schedule import Schedule
from mappers.build.placement import memories_outward


def check_fits(
    what: str, resource: str, demand: int, capacity: int, *ways: str, where: str = "", dimension: str | None = None
) -> None:
    """Raises MappingError, with these amounts and ways out, where more is asked of the resource than there is."""
    if demand > capacity:
        raise MappingError(
            what, where=where, resource=resource, demand=demand, capacity=capacity, dimension=dimension, ways_out=ways
        )


def check_capacity(
    inside: Held, design: Design, graph: Graph, where: str = "", *, ways: Sequence[str] = ()
) -> None:  # fmt: skip
    """Raises MappingError where a memory is asked to hold more than it can; `ways` out come before the others."""
    for found in overfull(inside, design):
        roles = {role for role, size in found.contents.items() if size}
        raise MappingError(
            str(found), where=where or f"'{graph.name}'", resource=f"units.{found.memory}.capacity",
            demand=found.demand, capacity=found.capacity, dimension="bytes",
            ways_out=(*ways, *_ways_out(roles, design, graph, found.memory), "a larger capacity"),
        )  # fmt: skip


def _ways_out(roles: set[str], design: Design, graph: Graph, memory: str) -> Iterator[str]:
    """What makes less lie in the memory, of these roles."""
    phase = graph.phase.facts() if graph.phase.name else {}
    if roles & set(LEARNED):
        yield "a smaller model"
    if Role.ACTIVATION in roles:
        yield from (f"home: {{activation: {outer}}} in the design" for outer in [*memories_outward(design, memory)][:1])
    if roles - set(LEARNED) - {QUEUES}:
        yield from (f"a shorter {name}" for name in ("prompt", "context") if (phase.get(name) or 0) > 1)
        yield from ["a smaller batch"] if (phase.get("batch") or 0) > 1 else []
    if Role.CACHE in roles and getattr(design.units[memory], "cache_region", None):
        yield "a smaller cache_region"


def check_schedule(schedule: Schedule, design: Design) -> None:
    """Raises MappingError where, in some section, a memory or the queues of an FPGA are asked to hold too much."""
    mapped = any(isinstance(value, Mapping) for value in schedule.options.values())
    smaller = ("smaller tiles in the mapping",) if mapped else ()
    chip = bytes_on_chip(design.resources.budget) if design.resources else None
    for section in schedule.sections:
        where = f"section '{section.name}' of '{schedule.graph.name}'"
        queues = section.queues()
        inside = held(schedule.holds, section.holds, queues=queues)
        check_capacity(inside, design, schedule.graph, where, ways=smaller if queues else ())
        if chip is not None:
            what, ways = "its queues lie in LUTs and block RAM", ("shallower links or fifos", "a larger FPGA")
            demand = queues.get(NOWHERE, 0)
            check_fits(what, "resources.budget", demand, chip, *ways, where=where, dimension="bytes")


def check_no_placement(design: Design, *keys: str) -> None:
    """Raises MappingError for what these keys say of placement, for mappers that find units by kinds and links."""
    for key in keys:
        if getattr(design, key):
            raise MappingError(
                f"{key}: this mapper finds its units{' and memories' * (key != 'place')} by their kinds and links",
                ways_out=("--mapper tiled",),
            )


def check_no_fifos(design: Design) -> None:
    """Raises MappingError for depths under `fifos`, for mappers that join units by links alone."""
    # Depths that no stream would use are refused, not ignored.
    if design.fifos:
        raise MappingError("fifos: this mapper joins units by the design's links", ways_out=("links with a depth",))
