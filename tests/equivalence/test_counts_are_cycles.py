"""Operations that the plain kernels count equal the work, and at rate 1 the cycles, that the units charge."""

import numpy as np
import pytest

import archsim
from archsim.units import DecodeAttention, MatmulArray, PrefillAttention, TableLookup
from dataflow.mask import Mask
from dataflow.op import work
from kernels.attention import decode_attention_counted, prefill_attention_counted
from kernels.ternary.lookup import lookup_matmul_counted
from kernels.ternary.packing import loader_bytes

ENGINE = {
    "kind": "table_lookup", "group_size": 3, "num_tables": 28, "readers_per_table": 16, "activation_bits": "8 bit",
    "takes_per_cycle": 1, "build_cycles": 0, "lookup_fill_cycles": 0,
}  # fmt: skip
FREE_PREFILL = {
    "kind": "prefill_attention", "max_context": 1024, "query_parallel": 8, "lanes": 1, "adders": 8,
    "beat_fill_cycles": 0, "reduce_fill_cycles": 0, "rescale_lanes": 4, "rescale_interval_cycles": 1,
    "rescale_fill_cycles": 0, "drain_fill_cycles": 0,
}  # fmt: skip
FREE_DECODE = {
    "kind": "decode_attention", "score_depth": 1024, "lanes": 1, "beat_fill_cycles": 0, "reduce_fill_cycles": 0,
    "softmax_fill_cycles": 0, "exp_fill_cycles": 0, "value_fill_cycles": 0, "drain_fill_cycles": 0,
}  # fmt: skip


@pytest.mark.parametrize("m, k, n", [(1, 84, 16), (2, 90, 33), (3, 1, 1), (1, 1536, 48)])
@pytest.mark.parametrize("tables, readers", [(28, 16), (4, 2), (1, 1)])
def test_lookups_counted_are_the_engine_s_cycles(m, k, n, tables, readers):
    rng = np.random.default_rng(1)
    x = rng.integers(-127, 128, (m, k)).astype(np.int8)
    weights = rng.integers(-1, 2, (n, k)).astype(np.int8)
    product, counts = lookup_matmul_counted(x, weights, num_tables=tables, readers=readers)
    engine = TableLookup.model_validate(ENGINE | {"num_tables": tables, "readers_per_table": readers})
    item = work("ternary_matmul", m=m, k=k, n=n)
    assert np.array_equal(product, x.astype(np.int32) @ weights.T.astype(np.int32))
    assert counts.multiplications == 0
    assert counts.lookup_steps == engine.cycles(item)
    assert counts.input_reads == counts.blocks * engine.block_inputs
    assert engine.cycles(work("take", d=counts.input_reads)) == counts.input_reads
    # Every look-up stands for group_size multiply-adds, the padding of the last block included.
    assert counts.lookups * 3 == item.counts()["mac"] // k * (counts.input_reads // m)
    array = MatmulArray.model_validate({"kind": "matmul_array", "macs_per_cycle": 1})
    assert array.cycles(item) == m * k * n


@pytest.mark.parametrize("order", ["reversed", "plain"])
@pytest.mark.parametrize("n, heads", [(8, 1), (16, 2), (5, 3)])
def test_prefill_steps_counted_are_the_engine_s_cycles(order, n, heads):
    width = 4
    q, k, v = np.random.default_rng(2).standard_normal((3, n, heads, width)).astype(np.float32)
    _, counts = prefill_attention_counted(q, k, v=v, order=order)
    engine = PrefillAttention.model_validate(FREE_PREFILL)
    item = work("attention", queries=8, keys=counts.steps, heads=heads, qk_dim=width)
    # At rate 1: a beat an element, a cycle a head for its partial sums, a cycle a head and query to rescale.
    assert engine.cycles(item) == counts.steps * (heads * width + heads + 8 * heads)
    assert counts.key_rows_read == counts.value_rows_read == counts.steps
    padded = -(-n // 8) * 8
    assert counts.visible_pairs == Mask().pairs(padded, padded)
    # Online softmax takes two exponentials a pair and head, of the score and of the maximum's change, in one iteration.
    assert counts.exps == 2 * item.counts()["exp"]


@pytest.mark.parametrize("context, heads", [(1, 1), (7, 2), (20, 3)])
def test_decode_rows_counted_are_the_engine_s_cycles(context, heads):
    width = 4
    rng = np.random.default_rng(3)
    q = rng.standard_normal((heads, width)).astype(np.float32)
    k, v = rng.standard_normal((2, context, heads, width)).astype(np.float32)
    _, counts = decode_attention_counted(q, k, v=v)
    engine = DecodeAttention.model_validate(FREE_DECODE)
    scores, values = (
        engine.cycles(work(f"attention_{half}", queries=1, keys=counts.key_rows_read, heads=heads, qk_dim=width))
        for half in ("scores", "values")
    )
    assert counts.key_rows_read == counts.value_rows_read == context
    assert scores == context * (heads * width + 2 * heads)
    assert values == context * (heads + heads * width)


@pytest.mark.parametrize("n, k", [(1536, 1536), (4096, 1536), (1536, 4096), (16, 84), (1537, 1600)])
def test_bytes_of_the_packed_layout_are_those_that_the_loader_charges(n, k):
    loader = archsim.load_design("tellme_kv260").units["loader"]
    assert loader.layout.bytes((n, k)) == loader_bytes(n, k)
    assert loader.cycles(work("move", bytes=loader_bytes(n, k))) == loader_bytes(n, k) // 96
