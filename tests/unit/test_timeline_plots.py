"""Timelines and FIFOs as pictures: what is drawn equals a run counted by hand, and the report's sums."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import archsim
import archsim.report.plot.columns
import archsim.report.trace.axis
import archsim.report.trace.tracks
import archsim.report.window
import archsim.run.tokens
import mappers
from archsim import InputError
from archsim.report import plot

# Two tiles of a product of 2 x 3 over 4 in bf16: each is loaded in 12 cycles and multiplied in 12.
TILES = {"mapping": {"order": "time", "tile": {"m": 2, "k": 3, "n": 2}, "buffers": 1, "ahead": "op"}}
PLACES = "load gemm > gemm"


def tiles(buffers=1):
    design = archsim.load_design("toy").with_({"mapping": {**TILES["mapping"], "buffers": buffers}})
    return mappers.run(design, archsim.load_workload("gemm:2x4x3"))


def drawn(axes):
    """The heights of each row in each column, by what they are of, in the order in which they are stacked."""
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    found = {}
    for i, patch in enumerate(axes.patches):
        row = rows[i // 4]
        values, edges, baseline = patch.get_data()
        found.setdefault(row, []).append((edges, (baseline - values) / 0.8))
    assert all(len(of) == 4 for of in found.values())
    return {row: dict(zip(("busy", "starved", "blocked", "idle"), of, strict=True)) for row, of in found.items()}


def test_a_timeline_counted_by_hand():
    report = tiles()
    axes = plot.timeline(report)
    found = drawn(axes)
    first, second = (np.repeat(of, 12) for of in ([1, 0, 1, 0], [0, 1, 0, 1]))
    assert list(found) == ["mm", "ddr"]
    edges, busy = found["ddr"]["busy"]
    assert edges == pytest.approx(np.arange(49))
    assert busy == pytest.approx(first)
    assert found["mm"]["busy"][1] == pytest.approx(second)
    assert found["mm"]["starved"][1] == pytest.approx(first)
    # The load of a third tile never comes: after the second the memory has nothing left to do.
    assert found["ddr"]["starved"][1] == pytest.approx(np.repeat([0, 1, 0, 0], 12))
    assert found["ddr"]["idle"][1] == pytest.approx(np.repeat([0, 0, 0, 1], 12))
    assert axes.get_xlabel() == "time, us"
    assert axes.get_title(loc="left") == "gemm 2 x 4 x 3 on toy: graph\ngemm"
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert legend == ["busy", "starved: waits for input", "blocked: waits for room", "idle"]
    assert [text.get_text() for text in axes.texts] == ["load gemm", "gemm", "load gemm", "gemm"]


@pytest.mark.parametrize("servers", [1, 3])
def test_shares_of_columns_add_up_to_the_cycles_of_the_report(servers):
    design = archsim.load_design("systolic_two_level").with_({"units.dram.count": servers})
    report = mappers.run(design, archsim.load_workload("gemm:512x512x512"))
    assert report.units["dram"].count == servers
    axes = plot.timeline(report)
    wide = -(-report.cycles // 1000)
    assert f"a column is {wide} cycles; its heights are shares of that time" in axes.get_title(loc="left")
    for name, of in drawn(axes).items():
        unit = report.units[name]
        for cause in ("busy", "starved", "blocked", "idle"):
            cycles = getattr(unit, f"{cause}_cycles")
            edges, shares = of[cause]
            seconds = 1e-6 * float((np.diff(edges) * shares).sum())
            assert seconds * float(report.clock_hz) * unit.count == pytest.approx(cycles, abs=1e-6 * report.cycles)


def test_a_window_and_a_section_are_parts_of_the_run():
    report = mappers.run("toy", "toy_llm", phase="decode", context=8)
    embedding, layers, _ = report.sections
    of_section = plot.timeline(report, section="layers")
    start = embedding[2]
    assert of_section.get_xlim() == (start, start + layers[2])  # at 1 MHz a cycle is a microsecond
    assert "layers, the first of 2 repetitions" in of_section.get_title(loc="left")
    window = plot.timeline(report, window=f"{start} us..{start + layers[2]}")
    for row, of in drawn(of_section).items():
        for cause, (edges, shares) in of.items():
            assert edges == pytest.approx(drawn(window)[row][cause][0])
            assert shares == pytest.approx(drawn(window)[row][cause][1])
    assert plot.timeline(report, window="..").get_xlim() == (0, report.cycles)


def test_many_placed_tasks_are_shown_by_unit():
    report = mappers.run("sn40l", "llama3_8b", phase="decode", context=512)
    units = [tick.get_text() for tick in plot.timeline(report).get_yticklabels()]
    assert units == [name for name in report.origin.design.units if name in units]
    tasks = [tick.get_text() for tick in plot.timeline(report, section="final_norm to lm_head").get_yticklabels()]
    assert {"pcu: final_norm", "pcu: lm_head", "hbm"} <= set(tasks)


@pytest.mark.parametrize("prompt, tokens, kind", [(4, 8, "decode"), (24, 3, "prefill")])
def test_of_many_steps_one_of_the_kind_that_takes_most_is_drawn(prompt, tokens, kind):
    report = mappers.run("toy", "toy_llm", phase="generate", prompt=prompt, tokens=tokens)
    axes = plot.timeline(report, window="..")
    end = axes.get_xlim()[1] * {"time, us": 1, "time, ms": 1000}[axes.get_xlabel()]  # at 1 MHz
    assert end == (report.prefill_cycles if kind == "prefill" else report.steps[-1][1])
    assert report.step.startswith(kind)
    assert f"{report.step} of generate" in axes.get_title(loc="left")


def test_places_counted_by_hand():
    """With two places the second load runs beside the first product: both places are taken from 12 to 24."""
    axes = plot.fifo_occupancy(tiles(buffers=2), PLACES)
    values, edges, baseline = axes.patches[0].get_data()
    assert edges == pytest.approx(np.arange(37))
    assert (baseline - values) / 0.8 * 2 == pytest.approx(np.repeat([1, 2, 1], 12))
    assert [text.get_text() for text in axes.texts] == ["2"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [PLACES]
    assert axes.lines[1].get_ydata() == pytest.approx([-0.4, -0.4])  # the depth


def test_the_fullest_that_carry_bytes_are_drawn():
    report = mappers.run("toy", "toy_llm", phase="decode", context=8)
    axes = plot.fifo_occupancy(report)
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(names) == 6
    carries = {name.partition(": ")[2] for name, (_, _, size) in report.peaks.items() if size}
    assert set(names) <= carries
    all_of = plot.fifo_occupancy(report, [f"layers: {names[0]}", names[1]])
    assert [tick.get_text() for tick in all_of.get_yticklabels()] == names[:2]


def test_ranges_within_columns_have_the_peaks_of_the_report():
    report = mappers.run("vrex8", archsim.load_model("videollm_online_8b").model_copy(update={"layers": 2}),
                         phase="frame", context=300)  # fmt: skip
    mine = {name: of for name, of in report.peaks.items() if name.startswith("layers: ")}
    named = [name for name, (peak, depth, _) in mine.items() if peak < depth][:8]
    axes = plot.fifo_occupancy(report, named, section="layers")
    highs = [patch.get_data() for patch in axes.patches[1::3]]
    for place, (name, (values, _, _)) in enumerate(zip(named, highs, strict=True)):
        peak, depth, _ = report.peaks[name]
        assert round((place + 0.4 - values.min()) / 0.8 * min(depth, 2**40), 6) == peak


def test_both_draw_into_given_axes():
    axes = Figure().subplots(1, 2)
    assert plot.timeline(tiles(), axes=axes[0]) is axes[0]
    assert plot.fifo_occupancy(tiles(), axes=axes[1]) is axes[1]


MISTAKES = {
    "an unknown section": ({"section": "layer"}, "no section 'layer'; there are: gemm"),
    "both": ({"section": "gemm", "window": "1..2"}, "a section and a window; name one of them"),
    "a window that is none": ({"window": "1"}, "window: expected START..END in cycles or times"),
    "a window after the end": ({"window": "48.."}, "begins at cycle 48; the run ends at cycle 48 (48.0 us)"),
}


@pytest.mark.parametrize("draw", [plot.timeline, plot.fifo_occupancy])
@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_drawn(draw, case):
    asked, said = MISTAKES[case]
    with pytest.raises(InputError) as raised:
        draw(tiles(), **asked)
    assert str(raised.value).startswith(draw.__name__)
    assert said in str(raised.value)


def test_what_is_no_report_or_no_stream():
    with pytest.raises(InputError, match="timeline: report: expected a Report, got 'toy'"):
        plot.timeline("toy")
    with pytest.raises(InputError, match="fifo_occupancy: this report came from another process"):
        plot.fifo_occupancy(replace(tiles(), origin=None))
    with pytest.raises(InputError, match="no stream 'load gemm > gem' in this part of the run; did you mean"):
        plot.fifo_occupancy(tiles(), "load gemm > gem")
    many = mappers.run("toy", "toy_llm", phase="decode", context=8)
    with pytest.raises(InputError, match="67 streams are named, of which 24 can be drawn; name fewer"):
        plot.fifo_occupancy(many, list(many.peaks), window="..")


MODULES = (
    archsim.report.plot.columns, archsim.report.window, archsim.run.tokens, archsim.report.trace.tracks,
    archsim.report.trace.axis,
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.__name__)
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
