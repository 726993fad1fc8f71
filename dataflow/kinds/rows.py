"""Op kinds over whole rows: norms, softmax, look-up of rows, and pools of rows.

Flop an element: rmsnorm: square, add, scale, weight. layernorm: add and centre, then as rmsnorm; a bias is not counted.
softmax: maximum, subtract, add, divide, beside the exponential. A pool counts the rows and elements that it reads,
because each takes an add or a comparison; it makes fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflow.kinds.rules import ROWS_D, area, count_of, need, part, per_element, ranks, rows_d, rowwise, same_shape
from dataflow.op import Box, Operands, OpKind, Shape

if TYPE_CHECKING:
    import numpy as np


def _norm_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    rule = "x [rows, d] and weight [d]"
    ranks(shapes, 2, 1, rule=rule)
    need(shapes[1] == shapes[0][-1:], rule)
    return rows_d(shapes[0])


def _norm(meaning: str, flop: int, tile: Any) -> OpKind:
    return rowwise(meaning, flop=flop, shape=_norm_shape, attributes=("eps",), tile=tile)


def _embedding_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    ranks(shapes, 1, 2, rule="ids [rows] and table [vocab, d]")
    return rows_d((shapes[0][0], shapes[1][1]))


def _pool_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    batch, tokens = count_of(attributes, "batch"), count_of(attributes, "tokens")
    rule = "x [batch * rows, d] and 1 to rows tokens per sequence"
    ranks(shapes, 2, rule=rule)
    rows, d = shapes[0]
    need(rows % batch == 0 and tokens <= rows // batch, rule)
    return (batch * tokens, d), {"rows": rows, "d": d}


def _columns(rows: np.ndarray, box: Box) -> np.ndarray:
    """The tile's columns of its own rows."""
    return rows[:, box[1].start : box[1].stop]


def _embedding(x: Operands, box: Box) -> np.ndarray:
    ids, table = x.inputs
    return _columns(table[part(ids, box[:1])], box).astype("float32")


def _rmsnorm(x: Operands, box: Box) -> np.ndarray:
    from kernels.norm import rmsnorm

    return _columns(rmsnorm(part(x.inputs[0], box[:1]), x.inputs[1], eps=x.attributes["eps"]), box)


def _layernorm(x: Operands, box: Box) -> np.ndarray:
    from kernels.norm import layer_norm

    return _columns(layer_norm(part(x.inputs[0], box[:1]), x.inputs[1], eps=x.attributes["eps"]), box)


def _softmax(x: Operands, box: Box) -> np.ndarray:
    from kernels.softmax import softmax

    return _columns(softmax(part(x.inputs[0], box[:1])), box)


def _pooled(meaning: str, kernel: str) -> OpKind:
    def evaluate(x: Operands) -> np.ndarray:
        import numpy as np

        import kernels.pool

        pool = getattr(kernels.pool, kernel)
        sequences = np.split(x.inputs[0], x.attributes["batch"])
        return np.concatenate([pool(rows, tokens=x.attributes["tokens"]) for rows in sequences])

    return OpKind(
        meaning=meaning, extents=ROWS_D, count=per_element(flop=1), elements=area, shape=_pool_shape,
        attributes=("batch", "tokens"), rows=("rows",), evaluate=evaluate, elementwise=True,
    )  # fmt: skip


KINDS = {
    "embedding": rowwise("the rows of a table that ids ask for", flop=0, shape=_embedding_shape, tile=_embedding),
    "rmsnorm": _norm("x over its root mean square, times a weight", 4, _rmsnorm),
    "layernorm": _norm("x less its mean over its deviation, scaled", 6, _layernorm),
    "softmax": rowwise("exp(x) over its sum in each row", flop=4, exp=1, shape=same_shape(1), tile=_softmax),
    "pool": _pooled("the means of runs of rows", "mean_pool"),
    "max_pool": _pooled("the largest of runs of rows, element by element", "max_pool"),
}
