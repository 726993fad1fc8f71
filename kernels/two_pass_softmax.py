"""Softmax-weighted sums in two passes: the scores of all keys first, then the sums over their value rows.

Knows the numbers of each pass, for any tile of keys. Does not know which tile comes when; keeps nothing between calls.
"""

import numpy as np

from kernels.lazy_torch import torch
from kernels.online_softmax import LOWEST
from kernels.softmax import softmax


def masked_scores(q: np.ndarray, k: np.ndarray, *, scale: float, visible: np.ndarray) -> np.ndarray:
    """Return the scores of the first pass, float32 [queries, heads, keys]; minus infinity where visible is False.

    q float32 [queries, heads, qk_dim], k float32 [keys, kv_heads, qk_dim]; visible bool [queries, keys]. Head h reads
    kv head h // (heads / kv_heads). Formula: scale * q . k. Source: arXiv 2510.15926, decode.

    >>> masked_scores(np.ones((1, 1, 4)), np.ones((2, 1, 4)), scale=0.5, visible=np.array([[True, False]])).tolist()
    [[[2.0, -inf]]]
    """
    share = q.shape[1] // k.shape[1]
    scores = np.empty((*q.shape[:2], len(k)), np.float32)
    # Key by key, so that the FP32 products and sums do not depend on how the keys are cut into tiles.
    for key, row in enumerate(k):
        with np.errstate(over="ignore"):
            raw = np.maximum((q * np.repeat(row, share, axis=0)).sum(axis=2) * np.float32(scale), LOWEST)
        scores[:, :, key] = np.where(visible[:, key, None], raw, -np.inf)
    return scores


def add_weighted_values(sums: np.ndarray, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return sums after the value rows of some keys, float32 [queries, heads, v_dim], added one key after the other.

    sums float32 [queries, heads, v_dim]; weights float32 [queries, heads, keys], the softmax over the scores of all
    keys, and v float32 [keys, kv_heads, v_dim], both of the same keys.
    Formula: sums + weights[..., 0] * v[0] + weights[..., 1] * v[1] + ... Source: arXiv 2510.15926, decode.

    >>> weights = np.array([[[0.25, 0.75]]])
    >>> add_weighted_values(np.ones((1, 1, 1)), weights, np.array([[[4.0]], [[8.0]]])).tolist()
    [[[8.0]]]
    """
    # One addition per key onto the sums so far gives the same rounding for every cut into tiles.
    share = weights.shape[1] // v.shape[1]
    for key, row in enumerate(v):
        sums = sums + weights[:, :, key, None] * np.repeat(row, share, axis=0)
    return sums


def two_pass_softmax(q: np.ndarray, k: np.ndarray, *, v: np.ndarray, scale: float, visible: np.ndarray) -> np.ndarray:
    """Return the softmax-weighted sums of value rows, float32 [queries, heads, v_dim], with all keys in one tile.

    q, k, scale and visible as in masked_scores, v float32 [keys, kv_heads, v_dim]; each query sees at least one key.

    The second key is masked, so the output is the first value row:

    >>> one, values = np.ones((1, 1, 1), dtype=np.float32), np.array([[[3.0]], [[5.0]]], dtype=np.float32)
    >>> two_pass_softmax(one, values, v=values, scale=1.0, visible=np.array([[True, False]])).tolist()
    [[[3.0]]]
    """
    weights = softmax(masked_scores(q, k, scale=scale, visible=visible))
    return add_weighted_values(np.zeros((*q.shape[:2], v.shape[2]), np.float32), weights, v)


def two_pass_softmax_reference(
    q: np.ndarray, k: np.ndarray, *, v: np.ndarray, scale: float, visible: np.ndarray
) -> np.ndarray:
    """Return two_pass_softmax by torch, in FP64."""
    queries, keys, values = (torch.tensor(a).double().transpose(0, 1) for a in (q, k, v))
    attend = torch.nn.functional.scaled_dot_product_attention
    output = attend(queries, keys, values, attn_mask=torch.tensor(visible), scale=scale, enable_gqa=True)
    return output.transpose(0, 1).float().numpy()
