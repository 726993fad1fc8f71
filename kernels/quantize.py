"""Activations to INT8 by the largest magnitude of a row, weights to ternary by the mean magnitude, and back.

Knows the rounding. Does not know which layers are quantized.
"""

import numpy as np

from kernels.lazy_torch import torch

# Rows and matrices of zeros get this scale, so that nothing divides by 0.
SMALLEST_MAGNITUDE = 1e-5


def quantize_absmax(x: np.ndarray, absmax: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return each row of x as INT8, and the scale by which it is dequantized.

    x float [rows, d]; absmax float [rows], the largest magnitudes where already known; returns int8 [rows, d] and
    float32 [rows].
    Formula: top = max(max|x|, 1e-5); scale = top / 127; q = clamp(round(x * (127 / top)), -127, 127).
    Halves round to even. Source: BitNet b1.58, arXiv 2402.17764, activation quantization; arXiv 2510.15926.

    127 / 2 = 63.5 rounds to 64 and 127 / 4 = 31.75 to 32:

    >>> q, scale = quantize_absmax(np.array([[1.0, -2.0, 0.5]]))
    >>> q.tolist(), float(scale[0] * 127)
    ([[64, -127, 32]], 2.0)
    """
    x = x.astype(np.float32)
    top = np.abs(x).max(axis=1) if absmax is None else absmax.astype(np.float32)
    top = np.maximum(top, np.float32(SMALLEST_MAGNITUDE))
    # Scaled as in the published formula: x / (top / 127) can round differently.
    q = np.rint(x * (np.float32(127) / top)[:, None])
    # Clipped because a given absmax may be smaller than the row's own.
    return np.clip(q, -127, 127).astype(np.int8), top / np.float32(127)


def quantize_absmax_reference(x: np.ndarray, absmax: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return quantize_absmax with torch operations."""
    rows = torch.tensor(x).float()
    top = rows.abs().amax(dim=1) if absmax is None else torch.tensor(absmax).float()
    top = top.clamp(min=SMALLEST_MAGNITUDE)
    q = (rows * (127 / top).unsqueeze(1)).round().clamp(-127, 127)
    return q.to(torch.int8).numpy(), (top / 127).numpy()


def quantize_absmean(weights: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Return a weight matrix as -1, 0, 1, and the scale by which it is dequantized.

    weights float [n, k]; returns int8 [n, k] and a float32. The mean is summed in FP64 and kept in FP32.
    Formula: scale = max(mean|w|, 1e-5); q = clamp(round(w / scale), -1, 1).
    Halves round to even. Source: BitNet b1.58, arXiv 2402.17764, section 2.

    The mean magnitude is 1, and 0.5 rounds to 0:

    >>> q, scale = quantize_absmean(np.array([[0.5, -2.5], [0.75, 0.25]]))
    >>> q.tolist(), float(scale)
    ([[0, -1], [1, 0]], 1.0)
    """
    # Summed in FP64, so that the order of the additions hardly ever changes the FP32 scale.
    scale = np.float32(max(np.abs(weights).mean(dtype=np.float64), SMALLEST_MAGNITUDE))
    return np.clip(np.rint(weights.astype(np.float32) / scale), -1, 1).astype(np.int8), scale


def quantize_absmean_reference(weights: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Return quantize_absmean with torch operations."""
    matrix = torch.tensor(weights)
    scale = matrix.double().abs().mean().clamp(min=SMALLEST_MAGNITUDE).float()
    return (matrix.float() / scale).round().clamp(-1, 1).to(torch.int8).numpy(), np.float32(scale.item())


def dequantize(accumulators: np.ndarray, x_scale: np.ndarray, *, w_scale: float) -> np.ndarray:
    """Return an integer matrix product as the float product, float32 [m, n].

    accumulators int32 [m, n], the integer product; x_scale float32 [m], one per row; w_scale one for the matrix.
    Formula: accumulators[i, j] * (x_scale[i] * w_scale), in FP32. Source: BitNet b1.58, arXiv 2402.17764.

    >>> dequantize(np.array([[3, -4]], dtype=np.int32), np.array([0.5], dtype=np.float32), w_scale=2.0).tolist()
    [[3.0, -4.0]]
    """
    return accumulators.astype(np.float32) * (x_scale.astype(np.float32) * np.float32(w_scale))[:, None]


def dequantize_reference(accumulators: np.ndarray, x_scale: np.ndarray, *, w_scale: float) -> np.ndarray:
    """Return dequantize in FP64, rounded once."""
    scale = torch.tensor(x_scale).double() * w_scale
    return (torch.tensor(accumulators).double() * scale.unsqueeze(1)).float().numpy()
