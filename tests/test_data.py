"""Is every data file readable and sourced, is every field read by something, does every design run?"""

import re
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

import archsim
from archsim.check import check_file
from archsim.design.built import Built
from archsim.design.design import Design
from archsim.design.energy import Energy
from archsim.design.resources import Resources
from archsim.design.silicon import Component, Silicon
from archsim.design.technology import Technology
from archsim.files.data_folder import shipped
from archsim.files.provenance import Fitted
from archsim.mapping import Choices, Entry, Fused, Mapping, Room, load_mapping
from archsim.published import Point, Published, load_published
from archsim.selection.selection import Selection
from dataflow.models.model import Model
from dataflow.models.vision import Vision
from mappers.experiment.run import run
from mappers.registry import MAPPERS, own_mapper

ROOT = Path(__file__).parent.parent
SOURCES = "\n".join(p.read_text() for d in ("archsim", "dataflow", "mappers") for p in (ROOT / d).rglob("*.py"))


@pytest.mark.parametrize("name", shipped())
def test_designs_load_and_say_where_their_numbers_are_from(name):
    design = archsim.load_design(name)
    assert design.source
    assert all(design.assumed.values())
    assert all(entry.reason for entry in design.fitted.values())


@pytest.mark.parametrize("name", shipped("selections"))
def test_selections_load_and_say_where_their_numbers_are_from(name):
    selection = archsim.load_selection(name)
    assert selection.source
    assert all(selection.assumptions().values())
    assert all(entry.reason for entry in selection.fitted.values())


@pytest.mark.parametrize("name", shipped("mappings"))
def test_mappings_load_and_say_who_chose_them(name):
    assert load_mapping(name).source


FOLDERS = ("", "models", "selections", "mappings", "published", "technologies")


@pytest.mark.parametrize("name", [name for folder in FOLDERS for name in shipped(folder)])
def test_check_has_something_to_say_of_every_shipped_file(name):
    assert check_file(name, mappers=MAPPERS)


def test_fewer_numbers_are_fitted_than_points_are_published():
    """Of each file's design and of the selections that its points are run with; each fitted to a point that checks."""
    files = [load_published(name) for name in shipped("published")]
    checks = {(file.design, id) for file in files for id, point in file.points.items() if not point.given}
    ids, known = {id for _, id in checks}, set()
    for file in files:
        chosen = {point.selection for point in file.points.values() if point.selection}
        owners = [archsim.load_design(file.design), *map(archsim.load_selection, chosen)]
        fitted = {(owner.name, path, entry.point) for owner in owners for path, entry in owner.fitted.items()}
        assert {point for _, _, point in fitted} <= ids
        assert len(owners[0].fitted) < sum(design == file.design for design, _ in checks)
        assert len([path for path in owners[0].fitted if path != "energy.idle"]) <= 3
        known |= fitted
    assert len({point for _, _, point in known}) == len(known) < len(checks) / 2


# What each mapper is made to run, and a model for it; a design without weights in ternary has another.
RUNS = {
    "table_lookup": ("bitnet_b158_large", [{"phase": "prefill", "prompt": 2}, {"phase": "decode", "context": 2}]),
    "tiled": ("toy_video", [{"phase": "prefill", "prompt": 2}, {"phase": "decode", "context": 8}]),
    "spatial": ("toy_video", [{"phase": "prefill", "prompt": 2}, {"phase": "decode", "context": 8}]),
    "nodes": ("toy_video", [{"phase": "attention", "prompt": 2, "context": 3}]),
    "retrieval": ("toy_video", [{"phase": "frame", "context": 8}, {"phase": "question", "context": 8, "prompt": 2},
                                {"phase": "decode", "context": 8}, {"phase": "prefill", "prompt": 2}]),
}  # fmt: skip


@pytest.mark.parametrize("name", shipped())
def test_every_design_runs_a_model_made_for_it(name):
    design = archsim.load_design(name)
    made_for, phases = RUNS["nodes" if name == "streaming_machine" else own_mapper(design)]
    model = archsim.load_model(made_for)
    for phase in phases:
        assert run(design, model, **phase).cycles > 0


def test_the_runs_above_know_every_mapper():
    assert set(RUNS) == {*MAPPERS, "nodes"}


# Read by people or by the loader alone: nothing that runs depends on them.
FOR_READERS = {"name", "source", "version", "conditions", "mark", "kind", "reason", "description"}
FIELDS = {
    (model.__name__, field)
    for model in (Design, Energy, Technology, Resources, Built, Component, Silicon, Fitted, Model, Vision, Selection,
                  Mapping, Choices, Entry, Fused, Room, Point, Published)
    for field in model.model_fields
    if field not in FOR_READERS
}


@pytest.mark.parametrize("owner, field", sorted(FIELDS))
def test_every_field_of_a_file_is_read_by_something(owner, field):
    assert re.search(rf"\.{field}\b", SOURCES), f"nothing reads {owner}.{field}"


ONE_LAYER = archsim.load_model("bitnet_b158_large").model_copy(update={"layers": 1})
VIDEO = archsim.load_model("videollm_online_8b").model_copy(update={"layers": 1})
CHOSEN = archsim.load_selection("resv").with_({"resident": 0.5})
WHOLE = (VIDEO, {"phase": "frame", "context": 1000, "selection": archsim.load_selection("flexgen")})
# Each accelerator with runs of a model's layer in which its numbers show.
ACCELERATORS = {
    "tellme_kv260": [(ONE_LAYER, {"phase": "decode", "context": 24}), (ONE_LAYER, {"phase": "prefill", "prompt": 8})],
    "vrex8": [(VIDEO, {"phase": "question", "context": 40_000, "prompt": 40, "selection": CHOSEN}), WHOLE],
    "agx_orin": [(VIDEO, {"phase": "frame", "context": 5000, "selection": CHOSEN}), WHOLE],
}
# Why a change of this parameter shows in no run of the design as it is shipped.
SHOWS_NOTHING = {
    "tellme_kv260": {
        "units.ddr.capacity": "a limit: half of it still holds this model; its own tests stand in tests/errors",
        "units.prefill_attention.max_context": "a limit: its own test stands in tests/errors",
    },
    "vrex8": {
        **(limits := {
            "units.dram.capacity": "a limit: half of it still holds one layer; its tests stand in tests/errors",
            "units.dram.cache_region": "a limit: half of it still holds one layer's cache; tests/unit holds it",
            "units.ssd.capacity": "a limit: its test stands in tests/errors",
        }),
        **dict.fromkeys(
            ("units.wtu.score_buffer", "units.wtu.count_buffer", "units.wtu.element_bits", "units.wtu.fill_cycles"),
            "4096 scores of a row are held at once, more than this cache has clusters; tests/unit holds the fills",
        ),
    },
    "agx_orin": limits,
}  # fmt: skip


def scaled(value, factor):
    if isinstance(value, int):
        return max(1, int(value * factor))
    number, _, unit = value.partition(" ")
    return f"{float(number) * factor:g} {unit}"


@cache
def outcome(name, phase, path=None, value=None):
    """What a run shows with one number changed, or why it is refused."""
    model, asked = ACCELERATORS[name][phase]
    try:
        design = archsim.load_design(name).with_({path: value} if path else {})
        report = run(design, model, **asked)
    except archsim.InputError as error:
        return str(error)
    uses = {owner: unit.resources() for owner, unit in design.units.items()}
    return report.cycles, report.peaks, report.traffic, {n: u.busy_cycles for n, u in report.units.items()}, uses


PARAMETERS = [
    (accelerator, f"{part}.{name}.{key}")
    for accelerator in ACCELERATORS
    for part in ("units", "links")
    for name, written in archsim.load_design(accelerator).document.data.get(part, {}).items()
    for key, value in written.items()
    if isinstance(value, int) or (isinstance(value, str) and value[0].isdigit())
]


@pytest.mark.parametrize("accelerator, path", PARAMETERS)
def test_every_number_of_the_accelerator_shows(accelerator, path):
    part, name, key = path.split(".")
    written = archsim.load_design(accelerator).document.data[part][name][key]
    phases = range(len(ACCELERATORS[accelerator]))
    changed = [(phase, scaled(written, factor)) for factor in (2, 0.5) for phase in phases]
    shows = any(outcome(accelerator, phase, path, value) != outcome(accelerator, phase) for phase, value in changed)
    assert shows == (path not in SHOWS_NOTHING[accelerator])


def test_the_clock_is_exact():
    design = archsim.load_design("tellme_kv260")
    assert design.units["ddr"].bandwidth == Fraction(17_100_000_000, 250_000_000)
    assert design.with_({"clock": "500 MHz"}).units["ddr"].bandwidth == Fraction(17_100_000_000, 500_000_000)
