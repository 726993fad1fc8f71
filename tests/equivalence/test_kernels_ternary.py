"""Ternary layouts: exact inverses, published byte counts, table contents, and products on shapes of a real model."""

from collections.abc import Callable

import numpy as np
import pytest

from kernels.ternary import lookup, lookup_bytes, packing, packing_bytes

# Outputs, inputs, and how many matrices of this shape each of the 24 layers of arXiv 2510.15926's model has.
SHAPES = ((1536, 1536, 4), (4096, 1536, 2), (1536, 4096, 1))
RAGGED = ((1, 1), (1, 2), (2, 3), (3, 5), (5, 7), (7, 85), (4, 128), (3, 129), (2, 257), (3, 260), (2, 300))


def drawn_weights(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(1000 * n + k).integers(-1, 2, (n, k), dtype=np.int8)


def drawn_activations(m: int, k: int) -> np.ndarray:
    return np.random.default_rng(7 * m + k).integers(-127, 128, (m, k), dtype=np.int8)


def model_bytes(count: Callable[[int, int], int]) -> int:
    return 24 * sum(times * count(n, k) for n, k, times in SHAPES)


def exact_product(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """FP64 products of these integers are exact, and faster than integer ones."""
    return (x.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int32)


@pytest.mark.parametrize(("n", "k"), RAGGED)
def test_every_layout_gives_the_weights_back(n: int, k: int) -> None:
    weights = drawn_weights(n, k)
    dense, tl1, tl2 = packing.pack_dense(weights), packing_bytes.pack_tl1(weights), packing_bytes.pack_tl2(weights)
    i2s, planes, beats = (
        packing_bytes.pack_i2s(weights),
        packing_bytes.pack_planes(weights),
        packing.pack_loader(weights),
    )
    assert [packed.nbytes for packed in (dense, tl1, tl2, i2s, planes, beats)] == [
        packing.dense_bytes(n, k),
        packing_bytes.tl1_bytes(n, k),
        packing_bytes.tl2_bytes(n, k),
        packing_bytes.i2s_bytes(n, k),
        packing_bytes.planes_bytes(n, k),
        packing.loader_bytes(n, k),
    ]
    for back in (
        packing.weights_of_indices(packing.group_indices(weights), k),
        packing.unpack_dense(dense, k),
        packing_bytes.unpack_tl1(tl1, k),
        packing_bytes.unpack_tl2(tl2, n, k=k),
        packing_bytes.unpack_i2s(i2s, k),
        packing_bytes.unpack_planes(planes, k),
        packing.unpack_loader(beats, n, k=k),
    ):
        assert back.dtype == np.int8
        np.testing.assert_array_equal(back, weights)


@pytest.mark.parametrize(("n", "k", "regions"), [(1536, 1536, 1), (4096, 1536, 3), (1536, 4096, 3)])
def test_loader_beats_of_the_real_shapes(n: int, k: int, regions: int) -> None:
    weights = drawn_weights(n, k)
    slots = np.random.default_rng(0).integers(0, 2**16, (regions, 19, 308), dtype=np.uint16)
    beats = packing.pack_loader(weights, slots)
    assert beats.shape == (regions, 19, 308, 96)
    assert beats.nbytes == packing.loader_bytes(n, k) == regions * 561_792
    np.testing.assert_array_equal(packing.unpack_loader(beats, n, k=k), weights)
    np.testing.assert_array_equal(packing.loader_slots(beats), slots)
    np.testing.assert_array_equal(packing_bytes.unpack_tl2(packing_bytes.pack_tl2(weights), n, k=k), weights)


def test_regions_go_through_the_inputs_first() -> None:
    weights = np.zeros((1537, 1597), dtype=np.int8)
    weights[0, 1596], weights[1536, 0] = -1, 1
    beats = packing.pack_loader(weights)
    assert np.argwhere(beats).tolist() == [[1, 0, 0, 0], [2, 0, 0, 0]]
    assert beats[1:3, 0, 0, 0].tolist() == [14, 1]
    np.testing.assert_array_equal(packing.unpack_loader(beats, 1537, k=1597), weights)


def test_a_beat_holds_420_weights_and_leaves_the_top_52_bits_free() -> None:
    assert packing.VECTORS_PER_BEAT * packing.BLOCK_INPUTS == 420
    weights = -np.ones((5, 84), dtype=np.int8)
    beats = packing.pack_loader(weights, np.full((1, 19, 308), 0xFFFF, dtype=np.uint16))
    bits = np.unpackbits(beats[0, 0, 0], bitorder="little")
    index = packing.group_indices(weights)[0, 0]
    assert bits[:5].tolist() == [index >> bit & 1 for bit in range(5)]
    assert bits[:700].reshape(140, 5).tolist() == [bits[:5].tolist()] * 140
    assert bits[700:716].all()
    assert not bits[716:].any()


def test_bytes_of_the_whole_model() -> None:
    assert sum(24 * times * n * k for n, k, times in SHAPES) == 679_477_248
    assert model_bytes(packing.loader_bytes) == 175_279_104
    assert model_bytes(packing_bytes.tl1_bytes) == 169_869_312
    assert round(model_bytes(packing_bytes.tl2_bytes) / 1e6, 1) == 145.6
    assert round(model_bytes(packing.dense_bytes) * 8 / 679_477_248, 2) == 1.67
    assert model_bytes(packing_bytes.i2s_bytes) == 679_477_248 // 4


@pytest.mark.parametrize(("n", "k", "times"), SHAPES)
def test_tl2_bytes_are_the_allocation_formula_and_the_packed_parts_fit(n: int, k: int, times: int) -> None:
    formula = (k - 256) * n / 3 * 5 / 8 + 256 * n / 2 * 4 / 8
    assert formula <= packing_bytes.tl2_bytes(n, k) < formula + 1
    triples, pairs = packing_bytes.tl2_groups(k)
    assert 3 * triples + 2 * pairs == k
    assert n * (5 * triples + 4 * pairs) / 8 <= formula
    if (k - 256) % 3 == 0:
        assert 3 * triples == k - 256


def test_table_contents_are_in_the_published_order() -> None:
    a, b, c = 3, 17, 101
    half = [a, b, c, a + b, a - b, a + c, a - c, b + c, b - c, a + b + c, a + b - c, a - b + c, -a + b + c]
    table = lookup.build_tables(np.array([a, b, c], dtype=np.int8))
    assert table.tolist() == [[0, *half, *(-value for value in half)]]


@pytest.mark.parametrize("group_size", [1, 2, 3, 4, 5])
def test_a_table_holds_every_pattern_once(group_size: int) -> None:
    patterns = packing.group_patterns(group_size)
    assert len({tuple(row) for row in patterns.tolist()}) == 3**group_size == len(patterns)
    half = len(patterns) // 2
    np.testing.assert_array_equal(patterns[half + 1 :], -patterns[1 : half + 1])


def test_the_half_table_and_a_sign_are_the_full_table() -> None:
    x = drawn_activations(1, 30)[0]
    full, half = lookup.build_tables(x), lookup_bytes.half_tables(x)
    assert (full.shape, half.shape) == ((10, 27), (10, 14))
    values = packing.group_patterns() @ np.array([9, 3, 1])
    np.testing.assert_array_equal(full, np.where(values < 0, -1, 1) * half[:, np.abs(values)])


def test_entries_of_a_group_of_three_fit_ten_bits() -> None:
    extremes = np.array([127, 127, 127, -127, -127, -127, -128, -128, -128], dtype=np.int8)
    tables = lookup.build_tables(extremes)
    assert tables.min() == -384 >= -(2**9)
    assert tables.max() == 384 < 2**9


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize(("n", "k", "times"), SHAPES)
def test_products_on_the_real_shapes_are_exact(n: int, k: int, times: int, m: int) -> None:
    x, weights = drawn_activations(m, k), drawn_weights(n, k)
    expected = exact_product(x, weights)
    np.testing.assert_array_equal(lookup.lookup_matmul(x, packing.group_indices(weights)), expected)
    np.testing.assert_array_equal(lookup.lookup_matmul_counted(x, weights)[0], expected)
    np.testing.assert_array_equal(lookup_bytes.lookup_matmul_tl1(x, packing_bytes.pack_tl1(weights)), expected)
    np.testing.assert_array_equal(lookup_bytes.lookup_matmul_tl2(x, packing_bytes.pack_tl2(weights), n=n), expected)
    np.testing.assert_array_equal(lookup_bytes.lookup_matmul_planes(x, packing_bytes.pack_planes(weights)), expected)


@pytest.mark.parametrize(("n", "k"), RAGGED)
def test_products_on_ragged_shapes_are_exact(n: int, k: int) -> None:
    x, weights = drawn_activations(4, k), drawn_weights(n, k)
    expected = exact_product(x, weights)
    for group_size in (1, 2, 3, 4, 5):
        indices = packing.group_indices(weights, group_size)
        np.testing.assert_array_equal(lookup.lookup_matmul(x, indices, group_size=group_size), expected)
    np.testing.assert_array_equal(lookup_bytes.lookup_matmul_tl1(x, packing_bytes.pack_tl1(weights)), expected)
    np.testing.assert_array_equal(lookup_bytes.lookup_matmul_tl2(x, packing_bytes.pack_tl2(weights), n=n), expected)
    np.testing.assert_array_equal(lookup_bytes.lookup_matmul_planes(x, packing_bytes.pack_planes(weights)), expected)


def test_24_bit_accumulators_never_overflow() -> None:
    weights = np.ones((1, 4096), dtype=np.int8)
    for sign in (1, -1):
        x = np.full((1, 4096), 127 * sign, dtype=np.int8)
        product = lookup.lookup_matmul(x, packing.group_indices(weights))
        assert product.tolist() == [[4096 * 127 * sign]]
        assert abs(int(product[0, 0])) < 2 ** (lookup.ACCUMULATOR_BITS - 1)
    assert lookup.accumulator_bits(4096) <= lookup.ACCUMULATOR_BITS


def test_wrong_arrays_are_refused() -> None:
    x, weights = drawn_activations(1, 6), drawn_weights(2, 6)
    with pytest.raises(TypeError, match="weights: expected int8, got int64"):
        packing.pack_dense(weights.astype(np.int64))
    with pytest.raises(ValueError, match="got values from 2 to 2"):
        packing.pack_dense(np.full((1, 1), 2, dtype=np.int8))
    with pytest.raises(ValueError, match="with elements, got shape"):
        packing_bytes.pack_tl1(weights[:0])
    with pytest.raises(ValueError, match="2 groups of 3 do not hold 9 inputs"):
        packing.weights_of_indices(packing.group_indices(weights), 9)
    with pytest.raises(ValueError, match="27 has no entry"):
        lookup.lookup_matmul(x, np.full((1, 2), 27, dtype=np.uint8))
    with pytest.raises(ValueError, match="1 groups of 3 do not hold 6 inputs"):
        lookup.lookup_matmul(x, np.zeros((1, 1), dtype=np.uint8))
    with pytest.raises(ValueError, match="x has 3 inputs, weights have 6"):
        lookup.lookup_matmul_counted(x[:, :3], weights)
    with pytest.raises(TypeError, match="x: expected int8, got float64"):
        lookup.build_tables(np.ones(3))
    with pytest.raises(ValueError, match="2 x 6 weights take 3 bytes"):
        lookup_bytes.lookup_matmul_tl2(x, np.zeros(4, dtype=np.uint8), n=2)
    with pytest.raises(ValueError, match="take 1 regions"):
        packing.unpack_loader(np.zeros((2, 19, 308, 96), dtype=np.uint8), 1, k=1)
    with pytest.raises(ValueError, match="expected 1 to 5"):
        packing.group_patterns(6)


def test_codes_of_no_weights_are_refused_by_every_layout() -> None:
    """Damaged bytes, or those of another layout. A product reads its tables in compiled code, without bounds checks."""
    x, ones = drawn_activations(1, 4), np.uint8(255)
    bad: dict[str, Callable[[], object]] = {
        "tl1": lambda: packing_bytes.unpack_tl1(np.full((1, 1), ones), 4),
        "tl1 product": lambda: lookup_bytes.lookup_matmul_tl1(x, np.full((1, 1), ones)),
        "tl2 triple": lambda: packing_bytes.unpack_tl2(np.array([15, 0], dtype=np.uint8), 1, k=3),
        "tl2 product of triples": lambda: lookup_bytes.lookup_matmul_tl2(
            x[:, :3], np.array([15, 0], dtype=np.uint8), n=1
        ),
        "tl2 product of pairs": lambda: lookup_bytes.lookup_matmul_tl2(x[:, :2], np.array([9], dtype=np.uint8), n=1),
        "i2s": lambda: packing_bytes.unpack_i2s(np.full((1, 32), ones), 4),
        "planes": lambda: packing_bytes.unpack_planes(np.full((2, 1, 1), ones), 4),
        "planes product": lambda: lookup_bytes.lookup_matmul_planes(x, np.full((2, 1, 1), ones)),
        "one plane": lambda: lookup_bytes.lookup_matmul_planes(x, np.zeros((1, 1, 1), dtype=np.uint8)),
        "dense": lambda: packing.unpack_dense(np.full((1, 2), ones), 4),
        "loader": lambda: packing.unpack_loader(np.full((1, 19, 308, 96), ones), 1, k=4),
        "index": lambda: lookup.lookup_matmul(x, np.array([[5, -40]])),
    }
    for name, call in bad.items():
        with pytest.raises(ValueError, match=r"stands for no weights|has no entry|two bit planes"):
            pytest.fail(f"{name}: {call()}")
