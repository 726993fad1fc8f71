"""Quality of a selection, per query: recall of attention mass and of the highest scores, and the output error.

Knows softmax attention over a cache in FP32 and FP64. Every function takes any mask; none knows how it was chosen.
Shapes: queries float [rows, heads, d]; keys, values float [tokens, kv_heads, d]; mask bool [kv_heads or heads, tokens].
With causal, the rows are the newest tokens: row r sees all but the last rows - 1 - r tokens.
"""

import numpy as np

from kernels.selection.ranking import keep_highest, scores_of


def _of_heads(mask: np.ndarray | None, heads: int, *, tokens: int) -> np.ndarray:
    """Return the mask of each query head, bool [heads, tokens]; None keeps everything."""
    kept = np.ones((1, tokens), dtype=bool) if mask is None else mask
    if kept.ndim != 2 or kept.shape[1] != tokens or heads % len(kept):
        raise ValueError(f"mask: shape {kept.shape} does not fit {heads} heads and {tokens} tokens; give one for each")
    return np.repeat(kept, heads // len(kept), axis=0)


def _visible(mask: np.ndarray | None, heads: int, rows: int, *, tokens: int, causal: bool) -> np.ndarray:
    """Return the kept tokens that each row sees, bool [heads, rows, tokens]."""
    seen = np.tri(rows, tokens, tokens - rows if causal else tokens, dtype=bool)
    return _of_heads(mask, heads, tokens=tokens)[:, None] & seen


def attention_weights(
    queries: np.ndarray, keys: np.ndarray, *, mask: np.ndarray | None = None, causal: bool = False
) -> np.ndarray:
    """Return the softmax of q . k / sqrt(d) over the kept and visible tokens, float64 [heads, rows, tokens].

    A row that sees no token gets zeros. Raises ValueError for a mask that does not fit.

    >>> attention_weights(np.zeros((1, 1, 1)), np.zeros((3, 1, 1)), mask=np.array([[True, False, True]])).tolist()
    [[[0.5, 0.0, 0.5]]]
    """
    rows, heads, width = queries.shape
    logits = scores_of(queries.astype(np.float32), keys.astype(np.float32)).astype(np.float64) * width**-0.5
    visible = _visible(mask, heads, rows, tokens=len(keys), causal=causal)
    logits[~visible] = -np.inf
    top = logits.max(axis=2, keepdims=True)
    # A row without any token has top = -inf; -inf minus that would be NaN.
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=2, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def attend(
    queries: np.ndarray, keys: np.ndarray, *, values: np.ndarray, mask: np.ndarray | None = None, causal: bool = False
) -> np.ndarray:
    """Return attention over the kept tokens, float32 [rows, heads, d]; a row that sees no token gives zeros.

    >>> keys, values = np.zeros((2, 1, 1)), np.array([[[3.0]], [[5.0]]])
    >>> attend(keys[:1], keys, values=values).item()
    4.0
    >>> attend(keys[:1], keys, values=values, mask=np.array([[False, True]])).item()
    5.0
    """
    weights = attention_weights(queries, keys, mask=mask, causal=causal)
    heads, rows, _ = weights.shape
    kv_heads = keys.shape[1]
    grouped = weights.reshape(kv_heads, heads // kv_heads * rows, -1).astype(np.float32)
    output = np.matmul(grouped, values.astype(np.float32).transpose(1, 0, 2))
    return output.reshape(heads, rows, -1).transpose(1, 0, 2)


def mass_recall(queries: np.ndarray, keys: np.ndarray, *, mask: np.ndarray, causal: bool = False) -> np.ndarray:
    """Return the share of the dense attention that lies on kept tokens, float64 [rows, heads], 0 to 1.

    >>> mass_recall(np.zeros((1, 1, 1)), np.zeros((4, 1, 1)), mask=np.array([[True, False, False, False]])).tolist()
    [[0.25]]
    """
    weights = attention_weights(queries, keys, causal=causal)
    return np.einsum("hrn,hn->rh", weights, _of_heads(mask, len(weights), tokens=len(keys)))


def top_recall(
    queries: np.ndarray, keys: np.ndarray, *, mask: np.ndarray, top: int, causal: bool = False
) -> np.ndarray:
    """Return the share of the tokens with the `top` highest q . k that are kept, float64 [rows, heads], 0 to 1.

    Among equal scores, the earlier token ranks higher. A row that sees fewer than `top` tokens counts all of those.
    Raises ValueError for a top below 1 or a mask that does not fit.

    >>> keys = np.array([0, 3, 2, 1]).reshape(4, 1, 1)
    >>> top_recall(np.ones((1, 1, 1)), keys, mask=np.array([[True, True, False, False]]), top=2).tolist()
    [[0.5]]
    """
    if top < 1:
        raise ValueError(f"top: {top} tokens; take 1 or more")
    rows, heads, _ = queries.shape
    scores = scores_of(queries.astype(np.float32), keys.astype(np.float32))
    visible = _visible(None, heads, rows, tokens=len(keys), causal=causal)
    kept = _visible(mask, heads, rows, tokens=len(keys), causal=causal)
    scores[~np.broadcast_to(visible, scores.shape)] = -np.inf
    # Each row as a head of its own, because keep_highest joins the rows of a head. A row that sees fewer than `top`
    # tokens fills up with invisible ones, which `& visible` drops.
    highest = keep_highest(scores.reshape(heads * rows, 1, -1), top).reshape(scores.shape) & visible
    return ((highest & kept).sum(axis=2) / highest.sum(axis=2)).T


def output_error(
    queries: np.ndarray, keys: np.ndarray, *, values: np.ndarray, mask: np.ndarray, causal: bool = False
) -> np.ndarray:
    """Return the relative error of the output against dense attention, float64 [rows, heads].

    Formula: |kept - dense| / |dense|, Euclidean norms over d; 0 where both are 0.

    >>> keys, values = np.zeros((2, 1, 1)), np.array([[[3.0]], [[5.0]]])
    >>> output_error(keys[:1], keys, values=values, mask=np.array([[True, False]])).tolist()
    [[0.25]]
    """
    dense = attend(queries, keys, values=values, causal=causal).astype(np.float64)
    kept = attend(queries, keys, values=values, mask=mask, causal=causal)
    size = np.linalg.norm(dense, axis=2)
    return np.linalg.norm(kept - dense, axis=2) / np.where(size == 0, 1, size)


def mean_quality(
    queries: np.ndarray, keys: np.ndarray, *, values: np.ndarray, mask: np.ndarray
) -> tuple[float, float, float]:
    """Return mass_recall, top_recall and output_error of a causal step, each the mean over its rows and heads.

    mask bool [heads, tokens]. top_recall takes as many highest scores as the first row sees kept tokens.

    >>> one = np.ones((1, 1, 1))
    >>> mean_quality(one, np.ones((2, 1, 1)), values=np.ones((2, 1, 1)), mask=np.array([[False, True]]))
    (0.5, 0.0, 0.0)
    """
    heads, share = len(mask), len(mask) // keys.shape[1]
    found = []
    # One head at a time, so that the FP64 weights of only one head are in memory.
    for h in range(heads):
        q, kept = queries[:, h : h + 1], mask[h : h + 1]
        k, v = (np.ascontiguousarray(rows[:, h // share : h // share + 1]) for rows in (keys, values))
        top = top_recall(q, k, mask=kept, top=int(kept.sum()) - len(q) + 1, causal=True)
        mass = mass_recall(q, k, mask=kept, causal=True)
        found.append((mass.mean(), top.mean(), output_error(q, k, values=v, mask=kept, causal=True).mean()))
    mass, top, error = np.mean(found, axis=0).tolist()
    return mass, top, error
