"""Figures of rows: what is drawn equals the rows, counted by hand; what would choose without a word is refused."""

import doctest
import math
from itertools import product

import numpy as np
import pytest
from matplotlib.colors import LogNorm

import archsim.report.plot.drawing
import archsim.report.plot.effects
from archsim import InputError, load_design
from archsim.report import plot
from archsim.report.plot.points import MOST_GROUPS
from archsim.report.rows.row import Row
from mappers import sweep

TOY = load_design("toy")
BANDWIDTH, TABLES = "units.ddr.bandwidth", "units.ddr.count"


def row(bandwidth, count, seconds=None, joules=None, **said):
    figures = {"seconds": seconds, "energy_joules": joules, "bottleneck": "ddr"} if seconds is not None else {}
    return Row({BANDWIDTH: bandwidth, TABLES: count}, figures, **said)


# A grid of 3 x 2 without one point; seconds are 12 / (bandwidth x count), joules count by hand.
ROWS = [
    row("1 MB/s", 1, 12, 1), row("1 MB/s", 2, 6, 3), row("2 MB/s", 1, 6, 2), row("2 MB/s", 2, 3, 4),
    row("4 MB/s", 1, 3, 5, status="outside", problem="energy_joules: 5 is above 4"),
    Row({BANDWIDTH: "4 MB/s", TABLES: 2}, status="refused", problem="no"),
]  # fmt: skip


def spots(collection):
    return [tuple(map(float, at)) for at in collection.get_offsets()]


def curve(line):
    return [(float(x), None if math.isnan(y) else float(y)) for x, y in line.get_xydata()]


def legend(axes):
    return axes.get_legend_handles_labels()[1]


def test_the_front_counted_by_hand():
    axes = plot.pareto(ROWS, x="seconds", y="energy_joules", least=["seconds", "energy_joules"], design=TOY)
    assert curve(axes.lines[0]) == [(3, 4), (6, 2), (12, 1)]
    done, outside = axes.collections
    assert spots(done) == [(12, 1), (6, 3), (6, 2), (3, 4)]
    assert spots(outside) == [(3, 5)]
    assert legend(axes) == ["Pareto front", "outside a limit"]
    assert axes.get_xlabel() == "seconds, s (less is better)"
    assert axes.get_ylabel() == "energy_joules, J (less is better)"
    assert axes.get_title(loc="left") == "toy: 3 of 4 points are on the Pareto front\nnot drawn: 1 refused"


def test_the_direction_turns_the_front_and_groups_have_own_colours_and_markers():
    axes = plot.pareto(ROWS, x="seconds", y="energy_joules", most="seconds", least="energy_joules", by=TABLES)
    assert curve(axes.lines[0]) == [(12, 1)]
    one, two, _ = axes.collections
    assert (spots(one), spots(two)) == ([(12, 1), (6, 2)], [(6, 3), (3, 4)])
    assert legend(axes) == ["Pareto front", "1", "2", "outside a limit"]
    assert axes.get_legend().get_title().get_text() == TABLES
    assert one.get_facecolor().tolist() != two.get_facecolor().tolist()
    assert one.get_paths()[0].vertices.shape != two.get_paths()[0].vertices.shape


def test_lines_have_a_gap_where_a_point_has_no_figure():
    axes = plot.sweep_lines(ROWS, x=BANDWIDTH, y="seconds", by=TABLES, design=TOY)
    assert [curve(line) for line in axes.lines] == [[(1, 12), (2, 6), (4, 3)], [(1, 6), (2, 3), (4, None)]]
    assert legend(axes) == ["1", "2", "outside a limit"]
    assert spots(axes.collections[0]) == [(4, 3)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("units.ddr.bandwidth, MB/s", "seconds, s")
    assert axes.get_xscale() == "log"  # powers of two, which are the ticks
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4"]
    assert axes.get_title(loc="left") == f"toy: seconds over {BANDWIDTH}\nnot drawn: 1 refused"
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 2


def test_without_a_design_text_stands_side_by_side():
    axes = plot.sweep_lines(ROWS, x=BANDWIDTH, y="seconds", by=TABLES)
    assert curve(axes.lines[0]) == [(0, 12), (1, 6), (2, 3)]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1 MB/s", "2 MB/s", "4 MB/s"]
    assert axes.get_xscale() == "linear"


def test_a_value_without_limit_stands_beside_the_others():
    rows = [Row({"fifos.long": depth}, {"cycles": n}) for n, depth in enumerate(["inf", 6, 3], start=1)]
    rows.append(Row({"fifos.long": "inf", "b": 1}, {"cycles": 9}, status="outside"))
    axes = plot.sweep_lines(rows[:3], x="fifos.long", y="cycles", design=TOY)
    assert curve(axes.lines[0]) == [(0, 3), (1, 2), (2, 1)]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "6", "inf"]
    axes = plot.sweep_lines(rows[1:], x="fifos.long", y="cycles", design=TOY)
    assert spots(axes.collections[0]) == [(2, 9)]


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 2, 4], "log"), ([1, 4, 64], "log"), ([1, 2], "linear"), ([3, 5, 300], "linear"), ([3, 5, 301], "log"),
     ([0, 3, 900], "linear")],
)  # fmt: skip
def test_an_axis_is_logarithmic_only_where_values_ask_for_it(values, scale):
    rows = [Row({"context": value}, {"cycles": value}) for value in values]
    axes = plot.sweep_lines(rows, x="context", y="cycles")
    assert axes.get_xscale() == scale
    assert axes.get_yscale() == ("log" if values[0] and values[-1] / values[0] > 100 else "linear")


def test_cells_equal_the_rows_and_the_refused_are_hatched():
    axes, bar = plot.heat_map(ROWS, x=BANDWIDTH, y=TABLES, value="seconds", design=TOY).figure.axes
    mesh, outside = axes.collections
    assert mesh.get_array().tolist() == [[12, 6, 3], [6, 3, None]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1", "2"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("units.ddr.bandwidth, MB/s", TABLES)
    assert bar.get_ylabel() == "seconds, s"
    assert {text.get_position(): text.get_text() for text in axes.texts}[(0, 0)] == "12"
    assert len(axes.texts) == 5
    (hatched,) = axes.patches
    assert (hatched.get_xy(), hatched.get_hatch()) == ((1.5, 0.5), "////")
    assert len(spots(outside)) == 1
    assert mesh.get_cmap().name == "viridis"
    assert axes.get_title(loc="left") == "toy: seconds\nhatched: 1 refused"


def test_cells_of_values_that_cannot_be_read_or_lie_far_apart():
    rows = [row("1 MB/s", 1, 1), row("2 MB/s", 1, 1000), Row({BANDWIDTH: "fast", TABLES: 1}, status="refused")]
    axes, _ = plot.heat_map(rows, x=BANDWIDTH, y=TABLES, value="seconds", design=TOY).figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "fast"]
    assert isinstance(axes.collections[0].norm, LogNorm)
    assert axes.patches[0].get_xy() == (1.5, -0.5)


def test_many_cells_have_no_numbers_and_few_ticks():
    rows = [Row({"a": a, "b": b}, {"cycles": a * b}) for a, b in product(range(1, 31), range(1, 31))]
    axes, _ = plot.heat_map(rows, x="a", y="b", value="cycles").figure.axes
    assert not axes.texts
    assert len(axes.get_xticks()) <= 12


def importance_of(axes):
    names = [text.get_text() for text in axes.get_yticklabels()]
    return axes, dict(zip(names, [bar.get_width() / 100 for bar in axes.patches], strict=True))


def test_shares_of_variance_counted_by_hand():
    # f = 10 a + b + 2 a b over a, b in (-1, 1): variances 100, 1 and 4.
    rows = [
        Row({"a": a, "b": b, "same": 3}, {"seconds": 20 + 10 * a + b + 2 * a * b}) for a in (-1, 1) for b in (-1, 1)
    ]
    axes, shares = importance_of(plot.importance(rows, figure="seconds"))
    assert list(shares) == ["interactions and rest", "b", "a"]
    assert shares == pytest.approx({"a": 100 / 105, "b": 1 / 105, "interactions and rest": 4 / 105})
    assert axes.get_title(loc="left") == "what seconds depends on, over 4 points"  # a grid, however small


def test_numbers_of_many_values_are_taken_in_bins():
    rows = [Row({"n": n, "flip": n % 2}, {"seconds": n}) for n in range(1, 161)]
    axes, shares = importance_of(plot.importance(rows, figure="seconds"))
    assert shares["n"] == pytest.approx(1 - 1 / 64, abs=1e-3)  # of 8 equal bins all but the variance inside one
    assert shares["flip"] < 0.001
    assert shares["n"] + shares["flip"] + shares["interactions and rest"] == pytest.approx(1)
    assert "few rows" not in axes.get_title(loc="left")  # 7 / 159


def test_few_rows_are_said_to_be_few():
    rows = [Row({"n": n, "m": n * 7 % 10}, {"seconds": n}) for n in range(10)]
    axes, _ = importance_of(plot.importance(rows, figure="seconds"))
    assert axes.get_title(loc="left").endswith("few rows: 8 values of n explain 78% by chance alone")


def test_rows_that_are_refused_explain_nothing():
    _, shares = importance_of(plot.importance(ROWS, figure="energy_joules", design=TOY))
    values = np.array([1, 3, 2, 4, 5])
    between = sum(len(of) * (of.mean() - 3) ** 2 for of in (values[:2], values[2:4], values[4:]))
    assert shares[BANDWIDTH] == pytest.approx(between / ((values - 3) ** 2).sum())


SWEPT = {
    "pareto": lambda rows: plot.pareto(rows, x="seconds", y="read_bytes.ddr", by="context"),
    "lines": lambda rows: plot.sweep_lines(rows, x=BANDWIDTH, y="seconds", by="context"),
    "heat_map": lambda rows: plot.heat_map(rows, x=BANDWIDTH, y="context", value="seconds"),
    "importance": lambda rows: plot.importance(rows, figure="seconds"),
}


@pytest.mark.parametrize("name", SWEPT)
def test_a_sweep_is_drawn_as_it_is(name):
    swept = sweep(
        "toy", "toy_llm", phase="decode", over={BANDWIDTH: ["1 B/cycle", "2 B/cycle"], "context": [3, 9, 1000]},
        least=["seconds", "read_bytes.ddr"],
    )  # fmt: skip
    axes = SWEPT[name](swept)
    axes.figure.canvas.draw()
    assert axes.get_title(loc="left").startswith("toy: ")
    done = {(one.settings[BANDWIDTH], one.settings["context"]): one["seconds"] for one in swept if one.status == "done"}
    if name == "lines":
        drawn = [y * 1e-6 for line in axes.lines for _, y in curve(line)]
        assert axes.get_ylabel() == "seconds, us"
    if name == "heat_map":
        drawn = [y * 1e-6 for y in axes.collections[0].get_array().compressed()]
        assert len(axes.patches) == 2
    if name in ("lines", "heat_map"):
        assert drawn == pytest.approx([done[b, c] for c in (3, 9) for b in ("1 B/cycle", "2 B/cycle")])


SECONDS = {"x": "seconds", "y": "energy_joules"}
# ruff: noqa: E501
REFUSED = [
    (plot.pareto, SECONDS, "pareto: is more or less of 'seconds' and 'energy_joules' better? name x and y in most or least"),
    (plot.pareto, {**SECONDS, "most": "seconds"}, "pareto: is more or less of 'energy_joules' better? name x and y in most or least"),
    (plot.pareto, {**SECONDS, "most": "seconds", "least": ["seconds"]}, "pareto: 'seconds' is named in most and in least; name it in one"),
    (plot.pareto, {**SECONDS, "most": "cycles"}, "pareto: 'cycles' is neither x nor y; most and least say which of these is better"),
    (plot.pareto, {"x": "seconds", "y": "seconds"}, "pareto: x and y are both 'seconds'; name two figures"),
    (plot.pareto, {"x": "second", "y": "energy_joules", "least": ["second", "energy_joules"]}, "no figure or setting 'second'; did you mean 'seconds'?"),
    (plot.pareto, {"x": "seconds", "y": "bottleneck", "least": ["seconds", "bottleneck"]}, "pareto: y: no row has a number for 'bottleneck'; name another figure"),
    (plot.pareto, {**SECONDS, "least": ["seconds", "energy_joules"], "by": "units"}, f"pareto: by: no setting 'units'; settings are: {BANDWIDTH}, {TABLES}"),
    (plot.sweep_lines, {"x": "seconds", "y": "seconds"}, f"sweep_lines: x: no setting 'seconds'; settings are: {BANDWIDTH}, {TABLES}"),
    (plot.sweep_lines, {"x": BANDWIDTH, "y": "seconds"}, f"sweep_lines: 2 rows have {BANDWIDTH} = 1 MB/s, but a line shows one; besides varies {TABLES}: give rows in which it has one value"),
    (plot.heat_map, {"x": BANDWIDTH, "y": BANDWIDTH, "value": "seconds"}, f"heat_map: x and y are both '{BANDWIDTH}'; name two settings"),
    (plot.heat_map, {"x": BANDWIDTH, "y": TABLES, "value": "bottleneck"}, "heat_map: value: no row has a number for 'bottleneck'; name another figure"),
    (plot.importance, {"figure": "bottleneck"}, "importance: figure: no row has a number for 'bottleneck'; name another figure"),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "asked", "message"), REFUSED, ids=[message[:60] for _, _, message in REFUSED])
def test_what_cannot_be_drawn_is_said(draw, asked, message):
    with pytest.raises(InputError) as caught:
        draw(ROWS, **asked, design=TOY)
    assert str(caught.value) == message


def refusal(draw, rows, **asked):
    with pytest.raises(InputError) as caught:
        draw(rows, **asked)
    return str(caught.value)


def test_rows_that_cannot_be_drawn_are_said():
    assert (
        refusal(plot.importance, [], figure="seconds") == "importance: no rows; a sweep of one point or more has some"
    )
    assert refusal(plot.importance, [3], figure="seconds") == "importance: rows: expected a Row, got 3"
    told = "importance: no setting varies among the 1 rows that have 'seconds'"
    assert refusal(plot.importance, ROWS[:1], figure="seconds") == told
    same = [row("1 MB/s", 1, 3), row("2 MB/s", 1, 3)]
    told = "importance: all 2 rows have the same 'seconds'; nothing is to be explained"
    assert refusal(plot.importance, same, figure="seconds") == told
    told = (
        f"heat_map: 2 rows have {BANDWIDTH} = 1 MB/s, {TABLES} = 1, and no other setting varies; give each point once"
    )
    assert refusal(plot.heat_map, [ROWS[0], ROWS[0]], x=BANDWIDTH, y=TABLES, value="seconds") == told
    told = "importance: no row has figures; the first says: no"
    assert refusal(plot.importance, ROWS[5:], figure="seconds") == told
    many = [Row({"a": n, "b": 1}, {"seconds": n}) for n in range(MOST_GROUPS + 1)]
    told = "sweep_lines: by: 'a' has 13 values, of which 12 can be told apart; give fewer rows, or name another setting"
    assert refusal(plot.sweep_lines, many, x="b", y="seconds", by="a") == told


def test_a_refused_sweep_names_the_settings_that_vary_besides():
    rows = [Row({"a": a, "b": b, "c": c}, {"seconds": 1}) for a, b, c in product((1, 2), repeat=3)]
    told = "heat_map: 2 rows have a = 1, b = 1, but a cell shows one; besides varies c: give rows in which it has one value"
    assert refusal(plot.heat_map, rows, x="a", y="b", value="seconds") == told
    axes, _ = plot.heat_map([one for one in rows if one["c"] == 2], x="a", y="b", value="seconds").figure.axes
    assert axes.collections[0].get_array().count() == 4


@pytest.mark.parametrize("module", [archsim.report.plot.drawing, archsim.report.plot.effects])
def test_examples(module):
    assert doctest.testmod(module).failed == 0
