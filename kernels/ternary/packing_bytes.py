"""Ternary weights in the byte layouts of software kernels: TL1, TL2, I2_S and bit planes.

Knows how -1, 0, 1 become bytes and back. Does not interleave rows for a SIMD width, as the shipped kernels do.
Matrices are `weights[outputs n, inputs k]`, int8. The last byte of a row is padded with weights 0.
"""

import numpy as np

from kernels.lazy_torch import torch
from kernels.ternary.packing import check_row_bytes, check_ternary, pad_inputs

I2S_BLOCK = 128
TL2_TAIL_INPUTS = 256


def _pack_nibbles(codes: np.ndarray) -> np.ndarray:
    """Return two 4-bit codes per byte along the last axis, the first in the low half; an odd last code is alone."""
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
    return codes[..., 0::2] | codes[..., 1::2] << 4


def _unpack_nibbles(packed: np.ndarray) -> np.ndarray:
    """Return the 4-bit codes of bytes along the last axis, the low half first."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def check_codes(codes: np.ndarray, kind: str, *, entries: int) -> None:
    """Raise ValueError unless all codes of this kind name entries of a table: 0 to entries - 1."""
    # Compiled code reads without bounds checks, so a wrong code has to be refused before.
    wrong = codes[(codes < 0) | (codes >= entries)]
    if len(wrong):
        raise ValueError(f"packed: the {kind} code {wrong[0]} stands for no weights; the codes are 0 to {entries - 1}")


def tl1_bytes(n: int, k: int) -> int:
    """Return the bytes of n rows of k weights in TL1: 4 bits per pair, each row rounded up to whole bytes.

    Formula: n * ceil(k / 4). Source: microsoft/BitNet, TL1; the rounding is derived.

    >>> tl1_bytes(1536, 1536), tl1_bytes(2, 1)
    (589824, 2)
    """
    return n * -(-k // 4)


def pack_tl1(weights: np.ndarray) -> np.ndarray:
    """Return the pairs (a, b) of each row as 4-bit codes 3a + b + 4, two per byte, the first in the low half.

    weights int8 [n, k]; returns uint8 [n, ceil(k / 4)]. Raises as check_ternary. Source: microsoft/BitNet, TL1.

    The pairs (1, -1) and (0, 1) have codes 6 and 5, so the byte 5 * 16 + 6:

    >>> pack_tl1(np.array([[1, -1, 0, 1]], dtype=np.int8)).tolist()
    [[86]]
    """
    check_ternary(weights)
    padded = pad_inputs(weights, 4)
    return _pack_nibbles((3 * padded[:, 0::2] + padded[:, 1::2] + 4).astype(np.uint8))


def split_tl1(packed: np.ndarray, k: int) -> np.ndarray:
    """Return the codes uint8 [n, 2 * ceil(k / 4)] in TL1 bytes.

    Raises ValueError when a row does not have the bytes of k inputs, or a code stands for no pair of weights.

    >>> split_tl1(np.array([[86]], dtype=np.uint8), 3).tolist()
    [[6, 5]]
    """
    check_row_bytes(packed, tl1_bytes(1, k), k=k)
    codes = _unpack_nibbles(packed)
    check_codes(codes, "pair", entries=9)
    return codes


def unpack_tl1(packed: np.ndarray, k: int) -> np.ndarray:
    """Return the weights int8 [n, k] of packed uint8 [n, ceil(k / 4)]; the inverse of pack_tl1. Raises as split_tl1.

    >>> unpack_tl1(np.array([[86]], dtype=np.uint8), 3).tolist()
    [[1, -1, 0]]
    """
    codes = split_tl1(packed, k).astype(np.int8)
    return np.stack([codes // 3 - 1, codes % 3 - 1], axis=-1).reshape(len(packed), -1)[:, :k]


def pack_tl1_reference(weights: np.ndarray) -> np.ndarray:
    """Return pack_tl1 as one product of four weights per byte and their place values."""
    # The low code is 3a + b + 4, the high one 16 times that of its pair; the two fours make 4 + 64 = 68.
    padded = torch.nn.functional.pad(torch.tensor(weights).int(), (0, -weights.shape[1] % 4))
    return (padded.reshape(len(weights), -1, 4) @ torch.tensor([3, 1, 48, 16]).int() + 68).to(torch.uint8).numpy()


def tl2_groups(k: int) -> tuple[int, int]:
    """Return how many triples and how many pairs hold a row of k weights in TL2; the triples come first.

    The triples cover k - 256 inputs, rounded up to a multiple of 3 that leaves an even number for the pairs. A row of
    one input is a pair with a weight 0. Source: microsoft/BitNet, TL2; the rounding is derived.

    >>> tl2_groups(4096), tl2_groups(1536), tl2_groups(5), tl2_groups(1)
    ((1280, 128), (428, 126), (1, 1), (0, 1))
    """
    triples = -(-max(k - TL2_TAIL_INPUTS, 0) // 3)
    # One triple more takes three inputs from an odd rest, where the row has three.
    if (k - 3 * triples) % 2 and k >= 3:
        triples += 1
    return triples, -(-(k - 3 * triples) // 2)


def _tl2_parts(n: int, k: int) -> tuple[int, int, int]:
    """Return the bytes of the magnitudes, the signs and the pairs of an n x k matrix in TL2."""
    triples, pairs = tl2_groups(k)
    return -(-n * triples // 2), -(-n * triples // 8), -(-n * pairs // 2)


def tl2_bytes(n: int, k: int) -> int:
    """Return the bytes that TL2 allocates for n rows of k weights, 5 bits per triple and 4 bits per pair.

    Formula: n * (k - 256) / 3 * 5 / 8 + 256 * n / 2 * 4 / 8 rounded up, but at least the bytes of the packed parts;
    below 256 inputs, those bytes. Source: microsoft/BitNet, TL2; rounding and floor derived.

    >>> tl2_bytes(1536, 1536), tl2_bytes(1536, 4096), tl2_bytes(2, 5)
    (507904, 1327104, 3)
    """
    # The two terms on the common denominator 24, so that the only rounding is the last one.
    allocated = -(-n * (5 * (k - TL2_TAIL_INPUTS) + 6 * TL2_TAIL_INPUTS) // 24)
    return max(sum(_tl2_parts(n, k)), allocated if k >= TL2_TAIL_INPUTS else 0)


def pack_tl2(weights: np.ndarray) -> np.ndarray:
    """Return the bytes of TL2: magnitudes of all triples, their signs, the pairs, and zeros up to tl2_bytes.

    weights int8 [n, k]; returns uint8 [tl2_bytes(n, k)]. Each part runs over the rows without gaps and starts on a
    byte: |9a + 3b + c| in 4 bits, low half first; its sign (1 is negative) in 1 bit, lowest first; the pairs as in TL1.
    Raises as check_ternary. Source: microsoft/BitNet, TL2.

    Triples (1, -1, 0) and (0, -1, 1) are 6 and -2, pairs (1, 1) and (-1, 0) have codes 8 and 1:

    >>> rows = np.array([[1, -1, 0, 1, 1], [0, -1, 1, -1, 0]], dtype=np.int8)
    >>> pack_tl2(rows).tolist() == [2 * 16 + 6, 0b10, 1 * 16 + 8]
    True
    """
    check_ternary(weights)
    n, k = weights.shape
    inputs = 3 * tl2_groups(k)[0]
    # At most 9 + 3 + 1 in magnitude, so int8 does not overflow.
    values = weights[:, :inputs].reshape(-1, 3) @ np.array([9, 3, 1], dtype=np.int8)
    rest = pad_inputs(weights[:, inputs:], 2).reshape(-1, 2)
    packed = np.zeros(tl2_bytes(n, k), dtype=np.uint8)
    # Views into packed: what is written into them is in packed.
    magnitudes, signs, codes = np.split(packed[: sum(_tl2_parts(n, k))], np.cumsum(_tl2_parts(n, k))[:2])
    magnitudes[:] = _pack_nibbles(np.abs(values).astype(np.uint8))
    signs[:] = np.packbits(values < 0, bitorder="little")
    codes[:] = _pack_nibbles((3 * rest[:, 0] + rest[:, 1] + 4).astype(np.uint8))
    return packed


def split_tl2(packed: np.ndarray, n: int, *, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the codes in TL2 bytes: magnitudes and signs uint8 [n, triples], pairs uint8 [n, pairs].

    Raises ValueError when packed does not have tl2_bytes(n, k) bytes, or a code stands for no weights.

    >>> [part.tolist() for part in split_tl2(np.array([38, 2, 24], dtype=np.uint8), 2, k=5)]
    [[[6], [2]], [[0], [1]], [[8], [1]]]
    """
    if packed.shape != (tl2_bytes(n, k),):
        raise ValueError(f"packed: {n} x {k} weights take {tl2_bytes(n, k)} bytes, got shape {packed.shape}")
    triples, pairs = tl2_groups(k)
    parts = _tl2_parts(n, k)
    magnitudes, signs, codes = np.split(packed[: sum(parts)], np.cumsum(parts)[:2])
    threes = _unpack_nibbles(magnitudes)[: n * triples].reshape(n, triples)
    twos = _unpack_nibbles(codes)[: n * pairs].reshape(n, pairs)
    check_codes(threes, "triple", entries=14)
    check_codes(twos, "pair", entries=9)
    return threes, np.unpackbits(signs, bitorder="little", count=n * triples).reshape(n, triples), twos


def unpack_tl2(packed: np.ndarray, n: int, *, k: int) -> np.ndarray:
    """Return the weights int8 [n, k] of packed uint8 [tl2_bytes(n, k)]; the inverse of pack_tl2. Raises as split_tl2.

    >>> unpack_tl2(np.array([38, 2, 24], dtype=np.uint8), 2, k=5).tolist()
    [[1, -1, 0, 1, 1], [0, -1, 1, -1, 0]]
    """
    magnitudes, signs, codes = (part.astype(np.int8) for part in split_tl2(packed, n, k=k))
    values = np.where(signs == 1, -magnitudes, magnitudes) + 13
    three = np.stack([values // 9, values // 3 % 3, values % 3], axis=-1).reshape(n, -1)
    two = np.stack([codes // 3, codes % 3], axis=-1).reshape(n, -1)
    return (np.concatenate([three, two], axis=1)[:, :k] - 1).astype(np.int8)


def pack_tl2_reference(weights: np.ndarray) -> np.ndarray:
    """Return pack_tl2 with each part written as bits and eight bits summed to a byte."""

    def stream(codes: torch.Tensor, width: int) -> torch.Tensor:
        bits = (codes.reshape(-1, 1) >> torch.arange(width) & 1).flatten()
        return (torch.nn.functional.pad(bits, (0, -len(bits) % 8)).reshape(-1, 8) * 2 ** torch.arange(8)).sum(dim=1)

    n, k = weights.shape
    inputs = 3 * tl2_groups(k)[0]
    rows = torch.nn.functional.pad(torch.tensor(weights).long(), (0, (k - inputs) % 2))
    values = (rows[:, :inputs].reshape(-1, 3) * torch.tensor([9, 3, 1])).sum(dim=1)
    pairs = (rows[:, inputs:].reshape(-1, 2) * torch.tensor([3, 1])).sum(dim=1) + 4
    packed = torch.cat([stream(values.abs(), 4), stream(values.signbit().long(), 1), stream(pairs, 4)])
    return torch.nn.functional.pad(packed, (0, tl2_bytes(n, k) - len(packed))).to(torch.uint8).numpy()


def i2s_bytes(n: int, k: int) -> int:
    """Return the bytes of n rows of k weights in I2_S: 32 bytes per block of 128 values of a row.

    Formula: n * 32 * ceil(k / 128). Source: microsoft/BitNet, I2_S.

    >>> i2s_bytes(2, 128), i2s_bytes(1, 129)
    (64, 64)
    """
    return n * I2S_BLOCK // 4 * -(-k // I2S_BLOCK)


def pack_i2s(weights: np.ndarray) -> np.ndarray:
    """Return weights as value + 1 in 2 bits, four values per byte, in blocks of 128 values of a row.

    weights int8 [n, k]; returns uint8 [n, 32 * ceil(k / 128)]. Byte i of a block holds its values i, 32 + i, 64 + i and
    96 + i, the first in the highest bits. Raises as check_ternary. Source: microsoft/BitNet, I2_S.

    Value 0 of the block is 1 (code 2), the others 0 (code 1): bits 10 01 01 01, then 01 01 01 01:

    >>> pack_i2s(np.array([[1, 0]], dtype=np.int8))[0, :2].tolist()
    [149, 85]
    """
    check_ternary(weights)
    codes = (pad_inputs(weights, I2S_BLOCK) + 1).astype(np.uint8).reshape(len(weights), -1, 4, I2S_BLOCK // 4)
    packed = codes[:, :, 0] << 6 | codes[:, :, 1] << 4 | codes[:, :, 2] << 2 | codes[:, :, 3]
    return packed.reshape(len(weights), -1)


def unpack_i2s(packed: np.ndarray, k: int) -> np.ndarray:
    """Return the weights int8 [n, k] of packed uint8 [n, 32 * ceil(k / 128)]; the inverse of pack_i2s.

    Raises ValueError when a row does not have the bytes of k inputs, or a code stands for no weight.

    >>> unpack_i2s(np.array([[149] + [85] * 31], dtype=np.uint8), 2).tolist()
    [[1, 0]]
    """
    check_row_bytes(packed, i2s_bytes(1, k), k=k)
    blocks = packed.reshape(len(packed), -1, 1, I2S_BLOCK // 4)
    codes = blocks >> np.array([6, 4, 2, 0], dtype=np.uint8)[:, None] & 3
    check_codes(codes, "weight", entries=3)
    return (codes.reshape(len(packed), -1)[:, :k].astype(np.int8) - 1).astype(np.int8)


def pack_i2s_reference(weights: np.ndarray) -> np.ndarray:
    """Return pack_i2s as a product of the four quarters of a block and 64, 16, 4 and 1."""
    padded = torch.nn.functional.pad(torch.tensor(weights).int(), (0, -weights.shape[1] % I2S_BLOCK)) + 1
    quarters = padded.reshape(len(weights), -1, 4, I2S_BLOCK // 4)
    return torch.einsum("nbqi,q->nbi", quarters, torch.tensor([64, 16, 4, 1]).int()).flatten(1).to(torch.uint8).numpy()


def planes_bytes(n: int, k: int) -> int:
    """Return the bytes of n rows of k ternary weights as two bit planes, each row rounded up to whole bytes.

    Formula: 2 * n * ceil(k / 8). Source: microsoft/T-MAC (4-bit index per plane and 4 inputs); the rounding is derived.

    >>> planes_bytes(1, 8), planes_bytes(2, 9)
    (2, 8)
    """
    return 2 * n * -(-k // 8)


def pack_planes(weights: np.ndarray) -> np.ndarray:
    """Return the two bit planes of value + 1; four neighbouring bits of a plane form one table index.

    weights int8 [n, k]; returns uint8 [2 planes, n, ceil(k / 8)], input i of a row in bit i % 8 of byte i // 8.
    Raises as check_ternary. Source: microsoft/T-MAC.

    Values 1, 0, -1 are the codes 2, 1, 0, and the five missing zeros are code 1:

    >>> [plane.tolist() for plane in pack_planes(np.array([[1, 0, -1]], dtype=np.int8))]
    [[[250]], [[1]]]
    """
    check_ternary(weights)
    codes = pad_inputs(weights, 8) + 1
    return np.stack([np.packbits(codes >> plane & 1, axis=1, bitorder="little") for plane in range(2)])


def check_planes(packed: np.ndarray, k: int) -> None:
    """Raise ValueError unless packed is [2, n, bytes of a row of k inputs] and no code has both bits set."""
    check_row_bytes(packed, planes_bytes(1, k) // 2, k=k)
    if packed.ndim != 3 or len(packed) != 2:
        raise ValueError(f"packed: expected two bit planes [2, outputs, bytes], got shape {packed.shape}")
    if (packed[0] & packed[1]).any():
        raise ValueError("packed: the weight code 3 stands for no weights; the codes are 0 to 2")


def unpack_planes(packed: np.ndarray, k: int) -> np.ndarray:
    """Return the weights int8 [n, k] of packed uint8 [2, n, ceil(k / 8)]; the inverse of pack_planes.

    Raises as check_planes.

    >>> unpack_planes(np.array([[[250]], [[1]]], dtype=np.uint8), 3).tolist()
    [[1, 0, -1]]
    """
    check_planes(packed, k)
    bits = np.unpackbits(packed, axis=2, bitorder="little", count=k).astype(np.int8)
    return bits[0] + 2 * bits[1] - 1


def pack_planes_reference(weights: np.ndarray) -> np.ndarray:
    """Return pack_planes from comparisons: the low plane is where the weight is 0, the high one where it is 1."""
    padded = torch.nn.functional.pad(torch.tensor(weights), (0, -weights.shape[1] % 8)).reshape(len(weights), -1, 8)
    planes = torch.stack([padded == 0, padded == 1])
    return (planes * 2 ** torch.arange(8)).sum(dim=-1).to(torch.uint8).numpy()
