"""Online softmax, one key at a time: the state of a group of queries, one step, and the result.

Knows the recurrence, which holds for any order of the keys. Does not know the order and counts nothing.
"""

from dataclasses import dataclass

import numpy as np

from kernels.lazy_torch import torch

LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True, slots=True)
class SoftmaxState:
    """The state of a group of queries after some keys, float32.

    maximum [queries, heads]: the largest score so far; total [queries, heads]: the sum of exp(score - maximum);
    output [queries, heads, v_dim]: the sum of exp(score - maximum) * value row.
    """

    maximum: np.ndarray
    total: np.ndarray
    output: np.ndarray


def online_softmax_start(queries: int, heads: int, *, width: int) -> SoftmaxState:
    """Return the state before any key. The maximum is the lowest FP32 number, so that a masked key leaves it finite.

    width: v_dim, the width of a value row, which may differ from that of a key.

    >>> online_softmax_start(8, 2, width=4).output.shape
    (8, 2, 4)
    """
    maximum = np.full((queries, heads), LOWEST, dtype=np.float32)
    return SoftmaxState(maximum, np.zeros_like(maximum), np.zeros((queries, heads, width), dtype=np.float32))


def online_softmax_step(
    state: SoftmaxState,
    q_group: np.ndarray,
    *,
    key_row: np.ndarray,
    value_row: np.ndarray,
    scale: float,
    visible: np.ndarray | None = None,
) -> SoftmaxState:
    """Return the state after one more key.

    q_group float [queries, heads, qk_dim]; key_row float [kv_heads, qk_dim], value_row float [kv_heads, v_dim]; head h
    reads kv head h // (heads / kv_heads); visible bool [queries], None for all. A query that does not see the key keeps
    its state. A score below FP32 counts as the lowest FP32 number, so that a row of such scores averages its values.
    Formula: s = scale * q.k; m' = max(m, s); r = exp(m - m'); p = exp(s - m'); l' = l * r + p; o' = o * r + p * v.
    Source: arXiv 1805.02867; block size 1 as in arXiv 2510.15926.

    Two equal scores: the second key adds one to the total and its value to the output.

    >>> one = np.ones((1, 1, 1), dtype=np.float32)
    >>> state = online_softmax_start(1, 1, width=1)
    >>> state = online_softmax_step(state, one, key_row=one[0], value_row=one[0] * 4, scale=1.0)
    >>> state = online_softmax_step(state, one, key_row=one[0], value_row=one[0] * 6, scale=1.0)
    >>> state.maximum.tolist(), state.total.tolist(), state.output.tolist()
    ([[1.0]], [[2.0]], [[[10.0]]])
    """
    share = q_group.shape[1] // key_row.shape[0]
    key, value = np.repeat(key_row, share, axis=0), np.repeat(value_row, share, axis=0)
    with np.errstate(over="ignore"):
        score = np.float32(scale) * (q_group.astype(np.float32) * key.astype(np.float32)).sum(axis=2)
    score = np.maximum(score, LOWEST)
    if visible is not None:
        score = np.where(visible[:, None], score, np.float32(-np.inf))
    maximum = np.maximum(state.maximum, score)
    # The lowest number minus a huge score overflows to -inf, and exp of that is 0, as it should be.
    with np.errstate(over="ignore"):
        rescale, weight = np.exp(state.maximum - maximum), np.exp(score - maximum)
    output = state.output * rescale[..., None] + weight[..., None] * value.astype(np.float32)
    return SoftmaxState(maximum, state.total * rescale + weight, output)


def online_softmax_step_reference(
    state: SoftmaxState,
    q_group: np.ndarray,
    *,
    key_row: np.ndarray,
    value_row: np.ndarray,
    scale: float,
    visible: np.ndarray | None = None,
) -> SoftmaxState:
    """Return online_softmax_step in FP64, with exp(score) summed directly; for moderate scores only."""
    share = q_group.shape[1] // key_row.shape[0]
    key = torch.tensor(key_row).double().repeat_interleave(share, dim=0)
    value = torch.tensor(value_row).double().repeat_interleave(share, dim=0)
    score = torch.einsum("qhd,hd->qh", torch.tensor(q_group).double(), key) * scale
    seen = torch.ones(len(q_group), 1).bool() if visible is None else torch.tensor(visible)[:, None]
    before = torch.tensor(state.maximum).double()
    maximum = torch.where(seen, torch.maximum(before, score), before)
    added = score.exp() * seen
    total = torch.tensor(state.total).double() * before.exp() + added
    output = torch.tensor(state.output).double() * before.exp()[..., None] + added[..., None] * value
    down = (-maximum).exp()
    parts = (maximum, total * down, output * down[..., None])
    return SoftmaxState(*(part.float().numpy() for part in parts))


def online_softmax_finish(state: SoftmaxState) -> np.ndarray:
    """Return the softmax-weighted sums output / total, float32 [queries, heads, v_dim]; zeros for a query that saw no
    key.

    >>> counts = np.full((1, 1), 2, dtype=np.float32)
    >>> online_softmax_finish(SoftmaxState(counts, counts, np.full((1, 1, 1), 10, dtype=np.float32))).tolist()
    [[[5.0]]]
    """
    # A query that saw no key has total 0 and output 0; dividing by 1 keeps the zeros.
    return state.output / np.where(state.total > 0, state.total, np.float32(1))[..., None]
