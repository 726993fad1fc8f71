"""PAIRS: every algorithm beside its PyTorch reference, with inputs and tolerance. Equivalence tests run them all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import activation, attention, draws, norm, pool, quantize
from kernels.matmul import batched_matmul
from kernels.online_softmax import online_softmax_step
from kernels.rope import rope
from kernels.selection import draws as drawn
from kernels.selection import quality, threshold
from kernels.selection.draws import with_stream
from kernels.selection.references import clusters, learned, positions_and_scores
from kernels.selection.references.positions_and_scores import trace
from kernels.softmax import softmax
from kernels.ternary import lookup, lookup_bytes, packing, packing_bytes
from kernels.two_pass_softmax import two_pass_softmax

Draw = Callable[[np.random.Generator, int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """An algorithm and the reference it must agree with.

    reference and algorithm take the same keyword arguments and return an array, a tuple of arrays or a dataclass of
    arrays. inputs(rng, size) draws the arguments, extents from 1 up to a few times size. tolerance 0 asks for equal
    values; any other is relative to max(1, the largest magnitude of the reference). reason justifies the tolerance.
    """

    name: str
    reference: Callable[..., Any]
    algorithm: Callable[..., Any]
    inputs: Draw
    tolerance: float
    reason: str


# The product alone: torch has nothing to compare the counts with, and tests hold them to closed forms.
def _counted_product(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return lookup.lookup_matmul_counted(x, weights)[0]


def _counted_reference(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return lookup.lookup_matmul_reference(x, packing.group_indices(weights))


_CODES = "codes are integers"
_SUMS = "sums of integers"
_IEEE = "both do the same FP32 operations, each correctly rounded"
_PICKED = "every result is an element of x, or 0"
_ONCE = "a product of FP32 numbers is exact in FP64, and rounded once to FP32 on both sides"
_FP32 = "FP32 against FP64: a few roundings of 6e-8 each, and FP32 exp"
_WHOLE = "whole numbers: every sum is exact in FP32, and quotients are rounded once"
_APART = "sums of FP64 softmaxes, drawn so that no two are within a rounding of each other"
_LONG = "FP32 against FP64: sums of up to a few hundred terms with 6e-8 each, and FP32 exp"


def _beside(algorithm: Callable[..., Any], inputs: Draw, tolerance: float, reason: str) -> Pair:
    """Return the pair of an algorithm and of the reference that stands in its file as `<name>_reference`."""
    name = algorithm.__name__
    return Pair(name, algorithm.__globals__[f"{name}_reference"], algorithm, inputs, tolerance, reason)


PAIRS = (
    _beside(packing.pack_dense, draws.weights, 0, _CODES),
    _beside(packing.pack_loader, draws.loader_weights, 0, _CODES),
    _beside(packing_bytes.pack_tl1, draws.weights, 0, _CODES),
    _beside(packing_bytes.pack_tl2, draws.weights, 0, _CODES),
    _beside(packing_bytes.pack_i2s, draws.weights, 0, _CODES),
    _beside(packing_bytes.pack_planes, draws.weights, 0, _CODES),
    _beside(lookup.build_tables, draws.grouped_activations, 0, _SUMS),
    _beside(lookup_bytes.half_tables, draws.activations, 0, _SUMS),
    _beside(lookup.lookup_matmul, draws.lookup, 0, _SUMS),
    Pair("lookup_matmul_counted", _counted_reference, _counted_product, draws.counted_lookup, 0, _SUMS),
    _beside(lookup_bytes.lookup_matmul_tl1, draws.lookup_tl1, 0, _SUMS),
    _beside(lookup_bytes.lookup_matmul_tl2, draws.lookup_tl2, 0, _SUMS),
    _beside(lookup_bytes.lookup_matmul_planes, draws.lookup_planes, 0, _SUMS),
    _beside(quantize.quantize_absmax, draws.rows, 0, _IEEE),
    _beside(quantize.quantize_absmean, draws.matrix, 0, _IEEE),
    _beside(quantize.dequantize, draws.accumulators, 1e-6, _FP32),
    _beside(norm.rmsnorm, draws.norm, 2e-6, _LONG),
    _beside(norm.rmsnorm_absmax, draws.norm, 2e-6, _LONG),
    _beside(norm.layer_norm, draws.uneven_norm, 2e-6, _LONG),
    _beside(pool.mean_pool, draws.pooled, 2e-6, _LONG),
    _beside(pool.max_pool, draws.pooled_with_nan, 0, _PICKED),
    _beside(softmax, draws.scores, 2e-6, _LONG),
    _beside(batched_matmul, draws.operands, 0, _WHOLE),
    _beside(rope, draws.rotated, 1e-6, _FP32),
    _beside(activation.relu, draws.elements, 0, _PICKED),
    _beside(activation.square, draws.elements, 0, _ONCE),
    _beside(activation.mul, draws.two_operands, 0, _ONCE),
    _beside(activation.silu, draws.gate, 1e-6, _FP32),
    _beside(activation.silu_mul, draws.gate_and_up, 1e-6, _FP32),
    _beside(activation.gelu, draws.gate, 1e-6, _FP32),
    _beside(activation.silu_table, draws.gate, 1e-6, _FP32),
    _beside(attention.prefill_attention, draws.prefill, 5e-6, _LONG),
    _beside(attention.decode_attention, draws.decode, 5e-6, _LONG),
    _beside(online_softmax_step, draws.softmax_step, 5e-6, _FP32),
    _beside(two_pass_softmax, draws.two_passes, 5e-6, _LONG),
    # From here on the selections, by the name of their source as in ALGORITHMS; a test compares the names.
    Pair("full", positions_and_scores.everything, trace, with_stream(drawn.everything), 0, _WHOLE),
    Pair("streaming_llm", positions_and_scores.sink_window, trace, with_stream(drawn.sink_window), 0, _WHOLE),
    Pair("duo_attention", positions_and_scores.gated_heads, trace, with_stream(drawn.gated_heads), 0, _WHOLE),
    Pair("topk", positions_and_scores.highest_scores, trace, with_stream(drawn.highest_scores), 0, _WHOLE),
    Pair("double_sparsity", positions_and_scores.label_channels, trace, with_stream(drawn.label_channels), 0, _WHOLE),
    Pair("infinigen", positions_and_scores.partial_columns, trace, with_stream(drawn.partial_columns), 0, _WHOLE),
    Pair("quest", positions_and_scores.page_bounds, trace, with_stream(drawn.page_bounds), 0, _WHOLE),
    Pair("lserve", learned.gated_pages, trace, with_stream(drawn.gated_pages), 0, _WHOLE),
    Pair("h2o", learned.heavy_hitters, trace, with_stream(drawn.heavy_hitters, whole=False), 0, _APART),
    Pair("infllm", learned.block_means, trace, with_stream(drawn.block_means), 0, _WHOLE),
    Pair("rekv", learned.frame_means, trace, with_stream(drawn.frame_means), 0, _WHOLE),
    # At most 60 tokens, because the reference compares bit by bit in Python.
    Pair("resv", clusters.hash_clusters, trace, with_stream(drawn.hash_clusters, most=30), 0, _WHOLE),
    # Its reference adds in the same order, so that a sum on the edge of the ratio falls on the same side.
    Pair("keep_to_ratio", clusters.keep_to_ratio, threshold.keep_to_ratio, drawn.weighted_rows, 0, _IEEE),
    Pair("attend", positions_and_scores.attend_reference, quality.attend, drawn.masked, 5e-6, _LONG),
)  # fmt: skip
