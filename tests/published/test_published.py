"""How close to the printed numbers? Every shipped point, on its design and model, within its tolerance."""

import re
from pathlib import Path

import pytest

from archsim.errors import DesignError
from archsim.files.data_folder import shipped
from archsim.published import Comparison, Conditions, Point, Published, compare, load_published
from dataflow import LayerAttention, Prefill, Question
from mappers.experiment.published_runs import run_published

README = Path(__file__).parent.parent.parent / "README.md"
README_ORDER = ("tellme_kv260", "vrex8", "agx_orin", "sn40l", "sn40l_node")
FRAMES = ("frame_1000", "frame_5000", "frame_10000", "frame_20000", "frame_40000")
REPORTS = {}


def simulated(conditions):
    if conditions not in REPORTS:
        REPORTS[conditions] = run_published(conditions)
    return REPORTS[conditions]


def compared(name):
    return list(compare(load_published(name), simulated))


@pytest.mark.parametrize("name", shipped("published"))
def test_every_point_holds(name):
    rows = compared(name)
    assert len(rows) == len(load_published(name).points)
    assert [row.id for row in rows if not row.holds] == []


def test_the_readme_prints_every_point():
    """One table for each file, a row for each point, in the files' order."""
    rows = [row for name in README_ORDER for row in compared(name)]
    assert set(README_ORDER) == set(shipped("published"))
    cells = [line.split("|")[1:-1] for line in README.read_text().splitlines() if line.startswith("|")]
    errors = [row for row in cells if len(row) == 5 and row[3].strip()[:1] in ("+", "-")]
    written = [[cell.strip() for cell in row[1:4]] for row in errors]
    written = [row for row in written if row[2].endswith("%")]
    assert len(written) == len(rows)
    for row, (value, shown, error) in zip(rows, written, strict=True):
        number, unit = shown.split()
        digits = len(number.replace(".", "").lstrip("0"))
        assert value == row.point.value
        assert float(number) == float(f"{row.simulated * {'ms': 1e3, '%': 100, 'GB': 1e-9}.get(unit, 1):.{digits}g}")
        assert error == f"{row.error:+.1%}"


def test_frames_take_longer_the_longer_the_cache():
    times = [row.simulated for row in compared("vrex8") if row.id in FRAMES]
    assert len(times) == 5
    assert times == sorted(times)


def point(**changes):
    return Point.model_validate(
        {"metric": "seconds", "phase": "decode", "tokens": 3, "value": "100 us", "conditions": "none", "mark": "paper",
         "tolerance": 0.1} | changes
    )  # fmt: skip


@pytest.mark.parametrize(
    "simulated, changes, verdict",
    [
        (1.0999e-4, {}, "ok"),
        (1.1001e-4, {}, "outside"),
        (0.9001e-4, {}, "ok"),
        (0.8999e-4, {}, "outside"),
        (1e-4, {"given": "power"}, "given"),
        (1e-4, {}, "fitted"),
        (2e-4, {"known_miss": {"ratio": 2.0, "reason": "no cache"}}, "known miss"),
        (2.021e-4, {"known_miss": {"ratio": 2.0, "reason": "no cache"}}, "moved"),
        (1e-4, {"known_miss": {"ratio": 2.0, "reason": "no cache"}}, "moved"),
        (None, {}, "outside"),
    ],
)
def test_verdicts_on_both_sides_of_each_gate(simulated, changes, verdict):
    row = Comparison("speed", point(**changes), 1e-4, simulated, fitted=verdict == "fitted")
    assert row.verdict == verdict
    assert row.holds == (verdict in ("ok", "given", "fitted", "known miss"))


def test_a_point_names_its_run():
    asked = point(phase="question", tokens=40, prompt=5, batch=2, selection="resv", options={"b": "1", "a": "2"})
    options = (("a", "2"), ("b", "1"))
    assert asked.run_on("x", "y") == Conditions("x", "y", Question(context=40, prompt=5, batch=2), "resv", options)
    assert point(phase="prefill", tokens=40).run_on("x", "y") == Conditions("x", "y", Prefill(prompt=40), None, ())
    fields = {"context": 9, "mask": "full"}
    masked = point(phase="attention", tokens=None, prompt=2, fields=fields)
    assert masked.asked() == LayerAttention(prompt=2, context=9, mask="full")


def test_a_point_says_what_its_mapping_does():
    asked = point(mapping={"sections": "op", "ahead": "op"}).run_on("sn40l", "x")
    assert asked.mapping == (("ahead", "op"), ("sections", "op"))
    assert point().run_on("sn40l", "x").mapping == ()


def test_a_unit_that_no_run_has_is_refused():
    busy = {"metric": "busy_share", "unit": "hbm", "value": "3 %"}
    written = {"design": "toy", "model": "toy_llm", "source": "none", "points": {"busy": point(**busy).model_dump()}}
    with pytest.raises(DesignError, match="published point 'busy': unit: no unit 'hbm'; units are: "):
        list(compare(Published.model_validate(written), simulated))


def test_a_part_that_no_run_has_is_refused():
    share = {"metric": "part_share", "part": "selecting", "value": "3 %"}
    written = {"design": "toy", "model": "toy_llm", "source": "none", "points": {"share": point(**share).model_dump()}}
    with pytest.raises(DesignError, match="published point 'share': part: no part 'selecting'; parts are: "):
        list(compare(Published.model_validate(written), simulated))


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"metric": "part_share", "value": "48 %"}, "part: stands with metric part_share"),
        ({"than": {"design": "toy"}}, "than: stands with metric times_slower or times_launches"),
        ({"metric": "bytes_read", "value": "3 GB"}, "unit: stands with metric bytes_read or busy_share"),
        ({"prompt": 3}, "phase: phase decode takes --context, not --prompt"),
        ({"phase": "training"}, "phase: unknown phase 'training'; phases are"),
        ({"fields": {"drafts": 4}}, "phase: phase decode takes --context, not --drafts"),
        ({"metric": "times_slower", "than": {}, "value": "7 %"}, "expected a ratio such as '7.3 x', got '7 %'"),
        ({"metric": "frames_per_second", "value": "0 frame/s"}, "expected a rate of frames such as"),
    ],
)
def test_points_that_cannot_be_are_told(changes, told):
    with pytest.raises(ValueError, match=re.escape(told.split(": ")[-1])):
        point(**changes)
