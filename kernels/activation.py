"""ReLU, square, product, SiLU, SiLU times a second operand or from a table of 64 entries, and GELU in its tanh form.

Knows the values and the error of the table. Does not know how many elements hardware computes at once.
"""

import math

import numpy as np

from kernels.lazy_torch import torch

GELU_SLOPE = math.sqrt(2 / math.pi)
GELU_CUBE = 0.044715 * GELU_SLOPE

TABLE_ENTRIES = 64
TABLE_LIMIT = 8.0
_STEPS_PER_ONE = TABLE_ENTRIES / (2 * TABLE_LIMIT)
# The table is steepest, 1.0998, at 2.40; the largest distance to an entry is 1/8. Found by evaluating a fine grid.
SILU_TABLE_MAX_ERROR = 0.1375


def relu(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0), float32, any shape; NaN for NaN. Per element: a comparison, 1 flop. Source: arXiv 1803.08375.

    >>> relu(np.array([-2.0, 0.0, 3.0, np.nan])).tolist()
    [0.0, 0.0, 3.0, nan]
    """
    return np.maximum(x.astype(np.float32), np.float32(0))


def relu_reference(x: np.ndarray) -> np.ndarray:
    """Return relu by torch, in FP64."""
    return torch.relu(torch.tensor(x).double()).float().numpy()


def square(x: np.ndarray) -> np.ndarray:
    """Return x * x, float32, any shape. Per element: a product, 1 flop.

    >>> square(np.array([-3.0, 0.5])).tolist()
    [9.0, 0.25]
    """
    return np.square(x.astype(np.float32))


def square_reference(x: np.ndarray) -> np.ndarray:
    """Return square by torch, in FP64."""
    return torch.square(torch.tensor(x).double()).float().numpy()


def mul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a * b element by element, float32, both of one shape. Per element: a product, 1 flop.

    >>> mul(np.array([2.0, 3.0]), np.array([0.5, -1.0])).tolist()
    [1.0, -3.0]
    """
    return a.astype(np.float32) * b.astype(np.float32)


def mul_reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return mul by torch, in FP64."""
    return torch.mul(torch.tensor(a).double(), torch.tensor(b).double()).float().numpy()


def silu(x: np.ndarray) -> np.ndarray:
    """Return x / (1 + exp(-x)), float32, any shape. Source: arXiv 1702.03118.

    >>> silu(np.array([0.0, 200.0, -200.0])).tolist()
    [0.0, 200.0, -0.0]
    """
    x = x.astype(np.float32)
    # The exponent is never positive, so a large |x| underflows to 0 instead of overflowing.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, x, x * small) / (1 + small)


def silu_reference(x: np.ndarray) -> np.ndarray:
    """Return silu by torch, in FP64."""
    return torch.nn.functional.silu(torch.tensor(x).double()).float().numpy()


def silu_mul(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return silu(gate) * up, float32, both of one shape. Source: arXiv 2002.05202 (SwiGLU).

    >>> silu_mul(np.array([0.0, 100.0]), np.array([5.0, 0.5])).tolist()
    [0.0, 50.0]
    """
    return silu(gate) * up.astype(np.float32)


def silu_mul_reference(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return silu_mul by torch, in FP64."""
    return (torch.nn.functional.silu(torch.tensor(gate).double()) * torch.tensor(up).double()).float().numpy()


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), float32, any shape: the tanh form of GELU.

    Per element: square, cube's factor, add, times x, tanh, half, times tanh, add. Source: arXiv 1606.08415; this form
    as SigLIP's `gelu_pytorch_tanh`.

    >>> gelu(np.array([0.0, 200.0, -200.0])).tolist()
    [0.0, 200.0, 0.0]
    """
    x = x.astype(np.float32)
    # x is factored out of the cubic, which leaves the operations listed above; a test counts them.
    half = x * np.float32(0.5)
    return half + half * np.tanh(x * (np.float32(GELU_SLOPE) + np.float32(GELU_CUBE) * np.square(x)))


def gelu_reference(x: np.ndarray) -> np.ndarray:
    """Return gelu by torch, in FP64."""
    return torch.nn.functional.gelu(torch.tensor(x).double(), approximate="tanh").float().numpy()


def silu_table_entries() -> np.ndarray:
    """Return the 64 entries of the table, float32: SiLU at the middle of each step of 1/4 in [-8, 8].

    Formula: silu(-8 + (i + 1/2) / 4), i = 0 to 63. Source: arXiv 2510.15926's published source for size and range;
    the point within a step is derived: at the middle, the entry that x reads is the nearest one.

    >>> len(silu_table_entries()), round(float(silu_table_entries()[63]), 4)
    (64, 7.872)
    """
    return silu(-TABLE_LIMIT + (np.arange(TABLE_ENTRIES) + 0.5) / _STEPS_PER_ONE)


def silu_table(x: np.ndarray) -> np.ndarray:
    """Return SiLU from the nearest of 64 entries, 0 below -8 and x above 8, float32, any shape.

    At most SILU_TABLE_MAX_ERROR = 0.1375 from silu(x); the largest error is next to x = 2.5.
    Formula: entry floor(4x) + 32, at most 63. Source: arXiv 2510.15926's published source; see silu_table_entries.

    All of [0, 1/4) reads silu(1/8) = 0.0664:

    >>> silu_table(np.array([0.0, 0.2, -9.0, 9.0])).round(4).tolist()
    [0.06639999896287918, 0.06639999896287918, 0.0, 9.0]
    """
    x = x.astype(np.float32)
    # x = 8 itself would read one entry past the end. Larger |x| are replaced below.
    index = np.clip(np.floor(x * np.float32(_STEPS_PER_ONE)), -TABLE_ENTRIES // 2, TABLE_ENTRIES // 2 - 1)
    inside = silu_table_entries()[index.astype(np.int64) + TABLE_ENTRIES // 2]
    return np.where(x < -TABLE_LIMIT, np.float32(0), np.where(x > TABLE_LIMIT, x, inside))


def silu_table_reference(x: np.ndarray) -> np.ndarray:
    """Return silu_table by a search for each x among the bounds between entries."""
    # right=True puts an x on a bound into the upper entry, as floor does.
    bounds = torch.arange(-31, 32) / 4
    middles = torch.cat([bounds - 0.125, bounds[-1:] + 0.125]).double()
    values = torch.tensor(x).float()
    inside = torch.nn.functional.silu(middles).float()[torch.bucketize(values, bounds, right=True)]
    return torch.where(values < -8, torch.zeros(()), torch.where(values > 8, values, inside)).numpy()
