"""What is counted for every op kind equals a plain loop nest over drawn extents, masks and tiles, one thing at a time.

The loops know neither Mask nor the records: who sees what, and what an element takes, is written here a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow import FORMATS, Graph, Mask, Tensor, Work, work
from dataflow.kinds.movement import NODE_KINDS
from dataflow.mask import EVERY_KEY
from dataflow.numeric.cover import Cover, cuts_of, whole_of
from dataflow.numeric.evaluate import evaluate, operands_of, random_tensors
from dataflow.op import OP_KINDS, Box, graph_kinds
from dataflow.role import Role

DRAWN = settings(max_examples=25, derandomize=True, deadline=None)
FP32, FP16 = FORMATS["fp32"], FORMATS["fp16"]
Walk = Callable[[Work], Iterator[str]]

# Who sees what --------------------------------------------------------------------------------------------------------


def sees(mask: Mask, query: int, key: int, *, queries: int, keys: int) -> bool:
    """The newest query stands at the newest key, each other one a place before the next."""
    if not mask.causal:
        return True
    own = keys - 1 - (queries - 1 - query)
    if key > own:
        return False
    return mask.window is None or own - key < mask.window


def masks(keys: int) -> st.SearchStrategy[Mask]:
    windows = st.integers(1, keys + 2).map(lambda window: Mask(window=window))
    return st.one_of(windows, st.just(Mask()), st.just(EVERY_KEY))


# A walk of each kind: a word for every single thing that it does; "element" for what its rule of elements counts.

EACH_ELEMENT = {
    "embedding": "",
    "rmsnorm": "square add scale weight",
    "layernorm": "add centre square add scale weight",
    "softmax": "maximum subtract exp add divide",
    "pool": "add",
    "max_pool": "compare",
    "quantize": "scale round",
    "dequantize": "scale",
    "add": "add",
    "mul": "multiply",
    "silu_mul": "sigmoid multiply multiply",
    "gelu": "multiply multiply multiply multiply multiply add add tanh",
    "relu": "compare",
    "square": "multiply",
    "rope": "multiply multiply add",
    "select": "",
    "append": "",
    "reshape": "",
    "transpose": "",
}


def walk_rows(item: Work) -> Iterator[str]:
    for _row in range(item["rows"]):
        for _column in range(item["d"]):
            yield "element"
            for operation in EACH_ELEMENT[item.kind].split():
                yield "exp" if operation == "exp" else "flop"


def walk_product(item: Work) -> Iterator[str]:
    for _member in range(item["batch"] if item.kind == "matmul" else 1):
        for _row in range(item["m"]):
            for _column in range(item["n"]):
                yield "element"
                for _inner in range(item["k"]):
                    yield "mac"


def walk_attention(item: Work) -> Iterator[str]:
    assert item.mask is not None
    for _sequence in range(item["batch"]):
        for _head in range(item["heads"]):
            for query in range(item["queries"]):
                for key in range(item["keys"]):
                    if sees(item.mask, query, key, queries=item["queries"], keys=item["keys"]):
                        yield from walk_pair(item)


def walk_pair(item: Work) -> Iterator[str]:
    yield "element"
    if item.kind in ("attention", "attention_scores"):
        for _channel in range(item["qk_dim"]):
            yield "mac"
    if item.kind in ("attention", "attention_values", "attention_softmax"):
        yield "exp"
    if item.kind in ("attention", "attention_values", "attention_sums"):
        for _channel in range(item["v_dim"]):
            yield "mac"


def walk_hashes(item: Work) -> Iterator[str]:
    hashes = ["old"] * item["cached"] + ["new"] * item["current"]
    for later, one in enumerate(hashes):
        for other in hashes[:later]:
            if "new" in (one, other):
                yield "element"


def walk_scores(item: Work) -> Iterator[str]:
    for _column in range(item["columns"]):
        for _row in range(item["rows"]):
            yield "element"
        for _pass in range(item["passes"]):
            yield "element"


def walk_gather(item: Work) -> Iterator[str]:
    for _request in range(item["requests"]):
        for _byte in range(item["bytes"]):
            yield from ("element", "read")


def walk_node(item: Work) -> Iterator[str]:
    yield "element"
    for what in ("mac", "exp", "flop"):
        for _time in range(item[what]):
            yield what


def one_by_one(extent: str, *also: str) -> Walk:
    """Each of an extent is an element, and is counted as `also`."""

    def walk(item: Work) -> Iterator[str]:
        for _one in range(item[extent]):
            yield from ("element", *also)

    return walk


def walk_exchange(item: Work) -> Iterator[str]:
    """Each byte is an element, and goes from socket to socket until all have met."""
    for _byte in range(item["bytes"]):
        yield "element"
        for _link in range(1, item["sockets"]):
            yield "moved"


def walk_nothing(_item: Work) -> Iterator[str]:
    yield from ()


ATTENTION = ("attention", "attention_scores", "attention_values", "attention_softmax", "attention_sums")
WALKS: dict[str, Walk] = {
    **dict.fromkeys(EACH_ELEMENT, walk_rows),
    **dict.fromkeys(("matmul", "ternary_matmul"), walk_product),
    **dict.fromkeys(ATTENTION, walk_attention),
    **dict.fromkeys(NODE_KINDS, walk_node),
    "read": one_by_one("bytes", "read"),
    "write": one_by_one("bytes", "written"),
    "move": one_by_one("bytes", "moved"),
    "route": one_by_one("bytes", "moved"),
    **dict.fromkeys(("all_gather", "reduce_scatter"), walk_exchange),
    "configure": walk_nothing,
    "gather": walk_gather,
    **dict.fromkeys(("load", "store"), one_by_one("vectors")),
    **dict.fromkeys(("take", "drain", "copy"), one_by_one("d")),
    "enter": walk_nothing,
    "arrive": lambda _: iter(["element"]),
    "score": one_by_one("mac", "mac"),
    "compare": one_by_one("comparisons"),
    "issue": one_by_one("requests"),
    "hash_compare": walk_hashes,
    "threshold": walk_scores,
}


def walked(item: Work) -> Counter[str]:
    return Counter(WALKS[item.kind](item))


def counted(item: Work) -> Counter[str]:
    assert all(n >= 0 for n in item.counts().values())
    return +Counter({**item.counts(), "element": item.elements})


def test_every_kind_is_walked() -> None:
    assert set(WALKS) == set(OP_KINDS)


@st.composite
def works(draw: st.DrawFn, kind: str, *, least: int = 0, most: int = 6) -> Work:
    """A work of this kind; of attention with a mask of any sort."""
    names = [name for name in OP_KINDS[kind].extents if name != "kv_heads"]
    extents = {name: draw(st.integers(least, most)) for name in names}
    if not OP_KINDS[kind].masked:
        return work(kind, **extents)
    shared = draw(st.integers(1, 2))
    mask = draw(masks(extents["keys"]))
    return work(kind, mask, **{**extents, "kv_heads": extents["heads"], "heads": shared * extents["heads"]})


@pytest.mark.parametrize("kind", list(OP_KINDS))
@DRAWN
@given(data=st.data())
def test_counts_and_elements_are_those_of_a_walk(kind: str, data: st.DataObject) -> None:
    item = data.draw(works(kind))
    assert counted(item) == walked(item)


@pytest.mark.parametrize("keys", range(8))
def test_pairs_and_seen_of_every_small_mask(keys: int) -> None:
    """Also where more queries than keys are asked for, of which the oldest see nothing."""
    for queries in range(keys + 3):
        for mask in (EVERY_KEY, Mask(), *(Mask(window=window) for window in range(1, keys + 3))):
            own = [[key for key in range(keys) if sees(mask, query, key, queries=queries, keys=keys)]
                   for query in range(queries)]  # fmt: skip
            assert [list(mask.seen(query, queries=queries, keys=keys)) for query in range(queries)] == own
            assert mask.pairs(queries, keys) == sum(map(len, own))
            if queries:
                assert mask.needed(queries, keys) == len({key for seen in own for key in seen})


# Tiles ----------------------------------------------------------------------------------------------------------------


@st.composite
def cut(draw: st.DrawFn, extent: int) -> list[range]:
    """The places of an axis in pieces of drawn lengths; one empty piece where there are none."""
    ends = sorted(draw(st.sets(st.integers(0, extent), max_size=3)) | {0, extent})
    return [range(start, stop) for start, stop in pairwise(ends)] or [range(0)]


def tiles(draw: st.DrawFn, item: Work) -> list[Box]:
    return list(product(*(draw(cut(item[axis])) for axis in OP_KINDS[item.kind].axes)))


def of_tile(item: Work, box: Box, **extents: int) -> Work:
    """The work of one tile, of attention every pair in it."""
    lengths = {axis: len(along) for axis, along in zip(OP_KINDS[item.kind].axes, box, strict=True)}
    own = dict(zip(OP_KINDS[item.kind].extents, item.extents, strict=True))
    return work(item.kind, **{**own, **lengths, **extents})


@pytest.mark.parametrize("kind", [kind for kind, record in OP_KINDS.items() if record.axes])
@DRAWN
@given(data=st.data())
def test_the_counts_of_drawn_tiles_add_up(kind: str, data: st.DataObject) -> None:
    item = data.draw(works(kind))
    boxes = tiles(data.draw, item)
    whole = item if item.mask is None else replace(item, mask=EVERY_KEY)
    total = sum((counted(of_tile(item, box)) for box in boxes), Counter())
    if "k" in OP_KINDS[kind].axes:  # each tile of a sum makes the same elements again
        first = [box for box in boxes if box[OP_KINDS[kind].axes.index("k")].start == 0]
        total["element"] = sum(of_tile(item, box).elements for box in first)
    assert +total == counted(whole)


@pytest.mark.parametrize("kind", ATTENTION)
@DRAWN
@given(data=st.data())
def test_the_counts_of_tiles_without_their_masked_pairs_are_those_of_the_masked_work(
    kind: str, data: st.DataObject
) -> None:
    item = data.draw(works(kind, most=5))
    assert item.mask is not None
    extents = {"queries": item["queries"], "keys": item["keys"]}
    total: Counter[str] = Counter()
    for box in tiles(data.draw, item):
        _, _, queries, keys = box
        for query in queries:
            seen = [key for key in keys if sees(item.mask, query, key, **extents)]
            assert len(seen) == len(set(item.mask.seen(query, **extents)) & set(keys))
            total += counted(of_tile(item, box, queries=1, keys=len(seen)))
    assert total == counted(item)


# Graphs: the work, the bytes and the numbers that follow from shapes --------------------------------------------------


@st.composite
def attentions(draw: st.DrawFn, *, role: Role = Role.CACHE) -> Graph:
    """The attention of one op, its keys and values in formats of their own."""
    batch, kv_heads, share, qk_dim, v_dim = (draw(st.integers(1, 3)) for _ in range(5))
    keys = draw(st.integers(1, 7))
    mask = draw(masks(keys))
    # Few queries more often than many, so that windows leave keys that no query sees.
    queries = draw(st.integers(1, 2) | st.integers(1, 9))
    queries = min(queries, keys) if mask.causal else queries
    graph = Graph("attention")
    heads = share * kv_heads
    graph.add_tensor(Tensor("q", (batch * queries, heads * qk_dim), FP16))
    for name, width in (("k", qk_dim), ("v", v_dim)):
        format = draw(st.sampled_from([FORMATS[name] for name in ("fp16", "fp32", "int8", "ternary")]))
        graph.add_tensor(Tensor(name, (batch * keys, kv_heads * width), format, role))
    graph.add(
        "x", "attention", ("q", "k", "v"), format=FP32, batch=batch, heads=heads, kv_heads=kv_heads,
        causal=mask.causal, window=mask.window,
    )  # fmt: skip
    item = graph.ops["x"].work
    assert (item["batch"], item["heads"], item["kv_heads"]) == (batch, heads, kv_heads)
    assert (item["queries"], item["keys"], item["qk_dim"], item["v_dim"]) == (queries, keys, qk_dim, v_dim)
    assert item.mask == mask
    return graph


def rows_of(op: Any) -> dict[str, int]:
    """Rows of q, k and v that some query of a sequence needs, walked over all sequences."""
    item, found = op.work, Counter()
    for _sequence in range(item["batch"]):
        found["q"] += item["queries"]
        for key in range(item["keys"]):
            if any(sees(item.mask, query, key, queries=item["queries"], keys=item["keys"])
                   for query in range(item["queries"])):  # fmt: skip
                found.update("kv")
    return found


def bytes_of(tensor: Tensor, rows: int) -> int:
    """Bits added one element at a time, rounded up once."""
    bits = sum(tensor.format.bits for _row in range(rows) for _column in range(tensor.shape[1]))
    return int(-(-bits // 8))


@settings(DRAWN, max_examples=150)
@given(graph=attentions())
def test_attention_reads_the_rows_that_some_query_sees(graph: Graph) -> None:
    op = graph.ops["x"]
    reads, rows = OP_KINDS["attention"].reads, rows_of(op)
    assert reads is not None
    assert {name: reads(op.work, place) for place, name in enumerate("qkv")} == rows
    kv_bytes = sum(bytes_of(graph.tensors[name], rows[name]) for name in "kv")
    assert graph.loads(op) == {Role.CACHE: kv_bytes}
    assert sum(graph.loads(op).values()) == kv_bytes
    unread = {name: graph.tensors[name].shape[0] - rows[name] for name in "kv"}
    assert graph.rows_not_read() == {name: n for name, n in unread.items() if n}


@DRAWN
@given(graph=attentions(role=Role.ACTIVATION))
def test_what_is_not_stored_is_not_loaded(graph: Graph) -> None:
    assert graph.loads(graph.ops["x"]) == {}


def test_rows_of_a_cache_that_one_of_its_readers_needs_are_read() -> None:
    """A window of 2 over 5 keys leaves 3, a window of 4 leaves 1; who reads all, or squares all, leaves none."""

    def left(*windows: int | None, squared: bool = False, new: int = 2) -> dict[str, int]:
        graph = Graph("two")
        for name, rows, role in (("q", 2, Role.INPUT), ("new", new, Role.ACTIVATION), ("past", 8, Role.CACHE)):
            graph.add_tensor(Tensor(name, (rows, 3), FP16, role))
        graph.add("cache", "append", ("new", "past"), format=FP16, role=Role.CACHE, batch=2)
        for i, window in enumerate(windows):
            graph.add(f"a{i}", "attention", ("q", "cache", "cache"), format=FP16, batch=2, heads=1, kv_heads=1,
                      window=window)  # fmt: skip
        if squared:
            graph.add("square", "square", ("cache",), format=FP16)
        return graph.rows_not_read()

    assert left(2) == {"past": 2 * 3}
    assert left(2, 4) == left(4, 2) == {"past": 2 * 1}
    assert left(1) == left(1, new=6) == {"past": 8}
    assert left(2, None) == left(None, 2) == left(2, squared=True) == left(5) == {}


def test_a_matrix_is_read_whole_also_behind_a_transpose_and_a_reshape() -> None:
    graph = Graph("turned")
    graph.add_tensor(Tensor("x", (2, 6), FP16))
    graph.add_tensor(Tensor("w", (6, 5), FORMATS["int8"], Role.WEIGHT))
    graph.add("turned", "transpose", ("w",), format=FP16, axes=(1, 0))
    graph.add("same", "reshape", ("turned",), format=FP16, shape=(5, 6))
    graph.add("x_turned", "transpose", ("x",), format=FP16, axes=(1, 0))
    for name, matrix in (("direct", "turned"), ("behind", "same")):
        graph.add(name, "matmul", ("x", matrix), format=FP32)
        assert graph.loads(graph.ops[name]) == {Role.WEIGHT: 6 * 5}
    graph.add("activations", "matmul", ("x_turned", "x_turned"), format=FP32)
    assert graph.loads(graph.ops["activations"]) == {}


@DRAWN
@given(rows=st.integers(1, 9), vocab=st.integers(1, 5), d=st.integers(1, 5), name=st.sampled_from(list(FORMATS)))
def test_a_gathered_embedding_reads_a_row_of_the_table_for_each_id(rows: int, vocab: int, d: int, name: str) -> None:
    graph = Graph("embedding")
    graph.add_tensor(Tensor("ids", (rows,), FORMATS["int32"], Role.INPUT))
    table = Tensor("table", (vocab, d), FORMATS[name], Role.EMBEDDING)
    graph.add("x", "embedding", ("ids", graph.add_tensor(table)), format=FP32)
    assert graph.loads(graph.ops["x"]) == {Role.EMBEDDING: bytes_of(table, rows)}


# One op of each kind from drawn shapes: (inputs as (shape, format, role), attributes, extents by name).
Drawn = tuple[list[tuple[tuple[int, ...], str, str]], dict[str, Any], dict[str, int]]


def plain(*shapes: tuple[int, ...], format: str = "fp32") -> list[tuple[tuple[int, ...], str, str]]:
    return [(shape, format, "activation") for shape in shapes]


def draw_op(draw: st.DrawFn, kind: str) -> Drawn:
    rows, d, m, k, n, batch, each = (draw(st.integers(1, 7)) for _ in range(7))
    if kind == "attention":
        graph = draw(attentions())
        shapes = [graph.tensors[name].shape for name in "qkv"]
        op = graph.ops["x"]
        return plain(*shapes), dict(op.attributes), dict(zip(OP_KINDS[kind].extents, op.work.extents, strict=True))
    if kind == "ternary_matmul":
        inputs = [((m, k), "int8", "activation"), ((n, k), "ternary", "weight")]
        return inputs, {}, {"m": m, "k": k, "n": n}
    if kind == "matmul":
        outer = draw(st.sampled_from([(), (batch,)]))
        inputs = plain((*outer, m, k), (*outer, n, k))
        return inputs, {}, {"batch": batch if outer else 1, "m": m, "k": k, "n": n}
    own, attributes, inputs = {"rows": rows, "d": d}, {}, plain(*[(rows, d)] * (2 if kind in PAIRED else 1))
    if kind == "embedding":
        inputs = [((rows,), "int32", "input"), ((n, d), "fp32", "embedding")]
    elif kind in ("rmsnorm", "layernorm"):
        inputs, attributes = [*plain((rows, d)), ((d,), "fp32", "norm")], {"eps": 1e-5}
    elif kind == "dequantize":
        inputs = plain((rows, d), format="int32")
    elif kind == "rope":
        heads, past = draw(st.integers(1, 2)), draw(st.integers(0, 3))
        own["rows"], own["d"] = batch * rows, heads * 2 * d
        inputs = plain((own["rows"], own["d"]))
        attributes = {"heads": heads, "base": 100.0, "past": past, "batch": batch}
    elif kind in ("pool", "max_pool"):
        own["rows"], inputs = batch * (rows + each), plain((batch * (rows + each), d))
        attributes = {"batch": batch, "tokens": rows}
    elif kind == "select":
        own["rows"], inputs, attributes = batch, plain((batch * rows, d)), {"batch": batch}
    elif kind == "append":
        own["rows"], attributes = batch * rows, {"batch": batch}
        inputs = plain((batch * rows, d), *draw(st.sampled_from([[], [(batch * each, d)]])))
    elif kind == "reshape":
        own, inputs = {"rows": 1, "d": m * k * n}, plain((m, k, n))
        attributes = {"shape": draw(st.sampled_from([(m * k, n), (n, m, k), (m * k * n,)]))}
    elif kind == "transpose":
        own, inputs = {"rows": 1, "d": m * k * n}, plain((m, k, n))
        attributes = {"axes": tuple(draw(st.permutations(range(3))))}
    return inputs, attributes, own


PAIRED = ("add", "mul", "silu_mul")


@st.composite
def one_op(draw: st.DrawFn, kind: str) -> Graph:
    """A graph of the op "x" of this kind; its work has the extents that the shapes were made from."""
    inputs, attributes, extents = draw_op(draw, kind)
    graph = Graph("one")
    names = [f"t{i}" for i in range(len(inputs))]
    for name, (shape, format, role) in zip(names, inputs, strict=True):
        graph.add_tensor(Tensor(name, shape, FORMATS[format], role))  # type: ignore[arg-type]
    graph.add("x", kind, names, format=FP32, **attributes)
    item = graph.ops["x"].work
    assert {name: item[name] for name in OP_KINDS[kind].extents} == extents
    return graph


def arrays_of(graph: Graph) -> dict[str, np.ndarray]:
    """Random tensors; integers that nothing looks up or multiplies are drawn here."""
    arrays, random = random_tensors(graph, seed=1), np.random.default_rng(2)
    for name, tensor in graph.tensors.items():
        if name in arrays and tensor.role == "activation" and tensor.format.name in ("int8", "int32"):
            arrays[name] = random.integers(-9, 10, tensor.shape).astype(tensor.format.name)
    if graph.ops["x"].kind == "dequantize":
        arrays["t0.scale"] = random.uniform(0.5, 2, graph.tensors["t0"].shape[0]).astype(np.float32)
    return arrays


@pytest.mark.parametrize("kind", graph_kinds())
@DRAWN
@given(data=st.data())
def test_the_shape_of_an_op_is_that_of_its_numbers_and_its_work_that_of_a_walk(
    kind: str, data: st.DataObject
) -> None:
    graph = data.draw(one_op(kind))
    op = graph.ops["x"]
    assert counted(op.work) == walked(op.work)
    made = evaluate(graph, arrays_of(graph))["x"]
    assert made.shape == graph.tensors["x"].shape
    # Of the kinds that a mapping runs row by row or in tiles, the work has an element for each number that is made.
    if OP_KINDS[kind].tile is not None:
        assert op.work.elements == made.size


TILED = [kind for kind, record in OP_KINDS.items() if record.tile is not None]


@pytest.mark.parametrize("kind", TILED)
@DRAWN
@given(data=st.data())
def test_the_numbers_of_drawn_tiles_put_together_are_those_of_the_op(kind: str, data: st.DataObject) -> None:
    graph = data.draw(one_op(kind))
    record, op, arrays = OP_KINDS[kind], graph.ops["x"], arrays_of(graph)
    assert record.tile is not None
    operands = operands_of(graph, op, arrays)
    whole = evaluate(graph, arrays)["x"]
    kept = [i for i, axis in enumerate(record.axes) if axis not in record.sums]
    put = np.zeros([op.work[record.axes[i]] for i in kept], np.float64)
    for box in tiles(data.draw, op.work):
        place = tuple(slice(box[i].start, box[i].stop) for i in kept)
        put[place] += record.tile(operands, box).reshape(put[place].shape)
    limit = 0 if whole.dtype.kind == "i" else 1e-6 * (1 + np.abs(whole).max())  # FP32, sums in another order
    np.testing.assert_allclose(put.reshape(whole.shape), whole, rtol=0, atol=limit)


@DRAWN
@given(data=st.data())
def test_the_places_that_a_replay_counts_in_a_tile_are_the_pairs_that_the_mask_lets_through(
    data: st.DataObject,
) -> None:
    op = data.draw(attentions()).ops["x"]
    assert op.work.mask is not None
    boxes = tiles(data.draw, op.work)
    cover = Cover(op, cuts_of(op, boxes, backwards=False))
    extents = {"queries": op.work["queries"], "keys": op.work["keys"]}
    for box in (*boxes, whole_of(op.work)):
        seen = sum(sees(op.work.mask, q, k, **extents) for _b, _h, q, k in product(*box))
        assert cover.places(cover.cells(box)) == seen
