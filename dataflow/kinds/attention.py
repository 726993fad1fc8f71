"""Attention, softmax(q k^T / sqrt(qk_dim)) v, whole or in passes: two of one engine, or three of units side by side.

The extents keep its shape: sequences, heads, KV heads that groups of heads share, queries and keys of a sequence, and
the widths of keys and of values. The mask says which pairs of a query and a key count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dataflow.kinds.rules import count_of, need, ranks
from dataflow.mask import Mask
from dataflow.op import Counts, Operands, OpKind, Shape, ShapeRule, Work

if TYPE_CHECKING:
    import numpy as np

THREE_PASSES = ("attention_scores", "attention_softmax", "attention_sums")  # of units side by side, in their order
EXTENTS = ("batch", "heads", "kv_heads", "queries", "keys", "qk_dim", "v_dim")


def _shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    batch, heads, kv_heads = (count_of(attributes, name) for name in ("batch", "heads", "kv_heads"))
    rule = "q [batch * queries, heads * qk_dim], k and v [batch * keys, kv_heads * qk_dim or v_dim]"
    ranks(shapes, 2, 2, 2, rule=rule)
    (rows, d), (cached, k_width), (values, v_width) = shapes
    need(cached == values and d % heads == 0 and v_width % kv_heads == 0, rule)
    qk_dim, v_dim = d // heads, v_width // kv_heads
    need(k_width == kv_heads * qk_dim, rule)
    need(rows % batch == 0 and cached % batch == 0, "rows a multiple of the batch")
    need(heads % kv_heads == 0, "heads a multiple of kv_heads")
    queries, keys = rows // batch, cached // batch
    causal, window = attributes.get("causal", True), attributes.get("window")
    need(window is None or (causal and window >= 1), "a window of one key or more, and only where it is causal")
    mask = Mask(causal, window)
    need(not mask.causal or queries <= keys, "at least as many keys as queries where it is causal")
    extents = (batch, heads, kv_heads, queries, keys, qk_dim, v_dim)
    return (rows, heads * v_dim), {**dict(zip(EXTENTS, extents, strict=True)), "mask": mask}


def _scored(work: Work) -> int:
    return work.pairs * work["heads"]


def _keys_read(work: Work, operand: int) -> int:
    """Rows of q, k or v that are needed: of keys and values those that some query sees."""
    assert work.mask is not None
    each = work.mask.needed(work["queries"], work["keys"]) if operand else work["queries"]
    return work["batch"] * each


def heads_of(x: Operands) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q [batch, queries, heads, qk_dim], k [batch, keys, kv_heads, qk_dim] and v [batch, keys, kv_heads, v_dim]."""
    widths = (x.work["qk_dim"], x.work["qk_dim"], x.work["v_dim"])
    q, k, v = (
        array.astype("float32", copy=False).reshape(x.work["batch"], -1, array.shape[1] // width, width)
        for array, width in zip(x.inputs, widths, strict=True)
    )
    return q, k, v


def _evaluate(x: Operands) -> np.ndarray:
    """Each sequence by the prefill kernel if its attention is plain causal, otherwise query by query as in decode."""
    import numpy as np

    from kernels.attention import decode_attention, prefill_attention

    mask, outputs = x.work.mask, []
    assert mask is not None
    for q, k, v in zip(*heads_of(x), strict=True):
        # The prefill kernel knows neither cached keys nor windows.
        if len(q) == len(k) and mask == Mask():
            outputs.append(prefill_attention(q, k, v=v))
            continue
        for query, row in enumerate(q):
            seen = mask.seen(query, queries=len(q), keys=len(k))
            keys = slice(seen.start, seen.stop)
            outputs.append(decode_attention(row, k[keys], v=v[keys])[None])
    return np.concatenate(outputs).reshape(len(x.inputs[0]), -1)


def _record(
    meaning: str, count: Callable[[Work], Counts], shape: ShapeRule | None = None, *, elementwise: bool = False
) -> OpKind:  # fmt: skip
    return OpKind(
        meaning=meaning, extents=EXTENTS, defaults={"batch": 1, "kv_heads": "heads", "v_dim": "qk_dim"}, masked=True,
        count=count, elements=_scored, shape=shape, attributes=EXTENTS[:3], optional=("causal", "window"),
        axes=("batch", "heads", "queries", "keys"), sums=("keys",), evaluate=_evaluate if shape else None,
        reads=_keys_read if shape else None, factors=3 if shape else 0, elementwise=elementwise,
    )  # fmt: skip


KINDS = {
    "attention": _record(
        "softmax(q k^T / sqrt(qk_dim)) v over the pairs that the mask lets through",
        lambda w: {"mac": _scored(w) * (w["qk_dim"] + w["v_dim"]), "exp": _scored(w)},
        _shape,
    ),
    "attention_scores": _record("the first pass: q k^T", lambda w: {"mac": _scored(w) * w["qk_dim"]}),
    "attention_values": _record(
        "the second pass: exp, and the sum of values", lambda w: {"mac": _scored(w) * w["v_dim"], "exp": _scored(w)}
    ),
    "attention_softmax": _record(
        "the second pass of three: exp, element by element", lambda w: {"exp": _scored(w)}, elementwise=True
    ),
    "attention_sums": _record(
        "the third pass of three: the sum of values by their weights", lambda w: {"mac": _scored(w) * w["v_dim"]}
    ),
}
