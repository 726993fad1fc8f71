"""The attention of one layer alone: as a phase of a model, and as a graph of given extents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from dataflow.errors import InputError, refuse
from dataflow.format import FP32, Format, format_named
from dataflow.graph import Graph, Tensor
from dataflow.mask import Mask
from dataflow.models.model import Model, token_problems
from dataflow.phase import Phase, asks

WINDOW = re.compile("[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAttention(Phase):
    """The attention of one layer alone: `prompt` queries per sequence over `context` keys.

    The mask is causal, full, or a window such as 128: causal, with at most 128 keys per query.
    """

    name: ClassVar[str] = "attention"
    done: ClassVar[str] = "{n} queries"

    prompt: int = asks("queries")
    context: int = asks("keys")
    mask: str | None = asks("causal, full, or a window such as 128; the model's own unless given", default=None)

    def graph(self, model: Model) -> Graph:
        """The graph. Raises GraphError if prompt or context are beyond the model's, or an extent is impossible."""
        # Unless it is asked for, the mask is the model's own.
        seen = Mask(window=model.window) if self.mask is None else _mask(self.mask)
        refuse(token_problems(model, self.batch, prompt=self.prompt, context=self.context))
        return attention(
            queries=self.prompt, keys=self.context, head_dim=model.head_dim, heads=model.heads,
            kv_heads=model.kv_heads, batch=self.batch, causal=seen.causal, window=seen.window,
            format=format_named(model.activations), name=model.name,
        )  # fmt: skip


def _mask(written: str) -> Mask:
    if written in ("causal", "full"):
        return Mask(causal=written != "full")
    if not WINDOW.fullmatch(written):
        raise InputError(f"--mask: expected causal, full or a window in keys such as 128, got '{written}'")
    return Mask(window=int(written))


def attention(
    *,
    queries: int,
    keys: int,
    head_dim: int,
    v_dim: int | None = None,
    heads: int = 1,
    kv_heads: int | None = None,
    batch: int = 1,
    causal: bool = True,
    window: int | None = None,
    format: Format = FP32,
    name: str = "attention",
) -> Graph:
    """The graph of softmax(q k^T / sqrt(head_dim)) v for `queries` rows over `keys` columns per head and sequence.

    q [batch x queries, heads x head_dim]; k [batch x keys, kv_heads x head_dim]; v as k, or `v_dim` wide. Causal: the
    queries are the newest positions of the keys and see no later key; with a window each sees that many keys at most.
    Raises GraphError.

    >>> attention(queries=3, keys=3, head_dim=8).ops["attention"].work.pairs
    6
    """
    kv_heads, v_dim = heads if kv_heads is None else kv_heads, head_dim if v_dim is None else v_dim
    extents = {
        "queries": queries, "keys": keys, "head_dim": head_dim, "heads": heads, "kv_heads": kv_heads, "batch": batch,
    }  # fmt: skip
    # Checked here, so that a message names the extent; tensors would only complain about a product of extents.
    refuse([f"attention: {what}: a whole number >= 1, got {n!r}" for what, n in extents.items() if n < 1])
    phase = LayerAttention(prompt=queries, context=keys, batch=batch, mask=str(Mask(causal, window)))
    graph = Graph(name, phase, tokens=batch * queries)
    for tensor, rows, width in (("q", queries, heads * head_dim), ("k", keys, kv_heads * head_dim),
                                ("v", keys, kv_heads * v_dim)):  # fmt: skip
        graph.add_tensor(Tensor(tensor, (batch * rows, width), format))
    graph.add(
        "attention", "attention", ("q", "k", "v"), format=format,
        batch=batch, heads=heads, kv_heads=kv_heads, causal=causal, window=window,
    )  # fmt: skip
    return graph
