"""RMSNorm of rows, alone or with the largest magnitude of each result row, and LayerNorm.

Knows the formulas in FP32. None of them has a bias.
"""

import numpy as np

from kernels.lazy_torch import torch


def rmsnorm(x: np.ndarray, weight: np.ndarray, *, eps: float = 1e-5) -> np.ndarray:
    """Return x with each row divided by its root mean square and multiplied by weight, float32 [rows, d].

    x float [rows, d], weight float [d]; FP32 throughout, the sum of squares too.
    Formula: x / sqrt(mean(x**2) + eps) * weight. Source: arXiv 1910.07467; eps as in arXiv 2510.15926.

    The mean of 9, 16, 9, 16 is 12.5; eps = 12.5 makes it 25:

    >>> rmsnorm(np.array([[3.0, 4.0, -3.0, 4.0]]), np.ones(4) * 5, eps=12.5).tolist()
    [[3.0, 4.0, -3.0, 4.0]]
    """
    x = x.astype(np.float32)
    mean = np.square(x).mean(axis=1, keepdims=True, dtype=np.float32)
    return x / np.sqrt(mean + np.float32(eps)) * weight.astype(np.float32)


def rmsnorm_reference(x: np.ndarray, weight: np.ndarray, *, eps: float = 1e-5) -> np.ndarray:
    """Return rmsnorm by torch, in FP64."""
    wide = torch.tensor(x).double()
    return torch.nn.functional.rms_norm(wide, (x.shape[1],), torch.tensor(weight).double(), eps).float().numpy()


def rmsnorm_absmax(x: np.ndarray, weight: np.ndarray, *, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Return rmsnorm(x, weight) and the largest magnitude of each of its rows, float32 [rows, d] and [rows].

    Source: arXiv 2510.15926: the norm keeps a running maximum, so the quantizer need not read the row twice.

    >>> rmsnorm_absmax(np.array([[3.0, 4.0, -3.0, 4.0]]), np.ones(4) * 5, eps=12.5)[1].tolist()
    [4.0]
    """
    normed = rmsnorm(x, weight, eps=eps)
    return normed, np.abs(normed).max(axis=1)


def rmsnorm_absmax_reference(x: np.ndarray, weight: np.ndarray, *, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Return rmsnorm_absmax by torch, in FP64."""
    normed = rmsnorm_reference(x, weight, eps=eps)
    return normed, torch.linalg.vector_norm(torch.tensor(normed), ord=float("inf"), dim=1).numpy()


def layer_norm(x: np.ndarray, weight: np.ndarray, *, eps: float = 1e-6) -> np.ndarray:
    """Return x with each row centred, divided by its standard deviation and multiplied by weight, float32 [rows, d].

    x float [rows, d], weight float [d]; FP32 throughout, the sums too. Per element: an add to the mean, centre, square,
    an add to the variance, scale, weight.
    Formula: (x - mean) / sqrt(mean((x - mean)**2) + eps) * weight. Source: arXiv 1607.06450, without its bias; eps as
    in google/siglip-large-patch16-384.

    The mean of 1, 7 is 4 and the variance 9; eps = 7 makes it 16:

    >>> layer_norm(np.array([[1.0, 7.0]]), np.array([4.0, 8.0]), eps=7).tolist()
    [[-3.0, 6.0]]
    """
    x = x.astype(np.float32)
    # Centred before squaring: mean(x**2) - mean(x)**2 would cancel for a row far from 0.
    centred = x - x.mean(axis=1, keepdims=True, dtype=np.float32)
    variance = np.square(centred).mean(axis=1, keepdims=True, dtype=np.float32)
    return centred / np.sqrt(variance + np.float32(eps)) * weight.astype(np.float32)


def layer_norm_reference(x: np.ndarray, weight: np.ndarray, *, eps: float = 1e-6) -> np.ndarray:
    """Return layer_norm by torch, in FP64."""
    wide = torch.tensor(x).double()
    return torch.nn.functional.layer_norm(wide, (x.shape[1],), torch.tensor(weight).double(), None, eps).float().numpy()
