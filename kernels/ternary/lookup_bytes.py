"""Table-lookup products directly from weights in the byte layouts TL1, TL2 and bit planes.

Knows which table each code reads and when its sign applies. Plain loops, not the SIMD code of the shipped kernels.
All results equal the int32 products exactly.
"""

import numpy as np

from kernels.lazy_torch import torch
from kernels.machine_code import compiled
from kernels.ternary.lookup import check_activations
from kernels.ternary.packing import pad_inputs
from kernels.ternary.packing_bytes import check_planes, split_tl1, split_tl2, tl2_groups


@compiled()
def _pair_tables(x: np.ndarray) -> np.ndarray:
    """Return the 9 sums of each pair of activations, int16 [pairs, 9], in the order of 3a + b + 4."""
    tables = np.empty((len(x) // 2, 9), dtype=np.int16)
    for pair in range(len(tables)):
        first, second = np.int16(x[2 * pair]), np.int16(x[2 * pair + 1])
        tables[pair, 4] = 0
        tables[pair, 5] = second
        tables[pair, 6] = first - second
        tables[pair, 7] = first
        tables[pair, 8] = first + second
        # Code 8 - e negates both weights of code e.
        for entry in range(4):
            tables[pair, entry] = -tables[pair, 8 - entry]
    return tables


@compiled()
def _triple_tables(x: np.ndarray) -> np.ndarray:
    """Return the 14 sums of each triple of activations, int16 [triples, 14], in the order of 9a + 3b + c >= 0."""
    tables = np.empty((len(x) // 3, 14), dtype=np.int16)
    for triple in range(len(tables)):
        a, b, c = np.int16(x[3 * triple]), np.int16(x[3 * triple + 1]), np.int16(x[3 * triple + 2])
        table = tables[triple]
        table[0] = 0
        table[1] = c
        # One addition each, to an entry already there. A negative rest, entry - 3 or entry - 9, is subtracted.
        for entry in range(2, 5):
            table[entry] = table[entry - 3] + b if entry > 2 else b - c
        for entry in range(5, 14):
            table[entry] = a + table[entry - 9] if entry >= 9 else a - table[9 - entry]
    return tables


@compiled()
def _quad_tables(x: np.ndarray) -> np.ndarray:
    """Return the 16 sums of each four activations, int16 [quads, 16]; bit i of an entry's index adds activation i."""
    tables = np.empty((len(x) // 4, 16), dtype=np.int16)
    for quad in range(len(tables)):
        tables[quad, 0] = 0
        for entry in range(1, 16):
            # Without its highest bit, the index is one whose sum is already there.
            bit = 3 if entry >= 8 else 2 if entry >= 4 else 1 if entry >= 2 else 0
            tables[quad, entry] = tables[quad, entry - (1 << bit)] + np.int16(x[4 * quad + bit])
    return tables


@compiled()
def _tl1_rows(x: np.ndarray, packed: np.ndarray) -> np.ndarray:
    product = np.empty((len(x), len(packed)), dtype=np.int32)
    for row in range(len(x)):
        tables = _pair_tables(x[row])
        for output in range(len(packed)):
            total = 0
            for place in range(packed.shape[1]):
                byte = packed[output, place]
                total += tables[2 * place, byte & 15] + tables[2 * place + 1, byte >> 4]
            product[row, output] = total
    return product


@compiled()
def _tl2_rows(x: np.ndarray, packed: np.ndarray, n: int, triples: int, pairs: int) -> np.ndarray:
    product = np.empty((len(x), n), dtype=np.int32)
    # Each part begins on a whole byte, as pack_tl2 writes them.
    signs_start = (n * triples + 1) // 2
    pairs_start = signs_start + (n * triples + 7) // 8
    for row in range(len(x)):
        three, two = _triple_tables(x[row, : 3 * triples]), _pair_tables(x[row, 3 * triples :])
        for output in range(n):
            total = 0
            # Codes run on across rows, so a byte can hold the end of one row and the start of the next.
            for triple in range(triples):
                code = output * triples + triple
                magnitude = packed[code >> 1] >> 4 * (code & 1) & 15
                negative = packed[signs_start + (code >> 3)] >> (code & 7) & 1
                total += -three[triple, magnitude] if negative else three[triple, magnitude]
            for pair in range(pairs):
                code = output * pairs + pair
                total += two[pair, packed[pairs_start + (code >> 1)] >> 4 * (code & 1) & 15]
            product[row, output] = total
    return product


@compiled()
def _planes_rows(x: np.ndarray, packed: np.ndarray) -> np.ndarray:
    product = np.empty((len(x), packed.shape[1]), dtype=np.int32)
    for row in range(len(x)):
        tables = _quad_tables(x[row])
        # The planes hold weight + 1, so every product is too large by the sum of x.
        offset = 0
        for place in range(x.shape[1]):
            offset += x[row, place]
        for output in range(packed.shape[1]):
            total = -offset
            for plane in range(2):
                for place in range(packed.shape[2]):
                    byte = packed[plane, output, place]
                    total += (tables[2 * place, byte & 15] + tables[2 * place + 1, byte >> 4]) << plane
            product[row, output] = total
    return product


def half_tables(x: np.ndarray) -> np.ndarray:
    """Return, for each triple of activations, the 14 sums with a code 9a + 3b + c of 0 to 13, in the order of the code.

    x int8 [k]; returns int16 [ceil(k / 3), 14]; the last triple is padded with zeros. The other 13 of the 27 sums are
    their negatives. Raises TypeError, ValueError as check_activations. Source: microsoft/BitNet, TL2.

    >>> half_tables(np.array([100, 10, 1], dtype=np.int8)).tolist()
    [[0, 1, 9, 10, 11, 89, 90, 91, 99, 100, 101, 109, 110, 111]]
    """
    check_activations(x, 1)
    return _triple_tables(np.pad(x, (0, -len(x) % 3)))


def half_tables_reference(x: np.ndarray) -> np.ndarray:
    """Return half_tables as the product of triples and the balanced base-3 digits of 0 to 13."""
    triples = torch.nn.functional.pad(torch.tensor(x).int(), (0, -len(x) % 3)).reshape(-1, 3)
    digits = (torch.arange(14)[:, None] + 13) // torch.tensor([9, 3, 1]) % 3 - 1
    return (triples @ digits.int().T).to(torch.int16).numpy()


def lookup_matmul_tl1(x: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Return the product int32 [m, n] of x int8 [m, k] with TL1 weights packed uint8 [n, ceil(k / 4)].

    One of 9 sums is read per pair. Raises TypeError, ValueError as check_activations and split_tl1.
    Source: microsoft/BitNet, TL1.

    Byte 86 is (1, -1, 0, 1), so 1 - 2 + 4:

    >>> lookup_matmul_tl1(np.array([[1, 2, 3, 4]], dtype=np.int8), np.array([[86]], dtype=np.uint8)).tolist()
    [[3]]
    """
    check_activations(x)
    split_tl1(packed, x.shape[1])
    return _tl1_rows(pad_inputs(x, 4), packed)


def lookup_matmul_tl1_reference(x: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Return lookup_matmul_tl1 as an int32 matrix product with the decoded weights."""
    codes = torch.stack([torch.tensor(packed) & 15, torch.tensor(packed) >> 4], dim=-1).int()
    weights = torch.stack([codes // 3 - 1, codes % 3 - 1], dim=-1).flatten(1)[:, : x.shape[1]]
    return (torch.tensor(x).int() @ weights.T).numpy()


def lookup_matmul_tl2(x: np.ndarray, packed: np.ndarray, *, n: int) -> np.ndarray:
    """Return the product int32 [m, n] of x int8 [m, k] with TL2 weights packed uint8 [tl2_bytes(n, k)].

    One of 14 sums is read per triple and negated by its sign bit; one of 9 per pair. Raises TypeError, ValueError as
    check_activations and split_tl2. Source: microsoft/BitNet, TL2.

    One row: the triple (1, -1, 0), magnitude 6, sign 0, and the pair (1, 1), code 8; so 1 - 2 + 4 + 5:

    >>> lookup_matmul_tl2(np.array([[1, 2, 3, 4, 5]], dtype=np.int8), np.array([6, 0, 8], dtype=np.uint8), n=1).tolist()
    [[8]]
    """
    check_activations(x)
    k = x.shape[1]
    split_tl2(packed, n, k=k)
    triples, pairs = tl2_groups(k)
    # Pads only a row of one input, whose pair lacks the second.
    padded = np.pad(x, ((0, 0), (0, 3 * triples + 2 * pairs - k)))
    return _tl2_rows(padded, packed, n, triples, pairs)


def lookup_matmul_tl2_reference(x: np.ndarray, packed: np.ndarray, *, n: int) -> np.ndarray:
    """Return lookup_matmul_tl2 as an int32 matrix product with the decoded weights."""
    magnitudes, signs, pairs = (torch.tensor(part).int() for part in split_tl2(packed, n, k=x.shape[1]))
    values = magnitudes * (1 - 2 * signs) + 13
    three = torch.stack([values // 9, values // 3 % 3, values % 3], dim=-1).flatten(1)
    two = torch.stack([pairs // 3, pairs % 3], dim=-1).flatten(1)
    weights = torch.cat([three, two], dim=1)[:, : x.shape[1]] - 1
    return (torch.tensor(x).int() @ weights.T).numpy()


def lookup_matmul_planes(x: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Return the product int32 [m, n] of x int8 [m, k] with bit planes packed uint8 [2, n, ceil(k / 8)].

    One of 16 sums of four activations is read per plane. Formula: sum over planes p of 2**p * (sums where bit p of
    weight + 1 is set) - sum of x. Raises TypeError, ValueError as check_activations and check_planes.
    Source: microsoft/T-MAC.

    The planes of (1, 0, -1), so 1 - 3:

    >>> lookup_matmul_planes(np.array([[1, 2, 3]], dtype=np.int8), np.array([[[250]], [[1]]], dtype=np.uint8)).tolist()
    [[-2]]
    """
    check_activations(x)
    check_planes(packed, x.shape[1])
    return _planes_rows(pad_inputs(x, 8), packed)


def lookup_matmul_planes_reference(x: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Return lookup_matmul_planes as an int32 matrix product with the decoded weights."""
    bits = (torch.tensor(packed)[..., None] >> torch.arange(8) & 1).flatten(2)[:, :, : x.shape[1]].int()
    return (torch.tensor(x).int() @ (bits[0] + 2 * bits[1] - 1).T).numpy()
