"""What does not fit a table-lookup accelerator: units that its calls cannot use as they are, and shapes too large.

Each check yields MappingErrors with the ways out. Does not know tasks.
"""

from __future__ import annotations

from collections.abc import Iterator

from archsim.errors import MappingError
from archsim.units import DecodeAttention, Memory, PrefillAttention, TableLookup, Vector, WeightBuffer, WeightLoader
from archsim.units.unit import ceil_div
from dataflow.role import STORED, Role
from mappers.table_lookup.builder import FIFO_RATES, VECTOR_ELEMENTS, burst_bytes
from mappers.table_lookup.shapes import LINEARS, Shapes


def problems(shapes: Shapes) -> Iterator[MappingError]:
    """Everything that does not fit, the most basic first: units, then shapes."""
    # The caller raises the first one, so what explains later ones comes before them.
    yield from _kinds(shapes)
    yield from _one_server(shapes)
    yield from _requests(shapes)
    yield from _quantiser(shapes)
    yield from _layout(shapes)
    yield from _sequences(shapes)
    yield from _weights(shapes)
    yield from _widths(shapes)
    yield from _buffer(shapes)
    yield from _context(shapes)
    yield from _capacity(shapes)


def _kinds(shapes: Shapes) -> Iterator[MappingError]:
    design, names = shapes.design, shapes.names
    # Vector units do what the design lists; the links alone say which place each has in the pipeline.
    needed = {
        names.quantiser: ("quantize",),
        names.dequantiser: ("dequantize",),
        names.elementwise: ("rope", "add", "silu_mul"),
    }
    for name, kinds in needed.items():
        missing = [kind for kind in kinds if kind not in design.units[name].does]
        if missing:
            yield MappingError(
                f"units.{name}.ops: lacks {', '.join(missing)}, which this unit does for every linear",
                ways_out=(f"units.{name}.ops=[{', '.join(kinds)}]",),
            )


def _one_server(shapes: Shapes) -> Iterator[MappingError]:
    """Units whose firings build on the one before must have one server, because the state lies in the unit."""
    design, names = shapes.design, shapes.names
    for name in (names.lookup, names.quantiser, names.prefill, names.decode, names.loader, names.buffer):
        unit = design.units[name]
        if unit.count != 1:
            yield MappingError(
                f"units.{name}.count: {unit.count} servers would start a firing before the one it builds on has ended",
                ways_out=(f"units.{name}.count=1", "a wider unit"),
            )
        if unit.latency_cycles:
            yield MappingError(
                f"units.{name}.latency_cycles: {unit.latency_cycles}; this mapper counts the depth of a "
                "unit's pipeline in its fills",
                ways_out=(f"units.{name}.latency_cycles=0 and a larger fill",),
            )


def _requests(shapes: Shapes) -> Iterator[MappingError]:
    design, names = shapes.design, shapes.names
    if design.units[names.memory].arbitration != "first_come":
        yield MappingError(
            f"units.{names.memory}.arbitration: clients of this memory run at once and in no fixed order",
            ways_out=(f"units.{names.memory}.arbitration=first_come",),
        )
    loader: WeightLoader = design.units[names.loader]  # type: ignore[assignment]
    vector = VECTOR_ELEMENTS * shapes.activation_bytes
    # The stream from the read to the port carries vectors, so each burst must give whole ones.
    if burst_bytes(loader) % vector:
        yield MappingError(
            f"units.{names.loader}: a burst of {loader.burst_beats} x {loader.port_bits} bit is no multiple of a "
            f"vector of {vector} bytes",
            ways_out=(f"a burst of a multiple of {vector} bytes",),
        )


def _quantiser(shapes: Shapes) -> Iterator[MappingError]:
    design, names = shapes.design, shapes.names
    quantiser: Vector = design.units[names.quantiser]  # type: ignore[assignment]
    lookup: TableLookup = design.units[names.lookup]  # type: ignore[assignment]
    # The fused linear schedules one entry of the quantiser's loop for each vector.
    if quantiser.loop_elements != VECTOR_ELEMENTS:
        yield MappingError(
            f"units.{names.quantiser}.loop_elements: {quantiser.loop_elements}; the loop runs over a vector",
            ways_out=(f"units.{names.quantiser}.loop_elements={VECTOR_ELEMENTS}",),
        )
    rates = {f"{names.quantiser}.lanes": quantiser.lanes, f"{names.lookup}.takes_per_cycle": lookup.takes_per_cycle}
    for path, rate in rates.items():
        if rate not in FIFO_RATES:
            yield MappingError(
                f"units.{path}: {rate} elements a cycle; a token of the FIFO divides a vector of "
                f"{VECTOR_ELEMENTS} and a block of inputs",
                ways_out=tuple(f"units.{path}={allowed}" for allowed in FIFO_RATES),
            )


def _layout(shapes: Shapes) -> Iterator[MappingError]:
    design, names = shapes.design, shapes.names
    lookup: TableLookup = design.units[names.lookup]  # type: ignore[assignment]
    loader: WeightLoader = design.units[names.loader]  # type: ignore[assignment]
    buffer: WeightBuffer = design.units[names.buffer]  # type: ignore[assignment]
    for field in ("region_outputs", "region_blocks"):
        available, stored = getattr(buffer, field), getattr(loader, field)
        if available < stored:
            path = f"units.{names.buffer}.{field}"
            yield MappingError(
                "a region of the stored layout is larger than one of the buffer", resource=path, demand=stored,
                capacity=available, ways_out=(f"{path}={stored}",),
            )  # fmt: skip
    if loader.block_inputs % lookup.group_size:
        yield MappingError(
            f"units.{names.lookup}.group_size: {lookup.group_size} does not divide the {loader.block_inputs} weights "
            "of an index vector",
            ways_out=(f"units.{names.loader}.block_inputs a multiple of it",),
        )
        # Without whole groups the width of an index vector, which the checks below need, is not defined.
        return
    indices = ceil_div(loader.block_inputs, lookup.group_size) * lookup.index_bits
    path = f"units.{names.buffer}.word_bits"
    if indices > buffer.word_bits:
        yield MappingError(
            f"an index vector of {loader.block_inputs} weights",
            resource=path, demand=indices, capacity=buffer.word_bits,
            ways_out=(f"{path}={indices} bit",),
        )  # fmt: skip
    if loader.vectors_per_beat * indices > loader.beat_bits:
        path = f"units.{names.loader}.beat_bits"
        yield MappingError(
            f"{loader.vectors_per_beat} index vectors of {indices} bit in a beat", resource=path,
            demand=loader.vectors_per_beat * indices, capacity=loader.beat_bits,
            ways_out=(f"units.{names.loader}.vectors_per_beat={loader.beat_bits // indices}",),
        )  # fmt: skip


def _sequences(shapes: Shapes) -> Iterator[MappingError]:
    batch = shapes.graph.phase.batch
    if batch != 1:
        yield MappingError(
            f"'{shapes.design.name}' serves one sequence", resource="sequences", demand=batch, capacity=1,
            ways_out=("--batch 1", "another design"),
        )  # fmt: skip


def _weights(shapes: Shapes) -> Iterator[MappingError]:
    op = shapes.graph.ops["layer0.q"]
    if op.kind != "ternary_matmul":
        yield MappingError(
            f"op '{op.name}' is a {op.kind} on {shapes.graph.tensors['layer0.q.w'].format.name} weights; the layers' "
            f"matrices run on '{shapes.names.lookup}', which does ternary_matmul",
            ways_out=("a model with weights: ternary", "a design with a unit that does matmul"),
        )


def _widths(shapes: Shapes) -> Iterator[MappingError]:
    attention = shapes.graph.ops["layer0.attention"].work
    if attention["v_dim"] != attention["qk_dim"]:
        yield MappingError(
            f"keys of {attention['qk_dim']} elements and values of {attention['v_dim']}; the attention engines read "
            "rows of one width",
            where="op 'layer0.attention'",
            ways_out=("values as wide as keys",),
        )
    for linear in LINEARS:
        n, k = shapes.shape(linear)
        # Both: a row enters the quantiser and leaves the look-up in whole vectors.
        for axis, extent in (("inputs", k), ("outputs", n)):
            if extent % VECTOR_ELEMENTS:
                yield MappingError(
                    f"{extent} {axis} are no multiple of {VECTOR_ELEMENTS}, the vector that FIFOs carry; the engine "
                    "pads inputs with zeros inside a block, never vectors",
                    where=f"op 'layer0.{linear}'",
                    ways_out=("a model padded to such widths",),
                )


def _buffer(shapes: Shapes) -> Iterator[MappingError]:
    buffer: WeightBuffer = shapes.design.units[shapes.names.buffer]  # type: ignore[assignment]
    loader: WeightLoader = shapes.design.units[shapes.names.loader]  # type: ignore[assignment]
    region = shapes.layout.bytes((loader.region_outputs, loader.region_blocks * loader.block_inputs))
    # The buffer holds one matrix, so the largest decides; under double buffering the next one is loaded beside it.
    linear = max(LINEARS, key=shapes.weight_bytes)
    double = shapes.buffering == "double"
    demand = (2 if double else 1) * shapes.weight_bytes(linear) // region
    if demand > buffer.regions:
        path = f"units.{shapes.names.buffer}.regions"
        n, k = shapes.shape(linear)
        yield MappingError(
            f"{'two matrices' if double else 'a matrix'} of {n} x {k} weights", where=f"op 'layer0.{linear}'",
            resource=path, demand=demand, capacity=buffer.regions,
            ways_out=(*(("weight_buffering=single",) if double else ()), f"{path}={demand}"),
        )  # fmt: skip


def _context(shapes: Shapes) -> Iterator[MappingError]:
    decode: DecodeAttention = shapes.design.units[shapes.names.decode]  # type: ignore[assignment]
    prefill: PrefillAttention = shapes.design.units[shapes.names.prefill]  # type: ignore[assignment]
    # A prompt is limited by the prefill engine's buffers, a decode step by the scores that wait between its two passes.
    if shapes.prefill:
        what, path, limit = "a prompt", f"units.{shapes.names.prefill}.max_context", prefill.max_context
        keys = shapes.keys
    else:
        keys = len(shapes.seen)
        what = "a window" if keys < shapes.keys else "a context"
        path, limit = f"units.{shapes.names.decode}.score_depth", decode.score_depth
    if keys > limit:
        yield MappingError(
            f"{what} of {keys} tokens", resource=path, demand=keys, capacity=limit,
            ways_out=(f"at most {limit} tokens", f"{path}={keys}"),
        )  # fmt: skip


def _capacity(shapes: Shapes) -> Iterator[MappingError]:
    memory: Memory = shapes.design.units[shapes.names.memory]  # type: ignore[assignment]
    # In the loader's layout, which pads a matrix to whole regions: the graph's own ternary format is smaller.
    weights = shapes.layers * sum(map(shapes.weight_bytes, LINEARS))
    demand = weights + shapes.graph.bytes_of(*(role for role in STORED if role is not Role.WEIGHT))
    if demand > memory.capacity:
        yield MappingError(
            f"weights and cache of '{shapes.graph.name}'", resource=f"units.{shapes.names.memory}.capacity",
            demand=demand, capacity=memory.capacity, dimension="bytes",
            ways_out=("a smaller model", "a larger capacity"),
        )  # fmt: skip
