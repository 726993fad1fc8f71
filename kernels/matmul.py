"""Products of float matrices, alone or one per entry of a batch.

Knows the values in FP32. Does not know tiles: the order of the sums is that of NumPy's BLAS.
"""

import numpy as np

from kernels.lazy_torch import torch


def batched_matmul(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return x[i] @ w[i].T for each i, float32 [batch, m, n].

    x float [batch, m, k], w float [batch, n, k]; or x [m, k] and w [n, k], which give [m, n]. FP32 products and sums:
    batch * m * k * n multiply-adds. Raises ValueError for shapes that do not fit; a batch of 1 is not repeated.

    One batch of one row, times two rows of w: 1 * 3 + 2 * 4 and 1 * 5 + 2 * 6.

    >>> batched_matmul(np.array([[[1.0, 2.0]]]), np.array([[[3.0, 4.0], [5.0, 6.0]]])).tolist()
    [[[11.0, 17.0]]]
    """
    fits = x.ndim == w.ndim and x.shape[:-2] == w.shape[:-2] and x.shape[-1:] == w.shape[-1:]
    if x.ndim not in (2, 3) or not fits:
        raise ValueError(
            f"x has shape {x.shape}, w {w.shape}; expected [batch, m, k] and [batch, n, k], or [m, k] and [n, k]"
        )
    return np.matmul(x.astype(np.float32), w.astype(np.float32).swapaxes(-1, -2))


def batched_matmul_reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return batched_matmul by torch.einsum, in FP64."""
    return torch.einsum("...mk,...nk->...mn", torch.tensor(x).double(), torch.tensor(w).double()).float().numpy()
