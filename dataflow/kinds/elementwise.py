"""Op kinds that compute each element from the elements at its place; rope also from one other of its row.

Flop an element follow from the definitions in kernels/. quantize: scale, round. dequantize: scale. silu_mul: sigmoid as
one, two multiplies. gelu: tanh as one, five multiplies, two adds. rope: two multiplies, an add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflow.kinds.rules import count_of, need, of_parts, part, pointwise, ranks, rows_d, rowwise, same_shape
from dataflow.op import Box, Operands, Shape

if TYPE_CHECKING:
    import numpy as np


def _quantize(x: Operands, box: Box) -> np.ndarray:
    import numpy as np

    from kernels.quantize import quantize_absmax

    # A tile of columns needs the largest magnitude of the whole row.
    largest = np.abs(part(x.inputs[0], box[:1])).max(axis=1)
    return quantize_absmax(part(x.inputs[0], box), largest)[0]


def _dequantize(x: Operands, box: Box) -> np.ndarray:
    from kernels.quantize import dequantize

    assert x.row_scales is not None
    return dequantize(part(x.inputs[0], box), part(x.row_scales, box[:1]), w_scale=x.weight_scale)


def _add(x: Operands, box: Box) -> np.ndarray:
    a, b = (part(array, box).astype("float32") for array in x.inputs)
    return a + b


def _rope_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    heads, rule = count_of(attributes, "heads"), "x [rows, heads * head_dim], head_dim even"
    ranks(shapes, 2, rule=rule)
    need(shapes[0][1] % (2 * heads) == 0, rule)
    return rows_d(shapes[0])


def _rope(x: Operands, box: Box) -> np.ndarray:
    """The rotated tile. Only its own elements and their partners half a head away are read; all others are NaN."""
    import numpy as np

    from kernels.rope import rope

    (values,), a, (rows, columns) = x.inputs, x.attributes, box
    total, d = values.shape
    width = d // a["heads"]
    own = np.arange(columns.start, columns.stop)
    partner = np.where(own % width < width // 2, own + width // 2, own - width // 2)
    # NaN elsewhere, so that a tile which read more than it needs would show.
    needed = np.full((len(rows), d), np.nan, np.float32)
    for places in (own, partner):
        needed[:, places] = part(values, (rows,))[:, places]
    # Sequences lie one after another, and each begins at the same past.
    positions = a["past"] + np.arange(rows.start, rows.stop) % (total // a["batch"])
    turned = rope(needed.reshape(len(rows), a["heads"], width), positions, base=a["base"])
    return turned.reshape(len(rows), d)[:, own]


TURN = ("heads", "base", "past", "batch")
ACTIVATION = "kernels.activation"

KINDS = {
    "quantize": rowwise("rows to INT8 by their largest magnitude", flop=2, shape=same_shape(1), tile=_quantize),
    "dequantize": pointwise("integers times their scales", flop=1, shape=same_shape(1), tile=_dequantize),
    "add": pointwise("a + b", flop=1, shape=same_shape(2), tile=_add),
    "mul": pointwise("a x b", flop=1, shape=same_shape(2), tile=of_parts(ACTIVATION, "mul")),
    "silu_mul": pointwise("silu(gate) x up", flop=3, shape=same_shape(2), tile=of_parts(ACTIVATION, "silu_mul")),
    "gelu": pointwise("GELU in its tanh form", flop=8, shape=same_shape(1), tile=of_parts(ACTIVATION, "gelu")),
    "relu": pointwise("the larger of x and 0", flop=1, shape=same_shape(1), tile=of_parts(ACTIVATION, "relu")),
    "square": pointwise("x times x", flop=1, shape=same_shape(1), tile=of_parts(ACTIVATION, "square")),
    "rope": rowwise("turns pairs by the row's position", flop=3, shape=_rope_shape, tile=_rope, attributes=TURN),
}
