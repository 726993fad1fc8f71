"""What several mappers check: that a demand fits a resource, and that a design declares nothing that they ignore."""

from __future__ import annotations

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Memory


def check_fits(
    what: str, resource: str, demand: int, capacity: int, *ways: str, where: str = "", dimension: str | None = None
) -> None:
    """Raises MappingError, with these amounts and ways out, where more is asked of the resource than there is."""
    if demand > capacity:
        raise MappingError(
            what, where=where, resource=resource, demand=demand, capacity=capacity, dimension=dimension, ways_out=ways
        )


def check_memory(what: str, design: Design, memory: str, demand: int, *ways: str) -> None:
    """Raises MappingError where a memory of the design holds fewer bytes than are asked of it."""
    unit: Memory = design.units[memory]  # type: ignore[assignment]
    path = f"units.{memory}.capacity"
    check_fits(what, path, demand, unit.capacity, *ways, "a larger capacity", dimension="bytes")


def check_no_placement(design: Design) -> None:
    """Raises MappingError for paths, homes and rules, for mappers that find units by their kinds and links."""
    for key in ("paths", "home", "place"):
        if getattr(design, key):
            raise MappingError(
                f"{key}: this mapper finds its units and memories by their kinds and links",
                ways_out=("--mapper temporal",),
            )


def check_no_fifos(design: Design) -> None:
    """Raises MappingError for depths under `fifos`, for mappers that join units by links alone."""
    # Depths that no stream would use are refused, not ignored.
    if design.fifos:
        raise MappingError("fifos: this mapper joins units by the design's links", ways_out=("links with a depth",))
