"""How close to the printed numbers? Every shipped point, on its design and model, within its tolerance."""

from pathlib import Path

import pytest

import archsim
import mappers
from archsim.design import shipped
from archsim.published import Comparison, Point, compare, load_published

README = Path(__file__).parent.parent.parent / "README.md"
REPORTS = {}


def run(published):
    design, model = archsim.load_design(published.design), archsim.load_model(published.model)

    def simulated(point):
        key = (published.design, point.phase, point.tokens)
        if key not in REPORTS:
            tokens = {"prompt" if point.phase == "prefill" else "context": point.tokens}
            REPORTS[key] = mappers.run(design, model, phase=point.phase, **tokens)
        return REPORTS[key]

    return simulated


@pytest.mark.parametrize("name", shipped("published"))
def test_every_point_holds_and_the_readme_prints_it(name):
    published = load_published(name)
    rows = list(compare(published, run(published)))
    assert len(rows) == len(published.points)
    assert [row.id for row in rows if not row.holds] == []
    lines = [line for line in README.read_text().splitlines() if line.startswith("|") and "%" in line]
    written = [[cell.strip() for cell in line.split("|")[2:5]] for line in lines]
    assert len(written) == len(rows)
    for row, (value, simulated, error) in zip(rows, written, strict=True):
        number, unit = simulated.split()
        digits = len(number.replace(".", "").lstrip("0"))
        assert value == row.point.value
        assert float(number) == float(f"{row.simulated * {'ms': 1e3}.get(unit, 1):.{digits}g}")
        assert error == f"{row.error:+.1%}"


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
        (2e-4, {"known_miss": {"ratio": 2.0, "reason": "no cache"}}, "known miss"),
        (2.021e-4, {"known_miss": {"ratio": 2.0, "reason": "no cache"}}, "moved"),
        (1e-4, {"known_miss": {"ratio": 2.0, "reason": "no cache"}}, "moved"),
        (None, {}, "outside"),
    ],
)
def test_verdicts_on_both_sides_of_each_gate(simulated, changes, verdict):
    row = Comparison("speed", point(**changes), 1e-4, simulated)
    assert row.verdict == verdict
    assert row.holds == (verdict in ("ok", "given", "known miss"))
