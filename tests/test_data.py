"""Is every data file readable and sourced, is every field read by something, does every design run?"""

import re
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

import archsim
from archsim.check import check_file
from archsim.design import Design, Fitted, Resources, shipped
from archsim.published import Point, Published, load_published
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


# What each mapper is made to run.
RUNS = {
    "temporal": [{"phase": "prefill", "prompt": 2}, {"phase": "decode", "context": 2}],
    "streaming": [{"phase": "attention", "prompt": 2, "context": 3}],
}


@pytest.mark.parametrize("name", shipped())
def test_every_design_runs_a_model_made_for_it(name):
    design = archsim.load_design(name)
    model = archsim.load_model("toy_llm" if name == "toy" else "bitnet_b158_large")
    for phase in RUNS[design.mapper]:
        assert run(design, model, **phase).cycles > 0


def test_the_runs_above_know_every_mapper():
    assert set(RUNS) == set(MAPPERS)


# Read by people or by the loader alone: nothing that runs depends on them.
FOR_READERS = {"name", "source", "conditions", "mark", "kind", "reason", "description"}
FIELDS = {
    (model.__name__, field)
    for model in (Design, Resources, Fitted, Model, Point, Published)
    for field in model.model_fields
    if field not in FOR_READERS
}


@pytest.mark.parametrize("owner, field", sorted(FIELDS))
def test_every_field_of_a_file_is_read_by_something(owner, field):
    assert re.search(rf"\.{field}\b", SOURCES), f"nothing reads {owner}.{field}"


TELLME = archsim.load_design("tellme_kv260")
ONE_LAYER = archsim.load_model("bitnet_b158_large").model_copy(update={"layers": 1})
PHASES = ({"phase": "decode", "context": 24}, {"phase": "prefill", "prompt": 8})
# Why a change of this parameter shows in no run of the design as it is shipped.
SHOWS_NOTHING = {
    "units.ddr.capacity": "a limit: half of it still holds this model; its own tests stand in tests/errors",
    "units.prefill_attention.max_context": "a limit: its own test stands in tests/errors",
    "units.tlmm.activation_bits": "the width of a table's entries: table_bits, which tests/unit holds",
}


def scaled(value, factor):
    if isinstance(value, int):
        return max(1, int(value * factor))
    number, _, unit = value.partition(" ")
    return f"{float(number) * factor:g} {unit}"


@cache
def outcome(phase, path=None, value=None):
    """What a run shows with one number changed, or why it is refused."""
    try:
        design = TELLME.with_({path: value} if path else {})
        report = run(design, ONE_LAYER, **PHASES[phase])
    except archsim.InputError as error:
        return str(error)
    uses = {owner: unit.resources() for owner, unit in design.units.items()}
    return report.cycles, report.peaks, report.traffic, {n: u.busy_cycles for n, u in report.units.items()}, uses


PARAMETERS = [
    f"{part}.{name}.{key}"
    for part in ("units", "links")
    for name, written in TELLME.document.data[part].items()
    for key, value in written.items()
    if isinstance(value, int) or (isinstance(value, str) and value[0].isdigit())
]


@pytest.mark.parametrize("path", PARAMETERS)
def test_every_number_of_the_accelerator_shows(path):
    part, name, key = path.split(".")
    written = TELLME.document.data[part][name][key]
    changed = [(phase, scaled(written, factor)) for factor in (2, 0.5) for phase in range(len(PHASES))]
    shows = any(outcome(phase, path, value) != outcome(phase) for phase, value in changed)
    assert shows == (path not in SHOWS_NOTHING)


def test_the_clock_is_exact():
    design = archsim.load_design("tellme_kv260")
    assert design.units["ddr"].bandwidth == Fraction(17_100_000_000, 250_000_000)
    assert design.with_({"clock": "500 MHz"}).units["ddr"].bandwidth == Fraction(17_100_000_000, 500_000_000)
