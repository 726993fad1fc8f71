"""archsim.diff of reports and designs, and the values that differ between two documents."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import archsim
import mappers
from archsim import InputError, diff
from archsim.files.document import read_text, written
from archsim.files.edits import differing
from archsim.report.difference.figures import Figure

TOY = archsim.load_design("toy")
RUN: dict[str, Any] = {"phase": "decode", "context": 3}


def test_two_reports():
    fast = TOY.with_({"units.mm.macs_per_cycle": 4})
    a, b = mappers.run(TOY, "toy_llm", **RUN), mappers.run(fast, "toy_llm", **RUN)
    told = diff(a, b)
    assert told.inputs == {"design.units.mm.macs_per_cycle": (1, 4)}
    elsewhere = diff(a, replace(b, origin=None))  # a report from another process knows the path alone
    assert elsewhere.inputs == {"set.units.mm.macs_per_cycle": (None, "set in this variant")}
    (time,) = [one for one in told.changed or () if one.name == "time"]
    assert (time.a, time.b, time.ratio) == (a.seconds, b.seconds, b.seconds / a.seconds)
    assert "results" in str(told)
    assert not diff(a, a).inputs
    assert diff(a, a).changed == ()
    assert set(told.as_json()) == {"a", "b", "inputs", "figures", "unchanged"}


def test_two_designs():
    told = diff(TOY, TOY.with_({"units.mm.macs_per_cycle": 4}))
    assert told.inputs == {"units.mm.macs_per_cycle": (1, 4)}
    assert (told.changed, told.unchanged) == (None, None)
    assert str(told) == "units.mm.macs_per_cycle: 1 -> 4"


def test_a_number_that_was_fitted_and_is_set_is_told_once():
    design = archsim.load_design("tellme_kv260")
    path = next(iter(design.fitted))
    assert list(diff(design, design.with_({path: 9})).inputs) == [path]


def test_anything_else_is_refused():
    with pytest.raises(InputError, match="diff: expected two reports, or two designs, got 'toy' and a Design"):
        diff("toy", TOY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "a, b, found",
    [
        ({}, {}, {}),
        ({"n": 1}, {"n": True}, {"n": (1, True)}),
        ({"n": 1}, {"n": 1.0}, {"n": (1, 1.0)}),
        ({"n": [1, 2]}, {"n": [1, 3]}, {"n": ([1, 2], [1, 3])}),
        ({"n": [{"a": 1}, {"a": 2}]}, {"n": [{"a": 1}, {"a": 3}]}, {"n.1.a": (2, 3)}),
        ({"n": {"a": 1}}, {}, {"n.a": (1, None)}),
        ({"n": {}}, {}, {"n": ({}, None)}),
        ({"n": {"a": 1}}, {"n": 2}, {"n": ({"a": 1}, 2)}),
        ({"layer*.q": {"m": 1}}, {"layer*.q": {"m": 2}}, {"layer*.q.m": (1, 2)}),
    ],
)
def test_values_that_differ(a, b, found):
    assert differing(a, b) == found
    assert differing(b, a) == {path: (y, x) for path, (x, y) in found.items()}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from(["a", "28", "x: y", "# c", "1e9", "no"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from("abc"), inside, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_a_value_on_one_line_reads_back(value):
    assert "\n" not in written(value)
    assert read_text(f"value: {written(value)}").data == {"value": value}


@pytest.mark.parametrize(
    "figure, change",
    [
        (Figure("results", "time", "time", 2.0, 3.0), "x 1.5"),
        (Figure("results", "energy", "energy", None, 3.0), ""),
        (Figure("share of the time busy", "mm", "share", 0.5, 0.25), "-25 points"),
        (Figure("bytes", "ddr read", "bytes", 0, 8), ""),
        (Figure("results", "busiest", "word", "mm", "ddr"), ""),
    ],
)
def test_the_change_of_a_figure(figure, change):
    assert figure.cells()[3] == change


def test_what_a_variant_costs_is_told():
    """Power, area and what is used of an FPGA; what is not known of one side stands as a dash, which is explained."""
    asked = {"phase": "decode", "context": 64}
    a = mappers.run("tellme_kv260", "bitnet_b158_large", **asked)
    design = archsim.load_design("tellme_kv260")
    b = mappers.run(design.with_({"units.tlmm.num_tables": 42}), "bitnet_b158_large", **asked)
    told = diff(a, b)
    found = {one.name: (one.a, one.b) for one in told.changed or ()}
    assert found["mean power"] == (a.power_watts, b.power_watts)
    assert found["tokens per joule"] == (a.tokens_per_joule, b.tokens_per_joule)
    assert found["lut"] == (98_303, 109_772)
    assert found["ff"] == (136_721, None)
    assert str(told).endswith("-  not known, or not there")


def test_what_differs_by_less_than_is_shown_is_counted():
    a = mappers.run(TOY, "toy_llm", **RUN)
    b = replace(a, lower_bound_cycles=a.lower_bound_cycles, published_watts=None, cycles=a.cycles)
    slower = mappers.run(TOY.with_({"clock": "0.99999 MHz"}), "toy_llm", **RUN)
    assert diff(a, b).changed == ()
    text = str(diff(a, slower))
    assert "results" not in text
    assert "differ by less than is shown" in text
