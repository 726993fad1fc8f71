"""Cycles and resources of each kind of unit, counted by hand. Their parameters stand in test_units.py."""

from __future__ import annotations

from typing import Any

import pytest
from test_units import samples, unit

from archsim import DesignError
from archsim.units import ceil_div
from dataflow import Work, work


@pytest.mark.parametrize("macs, cycles", [(0, 0), (1, 1), (12, 1), (13, 2), (120, 10)])
def test_matmul_array(macs: int, cycles: int) -> None:
    assert unit("matmul_array").cycles(work("matmul", m=1, k=macs, n=1)) == cycles


def test_matmul_array_counts_both_products_of_attention() -> None:
    """3 pairs x 2 heads x 4 elements, twice: 48 multiply-adds at 12 a cycle."""
    assert unit("matmul_array").cycles(work("attention", queries=1, keys=3, heads=2, qk_dim=4)) == 4
    assert unit("matmul_array").cycles(work("attention_scores", queries=1, keys=3, heads=2, qk_dim=4)) == 2
    assert unit("matmul_array", macs_per_cycle="0.5 MAC/cycle").cycles(work("matmul", m=3, k=1, n=1)) == 6


@pytest.mark.parametrize("item", list(samples(unit("node"), (0, 7))))
def test_a_node_takes_its_interval_whatever_it_computes(item: Work) -> None:
    assert unit("node").cycles(item) == 3


@pytest.mark.parametrize("stride, cycles", [(1, 1), (2, 2), (3, 1), (4, 4), (6, 2), (8, 8), (16, 16), (48, 16)])
def test_a_stride_costs_what_it_shares_with_the_banks(stride: int, cycles: int) -> None:
    """gcd(stride, 16) cycles a vector of 16 elements; counted bank by bank as well."""
    per_bank = [sum(1 for i in range(16) if i * stride % 16 == bank) for bank in range(16)]
    assert unit("memory_tile").cycles(work("load", vectors=1, stride=stride)) == cycles == max(per_bank)
    assert unit("memory_tile").cycles(work("store", vectors=9, stride=stride)) == 9 * cycles


@pytest.mark.parametrize("lanes", [1, 3, 8, 16, 24, 40])
@pytest.mark.parametrize("stride", range(1, 20))
def test_vectors_of_other_widths_wait_for_the_fullest_bank(lanes: int, stride: int) -> None:
    per_bank = [sum(1 for i in range(lanes) if i * stride % 16 == bank) for bank in range(16)]
    assert unit("memory_tile", lanes=lanes).cycles(work("load", vectors=1, stride=stride)) == max(per_bank)


@pytest.mark.parametrize("bytes_, cycles", [(0, 0), (1, 11), (512, 18), (513, 29), (1536, 54), (1537, 65)])
@pytest.mark.parametrize("kind", ["read", "write"])
def test_memory_pays_for_each_request_of_512_bytes(kind: str, bytes_: int, cycles: int) -> None:
    """bytes / 64 and 10 cycles (10 us) a request: 1537 B are 24.02 + 4 x 10."""
    assert unit("memory").cycles(work(kind, bytes=bytes_)) == cycles


def test_memory_without_request_bytes_pays_once_per_firing() -> None:
    one = unit("memory", request_bytes=None)
    assert [one.cycles(work("read", bytes=n)) for n in (0, 64, 6400)] == [0, 11, 110]


def test_memory_rounds_up_once() -> None:
    """3 B at 2 B/cycle are 1.5 and three requests of 250 ns are 0.75 cycles: 2.25, not 2 + 1 or 2 + 3."""
    one = unit("memory", bandwidth="2 B/cycle", request_bytes="1 B", request_overhead="250 ns")
    assert one.cycles(work("read", bytes=3)) == 3
    assert one.cycles(work("read", bytes=4)) == 3
    assert one.cycles(work("read", bytes=5)) == 4


def test_a_rate_per_second_is_exact_on_the_clock() -> None:
    """17.1 MB/s at 1 MHz are 17.1 B a cycle: 171 B in 10 cycles, one more in 11."""
    one = unit("memory", bandwidth="17.1 MB/s", request_overhead="0 s")
    assert [one.cycles(work("read", bytes=n)) for n in (171, 172)] == [10, 11]


@pytest.mark.parametrize("requests, bytes_, cycles", [(0, 9, 0), (1, 0, 0), (1, 512, 18), (7, 512, 126), (3, 513, 85)])
def test_memory_gathers_pieces_that_share_no_request(requests: int, bytes_: int, cycles: int) -> None:
    """A piece of 512 B is 8 + 10 cycles wherever it lies; one of 513 B is two requests: 8.02 + 20, thrice 84.05."""
    assert unit("memory").cycles(work("gather", requests=requests, bytes=bytes_)) == cycles
    assert unit("memory").cycles(work("read", bytes=7 * 512)) == 126


def test_memory_without_request_bytes_pays_once_for_each_piece() -> None:
    one = unit("memory", request_bytes=None)
    assert [one.cycles(work("gather", requests=n, bytes=6400)) for n in (0, 1, 3)] == [0, 110, 330]


@pytest.mark.parametrize("region, refused", [("1 MiB", False), ("1048577 B", True), ("2 MiB", True)])
def test_a_region_of_a_memory_lies_inside_it(region: str, refused: bool) -> None:
    if refused:
        with pytest.raises(DesignError, match=r"units\.u\.cache_region: .* of a memory of 1 MiB; "):
            unit("memory", cache_region=region)
    else:
        assert unit("memory", cache_region=region)


@pytest.mark.parametrize("bytes_, cycles", [(0, 0), (1, 1), (32, 1), (33, 2), (320, 10)])
def test_channel_without_packets(bytes_: int, cycles: int) -> None:
    one = unit("channel", request_bytes=None, request_overhead=None)
    assert one.cycles(work("move", bytes=bytes_)) == cycles


@pytest.mark.parametrize("bytes_, cycles", [(0, 0), (1, 3), (128, 6), (129, 9), (1280, 60)])
def test_channel_pays_for_each_packet_of_128_bytes(bytes_: int, cycles: int) -> None:
    """bytes / 32 and 2 cycles a packet."""
    assert unit("channel").cycles(work("move", bytes=bytes_)) == cycles


@pytest.mark.parametrize(
    "m, k, n, cycles",
    [
        (0, 8, 4, 0), (1, 8, 4, 1), (3, 8, 4, 1), (4, 8, 4, 2),  # one step each, three cores
        (1, 8, 12, 1), (1, 24, 4, 1),  # the three steps of one row, a core each
        (3, 9, 4, 2), (3, 16, 4, 2), (3, 8, 5, 2), (3, 8, 8, 2), (1, 1, 1, 1),
        (6, 17, 9, 18),  # 3 steps deep, 3 wide, 6 rows over 3 cores
    ],
)  # fmt: skip
def test_core_array_matmul(m: int, k: int, n: int, cycles: int) -> None:
    """3 cores of 4 trees of 8 inputs."""
    assert unit("core_array").cycles(work("matmul", m=m, k=k, n=n)) == cycles


@pytest.mark.parametrize(
    "pairs, heads, head_dim, cycles",
    [
        (12, 1, 8, 2), (6, 2, 8, 2), (120, 1, 8, 20),  # 1 step for the score and 1 for the values, on 12 trees
        (12, 1, 9, 4), (120, 1, 9, 32),  # a score of 2 steps, values of 9/8: 3.125
        (12, 1, 4, 2), (120, 1, 4, 15),  # a score of a whole step, values of half a one: 1.5
        (1, 1, 1, 1), (0, 8, 8, 0),
        (150, 1, 8, 25),
    ],
)  # fmt: skip
def test_core_array_attention_is_bound_by_its_trees(pairs: int, heads: int, head_dim: int, cycles: int) -> None:
    assert unit("core_array").cycles(work("attention", queries=1, keys=pairs, heads=heads, qk_dim=head_dim)) == cycles


def test_core_array_attention_is_bound_by_its_lanes() -> None:
    """3 lanes: an exponential for each of 150 pairs is 50 cycles; the trees need 25."""
    one = unit("core_array", lanes=1)
    assert one.cycles(work("attention", queries=1, keys=150, heads=1, qk_dim=8)) == 50
    assert one.cycles(work("attention", queries=1, keys=50, heads=3, qk_dim=8)) == 50
    assert one.cycles(work("attention", queries=1, keys=150, heads=1, qk_dim=64)) == 200


def test_core_array_beside_its_products() -> None:
    """96 multiply-adds and 15 lanes a cycle."""
    one: Any = unit("core_array")
    assert [one.cycles(work("score", mac=n)) for n in (0, 1, 96, 97, 960)] == [0, 1, 1, 2, 10]
    assert [one.cycles(work("compare", comparisons=n)) for n in (0, 1, 15, 16, 150)] == [0, 1, 1, 2, 10]
    assert [one.cycles(work("rmsnorm", rows=n, d=5)) for n in (0, 3, 4, 30)] == [0, 1, 2, 10]
    assert one.cycles(work("rope", rows=5, d=3 * 2)) == 2


@pytest.mark.parametrize(
    "current, cached, bits, cycles",
    [
        (0, 4, 32, 0), (1, 0, 32, 0),
        (1, 4, 32, 2 * 2 + 3),  # 4 comparisons by 2 comparators, 2 cycles each; one fill of each buffer
        (1, 5, 32, 3 * 2 + 6),  # 5 comparisons; 4 cached hashes fit in 16 B
        (2, 4, 32, 5 * 2 + 3),  # 2 x 4 and 1 between the two
        (3, 4, 32, 8 * 2 + 6),  # 12 + 3, and 2 current hashes fit in 8 B
        (3, 5, 32, 9 * 2 + 12), (3, 0, 32, 2 * 2), (1, 4, 33, 2 * 3 + 6), (1, 4, 16, 2 + 3),
    ],
)  # fmt: skip
def test_hash_comparator(current: int, cached: int, bits: int, cycles: int) -> None:
    assert unit("hash_comparator").cycles(work("hash_compare", current=current, cached=cached, bits=bits)) == cycles


@pytest.mark.parametrize(
    "rows, columns, passes, cycles",
    [
        (0, 16, 0, 0), (1, 16, 0, 4), (2, 16, 0, 4), (2, 16, 2, 8), (2, 16, 3, 12), (2, 15, 2, 8), (2, 0, 2, 0),
        (2, 17, 2, 2 * 5 + 4 * 7),  # 16 elements of 2 B lie in 32 B: one further fill in each of four passes
        (2, 32, 2, 2 * 8 + 4 * 7), (2, 33, 2, 2 * 9 + 8 * 7), (1, 17, 0, 5 + 7),
        (2, 16, 10, 24), (2, 16, 11, 28),
    ],
)  # fmt: skip
def test_threshold_unit(rows: int, columns: int, passes: int, cycles: int) -> None:
    """Two cores of 4 lanes; a row of 16 is 4 cycles."""
    assert unit("threshold_unit").cycles(work("threshold", rows=rows, columns=columns, passes=passes)) == cycles


@pytest.mark.parametrize(
    "score, count, bits, held", [(32, 64, 16, 16), (64, 32, 16, 16), (64, 64, 8, 64), (2, 9, 9, 1)]
)
def test_one_element_more_than_both_buffers_hold_is_one_fill_more(score: int, count: int, bits: int, held: int) -> None:
    one = unit("threshold_unit", score_buffer=f"{score} B", count_buffer=f"{count} B", element_bits=f"{bits} bit")
    full, more = (one.cycles(work("threshold", rows=1, columns=n, passes=0)) for n in (held, held + 1))
    assert (full, more) == (ceil_div(held, 4), ceil_div(held + 1, 4) + 7)


@pytest.mark.parametrize("requests, cycles", [(0, 0), (1, 1), (6, 1), (7, 2), (60, 10)])
def test_kv_manager(requests: int, cycles: int) -> None:
    """Two managers, three requests each."""
    assert unit("kv_manager").cycles(work("issue", requests=requests)) == cycles


def test_gpu() -> None:
    """12 multiply-adds, 6 flops and half a step of selection a cycle; 5 us to launch."""
    one = unit("gpu")
    assert one.cycles(work("enter")) == 5
    assert one.cycles(work("matmul", m=2, k=3, n=4)) == one.cycles(work("ternary_matmul", m=2, k=3, n=4)) == 2
    assert one.cycles(work("attention", queries=1, keys=3, heads=2, qk_dim=4)) == 4
    assert [one.cycles(work("score", mac=n)) for n in (0, 12, 13)] == [0, 1, 2]
    assert one.cycles(work("add", rows=3, d=4)) == 2
    assert one.cycles(work("rmsnorm", rows=3, d=4)) == 8  # four flops an element
    assert one.cycles(work("embedding", rows=3, d=4)) == 2  # none, but each is moved
    assert one.cycles(work("hash_compare", current=3, cached=2, bits=32)) == 18  # 6 + 3 comparisons
    assert one.cycles(work("threshold", rows=2, columns=5, passes=3)) == 50
    assert one.cycles(work("issue", requests=7)) == 14
    assert one.cycles(work("compare", comparisons=7)) == 2  # all lanes alike


def test_rates_of_a_gpu_are_exact_on_the_clock() -> None:
    one: Any = unit("gpu", macs_per_cycle="27 TMAC/s", flops_per_cycle="5.3 TFLOP/s", selections_per_cycle="50 MOP/s")
    assert (one.macs_per_cycle, one.flops_per_cycle, one.selections_per_cycle) == (27_000_000, 5_300_000, 50)


@pytest.mark.parametrize("macs, cycles", [(0, 0), (1, 1), (333, 1), (334, 2), (1000, 3), (1001, 4), (10_000, 30)])
def test_host_is_scaled_from_one_measurement(macs: int, cycles: int) -> None:
    """1000 multiply-adds in 3 us."""
    assert unit("host").cycles(work("matmul", m=1, k=1, n=macs)) == cycles


def test_vector() -> None:
    """4 lanes; a loop of 16 elements is entered at a price of 34, as a firing of its own."""
    one = unit("vector")
    assert one.does == ("quantize", "rope", "add", "enter", "copy")
    assert one.cycles(work("enter")) == 34
    assert [one.cycles(work("copy", d=n)) for n in (0, 1, 4, 5, 16)] == [0, 1, 1, 2, 4]
    assert one.cycles(work("quantize", rows=3, d=5)) == 4  # 15 elements
    assert one.cycles(work("rope", rows=2, d=3 * 4)) == 6  # 24 elements


def test_vector_names_an_op_kind_that_is_none() -> None:
    with pytest.raises(DesignError, match="'matmul' is no element-wise op kind"):
        unit("vector", ops=["matmul"])


def test_norm_passes_twice_over_each_row() -> None:
    """A row of 1536 by 16 lanes: 96 + 40, 41, 96 + 20."""
    one = unit("norm")
    assert one.cycles(work("rmsnorm", rows=1, d=1536)) == 293
    assert one.cycles(work("rmsnorm", rows=7, d=1536)) == 7 * 293
    assert one.cycles(work("rmsnorm", rows=1, d=1537)) == 295


@pytest.mark.parametrize(
    "m, k, n, cycles",
    [
        (1, 1536, 1536, 19 * (4 + 12 + 96)),  # 18.3 blocks of 84 inputs; 1536 outputs by 16 readers
        (1, 84, 16, 17), (1, 85, 16, 34), (1, 84, 17, 18), (1, 1, 1, 17), (0, 84, 16, 0),
        (5, 1536, 1536, 5 * 2128),
    ],
)  # fmt: skip
def test_table_lookup(m: int, k: int, n: int, cycles: int) -> None:
    assert unit("table_lookup").cycles(work("ternary_matmul", m=m, k=k, n=n)) == cycles


def test_table_lookup_takes_and_drains() -> None:
    one = unit("table_lookup")
    assert [one.cycles(work("take", d=n)) for n in (0, 1, 4)] == [0, 1, 4]
    assert [one.cycles(work("drain", d=n)) for n in (1, 16, 17)] == [1, 1, 2]
    assert unit("table_lookup", takes_per_cycle=3).cycles(work("take", d=4)) == 2


def test_table_lookup_widths() -> None:
    """27 entries need 5 bits of index; a sum of three 8-bit values 10 bits; 10 x 27 x 16 copies x 28 tables."""
    one: Any = unit("table_lookup")
    assert (one.block_inputs, one.table_entries, one.index_bits, one.entry_bits) == (84, 27, 5, 10)
    assert one.table_bits == 120_960
    assert one.block_inputs * one.readers_per_table == 1344


@pytest.mark.parametrize("group, entries, index, entry", [(1, 3, 2, 8), (2, 9, 4, 9), (4, 81, 7, 10), (5, 243, 8, 11)])
def test_table_lookup_widths_of_other_groups(group: int, entries: int, index: int, entry: int) -> None:
    one: Any = unit("table_lookup", group_size=group)
    assert (one.table_entries, one.index_bits, one.entry_bits) == (entries, index, entry)


def test_weight_loader_finds_whole_regions_of_beats() -> None:
    """A region: 19 rows of blocks, each ceil(1536 / 5) = 308 beats of 96 B."""
    one: Any = unit("weight_loader")
    assert one.layout.bytes((1536, 1536)) == 19 * 308 * 96 == 561_792
    assert one.layout.bytes((4096, 1536)) == 3 * 561_792
    assert one.beat_bytes == 96
    assert one.cycles(work("move", bytes=561_792)) == 5852


@pytest.mark.parametrize("ports, bits, bytes_, cycles", [(3, 256, 96, 1), (3, 256, 97, 2), (1, 12, 3, 2), (1, 1, 1, 8)])
def test_weight_loader_moves_what_its_ports_carry(ports: int, bits: int, bytes_: int, cycles: int) -> None:
    one = unit("weight_loader", ports=ports, port_bits=f"{bits} bit")
    assert one.cycles(work("move", bytes=bytes_)) == cycles


@pytest.mark.parametrize(
    "changes, uram",
    [
        ({}, 48),  # 192 outputs a bank x 57 rows = 10,944 words: 3 deep, 2 wide, 8 banks
        ({"regions": 1}, 16),  # 3648 words: 1 deep
        ({"word_bits": "144 bit"}, 48), ({"word_bits": "145 bit"}, 72), ({"word_bits": "72 bit"}, 24),
        ({"banks": 1}, 44),  # 87,552 words: 22 deep
        ({"regions": 1, "region_blocks": 64, "region_outputs": 512}, 16),  # 4096 words exactly
        ({"regions": 1, "region_blocks": 64, "region_outputs": 513}, 32),
    ],
)  # fmt: skip
def test_weight_buffer_in_ultraram(changes: dict[str, Any], uram: int) -> None:
    assert unit("weight_buffer", **changes).resources()["uram"] == uram


def test_a_step_of_prefill_attention() -> None:
    """16 heads of 96: 96 beats, each 16 x 8 products on 32 adders = 4 cycles; the three loops with their fills."""
    one = unit("prefill_attention")
    step = (96 * 4 + 25) + (16 + 20) + (16 * 8 * 10 + 35)
    assert step == 1760
    pairs = (0, 1, 8, 9, 64)
    cycles = {n: one.cycles(work("attention", queries=1, keys=n, heads=16, qk_dim=96)) for n in pairs}
    assert cycles == {0: 0, 1: step, 8: step, 9: 2 * step, 64: 8 * step}
    assert one.cycles(work("drain", d=8 * 1536)) == 768 + 15


def test_a_beat_of_prefill_attention_is_paid_in_full() -> None:
    """One element and sixteen are a beat; more adders than products do not help."""
    for adders, interval in ((1, 128), (127, 2), (128, 1), (1000, 1)):
        one = unit("prefill_attention", adders=adders)
        rest = 25 + (1 + 20) + (8 * 10 + 35)
        assert one.cycles(work("attention", queries=1, keys=8, heads=1, qk_dim=1)) == interval + rest
        assert one.cycles(work("attention", queries=1, keys=8, heads=1, qk_dim=16)) == interval + rest
        assert one.cycles(work("attention", queries=1, keys=8, heads=1, qk_dim=17)) == 2 * interval + rest


def test_both_passes_of_decode_attention() -> None:
    """16 heads of 96, a cached token: 96 + 25, 16 + 20, 16 + 35; then 16 + 25, 96 + 15."""
    one = unit("decode_attention")
    assert one.cycles(work("attention_scores", queries=1, keys=1, heads=16, qk_dim=96)) == 208
    assert one.cycles(work("attention_values", queries=1, keys=1, heads=16, qk_dim=96)) == 152
    assert one.cycles(work("attention_scores", queries=1, keys=100, heads=16, qk_dim=96)) == 20_800
    assert one.cycles(work("drain", d=1536)) == 96 + 15
