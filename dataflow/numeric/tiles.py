"""Ops on tiles: what a part of an op computes, from the arrays that the op reads.

Knows which kernel an op kind is and which elements a tile needs. Does not know which tile comes when, nor time.
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

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Operands:
    """An op with the arrays that it reads, and the scales that turn its integers into numbers.

    `row_scales` float32 [rows] are those of the INT8 rows whose product the op reads, `weight_scale` is the matrix's.
    """

    op: Op
    inputs: tuple[np.ndarray, ...]
    row_scales: np.ndarray | None = None
    weight_scale: float = 1.0


def operands_of(graph: Graph, op: Op, arrays: Arrays) -> Operands:
    """The operands of this op, from the arrays of the tensors that it reads and of those that its scales are from."""
    inputs = tuple(arrays[name] for name in op.inputs)
    if op.kind == "matmul":
        return Operands(op, inputs, None, _weight_scale(op, arrays))
    if op.kind != "dequantize":
        return Operands(op, inputs)
    name, weight_scale = op.inputs[0], 1.0
    if name in graph.ops and graph.ops[name].kind == "ternary_matmul":
        weight_scale = _weight_scale(graph.ops[name], arrays)
        name = graph.ops[name].inputs[0]
    if name in graph.ops and graph.ops[name].kind == "quantize":
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
    """Turns the tile with the elements that its own turn with, half a head away, and no others: those are NaN."""
    (values,), a = x.inputs, x.op.attributes
    total, d = values.shape
    width = d // a["heads"]
    mine = np.arange(columns.start, columns.stop)
    partner = np.where(mine % width < width // 2, mine + width // 2, mine - width // 2)
    needed = np.full((len(rows), d), np.nan, np.float32)
    for places in (mine, partner):
        needed[:, places] = rows_of(values, rows)[:, places]
    positions = a["past"] + np.arange(rows.start, rows.stop) % (total // a["batch"])
    turned = rope(needed.reshape(len(rows), a["heads"], width), positions, base=a["base"])
    return turned.reshape(len(rows), d)[:, mine]


def _matmul(x: Operands, rows: range, columns: range) -> np.ndarray:
    weights = rows_of(x.inputs[1], columns).astype(np.float32) * np.float32(x.weight_scale)
    return rows_of(x.inputs[0], rows).astype(np.float32) @ weights.T


def _ternary_matmul(x: Operands, rows: range, columns: range) -> np.ndarray:
    """What these inputs add to the sums of every output, int32 [rows, n]."""
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

    q, k, v as heads_of gives them; seen bool [queries, keys]; output float32 [queries, heads * head_dim] is filled in
    place; scores float32 [queries, heads, keys] are kept from the first pass to the second.
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
        scores = np.full((*q.shape[:2], len(k)), np.nan, np.float32)
        return AttentionTiles(q, k, v, visible(x.op, len(q), len(k)), output, scores)

    def advance(self, step: Step) -> None:
        """Computes one tile: of keys into states, scores or sums; of a drain, the rows of a group from its state."""
        if step.kind == "drain":
            finished = online_softmax_finish(self.groups.pop(step.rows))
            rows_of(self.output, step.rows)[:] = finished.reshape(len(step.rows), -1)
        elif step.kind == "attention":
            self._attend(step.rows, step.columns)
        elif step.kind == "attention_scores":
            self._score(step.rows, step.columns)
        else:
            self._sum_values(step.rows, step.columns)

    @property
    def _scale(self) -> float:
        return float(self.q.shape[2] ** -0.5)

    def _attend(self, rows: range, keys: range) -> None:
        _, heads, width = self.q.shape
        state = self.groups.get(rows) or online_softmax_start(len(rows), heads, width=width)
        for key in keys:
            state = online_softmax_step(
                state,
                rows_of(self.q, rows),
                key_row=self.k[key],
                value_row=self.v[key],
                scale=self._scale,
                visible=rows_of(self.seen, rows)[:, key],
            )
        self.groups[rows] = state

    def _score(self, rows: range, keys: range) -> None:
        """Raw scores, minus infinity where a query does not see the key; the sums of the second pass begin at zero."""
        share = self.q.shape[1] // self.k.shape[1]
        rows_of(self.output, rows)[:] = 0
        for key in keys:
            raw = (rows_of(self.q, rows) * np.repeat(self.k[key], share, axis=0)).sum(axis=2) * np.float32(self._scale)
            rows_of(self.scores, rows)[:, :, key] = np.where(rows_of(self.seen, rows)[:, key, None], raw, -np.inf)

    def _sum_values(self, rows: range, keys: range) -> None:
        """Adds value rows with the weights exp(score - maximum) / total, both over all keys of the first pass."""
        share = self.q.shape[1] // self.v.shape[1]
        raw = rows_of(self.scores, rows)
        weights = np.exp(raw - raw.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        sums = rows_of(self.output, rows)
        for key in keys:
            value = np.repeat(self.v[key], share, axis=0)
            sums += (weights[:, :, key, None] * value).reshape(sums.shape)
