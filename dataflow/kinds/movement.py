"""Kinds of work that no graph contains and only mappers schedule: nodes of streams, movements, and selection."""

from __future__ import annotations

from collections.abc import Callable

from dataflow.op import Counts, OpKind, Work


def hash_pairs(current: int, cached: int) -> int:
    """Comparisons of new hashes with `cached` ones and with each other: current x cached + current (current - 1) / 2.

    >>> hash_pairs(3, 2)
    9
    """
    return current * cached + current * (current - 1) // 2


# How a node of a streaming machine takes and gives tokens.
NODE_KINDS = ("source", "map", "zip", "reduce", "repeat", "scan", "broadcast", "accumulate", "sink")


def _first(work: Work) -> int:
    return work.extents[0]


def _work(
    meaning: str,
    *extents: str,
    count: Callable[[Work], Counts] = lambda _: {},
    elements: Callable[[Work], int] = _first,
) -> OpKind:
    return OpKind(meaning=meaning, extents=extents, count=count, elements=elements)


def _bytes(what: str) -> Callable[[Work], Counts]:
    return lambda work: {what: work.extents[0]}


def _exchange(meaning: str) -> OpKind:
    # All links of a ring of n sockets carry n - 1 times the tensor.
    return _work(meaning, "bytes", "sockets", count=lambda w: {"moved": w["bytes"] * max(0, w["sockets"] - 1)})


_NODE = _work(
    "one firing of a node of a stream, by its arithmetic on a token", "mac", "exp", "flop",
    count=lambda w: {"mac": w["mac"], "exp": w["exp"], "flop": w["flop"]}, elements=lambda _: 1,
)  # fmt: skip

KINDS = {
    **dict.fromkeys(NODE_KINDS, _NODE),
    "read": _work("bytes from a memory, in one stretch", "bytes", count=_bytes("read")),
    "write": _work("bytes to a memory, in one stretch", "bytes", count=_bytes("written")),
    "move": _work("bytes over a channel", "bytes", count=_bytes("moved")),
    "route": _work("bytes over a mesh: their hops, and the bytes that pass the busiest link meanwhile",
                   "bytes", "hops", "load", count=_bytes("moved")),
    "all_gather": _exchange("parts of a tensor from each socket to all"),
    "reduce_scatter": _exchange("sums over sockets, a part of a tensor to each"),
    "gather": _work(
        "pieces of so many bytes from a memory, which lie apart", "requests", "bytes",
        count=lambda w: {"read": w["requests"] * w["bytes"]}, elements=lambda w: w["requests"] * w["bytes"],
    ),
    "load": _work("vectors from a banked memory", "vectors", "stride"),
    "store": _work("vectors to a banked memory", "vectors", "stride"),
    "take": _work("elements into a unit", "d"),
    "drain": _work("elements out of a unit", "d"),
    "copy": _work("elements passed on", "d"),
    "enter": _work("the start of a loop or of a kernel", elements=lambda _: 0),
    "configure": _work("a kernel is loaded", elements=lambda _: 0),
    "arrive": _work("something comes from outside, counted from 1", "number", elements=lambda _: 1),
    # Selection among cached keys.
    "score": _work("products of queries with representatives of keys", "mac", count=lambda w: {"mac": w["mac"]}),
    "compare": _work("comparisons of scores", "comparisons"),
    "hash_compare": _work(
        "new hashes against cached ones and each other", "current", "cached", "bits",
        elements=lambda w: hash_pairs(w["current"], w["cached"]),
    ),
    "threshold": _work(
        "passes over rows of scores, up to a share of their sum", "rows", "columns", "passes",
        elements=lambda w: w["columns"] * (w["rows"] + w["passes"]),
    ),
    "issue": _work("requests for the bytes of kept keys", "requests"),
}  # fmt: skip
