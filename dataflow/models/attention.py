"""attention: the graph of a single attention of given extents."""

from __future__ import annotations

from dataflow.errors import GraphError
from dataflow.format import FP32, Format
from dataflow.graph import Graph, Tensor
from dataflow.mask import Mask


def attention(
    *,
    queries: int,
    keys: int,
    head_dim: int,
    heads: int = 1,
    kv_heads: int | None = None,
    batch: int = 1,
    causal: bool = True,
    window: int | None = None,
    format: Format = FP32,
    name: str = "attention",
) -> Graph:
    """The graph of softmax(q k^T / sqrt(head_dim)) v for `queries` rows over `keys` columns per head and sequence.

    q [batch x queries, heads x head_dim]; k, v [batch x keys, kv_heads x head_dim]. Causal: the queries are the newest
    positions of the keys and see no later key; with a window each sees that many keys at most. Raises GraphError.

    >>> attention(queries=3, keys=3, head_dim=8).ops["attention"].work.pairs
    6
    """
    kv_heads = heads if kv_heads is None else kv_heads
    extents = {
        "queries": queries, "keys": keys, "head_dim": head_dim, "heads": heads, "kv_heads": kv_heads, "batch": batch,
    }  # fmt: skip
    # Checked here, so that a message names the extent; tensors would only complain about a product of extents.
    problems = [f"attention: {what}: a whole number >= 1, got {n!r}" for what, n in extents.items() if n < 1]
    if problems:
        raise GraphError(problems)
    mask = str(Mask(causal, window))
    about = {
        "phase": "attention", "prompt": queries, "context": keys, "batch": batch, "mask": mask,
        "tokens": batch * queries,
    }  # fmt: skip
    graph = Graph(name, about)
    for tensor, rows, width in (("q", queries, heads), ("k", keys, kv_heads), ("v", keys, kv_heads)):
        graph.add_tensor(Tensor(tensor, (batch * rows, width * head_dim), format))
    graph.add(
        "attention", "attention", ("q", "k", "v"), format=format,
        batch=batch, heads=heads, kv_heads=kv_heads, causal=causal, window=window,
    )  # fmt: skip
    return graph
