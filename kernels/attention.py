"""Attention in the order in which an engine computes it: causal prefill key by key, and decode in two passes.

Knows the orders, the numbers and the counts of operations. Does not know how long a step takes.
FP32 throughout. Head h reads kv head h // (heads / kv_heads); scores are scaled by 1 / sqrt(qk_dim).
A value row may have another width than a key: q and k are [.., qk_dim], v and the output [.., v_dim].
"""

from dataclasses import dataclass

import numpy as np

from kernels.lazy_torch import torch
from kernels.machine_code import compiled
from kernels.online_softmax import LOWEST

QUERY_PARALLEL = 8


@dataclass(frozen=True, slots=True)
class AttentionCounts:
    """Operations of one attention, counted where each happens, in masked and padded lanes too.

    steps: iterations of the loops over keys (decode: of both passes) · key_rows_read, value_rows_read: rows of all kv
    heads · visible_pairs, masked_pairs: query-key pairs computed that the mask keeps, and removes · exps,
    multiplications, additions (subtractions too), comparisons, divisions: scalar operations.
    """

    steps: int
    key_rows_read: int
    value_rows_read: int
    visible_pairs: int
    masked_pairs: int
    exps: int
    multiplications: int
    additions: int
    comparisons: int
    divisions: int


# Compiled code fills an array in the order of the fields above, because it cannot fill a dataclass.
_STEPS, _KEYS, _VALUES, _VISIBLE, _MASKED, _EXPS, _PRODUCTS, _SUMS, _COMPARISONS, _DIVISIONS = range(10)


@compiled()
def _score(q: np.ndarray, key: np.ndarray, scale: np.float32, counts: np.ndarray) -> np.float32:
    products, sums = 0, 0
    total = np.float32(0)
    for i in range(len(q)):
        total += q[i] * key[i]
        products += 1
        sums += 1
    # The product beyond the loop is the scale.
    counts[_PRODUCTS] += products + 1
    counts[_SUMS] += sums
    # A score below FP32 counts as the lowest number: minus infinity is for masked keys, which have no weight.
    scaled = total * scale
    return LOWEST if scaled < LOWEST else scaled


@compiled()
def _absorb(state: np.ndarray, output: np.ndarray, score: np.float32, value: np.ndarray, counts: np.ndarray) -> None:
    """Advance one lane: state is its (maximum, total), output its sum of weighted value rows."""
    # Online softmax, arXiv 1805.02867: a new maximum rescales everything summed before it.
    maximum = max(state[0], score)
    rescale, weight = np.exp(state[0] - maximum), np.exp(score - maximum)
    state[1] = state[1] * rescale + weight
    state[0] = maximum
    products, sums = 0, 0
    for i in range(len(value)):
        output[i] = output[i] * rescale + weight * value[i]
        products += 2
        sums += 1
    # Beyond the loop: a product and an addition for the total, and a subtraction in each exponent.
    counts[_COMPARISONS] += 1
    counts[_EXPS] += 2
    counts[_PRODUCTS] += products + 1
    counts[_SUMS] += sums + 3


@compiled()
def _normalize(output: np.ndarray, total: np.float32, counts: np.ndarray) -> None:
    inverse = np.float32(1) / total
    counts[_DIVISIONS] += 1
    for i in range(len(output)):
        output[i] *= inverse
        counts[_PRODUCTS] += 1


@compiled()
def _prefill(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: np.float32, parallel: int, newest_first: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Walk the rows in their order, `parallel` queries at a time.

    q [rows, heads, qk_dim], k [rows, kv_heads, qk_dim], v [rows, kv_heads, v_dim].
    """
    rows, heads, _ = q.shape
    share = heads // k.shape[1]
    output = np.zeros((rows, heads, v.shape[2]), dtype=np.float32)
    state = np.zeros((rows, heads, 2), dtype=np.float32)
    # A finite start: if the first key of a query is masked, exp(start - start) has to be 1, not NaN.
    state[:, :, 0] = LOWEST
    counts = np.zeros(10, dtype=np.int64)
    for first in range(0, rows, parallel):
        # Newest first, the rows before a group are newer than its queries, so the group sees none of them.
        for key in range(first if newest_first else 0, rows):
            counts[_STEPS] += 1
            counts[_KEYS] += 1
            counts[_VALUES] += 1
            for query in range(first, first + parallel):
                visible = key >= query if newest_first else key <= query
                counts[_VISIBLE if visible else _MASKED] += 1
                for head in range(heads):
                    score = _score(q[query, head], k[key, head // share], scale, counts)
                    # The lanes of a step work together: a masked one computes too, with the weight exp(-inf) = 0.
                    if not visible:
                        score = np.float32(-np.inf)
                    _absorb(state[query, head], output[query, head], score, v[key, head // share], counts)
        for query in range(first, first + parallel):
            for head in range(heads):
                _normalize(output[query, head], state[query, head, 1], counts)
    return output, counts


@compiled()
def _decode(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Pass 1: raw scores, running maximum and sum. Pass 2: exp, scale, accumulate."""
    heads, width = len(q), v.shape[2]
    share = heads // k.shape[1]
    scores = np.empty((len(k), heads), dtype=np.float32)
    state = np.zeros((heads, 2), dtype=np.float32)
    state[:, 0] = LOWEST
    counts = np.zeros(10, dtype=np.int64)
    # Pass 1 has no values yet: with empty rows, _absorb advances the maximum and the total alone.
    nothing = np.empty(0, dtype=np.float32)
    for token in range(len(k)):
        counts[_STEPS] += 1
        counts[_KEYS] += 1
        for head in range(heads):
            scores[token, head] = _score(q[head], k[token, head // share], scale, counts)
            _absorb(state[head], nothing, scores[token, head], nothing, counts)
        counts[_VISIBLE] += 1
    # The inverse of each total, so that pass 2 multiplies instead of dividing.
    for head in range(heads):
        state[head, 1] = np.float32(1) / state[head, 1]
        counts[_DIVISIONS] += 1
    output = np.zeros((heads, width), dtype=np.float32)
    for token in range(len(k)):
        counts[_STEPS] += 1
        counts[_VALUES] += 1
        for head in range(heads):
            weight = np.exp(scores[token, head] - state[head, 0]) * state[head, 1]
            counts[_EXPS] += 1
            counts[_PRODUCTS] += 1
            counts[_SUMS] += 1
            for i in range(width):
                output[head, i] += weight * v[token, head // share, i]
                counts[_PRODUCTS] += 1
                counts[_SUMS] += 1
    return output, counts


def _check_heads(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> None:
    if k.shape[:2] != v.shape[:2] or k.size == 0 or v.size == 0:
        raise ValueError(f"k has shape {k.shape}, v {v.shape}; rows and kv heads must be equal, and no extent may be 0")
    if q.shape[-1] != k.shape[2] or q.shape[-2] % k.shape[1]:
        raise ValueError(
            f"q: heads and head size {q.shape[-2:]} must be a multiple of the kv heads and the head size {k.shape[1:]}"
        )


def prefill_attention_counted(
    q: np.ndarray, k: np.ndarray, *, v: np.ndarray, order: str = "reversed", query_parallel: int = QUERY_PARALLEL
) -> tuple[np.ndarray, AttentionCounts]:
    """Return causal attention float32 [n, heads, v_dim] by an online softmax of block size 1, and its counts.

    q float [n, heads, qk_dim], k float [n, kv_heads, qk_dim], v float [n, kv_heads, v_dim], oldest row first. Queries
    go in groups of query_parallel.
    "plain": oldest first, each group with all keys, masked or not: n**2 / 8 steps. "reversed": queries and keys newest
    first, each group with the keys from its own first row to the end: n (n + 8) / 16 steps. These step counts hold for
    groups of 8 and n a multiple of 8. Other n are padded with newest rows of zeros. Masked lanes compute too.
    Raises ValueError for another order, shapes that do not fit, or query_parallel < 1. Source: arXiv 2510.15926.

    Two groups of 8: the older takes 8 keys, the newer 16; a lane takes two exponentials per step.

    >>> rows = np.ones((16, 1, 2), dtype=np.float32)
    >>> output, counts = prefill_attention_counted(rows, rows, v=rows)
    >>> counts.steps, counts.visible_pairs, counts.masked_pairs, counts.exps
    (24, 136, 56, 384)
    >>> prefill_attention_counted(rows, rows, v=rows, order="plain")[1].steps
    32
    """
    _check_heads(q, k, v)
    if order not in ("plain", "reversed"):
        raise ValueError(f"order: expected 'plain' or 'reversed', got {order!r}")
    if query_parallel < 1:
        raise ValueError(f"query_parallel: expected at least 1, got {query_parallel}")
    if len(q) != len(k):
        raise ValueError(f"q has {len(q)} rows, k {len(k)}; prefill needs as many")
    n, step = len(q), -1 if order == "reversed" else 1
    # Padding rows are the newest, so the causal mask hides them from every real query.
    padding = ((0, -n % query_parallel), (0, 0), (0, 0))
    # Contiguous copies, because numba would compile again for the strides of a reversed view.
    queries, keys, values = (np.ascontiguousarray(np.pad(a.astype(np.float32), padding)[::step]) for a in (q, k, v))
    scale = np.float32(q.shape[2] ** -0.5)
    output, counts = _prefill(queries, keys, values, scale, query_parallel, order == "reversed")
    return output[::step][:n], AttentionCounts(*counts.tolist())


def prefill_attention(
    q: np.ndarray, k: np.ndarray, *, v: np.ndarray, order: str = "reversed", query_parallel: int = QUERY_PARALLEL
) -> np.ndarray:
    """Return causal attention float32 [n, heads, v_dim] without its counts; see prefill_attention_counted.

    The first query sees one key, so its output is that key's value row:

    >>> q = np.ones((2, 1, 1), dtype=np.float32)
    >>> prefill_attention(q, q, v=np.array([[[3.0]], [[5.0]]])).tolist()
    [[[3.0]], [[4.0]]]
    """
    return prefill_attention_counted(q, k, v=v, order=order, query_parallel=query_parallel)[0]


def prefill_attention_reference(
    q: np.ndarray, k: np.ndarray, *, v: np.ndarray, order: str = "reversed", query_parallel: int = QUERY_PARALLEL
) -> np.ndarray:
    """Return prefill_attention by torch, in FP64; neither the order nor the groups change the result."""
    queries, keys, values = (torch.tensor(a).double().transpose(0, 1)[None] for a in (q, k, v))
    attend = torch.nn.functional.scaled_dot_product_attention
    output = attend(queries, keys, values, is_causal=True, enable_gqa=True)
    return output[0].transpose(0, 1).float().numpy()


def decode_attention_counted(q: np.ndarray, k: np.ndarray, *, v: np.ndarray) -> tuple[np.ndarray, AttentionCounts]:
    """Return the attention of one query to a cache, float32 [heads, v_dim], in two passes, and its counts.

    q float [heads, qk_dim], k float [context, kv_heads, qk_dim], v float [context, kv_heads, v_dim]. Pass 1 reads K and
    keeps the raw scores, running maximum and sum; pass 2 reads V with weight exp(score - maximum) / sum. Raises
    ValueError for shapes that do not fit. Source: arXiv 2510.15926.

    Three cached tokens, one head: three rows of each, two exponentials a token in pass 1 and one in pass 2.

    >>> cache = np.ones((3, 1, 4), dtype=np.float32)
    >>> output, counts = decode_attention_counted(cache[0], cache, v=cache)
    >>> counts.key_rows_read, counts.value_rows_read, counts.exps, counts.divisions
    (3, 3, 9, 1)
    """
    _check_heads(q, k, v)
    query, keys, values = (np.ascontiguousarray(a, dtype=np.float32) for a in (q, k, v))
    output, counts = _decode(query, keys, values, np.float32(q.shape[1] ** -0.5))
    return output, AttentionCounts(*counts.tolist())


def decode_attention(q: np.ndarray, k: np.ndarray, *, v: np.ndarray) -> np.ndarray:
    """Return the attention of one query to a cache, float32 [heads, v_dim]; see decode_attention_counted.

    >>> decode_attention(np.ones((1, 1)), np.ones((2, 1, 1)), v=np.array([[[3.0]], [[5.0]]])).tolist()
    [[4.0]]
    """
    return decode_attention_counted(q, k, v=v)[0]


def decode_attention_reference(q: np.ndarray, k: np.ndarray, *, v: np.ndarray) -> np.ndarray:
    """Return decode_attention as a softmax over all scores at once, in FP64."""
    share = q.shape[0] // k.shape[1]
    keys, values = (torch.tensor(a).double().repeat_interleave(share, dim=1) for a in (k, v))
    scores = torch.einsum("hd,chd->hc", torch.tensor(q).double(), keys) * q.shape[1] ** -0.5
    return torch.einsum("hc,che->he", scores.softmax(dim=1), values).float().numpy()
