"""Op kinds that multiply matrices: plain products, one for each member of a batch, and products by ternary weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflow.kinds.rules import need, part, ranks
from dataflow.op import Box, Counts, Operands, OpKind, Shape, Work

if TYPE_CHECKING:
    import numpy as np


def _ternary_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    ranks(shapes, 2, 2, rule="x [m, k] and weight [n, k]")
    need(shapes[0][1] == shapes[1][1], "x [m, k] and weight [n, k]")
    (m, k), n = shapes[0], shapes[1][0]
    return (m, n), {"m": m, "k": k, "n": n}


def _matmul_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    if [len(s) for s in shapes] != [3, 3]:
        return _ternary_shape(shapes, attributes)
    (batch, m, k), (others, n, weight_k) = shapes
    need((batch, k) == (others, weight_k), "x [batch, m, k] and y [batch, n, k]")
    return (batch, m, n), {"batch": batch, "m": m, "k": k, "n": n}


def _macs(work: Work) -> Counts:
    return {"mac": work.elements * work["k"]}


def _matmul(x: Operands, box: Box) -> np.ndarray:
    """The sums over the tile's inputs, float32 [m, n] or [batch, m, n]."""
    import numpy as np

    from kernels.matmul import batched_matmul

    batch, m, k, n = box
    outer = (batch,) if x.inputs[0].ndim == 3 else ()
    weights = part(x.inputs[1], (*outer, n, k)).astype(np.float32) * np.float32(x.weight_scale)
    return batched_matmul(part(x.inputs[0], (*outer, m, k)), weights)


def _ternary_matmul(x: Operands, box: Box) -> np.ndarray:
    """The sums over the tile's inputs, int32 [m, n]."""
    from kernels.ternary.lookup import lookup_matmul
    from kernels.ternary.packing import group_indices

    m, k, n = box
    return lookup_matmul(part(x.inputs[0], (m, k)), group_indices(part(x.inputs[1], (n, k))))


KINDS = {
    "matmul": OpKind(
        meaning="x times the transpose of a matrix, for each member of a batch", extents=("batch", "m", "k", "n"),
        defaults={"batch": 1}, count=_macs, elements=lambda w: w["batch"] * w["m"] * w["n"], shape=_matmul_shape,
        axes=("batch", "m", "k", "n"), sums=("k",), rows=("batch", "m"), tile=_matmul, factors=2,
    ),
    "ternary_matmul": OpKind(
        meaning="INT8 rows times the transpose of a matrix of -1, 0 and 1", extents=("m", "k", "n"),
        count=_macs, elements=lambda w: w["m"] * w["n"], shape=_ternary_shape,
        axes=("m", "k", "n"), sums=("k",), rows=("m",), tile=_ternary_matmul, factors=2,
    ),
}  # fmt: skip
