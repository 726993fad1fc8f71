"""An op kind: soft-capped values, cap x tanh(x / cap), element by element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dataflow import Box, Operands
from dataflow.kinds.rules import need, part, ranks, rowwise
from mappers import extend


def _shape(shapes: list[tuple[int, ...]], attributes: Mapping[str, Any]) -> tuple[tuple[int, ...], dict[str, Any]]:
    rule = "x [rows, d] and a cap above 0"
    ranks(shapes, 2, rule=rule)
    need(attributes.get("cap", 0) > 0, rule)
    rows, d = shapes[0]
    return (rows, d), {"rows": rows, "d": d}


def _tile(x: Operands, box: Box) -> np.ndarray:
    cap = np.float32(x.attributes["cap"])
    return cap * np.tanh(part(x.inputs[0], box) / cap)


# Flop an element: divide, tanh as one, multiply.
extend(ops={"softcap": rowwise("cap x tanh(x / cap)", flop=3, shape=_shape, tile=_tile, attributes=("cap",))})
