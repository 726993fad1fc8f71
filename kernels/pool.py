"""Mean and maximum pooling of consecutive rows: many rows into fewer.

Knows which rows each run holds. Does not know images: rows are neighbours by their order alone.
"""

import numpy as np

from kernels.lazy_torch import torch


def _run_bounds(rows: int, tokens: int) -> np.ndarray:
    """Return the first row of each run and, last, the number of rows."""
    if not 1 <= tokens <= rows:
        raise ValueError(f"tokens: from 1 to the {rows} rows, got {tokens}")
    return np.arange(tokens + 1) * rows // tokens


def _run_of_row(rows: int, tokens: int) -> "torch.Tensor":
    """Return the run of each row for the references, apart from _run_bounds: ceil((row + 1) * tokens / rows) - 1."""
    return torch.div(torch.arange(1, rows + 1) * tokens + rows - 1, rows, rounding_mode="floor") - 1


def mean_pool(x: np.ndarray, *, tokens: int) -> np.ndarray:
    """Return the means of `tokens` runs of consecutive rows, float32 [tokens, d]; every row is in exactly one run.

    x float [rows, d], 1 <= tokens <= rows; FP32 sums. Per element: an add to the sum of its run.
    Formula: row i is the mean of rows i * rows // tokens to (i + 1) * rows // tokens. derived: runs that differ by one
    row at most and do not overlap.

    Three rows in two runs are the first, and the other two:

    >>> mean_pool(np.array([[1.0], [2.0], [4.0]]), tokens=2).tolist()
    [[1.0], [3.0]]
    """
    bounds = _run_bounds(len(x), tokens)
    # tokens <= rows leaves no run empty; reduceat would give the next row for one instead of 0.
    sums = np.add.reduceat(x.astype(np.float32), bounds[:-1], axis=0)
    return sums / np.diff(bounds).astype(np.float32)[:, None]


def mean_pool_reference(x: np.ndarray, *, tokens: int) -> np.ndarray:
    """Return mean_pool by torch, in FP64: each row is added to its run."""
    wide = torch.tensor(x).double()
    member = torch.nn.functional.one_hot(_run_of_row(len(x), tokens), tokens).double()
    return (member.T @ wide / member.sum(dim=0)[:, None]).float().numpy()


def max_pool(x: np.ndarray, *, tokens: int) -> np.ndarray:
    """Return the elementwise maxima of `tokens` runs of consecutive rows, float32 [tokens, d].

    x float [rows, d], 1 <= tokens <= rows; the runs are those of mean_pool. A NaN in a run gives NaN in its column.
    Per element: a comparison with the maximum of its run, 1 flop.

    Three rows in two runs are the first, and the other two:

    >>> max_pool(np.array([[1.0, 9.0], [2.0, 8.0], [4.0, 7.0]]), tokens=2).tolist()
    [[1.0, 9.0], [4.0, 8.0]]
    """
    return np.maximum.reduceat(x.astype(np.float32), _run_bounds(len(x), tokens)[:-1], axis=0)


def max_pool_reference(x: np.ndarray, *, tokens: int) -> np.ndarray:
    """Return max_pool by torch, in FP64: the rows of each run are picked out by their run's number."""
    wide, run = torch.tensor(x).double(), _run_of_row(len(x), tokens)
    return torch.stack([torch.amax(wide[run == token], dim=0) for token in range(tokens)]).float().numpy()
