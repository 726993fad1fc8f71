"""Rates of an array by number format: what a product is multiplied in, and what it then takes, by closed forms."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import pytest

import archsim
import dataflow
import mappers
from archsim import Design, GraphError, MappingError
from contracts.kinds import made
from dataflow import FORMATS, Graph, Mask, Section, Task, Tensor, Work, every, work

ARRAY, TWO_LEVEL = archsim.load_design("systolic_array"), archsim.load_design("systolic_two_level")
DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
CONVENTIONS = [
    *product(DATAFLOWS, ("serial", "overlapped")), ("output_stationary", "ragged"),
]  # fmt: skip
RATES = {"int8": 4, "bf16": 2, "fp32": 1}


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def with_rates(design: Design, rates: dict[str, int] | None, /, **changes: Any) -> Design:
    (name,) = (name for name, unit in design.units.items() if unit.named_kind == "array")
    given = {f"units.{name}.{key}": value for key, value in changes.items()}
    return design.with_(given if rates is None else {**given, f"units.{name}.rates": rates})


def two_factors(x: str, w: str, *, m: int = 12, k: int = 40, n: int = 20) -> Graph:
    graph = Graph("two factors")
    graph.add_tensor(Tensor("x", (m, k), FORMATS[x], "input"))
    graph.add_tensor(Tensor("w", (n, k), FORMATS[w], "weight"))
    graph.add("y", "matmul", ("x", "w"), format=FORMATS["fp32"])
    return graph


def attended(q: str, k: str, v: str, **extents: int) -> Graph:
    """Attention of queries, keys and values in formats of their own."""
    whole = dataflow.attention(causal=False, **extents)
    graph = Graph("attended")
    for name, form in (("q", q), ("k", k), ("v", v)):
        graph.add_tensor(Tensor(name, whole.tensors[name].shape, FORMATS[form]))
    op = whole.ops["attention"]
    graph.add("attention", "attention", op.inputs, format=FORMATS[q], **op.attributes)
    return graph


def product_cycles(m: int, k: int, n: int, rate: int, *, rows: int, columns: int, flow: str, folds: str) -> int:
    """Of a product alone, as the docstring of Array has it, without the fill of an op."""
    x, y, streamed = {
        "output_stationary": (m, n, k), "weight_stationary": (k, n, m), "input_stationary": (k, m, n)
    }[flow]  # fmt: skip
    parts = [(min(rows, x - i), min(columns, y - j)) for i in range(0, x, rows) for j in range(0, y, columns)]
    beats, loads = ceil_div(streamed, rate), 0 if flow == "output_stationary" else rows
    return {
        "serial": sum(loads + beats + rows + columns - 2 for _ in parts),
        "ragged": sum(beats + r + c + 3 - (min(r, c) == 1) for r, c in parts),
        "overlapped": sum(beats for _ in parts),
    }[folds]


@pytest.mark.parametrize(("flow", "folds"), CONVENTIONS)
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(5))
def test_a_product_takes_its_folds_at_the_rate_of_its_format(seed: int, name: str, flow: str, folds: str) -> None:
    random = Random(seed)
    m, n, k = (random.randint(1, 90) for _ in range(3))
    rows, columns = random.randint(1, 20), random.randint(1, 20)
    design = with_rates(ARRAY, RATES, rows=rows, columns=columns, dataflow=flow, folds=folds)
    expected = product_cycles(m, k, n, RATES[name], rows=rows, columns=columns, flow=flow, folds=folds)
    expected += rows + columns - 2 if folds == "overlapped" else 0
    assert mappers.run(design, f"gemm:{m}x{n}x{k}:{name}").cycles == expected
    assert mappers.run(design, dataflow.gemm(m=m, n=n, k=k, format=FORMATS[name])).cycles == expected


def test_by_hand() -> None:
    """512^3 on 32 x 32: 256 folds of 512 steps, or of 256 in int8, and 62 of fill and drain."""
    design = with_rates(ARRAY, {"int8": 2, "bf16": 1})
    assert mappers.run(design, "gemm:512x512x512").cycles == 256 * (512 + 62) == 146_944
    assert mappers.run(design, "gemm:512x512x512:int8").cycles == 256 * (256 + 62) == 81_408
    assert mappers.run(ARRAY, "gemm:512x512x512:int8").cycles == 146_944  # without rates every format takes one
    assert "products of a multiply-add in a cycle: 2 in int8, 1 in bf16" in str(mappers.run(design, "gemm:8x8x8"))


@pytest.mark.parametrize(
    ("x", "w", "multiplied"),
    [
        ("int8", "int8", "int8"), ("bf16", "int8", "bf16"), ("int8", "bf16", "bf16"), ("int8", "ternary", "int8"),
        ("fp32", "bf16", "fp32"), ("fp16", "bf16", "fp16"), ("bf16", "fp16", "bf16"),
    ],
)  # fmt: skip
def test_two_factors_are_multiplied_in_the_wider_format(x: str, w: str, multiplied: str) -> None:
    graph = two_factors(x, w)
    assert graph.ops["y"].work.format == multiplied
    design = with_rates(ARRAY, {**RATES, "fp16": 2})
    alike = {"fp16": "bf16"}.get(multiplied, multiplied)
    assert mappers.run(design, graph).cycles == mappers.run(design, two_factors(alike, alike)).cycles


@pytest.mark.parametrize(
    ("q", "k", "v", "multiplied"),
    [("int8", "int8", "int8", "int8"), ("bf16", "int8", "int8", "bf16"), ("int8", "int8", "fp32", "fp32")],
)
@pytest.mark.parametrize("flow", DATAFLOWS)
def test_the_passes_of_attention_are_multiplied_in_the_widest_format(
    flow: str, q: str, k: str, v: str, multiplied: str
) -> None:
    graph = attended(q, k, v, queries=9, keys=50, head_dim=24, v_dim=17, heads=6, kv_heads=3, batch=2)
    assert graph.ops["attention"].work.format == multiplied
    size = {"rows": 8, "columns": 4, "flow": flow, "folds": "serial"}
    design = with_rates(ARRAY, RATES, rows=8, columns=4, dataflow=flow)
    rate, rows = RATES[multiplied], 9 * 6 // 3
    passes = product_cycles(rows, 24, 50, rate, **size) + product_cycles(rows, 50, 17, rate, **size)
    schedule = mappers.lower(graph, design)
    taken = sum(
        n * design.units["array"].cycles(item)
        for section in schedule.sections for task in section.tasks if task.unit == "array"
        for item, n in task.work.counted(task.firings)
    )  # fmt: skip
    assert taken == 2 * 3 * passes
    assert archsim.simulate(schedule, design).cycles >= taken


@pytest.mark.parametrize(
    ("design", "mapper"),
    [("systolic_array", "tiled"), ("systolic_two_level", "tiled"), ("tpu_v4i", "tiled"),
     ("toy", "tiled"), ("toy_retrieval", "retrieval")],
)  # fmt: skip
@pytest.mark.parametrize("phase", [{"phase": "decode", "context": 24}, {"phase": "prefill", "prompt": 24}])
def test_every_mapper_tells_the_array_the_format(design: str, mapper: str, phase: Any) -> None:
    """An array with rates refuses work without a format, and rates of one change nothing."""
    on = archsim.load_design(design)
    if not any(unit.named_kind == "array" for unit in on.units.values()):
        # An array beside a unit that does attention whole.
        array = {"kind": "array", "rows": 4, "columns": 4, "dataflow": "output_stationary", "folds": "serial"}
        on = on.with_({"units.array": array, "place": [{"kinds": ["matmul"], "unit": "array"}]})
    model = archsim.load_model("toy_video").model_copy(update={"layers": 2})
    rated = with_rates(on, {"int8": 1, "fp16": 1, "bf16": 1})
    plain, same = (mappers.run(each, model, mapper=mapper, **phase) for each in (on, rated))
    assert (same.cycles, same.roofline) == (plain.cycles, plain.roofline)


def test_tiles_behind_memories_are_multiplied_at_the_rate() -> None:
    design = with_rates(TWO_LEVEL, {"int8": 2, "bf16": 1}).with_({"units.sram.capacity": "32 KiB"})
    wide, narrow = (mappers.run(design, f"gemm:512x512x512:{name}").cycles for name in ("bf16", "int8"))
    assert narrow < 0.75 * wide


def test_a_model_with_weights_in_int8_multiplies_as_wide_as_its_activations() -> None:
    model = archsim.load_model("toy_video").model_copy(update={"weights": "int8", "cache": "int8"})
    graph = dataflow.decode(model, context=24)
    formats = {op.work.format for op in graph.ops.values() if op.kind in ("matmul", "attention")}
    assert formats == {model.activations}
    assert {op.work.format for op in graph.ops.values() if op.kind not in ("matmul", "attention")} == {""}


def test_servers_of_an_array_share_a_product_at_the_rate() -> None:
    one: Any = made("array", {"rows": 4, "columns": 4, "folds": "serial", "dataflow": "input_stationary"}, rates=RATES)
    size = {"rows": 4, "columns": 4, "flow": "input_stationary", "folds": "serial"}
    whole = work("matmul", None, "int8", m=7, k=9, n=50)
    assert one.cycles(whole, 3) == product_cycles(7, 9, ceil_div(50, 3), 4, **size)
    many = work("matmul", None, "bf16", batch=5, m=7, k=9, n=50)
    assert one.cycles(many, 3) == 2 * product_cycles(7, 9, 50, 2, **size)


def test_the_roofline_is_that_of_the_format() -> None:
    design = with_rates(ARRAY, {"int8": 2, "bf16": 1}, folds="overlapped")
    for name, beats in (("bf16", 512), ("int8", 256)):
        report = mappers.run(design, f"gemm:512x512x512:{name}")
        assert report.roofline == (256 * beats, "array")
        assert report.cycles == 256 * beats + 62


def test_a_format_without_a_rate_is_refused() -> None:
    design = with_rates(ARRAY, {"int8": 2, "bf16": 1})
    with pytest.raises(MappingError) as raised:
        mappers.run(design, "gemm:8x8x8:fp32")
    assert str(raised.value) == (
        "a unit of kind array: rates has int8, bf16, not fp32, in which matmul(batch=1, m=8, k=8, n=8, fp32) "
        "multiplies; ways out: rates: {int8: 2, bf16: 1, fp32: 1} of that unit"
    )


def test_work_that_says_no_format_is_refused_where_rates_differ() -> None:
    design = with_rates(ARRAY, {"int8": 2, "bf16": 1})
    section = Section("s", (Task("gemm", "array", 1, every(work("matmul", m=8, k=8, n=8))),), ())
    with pytest.raises(MappingError) as raised:
        archsim.simulate(dataflow.Schedule(Graph("own"), design.name, "own", (section,)), design)
    assert str(raised.value) == (
        "a unit of kind array: rates has int8, bf16; matmul(batch=1, m=8, k=8, n=8) says no format; ways out: the "
        "format in the work, as op.work.part(...) takes it from an op"
    )
    assert ARRAY.units["array"].cycles(work("matmul", m=8, k=8, n=8)) == 70


def test_a_part_keeps_the_format_and_takes_its_own_mask() -> None:
    whole = work("attention", Mask(window=4), "bf16", heads=2, queries=3, keys=9, qk_dim=8)
    assert whole.part(heads=1, queries=3, keys=2, qk_dim=8) == work(
        "attention", None, "bf16", heads=1, queries=3, keys=2, qk_dim=8
    )
    assert whole.part(whole.mask, heads=1, queries=1, keys=9, qk_dim=8).mask == Mask(window=4)
    assert whole != work("attention", Mask(window=4), heads=2, queries=3, keys=9, qk_dim=8)


def test_a_format_of_a_work_is_a_name() -> None:
    with pytest.raises(GraphError) as raised:
        Work("matmul", (1, 1, 1, 1), None, FORMATS["bf16"])  # type: ignore[arg-type]
    assert str(raised.value) == "work of kind 'matmul' has the name of a format, such as 'bf16', got a Format"
