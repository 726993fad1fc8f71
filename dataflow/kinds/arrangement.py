"""Op kinds that compute nothing: they choose, join or rearrange elements. Each says why it needs no unit."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from dataflow.kinds.rules import ROWS_D, area, count_of, need, per_element, ranks, rows_d
from dataflow.op import Operands, OpKind, Shape, ShapeRule

if TYPE_CHECKING:
    import numpy as np

MULTIPLE = "rows a multiple of the batch"


def _select_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    ranks(shapes, 2, rule="x [rows, d]")
    rows, d = shapes[0]
    batch = count_of(attributes, "batch")
    need(rows % batch == 0, MULTIPLE)
    return rows_d((batch, d))


def _append_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    rule, batch = "new rows [rows, d] and, if any, past rows of one d", count_of(attributes, "batch")
    ranks(shapes, *[2] * min(max(len(shapes), 1), 2), rule=rule)
    need(shapes[0][1] == shapes[-1][1], rule)
    need(all(s[0] % batch == 0 for s in shapes), MULTIPLE)
    rows, d = sum(s[0] for s in shapes), shapes[0][1]
    return (rows, d), {"rows": shapes[0][0], "d": d}


def _reshape_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    wanted: Any = attributes.get("shape")
    rule = "one tensor, and a shape with as many elements"
    need(len(shapes) == 1 and isinstance(wanted, tuple | list) and prod(wanted) == prod(shapes[0]), rule)
    return tuple(wanted), {"rows": 1, "d": prod(wanted)}


def _transpose_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    axes: Any = attributes.get("axes")
    rule = "one tensor, and its axes in their new order"
    need(len(shapes) == 1 and isinstance(axes, tuple | list) and sorted(axes) == list(range(len(shapes[0]))), rule)
    return tuple(shapes[0][axis] for axis in axes), {"rows": 1, "d": prod(shapes[0])}


def _select(x: Operands) -> np.ndarray:
    """The last row of each sequence."""
    return x.inputs[0].reshape(x.attributes["batch"], -1, x.inputs[0].shape[1])[:, -1].astype("float32")


def _append(x: Operands) -> np.ndarray:
    """Past rows, then new ones, sequence by sequence."""
    import numpy as np

    sequences, d = x.attributes["batch"], x.inputs[0].shape[1]
    new, *past = (rows.astype(np.float32).reshape(sequences, -1, d) for rows in x.inputs)
    return np.concatenate([*past, new], axis=1).reshape(-1, d)


def _free(meaning: str, why: str, shape: ShapeRule, attribute: str, **record: Any) -> OpKind:
    return OpKind(
        meaning=meaning, extents=ROWS_D, count=per_element(), elements=area, shape=shape, attributes=(attribute,),
        free=why, **record,
    )  # fmt: skip


KINDS = {
    "select": _free(
        "the last row of each sequence", "its rows lie in place already", _select_shape, "batch", evaluate=_select
    ),
    "append": _free(
        "new rows behind the cached ones of each sequence", "the op that makes the new rows stores them in the cache",
        _append_shape, "batch", evaluate=_append,
    ),
    "reshape": _free(
        "the same elements in another shape", "the elements lie in memory in the same order", _reshape_shape, "shape",
        evaluate=lambda x: x.inputs[0].reshape(x.attributes["shape"]),
    ),
    "transpose": _free(
        "the axes in another order", "whoever reads the elements reads them in the other order, at the same rate",
        _transpose_shape, "axes", evaluate=lambda x: x.inputs[0].transpose(x.attributes["axes"]), simplifies=True,
    ),
}  # fmt: skip
