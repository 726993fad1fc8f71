"""Rates, costs and other fields of every kind of unit: whether each is felt where it should be, in the right direction.

The contract that a user's kind keeps too stands in tests/contracts/kinds.py. A new kind of the package adds a row to
SAMPLES, RATES, COSTS and FELT_ELSEWHERE below; test_unit_kinds.py has its cycles, counted by hand.
"""

from __future__ import annotations

import ast
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import pytest

from archsim import DesignError, ScheduleError, load_design
from archsim.engine.flat import flatten
from archsim.units import KINDS, AnyUnit, Unit
from archsim.units.unit import ceil_div
from contracts import kinds as contract
from dataflow import Section, Task, Work, every, work

TOY = load_design("toy")
ROOT = Path(__file__).parents[2]

# Parameters of a unit of each kind, as YAML writes them.
SAMPLES: dict[str, dict[str, Any]] = {
    "array": {"rows": 4, "columns": 3, "dataflow": "output_stationary", "folds": "serial"},
    "arrivals": {"times": "3 us"},
    "channel": {"bandwidth": "32 B/cycle", "request_bytes": "128 B", "request_overhead": "2 us"},
    "compute_tile": {"lanes": 4, "stages": 3, "latency_cycles": 0},
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
    "launcher": {"program_load": "5 us", "argument_load": "2 us"},
    "matmul_array": {"macs_per_cycle": 12},
    "memory": {"capacity": "1 MiB", "bandwidth": "64 B/cycle", "request_bytes": "512 B", "request_overhead": "10 us"},
    "memory_tile": {"capacity": "1 KiB", "banks": 16, "lanes": 16, "element_bits": "16 bit"},
    "mesh": {"rows": 4, "columns": 5, "hop_cycles": 2, "link_bandwidth": "8 B/cycle"},
    "node": {"ops": ["map", "zip"], "interval_cycles": 3},
    "norm": {"lanes": 16, "sum_fill_cycles": 40, "root_cycles": 41, "scale_fill_cycles": 20},
    "prefill_attention": {
        "max_context": 1024, "query_parallel": 8, "lanes": 16, "adders": 32, "beat_fill_cycles": 25,
        "reduce_fill_cycles": 20, "rescale_lanes": 96, "rescale_interval_cycles": 10, "rescale_fill_cycles": 35,
        "drain_fill_cycles": 15,
    },
    "ring": {"sockets": 3, "bandwidth": "8 B/cycle", "step_latency": "4 us"},
    "table_lookup": {
        "group_size": 3, "num_tables": 28, "readers_per_table": 16, "activation_bits": "8 bit", "takes_per_cycle": 1,
        "build_cycles": 4, "lookup_fill_cycles": 12,
    },
    "threshold_unit": {
        "cores": 2, "lanes": 4, "score_buffer": "32 B", "count_buffer": "64 B", "element_bits": "16 bit", "buckets": 5,
        "fill_cycles": 7,
    },
    "tile_tail": {"lanes": 4},
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
    # Rows and columns are geometry: more of them fill and drain longer.
    "array": {"rates": [{"int8": n} for n in ONE_TO_TWENTY]},
    "arrivals": {},
    "channel": {
        "bandwidth": [f"{n} B/cycle" for n in (0.3, 1, 1.5, 7, 64)],
        "request_bytes": ["1 B", "7 B", "64 B", "512 B", "1 GiB", None],
    },
    "compute_tile": dict.fromkeys(("lanes", "stages"), ONE_TO_TWENTY),
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
    "launcher": {},
    "matmul_array": {"macs_per_cycle": ONE_TO_TWENTY},
    "memory": {
        "bandwidth": [f"{n} B/cycle" for n in (0.3, 1, 1.5, 7, 64)],
        "request_bytes": ["1 B", "7 B", "64 B", "512 B", "1 GiB", None],
    },
    "memory_tile": {"banks": [1, 2, 4, 8, 16, 32]},
    "mesh": {"link_bandwidth": [f"{n} B/cycle" for n in (0.3, 1, 1.5, 7, 64)]},
    "node": {},
    "norm": {"lanes": ONE_TO_TWENTY},
    # The adders are shared: a beat that is not full still pays for all its lanes, and a group for all its queries.
    # So lanes are a rate where they divide the row, and query_parallel, the size of the work given, is none.
    "prefill_attention": {"lanes": [1, 2, 4, 8, 16], "adders": [*ONE_TO_TWENTY, 64, 128, 1000],
                          "rescale_lanes": [*ONE_TO_TWENTY, 96, 128]},
    "ring": {"bandwidth": [f"{n} B/cycle" for n in (0.3, 1, 1.5, 7, 64)]},
    "table_lookup": {
        "group_size": [1, 2, 3, 4, 5], "num_tables": ONE_TO_TWENTY, "readers_per_table": ONE_TO_TWENTY,
        "takes_per_cycle": ONE_TO_TWENTY,
    },
    "threshold_unit": {
        "cores": ONE_TO_TWENTY, "lanes": ONE_TO_TWENTY,
        "score_buffer": [f"{n} B" for n in (1, 2, 7, 64, 128)],
        "count_buffer": [f"{n} B" for n in (1, 2, 7, 32, 128)],
    },
    "tile_tail": {"lanes": ONE_TO_TWENTY},
    "vector": {"lanes": ONE_TO_TWENTY},
    "weight_buffer": {},
    "weight_loader": {"ports": [1, 2, 3, 4, 16], "port_bits": [f"{n} bit" for n in (1, 7, 8, 12, 256)]},
}  # fmt: skip

# Fields of which more is never faster.
COSTS: dict[str, dict[str, list[Any]]] = {
    "array": {},
    "arrivals": {"times": ["1 us", "3 us", "1 ms"]},
    "channel": {"request_overhead": ["0 s", "1 ns", "3 us", "1 ms"]},
    "compute_tile": {},
    "core_array": {},
    "decode_attention": {
        name: [0, 1, 25] for name in SAMPLES["decode_attention"] if name.endswith("fill_cycles")
    },
    "gpu": {"launch_overhead": ["0 s", "1 ns", "3 us", "1 ms"]},
    "hash_comparator": {"fill_cycles": [0, 1, 40]},
    "host": {"measured_time": ["1 ps", "1 ns", "3 us", "1 ms"]},
    "kv_manager": {},
    "launcher": {name: ["0 s", "1 ns", "3 us", "1 ms"] for name in ("program_load", "argument_load")},
    "matmul_array": {},
    "memory": {"request_overhead": ["0 s", "1 ns", "3 us", "1 ms"]},
    "memory_tile": {"lanes": ONE_TO_TWENTY},
    "mesh": {"hop_cycles": [0, 1, 2, 7]},
    "node": {"interval_cycles": [1, 2, 7]},
    "norm": {"sum_fill_cycles": [0, 1, 40], "root_cycles": [0, 1, 40], "scale_fill_cycles": [0, 1, 20]},
    "prefill_attention": {
        **{name: [0, 1, 25] for name in SAMPLES["prefill_attention"] if name.endswith("fill_cycles")},
        "rescale_interval_cycles": [1, 2, 10],
    },
    "ring": {"step_latency": [0, 1, 2, 7], "sockets": [1, 2, 3, 8]},
    "table_lookup": {"build_cycles": [0, 1, 4], "lookup_fill_cycles": [0, 1, 12]},
    "threshold_unit": {
        "element_bits": [f"{n} bit" for n in (1, 7, 16, 1000)], "fill_cycles": [0, 1, 40],
    },
    "tile_tail": {},
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
    "array": {
        "rows": (8, "cycles"), "columns": (6, "cycles"), "dataflow": ("weight_stationary", "cycles"),
        "folds": ("overlapped", "does"),
    },
    "arrivals": {},
    "channel": {},
    "compute_tile": {},
    "core_array": {},
    "decode_attention": {"score_depth": (2048, "mappers")},
    "gpu": {},
    "hash_comparator": {},
    "host": {},
    "kv_manager": {},
    "launcher": {},
    "matmul_array": {},
    "memory": {"capacity": ("2 MiB", "mappers"), "cache_region": ("1 MiB", "mappers"),
               "cells": ("sram", "energy"), "bank": ("1 KiB", "energy")},
    "memory_tile": {"capacity": ("2 KiB", "holds_bytes"), "element_bits": ("32 bit", "vector_bytes")},
    "mesh": {"rows": (9, "mappers"), "columns": (9, "mappers")},
    "node": {"ops": (["sink"], "does")},
    "norm": {},
    "prefill_attention": {"max_context": (2048, "mappers"), "query_parallel": (4, "cycles")},
    "ring": {},
    "table_lookup": {"activation_bits": ("9 bit", "table_bits")},
    "threshold_unit": {"buckets": (2, "mappers")},
    "tile_tail": {},
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

# Kinds whose tasks each have a server of their own, whatever the design says.
PLACED = ("compute_tile", "memory_tile", "mesh", "node", "tile_tail")

ONE_AFTER_ANOTHER = ("arrivals",)  # kinds that serve one task alone, in its order

EXTENTS = (0, 1, 2, 5, 16, 33, 100)
kinds = pytest.mark.parametrize("kind", sorted(KINDS))


def unit(kind: str, **changes: Any) -> Unit:
    """A unit of this kind on the toy design's clock: a cycle is a microsecond. A change to None leaves the key out."""
    return contract.made(kind, SAMPLES[kind], **changes)


def samples(one: Unit, extents: tuple[int, ...] = EXTENTS) -> list[Work]:
    return contract.samples(one, extents)


def test_the_tables_of_this_file_know_every_kind() -> None:
    for table in (SAMPLES, RATES, COSTS, FELT_ELSEWHERE):
        assert set(table) == set(KINDS)


def test_every_kind_is_in_the_union_under_its_own_name() -> None:
    union, _ = get_args(AnyUnit)
    assert set(get_args(union)) == set(KINDS.values())
    for name, kind in KINDS.items():
        assert get_args(kind.model_fields["kind"].annotation) == (name,)


@kinds
def test_it_keeps_its_contract_with_these_parameters(kind: str) -> None:
    written = SAMPLES[kind]
    contract.does_op_kinds_that_there_are(kind, written)
    contract.takes_whole_cycles(kind, written, EXTENTS)
    contract.takes_no_fewer_cycles_for_more(kind, written, EXTENTS)
    contract.refuses_foreign_work(kind, written)
    contract.refuses_unknown_and_missing_keys(kind, written)
    contract.needs_the_energy_of_what_is_counted(kind, written)


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

    if kind in ONE_AFTER_ANOTHER:
        for changes in ({"arbitration": "placed"}, {"arbitration": "first_come"}, {"latency_cycles": 9}):
            with pytest.raises(DesignError, match=next(iter(changes))):
                flat(**changes)
        return
    assert (flat().latency_cycles, flat(latency_cycles=9).latency_cycles) == (0, 9)
    if kind not in ("memory", "channel", "ring"):  # their clients compete for one bandwidth
        assert flat(arbitration="placed").name == "u: x"
    if kind in PLACED:
        with pytest.raises(DesignError, match="arbitration"):
            flat(arbitration="in_order")
        return
    assert (flat().count, flat(count=2).count) == (1, 2)
    assert flat(arbitration="in_order").order == ((0, 2),)
    assert flat(arbitration="first_come").order is None
    assert (flat().order is None) == (kind in ("memory", "channel", "ring"))


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
        "section 's': the tasks placed on unit 'u' take 2 servers; its count is 1"
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
