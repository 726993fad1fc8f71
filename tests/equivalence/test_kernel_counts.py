"""What the plainly written walks count equals closed forms derived apart from them."""

import math
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest

from dataflow.op import work
from kernels.activation import gelu, mul, relu, square
from kernels.attention import (
    AttentionCounts,
    decode_attention,
    decode_attention_counted,
    decode_attention_reference,
    prefill_attention,
    prefill_attention_counted,
)
from kernels.norm import layer_norm, rmsnorm
from kernels.online_softmax import online_softmax_finish, online_softmax_start, online_softmax_step
from kernels.pool import max_pool, mean_pool
from kernels.softmax import softmax
from kernels.ternary.lookup import LookupCounts, lookup_matmul_counted
from kernels.two_pass_softmax import two_pass_softmax


def lookup_counts(m: int, n: int, k: int, **options: int) -> LookupCounts:
    rng = np.random.default_rng(k)
    x, weights = rng.integers(-127, 128, (m, k), dtype=np.int8), rng.integers(-1, 2, (n, k), dtype=np.int8)
    return lookup_matmul_counted(x, weights, **options)[1]


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1536, 1536), (2, 100, 1536), (1, 17, 4096), (3, 1, 1), (1, 16, 85)])
@pytest.mark.parametrize(("num_tables", "readers", "group_size"), [(28, 16, 3), (1, 1, 1), (5, 3, 2), (56, 8, 4)])
def test_lookup_counts_are_closed_forms(m: int, n: int, k: int, num_tables: int, readers: int, group_size: int) -> None:
    blocks = m * math.ceil(k / (num_tables * group_size))
    assert lookup_counts(m, n, k, num_tables=num_tables, readers=readers, group_size=group_size) == LookupCounts(
        blocks=blocks,
        input_reads=blocks * num_tables * group_size,
        table_builds=blocks * num_tables,
        table_entries=blocks * num_tables * 3**group_size,
        table_additions=blocks * num_tables * (3**group_size - 1),
        lookups=blocks * num_tables * n,
        lookup_steps=blocks * math.ceil(n / readers),
        accumulations=blocks * num_tables * n,
        multiplications=0,
        output_writes=m * n,
    )


@pytest.mark.parametrize(("n", "k", "blocks", "steps_per_block"), [(1536, 1536, 19, 96), (4096, 1536, 19, 256)])
def test_lookup_steps_of_the_published_shapes(n: int, k: int, blocks: int, steps_per_block: int) -> None:
    counts = lookup_counts(1, n, k)
    assert (counts.blocks, counts.lookup_steps, counts.input_reads) == (blocks, blocks * steps_per_block, blocks * 84)
    assert counts.lookups * 3 == counts.lookup_steps * 1344


def rows(n: int, heads: int, width: int) -> np.ndarray:
    return np.random.default_rng(100 * n + heads).standard_normal((n, heads, width), dtype=np.float32)


@pytest.mark.parametrize("n", [8, 16, 64, 128, 5, 13])
@pytest.mark.parametrize("order", ["reversed", "plain"])
@pytest.mark.parametrize("v_dim", [6, 1, 9])
def test_prefill_counts_are_closed_forms(n: int, order: str, v_dim: int) -> None:
    heads, kv_heads, qk_dim = 4, 2, 6
    q, k, v = rows(n, heads, qk_dim), rows(n, kv_heads, qk_dim), rows(n, kv_heads, v_dim)
    counts = prefill_attention_counted(q, k, v=v, order=order)[1]
    padded = math.ceil(n / 8) * 8
    steps = padded * (padded + 8) // 16 if order == "reversed" else padded**2 // 8
    lanes, visible = steps * 8 * heads, padded * (padded + 1) // 2
    assert counts == AttentionCounts(
        steps=steps,
        key_rows_read=steps,
        value_rows_read=steps,
        visible_pairs=visible,
        masked_pairs=8 * steps - visible,
        exps=2 * lanes,
        multiplications=lanes * (qk_dim + 2 * v_dim + 2) + padded * heads * v_dim,
        additions=lanes * (qk_dim + v_dim + 3),
        comparisons=lanes,
        divisions=padded * heads,
    )


def test_published_number_of_steps_at_128_tokens() -> None:
    one = rows(128, 1, 1)
    assert prefill_attention_counted(one, one, v=one)[1].steps == 1088
    assert prefill_attention_counted(one, one, v=one, order="plain")[1].steps == 2048


@pytest.mark.parametrize("context", [1, 7, 128])
@pytest.mark.parametrize("v_dim", [5, 1, 8])
def test_decode_counts_are_closed_forms(context: int, v_dim: int) -> None:
    heads, kv_heads, qk_dim = 6, 3, 5
    k, v = rows(context, kv_heads, qk_dim), rows(context, kv_heads, v_dim)
    counts = decode_attention_counted(rows(1, heads, qk_dim)[0], k, v=v)[1]
    lanes = context * heads
    assert counts == AttentionCounts(
        steps=2 * context,
        key_rows_read=context,
        value_rows_read=context,
        visible_pairs=context,
        masked_pairs=0,
        exps=3 * lanes,
        multiplications=lanes * (qk_dim + v_dim + 3),
        additions=lanes * (qk_dim + v_dim + 4),
        comparisons=lanes,
        divisions=heads,
    )


@pytest.mark.parametrize("n", [1, 8, 13])
@pytest.mark.parametrize("v_dim", [6, 4, 7])
def test_prefill_is_the_same_steps_made_one_by_one(n: int, v_dim: int) -> None:
    """The step of a replay and the compiled walk agree, newest key first, groups of 8, whatever the walk's order."""
    q, k, v = rows(n, 4, 6), rows(n, 2, 6), rows(n, 2, v_dim) + 1
    for order in ("plain", "reversed"):
        whole = prefill_attention(q, k, v=v, order=order)
        for first in range(0, n, 8):
            group = np.arange(first, min(first + 8, n))
            state = online_softmax_start(len(group), 4, width=v_dim)
            for key in reversed(range(group[-1] + 1)):
                step = {"key_row": k[key], "value_row": v[key], "scale": 6**-0.5, "visible": group >= key}
                state = online_softmax_step(state, q[group], **step)
            # FP32 on both sides; the order of at most 13 keys differs.
            np.testing.assert_allclose(online_softmax_finish(state), whole[group], rtol=0, atol=5e-6)


@pytest.mark.parametrize("v_dim", [6, 4, 7])
def test_the_last_row_of_prefill_is_decode(v_dim: int) -> None:
    q, k, v = rows(21, 4, 6), rows(21, 2, 6), rows(21, 2, v_dim) + 1
    # FP32 on both sides; the sums of 21 terms are in another order.
    np.testing.assert_allclose(decode_attention(q[-1], k, v=v), prefill_attention(q, k, v=v)[-1], rtol=0, atol=5e-6)


def test_scores_are_scaled_by_the_width_of_a_key() -> None:
    """q . k is 0 and 4 ln 3; with qk_dim 16 the scale is 1/4, so the weights are 1/4 and 3/4 for any v_dim."""
    q, k = np.zeros((1, 1, 16)), np.zeros((2, 1, 16))
    q[0, 0, 0], k[1, 0, 0] = 4, math.log(3)
    v = np.array([[[4.0, 8.0, 0.0]], [[0.0, 4.0, 4.0]]])
    # FP32 exp and quotient.
    np.testing.assert_allclose(decode_attention(q[0], k, v=v), [[1, 5, 3]], rtol=1e-6)
    np.testing.assert_allclose(prefill_attention(np.repeat(q, 2, axis=0), k, v=v)[1], [[1, 5, 3]], rtol=1e-6)


def test_large_scores_do_not_overflow() -> None:
    q, k = np.full((9, 1, 4), 100, dtype=np.float32), rows(9, 1, 4) * 100
    for order in ("plain", "reversed"):
        output = prefill_attention(q, k, v=k, order=order)
        best = [np.argmax(k[: row + 1, 0].sum(axis=1)) for row in range(9)]
        np.testing.assert_array_equal(output, k[best])
    np.testing.assert_array_equal(decode_attention(q[0], k, v=k), k[k[:, 0].sum(axis=1).argmax()])


def test_scores_below_fp32_weigh_the_same() -> None:
    """Every score is minus infinity in FP32. PyTorch in FP64 finds them equal, so the values are averaged."""
    q, k = np.full((1, 2), 3e38, np.float32), np.full((3, 1, 2), -3e38, np.float32)
    v = np.arange(6, dtype=np.float32).reshape(3, 1, 2)
    averaged = decode_attention_reference(q, k, v=v)
    np.testing.assert_array_equal(averaged, [[2, 3]])
    np.testing.assert_allclose(decode_attention(q, k, v=v), averaged, rtol=1e-6)
    rows = np.repeat(q[None], 3, axis=0)
    np.testing.assert_allclose(prefill_attention(rows, k, v=v)[:, 0], [[0, 1], [1, 2], [2, 3]], rtol=1e-6)
    seen = np.ones((1, 3), dtype=bool)
    np.testing.assert_allclose(two_pass_softmax(q[None], k, v=v, scale=1.0, visible=seen)[0], averaged, rtol=1e-6)
    state = online_softmax_start(1, 1, width=2)
    for key, value in zip(k, v, strict=True):
        state = online_softmax_step(state, q[None], key_row=key, value_row=value, scale=1.0)
    np.testing.assert_allclose(online_softmax_finish(state)[0], averaged, rtol=1e-6)


def test_a_query_that_saw_no_key_is_zero() -> None:
    key = rows(1, 1, 3)[0]
    state = online_softmax_start(2, 1, width=3)
    state = online_softmax_step(
        state, rows(2, 1, 3), key_row=key, value_row=key, scale=1.0, visible=np.array([False, True])
    )
    np.testing.assert_array_equal(online_softmax_finish(state), [np.zeros((1, 3)), key])


def test_wrong_shapes_are_refused() -> None:
    one = rows(4, 2, 3)
    with pytest.raises(ValueError, match="expected 'plain' or 'reversed', got 'newest'"):
        prefill_attention(one, one, v=one, order="newest")
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        prefill_attention(one, one, v=one, query_parallel=0)
    with pytest.raises(ValueError, match="q has 3 rows, k 4"):
        prefill_attention(one[:3], one, v=one)
    with pytest.raises(ValueError, match="must be a multiple of the kv heads"):
        prefill_attention(rows(4, 3, 3), one, v=one)
    for v in (one[:2], one[:, :1], one[..., :0]):
        with pytest.raises(ValueError, match="rows and kv heads must be equal, and no extent may be 0"):
            decode_attention(one[0], one, v=v)


class Counted(np.ndarray):
    """An array that counts what is done on it: an operation for each element made, or taken into a sum."""

    done: ClassVar[Counter[str]] = Counter()  # by the name of the NumPy operation

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(one) for one in inputs]
        made = getattr(ufunc, method)(*plain, **options)
        Counted.done[ufunc.__name__] += made.size if method == "__call__" else plain[0].size
        return np.asarray(made).view(Counted)


def counted(kernel, rows: int, d: int, **options) -> Counter[str]:
    Counted.done = Counter()
    kernel(np.ones((rows, d), dtype=np.float32).view(Counted), **options)
    return Counted.done


@pytest.mark.parametrize(("rows", "d"), [(1, 1), (3, 5), (7, 64)])
def test_operations_on_elements_are_those_of_the_op_table(rows: int, d: int) -> None:
    """The table leaves out what is done once a row: quotients of sums, epsilon and root; and of pool once an output."""
    weight = np.ones(d, dtype=np.float32)

    def flop(kind: str) -> int:
        return work(kind, rows=rows, d=d).counts()["flop"]

    assert counted(gelu, rows, d).total() == flop("gelu")
    assert counted(layer_norm, rows, d, weight=weight).total() == flop("layernorm") + 4 * rows
    assert counted(rmsnorm, rows, d, weight=weight).total() == flop("rmsnorm") + 3 * rows
    assert counted(mean_pool, rows, d, tokens=1).total() == flop("pool") + d


@pytest.mark.parametrize(("rows", "d"), [(1, 1), (3, 5), (7, 64)])
def test_operations_on_elements_are_those_of_the_docstrings(rows: int, d: int) -> None:
    elements = rows * d
    assert counted(relu, rows, d) == {"maximum": elements}
    assert counted(square, rows, d) == {"square": elements}
    assert counted(mul, rows, d, b=np.ones((rows, d), dtype=np.float32)) == {"multiply": elements}
    for tokens in (1, rows):
        assert counted(max_pool, rows, d, tokens=tokens) == {"maximum": elements}
    assert counted(softmax, rows, d) == dict.fromkeys(("maximum", "subtract", "exp", "add", "divide"), elements)
