"""Is every data file readable and sourced, is every field read by something, does every design run?"""

import re
from fractions import Fraction
from pathlib import Path

import pytest

import archsim
from archsim.check import check_file
from archsim.design import Design, Fitted, Link, Resources, shipped
from archsim.published import Point, Published, load_published
from archsim.units import KINDS
from dataflow.model import Model
from mappers.choose import MAPPERS
from mappers.pipeline import run

ROOT = Path(__file__).parent.parent
SOURCES = "\n".join(p.read_text() for d in ("archsim", "dataflow", "mappers") for p in (ROOT / d).rglob("*.py"))


@pytest.mark.parametrize("name", shipped())
def test_designs_load_and_say_where_their_numbers_are_from(name):
    design = archsim.load_design(name)
    assert design.source
    assert all(design.assumed.values())
    assert all(entry.reason for entry in design.fitted.values())


@pytest.mark.parametrize("name", [*shipped(), *shipped("models"), *shipped("published")])
def test_check_has_something_to_say_of_every_shipped_file(name):
    assert check_file(name, mappers=MAPPERS)


@pytest.mark.parametrize("name", shipped("published"))
def test_fewer_numbers_are_fitted_than_points_are_published(name):
    published = load_published(name)
    design = archsim.load_design(published.design)
    checks = {id for id, point in published.points.items() if not point.given}
    assert {entry.point for entry in design.fitted.values()} <= checks
    assert len(design.fitted) < len(checks)
    assert len(design.fitted) <= 3


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("phase", [{"phase": "prefill", "prompt": 2}, {"phase": "decode", "context": 2}])
def test_every_design_runs_a_model_made_for_it(name, phase):
    model = archsim.load_model("toy_llm" if name == "toy" else "bitnet_b158_large")
    assert run(archsim.load_design(name), model, **phase).cycles > 0


FIELDS = {
    (model.__name__, field)
    for model in (Design, Link, Resources, Fitted, Model, Point, Published, *KINDS.values())
    for field in model.model_fields
    # `kind` is the tag that picks the class.
    if (field, model.__name__) not in {("kind", k.__name__) for k in KINDS.values()}
}  # fmt: skip


@pytest.mark.parametrize("owner, field", sorted(FIELDS))
def test_every_field_is_read_by_something(owner, field):
    assert re.search(rf"\.{field}\b", SOURCES), f"nothing reads {owner}.{field}"


def test_the_clock_is_exact():
    design = archsim.load_design("tellme_kv260")
    assert design.units["ddr"].bandwidth == Fraction(17_100_000_000, 250_000_000)
    assert design.with_({"clock": "500 MHz"}).units["ddr"].bandwidth == Fraction(17_100_000_000, 500_000_000)
