"""The op table counted by hand, shapes that do not fit, and the graphs of the shipped models."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import load_model
from dataflow import (
    FORMATS,
    OP_KINDS,
    Graph,
    GraphError,
    Model,
    Prefill,
    Tensor,
    Work,
    attention,
    decode,
    prefill,
    work,
)
from dataflow.kinds.movement import NODE_KINDS
from dataflow.mask import Mask
from dataflow.op import graph_kinds
from dataflow.role import Role

FP16 = FORMATS["fp16"]
Shapes = tuple[tuple[int, ...], ...]


# The op table ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item, counts, elements",
    [
        (work("embedding", rows=3, d=5), {}, 15),
        (work("rmsnorm", rows=3, d=5), {"flop": 60}, 15),
        (work("layernorm", rows=3, d=5), {"flop": 90}, 15),
        (work("quantize", rows=3, d=5), {"flop": 30}, 15),
        (work("dequantize", rows=3, d=5), {"flop": 15}, 15),
        (work("add", rows=3, d=5), {"flop": 15}, 15),
        (work("mul", rows=3, d=5), {"flop": 15}, 15),
        (work("silu_mul", rows=3, d=5), {"flop": 45}, 15),
        (work("relu", rows=3, d=5), {"flop": 15}, 15),
        (work("square", rows=3, d=5), {"flop": 15}, 15),
        (work("softmax", rows=3, d=5), {"flop": 60, "exp": 15}, 15),
        (work("max_pool", rows=6, d=5), {"flop": 30}, 30),
        (work("reshape", rows=3, d=5), {}, 15),
        (work("transpose", rows=3, d=5), {}, 15),
        (work("gelu", rows=3, d=5), {"flop": 120}, 15),
        (work("rope", rows=3, d=2 * 4), {"flop": 72}, 24),
        (work("pool", rows=6, d=5), {"flop": 30}, 30),
        (work("matmul", m=3, k=4, n=5), {"mac": 60}, 15),
        (work("matmul", batch=2, m=3, k=4, n=5), {"mac": 120}, 30),
        (work("ternary_matmul", m=3, k=4, n=5), {"mac": 60}, 15),
        (
            work("attention", Mask(), batch=2, queries=2, keys=3, heads=2, qk_dim=4, v_dim=1),
            {"mac": 100, "exp": 20}, 20,
        ),
        (work("attention", queries=1, keys=10, heads=2, qk_dim=4), {"mac": 160, "exp": 20}, 20),
        (work("attention_scores", queries=1, keys=10, heads=2, qk_dim=4), {"mac": 80}, 20),
        (work("attention_values", queries=1, keys=10, heads=2, qk_dim=4), {"mac": 80, "exp": 20}, 20),
        (work("attention_softmax", queries=1, keys=10, heads=2, qk_dim=4), {"exp": 20}, 20),
        (work("attention_sums", queries=1, keys=10, heads=2, qk_dim=4), {"mac": 80}, 20),
        (work("select", rows=3, d=5), {}, 15),
        (work("append", rows=3, d=5), {}, 15),
        (work("read", bytes=7), {"read": 7}, 7),
        (work("write", bytes=7), {"written": 7}, 7),
        (work("move", bytes=7), {"moved": 7}, 7),
        (work("route", bytes=7, hops=3, load=9), {"moved": 7}, 7),
        (work("all_gather", bytes=7, sockets=3), {"moved": 14}, 7),
        (work("reduce_scatter", bytes=7, sockets=1), {"moved": 0}, 7),
        (work("configure"), {}, 0),
        (work("take", d=7), {}, 7),
        (work("drain", d=7), {}, 7),
        (work("copy", d=7), {}, 7),
        (work("enter"), {}, 0),
        (work("load", vectors=7, stride=4), {}, 7),
        (work("store", vectors=7, stride=4), {}, 7),
        (work("score", mac=7), {"mac": 7}, 7),
        (work("compare", comparisons=7), {}, 7),
        (work("hash_compare", current=3, cached=5, bits=32), {}, 18),
        (work("threshold", rows=2, columns=5, passes=7), {}, 45),
        (work("issue", requests=7), {}, 7),
        (work("arrive", number=7), {}, 1),
        (work("gather", requests=3, bytes=5), {"read": 15}, 15),
        *((work(kind, mac=3, exp=2, flop=1), {"mac": 3, "exp": 2, "flop": 1}, 1) for kind in NODE_KINDS),
    ],
)
def test_counts_of_every_kind(item: Work, counts: dict[str, int], elements: int) -> None:
    assert item.counts() == counts
    assert item.elements == elements


def test_the_test_above_knows_every_kind() -> None:
    (mark,) = test_counts_of_every_kind.pytestmark  # type: ignore[attr-defined]
    assert {item.kind for item, *_ in mark.args[1]} == set(OP_KINDS)


def test_both_passes_of_attention_are_the_whole_of_it() -> None:
    extents = {"queries": 1, "keys": 7, "heads": 3, "qk_dim": 8, "v_dim": 5}
    first, second = work("attention_scores", **extents).counts(), work("attention_values", **extents).counts()
    whole = work("attention", **extents).counts()
    assert {what: first.get(what, 0) + second.get(what, 0) for what in whole} == whole


def test_extents_by_name_and_as_text() -> None:
    item = work("matmul", n=5, m=3, k=4)
    assert (item["m"], item["k"], item["n"]) == (3, 4, 5)
    assert str(item) == "matmul(batch=1, m=3, k=4, n=5)"
    attended = work("attention", Mask(window=2), queries=2, keys=3, heads=4, qk_dim=8)
    assert str(attended) == (
        "attention(batch=1, heads=4, kv_heads=4, queries=2, keys=3, qk_dim=8, v_dim=8, window of 2)"
    )
    with pytest.raises(GraphError, match=r"matmul\(.*\) has no extent 'rows'; extents are: batch, m, k, n"):
        item["rows"]
    assert str(work("enter")) == "enter()"


@pytest.mark.parametrize(
    "kind, extents, message",
    [
        ("matmul", {"m": 1, "k": 2}, "work of kind 'matmul' takes the extents (batch, if not 1, m, k, n), got (m, k)"),
        ("read", {"bytes": 1, "d": 2}, "work of kind 'read' takes the extents (bytes), got (bytes, d)"),
        ("read", {"bytes": -1}, "work of kind 'read': extents are whole numbers >= 0, got bytes=-1"),
        ("add", {"rows": 1.5, "d": -2}, "work of kind 'add': extents are whole numbers >= 0, got rows=1.5, d=-2"),
        ("sort", {"d": 1}, f"unknown op kind 'sort'; op kinds are: {', '.join(OP_KINDS)}"),
    ],
)
def test_work_that_is_none_is_refused(kind: str, extents: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError) as raised:
        work(kind, **extents)
    assert str(raised.value) == message


@pytest.mark.parametrize("keys", range(1, 12))
def test_causal_pairs_are_those_below_the_diagonal(keys: int) -> None:
    """Query i of the last `queries` keys sees every key up to its own."""
    for queries in range(1, keys + 1):
        newest = range(keys - queries, keys)
        assert Mask().pairs(queries, keys) == sum(1 for query in newest for key in range(keys) if key <= query)
        for window in range(1, keys + 3):
            seen = [Mask(window=window).seen(i, queries=queries, keys=keys) for i in range(queries)]
            for query, mine in zip(newest, seen, strict=True):
                assert list(mine) == [key for key in range(keys) if query - window < key <= query]
            assert Mask(window=window).pairs(queries, keys) == sum(len(mine) for mine in seen)
            assert Mask(window=window).needed(queries, keys) == len(set().union(*seen))
            work_ = attention(queries=queries, keys=keys, head_dim=2, window=window).ops["attention"].work
            assert work_.pairs == sum(len(mine) for mine in seen)


def test_without_a_mask_every_query_sees_every_key() -> None:
    assert attention(queries=5, keys=3, head_dim=2, causal=False).counts() == {"mac": 60, "exp": 15}
    with pytest.raises(GraphError, match="at least as many keys as queries where it is causal"):
        attention(queries=5, keys=3, head_dim=2)
    with pytest.raises(GraphError, match="a window of one key or more, and only where it is causal"):
        attention(queries=3, keys=3, head_dim=2, causal=False, window=2)
    with pytest.raises(GraphError) as raised:
        attention(queries=0, keys=3, head_dim=-1)
    assert raised.value.problems == (
        "attention: queries: a whole number >= 1, got 0", "attention: head_dim: a whole number >= 1, got -1"
    )


# Shapes ---------------------------------------------------------------------------------------------------------------


def one_op(kind: str, shapes: Shapes, **attributes: Any) -> Graph:
    graph = Graph("one")
    names = [graph.add_tensor(Tensor(f"t{i}", shape, FP16)) for i, shape in enumerate(shapes)]
    graph.add("x", kind, names, format=FP16, **attributes)
    return graph


@pytest.mark.parametrize(
    "kind, shapes, attributes, made, extents",
    [
        ("embedding", ((3,), (7, 5)), {}, (3, 5), (3, 5)),
        ("rmsnorm", ((3, 5), (5,)), {"eps": 1e-5}, (3, 5), (3, 5)),
        ("layernorm", ((3, 5), (5,)), {"eps": 1e-5}, (3, 5), (3, 5)),
        ("quantize", ((3, 5),), {}, (3, 5), (3, 5)),
        ("dequantize", ((3, 5),), {}, (3, 5), (3, 5)),
        ("add", ((3, 5), (3, 5)), {}, (3, 5), (3, 5)),
        ("silu_mul", ((3, 5), (3, 5)), {}, (3, 5), (3, 5)),
        ("gelu", ((3, 5),), {}, (3, 5), (3, 5)),
        ("rope", ((3, 8),), {"heads": 2, "base": 1e4, "past": 0, "batch": 1}, (3, 8), (3, 8)),
        ("pool", ((8, 5),), {"batch": 2, "tokens": 3}, (6, 5), (8, 5)),
        ("pool", ((8, 5),), {"batch": 2, "tokens": 4}, (8, 5), (8, 5)),
        ("mul", ((3, 5), (3, 5)), {}, (3, 5), (3, 5)),
        ("relu", ((3, 5),), {}, (3, 5), (3, 5)),
        ("square", ((3, 5),), {}, (3, 5), (3, 5)),
        ("softmax", ((3, 5),), {}, (3, 5), (3, 5)),
        ("max_pool", ((8, 5),), {"batch": 2, "tokens": 3}, (6, 5), (8, 5)),
        ("reshape", ((3, 4),), {"shape": (2, 2, 3)}, (2, 2, 3), (1, 12)),
        ("transpose", ((3, 4, 5),), {"axes": (1, 2, 0)}, (4, 5, 3), (1, 60)),
        ("matmul", ((3, 4), (5, 4)), {}, (3, 5), (1, 3, 4, 5)),
        ("matmul", ((2, 3, 4), (2, 5, 4)), {}, (2, 3, 5), (2, 3, 4, 5)),
        ("ternary_matmul", ((3, 4), (5, 4)), {}, (3, 5), (3, 4, 5)),
        ("attention", ((3, 8), (5, 8), (5, 8)), {"batch": 1, "heads": 2, "kv_heads": 2}, (3, 8), (1, 2, 2, 3, 5, 4, 4)),
        ("attention", ((3, 8), (5, 4), (5, 4)), {"batch": 1, "heads": 2, "kv_heads": 1}, (3, 8), (1, 2, 1, 3, 5, 4, 4)),
        ("attention", ((3, 8), (5, 4), (5, 3)), {"batch": 1, "heads": 2, "kv_heads": 1}, (3, 6), (1, 2, 1, 3, 5, 4, 3)),
        ("attention", ((4, 8), (6, 8), (6, 8)), {"batch": 2, "heads": 2, "kv_heads": 2}, (4, 8), (2, 2, 2, 2, 3, 4, 4)),
        ("select", ((6, 5),), {"batch": 2}, (2, 5), (2, 5)),
        ("append", ((2, 5), (7, 5)), {"batch": 1}, (9, 5), (2, 5)),
        ("append", ((2, 5),), {"batch": 1}, (2, 5), (2, 5)),
    ],
)
def test_shapes_that_fit(
    kind: str, shapes: Shapes, attributes: dict[str, Any], made: tuple[int, ...], extents: tuple[int, ...]
) -> None:
    graph = one_op(kind, shapes, **attributes)
    assert graph.tensors["x"].shape == made
    product = kind in ("matmul", "ternary_matmul", "attention")
    assert graph.ops["x"].work == Work(kind, extents, Mask() if kind == "attention" else None, "fp16" * product)


HEADS = {"batch": 1, "heads": 2, "kv_heads": 2}
QKV = "q [batch * queries, heads * qk_dim], k and v [batch * keys, kv_heads * qk_dim or v_dim]"


@pytest.mark.parametrize(
    "kind, shapes, attributes, rule",
    [
        ("embedding", ((2, 2), (4, 3)), {}, "ids [rows] and table [vocab, d]"),
        ("embedding", ((2,),), {}, "ids [rows] and table [vocab, d]"),
        ("rmsnorm", ((2, 3), (2,)), {}, "x [rows, d] and weight [d]"),
        ("rmsnorm", ((2, 3), (1, 3)), {}, "x [rows, d] and weight [d]"),
        ("rmsnorm", ((2, 3),), {}, "x [rows, d] and weight [d]"),
        ("layernorm", ((2, 3), (2,)), {}, "x [rows, d] and weight [d]"),
        ("quantize", ((2, 3), (2, 3)), {}, "1 inputs of one shape [rows, d]"),
        ("dequantize", (), {}, "1 inputs of one shape [rows, d]"),
        ("add", ((2, 3), (3, 2)), {}, "2 inputs of one shape [rows, d]"),
        ("mul", ((2, 3), (3, 2)), {}, "2 inputs of one shape [rows, d]"),
        ("silu_mul", ((2, 3),), {}, "2 inputs of one shape [rows, d]"),
        ("relu", ((2,),), {}, "1 inputs of one shape [rows, d]"),
        ("square", (), {}, "1 inputs of one shape [rows, d]"),
        ("softmax", ((2, 3, 4),), {}, "1 inputs of one shape [rows, d]"),
        ("max_pool", ((7, 5),), {"batch": 2, "tokens": 3}, "x [batch * rows, d] and 1 to rows tokens per sequence"),
        ("reshape", ((2, 3),), {"shape": (4, 2)}, "one tensor, and a shape with as many elements"),
        ("reshape", ((2, 3),), {}, "one tensor, and a shape with as many elements"),
        ("transpose", ((2, 3),), {"axes": (1, 1)}, "one tensor, and its axes in their new order"),
        ("transpose", ((2, 3), (2, 3)), {"axes": (1, 0)}, "one tensor, and its axes in their new order"),
        ("gelu", ((2, 3), (2, 3)), {}, "1 inputs of one shape [rows, d]"),
        ("pool", ((7, 5),), {"batch": 2, "tokens": 3}, "x [batch * rows, d] and 1 to rows tokens per sequence"),
        ("pool", ((8, 5),), {"batch": 2, "tokens": 5}, "x [batch * rows, d] and 1 to rows tokens per sequence"),
        ("pool", ((8, 5),), {"batch": 2, "tokens": 0}, "tokens, a whole number >= 1"),
        ("pool", ((8,),), {"batch": 2, "tokens": 2}, "x [batch * rows, d] and 1 to rows tokens per sequence"),
        ("rope", ((2, 6),), {"heads": 2}, "x [rows, heads * head_dim], head_dim even"),
        ("rope", ((2, 8), (2, 8)), {"heads": 2}, "x [rows, heads * head_dim], head_dim even"),
        ("matmul", ((2, 3), (4, 5)), {}, "x [m, k] and weight [n, k]"),
        ("matmul", ((2, 3, 4), (3, 5, 4)), {}, "x [batch, m, k] and y [batch, n, k]"),
        ("matmul", ((2, 3, 4), (5, 4)), {}, "x [m, k] and weight [n, k]"),
        ("ternary_matmul", ((2, 3), (3, 4)), {}, "x [m, k] and weight [n, k]"),
        ("attention", ((2, 8), (4, 8)), HEADS, QKV),
        ("attention", ((2, 8), (4, 8), (5, 8)), HEADS, QKV),
        ("attention", ((2, 8), (4, 6), (4, 6)), HEADS, QKV),
        ("attention", ((2, 9), (4, 8), (4, 8)), HEADS, QKV),
        ("attention", ((2, 8), (4, 8), (4, 7)), HEADS, QKV),
        ("attention", ((2, 8), (4, 8), (4, 8)), {**HEADS, "heads": 0}, "heads, a whole number >= 1"),
        ("attention", ((3, 8), (4, 8), (4, 8)), {**HEADS, "batch": 2}, "rows a multiple of the batch"),
        ("attention", ((2, 8), (3, 8), (3, 8)), {**HEADS, "batch": 2}, "rows a multiple of the batch"),
        ("attention", ((2, 12), (4, 8), (4, 8)), {**HEADS, "heads": 3}, "heads a multiple of kv_heads"),
        ("attention", ((4, 8), (2, 8), (2, 8)), HEADS, "at least as many keys as queries where it is causal"),
        ("select", ((3, 4),), {"batch": 2}, "rows a multiple of the batch"),
        ("append", ((2, 4), (2, 3)), {"batch": 1}, "new rows [rows, d] and, if any, past rows of one d"),
        ("append", ((2, 4),) * 3, {"batch": 1}, "new rows [rows, d] and, if any, past rows of one d"),
    ],
)
def test_shapes_that_do_not_fit(kind: str, shapes: Shapes, attributes: dict[str, Any], rule: str) -> None:
    with pytest.raises(GraphError) as raised:
        one_op(kind, shapes, **attributes)
    assert str(raised.value) == f"op 'x': {kind} takes {rule}, got {[list(s) for s in shapes]}"


def test_every_kind_of_a_graph_has_shapes_that_do_not_fit() -> None:
    (mark,) = test_shapes_that_do_not_fit.pytestmark  # type: ignore[attr-defined]
    assert {kind for kind, *_ in mark.args[1]} == set(graph_kinds())


# Graphs ---------------------------------------------------------------------------------------------------------------


def test_a_graph_is_built_in_order_of_dependence() -> None:
    graph = Graph("two")
    graph.add_tensor(Tensor("a", (2, 3), FP16, "input"))
    graph.add_tensor(Tensor("w", (3,), FP16, "norm"))
    assert graph.add("n", "rmsnorm", ("a", "w"), format=FP16, eps=1e-5) == "n"
    graph.add("s", "add", ("n", "a"), format=FORMATS["fp32"])
    assert graph.ops["n"].attributes == {"eps": 1e-5}
    assert graph.ops["s"].inputs == ("n", "a")
    assert graph.ops["s"].outputs == ("s",)
    assert graph.counts() == {"flop": 24 + 6}
    assert list(graph.dag.edges) == [("n", "s")]
    assert graph.dag.nodes["n"]["op"] is graph.ops["n"]
    assert graph.dag.edges["n", "s"]["tensor"] == "n"
    assert graph.bytes_of("norm", Role.INPUT) == 6 + 12
    assert graph.bytes_of("activation") == 12 + 24
    with pytest.raises(GraphError, match="bytes_of: unknown role 'weights'; did you mean 'weight'"):
        graph.bytes_of("weights")


def refusal(*step: Any, **attributes: Any) -> str:
    graph = one_op("quantize", ((2, 3),))
    with pytest.raises(GraphError) as raised:
        graph.add(*step, format=FP16, **attributes)
    assert list(graph.ops) == ["x"]
    return str(raised.value)


def test_mistakes_in_building_are_told() -> None:
    kinds = ", ".join(graph_kinds())
    assert refusal("y", "sort", ("x",)) == f"op 'y': unknown op kind 'sort'; op kinds are: {kinds}"
    assert refusal("y", "read", ("x",)) == f"op 'y': unknown op kind 'read'; op kinds are: {kinds}"
    assert refusal("y", "add", ("x", "z")) == "op 'y': reads ['z'], which nothing before it makes"
    assert refusal("x", "quantize", ("t0",)) == "tensor 'x' is given twice"


def test_a_tensor_of_no_role_of_tensors_is_refused() -> None:
    for role, told in (("weights", "did you mean 'weight'?"), ("metadata", "roles are: weight, expert, embedding, ")):
        with pytest.raises(GraphError) as raised:
            Graph("g").add_tensor(Tensor("w", (2, 3), FP16, role))  # type: ignore[arg-type]
        assert str(raised.value).startswith(f"tensor 'w': unknown role '{role}'; {told}")
    assert refusal("y", "quantize", ("t0",), role="weights") == (
        "tensor 'y': unknown role 'weights'; did you mean 'weight'?"
    )


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (-1, 2)])
def test_an_empty_tensor_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GraphError) as raised:
        Graph("g").add_tensor(Tensor("x", shape, FP16))
    assert str(raised.value) == f"tensor 'x': extents are whole numbers >= 1, got {list(shape)}"


# The shipped models ---------------------------------------------------------------------------------------------------


def macs(graph: Graph, kind: str) -> int:
    return sum(op.work.counts()["mac"] for op in graph.ops.values() if op.kind == kind)


@pytest.mark.parametrize("prompt", [1, 2, 7, 64])
def test_prefill_of_the_ternary_network(prompt: int) -> None:
    """24 x (4 x 1536^2 + 3 x 1536 x 4096) a token; the LM head for the last alone; 16 heads of 96 over causal pairs."""
    model = load_model("bitnet_b158_large")
    graph = prefill(model, prompt=prompt)
    assert macs(graph, "ternary_matmul") == prompt * 679_477_248
    assert macs(graph, "matmul") == 32_002 * 1536 == 49_155_072
    pairs = prompt * (prompt + 1) // 2
    assert macs(graph, "attention") == 24 * 2 * pairs * 1536
    assert graph.counts()["exp"] == 24 * pairs * 16
    assert graph.phase == Prefill(prompt=prompt)
    assert graph.phase.facts() == {"prompt": prompt, "context": prompt, "batch": 1, "mask": None}
    assert (graph.tokens, graph.weight_bytes) == (prompt, model.weight_bytes)
    assert graph.bytes_of("cache") == 24 * 2 * prompt * 1536 * 2


@pytest.mark.parametrize("context", [1, 2, 128])
def test_decode_of_the_ternary_network(context: int) -> None:
    """One row; the cache before the step holds context - 1 rows and after it context."""
    graph = decode(load_model("bitnet_b158_large"), context=context)
    assert macs(graph, "ternary_matmul") == 679_477_248
    assert macs(graph, "matmul") == 49_155_072
    assert macs(graph, "attention") == 24 * 2 * context * 1536
    assert graph.tensors["layer7.k_cache"].shape == (context, 1536)
    if context > 1:
        assert graph.tensors["layer7.v_cache.past"].shape == (context - 1, 1536)
        assert graph.ops["layer7.v_cache"].inputs == ("layer7.v_scale", "layer7.v_cache.past")
    else:
        assert "layer7.v_cache.past" not in graph.tensors


def test_a_layer_of_the_ternary_network_in_order() -> None:
    graph = decode(load_model("bitnet_b158_large"), context=2)
    layer = [name.removeprefix("layer3.") for name in graph.ops if name.startswith("layer3.")]
    assert layer == [
        "input_norm", "attention_input", "q", "q_scale", "k", "k_scale", "v", "v_scale", "q_rope", "k_rope", "k_cache",
        "v_cache", "attention", "attention_norm", "o_input", "o", "o_scale", "attention_residual", "ffn_norm",
        "ffn_input", "up", "up_scale", "gate", "gate_scale", "silu", "down_norm", "down_input", "down", "down_scale",
        "ffn_residual",
    ]  # fmt: skip
    assert graph.ops["layer3.attention"].inputs == ("layer3.q_rope", "layer3.k_cache", "layer3.v_cache")
    assert graph.ops["layer3.silu"].inputs == ("layer3.gate_scale", "layer3.up_scale")
    assert graph.ops["layer3.ffn_residual"].inputs == ("layer3.down_scale", "layer3.attention_residual")
    assert [name for name in graph.ops if "." not in name] == ["embedding", "final_norm", "last_row", "lm_head"]


def test_grouped_queries_of_a_network_without_ternary_weights() -> None:
    """8 of 32 heads are cached; matrices are plain matmuls and nothing is quantised."""
    model = load_model("llama3_8b")
    graph = decode(model, context=3)
    assert {op.kind for op in graph.ops.values()} == {
        "embedding", "rmsnorm", "matmul", "rope", "append", "attention", "add", "silu_mul", "select"
    }  # fmt: skip
    assert graph.tensors["layer0.k.w"].shape == (1024, 4096)
    assert graph.tensors["layer0.k_cache"].shape == (3, 1024)
    per_layer = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14_336 * 4096
    assert macs(graph, "matmul") == 32 * per_layer + 128_256 * 4096 == 6_979_321_856 + 128_256 * 4096
    assert macs(graph, "attention") == 32 * 2 * 3 * 32 * 128
    assert graph.bytes_of("weight", "lm_head", "embedding") == 2 * (32 * per_layer + 2 * 128_256 * 4096)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(prompt=st.integers(1, 12), steps=st.integers(0, 4), batch=st.integers(1, 3))
def test_prefill_and_decode_are_pieces_of_one_longer_prefill(prompt: int, steps: int, batch: int) -> None:
    """Reading n tokens and making k more scores the same pairs as reading n + k."""
    model = load_model("toy_llm")
    pieces = [prefill(model, prompt=prompt, batch=batch)]
    pieces += [decode(model, context=prompt + i, batch=batch) for i in range(1, steps + 1)]
    whole = prefill(model, prompt=prompt + steps, batch=batch)
    for kind in ("attention", "ternary_matmul"):
        assert sum(macs(piece, kind) for piece in pieces) == macs(whole, kind)
    assert pieces[-1].tensors["layer1.k_cache"].shape == whole.tensors["layer1.k_cache"].shape


@pytest.mark.parametrize("tokens", [0, 65, -1])
@pytest.mark.parametrize("phase, what", [(prefill, "prompt"), (decode, "context")])
def test_tokens_beyond_the_network_are_refused(phase: Any, what: str, tokens: int) -> None:
    """The toy network takes 64: the last that fits is taken."""
    model = load_model("toy_llm")
    with pytest.raises(GraphError) as raised:
        phase(model, **{what: tokens})
    assert str(raised.value) == f"{what}: model 'toy_llm' takes 1 to 64 tokens, got {tokens}"
    assert phase(model, **{what: 64}).ops


def test_a_batch_is_of_one_or_more() -> None:
    with pytest.raises(GraphError) as raised:
        decode(load_model("toy_llm"), context=1, batch=0)
    assert str(raised.value) == "batch: at least one sequence, got 0"


def fields(**changes: Any) -> dict[str, Any]:
    return {**load_model("toy_llm").model_dump(), **changes}


@pytest.mark.parametrize(
    "changes, key",
    [({"heads": 3, "kv_heads": 2}, "heads"), ({"head_dim": 3}, "head_dim"), ({"assumed": {"width": "why"}}, "width")],
)
def test_dimensions_that_contradict_each_other_are_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Model(**fields(**changes))
    assert Model(**fields())
