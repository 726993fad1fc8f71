"""PrefillAttention and DecodeAttention: engines that keep no scores in memory and pay a fill for every inner loop.

Source of the loops: arXiv 2510.15926. A loop of n iterations costs n x interval + fill.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archsim.quantity import Count, Cycles
from archsim.units.fpga import FP16_BITS, Amounts, operators, uram_blocks
from archsim.units.unit import Unit, ceil_div
from dataflow.op import Work

SOFTMAX_OPERATORS = 4  # maximum, exp, sum and scale of one head


class PrefillAttention(Unit):
    """Causal attention by online softmax: each step takes one key and value row against `query_parallel` queries.

    A step is three loops: the beats of the row, `lanes` elements each (a beat serves every query of the group and takes
    ceil(lanes x query_parallel / adders) cycles, limited by the adders), a reduction of each head's partial sums, and
    an exp and rescale per query and head, `rescale_lanes` elements at a time. `drain` writes a finished group.
    """

    kinds = ("attention", "drain")

    kind: Literal["prefill_attention"]
    max_context: Count = Field(description="longest prompt that its buffers hold, in tokens")
    query_parallel: Count = Field(description="queries of a group, which a step serves together")
    lanes: Count = Field(description="elements of a beat")
    adders: Count = Field(description="adders that the beats share")
    beat_fill_cycles: Cycles = Field(description="fill of the loop over beats")
    reduce_fill_cycles: Cycles = Field(description="fill of the loop over heads that sums partial products")
    rescale_lanes: Count = Field(description="elements of a head that the exp and rescale loop works on at once")
    rescale_interval_cycles: Count = Field(description="initiation interval of the exp and rescale loop")
    rescale_fill_cycles: Cycles = Field(description="fill of the exp and rescale loop")
    drain_fill_cycles: Cycles = Field(description="fill of the loop that writes a group")

    def _cycles(self, work: Work) -> int:
        if work.kind == "drain":
            return ceil_div(work["d"], self.lanes) + self.drain_fill_cycles
        heads = work["heads"]
        # A beat brings elements of a key and of a value, so the wider of the two rows sets the number of beats.
        beats = ceil_div(heads * max(work["qk_dim"], work["v_dim"]), self.lanes)
        interval = ceil_div(self.lanes * self.query_parallel, self.adders)
        rescales = heads * self.query_parallel * ceil_div(work["v_dim"], self.rescale_lanes)
        # The loops of a step run one after another, so each pays its own fill in every step.
        step = (
            beats * interval + self.beat_fill_cycles
            + heads + self.reduce_fill_cycles
            + rescales * self.rescale_interval_cycles + self.rescale_fill_cycles
        )  # fmt: skip
        # A group that is not full takes as long as a full one.
        return ceil_div(work.pairs, self.query_parallel) * step

    def resources(self) -> Amounts:
        """Adders and as many multipliers, those of the exp and rescale loop, and UltraRAM for a row of values.

        The buffers of a group have no formula.
        """
        products = self.lanes * self.query_parallel
        # Multipliers beyond the adders would wait for them; the rescale loop shares its own over its interval.
        count = self.adders + min(products, self.adders)
        count += 2 * ceil_div(self.rescale_lanes, self.rescale_interval_cycles)
        return {**operators(count, FP16_BITS * products), "uram": uram_blocks(1, FP16_BITS * self.lanes)}


class DecodeAttention(Unit):
    """Attention of one query in two passes over the cache; the raw scores wait on chip between the passes.

    Per cached token, pass 1 (attention_scores): beats of the key row, then a loop over heads that sums partial
    products, then one for the running maximum and sum. Pass 2 (attention_values): a loop over heads for exp and scale,
    then beats of the value row. `drain` writes the result.
    """

    kinds = ("attention_scores", "attention_values", "drain")

    kind: Literal["decode_attention"]
    score_depth: Count = Field(description="cached tokens whose scores wait between the passes")
    lanes: Count = Field(description="elements of a beat")
    beat_fill_cycles: Cycles = Field(description="fill of the loop over the beats of a key row")
    reduce_fill_cycles: Cycles = Field(description="fill of the loop over heads that sums partial products")
    softmax_fill_cycles: Cycles = Field(description="fill of the loop over heads for the running maximum and sum")
    exp_fill_cycles: Cycles = Field(description="fill of the loop over heads for exp and scale")
    value_fill_cycles: Cycles = Field(description="fill of the loop over the beats of a value row")
    drain_fill_cycles: Cycles = Field(description="fill of the loop that writes the result")

    def _cycles(self, work: Work) -> int:
        if work.kind == "drain":
            return ceil_div(work["d"], self.lanes) + self.drain_fill_cycles
        heads = work["heads"]
        width = work["qk_dim" if work.kind == "attention_scores" else "v_dim"]
        beats = ceil_div(heads * width, self.lanes)
        if work.kind == "attention_scores":
            # Two loops over heads: one sums partial products, one updates the running maximum and sum.
            fills = self.beat_fill_cycles + self.reduce_fill_cycles + self.softmax_fill_cycles
            return work.pairs * (beats + 2 * heads + fills)
        return work.pairs * (heads + beats + self.exp_fill_cycles + self.value_fill_cycles)

    def resources(self) -> Amounts:
        """A multiplier and an adder for each lane and pass, one softmax, and UltraRAM for the scores that wait."""
        count = 4 * self.lanes + SOFTMAX_OPERATORS
        return {
            **operators(count, FP16_BITS * self.lanes),
            "uram": uram_blocks(self.score_depth, FP16_BITS * self.lanes),
        }
