"""AttentionTiles: one attention between its tiles, as a replay computes it. Does not know the order of tiles."""

from __future__ import annotations

import numpy as np

from dataflow.kinds.attention import heads_of
from dataflow.numeric.cover import visible
from dataflow.numeric.replay import Step
from dataflow.op import Box, Operands
from kernels.online_softmax import SoftmaxState, online_softmax_finish, online_softmax_start, online_softmax_step
from kernels.softmax import softmax
from kernels.two_pass_softmax import add_weighted_values, masked_scores


class AttentionTiles:
    """The softmax states of groups of queries, or the scores of the first pass.

    q [batch, queries, heads, qk_dim]; k and v [batch, keys, heads, width], each KV head repeated for the heads that
    share it; seen bool [queries, keys]; output [batch, queries, heads, v_dim] is filled in place; scores
    [batch, queries, heads, keys] are kept from the first pass to the second, and weights, their softmax, from the
    second of three to the third; groups: states of the online softmax, one for each sequence, by the (batch, heads,
    queries) of their queries.
    """

    def __init__(self, x: Operands, output: np.ndarray) -> None:
        """The attention of these operands before its first tile; `output` [batch x queries, heads x v_dim]."""
        self.q, k, v = heads_of(x)
        share = x.work["heads"] // x.work["kv_heads"]
        self.k, self.v = (np.repeat(rows, share, axis=2) for rows in (k, v))
        self.seen = visible(x.work)
        self.output = output.reshape(*self.q.shape[:3], v.shape[3])
        # NaN until a tile of the first pass has computed the score; masked pairs may be in no tile.
        unknown = np.where(self.seen, np.float32(np.nan), np.float32(-np.inf))[None, :, None]
        self.scores = np.repeat(np.repeat(unknown, len(self.q), axis=0), self.q.shape[2], axis=2)
        self.weights = np.full_like(self.scores, np.nan)
        self.groups: dict[Box, list[SoftmaxState]] = {}

    def advance(self, step: Step) -> None:
        """Computes one tile: keys go into states, scores or sums; a drain turns the states of a group into its rows."""
        batch, heads, queries = (slice(along.start, along.stop) for along in step.box[:3])
        q, output, scores = (array[batch, queries, heads] for array in (self.q, self.output, self.scores))
        scale = float(self.q.shape[3] ** -0.5)
        if step.kind == "drain":
            for rows, state in zip(output, self.groups.pop(step.box), strict=True):
                rows[:] = online_softmax_finish(state)
            return
        keys = slice(step.box[3].start, step.box[3].stop)
        k, v, seen = self.k[batch, keys, heads], self.v[batch, keys, heads], self.seen[queries, keys]
        if step.kind == "attention":
            group = step.box[:3]
            states = self.groups.get(group) or [online_softmax_start(*q.shape[1:3], width=v.shape[3]) for _ in q]
            self.groups[group] = states
        for i in range(len(q)):
            if step.kind == "attention":
                for key, value, sees in zip(k[i], v[i], seen.T, strict=True):
                    states[i] = online_softmax_step(
                        states[i], q[i], key_row=key, value_row=value, scale=scale, visible=sees
                    )
            elif step.kind == "attention_scores":
                # The sums of the second pass begin at zero.
                output[i] = 0
                scores[i, :, :, keys] = masked_scores(q[i], k[i], scale=scale, visible=seen)
            elif step.kind == "attention_softmax":
                self.weights[batch, queries, heads, keys][i] = softmax(scores[i])[:, :, keys]
            elif step.kind == "attention_sums":
                output[i] = add_weighted_values(output[i], self.weights[batch, queries, heads, keys][i], v[i])
            else:
                # The weights of a tile of keys need the maximum and the total over all keys of the first pass.
                weights = softmax(scores[i])[:, :, keys]
                output[i] = add_weighted_values(output[i], weights, v[i])
