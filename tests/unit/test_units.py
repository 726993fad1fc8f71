"""The contract that every kind of unit keeps, and cycles of each counted by hand.

A new kind adds a row to SAMPLES, RATES, COSTS and CHANGES below.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from archsim import DesignError, ScheduleError, load_design
from archsim.engine.flat import flatten
from archsim.units import KINDS, AnyUnit, Unit
from archsim.units.unit import ceil_div
from dataflow import OP_KINDS, Section, Task, Work, every, work

TOY = load_design("toy")
ROOT = Path(__file__).parents[2]

# Parameters of a unit of each kind, as YAML writes them.
SAMPLES: dict[str, dict[str, Any]] = {
    "channel": {"bandwidth": "32 B/cycle", "request_bytes": "128 B", "request_overhead": "2 us"},
    "core_array": {"cores": 3, "trees": 4, "inputs": 8, "lanes": 5},
    "decode_attention": {
        "score_depth": 1024, "lanes": 16, "beat_fill_cycles": 25, "reduce_fill_cycles": 20, "softmax_fill_cycles": 35,
        "exp_fill_cycles": 25, "value_fill_cycles": 15, "drain_fill_cycles": 15,
    },
    "gpu": {
        "macs_per_cycle": "12 MAC/cycle", "flops_per_cycle": "6 FLOP/cycle", "selections_per_cycle": "0.5 OP/cycle",
        "launch_overhead": "5 us",
    },
    "hash_comparator": {
        "cores": 2, "bits_per_cycle": "16 bit", "current_buffer": "8 B", "cached_buffer": "16 B", "fill_cycles": 3,
    },
    "host": {"measured_macs": 1000, "measured_time": "3 us"},
    "kv_manager": {"cores": 2, "requests_per_cycle": 3},
    "matmul_array": {"macs_per_cycle": 12},
    "memory": {"capacity": "1 MiB", "bandwidth": "64 B/cycle", "request_bytes": "512 B", "request_overhead": "10 us"},
    "node": {"ops": ["map", "zip"], "interval_cycles": 3},
    "norm": {"lanes": 16, "sum_fill_cycles": 40, "root_cycles": 41, "scale_fill_cycles": 20},
    "prefill_attention": {
        "max_context": 1024, "query_parallel": 8, "lanes": 16, "adders": 32, "beat_fill_cycles": 25,
        "reduce_fill_cycles": 20, "rescale_lanes": 96, "rescale_interval_cycles": 10, "rescale_fill_cycles": 35,
        "drain_fill_cycles": 15,
    },
    "scratchpad": {"banks": 16, "lanes": 16},
    "table_lookup": {
        "group_size": 3, "num_tables": 28, "readers_per_table": 16, "activation_bits": "8 bit", "takes_per_cycle": 1,
        "build_cycles": 4, "lookup_fill_cycles": 12,
    },
    "threshold_unit": {
        "cores": 2, "lanes": 4, "score_buffer": "32 B", "count_buffer": "64 B", "element_bits": "16 bit", "buckets": 5,
        "fill_cycles": 7,
    },
    "vector": {"ops": ["quantize", "rope", "add"], "lanes": 4, "loop_elements": 16, "fill_cycles": 34},
    "weight_buffer": {"regions": 3, "region_blocks": 19, "region_outputs": 1536, "word_bits": "140 bit", "banks": 8},
    "weight_loader": {
        "ports": 3, "port_bits": "256 bit", "burst_beats": 16, "outstanding": 16, "beat_bits": "768 bit",
        "vectors_per_beat": 5, "block_inputs": 84, "region_blocks": 19, "region_outputs": 1536,
    },
}  # fmt: skip

ONE_TO_TWENTY = list(range(1, 21))

# Fields of which more is never slower, as rising values.
RATES: dict[str, dict[str, list[Any]]] = {
    "channel": {
        "bandwidth": [f"{n} B/cycle" for n in (0.3, 1, 1.5, 7, 64)],
        "request_bytes": ["1 B", "7 B", "64 B", "512 B", "1 GiB", None],
    },
    "core_array": dict.fromkeys(("cores", "trees", "inputs", "lanes"), ONE_TO_TWENTY),
    "decode_attention": {"lanes": ONE_TO_TWENTY},
    "gpu": {
        "macs_per_cycle": ONE_TO_TWENTY,
        "flops_per_cycle": [f"{n} FLOP/cycle" for n in (0.3, 1, 1.5, 7)],
        "selections_per_cycle": [f"{n} OP/cycle" for n in (0.3, 1, 1.5, 7)],
    },
    "hash_comparator": {
        "cores": ONE_TO_TWENTY, "bits_per_cycle": [f"{n} bit" for n in (1, 2, 7, 16, 100)],
        "current_buffer": [f"{n} B" for n in (1, 2, 7, 128)], "cached_buffer": [f"{n} B" for n in (1, 2, 7, 128)],
    },
    "host": {"measured_macs": [1, 2, 3, 1000]},
    "kv_manager": {"cores": ONE_TO_TWENTY, "requests_per_cycle": ONE_TO_TWENTY},
    "matmul_array": {"macs_per_cycle": ONE_TO_TWENTY},
    "memory": {
        "bandwidth": [f"{n} B/cycle" for n in (0.3, 1, 1.5, 7, 64)],
        "request_bytes": ["1 B", "7 B", "64 B", "512 B", "1 GiB", None],
    },
    "node": {},
    "norm": {"lanes": ONE_TO_TWENTY},
    # The adders are shared: a beat that is not full still pays for all its lanes, and a group for all its queries.
    # So lanes are a rate where they divide the row, and query_parallel, the size of the work given, is none.
    "prefill_attention": {"lanes": [1, 2, 4, 8, 16], "adders": [*ONE_TO_TWENTY, 64, 128, 1000],
                          "rescale_lanes": [*ONE_TO_TWENTY, 96, 128]},
    "scratchpad": {"banks": [1, 2, 4, 8, 16, 32]},
    "table_lookup": {
        "group_size": [1, 2, 3, 4, 5], "num_tables": ONE_TO_TWENTY, "readers_per_table": ONE_TO_TWENTY,
        "takes_per_cycle": ONE_TO_TWENTY,
    },
    "threshold_unit": {
        "cores": ONE_TO_TWENTY, "lanes": ONE_TO_TWENTY,
        "score_buffer": [f"{n} B" for n in (1, 2, 7, 64, 128)],
        "count_buffer": [f"{n} B" for n in (1, 2, 7, 32, 128)],
    },
    "vector": {"lanes": ONE_TO_TWENTY},
    "weight_buffer": {},
    "weight_loader": {"ports": [1, 2, 3, 4, 16], "port_bits": [f"{n} bit" for n in (1, 7, 8, 12, 256)]},
}  # fmt: skip

# Fields of which more is never faster.
COSTS: dict[str, dict[str, list[Any]]] = {
    "channel": {"request_overhead": ["0 s", "1 ns", "3 us", "1 ms"]},
    "core_array": {},
    "decode_attention": {
        name: [0, 1, 25] for name in SAMPLES["decode_attention"] if name.endswith("fill_cycles")
    },
    "gpu": {"launch_overhead": ["0 s", "1 ns", "3 us", "1 ms"]},
    "hash_comparator": {"fill_cycles": [0, 1, 40]},
    "host": {"measured_time": ["1 ps", "1 ns", "3 us", "1 ms"]},
    "kv_manager": {},
    "matmul_array": {},
    "memory": {"request_overhead": ["0 s", "1 ns", "3 us", "1 ms"]},
    "node": {"interval_cycles": [1, 2, 7]},
    "norm": {"sum_fill_cycles": [0, 1, 40], "root_cycles": [0, 1, 40], "scale_fill_cycles": [0, 1, 20]},
    "prefill_attention": {
        **{name: [0, 1, 25] for name in SAMPLES["prefill_attention"] if name.endswith("fill_cycles")},
        "rescale_interval_cycles": [1, 2, 10],
    },
    "scratchpad": {"lanes": ONE_TO_TWENTY},
    "table_lookup": {"build_cycles": [0, 1, 4], "lookup_fill_cycles": [0, 1, 12]},
    "threshold_unit": {
        "element_bits": [f"{n} bit" for n in (1, 7, 16, 1000)], "fill_cycles": [0, 1, 40],
    },
    "vector": {"fill_cycles": [0, 1, 34]},
    "weight_buffer": {},
    "weight_loader": {},
}

# Every other field of a kind: another value, and where it is felt. A word is a property of the unit; "mappers" says
# that a mapper decides by it, "engine" that it is in the flat form, "energy" that the report sums it.
COMMON = {
    "count": (2, "engine"),
    "arbitration": ("", "engine"),
    "latency_cycles": (9, "engine"),
    "energy": ({"mac": "3 pJ", "exp": "3 pJ", "flop": "3 pJ", "read": "3 pJ", "written": "3 pJ"}, "energy"),
}
FELT_ELSEWHERE: dict[str, dict[str, tuple[Any, str]]] = {
    "channel": {},
    "core_array": {},
    "decode_attention": {"score_depth": (2048, "mappers")},
    "gpu": {},
    "hash_comparator": {},
    "host": {},
    "kv_manager": {},
    "matmul_array": {},
    "memory": {"capacity": ("2 MiB", "mappers"), "cache_region": ("1 MiB", "mappers")},
    "node": {"ops": (["sink"], "does")},
    "norm": {},
    "prefill_attention": {"max_context": (2048, "mappers"), "query_parallel": (4, "cycles")},
    "scratchpad": {},
    "table_lookup": {"activation_bits": ("9 bit", "table_bits")},
    "threshold_unit": {"buckets": (2, "mappers")},
    "vector": {"ops": (["add"], "does"), "loop_elements": (0, "mappers")},
    "weight_buffer": {
        "regions": (6, "resources"), "region_blocks": (190, "resources"), "region_outputs": (15360, "resources"),
        "word_bits": ("145 bit", "resources"), "banks": (16, "resources"),
    },
    "weight_loader": {
        "burst_beats": (32, "mappers"), "outstanding": (32, "mappers"), "beat_bits": ("800 bit", "layout"),
        "vectors_per_beat": (4, "layout"), "block_inputs": (80, "layout"), "region_blocks": (20, "layout"),
        "region_outputs": (3072, "layout"),
    },
}  # fmt: skip

PLACED = ("node", "scratchpad")  # kinds whose tasks each have a server of their own, whatever the design says

EXTENTS = (0, 1, 2, 5, 16, 33, 100)
kinds = pytest.mark.parametrize("kind", sorted(KINDS))


def unit(kind: str, **changes: Any) -> Unit:
    """A unit of this kind on the toy design's clock: a cycle is a microsecond. A change to None leaves the key out."""
    written = {k: v for k, v in {**SAMPLES[kind], **changes}.items() if v is not None}
    return TOY.with_({"units": {"u": {"kind": kind, **written}}}).units["u"]


def works(kind: str, extents: tuple[int, ...] = EXTENTS) -> Iterator[Work]:
    """Every combination of these extents for an op kind."""
    names = OP_KINDS[kind].extents
    # Of attention's seven extents the smallest, the middle and the largest values, with as many KV heads as heads.
    if len(names) > 4:
        names = tuple(name for name in names if name not in ("batch", "kv_heads"))
        extents = (extents[0], extents[len(extents) // 2], extents[-1])
    for values in product(extents, repeat=len(names)):
        yield work(kind, **dict(zip(names, values, strict=True)))


def samples(one: Unit, extents: tuple[int, ...] = EXTENTS) -> list[Work]:
    return [item for kind in one.does for item in works(kind, extents)]


def test_the_tables_of_this_file_know_every_kind() -> None:
    for table in (SAMPLES, RATES, COSTS, FELT_ELSEWHERE):
        assert set(table) == set(KINDS)


def test_every_kind_is_in_the_union_under_its_own_name() -> None:
    union, _ = get_args(AnyUnit)
    assert set(get_args(union)) == set(KINDS.values())
    for name, kind in KINDS.items():
        assert get_args(kind.model_fields["kind"].annotation) == (name,)


@kinds
def test_every_op_kind_that_it_does_is_in_the_op_table(kind: str) -> None:
    assert set(unit(kind).does) <= set(OP_KINDS)


@kinds
def test_cycles_are_whole_and_not_negative(kind: str) -> None:
    one = unit(kind)
    for item in samples(one):
        cycles = one.cycles(item)
        assert type(cycles) is int
        assert cycles >= 0


@kinds
def test_more_work_never_takes_fewer_cycles(kind: str) -> None:
    one = unit(kind)
    for item in samples(one):
        for i, extent in enumerate(OP_KINDS[item.kind].extents):
            if extent == "stride":  # says where elements lie, not how many there are
                continue
            more = replace(item, extents=tuple(n + (i == j) for j, n in enumerate(item.extents)))
            assert one.cycles(more) >= one.cycles(item), f"{more} after {item}"


@pytest.mark.parametrize("kind, field", [(k, f) for k, fields in RATES.items() for f in fields])
def test_a_higher_rate_is_never_slower(kind: str, field: str) -> None:
    units = [unit(kind, **{field: value}) for value in RATES[kind][field]]
    felt = False
    # A row is heads x head_dim elements; of 16 each, so that whole beats fill it (see RATES).
    for item in samples(units[0], (0, 16, 160) if kind == "prefill_attention" else EXTENTS):
        cycles = [one.cycles(item) for one in units]
        assert cycles == sorted(cycles, reverse=True), f"{field} for {item}"
        felt |= cycles[-1] < cycles[0]
    assert felt


@pytest.mark.parametrize("kind, field", [(k, f) for k, fields in COSTS.items() for f in fields])
def test_a_higher_cost_is_never_faster(kind: str, field: str) -> None:
    units = [unit(kind, **{field: value}) for value in COSTS[kind][field]]
    felt = False
    for item in samples(units[0]):
        cycles = [one.cycles(item) for one in units]
        assert cycles == sorted(cycles), f"{field} for {item}"
        felt |= cycles[-1] > cycles[0]
    assert felt


def read_by_mappers() -> set[str]:
    """Names of attributes that mappers read."""
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "mappers").rglob("*.py"))]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@kinds
def test_every_field_matters(kind: str) -> None:
    """RATES and COSTS change cycles (above); every other field is felt where FELT_ELSEWHERE and COMMON say."""
    others = {**COMMON, **FELT_ELSEWHERE[kind]}
    assert {*RATES[kind], *COSTS[kind], *others, "kind"} == set(KINDS[kind].model_fields)
    one = unit(kind)
    for field, (value, where) in others.items():
        if where == "mappers":
            assert field in read_by_mappers()
        elif where == "cycles":
            changed = unit(kind, **{field: value})
            assert any(one.cycles(item) != changed.cycles(item) for item in samples(one))
        elif where == "resources":
            assert unit(kind, **{field: value}).resources() != one.resources()
        elif where not in ("engine", "energy"):
            assert getattr(unit(kind, **{field: value}), where) != getattr(one, where), field


@kinds
def test_count_latency_and_arbitration_reach_the_engine(kind: str) -> None:
    if not unit(kind).does:
        return
    item = next(w for w in samples(unit(kind)) if unit(kind).cycles(w))
    section = Section("s", (Task("x", "u", 2, every(item)),), ())

    def flat(**changes: Any) -> Any:
        written = {"kind": kind, **SAMPLES[kind], **changes}
        return flatten(section, TOY.with_({"units": {"u": written}})).units[0]

    assert (flat().latency_cycles, flat(latency_cycles=9).latency_cycles) == (0, 9)
    if kind not in ("memory", "channel"):  # their clients compete for one bandwidth
        assert flat(arbitration="placed").name == "u: x"
    if kind in PLACED:
        with pytest.raises(DesignError, match="arbitration"):
            flat(arbitration="in_order")
        return
    assert (flat().count, flat(count=2).count) == (1, 2)
    assert flat(arbitration="in_order").order == ((0, 2),)
    assert flat(arbitration="first_come").order is None
    assert (flat().order is None) == (kind in ("memory", "channel"))


@kinds
def test_foreign_work_is_refused(kind: str) -> None:
    one = unit(kind)
    for other in set(OP_KINDS) - set(one.does):
        item = next(works(other, (1,)))
        with pytest.raises(TypeError) as raised:
            one.cycles(item)
        does = ", ".join(one.does)
        assert str(raised.value) == f"a {KINDS[kind].__name__} does not do '{other}'; it does {does}"


@kinds
def test_an_unknown_key_and_a_missing_one_are_refused(kind: str) -> None:
    with pytest.raises(DesignError, match="unknown key 'turbo'"):
        unit(kind, turbo=1)
    for field, info in KINDS[kind].model_fields.items():
        if info.is_required() and field != "kind":
            with pytest.raises(DesignError, match=field):
                unit(kind, **{field: None})


@kinds
def test_energy_is_the_sum_over_what_is_counted_or_not_modelled(kind: str) -> None:
    prices = {"mac": "1 pJ", "exp": "2 pJ", "flop": "3 pJ", "read": "4 pJ", "written": "5 pJ", "moved": "6 pJ"}
    priced, unpriced = unit(kind, energy=prices), unit(kind)
    for item in samples(priced):
        counts = item.counts()
        each = {"mac": 1, "exp": 2, "flop": 3, "read": 4, "written": 5, "moved": 6}
        assert priced.energy_joules(item) == sum(n * Fraction(each[what], 10**12) for what, n in counts.items())
        assert unpriced.energy_joules(item) is None


def test_energy_of_something_without_a_price_is_not_modelled() -> None:
    one = unit("matmul_array", energy={"mac": "1 pJ"})
    assert one.energy_joules(work("matmul", m=1, k=2, n=3)) == Fraction(6, 10**12)
    assert one.energy_joules(work("attention", queries=1, keys=1, heads=1, qk_dim=2)) is None
    assert one.energy_joules(work("attention", queries=1, keys=0, heads=1, qk_dim=2)) == 0


@pytest.mark.parametrize("a, b, up", [(0, 3, 0), (1, 3, 1), (3, 3, 1), (4, 3, 2), (10**30 + 1, 10, 10**29 + 1)])
def test_ceil_div_is_exact(a: int, b: int, up: int) -> None:
    assert ceil_div(a, b) == up


def two_tasks(**changes: Any) -> Any:
    """The flat form of two tasks placed on one unit of nodes."""
    tasks = tuple(Task(name, "u", 2, every(work("map", mac=1, exp=0, flop=0))) for name in ("a", "b"))
    written = {"kind": "node", **SAMPLES["node"], **changes}
    return flatten(Section("s", tasks, ()), TOY.with_({"units": {"u": written}}))


@pytest.mark.parametrize("count", [2, 5, "inf"])
def test_tasks_that_are_placed_have_a_server_each(count: Any) -> None:
    flat = two_tasks(count=count)
    assert [(one.name, one.of, one.count, one.order) for one in flat.units] == [
        ("u: a", "u", 1, ((0, 2),)),
        ("u: b", "u", 1, ((1, 2),)),
    ]
    assert [task.unit for task in flat.tasks] == [0, 1]


def test_more_tasks_than_servers_cannot_be_placed() -> None:
    with pytest.raises(ScheduleError) as raised:
        two_tasks()
    assert str(raised.value) == (
        "section 's': 2 tasks are placed on unit 'u', whose count is 1; each takes a server of its own"
    )


def test_tasks_that_are_placed_have_no_order_among_them() -> None:
    tasks = (Task("a", "u", 2, every(work("map", mac=1, exp=0, flop=0))),)
    with pytest.raises(ScheduleError, match="an order of unit 'u', whose tasks are placed"):
        flatten(
            Section("s", tasks, (), orders={"u": (("a", 2),)}),
            TOY.with_({"units": {"u": {"kind": "node", **SAMPLES["node"]}}}),
        )


def test_servers_without_number_must_be_placed() -> None:
    with pytest.raises(DesignError, match="count: inf servers need arbitration placed; with in_order give"):
        unit("matmul_array", count="inf")


# Counted by hand ------------------------------------------------------------------------------------------------------


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
    assert unit("scratchpad").cycles(work("load", vectors=1, stride=stride)) == cycles == max(per_bank)
    assert unit("scratchpad").cycles(work("store", vectors=9, stride=stride)) == 9 * cycles


@pytest.mark.parametrize("lanes", [1, 3, 8, 16, 24, 40])
@pytest.mark.parametrize("stride", range(1, 20))
def test_vectors_of_other_widths_wait_for_the_fullest_bank(lanes: int, stride: int) -> None:
    per_bank = [sum(1 for i in range(lanes) if i * stride % 16 == bank) for bank in range(16)]
    assert unit("scratchpad", lanes=lanes).cycles(work("load", vectors=1, stride=stride)) == max(per_bank)


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
    assert one.flops_per_cycle == 2 * (96 + 15)


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


def test_hashes_that_the_buffers_hold() -> None:
    one: Any = unit("hash_comparator")
    assert (one.current_hashes(32), one.cached_hashes(32), one.current_hashes(33)) == (2, 4, 1)


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
    "score, count, bits, held", [(32, 64, 16, 16), (64, 32, 16, 16), (64, 64, 8, 64), (1, 9, 9, 0)]
)
def test_elements_that_both_buffers_hold(score: int, count: int, bits: int, held: int) -> None:
    one: Any = unit(
        "threshold_unit", score_buffer=f"{score} B", count_buffer=f"{count} B", element_bits=f"{bits} bit"
    )
    assert one.elements_held == held


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
    assert one.macs_per_cycle == 1344


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
    assert unit("weight_buffer", **changes).resources() == {"uram": uram}


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
