"""What a design, a variant and a published file may not say or hide."""

import copy
import pickle

import pytest

import archsim
from archsim import DesignError, InputError
from archsim.check import check_file
from archsim.files.document import write
from archsim.published import load_published
from mappers import MAPPERS

TELLME = archsim.load_design("tellme_kv260")
HEAD = "design: toy\nmodel: toy_llm\nsource: written for a check\npoints:\n  p: "
POINT = "phase: decode, tokens: 4, conditions: c, mark: paper, tolerance: 0.1}\n"


def test_check_says_what_is_not_known(tmp_path) -> None:
    lines = check_file("tellme_kv260", mappers=MAPPERS)
    assert any(line.split()[:1] == ["lut"] and "of 117,120" in line for line in lines)
    assert not any("not known" in line for line in lines)
    variant = tmp_path / "variant.yaml"
    variant.write_text(write(TELLME.with_({"units.tlmm.num_tables": 14}).document.data))
    assert "  ff        not known of 234,240" in check_file(str(variant), mappers=MAPPERS)


@pytest.mark.parametrize("name", ["toy", "toy_retrieval", "tellme_kv260"])
def test_a_design_without_units_is_refused(name) -> None:
    with pytest.raises(DesignError, match=r"units: expected at least one unit, got none$"):
        archsim.load_design(name).with_({"units": {}})


@pytest.mark.parametrize("field", ["units", "links", "assumed", "fitted", "fifos", "home", "paths"])
def test_nothing_can_be_set_in_a_design(field) -> None:
    mapping = getattr(archsim.load_design("tellme_kv260"), field)
    changes = {
        "set": lambda: mapping.__setitem__("x", 1), "delete": lambda: mapping.__delitem__("x"),
        "update": lambda: mapping.update(x=1), "pop": lambda: mapping.pop("x", None), "clear": mapping.clear,
        "setdefault": lambda: mapping.setdefault("x", 1), "or": lambda: mapping.__ior__({"x": 1}),
    }  # fmt: skip
    for change in changes.values():
        with pytest.raises(InputError, match=r"frozen; with_\(\{path: value\}\) gives a variant"):
            change()
    assert mapping == getattr(TELLME, field)


def test_a_design_can_be_copied_and_sent() -> None:
    for other in (pickle.loads(pickle.dumps(TELLME)), copy.deepcopy(TELLME)):
        assert other == TELLME
        assert other.with_({"units.tlmm.num_tables": 14}).units["tlmm"].num_tables == 14


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ("{metric: seconds, value: 0 us, ", "points.p.value: 0 us has no relative error; give a value above zero"),
        ("{metric: frames_per_second, value: 3 frame/s, ", "points.p.metric: phase 'decode' has no frames; name a"),
    ],
)
def test_a_published_number_that_no_run_can_be_compared_with_is_refused(point, told, tmp_path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(HEAD + point + POINT)
    with pytest.raises(DesignError) as refused:
        load_published(str(path))
    assert told in str(refused.value)
