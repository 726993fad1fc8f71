"""Ops on tiles: the numbers of one tile of an op, from the arrays that the op reads.

Knows the kernel of each op kind and the elements that a tile needs. Does not know the order of tiles, nor time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dataflow.graph import Graph, Op
from dataflow.numeric.replay import Step, visible
from kernels.activation import gelu, silu_mul
from kernels.norm import layer_norm, rmsnorm
from kernels.online_softmax import SoftmaxState, online_softmax_finish, online_softmax_start, online_softmax_step
from kernels.quantize import dequantize, quantize_absmax
from kernels.rope import rope
from kernels.ternary.lookup import lookup_matmul
from kernels.ternary.packing import group_indices
from kernels.two_pass_softmax import add_weighted_values, masked_scores, softmax_weights

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Operands:
    """An op with the arrays that it reads, and the scales that dequantize its integers.

    `row_scales` float32 [rows] belong to the INT8 rows whose product the op reads, `weight_scale` to the matrix.
    """

    op: Op
    inputs: tuple[np.ndarray, ...]
    row_scales: np.ndarray | None = None
    weight_scale: float = 1.0


def operands_of(graph: Graph, op: Op, arrays: Arrays) -> Operands:
    """The operands of this op, from the arrays of the tensors that it and its scales depend on."""
    inputs = tuple(arrays[name] for name in op.inputs)
    if op.kind == "matmul":
        return Operands(op, inputs, None, _weight_scale(op, arrays))
    if op.kind != "dequantize":
        return Operands(op, inputs)
    # Backwards from the product: its matmul gives the weight scale, the quantize before it the row scales.
    name, weight_scale = op.inputs[0], 1.0
    if name in graph.ops and graph.ops[name].kind == "ternary_matmul":
        weight_scale = _weight_scale(graph.ops[name], arrays)
        name = graph.ops[name].inputs[0]
    if name in graph.ops and graph.ops[name].kind == "quantize":
        # Arrays hold outputs of ops alone, and scales are no output, so they are computed again.
        _, scales = quantize_absmax(arrays[graph.ops[name].inputs[0]])
    else:
        scales = np.broadcast_to(np.float32(arrays.get(f"{name}.scale", 1.0)), len(inputs[0]))
    return Operands(op, inputs, scales, weight_scale)


def _weight_scale(matmul: Op, arrays: Arrays) -> float:
    return float(arrays.get(f"{matmul.inputs[1]}_scale", 1.0))


def rows_of(array: np.ndarray, rows: range) -> np.ndarray:
    """A view of these rows."""
    return array[rows.start : rows.stop]


def block_of(array: np.ndarray, rows: range, columns: range) -> np.ndarray:
    """A view of these rows and columns."""
    return array[rows.start : rows.stop, columns.start : columns.stop]


def _rmsnorm(x: Operands, rows: range, columns: range) -> np.ndarray:
    normed = rmsnorm(rows_of(x.inputs[0], rows), x.inputs[1], eps=x.op.attributes["eps"])
    return normed[:, columns.start : columns.stop]


def _layernorm(x: Operands, rows: range, columns: range) -> np.ndarray:
    normed = layer_norm(rows_of(x.inputs[0], rows), x.inputs[1], eps=x.op.attributes["eps"])
    return normed[:, columns.start : columns.stop]


def _quantize(x: Operands, rows: range, columns: range) -> np.ndarray:
    # A tile of columns needs the largest magnitude of the whole row.
    largest = np.abs(rows_of(x.inputs[0], rows)).max(axis=1)
    return quantize_absmax(block_of(x.inputs[0], rows, columns), largest)[0]


def _dequantize(x: Operands, rows: range, columns: range) -> np.ndarray:
    assert x.row_scales is not None
    return dequantize(block_of(x.inputs[0], rows, columns), rows_of(x.row_scales, rows), w_scale=x.weight_scale)


def _add(x: Operands, rows: range, columns: range) -> np.ndarray:
    a, b = (block_of(array, rows, columns).astype(np.float32) for array in x.inputs)
    return a + b


def _silu_mul(x: Operands, rows: range, columns: range) -> np.ndarray:
    gate, up = (block_of(array, rows, columns) for array in x.inputs)
    return silu_mul(gate, up)


def _gelu(x: Operands, rows: range, columns: range) -> np.ndarray:
    return gelu(block_of(x.inputs[0], rows, columns))


def _rope(x: Operands, rows: range, columns: range) -> np.ndarray:
    """The rotated tile. Only its own elements and their partners half a head away are read; all others are NaN."""
    (values,), a = x.inputs, x.op.attributes
    total, d = values.shape
    width = d // a["heads"]
    own = np.arange(columns.start, columns.stop)
    partner = np.where(own % width < width // 2, own + width // 2, own - width // 2)
    # NaN elsewhere, so that a tile which read more than it needs would show.
    needed = np.full((len(rows), d), np.nan, np.float32)
    for places in (own, partner):
        needed[:, places] = rows_of(values, rows)[:, places]
    # Sequences lie one after another, and each begins at the same past.
    positions = a["past"] + np.arange(rows.start, rows.stop) % (total // a["batch"])
    turned = rope(needed.reshape(len(rows), a["heads"], width), positions, base=a["base"])
    return turned.reshape(len(rows), d)[:, own]


def _matmul(x: Operands, rows: range, columns: range) -> np.ndarray:
    weights = rows_of(x.inputs[1], columns).astype(np.float32) * np.float32(x.weight_scale)
    return rows_of(x.inputs[0], rows).astype(np.float32) @ weights.T


def _ternary_matmul(x: Operands, rows: range, columns: range) -> np.ndarray:
    """The partial sums of every output over these inputs, int32 [rows, n]."""
    weights = x.inputs[1][:, columns.start : columns.stop]
    return lookup_matmul(block_of(x.inputs[0], rows, columns), group_indices(weights))


TILES: Mapping[str, Callable[[Operands, range, range], np.ndarray]] = {
    "rmsnorm": _rmsnorm,
    "layernorm": _layernorm,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "add": _add,
    "silu_mul": _silu_mul,
    "gelu": _gelu,
    "rope": _rope,
    "matmul": _matmul,
    "ternary_matmul": _ternary_matmul,
}


def heads_of(x: Operands) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, k and v of an attention as float32 [rows of all sequences, heads or kv_heads, head_dim]."""
    width = x.op.work["head_dim"]
    q, k, v = (rows.astype(np.float32, copy=False).reshape(len(rows), -1, width) for rows in x.inputs)
    return q, k, v


@dataclass(slots=True)
class AttentionTiles:
    """One attention between its tiles: the softmax states of groups of queries, or the scores of the first pass.

    q, k, v as in heads_of; seen bool [queries, keys]; output float32 [queries, heads * head_dim] is filled in place;
    scores float32 [queries, heads, keys] are kept from the first pass to the second; groups: states of
    the online softmax by the rows of their queries.
    """

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    seen: np.ndarray
    output: np.ndarray
    scores: np.ndarray
    groups: dict[range, SoftmaxState] = field(default_factory=dict)

    @staticmethod
    def of(x: Operands, output: np.ndarray) -> AttentionTiles:
        """The attention of these operands before its first tile."""
        q, k, v = heads_of(x)
        # NaN until a tile of the first pass has computed the score.
        scores = np.full((*q.shape[:2], len(k)), np.nan, np.float32)
        return AttentionTiles(q, k, v, visible(x.op, len(q), len(k)), output, scores)

    def advance(self, step: Step) -> None:
        """Computes one tile: keys go into states, scores or sums; a drain turns the state of a group into its rows."""
        rows, keys = step.rows, step.columns
        scale = float(self.q.shape[2] ** -0.5)
        q, output, scores = (rows_of(array, rows) for array in (self.q, self.output, self.scores))
        if step.kind == "drain":
            output[:] = online_softmax_finish(self.groups.pop(rows)).reshape(output.shape)
        elif step.kind == "attention":
            state = self.groups.get(rows) or online_softmax_start(*q.shape[:2], width=q.shape[2])
            for key in keys:
                state = online_softmax_step(
                    state,
                    q,
                    key_row=self.k[key],
                    value_row=self.v[key],
                    scale=scale,
                    visible=rows_of(self.seen, rows)[:, key],
                )
            self.groups[rows] = state
        elif step.kind == "attention_scores":
            # The sums of the second pass begin at zero.
            output[:] = 0
            visible = block_of(self.seen, rows, keys)
            scores[:, :, keys.start : keys.stop] = masked_scores(q, rows_of(self.k, keys), scale=scale, visible=visible)
        else:
            # The weights of a tile of keys need the maximum and the total over all keys of the first pass.
            weights = softmax_weights(scores)[:, :, keys.start : keys.stop]
            sums = add_weighted_values(output.reshape(q.shape), weights, rows_of(self.v, keys))
            output[:] = sums.reshape(output.shape)
