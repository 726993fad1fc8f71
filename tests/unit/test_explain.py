"""Explanations: known bottlenecks are found, and every line of the table is what a run of its own says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from html import unescape
from typing import Any

import pytest

import archsim
import mappers
from archsim import Design, InputError, load_design
from archsim.explain.changes import Change, changes_of
from archsim.explain.effects import binding_of, without_budget
from archsim.explain.explanation import Explanation
from archsim.explain.ops import roofline_of_ops
from archsim.explain.path import CriticalPath, Stretch
from archsim.explain.stalls import BUSY, MEMORY, ROOM, Cause
from archsim.explain.text import LEAST_SHARE, SMALL, cause_text, moving, refused
from archsim.report import plot
from archsim.units import KINDS
from dataflow import attention

TOY = load_design("toy")


def gains(found: Explanation) -> dict[str, float]:
    return {one.change.path: one.gain for one in found.effects if one.gain is not None}


def shares(found: Explanation, unit: str) -> dict[Cause, float]:
    causes = found.stalls.units[unit]
    return {cause: n / sum(causes.values()) for cause, n in causes.items()}


def test_a_fifo_that_is_too_shallow() -> None:
    """Naive attention of 8 rows of 64 scores: 594 cycles with a long FIFO of 64, 580 with one of 66 or more."""
    machine = load_design("streaming_machine").with_({"fifos.long": 64})
    graph = attention(queries=8, keys=64, head_dim=8, causal=False)
    report = archsim.simulate(mappers.lower(graph, machine, mapper="spatial", form="naive"), machine)
    found = report.explain()
    assert report.cycles == 594
    assert gains(found) == {"clock": pytest.approx(1), "fifos.long": pytest.approx(594 / 580 - 1), "fifos.short": 0.0}
    assert [one.change.path for one in found.effects][:2] == ["clock", "fifos.long"]
    blocked = {cause.of: n for unit in ("map", "zip", "broadcast") for cause, n in found.stalls.units[unit].items()
               if cause.kind == ROOM}  # fmt: skip
    assert sum(blocked.values()) > 0


def test_a_memory_that_is_slow() -> None:
    """8 x 8 x 8 in bf16 at a microsecond a byte: 128 B of weights pass, and the product takes a cycle."""
    slow = TOY.with_({"units.ddr.bandwidth": "1 MB/s", "units.mm.macs_per_cycle": 512})
    found = mappers.run(slow, "gemm:8x8x8").explain()
    assert found.cycles == 128 + 1
    assert found.effects[0].change == Change("units.ddr.bandwidth", "doubled", "1 MB/s", "2 MB/s")
    assert found.effects[0].gain == pytest.approx(129 / 65 - 1)
    assert found.binding.unit == "ddr"
    assert found.binding.share == pytest.approx(128 / 129)
    assert shares(found, "ddr")[Cause(BUSY)] == pytest.approx(128 / 129)
    assert shares(found, "mm") == {Cause(BUSY): pytest.approx(1 / 129), Cause(MEMORY, "ddr"): pytest.approx(128 / 129)}
    assert found.roofline is not None
    assert [found.roofline.is_bound_by_memory(point) for point in found.roofline.points] == [True]


def test_an_array_that_starves_for_a_latency() -> None:
    """128 B of weights at 1000 B a cycle, which come 5 ms later; the product takes 512 cycles of a microsecond."""
    starved = TOY.with_({"units.ddr.bandwidth": "1000 B/cycle", "units.ddr.latency_cycles": "5 ms"})
    found = mappers.run(starved, "gemm:8x8x8").explain()
    assert found.effects[0].change.path == "units.ddr.latency_cycles"
    assert found.cycles == 1 + 5000 + 512
    assert found.effects[0].gain == pytest.approx(5513 / 3013 - 1)
    assert found.binding.unit == "ddr"
    assert {stretch.what for stretch in found.path.stretches if stretch.unit == "ddr"} == {"busy", "latency"}
    assert max(shares(found, "mm"), key=lambda cause: shares(found, "mm")[cause]) == Cause(MEMORY, "ddr")


# Gains of an independent sweep of the same design at a context of 512, in percent.
SWEPT = {
    "clock": 19.2, "units.ddr.request_overhead": 12.3, "units.decode_attention.lanes": 9.5, "units.ddr.bandwidth": 9.4,
    "units.ddr.request_bytes": 7.5, "units.host.measured_time": 4.8, "units.tlmm.readers_per_table": 1.9,
    "units.tlmm.num_tables": 1.4, "links.int8.depth": 1.3,
}  # fmt: skip


def test_the_table_of_the_table_lookup_accelerator_is_that_of_an_independent_sweep() -> None:
    found = mappers.run("tellme_kv260", "bitnet_b158_large", phase="decode", context=512).explain(jobs=1)
    told = gains(found)
    assert {path: round(100 * told[path], 1) for path in SWEPT} == SWEPT
    assert found.binding.unit == "ddr"
    assert found.binding.where is not None
    assert ".yaml:" in found.binding.where


def test_each_line_of_the_table_is_what_a_run_of_its_own_says() -> None:
    design = load_design("tellme_kv260")
    report = mappers.run(design, "bitnet_b158_large", phase="decode", context=64)
    found = report.explain(jobs=1)
    assert {one.change.path for one in found.effects} == {change.path for change in changes_of(design)}
    for one in found.effects:
        alone = run_alone(design, one.change.path, one.change.value)
        assert one.seconds == alone
        assert one.gain == (None if alone is None else report.seconds / alone - 1)
        assert (one.problem is None) == (alone is not None)
    known = [one.gain for one in found.effects if one.gain is not None]
    assert known == sorted(known, reverse=True)
    assert [one.gain for one in found.effects[: len(known)]] == known


def run_alone(design: Design, path: str, value: Any) -> float | None:
    try:
        variant = design.with_({**without_budget(design), path: value})
        return mappers.run(variant, "bitnet_b158_large", phase="decode", context=64).seconds
    except InputError:
        return None


def test_what_needs_more_than_the_fpga_has_is_told_with_its_gain() -> None:
    design = load_design("tellme_kv260")
    found = {one.change.path: one for one in
             mappers.run(design, "bitnet_b158_large", phase="decode", context=64).explain(jobs=1).effects}  # fmt: skip
    tables, buffer = found["units.tlmm.num_tables"], found["units.weight_buffer.regions"]
    assert tables.gain is not None
    assert set(tables.beyond) == {"lut"}
    assert buffer.beyond == {"uram": (108.0, 64.0)}
    assert found["units.ddr.bandwidth"].beyond == {}
    for one in (tables, buffer):
        with pytest.raises(InputError, match=f"{one.beyond[next(iter(one.beyond))][0]:,g} are used"):
            design.with_({one.change.path: one.change.value})


def test_processes_find_the_same() -> None:
    report = mappers.run("toy", "toy_llm", phase="decode", context=8)
    assert report.explain(jobs=2).as_json() == report.explain(jobs=1).as_json()


DRAWN: dict[str, list[Any]] = {
    "clock": ["500 kHz", "1 MHz", "4 MHz"], "units.mm.macs_per_cycle": [1, 4, 64], "units.vec.lanes": [1, 2, 16],
    "units.ddr.bandwidth": ["0.2 MB/s", "1 MB/s", "30 MB/s"], "units.ddr.latency_cycles": ["0 s", "3 us", "100 us"],
    "units.ddr.request_bytes": ["16 B", "64 B"], "units.ddr.request_overhead": ["0 s", "2 us", "40 us"],
    "units.vec.latency_cycles": [0, 5, 300],
}  # fmt: skip


def numbers(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number of a part of a YAML file with its path, however deep."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from numbers(value, f"{path}.{key}" if path else key)
    elif isinstance(data, int) or (isinstance(data, str) and data[0].isdigit()):
        yield path, data


@pytest.mark.parametrize("seed", range(20))
def test_the_first_line_is_what_brute_force_finds_best(seed: int) -> None:
    """Every number of the YAML both doubled and halved, and a second server of each unit."""
    draw = random.Random(seed)
    design = TOY.with_({path: draw.choice(values) for path, values in DRAWN.items()})
    report = mappers.run(design, "toy_llm", phase="decode", context=draw.choice([4, 40]))
    data = design.document.data
    tried = {f"units.{unit}.count": [2] for unit in design.units}
    for path, value in numbers({"clock": data["clock"], "units": data["units"]}):
        amount, _, unit = str(value).partition(" ")
        both = (float(amount) * 2, float(amount) / 2)
        tried[path] = [f"{one:g} {unit}" for one in both] if unit else [int(one) for one in both]
    best = min(
        (seconds, path) for path, values in tried.items() for value in values
        if (seconds := _seconds(design.with_, path, value, report)) is not None
    )  # fmt: skip
    first = report.explain(jobs=1).effects[0]
    assert first.seconds == best[0]
    equal = [path for path, values in tried.items() for value in values
             if _seconds(design.with_, path, value, report) == best[0]]  # fmt: skip
    assert first.change.path in equal


def _seconds(variant: Any, path: str, value: Any, report: Any) -> float | None:
    try:
        return mappers.run(variant({path: value}), "toy_llm", phase=report.phase).seconds
    except InputError:
        return None


@pytest.mark.parametrize(
    "prompt, tokens, step", [(4, 8, "decode, context 11, batch 1"), (24, 3, "prefill, prompt 24, context 24, batch 1")]
)
def test_of_many_steps_the_whole_time_is_explained_and_the_rest_is_of_the_kind_of_step_that_takes_most(
    prompt: int, tokens: int, step: str
) -> None:
    asked = {"phase": "generate", "prompt": prompt, "tokens": tokens}
    report = mappers.run("toy", "toy_llm", **asked)
    found = report.explain()
    assert found.cycles == report.cycles
    prefill, decode = report.prefill_cycles, sum(cycles for _, cycles in report.steps)
    assert found.step == report.step == step
    assert found.step_share == max(prefill, decode) / report.cycles
    told = f"of the critical path of {step} (such steps take {found.step_share:.0%} of the time)"
    assert told in str(found)
    assert found.as_json()["step_share"] == found.step_share
    alone = prefill if prefill > decode else report.steps[-1][1]
    assert found.path.cycles == found.stalls.cycles == alone
    faster = mappers.run(TOY.with_({"clock": "2 MHz"}), "toy_llm", **asked)
    assert gains(found)["clock"] == pytest.approx(report.seconds / faster.seconds - 1)


def test_of_a_path_that_is_not_followed_to_its_start_the_rest_is_told() -> None:
    found = mappers.run("toy", "toy_llm", phase="decode", context=8).explain()
    path = CriticalPath(100, {Stretch("ddr", "a", "busy"): 18, Stretch("mm", "b", "busy"): 6}, unseen=76)
    found = replace(found, path=path, binding=binding_of(path, found.effects, TOY))
    assert found.binding.share == 18 / 24
    assert "binding     ddr, 75% of the last 24% of the critical path; set by" in str(found)
    unseen = "76.0% of the time is not looked at, because too many firings lie there"
    assert f"  {unseen}" in str(found)
    still = sum(abs(one.gain) < SMALL for one in found.effects if one.gain is not None)
    assert still
    for told in (f"{still} others bring nothing", unseen):
        assert told in found._repr_html_()


def test_rates_of_ops_lie_under_their_roofs() -> None:
    """On every shipped design; a point above a roof would say that a unit is faster than it is."""
    for name, model, phase in (
        ("tellme_kv260", "bitnet_b158_large", {"phase": "decode", "context": 64}),
        ("vrex8", "videollm_online_8b", {"phase": "decode", "context": 512}),
        ("a100", "llama3_8b", {"phase": "prefill", "prompt": 64}),
        ("toy", "toy_llm", {"phase": "prefill", "prompt": 8}),
    ):
        report = mappers.run(name, model, **phase)  # type: ignore[arg-type]
        assert report.origin is not None
        roofs = roofline_of_ops(report.origin.schedule, report.origin.design, report.ops, busy=report.busiest)
        assert roofs is not None
        assert roofs.memory == max(report.traffic, key=lambda memory: report.units[memory].busiest_cycles)
        for point in roofs.points:
            assert 0 < roofs.reached(point) <= 1 + 1e-9, f"{name}: {point}"
            if point.kind == "matmul" and name == "a100" and point.ops[0] != "lm_head":  # 64 rows of bf16 weights
                assert point.intensity == 64


@pytest.mark.parametrize(
    ("name", "model", "context"),
    [("a100", "llama2_7b", 64), ("sn40l", "llama3_8b", 512), ("agx_orin", "videollm_online_8b", 512)],
)
def test_ops_read_together_what_the_memory_brings(name: str, model: str, context: int) -> None:
    """Weights, cache and LM head, each once; what comes besides are norms, rows of the embedding and activations."""
    report = mappers.run(name, model, phase="decode", context=context)
    assert report.origin is not None
    roofs = roofline_of_ops(report.origin.schedule, report.origin.design, report.ops, busy=report.busiest)
    assert roofs is not None
    traffic = report.traffic[roofs.memory]
    stored = sum(traffic.get(("read", role), 0) for role in ("weight", "cache", "lm_head", "norm"))
    assert sum(len(point.ops) * point.bytes for point in roofs.points) == pytest.approx(stored, rel=1e-3)


def test_the_roofline_of_a_product_by_hand() -> None:
    """8 x 8 x 8: 1,024 operations with 128 B of weights in 512 cycles; the array does 2 in a cycle, ddr brings 1 B."""
    report = mappers.run("toy", "gemm:8x8x8")
    assert report.origin is not None
    roofs = roofline_of_ops(report.origin.schedule, TOY, report.ops, busy=report.busiest)
    assert roofs is not None
    (point,) = roofs.points
    assert (point.operations, point.bytes, point.unit) == (1024, 128, "mm")
    assert (roofs.memory, roofs.bandwidth, roofs.peaks) == ("ddr", 1, {"mm": Fraction(2)})
    assert point.cycles == 512
    assert roofs.attainable(point) == 2.0
    assert not roofs.is_bound_by_memory(point)


def test_buffers_of_tiles_are_a_depth() -> None:
    report = mappers.run("systolic_two_level", "gemm:512x512x512")
    found = {one.change.path: one for one in report.explain().effects}
    deeper = load_design("systolic_two_level").with_({"mapping.buffers": 4})
    assert found["mapping.buffers"].change == Change("mapping.buffers", "doubled", 2, 4)
    assert found["mapping.buffers"].seconds == mappers.run(deeper, "gemm:512x512x512").seconds < report.seconds


def test_what_describes_a_unit_is_one_of_its_numbers_and_no_change() -> None:
    for name, kind in KINDS.items():
        assert set(kind.describes) <= set(kind.model_fields), name
    paths = {change.path for change in changes_of(load_design("tellme_kv260"))}
    assert "units.host.measured_time" in paths
    assert not paths & {"units.host.measured_macs", "units.tlmm.activation_bits", "units.loader.beat_bits"}


def test_numbers_are_changed_as_they_are_written() -> None:
    written = {"bandwidth": "17.1 GB/s", "capacity": "36 KiB", "latency_cycles": 7, "request_overhead": "0 s"}
    design = TOY.with_({"units.ddr": {"kind": "memory", **written}, "fifos": {"long": "inf"}})
    told = {change.path: change.value for change in changes_of(design) if change.path.startswith(("units.ddr", "fifo"))}
    assert told == {
        "units.ddr.count": 2, "units.ddr.bandwidth": "34.2 GB/s", "units.ddr.capacity": "72 KiB",
        "units.ddr.latency_cycles": 3,
    }  # fmt: skip


def test_the_line_of_a_number_is_that_of_its_file_also_for_a_variant() -> None:
    variant = TOY.with_({"units.vec.lanes": 64})
    found = mappers.run(variant, "toy_llm", phase="decode", context=8).explain()
    assert found.binding.effect is not None
    path = found.binding.effect.change.path
    assert found.binding.where == f"designs/toy.yaml:{TOY.document.line(path)}"


def test_text_and_json_say_the_same() -> None:
    report = mappers.run("tellme_kv260", "bitnet_b158_large", phase="decode", context=64)
    found = report.explain(jobs=1)
    text, data = str(found), found.as_json()
    for one in data["effects"]:
        assert one["gain"] is not None or one["path"] in text
        if one["gain"] is not None and abs(one["gain"]) > 0.01:
            assert f"{one['gain']:+.1%}  {one['path']}" in text
    for unit, causes in data["stalls"].items():
        assert unit in text
        assert sum(one["cycles"] for one in causes) == report.units[unit].total_cycles
    path = data["critical_path"]
    assert sum(one["cycles"] for one in path["stretches"]) == path["cycles"] == report.cycles
    for unit, n in found.path.by_unit().items():
        assert n / report.cycles < LEAST_SHARE or f"{unit:<18} {n / report.cycles:>6.1%}" in text
    for caveat in report.caveats:
        assert caveat in text
        assert caveat in data["approximated"]
    html = unescape(found._repr_html_())
    for told in (*report.caveats, *map(cause_text, found.stalls.units.values()), *refused(found.effects)):
        assert told in html
    for one in moving(found.effects):
        assert one.change.path in html
        assert f"{one.gain:+.1%}" in html


def test_what_cannot_be_explained_is_refused() -> None:
    report = mappers.run("toy", "toy_llm", phase="decode", context=8)
    assert report.origin is not None
    with pytest.raises(InputError, match="explain: report"):
        mappers.explain("toy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="jobs: expected a whole number"):
        report.explain(jobs=0)
    with pytest.raises(InputError, match="explain: no mapper made the schedule of this report"):
        replace(report, origin=None).explain()
    by_hand = replace(report.origin.schedule, maker=None)
    with pytest.raises(InputError, match="explain: no mapper made the schedule of this report"):
        archsim.simulate(by_hand, TOY).explain()
    with pytest.raises(InputError, match=r"explain: the report has .* cycles, and its graph lowered again"):
        replace(report, cycles=report.cycles + 1).explain()


def test_plots_draw_what_the_explanation_says() -> None:
    found = mappers.run("toy", "toy_llm", phase="decode", context=8).explain()
    bars = plot.sensitivity(found)
    felt = {one.change.path: 100 * (one.gain or 0) for one in found.effects if abs(one.gain or 0) >= SMALL}
    widths = [bar.get_width() for bar in bars.patches]
    assert dict(zip([tick.get_text() for tick in bars.get_yticklabels()], widths, strict=True)) == pytest.approx(felt)
    causes = plot.stall_causes(found)
    by_unit: dict[float, float] = {}
    for bar in causes.patches:
        by_unit[bar.get_y()] = by_unit.get(bar.get_y(), 0) + bar.get_width()
    assert list(by_unit.values()) == pytest.approx([100] * len(found.stalls.units), abs=0.2)
    roofs = plot.roofline(found)
    assert roofs.get_xlabel() == "operations per byte that must come from ddr"
    assert roofs.get_ylabel().startswith("rate, ")
    report = mappers.run("toy", "toy_llm", phase="decode", context=8)
    again = plot.stall_causes(report)
    assert [bar.get_width() for bar in again.patches] == [bar.get_width() for bar in causes.patches]
    assert [again.get_title(loc="left"), plot.roofline(report).get_title(loc="left")] == [
        causes.get_title(loc="left"), roofs.get_title(loc="left"),
    ]  # fmt: skip
    assert plot.sensitivity(found, axes=again) is again
    assert bars._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_plots_refuse_what_they_cannot_draw() -> None:
    found = mappers.run("toy", "toy_llm", phase="decode", context=8).explain()
    report = mappers.run("toy", "toy_llm", phase="decode", context=8)
    for draw in (plot.stall_causes, plot.roofline):
        with pytest.raises(InputError, match=f"{draw.__name__}: found"):
            draw("toy")  # type: ignore[arg-type]
        with pytest.raises(InputError, match=f"{draw.__name__}: this report came from another process"):
            draw(replace(report, origin=None))
    with pytest.raises(InputError, match="roofline: a phase of many steps"):
        plot.roofline(mappers.run("toy", "toy_llm", phase="generate", prompt=4, tokens=3))
    with pytest.raises(InputError, match="sensitivity: no change of one number changes the time"):
        plot.sensitivity(replace(found, effects=()))
    with pytest.raises(InputError, match="roofline: no op of this run reads a stored tensor"):
        plot.roofline(mappers.run("systolic_array", "gemm:8x8x8").explain())
