"""Evaluates a graph on arrays, and replays a schedule on arrays tile by tile to see that it computes its graph.

The record of an op kind says how its numbers are computed. Does not know time; replay.py gives the order of tiles.
Activations are float32 even if the graph stores a 16-bit format: formats count bytes, and results are compared with
FP32 and FP64. Integers are those of the hardware.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from dataflow.errors import GraphError, refuse
from dataflow.format import INT32
from dataflow.graph import Graph, Op, Tensor
from dataflow.numeric.attention_tiles import AttentionTiles
from dataflow.numeric.cover import sizes_of, whole_of
from dataflow.numeric.firing import MADE
from dataflow.numeric.replay import Step, steps
from dataflow.op import OP_KINDS, Operands
from dataflow.role import Role
from dataflow.schedule import Schedule
from kernels.quantize import quantize_absmax

Arrays = Mapping[str, np.ndarray]


def evaluate(graph: Graph, tensors: Arrays) -> dict[str, np.ndarray]:
    """Every op's output by name: int8 of quantize, int32 of ternary_matmul, float32 of the rest.

    `tensors` are those that no op makes: ids, tables, weights (int8 of -1, 0, 1 if ternary), caches. They may include
    a scalar `<weight>_scale` for a weight and `<name>.scale` [rows] for INT8 rows that no op quantises; both are 1
    otherwise. Raises GraphError if a tensor is missing or has another shape.
    """
    arrays = _given(graph, tensors)
    for op in graph.ops.values():
        arrays[op.name] = evaluate_op(graph, op, arrays)
    return {name: arrays[name] for name in graph.ops}


def evaluate_op(graph: Graph, op: Op, arrays: Arrays) -> np.ndarray:
    """The output of one op, from the arrays of the tensors that it reads."""
    try:
        return _whole(operands_of(graph, op, arrays))
    except KeyError as error:
        raise GraphError(f"op '{op.name}': the numbers of a {op.kind} need {error}, which it is not given") from None


def _whole(x: Operands) -> np.ndarray:
    """The output of an op. Raises GraphError where its kind has no numbers."""
    record = OP_KINDS[x.work.kind]
    if record.evaluate is not None:
        return record.evaluate(x)
    if record.tile is None:
        raise GraphError(f"op kind '{x.work.kind}': its record has no evaluate and no tile; give one of the two")
    return record.tile(x, whole_of(x.work))


def replay(schedule: Schedule, tensors: Arrays) -> dict[str, np.ndarray]:
    """Every op's output by name, as from evaluate, computed by the schedule's tiles in the schedule's order.

    Raises ScheduleError if tiles do not cover an op once, or a tensor is read before it is complete (see steps).
    """
    graph = schedule.graph
    arrays = _given(graph, tensors)
    operands: dict[str, Operands] = {}
    attentions: dict[str, AttentionTiles] = {}
    for step in _with_values(steps(schedule)):
        name = step.op.name
        if name not in operands:  # its inputs are complete: `steps` checks that before an op's first tile
            operands[name] = operands_of(graph, step.op, _with_free_inputs(graph, step.op, arrays))
            arrays[name] = _blank(graph, step.op)
            if step.op.kind == "attention":
                attentions[name] = AttentionTiles(operands[name], arrays[name])
        if step.whole:
            arrays[name][:] = _whole(operands[name])
        elif step.op.kind == "attention":
            attentions[name].advance(step)
        else:
            _add_tile(arrays[name], operands[name], step)
    for op in graph.ops.values():
        if op.name not in arrays:  # a free op: `steps` has checked that tiles computed all others
            arrays[op.name] = evaluate_op(graph, op, arrays)
    return {name: arrays[name] for name in graph.ops}


def _with_values(found: Iterable[Step]) -> Iterator[Step]:
    """These steps, where the first passes of an attention wait for the pass that reads the values: they do not."""
    waiting: dict[str, list[Step]] = {}
    for step in found:
        if step.kind in MADE and not step.whole:
            waiting.setdefault(step.op.name, []).append(step)
        else:
            yield from waiting.pop(step.op.name, ())
            yield step


def _add_tile(output: np.ndarray, x: Operands, step: Step) -> None:
    """Puts a tile in its place: onto the sum of those before it where the kind sums over an axis."""
    record = OP_KINDS[step.op.kind]
    assert record.tile is not None, "a kind with axes has tiles"
    kept = [i for i, axis in enumerate(record.axes) if axis not in record.sums]
    # An output has its last axes: a matmul that is not batched has no axis for the batch.
    view = output.reshape([sizes_of(x.work)[i] for i in kept])
    place = tuple(slice(step.box[i].start, step.box[i].stop) for i in kept)
    tile = record.tile(x, step.box).reshape(view[place].shape)
    view[place] = view[place] + tile if record.sums else tile


def operands_of(graph: Graph, op: Op, arrays: Arrays) -> Operands:
    """The operands of this op, from the arrays of the tensors that it and its scales depend on."""
    inputs, scales, of_weight = tuple(arrays[name] for name in op.inputs), None, op if op.kind == "matmul" else None
    if op.kind == "dequantize":
        # Backwards from the product: its matmul gives the weight scale, the quantize before it the row scales.
        name = op.inputs[0]
        if name in graph.ops and graph.ops[name].kind == "ternary_matmul":
            of_weight = graph.ops[name]
            name = of_weight.inputs[0]
        if name in graph.ops and graph.ops[name].kind == "quantize":
            # Arrays hold outputs of ops alone, and scales are no output, so they are computed again.
            _, scales = quantize_absmax(arrays[graph.ops[name].inputs[0]])
        else:
            scales = np.broadcast_to(np.float32(arrays.get(f"{name}.scale", 1.0)), len(inputs[0]))
    weight_scale = float(arrays.get(f"{of_weight.inputs[1]}_scale", 1.0)) if of_weight else 1.0
    return Operands(op.work, op.attributes, inputs, scales, weight_scale)


def random_tensors(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Random tensors that evaluate takes for this graph.

    Floats are float32 around 0, norm weights around 1. Ternary and INT8 weights come with a scale, so that every matrix
    keeps elements of about size one at that size. INT32 inputs are indices into the table that they look up.
    """
    random = np.random.default_rng(seed)
    drawn: dict[str, np.ndarray] = {}
    for tensor in _sources(graph):
        k = tensor.shape[-1]
        matrix, norm = tensor.role.learned and tensor.role.multiplied, tensor.role is Role.NORM
        if tensor.role is Role.INPUT and tensor.format == INT32:
            limit = min(graph.tensors[op.inputs[1]].shape[0] for op in graph.ops.values() if tensor.name in op.inputs)
            drawn[tensor.name] = random.integers(limit, size=tensor.shape)
        elif tensor.format.name in ("ternary", "int8") and matrix:
            top = 1 if tensor.format.name == "ternary" else 127
            drawn[tensor.name] = random.integers(-top, top + 1, size=tensor.shape, dtype=np.int8)
            # Whole numbers drawn evenly from -top to top have the variance top (top + 1) / 3.
            drawn[f"{tensor.name}_scale"] = np.array((k * top * (top + 1) / 3) ** -0.5, np.float32)
        else:
            spread = 0.1 if norm else k**-0.5 if matrix else 1.0
            drawn[tensor.name] = random.normal(1.0 if norm else 0.0, spread, tensor.shape).astype(np.float32)
    return drawn


def _sources(graph: Graph) -> list[Tensor]:
    return [tensor for tensor in graph.tensors.values() if tensor.name not in graph.ops]


def _given(graph: Graph, tensors: Arrays) -> dict[str, np.ndarray]:
    problems = []
    for tensor in _sources(graph):
        if tensor.name not in tensors:
            problems.append(f"tensor '{tensor.name}': not given; no op makes it, so it takes an array")
        elif np.shape(tensors[tensor.name]) != tensor.shape:
            shape = list(np.shape(tensors[tensor.name]))
            problems.append(f"tensor '{tensor.name}': given with shape {shape}; its shape is {list(tensor.shape)}")
    refuse(problems)
    return {name: np.asarray(array) for name, array in tensors.items()}


def _with_free_inputs(graph: Graph, op: Op, arrays: dict[str, np.ndarray]) -> Arrays:
    """The arrays, completed by the outputs of free ops that the op reads: no tile computes those."""
    for name in op.inputs:
        maker = graph.ops.get(name)
        if maker is not None and OP_KINDS[maker.kind].free and name not in arrays:
            arrays[name] = evaluate_op(graph, maker, _with_free_inputs(graph, maker, arrays))
    return arrays


def _blank(graph: Graph, op: Op) -> np.ndarray:
    """The output array before its tiles: sums begin at zero; a float that no tile makes stays NaN."""
    shape = graph.tensors[op.outputs[0]].shape
    kinds = {"ternary_matmul": np.int32, "quantize": np.int8}
    summed = OP_KINDS[op.kind].tile is not None and OP_KINDS[op.kind].sums
    return np.full(shape, 0 if summed or op.kind in kinds else np.nan, kinds.get(op.kind, np.float32))
