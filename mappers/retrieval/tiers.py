"""The tiers that cached keys and values lie in: which units of a design they are, and whether they hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import Memory
from dataflow.graph import Graph

if TYPE_CHECKING:
    from mappers.retrieval.cache import CacheChoice

WEIGHTS = ("weight", "embedding", "lm_head", "norm")


@dataclass(frozen=True, slots=True)
class Tiers:
    """Names of units: the memory on chip, the main memory, channels beyond it and the memory behind them, if any."""

    buffer: str
    main: str
    channels: tuple[str, ...] = ()
    beyond: str | None = None


def tiers_of(design: Design) -> Tiers:
    """The tiers of this design. Raises MappingError where it names none."""
    if not design.tiers:
        raise MappingError(
            f"tiers: '{design.name}' does not say in which memories the cache lies",
            ways_out=("tiers: [on chip, main memory, channel, memory beyond] in the design", "another mapper"),
        )
    buffer, main, *rest = design.tiers
    return Tiers(buffer, main, tuple(rest[:-1]), rest[-1] if rest else None)


def weight_bytes(graph: Graph) -> int:
    """Bytes of all that lies in the main memory beside the cache: the whole model's, of another graph its own."""
    whole: int = graph.about.get("weight_bytes", graph.bytes_of(*WEIGHTS))
    return whole


def region_bytes(graph: Graph, design: Design, tiers: Tiers) -> int:
    """Bytes of the main memory that may hold cached keys and values: its region, or all beside the weights."""
    memory: Memory = design.units[tiers.main]  # type: ignore[assignment]
    return max(0, memory.capacity - weight_bytes(graph)) if memory.cache_region is None else memory.cache_region


def check_capacities(graph: Graph, design: Design, tiers: Tiers, choice: CacheChoice | None) -> None:
    """Raises MappingError where a tier cannot hold what lies in it after the step."""
    held = choice.resident_after * choice.batch * choice.layers * choice.layer_token_bytes if choice else 0
    fetched = choice.misses * choice.batch * choice.token_bytes if choice else 0  # which lies there until it is used
    at_once = 2 if choice and choice.prediction == "previous" else 1
    main: Memory = design.units[tiers.main]  # type: ignore[assignment]
    demand = weight_bytes(graph) + held + at_once * fetched
    if demand > main.capacity:
        raise MappingError(
            f"weights, resident cache and what a layer fetches of '{graph.name}'",
            resource=f"units.{tiers.main}.capacity", demand=demand, capacity=main.capacity, dimension="bytes",
            ways_out=("a smaller model", "a smaller cache_region", "a larger capacity"),
        )  # fmt: skip
    away = choice.cached + choice.rows - choice.resident_after if choice else 0
    if choice is None or not away:
        return
    evicted = away * choice.batch * choice.layers * choice.layer_token_bytes
    if tiers.beyond is None:
        raise MappingError(
            f"{away} of {choice.cached + choice.rows} cached tokens of '{graph.name}' have no place",
            resource=f"units.{tiers.main}", demand=held + evicted, capacity=held, dimension="bytes",
            ways_out=("a tier beyond the main memory", "a larger cache_region", "a shorter context", "a smaller batch"),
        )  # fmt: skip
    beyond: Memory = design.units[tiers.beyond]  # type: ignore[assignment]
    if evicted > beyond.capacity:
        raise MappingError(
            f"the cache of '{graph.name}' beyond the main memory",
            resource=f"units.{tiers.beyond}.capacity", demand=evicted, capacity=beyond.capacity, dimension="bytes",
            ways_out=("a shorter context", "a smaller batch", "a larger capacity"),
        )  # fmt: skip
