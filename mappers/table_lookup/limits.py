"""What does not fit a table-lookup accelerator: units that its calls cannot use as they are, and shapes too large.

Each check raises a MappingError with the ways out. Does not know tasks.
"""

from __future__ import annotations

from archsim.errors import MappingError
from archsim.run.capacity import Holds, held
from archsim.units import DecodeAttention, PrefillAttention, TableLookup, Vector, WeightBuffer
from archsim.units.unit import ceil_div
from dataflow.role import STORED, Role
from mappers.build.checks import check_capacity, check_fits
from mappers.table_lookup.shapes import LINEARS, VECTOR_ELEMENTS, Shapes
from mappers.table_lookup.unit_names import link_between

FIFO_RATES = (1, 2, 4)  # elements per cycle through the quantised FIFO that whole tokens can represent


def check_limits(shapes: Shapes) -> Holds:
    """Bytes of weights and cache by (memory, role).

    Raises MappingError for the most basic of what does not fit: units come before shapes.
    """
    # What explains later problems comes before them.
    _check_kinds(shapes)
    _check_servers(shapes)
    _check_requests(shapes)
    _check_quantiser(shapes)
    _check_layout(shapes)
    batch = shapes.graph.phase.batch
    check_fits(f"'{shapes.design.name}' serves one sequence", "sequences", batch, 1, "--batch 1", "another design")
    _check_model(shapes)
    _check_buffer(shapes)
    _check_context(shapes)
    lies = _stored(shapes)
    check_capacity(held(lies), shapes.design, shapes.graph)
    return lies


def _check_kinds(shapes: Shapes) -> None:
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
            raise MappingError(
                f"units.{name}.ops: lacks {', '.join(missing)}, which this unit does for every linear",
                ways_out=(f"units.{name}.ops=[{', '.join(kinds)}]",),
            )


def _check_servers(shapes: Shapes) -> None:
    """Units whose firings build on the one before must have one server, because the state lies in the unit."""
    design, names = shapes.design, shapes.names
    for name in (names.lookup, names.quantiser, names.prefill, names.decode, names.loader, names.buffer):
        unit = design.units[name]
        if unit.count != 1:
            raise MappingError(
                f"units.{name}.count: {unit.count} servers would start a firing before the one it builds on has ended",
                ways_out=(f"units.{name}.count=1", "a wider unit"),
            )
        if unit.latency_cycles:
            raise MappingError(
                f"units.{name}.latency_cycles: {unit.latency_cycles}; this mapper counts the depth of a "
                "unit's pipeline in its fills",
                ways_out=(f"units.{name}.latency_cycles=0 and a larger fill",),
            )


def _check_requests(shapes: Shapes) -> None:
    names, loader, vector = shapes.names, shapes.loader, shapes.vector_bytes
    if shapes.design.units[names.memory].arbitration != "first_come":
        raise MappingError(
            f"units.{names.memory}.arbitration: clients of this memory run at once and in no fixed order",
            ways_out=(f"units.{names.memory}.arbitration=first_come",),
        )
    # The stream from the read to the port carries vectors, so each burst must give whole ones.
    if shapes.burst_bytes % vector:
        raise MappingError(
            f"units.{names.loader}: a burst of {loader.burst_beats} x {loader.port_bits} bit is no multiple of a "
            f"vector of {vector} bytes",
            ways_out=(f"a burst of a multiple of {vector} bytes",),
        )


def _check_quantiser(shapes: Shapes) -> None:
    design, names = shapes.design, shapes.names
    quantiser: Vector = design.units[names.quantiser]  # type: ignore[assignment]
    lookup: TableLookup = design.units[names.lookup]  # type: ignore[assignment]
    # The fused linear schedules one entry of the quantiser's loop for each vector.
    if quantiser.loop_elements != VECTOR_ELEMENTS:
        raise MappingError(
            f"units.{names.quantiser}.loop_elements: {quantiser.loop_elements}; the loop of this pipeline "
            f"runs over a vector, which has {VECTOR_ELEMENTS} elements",
            ways_out=(f"units.{names.quantiser}.loop_elements={VECTOR_ELEMENTS}",),
        )
    rates = {f"{names.quantiser}.lanes": quantiser.lanes, f"{names.lookup}.takes_per_cycle": lookup.takes_per_cycle}
    for path, rate in rates.items():
        if rate not in FIFO_RATES:
            raise MappingError(
                f"units.{path}: {rate} elements a cycle; a token of the FIFO divides a vector of "
                f"{VECTOR_ELEMENTS} and a block of inputs",
                ways_out=tuple(f"units.{path}={allowed}" for allowed in FIFO_RATES),
            )


def _check_layout(shapes: Shapes) -> None:
    design, names, loader = shapes.design, shapes.names, shapes.loader
    lookup: TableLookup = design.units[names.lookup]  # type: ignore[assignment]
    buffer: WeightBuffer = design.units[names.buffer]  # type: ignore[assignment]
    region = "a region of the stored layout is larger than one of the buffer"
    for field in ("region_outputs", "region_blocks"):
        path, stored = f"units.{names.buffer}.{field}", getattr(loader, field)
        check_fits(region, path, stored, getattr(buffer, field), f"{path}={stored}")
    # Without whole groups the width of an index vector, which the checks below need, is not defined.
    if loader.block_inputs % lookup.group_size:
        raise MappingError(
            f"units.{names.lookup}.group_size: {lookup.group_size} does not divide the {loader.block_inputs} weights "
            "of an index vector",
            ways_out=(f"units.{names.loader}.block_inputs a multiple of it",),
        )
    indices = ceil_div(loader.block_inputs, lookup.group_size) * lookup.index_bits
    path, vector = f"units.{names.buffer}.word_bits", f"an index vector of {loader.block_inputs} weights"
    check_fits(vector, path, indices, buffer.word_bits, f"{path}={indices} bit")
    path = f"units.{names.loader}.beat_bits"
    beat, fitting = f"{loader.vectors_per_beat} index vectors of {indices} bit in a beat", loader.beat_bits // indices
    way = f"units.{names.loader}.vectors_per_beat={fitting}"
    check_fits(beat, path, loader.vectors_per_beat * indices, loader.beat_bits, way)


def _check_model(shapes: Shapes) -> None:
    op, attention = shapes.graph.ops["layer0.q"], shapes.attention
    if op.kind != "ternary_matmul":
        raise MappingError(
            f"op '{op.name}' is a {op.kind} on {shapes.graph.tensors['layer0.q.w'].format.name} weights; the layers' "
            f"matrices run on '{shapes.names.lookup}', which does ternary_matmul",
            ways_out=("a model with weights: ternary", "a design with a unit that does matmul"),
        )
    _check_formats(shapes)
    if attention["v_dim"] != attention["qk_dim"]:
        raise MappingError(
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
                raise MappingError(
                    f"{extent} {axis} are no multiple of {VECTOR_ELEMENTS}, the vector that FIFOs carry; the engine "
                    "pads inputs with zeros inside a block, never vectors",
                    where=f"op 'layer0.{linear}'",
                    ways_out=("a model padded to such widths",),
                )


def _check_formats(shapes: Shapes) -> None:
    """Activations fill the FIFOs' tokens, and the attention engines hold keys and values like activations."""
    tensors, names = shapes.graph.tensors, shapes.names
    name, link, _ = link_between(shapes.design, names.reader, names.quantiser)
    act, cache = tensors["embedding"].format, tensors["layer0.k_cache"].format
    check_fits(
        f"a vector of {VECTOR_ELEMENTS} activations in {act.name}", f"links.{name}.token_bits",
        VECTOR_ELEMENTS * int(act.bits), int(link.token_bits), "a model with narrower activations", dimension="bits",
    )  # fmt: skip
    if cache.bits > act.bits or cache.bits % 8:
        raise MappingError(
            f"keys and values in {cache.name}, activations in {act.name}; the attention engines hold whole bytes, and "
            "no wider elements than activations",
            where="op 'layer0.attention'", ways_out=(f"a model with cache: {act.name}", "a model with cache: int8"),
        )  # fmt: skip


def _check_buffer(shapes: Shapes) -> None:
    buffer: WeightBuffer = shapes.design.units[shapes.names.buffer]  # type: ignore[assignment]
    loader, double = shapes.loader, shapes.buffering == "double"
    region = loader.layout.bytes((loader.region_outputs, loader.region_blocks * loader.block_inputs))
    # The buffer holds one matrix, so the largest decides; under double buffering the next one is loaded beside it.
    linear = max(LINEARS, key=shapes.weight_bytes)
    demand = (2 if double else 1) * shapes.weight_bytes(linear) // region
    path, (n, k) = f"units.{shapes.names.buffer}.regions", shapes.shape(linear)
    what = f"{'two matrices' if double else 'a matrix'} of {n} x {k} weights"
    ways = (*(("weight_buffering=single",) if double else ()), f"{path}={demand}")
    check_fits(what, path, demand, buffer.regions, *ways, where=f"op 'layer0.{linear}'")


def _check_context(shapes: Shapes) -> None:
    decode: DecodeAttention = shapes.design.units[shapes.names.decode]  # type: ignore[assignment]
    prefill: PrefillAttention = shapes.design.units[shapes.names.prefill]  # type: ignore[assignment]
    # A prompt is limited by the prefill engine's buffers, a decode step by the scores that wait between its two passes.
    if shapes.prefill:
        keys, limit, path = shapes.keys, prefill.max_context, f"units.{shapes.names.prefill}.max_context"
        what = "a prompt"
    else:
        keys, limit, path = len(shapes.seen), decode.score_depth, f"units.{shapes.names.decode}.score_depth"
        what = "a window" if keys < shapes.keys else "a context"
    check_fits(f"{what} of {keys} tokens", path, keys, limit, f"at most {limit} tokens", f"{path}={keys}")


def _stored(shapes: Shapes) -> Holds:
    memory, sizes = shapes.names.memory, shapes.graph.bytes_by_role()
    lying: dict[tuple[str, str], int] = {(memory, r): sizes.get(r, 0) for r in STORED if r is not Role.WEIGHT}
    # In the loader's layout, which pads a matrix to whole regions: the graph's own ternary format is smaller.
    lying[memory, Role.WEIGHT] = shapes.layers * sum(map(shapes.weight_bytes, LINEARS))
    return {at: size for at, size in lying.items() if size}
