"""Ternary weights as indices into tables of partial sums, five bits each, and the beats that a weight loader reads.

Knows how -1, 0, 1 become bytes and back. Does not know what reads the bytes or how fast.
Matrices are `weights[outputs n, inputs k]`, int8. The last group, block or region is padded with weights 0.
"""

from functools import lru_cache

import numpy as np

from kernels.lazy_torch import torch

# Sizes of the look-up engine and its weight loader: arXiv 2510.15926 and its published HLS source.
GROUP_SIZE = 3
INDEX_BITS = 5
NUM_TABLES = 28
BLOCK_INPUTS = NUM_TABLES * GROUP_SIZE
VECTOR_BITS = NUM_TABLES * INDEX_BITS
# Five vectors of 140 bits and one slot of 16 bits fit a beat of 768 bits.
VECTORS_PER_BEAT = 5
SLOT_BITS = 16
BEAT_BYTES = 96
REGION_BLOCKS = 19
REGION_OUTPUTS = 1536
REGION_BEATS = -(-REGION_OUTPUTS // VECTORS_PER_BEAT)

# The first half of a table in the order of arXiv 2510.15926. The second half is its negative without the 0.
_HALF_OF_THREE = ("000", "+00", "0+0", "00+", "++0", "+-0", "+0+", "+0-", "0++", "0+-", "+++", "++-", "+-+", "-++")


def balanced_patterns(group_size: int) -> np.ndarray:
    """Return the half table of TL2: row v holds the signs of the group of weights with 9a + 3b + c = v.

    Returns int8 [(3**group_size + 1) / 2, group_size]; the first non-zero sign of a row is +1.
    Formula: v = sum of 3**(group_size - 1 - i) * row[i], v = 0, 1, 2, …
    Source: microsoft/BitNet, TL2; other group sizes derived: the same rule.

    >>> balanced_patterns(2).tolist()
    [[0, 0], [0, 1], [1, -1], [1, 0], [1, 1]]
    """
    values = np.arange((3**group_size + 1) // 2)
    # The number with all digits 1: adding it turns the digits -1, 0, 1 into the ordinary 0, 1, 2 of base 3.
    centre = (3**group_size - 1) // 2
    place = 3 ** np.arange(group_size - 1, -1, -1)
    return ((values[:, None] + centre) // place % 3 - 1).astype(np.int8)


@lru_cache(maxsize=8)
def group_patterns(group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return the contents of a full table: row i holds the signs of the inputs in the sum of entry i.

    Returns int8 [3**group_size, group_size], read-only. Group size 3, inputs a, b, c: 0, a, b, c, a+b, a-b, a+c, a-c,
    b+c, b-c, a+b+c, a+b-c, a-b+c, -a+b+c, then the negatives of entries 1 to 13.
    Raises ValueError for a group size outside 1 to 5, whose indices would not fit a byte.
    Source: arXiv 2510.15926; other group sizes derived: balanced_patterns, then its negatives.

    >>> group_patterns()[[1, 5, 13, 14]].tolist()      # a, a-b, -a+b+c, -a
    [[1, 0, 0], [1, -1, 0], [-1, 1, 1], [-1, 0, 0]]
    """
    if not 1 <= group_size <= 5:
        raise ValueError(f"group_size: expected 1 to 5, so that an index fits a byte, got {group_size}")
    if group_size == GROUP_SIZE:
        half = np.array([["-0+".index(sign) - 1 for sign in row] for row in _HALF_OF_THREE], dtype=np.int8)
    else:
        half = balanced_patterns(group_size)
    patterns = np.concatenate([half, -half[1:]])
    # The cache gives every caller this same array.
    patterns.setflags(write=False)
    return patterns


def check_ternary(weights: np.ndarray) -> None:
    """Raise unless weights is a non-empty int8 matrix of -1, 0 and 1.

    Raises TypeError for another dtype, ValueError for another shape or value.
    """
    if weights.dtype != np.int8:
        raise TypeError(f"weights: expected int8, got {weights.dtype}")
    if weights.ndim != 2 or weights.size == 0:
        raise ValueError(f"weights: expected a matrix [outputs, inputs] with elements, got shape {weights.shape}")
    low, high = int(weights.min()), int(weights.max())
    if low < -1 or high > 1:
        raise ValueError(f"weights: expected -1, 0 and 1, got values from {low} to {high}")


def pad_inputs(array: np.ndarray, multiple: int) -> np.ndarray:
    """Return array [rows, inputs] with zero columns appended up to a multiple of `multiple`.

    >>> pad_inputs(np.array([[1, 2]]), 3).tolist()
    [[1, 2, 0]]
    """
    return np.pad(array, ((0, 0), (0, -array.shape[1] % multiple)))


def group_indices(weights: np.ndarray, group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return the index of the table entry of each group of inputs.

    weights int8 [n, k]; returns uint8 [n, ceil(k / group_size)]; the last group is padded with weights 0.
    Raises TypeError, ValueError as check_ternary. Source: arXiv 2510.15926.

    Two groups, the second ragged: a-b is entry 5, and -a alone is entry 14.

    >>> group_indices(np.array([[1, -1, 0, -1]], dtype=np.int8)).tolist()
    [[5, 14]]
    """
    check_ternary(weights)
    place = 3 ** np.arange(group_size - 1, -1, -1)
    # Tables are not in the order of the base-3 numbers of their patterns, so those numbers look up the entry.
    entry_of = np.empty(3**group_size, dtype=np.uint8)
    entry_of[(group_patterns(group_size) + 1) @ place] = np.arange(3**group_size)
    padded = pad_inputs(weights, group_size)
    return entry_of[(padded.reshape(len(weights), -1, group_size) + 1) @ place]


def check_indices(indices: np.ndarray, k: int, *, group_size: int) -> None:
    """Raise ValueError unless indices [n, groups] have the groups of k inputs and name entries of a table."""
    if indices.shape[1] != -(-k // group_size):
        raise ValueError(f"indices: {indices.shape[1]} groups of {group_size} do not hold {k} inputs")
    # Compiled code reads without bounds checks, so a wrong index has to be refused before.
    wrong = indices[(indices < 0) | (indices >= 3**group_size)]
    if len(wrong):
        raise ValueError(f"indices: {wrong[0]} has no entry; a table has {3**group_size}")


def check_row_bytes(packed: np.ndarray, expected: int, *, k: int) -> None:
    """Raise ValueError unless the last axis has the expected bytes of a row of k inputs."""
    if packed.shape[-1] != expected:
        raise ValueError(f"packed: a row of {k} inputs takes {expected} bytes, got {packed.shape[-1]}")


def weights_of_indices(indices: np.ndarray, k: int, *, group_size: int = GROUP_SIZE) -> np.ndarray:
    """Return the weights int8 [n, k] of indices [n, ceil(k / group_size)]; the inverse of group_indices.

    Raises ValueError when indices do not have the groups of k inputs, or an index has no entry.

    >>> weights_of_indices(np.array([[5, 14]]), 4).tolist()
    [[1, -1, 0, -1]]
    """
    check_indices(indices, k, group_size=group_size)
    return group_patterns(group_size)[indices].reshape(len(indices), -1)[:, :k]


def _to_bits(values: np.ndarray, width: int) -> np.ndarray:
    """Return the bits uint8 [..., width] of values, lowest first."""
    return (values[..., None] >> np.arange(width, dtype=values.dtype) & 1).astype(np.uint8)


def dense_bytes(n: int, k: int) -> int:
    """Return the bytes of n rows of k weights, 5 bits per group of 3, each row rounded up to whole bytes.

    Formula: n * ceil(5 * ceil(k / 3) / 8). Source: arXiv 2510.15926 (5/3 bits per weight); the rounding is derived.

    >>> dense_bytes(1, 24), dense_bytes(2, 1)
    (5, 2)
    """
    return n * -(-INDEX_BITS * -(-k // GROUP_SIZE) // 8)


def pack_dense(weights: np.ndarray) -> np.ndarray:
    """Return the indices of each row as consecutive 5-bit numbers, lowest bit first.

    weights int8 [n, k]; returns uint8 [n, ceil(5 * ceil(k / 3) / 8)]. Index g of a row takes its bits 5g to 5g + 4;
    bit b is bit b % 8 of byte b // 8. Unused high bits are 0. Raises as group_indices.

    Indices 5 and 14 are the bits 10100 01110, so the bytes 0b11000101 = 197 and 0b01 = 1:

    >>> pack_dense(np.array([[1, -1, 0, -1]], dtype=np.int8)).tolist()
    [[197, 1]]
    """
    bits = _to_bits(group_indices(weights), INDEX_BITS)
    return np.packbits(bits.reshape(len(weights), -1), axis=1, bitorder="little")


def unpack_dense(packed: np.ndarray, k: int) -> np.ndarray:
    """Return the weights int8 [n, k] of packed uint8 [n, bytes]; the inverse of pack_dense.

    Raises ValueError when a row does not have the bytes of k inputs, or an index has no entry.

    >>> unpack_dense(np.array([[197, 1]], dtype=np.uint8), 4).tolist()
    [[1, -1, 0, -1]]
    """
    check_row_bytes(packed, dense_bytes(1, k), k=k)
    groups = -(-k // GROUP_SIZE)
    bits = np.unpackbits(packed, axis=1, bitorder="little", count=groups * INDEX_BITS)
    return weights_of_indices(bits.reshape(len(packed), groups, INDEX_BITS) @ (1 << np.arange(INDEX_BITS)), k)


def pack_dense_reference(weights: np.ndarray) -> np.ndarray:
    """Return pack_dense by comparing each group with all 27 patterns and summing powers of two."""
    padded = torch.nn.functional.pad(torch.tensor(weights), (0, -weights.shape[1] % GROUP_SIZE))
    groups = padded.reshape(len(weights), -1, 1, GROUP_SIZE)
    index = (groups == torch.tensor(group_patterns())).all(dim=-1).int().argmax(dim=-1)
    bits = index[..., None].bitwise_right_shift(torch.arange(INDEX_BITS)).remainder(2).flatten(1)
    bits = torch.nn.functional.pad(bits, (0, -bits.shape[1] % 8)).reshape(len(weights), -1, 8)
    return (bits * 2 ** torch.arange(8)).sum(dim=-1).to(torch.uint8).numpy()


def loader_regions(n: int, k: int) -> tuple[int, int]:
    """Return how many regions of 1536 outputs and of 19 blocks of 84 inputs cover n outputs and k inputs.

    Formula: (ceil(n / 1536), ceil(k / (19 * 84))). Source: arXiv 2510.15926 and its published HLS source.

    >>> loader_regions(1536, 1536), loader_regions(4096, 1536), loader_regions(1536, 4096)
    ((1, 1), (3, 1), (1, 3))
    """
    return -(-n // REGION_OUTPUTS), -(-k // (REGION_BLOCKS * BLOCK_INPUTS))


def loader_bytes(n: int, k: int) -> int:
    """Return the bytes of the beats that hold n x k weights: 561,792 per region.

    Formula: regions * 19 * 308 * 96. Source: arXiv 2510.15926 and its published HLS source.

    >>> loader_bytes(1536, 1536), loader_bytes(4096, 1536) // loader_bytes(1, 1)
    (561792, 3)
    """
    outputs, inputs = loader_regions(n, k)
    return outputs * inputs * REGION_BLOCKS * REGION_BEATS * BEAT_BYTES


def pack_loader(weights: np.ndarray, slots: np.ndarray | None = None) -> np.ndarray:
    """Return the 768-bit beats of a weight loader: five index vectors of 140 bits and one 16-bit slot each.

    weights int8 [n, k]; slots uint16 [regions, 19, 308] (FP16 norm weights as bits) or None for zeros; returns uint8
    [regions, 19 blocks, 308 beats, 96 bytes]. Region = output region * input regions + input region. Output j of a
    region is vector j % 5 of beat j // 5 of each block; vector v is bits 140v to 140v + 139 and its index t the bits
    from 140v + 5t on; the slot is bits 700 to 715; bits 716 to 767 are 0.
    Raises as group_indices, ValueError for another shape of slots.
    Source: arXiv 2510.15926 and its published HLS source for the sizes; the order of the bits is derived.

    Output 5 has its first index, 14, in the lowest bits of beat 1:

    >>> weights = np.zeros((6, 4), dtype=np.int8)
    >>> weights[5, 0] = -1
    >>> beats = pack_loader(weights)
    >>> beats.shape, beats[0, 0, :2, 0].tolist()
    ((1, 19, 308, 96), [0, 14])
    """
    out_regions, in_regions = loader_regions(*weights.shape)
    # Index 0 stands for weights 0, so zeros pad the last region in both directions.
    found = group_indices(weights)
    indices = np.zeros((out_regions * REGION_OUTPUTS, in_regions * REGION_BLOCKS * NUM_TABLES), dtype=np.uint8)
    indices[: len(found), : found.shape[1]] = found
    tiles = indices.reshape(out_regions, REGION_OUTPUTS, in_regions, REGION_BLOCKS, NUM_TABLES)
    # A loader reads block by block, and in a block all outputs of the region.
    tiles = tiles.transpose(0, 2, 3, 1, 4).reshape(-1, REGION_BLOCKS, REGION_OUTPUTS, NUM_TABLES)
    # 308 beats hold 1540 vectors, four more than a region has outputs.
    spare = REGION_BEATS * VECTORS_PER_BEAT - REGION_OUTPUTS
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, spare), (0, 0)))
    shape = (len(tiles), REGION_BLOCKS, REGION_BEATS)
    if slots is not None and slots.shape != shape:
        raise ValueError(f"slots: expected one per beat, {shape}, got {slots.shape}")
    bits = np.zeros((*shape, BEAT_BYTES * 8), dtype=np.uint8)
    vectors_end = VECTORS_PER_BEAT * VECTOR_BITS
    bits[..., :vectors_end] = _to_bits(tiles, INDEX_BITS).reshape(*shape, vectors_end)
    if slots is not None:
        bits[..., vectors_end : vectors_end + SLOT_BITS] = _to_bits(slots, SLOT_BITS)
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack_loader(beats: np.ndarray, n: int, *, k: int) -> np.ndarray:
    """Return the weights int8 [n, k] of beats uint8 [regions, 19, 308, 96]; the inverse of pack_loader.

    Raises ValueError when beats do not have the size of n x k weights.

    >>> weights = np.array([[1, -1, 0, -1]], dtype=np.int8)
    >>> unpack_loader(pack_loader(weights), 1, k=4).tolist()
    [[1, -1, 0, -1]]
    """
    out_regions, in_regions = loader_regions(n, k)
    if beats.size != loader_bytes(n, k):
        raise ValueError(f"beats: {n} x {k} weights take {out_regions * in_regions} regions, got shape {beats.shape}")
    bits = np.unpackbits(beats, axis=-1, bitorder="little", count=VECTORS_PER_BEAT * VECTOR_BITS)
    bits = bits.reshape(-1, REGION_BLOCKS, REGION_BEATS * VECTORS_PER_BEAT, NUM_TABLES, INDEX_BITS)
    # packbits fills the three missing bits of each index with zeros, which makes it a byte.
    indices = np.packbits(bits[:, :, :REGION_OUTPUTS], axis=-1, bitorder="little")[..., 0]
    indices = indices.reshape(out_regions, in_regions, REGION_BLOCKS, REGION_OUTPUTS, NUM_TABLES)
    indices = indices.transpose(0, 3, 1, 2, 4).reshape(out_regions * REGION_OUTPUTS, -1)
    return weights_of_indices(indices[:n, : -(-k // GROUP_SIZE)], k)


def loader_slots(beats: np.ndarray) -> np.ndarray:
    """Return the 16-bit slot of each beat, uint16 [regions, 19, 308], from beats uint8 [regions, 19, 308, 96].

    >>> slots = np.arange(19 * 308, dtype=np.uint16).reshape(1, 19, 308)
    >>> bool((loader_slots(pack_loader(np.ones((1, 1), dtype=np.int8), slots)) == slots).all())
    True
    """
    start = VECTORS_PER_BEAT * VECTOR_BITS
    bits = np.unpackbits(beats, axis=-1, bitorder="little", count=start + SLOT_BITS)[..., start:]
    return np.packbits(bits, axis=-1, bitorder="little").view(np.uint16)[..., 0]


def pack_loader_reference(weights: np.ndarray, slots: np.ndarray | None = None) -> np.ndarray:
    """Return pack_loader by writing every bit of every index and slot to its place in one long string of bits."""
    place = torch.arange
    out_regions, in_regions = loader_regions(*weights.shape)
    beats = out_regions * in_regions * REGION_BLOCKS * REGION_BEATS
    string = torch.zeros(beats * BEAT_BYTES * 8, dtype=torch.int64)
    index = torch.tensor(group_indices(weights)).long()
    output, group = place(index.shape[0])[:, None, None], place(index.shape[1])[None, :, None]
    region = output // REGION_OUTPUTS * in_regions + group // (REGION_BLOCKS * NUM_TABLES)
    block, vector = group // NUM_TABLES % REGION_BLOCKS, output % REGION_OUTPUTS
    beat = (region * REGION_BLOCKS + block) * REGION_BEATS + vector // VECTORS_PER_BEAT
    start = 768 * beat + 140 * (vector % VECTORS_PER_BEAT) + 5 * (group % NUM_TABLES)
    string[start + place(INDEX_BITS)] = index[..., None] >> place(INDEX_BITS) & 1
    if slots is not None:
        values = torch.tensor(slots.astype(np.int64)).reshape(-1, 1)
        string[768 * place(beats)[:, None] + 700 + place(SLOT_BITS)] = values >> place(SLOT_BITS) & 1
    packed = (string.reshape(-1, 8) * 2 ** place(8)).sum(dim=-1).to(torch.uint8)
    return packed.reshape(-1, REGION_BLOCKS, REGION_BEATS, BEAT_BYTES).numpy()
