"""Arguments for the pairs of kernels.PAIRS, drawn at random up to a size.

Each function takes a generator and the largest extent, and returns keyword arguments for algorithm and reference.
Size 1 makes every extent 1. Other sizes draw extents that need not be multiples of any tile.
"""

from math import prod
from typing import Any

import numpy as np

from kernels.online_softmax import SoftmaxState
from kernels.ternary.packing import (
    BLOCK_INPUTS,
    REGION_BEATS,
    REGION_BLOCKS,
    REGION_OUTPUTS,
    group_indices,
    loader_regions,
)
from kernels.ternary.packing_bytes import TL2_TAIL_INPUTS, pack_planes, pack_tl1, pack_tl2

Arguments = dict[str, Any]


def _extent(rng: np.random.Generator, size: int) -> int:
    return int(rng.integers(1, size + 1))


def _extents(rng: np.random.Generator, size: int, *, inputs: int | None = None) -> tuple[int, int, int]:
    """Return m <= 5, n <= size and k <= 4 * size, or k <= size * inputs where given; all 1 for size 1."""
    k = _extent(rng, 1 if size == 1 else size * (inputs or 4))
    return _extent(rng, min(size, 5)), _extent(rng, size), k


def _int8(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-127, 128, shape, dtype=np.int8)


def _ternary(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-1, 2, shape, dtype=np.int8)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _with_nan(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return normal values, about one in 50 of them NaN."""
    return np.where(rng.random(shape) < 0.02, np.float32(np.nan), _normal(rng, *shape))


def _widths(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Return the widths of a key and of a value row, equal in at least half of the draws."""
    width = _extent(rng, size)
    return width, width if rng.integers(2) else _extent(rng, size)


def weights(rng: np.random.Generator, size: int) -> Arguments:
    """Return ternary weights [n, k]; k crosses the 128 values of a block of I2_S and the 256 of the tail of TL2."""
    _, n, k = _extents(rng, size, inputs=TL2_TAIL_INPUTS // 8)
    return {"weights": _ternary(rng, n, k)}


def loader_weights(rng: np.random.Generator, size: int) -> Arguments:
    """Return ternary weights of one or two regions and their slots; a size above 1 may cross one edge of a region."""
    _, n, k = _extents(rng, size)
    # Crosses the edge by half of the extent, so that the second region is filled only in part.
    edge = int(rng.integers(3)) if size > 1 else 0
    n += REGION_OUTPUTS - n // 2 if edge == 1 else 0
    k += REGION_BLOCKS * BLOCK_INPUTS - k // 2 if edge == 2 else 0
    shape = (prod(loader_regions(n, k)), REGION_BLOCKS, REGION_BEATS)
    return {"weights": _ternary(rng, n, k), "slots": rng.integers(0, 2**16, shape, dtype=np.uint16)}


def activations(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [k]."""
    return {"x": _int8(rng, _extent(rng, size))}


def grouped_activations(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [k] and a group size of 1 to 4."""
    return {"x": _int8(rng, _extent(rng, size)), "group_size": _extent(rng, 4)}


def lookup(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [m, k], the indices of ternary weights [n, k] and a group size of 1 to 4."""
    m, n, k = _extents(rng, size)
    group_size = _extent(rng, 4)
    return {"x": _int8(rng, m, k), "indices": group_indices(_ternary(rng, n, k), group_size), "group_size": group_size}


def counted_lookup(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [m, k] and ternary weights [n, k]."""
    m, n, k = _extents(rng, size)
    return {"x": _int8(rng, m, k), "weights": _ternary(rng, n, k)}


def lookup_tl1(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [m, k] and TL1 weights."""
    m, n, k = _extents(rng, size)
    return {"x": _int8(rng, m, k), "packed": pack_tl1(_ternary(rng, n, k))}


def lookup_tl2(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [m, k] and TL2 weights [n, k]; k crosses the 256 inputs of the tail."""
    m, n, k = _extents(rng, size, inputs=TL2_TAIL_INPUTS // 8)
    return {"x": _int8(rng, m, k), "packed": pack_tl2(_ternary(rng, n, k)), "n": n}


def lookup_planes(rng: np.random.Generator, size: int) -> Arguments:
    """Return INT8 activations [m, k] and bit planes of ternary weights."""
    m, n, k = _extents(rng, size)
    return {"x": _int8(rng, m, k), "packed": pack_planes(_ternary(rng, n, k))}


def rows(rng: np.random.Generator, size: int) -> Arguments:
    """Return normal rows x [rows, d] of magnitudes around 1e-4 to 1e4."""
    return {"x": _normal(rng, _extent(rng, size), _extent(rng, 4 * size)) * np.float32(10 ** rng.uniform(-4, 4))}


def norm(rng: np.random.Generator, size: int) -> Arguments:
    """Return rows and a weight [d]."""
    x = rows(rng, size)["x"]
    return {"x": x, "weight": _normal(rng, x.shape[1])}


def uneven_norm(rng: np.random.Generator, size: int) -> Arguments:
    """Return rows x [rows, d] with a standard deviation of about 1 or more where d > 1, and a weight [d]."""
    # Rows are divided by their deviation, so a small one would magnify the rounding of the mean.
    n, d = _extent(rng, size), _extent(rng, 4 * size)
    x = rng.uniform(-1, 1, (n, d)) + 4 * (np.arange(d) % 2)
    return {"x": x.astype(np.float32), "weight": _normal(rng, d)}


def pooled(rng: np.random.Generator, size: int) -> Arguments:
    """Return x [rows, d] and a number of tokens from 1 to rows, a divisor of rows or not."""
    x = _normal(rng, _extent(rng, size), _extent(rng, size))
    return {"x": x, "tokens": _extent(rng, len(x))}


def pooled_with_nan(rng: np.random.Generator, size: int) -> Arguments:
    """Return the arguments of `pooled`, with some elements NaN."""
    arguments = pooled(rng, size)
    return arguments | {"x": _with_nan(rng, *arguments["x"].shape)}


def scores(rng: np.random.Generator, size: int) -> Arguments:
    """Return x [rows, d] or [heads, rows, d] of magnitudes around 1e-4 to 1e4; of some rows, some or all are -inf."""
    heads = (_extent(rng, 3),) if rng.integers(2) else ()
    x = _normal(rng, *heads, _extent(rng, size), _extent(rng, 4 * size)) * np.float32(10 ** rng.uniform(-4, 4))
    # The share of a row that is masked: nothing, half or everything.
    share = rng.integers(3, size=(*x.shape[:-1], 1)) / 2
    return {"x": np.where(rng.random(x.shape) < share, np.float32(-np.inf), x)}


def operands(rng: np.random.Generator, size: int) -> Arguments:
    """Return x and w of whole numbers, [m, k] and [n, k] or both with a batch before; sums are below 2**24."""
    m, n, k = _extents(rng, size)
    batch = (_extent(rng, 4),) if rng.integers(2) else ()
    # 300**2 * 160 is below 2**24, so that every order of the FP32 sums gives the same number.
    x, w = (rng.integers(-300, 301, (*batch, rows, k)).astype(np.float32) for rows in (m, n))
    return {"x": x, "w": w}


def matrix(rng: np.random.Generator, size: int) -> Arguments:
    """Return a weight matrix [n, k]."""
    return {"weights": _normal(rng, _extent(rng, size), _extent(rng, 4 * size))}


def accumulators(rng: np.random.Generator, size: int) -> Arguments:
    """Return int32 accumulators [m, n] of at most 24 bits, and scales."""
    m, n = _extent(rng, size), _extent(rng, size)
    values = rng.integers(-(2**23), 2**23, (m, n), dtype=np.int32)
    return {"accumulators": values, "x_scale": np.abs(_normal(rng, m)), "w_scale": float(rng.uniform(0.01, 2))}


def rotated(rng: np.random.Generator, size: int) -> Arguments:
    """Return x [rows, heads, head_dim] and positions up to 1023; head_dim is even."""
    n = _extent(rng, size)
    return {"x": _normal(rng, n, _extent(rng, 4), 2 * _extent(rng, size)), "positions": rng.integers(0, 1024, n)}


def gate(rng: np.random.Generator, size: int) -> Arguments:
    """Return up to `size` elements x from -12 to 12, beyond both ends of the SiLU table."""
    return {"x": rng.uniform(-12, 12, _extent(rng, size)).astype(np.float32)}


def elements(rng: np.random.Generator, size: int) -> Arguments:
    """Return x of one to three axes, some elements NaN."""
    return {"x": _with_nan(rng, *(_extent(rng, min(size, 12)) for _ in range(_extent(rng, 3))))}


def two_operands(rng: np.random.Generator, size: int) -> Arguments:
    """Return a and b of one shape of one to three axes, some elements NaN."""
    a = elements(rng, size)["x"]
    return {"a": a, "b": _with_nan(rng, *a.shape)}


def gate_and_up(rng: np.random.Generator, size: int) -> Arguments:
    """Return gate and up of one shape."""
    values = gate(rng, size)["x"]
    return {"gate": values, "up": _normal(rng, *values.shape)}


def _qkv(rng: np.random.Generator, size: int, *, q_rows: tuple[int, ...], rows: tuple[int, ...]) -> Arguments:
    """Return normal q [*q_rows, heads, qk_dim], k and v [*rows, kv_heads, width], of up to 3 heads for a KV head."""
    kv_heads, share, (qk_dim, v_dim) = _extent(rng, 3), _extent(rng, 3), _widths(rng, size)
    shapes = {"q": (*q_rows, kv_heads * share, qk_dim), "k": (*rows, kv_heads, qk_dim), "v": (*rows, kv_heads, v_dim)}
    return {name: _normal(rng, *shape) for name, shape in shapes.items()}


def prefill(rng: np.random.Generator, size: int) -> Arguments:
    """Return q, k, v of up to `size` rows, an order, and a group of 1 to 8 queries."""
    rows, order = (_extent(rng, size),), ("plain", "reversed")[int(rng.integers(2))]
    # Size 1 keeps the group of 8, so that a single row is padded.
    parallel = 8 if size == 1 else _extent(rng, 8)
    return {**_qkv(rng, size, q_rows=rows, rows=rows), "order": order, "query_parallel": parallel}


def decode(rng: np.random.Generator, size: int) -> Arguments:
    """Return q [heads, qk_dim] and a cache of up to 4 * size tokens."""
    return _qkv(rng, size, q_rows=(), rows=(_extent(rng, 4 * size),))


def two_passes(rng: np.random.Generator, size: int) -> Arguments:
    """Return a group of queries, up to 4 * size keys and values, and which keys each query sees: at least one."""
    keys, queries = _extent(rng, 4 * size), _extent(rng, 8)
    visible = rng.integers(0, 2, (queries, keys)).astype(bool)
    # A query without any key has no softmax.
    visible[np.arange(queries), rng.integers(keys, size=queries)] = True
    arrays = _qkv(rng, size, q_rows=(queries,), rows=(keys,))
    return {**arrays, "scale": arrays["q"].shape[2] ** -0.5, "visible": visible}


def softmax_step(rng: np.random.Generator, size: int) -> Arguments:
    """Return a state with moderate scores, a group of queries, and a key that some of the queries see."""
    queries = _extent(rng, 8)
    q, key, value = _qkv(rng, size, q_rows=(queries,), rows=()).values()
    # At least 1, because the key with the largest score adds exp(0).
    total = rng.uniform(1, 50, q.shape[:2]).astype(np.float32)
    state = SoftmaxState(_normal(rng, *q.shape[:2]), total, _normal(rng, *q.shape[:2], value.shape[1]))
    return {
        "state": state, "q_group": q, "key_row": key, "value_row": value, "scale": q.shape[2] ** -0.5,
        "visible": rng.integers(0, 2, queries).astype(bool),
    }  # fmt: skip
