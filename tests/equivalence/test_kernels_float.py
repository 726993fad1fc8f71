"""Properties of the float kernels that one reference does not show: rounding, clamps, table error, invariants."""

import itertools

import numpy as np
import pytest

from kernels.activation import SILU_TABLE_MAX_ERROR, gelu, silu, silu_table, silu_table_entries
from kernels.matmul import batched_matmul
from kernels.norm import layer_norm, rmsnorm_absmax
from kernels.pool import max_pool, mean_pool
from kernels.quantize import dequantize, quantize_absmax, quantize_absmean
from kernels.rope import rope
from kernels.softmax import softmax


def test_silu_table_error_is_the_stated_one() -> None:
    x = np.linspace(-8, 8, 1_000_001).astype(np.float32)
    error = float(np.abs(silu_table(x) - silu(x)).max())
    assert 0.999 * SILU_TABLE_MAX_ERROR < error <= SILU_TABLE_MAX_ERROR


def test_silu_table_is_clamped_outside() -> None:
    outside = np.array([-8.001, -50, 8.001, 50], dtype=np.float32)
    np.testing.assert_array_equal(silu_table(outside), np.array([0, 0, 8.001, 50], dtype=np.float32))
    entries = silu_table_entries()
    np.testing.assert_array_equal(silu_table(np.array([-8.0, 8.0])), entries[[0, -1]])
    assert entries.shape == (64,)


def test_halves_round_to_even() -> None:
    rows = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]])
    q, scale = quantize_absmax(rows)
    assert q.tolist() == [[127, 0, 2, 2, 0, -2, -2]]
    assert scale.tolist() == [1.0]
    assert quantize_absmean(np.array([[0.5, 1.5, -0.5, -1.5]]))[0].tolist() == [[0, 1, 0, -1]]


def test_rows_of_zeros_are_quantized_without_dividing_by_zero() -> None:
    q, scale = quantize_absmax(np.zeros((2, 3)))
    assert not q.any()
    np.testing.assert_array_equal(scale, np.full(2, np.float32(1e-5) / np.float32(127)))
    assert not quantize_absmean(np.zeros((2, 3)))[0].any()


def test_a_known_absmax_gives_the_same_and_a_smaller_one_is_clamped() -> None:
    x = np.random.default_rng(0).standard_normal((5, 64), dtype=np.float32)
    normed, absmax = rmsnorm_absmax(x, np.ones(64, dtype=np.float32))
    for a, b in zip(quantize_absmax(normed), quantize_absmax(normed, absmax), strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(np.abs(quantize_absmax(x, np.full(5, 1e-3))[0]).ravel().tolist()) == {127}


def test_quantizing_and_back_is_within_half_a_step() -> None:
    x = np.random.default_rng(1).standard_normal((7, 100), dtype=np.float32)
    q, scale = quantize_absmax(x)
    back = dequantize(q.astype(np.int32), scale, w_scale=1.0)
    # Half a step, and the rounding of the product and the division.
    assert (np.abs(back - x) <= scale[:, None] * 0.50001).all()


def test_rope_keeps_lengths_and_depends_on_distance_alone() -> None:
    rng = np.random.default_rng(2)
    q, k = (np.repeat(rng.standard_normal((1, 2, 8)), 2, axis=0) for _ in range(2))
    turned_q, turned_k = rope(q, np.array([3, 103])), rope(k, np.array([1, 101]))
    products = (turned_q * turned_k).sum(axis=2)
    # FP32 products of 8 terms around 1.
    np.testing.assert_allclose(products[0], products[1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(turned_q, axis=2), np.linalg.norm(q, axis=2), rtol=1e-6)
    with pytest.raises(ValueError, match="head_dim must be even to be turned in pairs, got 3"):
        rope(np.ones((1, 1, 3)), np.array([0]))


def test_gelu_is_the_tanh_form_and_not_the_exact_one() -> None:
    """At 1 they are 0.841192 and 0.841345; far from 0 both are x and 0."""
    np.testing.assert_allclose(gelu(np.array([1.0, -1.0])), [0.841192, -0.158808], rtol=0, atol=1e-6)
    assert gelu(np.array([1e4, -1e4])).tolist() == [1e4, 0]


def test_layer_norm_does_not_see_an_offset_of_a_row() -> None:
    x = np.random.default_rng(4).integers(-8, 9, (5, 32)).astype(np.float32)
    weight = np.ones(32, dtype=np.float32)
    np.testing.assert_array_equal(layer_norm(x, weight), layer_norm(x + 64, weight))
    np.testing.assert_array_equal(layer_norm(np.full((2, 3), 7), np.ones(3)), np.zeros((2, 3)))


def test_pooled_runs_hold_each_row_once() -> None:
    """576 rows in ten runs of 57 or 58; as many runs as rows are the rows, one is the mean of all."""
    rows = np.arange(576, dtype=np.float32)[:, None]
    bounds = [0, 57, 115, 172, 230, 288, 345, 403, 460, 518, 576]
    means = [[(start + stop - 1) / 2] for start, stop in itertools.pairwise(bounds)]
    assert mean_pool(rows, tokens=10).tolist() == means
    assert mean_pool(rows, tokens=1).tolist() == [[287.5]]
    assert max_pool(rows, tokens=10).tolist() == [[stop - 1] for stop in bounds[1:]]
    assert max_pool(-rows, tokens=10).tolist() == [[-start] for start in bounds[:-1]]
    for pool in (mean_pool, max_pool):
        np.testing.assert_array_equal(pool(rows, tokens=576), rows)
        for tokens in (0, 577):
            with pytest.raises(ValueError, match=f"from 1 to the 576 rows, got {tokens}"):
                pool(rows, tokens=tokens)


@pytest.mark.filterwarnings("error")
def test_softmax_of_large_and_of_infinite_scores() -> None:
    """Weights follow the distance to the maximum, however large; a row without a finite maximum is NaN."""
    inf = np.inf
    assert softmax(np.array([[3e38, -3e38], [-1e4, -1e4], [-inf, 7], [-3e38, -inf]])).tolist() == [
        [1, 0],
        [0.5, 0.5],
        [0, 1],
        [1, 0],
    ]
    assert np.isnan(softmax(np.array([[-inf, -inf], [inf, 0], [np.nan, 0]]))).all()
    # An offset that FP32 adds without rounding changes nothing.
    x = np.random.default_rng(5).integers(-8, 9, (6, 33)).astype(np.float32)
    np.testing.assert_array_equal(softmax(x), softmax(x + 1024))


def test_matrices_that_do_not_fit_are_refused() -> None:
    """NumPy would repeat a batch of 1, and one matrix for each of a batch."""
    x = np.ones((2, 3, 4))
    for w in (np.ones((1, 5, 4)), np.ones((5, 4)), np.ones((2, 5, 3)), np.ones(4)):
        with pytest.raises(ValueError, match=r"x has shape \(2, 3, 4\), w .*; expected \[batch, m, k\]"):
            batched_matmul(x, w)
    with pytest.raises(ValueError, match="x has shape"):
        batched_matmul(np.ones(4), np.ones(4))
