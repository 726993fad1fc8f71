"""Evaluates a graph on arrays, and replays a schedule on arrays tile by tile to see that it computes its graph.

Knows which function computes an op kind. Does not know time; dataflow/numeric/replay.py gives the order of tiles.
Activations are float32 even if the graph stores a 16-bit format: formats count bytes, and results are compared with
FP32 and FP64. Integers are those of the hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dataflow.errors import GraphError
from dataflow.format import INT32
from dataflow.graph import Graph, Op, Tensor, mask_of
from dataflow.mask import seen_keys
from dataflow.numeric.replay import steps
from dataflow.numeric.tiles import TILES, Arrays, AttentionTiles, Operands, block_of, heads_of, operands_of, rows_of
from dataflow.op import OP_KINDS
from dataflow.schedule import Schedule
from kernels.attention import decode_attention, prefill_attention
from kernels.pool import mean_pool


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
    return EVALUATORS[op.kind](operands_of(graph, op, arrays))


def replay(schedule: Schedule, tensors: Arrays) -> dict[str, np.ndarray]:
    """Every op's output by name, as from evaluate, computed by the schedule's tiles in the schedule's order.

    Raises ScheduleError if tiles do not cover an op once, or a tensor is read before it is complete (see steps).
    """
    graph = schedule.graph
    arrays = _given(graph, tensors)
    operands: dict[str, Operands] = {}
    attentions: dict[str, AttentionTiles] = {}
    for step in steps(schedule):
        name = step.op.name
        if name not in operands:  # its inputs are complete: `steps` checks that before an op's first tile
            operands[name] = operands_of(graph, step.op, _with_free_inputs(graph, step.op, arrays))
            arrays[name] = _blank(graph, step.op)
            if step.op.kind == "attention":
                attentions[name] = AttentionTiles.of(operands[name], arrays[name])
        if step.whole:
            arrays[name][:] = EVALUATORS[step.op.kind](operands[name])
        elif step.op.kind == "attention":
            attentions[name].advance(step)
        elif step.op.kind == "ternary_matmul":
            # A tile holds some inputs of all outputs, so tiles add up over k.
            rows_of(arrays[name], step.rows)[:] += TILES[step.kind](operands[name], step.rows, step.columns)
        else:
            tile = TILES[step.kind](operands[name], step.rows, step.columns)
            block_of(arrays[name], step.rows, step.columns)[:] = tile
    for op in graph.ops.values():
        if op.name not in arrays:  # a free op: `steps` has checked that tiles computed all others
            arrays[op.name] = evaluate_op(graph, op, arrays)
    return {name: arrays[name] for name in graph.ops}


def random_tensors(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Random tensors that evaluate takes for this graph.

    Floats are float32 around 0, norm weights around 1. Ternary and INT8 weights come with a scale, so that every matrix
    keeps elements of about size one at that size. INT32 inputs are indices into the table that they look up.
    """
    random = np.random.default_rng(seed)
    drawn: dict[str, np.ndarray] = {}
    for tensor in _sources(graph):
        k = tensor.shape[-1]
        matrix = tensor.role in ("weight", "lm_head")
        if tensor.role == "input" and tensor.format == INT32:
            limit = min(graph.tensors[op.inputs[1]].shape[0] for op in graph.ops.values() if tensor.name in op.inputs)
            drawn[tensor.name] = random.integers(limit, size=tensor.shape)
        elif tensor.format.name in ("ternary", "int8") and matrix:
            top = 1 if tensor.format.name == "ternary" else 127
            drawn[tensor.name] = random.integers(-top, top + 1, size=tensor.shape, dtype=np.int8)
            # Whole numbers drawn evenly from -top to top have the variance top (top + 1) / 3.
            drawn[f"{tensor.name}_scale"] = np.array((k * top * (top + 1) / 3) ** -0.5, np.float32)
        else:
            spread = 0.1 if tensor.role == "norm" else k**-0.5 if matrix else 1.0
            centre = 1.0 if tensor.role == "norm" else 0.0
            drawn[tensor.name] = random.normal(centre, spread, tensor.shape).astype(np.float32)
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
    if problems:
        raise GraphError(problems)
    return {name: np.asarray(array) for name, array in tensors.items()}


def _with_free_inputs(graph: Graph, op: Op, arrays: dict[str, np.ndarray]) -> Arrays:
    """The arrays, completed by the outputs of free ops that the op reads: no tile computes those."""
    for name in op.inputs:
        maker = graph.ops.get(name)
        if maker is not None and OP_KINDS[maker.kind].free and name not in arrays:
            arrays[name] = evaluate_op(graph, maker, _with_free_inputs(graph, maker, arrays))
    return arrays


def _blank(graph: Graph, op: Op) -> np.ndarray:
    """The output array before its tiles: integers begin at zero for sums; a float that no tile makes stays NaN."""
    shape = graph.tensors[op.outputs[0]].shape
    kinds = {"ternary_matmul": np.int32, "quantize": np.int8}
    return np.zeros(shape, kinds[op.kind]) if op.kind in kinds else np.full(shape, np.nan, np.float32)


def _whole(tile: Callable[[Operands, range, range], np.ndarray]) -> Callable[[Operands], np.ndarray]:
    """Evaluates an op as one tile. Columns are outputs, but inputs in a ternary_matmul, as in its tiles."""

    def evaluator(x: Operands) -> np.ndarray:
        rows, d = x.inputs[0].shape
        return tile(x, range(rows), range(len(x.inputs[1]) if x.op.kind == "matmul" else d))

    return evaluator


def _embedding(x: Operands) -> np.ndarray:
    ids, table = x.inputs
    return table[ids].astype(np.float32)


def _select(x: Operands) -> np.ndarray:
    """The last row of each sequence."""
    sequences = x.op.attributes["batch"]
    return x.inputs[0].reshape(sequences, -1, x.inputs[0].shape[1])[:, -1].astype(np.float32)


def _append(x: Operands) -> np.ndarray:
    """Past rows, then new ones, sequence by sequence."""
    sequences, d = x.op.attributes["batch"], x.inputs[0].shape[1]
    new, *past = (rows.astype(np.float32).reshape(sequences, -1, d) for rows in x.inputs)
    return np.concatenate([*past, new], axis=1).reshape(-1, d)


def _pool(x: Operands) -> np.ndarray:
    """The rows of each sequence, pooled to fewer."""
    sequences = np.split(x.inputs[0], x.op.attributes["batch"])
    return np.concatenate([mean_pool(rows, tokens=x.op.attributes["tokens"]) for rows in sequences])


def _attention(x: Operands) -> np.ndarray:
    """Each sequence by the prefill kernel if its attention is plain causal, otherwise query by query as in decode."""
    outputs = []
    sequences = x.op.attributes["batch"]
    for q, k, v in zip(*(np.split(rows, sequences) for rows in heads_of(x)), strict=True):
        # The prefill kernel knows neither cached keys nor windows.
        if len(q) == len(k) and mask_of(x.op) == {"causal": True, "window": None}:
            outputs.append(prefill_attention(q, k, v=v))
        else:
            for query, row in enumerate(q):
                seen = seen_keys(query, queries=len(q), keys=len(k), **mask_of(x.op))
                keys = slice(seen.start, seen.stop)
                outputs.append(decode_attention(row, k[keys], v=v[keys])[None])
    return np.concatenate(outputs).reshape(x.inputs[0].shape)


EVALUATORS: Mapping[str, Callable[[Operands], np.ndarray]] = {
    "embedding": _embedding,
    "select": _select,
    "append": _append,
    "pool": _pool,
    "attention": _attention,
    **{kind: _whole(tile) for kind, tile in TILES.items()},
}
