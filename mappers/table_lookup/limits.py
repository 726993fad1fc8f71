"""What the units of a table-lookup accelerator must be for its calls to run as they are laid out.

Knows the parts' parameters. Does not know the graph.
"""

from __future__ import annotations

from collections.abc import Iterator

from archsim.design.design import Design
from archsim.errors import MappingError
from archsim.units import TableLookup, Vector, WeightBuffer, WeightLoader
from archsim.units.unit import ceil_div
from mappers.table_lookup.builder import GRAINS, VECTOR_ELEMENTS, Parts, burst_bytes


def misfits(design: Design, parts: Parts, activation_bytes: int) -> Iterator[MappingError]:
    """Every unit that cannot play its part, with its path and what would do."""
    yield from _kinds(design, parts)
    yield from _one_server(design, parts)
    yield from _memory(design, parts, activation_bytes)
    yield from _quantiser(design, parts)
    yield from _layout(design, parts)


def _kinds(design: Design, parts: Parts) -> Iterator[MappingError]:
    needed = {
        parts.quantiser: ("quantize",),
        parts.dequantiser: ("dequantize",),
        parts.elementwise: ("rope", "add", "silu_mul"),
    }
    for name, kinds in needed.items():
        missing = [kind for kind in kinds if kind not in design.units[name].does]
        if missing:
            yield MappingError(
                f"units.{name}.ops: lacks {', '.join(missing)}, which its place in the pipeline asks of it",
                ways_out=(f"units.{name}.ops=[{', '.join(kinds)}]",),
            )


def _one_server(design: Design, parts: Parts) -> Iterator[MappingError]:
    """Units whose firings build on the one before: the state is the unit's own, so there is one of each."""
    for name in (parts.lookup, parts.quantiser, parts.prefill, parts.decode, parts.loader, parts.buffer):
        unit = design.units[name]
        if unit.count != 1:
            yield MappingError(
                f"units.{name}.count: {unit.count} servers would start a firing before the one it builds on has ended",
                ways_out=(f"units.{name}.count=1", "a wider unit"),
            )
        if unit.latency_cycles:
            yield MappingError(
                f"units.{name}.latency_cycles: {unit.latency_cycles}; this pipeline's depth is charged as its fills",
                ways_out=(f"units.{name}.latency_cycles=0 and a larger fill",),
            )


def _memory(design: Design, parts: Parts, activation_bytes: int) -> Iterator[MappingError]:
    if design.units[parts.memory].arbitration != "first_come":
        yield MappingError(
            f"units.{parts.memory}.arbitration: clients of this memory run at once and in no fixed order",
            ways_out=(f"units.{parts.memory}.arbitration=first_come",),
        )
    loader: WeightLoader = design.units[parts.loader]  # type: ignore[assignment]
    vector = VECTOR_ELEMENTS * activation_bytes
    if burst_bytes(loader) % vector:
        yield MappingError(
            f"units.{parts.loader}: a burst of {loader.burst_beats} x {loader.port_bits} bit is no multiple of a "
            f"vector of {vector} bytes",
            ways_out=(f"a burst of a multiple of {vector} bytes",),
        )


def _quantiser(design: Design, parts: Parts) -> Iterator[MappingError]:
    quantiser: Vector = design.units[parts.quantiser]  # type: ignore[assignment]
    lookup: TableLookup = design.units[parts.lookup]  # type: ignore[assignment]
    if quantiser.loop_elements != VECTOR_ELEMENTS:
        yield MappingError(
            f"units.{parts.quantiser}.loop_elements: {quantiser.loop_elements}; the loop runs over a vector",
            ways_out=(f"units.{parts.quantiser}.loop_elements={VECTOR_ELEMENTS}",),
        )
    rates = {f"{parts.quantiser}.lanes": quantiser.lanes, f"{parts.lookup}.takes_per_cycle": lookup.takes_per_cycle}
    for path, rate in rates.items():
        if rate not in GRAINS:
            yield MappingError(
                f"units.{path}: {rate} elements a cycle; a token of the FIFO divides a vector of "
                f"{VECTOR_ELEMENTS} and a block of inputs",
                ways_out=tuple(f"units.{path}={grain}" for grain in GRAINS),
            )


def _layout(design: Design, parts: Parts) -> Iterator[MappingError]:
    lookup: TableLookup = design.units[parts.lookup]  # type: ignore[assignment]
    loader: WeightLoader = design.units[parts.loader]  # type: ignore[assignment]
    buffer: WeightBuffer = design.units[parts.buffer]  # type: ignore[assignment]
    for field in ("region_outputs", "region_blocks"):
        there, stored = getattr(buffer, field), getattr(loader, field)
        if there < stored:
            path = f"units.{parts.buffer}.{field}"
            yield MappingError(
                "a region of the stored layout is larger than one of the buffer",
                resource=path,
                demand=stored,
                capacity=there,
                ways_out=(f"{path}={stored}",),
            )
    if loader.block_inputs % lookup.group_size:
        yield MappingError(
            f"units.{parts.lookup}.group_size: {lookup.group_size} does not divide the {loader.block_inputs} weights "
            "of an index vector",
            ways_out=(f"units.{parts.loader}.block_inputs a multiple of it",),
        )
        return
    indices = ceil_div(loader.block_inputs, lookup.group_size) * lookup.index_bits
    path = f"units.{parts.buffer}.word_bits"
    if indices > buffer.word_bits:
        yield MappingError(
            f"an index vector of {loader.block_inputs} weights",
            resource=path, demand=indices, capacity=buffer.word_bits,
            ways_out=(f"{path}={indices} bit",),
        )  # fmt: skip
    if loader.vectors_per_beat * indices > loader.beat_bits:
        path = f"units.{parts.loader}.beat_bits"
        yield MappingError(
            f"{loader.vectors_per_beat} index vectors of {indices} bit in a beat", resource=path,
            demand=loader.vectors_per_beat * indices, capacity=loader.beat_bits,
            ways_out=(f"units.{parts.loader}.vectors_per_beat={loader.beat_bits // indices}",),
        )  # fmt: skip
