"""Mean pooling of consecutive rows: many rows into fewer.

Knows which rows each mean is taken over. Does not know images: rows are neighbours by their order alone.
"""

import numpy as np

from kernels.lazy_torch import torch


def mean_pool(x: np.ndarray, *, tokens: int) -> np.ndarray:
    """Return the means of `tokens` runs of consecutive rows, float32 [tokens, d]; every row is in exactly one run.

    x float [rows, d], 1 <= tokens <= rows; FP32 sums. Per element: an add to the sum of its run.
    Formula: row i is the mean of rows i * rows // tokens to (i + 1) * rows // tokens. derived: runs that differ by one
    row at most and do not overlap.

    Three rows in two runs are the first, and the other two:

    >>> mean_pool(np.array([[1.0], [2.0], [4.0]]), tokens=2).tolist()
    [[1.0], [3.0]]
    """
    if not 1 <= tokens <= len(x):
        raise ValueError(f"tokens: from 1 to the {len(x)} rows, got {tokens}")
    bounds = np.arange(tokens + 1) * len(x) // tokens
    # tokens <= rows leaves no run empty; reduceat would give the next row for one instead of 0.
    sums = np.add.reduceat(x.astype(np.float32), bounds[:-1], axis=0)
    return sums / np.diff(bounds).astype(np.float32)[:, None]


def mean_pool_reference(x: np.ndarray, *, tokens: int) -> np.ndarray:
    """Return mean_pool by torch, in FP64: each row is added to run ceil((row + 1) * tokens / rows) - 1."""
    wide = torch.tensor(x).double()
    place = torch.div(torch.arange(1, len(x) + 1) * tokens + len(x) - 1, len(x), rounding_mode="floor") - 1
    member = torch.nn.functional.one_hot(place, tokens).double()
    return (member.T @ wide / member.sum(dim=0)[:, None]).float().numpy()
