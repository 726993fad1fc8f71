"""The table of op kinds: for each, its loop extents, its shape rule and how much work it is.

Work here is before any hardware: extents and the counts that follow from them. No rates, no cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dataflow.errors import GraphError
from dataflow.mask import causal_pairs

Shape = tuple[int, ...]
Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of computation before any hardware: an op kind and its loop extents, in the order of the op table.

    >>> work("ternary_matmul", m=1, k=84, n=1536).counts()
    {'mac': 129024}
    """

    kind: str
    extents: tuple[int, ...]

    def __getitem__(self, extent: str) -> int:
        return self.extents[OP_KINDS[self.kind].extents.index(extent)]

    def counts(self) -> Counts:
        """The counts of this work: mac, exp, flop (other scalar arithmetic), read, written and moved (bytes)."""
        kind = OP_KINDS[self.kind]
        return kind.count(*self.extents)

    @property
    def elements(self) -> int:
        """The elements that this work makes, moves or compares, by the rule of its kind."""
        return OP_KINDS[self.kind].elements(*self.extents)

    def __str__(self) -> str:
        inside = ", ".join(f"{n}={v}" for n, v in zip(OP_KINDS[self.kind].extents, self.extents, strict=True))
        return f"{self.kind}({inside})"


def computes(item: Work) -> bool:
    """True if the work does arithmetic, rather than only moving or comparing data."""
    counts = item.counts()
    return any(counts.get(what) for what in ("mac", "flop", "exp"))


def work(kind: str, **extents: int) -> Work:
    """A Work of this kind; takes every extent of the op table. Raises GraphError on a wrong kind or extent."""
    if kind not in OP_KINDS:
        raise GraphError(f"unknown op kind '{kind}'; op kinds are: {', '.join(OP_KINDS)}")
    names = OP_KINDS[kind].extents
    if set(extents) != set(names):
        raise GraphError(f"work of kind '{kind}' takes the extents ({', '.join(names)}), got ({', '.join(extents)})")
    bad = [f"{n}={v!r}" for n, v in extents.items() if not isinstance(v, int) or v < 0]
    if bad:
        raise GraphError(f"work of kind '{kind}': extents are whole numbers >= 0, got {', '.join(bad)}")
    return Work(kind, tuple(extents[n] for n in names))


@dataclass(frozen=True, slots=True)
class OpKind:
    """One row of the op table.

    `shape` maps (input shapes, attributes) to (output shapes, extents); it raises ValueError when they do not fit.
    Kinds without a shape rule are work that only a mapper schedules, such as movements; no graph contains them.
    `free` marks kinds that move and compute nothing (a choice of rows already in place); only these need no unit.
    """

    extents: tuple[str, ...]
    count: Callable[..., Counts]
    elements: Callable[..., int]
    shape: Callable[[list[Shape], Mapping[str, Any]], tuple[list[Shape], dict[str, int]]] | None = None
    free: bool = False


def _need(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)


def _ranks(shapes: list[Shape], *ranks: int, rule: str) -> None:
    _need(tuple(len(s) for s in shapes) == ranks, rule)


def _rowwise(inputs: int) -> Callable[[list[Shape], Mapping[str, Any]], tuple[list[Shape], dict[str, int]]]:
    def shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
        rule = f"{inputs} inputs of one shape [rows, d]"
        _ranks(shapes, *[2] * inputs, rule=rule)
        _need(all(s == shapes[0] for s in shapes), rule)
        rows, d = shapes[0]
        return [(rows, d)], {"rows": rows, "d": d}

    return shape


def _norm_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    _ranks(shapes, 2, 1, rule="x [rows, d] and weight [d]")
    _need(shapes[1] == shapes[0][-1:], "x [rows, d] and weight [d]")
    rows, d = shapes[0]
    return [(rows, d)], {"rows": rows, "d": d}


def _matmul_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    _ranks(shapes, 2, 2, rule="x [m, k] and weight [n, k]")
    _need(shapes[0][1] == shapes[1][1], "x [m, k] and weight [n, k]")
    (m, k), n = shapes[0], shapes[1][0]
    return [(m, n)], {"m": m, "k": k, "n": n}


def _embedding_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    _ranks(shapes, 1, 2, rule="ids [rows] and table [vocab, d]")
    rows, d = shapes[0][0], shapes[1][1]
    return [(rows, d)], {"rows": rows, "d": d}


def _rope_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    heads = attributes["heads"]
    _ranks(shapes, 2, rule="x [rows, heads * head_dim], head_dim even")
    _need(shapes[0][1] % (2 * heads) == 0, "x [rows, heads * head_dim], head_dim even")
    rows, d = shapes[0]
    return [(rows, d)], {"rows": rows, "heads": heads, "head_dim": d // heads}


def _attention_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    batch, heads, kv_heads = (attributes[n] for n in ("batch", "heads", "kv_heads"))
    _ranks(shapes, 2, 2, 2, rule="q [batch * queries, heads * head_dim], k and v of one shape")
    _need(shapes[1] == shapes[2], "q [batch * queries, heads * head_dim], k and v of one shape")
    (rows, d), (cached, kv_d) = shapes[0], shapes[1]
    head_dim = d // heads
    _need(d == heads * head_dim and kv_d == kv_heads * head_dim, "q of heads, k and v of kv_heads times one head_dim")
    _need(rows % batch == 0 and cached % batch == 0, "rows a multiple of the batch")
    _need(heads % kv_heads == 0, "heads a multiple of kv_heads")
    queries, keys = rows // batch, cached // batch
    causal, window = attributes.get("causal", True), attributes.get("window")
    _need(not causal or queries <= keys, "at least as many keys as queries where it is causal")
    _need(window is None or (causal and window >= 1), "a window of one key or more, and only where it is causal")
    pairs = batch * (causal_pairs(queries, keys, window=window) if causal else queries * keys)
    return [(rows, d)], {"pairs": pairs, "heads": heads, "head_dim": head_dim}


def _select_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    _ranks(shapes, 2, rule="x [rows, d]")
    rows, d = shapes[0]
    batch = attributes["batch"]
    _need(rows % batch == 0, "rows a multiple of the batch")
    return [(batch, d)], {"rows": batch, "d": d}


def _pool_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    batch, tokens = attributes["batch"], attributes["tokens"]
    rule = "x [batch * rows, d] and 1 to rows tokens per sequence"
    _ranks(shapes, 2, rule=rule)
    rows, d = shapes[0]
    _need(rows % batch == 0 and 1 <= tokens <= rows // batch, rule)
    return [(batch * tokens, d)], {"rows": rows, "d": d}


def _append_shape(shapes: list[Shape], attributes: Mapping[str, Any]) -> tuple[list[Shape], dict[str, int]]:
    rule = "new rows [rows, d] and, if any, past rows of one d"
    _ranks(shapes, *[2] * min(max(len(shapes), 1), 2), rule=rule)
    _need(shapes[0][1] == shapes[-1][1], rule)
    _need(all(s[0] % attributes["batch"] == 0 for s in shapes), "rows a multiple of the batch")
    rows, d = sum(s[0] for s in shapes), shapes[0][1]
    return [(rows, d)], {"rows": shapes[0][0], "d": d}


def hash_pairs(current: int, cached: int) -> int:
    """Comparisons of new hashes with `cached` ones and with each other: current x cached + current (current - 1) / 2.

    >>> hash_pairs(3, 2)
    9
    """
    return current * cached + current * (current - 1) // 2


def _flops(per_element: int) -> Callable[[int, int], Counts]:
    return lambda rows, d: {"flop": per_element * rows * d}


def _area(rows: int, d: int) -> int:
    return rows * d


def _mac(m: int, k: int, n: int) -> Counts:
    return {"mac": m * k * n}


_ROWS_D = ("rows", "d")
_PAIRS = ("pairs", "heads", "head_dim")


def _counts(mac: int, exp: int, flop: int) -> Counts:
    return {"mac": mac, "exp": exp, "flop": flop}


# How a node of a streaming machine takes and gives tokens.
NODE_KINDS = ("source", "map", "zip", "reduce", "repeat", "scan", "broadcast", "accumulate", "sink")

# The kinds that a pipeline of lanes does element by element.
ELEMENTWISE = (
    "embedding", "rmsnorm", "layernorm", "quantize", "dequantize", "add", "silu_mul", "gelu", "rope", "pool",
)  # fmt: skip

# Flop per element, from the definitions in kernels/. rmsnorm: square, add, scale, weight. layernorm: add and centre,
# then as rmsnorm; a bias is not counted. quantize: scale, round. dequantize: scale. silu_mul: sigmoid as one, two
# multiplies. gelu: tanh as one, five multiplies, two adds. rope: two multiplies, an add. pool: an add per input.
OP_KINDS: Mapping[str, OpKind] = MappingProxyType(
    {
        "embedding": OpKind(_ROWS_D, lambda rows, d: {}, _area, _embedding_shape),
        "rmsnorm": OpKind(_ROWS_D, _flops(4), _area, _norm_shape),
        "layernorm": OpKind(_ROWS_D, _flops(6), _area, _norm_shape),
        "quantize": OpKind(_ROWS_D, _flops(2), _area, _rowwise(1)),
        "dequantize": OpKind(_ROWS_D, _flops(1), _area, _rowwise(1)),
        "add": OpKind(_ROWS_D, _flops(1), _area, _rowwise(2)),
        "silu_mul": OpKind(_ROWS_D, _flops(3), _area, _rowwise(2)),
        "gelu": OpKind(_ROWS_D, _flops(8), _area, _rowwise(1)),
        "rope": OpKind(
            ("rows", "heads", "head_dim"),
            lambda r, h, d: {"flop": 3 * r * h * d},
            lambda r, h, d: r * h * d,
            _rope_shape,
        ),
        # A pool counts the rows and elements that it reads, because each takes an add; it makes fewer.
        "pool": OpKind(_ROWS_D, _flops(1), _area, _pool_shape),
        "matmul": OpKind(("m", "k", "n"), _mac, lambda m, k, n: m * n, _matmul_shape),
        "ternary_matmul": OpKind(("m", "k", "n"), _mac, lambda m, k, n: m * n, _matmul_shape),
        "attention": OpKind(
            _PAIRS, lambda p, h, d: {"mac": 2 * p * h * d, "exp": p * h}, lambda p, h, d: p * h, _attention_shape
        ),
        "select": OpKind(_ROWS_D, lambda rows, d: {}, _area, _select_shape, free=True),
        # Free, because the op that computes the new rows stores them in the cache (Graph.bytes_stored).
        "append": OpKind(_ROWS_D, lambda rows, d: {}, _area, _append_shape, free=True),
        # The two passes of an attention that keeps its scores: q k^T first, then exp and the sum of values.
        "attention_scores": OpKind(_PAIRS, lambda p, h, d: {"mac": p * h * d}, lambda p, h, d: p * h),
        "attention_values": OpKind(_PAIRS, lambda p, h, d: {"mac": p * h * d, "exp": p * h}, lambda p, h, d: p * h),
        # One firing of a node of a streaming machine: the extents are its arithmetic on one token.
        **dict.fromkeys(NODE_KINDS, OpKind(("mac", "exp", "flop"), _counts, lambda mac, exp, flop: 1)),
        # Movements, and `enter`, the start of a loop or kernel: what a schedule needs beside the arithmetic.
        "read": OpKind(("bytes",), lambda b: {"read": b}, lambda b: b),
        "write": OpKind(("bytes",), lambda b: {"written": b}, lambda b: b),
        "move": OpKind(("bytes",), lambda b: {"moved": b}, lambda b: b),
        "load": OpKind(("vectors", "stride"), lambda vectors, stride: {}, lambda vectors, stride: vectors),
        "store": OpKind(("vectors", "stride"), lambda vectors, stride: {}, lambda vectors, stride: vectors),
        "take": OpKind(("d",), lambda d: {}, lambda d: d),
        "drain": OpKind(("d",), lambda d: {}, lambda d: d),
        "copy": OpKind(("d",), lambda d: {}, lambda d: d),
        "enter": OpKind((), lambda: {}, lambda: 0),
        # Selection among cached keys: products with their representatives, comparisons of scores and of hashes, passes
        # over rows of scores, and the requests for the bytes of the kept keys.
        "score": OpKind(("mac",), lambda mac: {"mac": mac}, lambda mac: mac),
        "compare": OpKind(("comparisons",), lambda comparisons: {}, lambda comparisons: comparisons),
        "hash_compare": OpKind(
            ("current", "cached", "bits"), lambda *_: {}, lambda new, cached, bits: hash_pairs(new, cached)
        ),
        "threshold": OpKind(
            ("rows", "columns", "passes"), lambda r, c, p: {}, lambda rows, columns, passes: columns * (rows + passes)
        ),
        "issue": OpKind(("requests",), lambda requests: {}, lambda requests: requests),
        "gather": OpKind(("requests", "bytes"), lambda n, size: {"read": n * size}, lambda n, size: n * size),
    }
)

GRAPH_KINDS = tuple(name for name, kind in OP_KINDS.items() if kind.shape is not None)
