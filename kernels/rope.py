"""Rotary position embedding in halves: element i of a head rotates with element i + head_dim / 2.

Knows the plain frequencies. Does not know scaled variants for longer contexts.
"""

import numpy as np

from kernels.lazy_torch import torch


def rope(x: np.ndarray, positions: np.ndarray, *, base: float = 1e4) -> np.ndarray:
    """Return x with each pair of elements of each head rotated by an angle proportional to the position.

    x float [rows, heads, head_dim], positions int [rows]; returns float32 of x's shape. Angles are FP64, the rest FP32.
    Formula: angle(i) = position * base**(-2i / head_dim); x[i], x[i + head_dim/2] rotate by angle(i), i < head_dim / 2.
    Raises ValueError when head_dim is odd. Source: arXiv 2104.09864; the halves as in Llama (rotate_half).

    Position 0 does not rotate; with two elements, position p rotates by p radians:

    >>> rope(np.array([[[1.0, 0.0]], [[1.0, 0.0]]]), np.array([0, 1])).round(3).tolist()
    [[[1.0, 0.0]], [[0.5400000214576721, 0.8410000205039978]]]
    """
    if x.shape[2] % 2:
        raise ValueError(f"x: head_dim must be even to be turned in pairs, got {x.shape[2]}")
    half = x.shape[2] // 2
    # Angles reach the position itself, in radians: in FP32 a long context would leave few digits of the fraction.
    angles = positions[:, None, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    low, high = x[..., :half].astype(np.float32), x[..., half:].astype(np.float32)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def rope_reference(x: np.ndarray, positions: np.ndarray, *, base: float = 1e4) -> np.ndarray:
    """Return rope as a product of complex numbers in FP64."""
    half = x.shape[2] // 2
    angles = torch.outer(torch.tensor(positions).double(), base ** -(torch.arange(half).double() / half))
    wide = torch.tensor(x).double()
    turned = torch.complex(wide[..., :half], wide[..., half:]) * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.cat([turned.real, turned.imag], dim=-1).float().numpy()
