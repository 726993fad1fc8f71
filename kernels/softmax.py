"""Softmax along the last axis.

Knows the values, those of rows with minus infinity too. Does not know masks, or keys that come one after the other:
kernels/online_softmax.py.
"""

import numpy as np

from kernels.lazy_torch import torch


def softmax(x: np.ndarray) -> np.ndarray:
    """Return exp(x - maximum) / total along the last axis, float32 [rows, d].

    x float [rows, d], or any number of axes before d; d >= 1; FP32 throughout, the total too. Per element: a comparison
    with the maximum of its row, a subtraction, an exponential, an addition to the total, a division; that is 4 flop and
    1 exp. An entry of minus infinity has the weight 0; a row of nothing else, or with a NaN or plus infinity, is NaN.
    Formula: exp(x - max(x)) / sum(exp(x - max(x))). derived: the maximum cancels and leaves no exponent positive.

    >>> softmax(np.array([[3.0, 3.0, -np.inf], [1000.0, 0.0, 1000.0]])).tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]
    """
    x = x.astype(np.float32, copy=False)
    # Infinity less infinity is the NaN above; a difference beyond FP32 is minus infinity, and exp of that 0.
    with np.errstate(invalid="ignore", over="ignore"):
        weights = np.exp(x - x.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def softmax_reference(x: np.ndarray) -> np.ndarray:
    """Return softmax by torch, in FP64."""
    return torch.softmax(torch.tensor(x).double(), dim=-1).float().numpy()
