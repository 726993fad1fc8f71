"""Selections are read as designs are, know the kernels' rules by name, and draw streams by the kernels' defaults."""

import dataclasses

import pytest

import archsim
from archsim.check import LISTS, check_file, listing
from archsim.errors import DesignError
from archsim.files.data_folder import shipped
from archsim.schema import schema_lines
from archsim.selection.selection import Selection, StreamOptions
from kernels.selection import ALGORITHMS, rule
from kernels.selection.streams import Video

BUDGETS = {"frame", "seed", "heads", "kv_heads", "head_dim"}


def written(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    return archsim.load_selection(str(path))


def test_the_names_are_those_of_the_kernels():
    assert Selection.model_json_schema()["properties"]["algorithm"]["enum"] == [*ALGORITHMS]
    (line,) = [line for line in schema_lines("selection") if line.startswith("  algorithm ")]
    assert f" {' | '.join(ALGORITHMS)} (required)" in line


def test_the_stream_is_drawn_by_the_kernels_defaults():
    drawn = {f.name: f.default for f in dataclasses.fields(Video) if f.name not in BUDGETS}
    assert StreamOptions().model_dump(exclude={"seed", "needles"}) == drawn


def test_every_rule_has_a_shipped_selection_that_decides_for_itself():
    deciding = {s.algorithm for name in shipped("selections") if (s := archsim.load_selection(name)).kept is None}
    assert deciding == set(ALGORITHMS)


@pytest.mark.parametrize("name", shipped("selections"))
def test_settings_are_options_of_the_rule(name):
    selection = archsim.load_selection(name)
    options = {field.name for field in dataclasses.fields(rule(selection.algorithm))}
    assert set(selection.settings) <= options
    rule(selection.algorithm)(**selection.settings)
    assert selection.name == name


def test_a_variant_edits_the_written_form(tmp_path):
    resv = archsim.load_selection("resv")
    variant = resv.with_({"settings.ratio": 0.4, "resident": 0.25}).with_({"settings.bits": 16})
    assert (variant.settings["ratio"], variant.settings["bits"], variant.resident) == (0.4, 16, 0.25)
    assert (resv.settings["ratio"], resv.resident) == (0.3, 0.61)
    assert variant.assumptions()["resident"] == "set in this variant"
    assert variant.assumptions()["settings.negative"] == resv.assumptions()["settings.negative"]
    whole = resv.with_({"settings": {"negative": "clamp"}})
    assert whole.assumptions()["settings.negative"] == "set in this variant"
    own = written(tmp_path, "name: own\nsource: own\nalgorithm: quest\n")
    assert own.with_({"settings.pages": 3, "stream.seed": 7, "kept.text": 0.5}).stream.seed == 7
    assert own.stream == StreamOptions()


def test_a_variant_that_cannot_be_is_refused():
    quest = archsim.load_selection("quest")
    for changes, message in (
        ({"resident": 1.5}, "resident: expected a number of 1.0 or less, got 1.5"),
        ({"stream.focus": -1}, "stream.focus: expected a number of 0.0 or more, got -1"),
        ({"setting.pages": 3}, "unknown key 'setting'; did you mean 'settings'?"),
        ({"settings.pages": [3]}, "settings.pages: expected a number, text, true, false or nothing, got a list"),
        ({"name.x": 3}, "name.x: 'name' holds one value, not keys"),
        ({"kept.video": 0.5}, "kept.video: expected 'frame', 'question' or 'text', got 'video'"),
        ({"kept.text": True}, "kept.text: expected a number such as 1.5, got true"),
        ({"recorded_selection": "a.npz", "kept.text": 0.5}, "kept: shares stand beside a recorded_selection"),
    ):
        with pytest.raises(DesignError) as caught:
            quest.with_(changes)
        assert message in str(caught.value)


def test_check_lists_and_schema_know_selections():
    (first, *rest) = check_file("resv_published", mappers=())
    assert first.endswith("selection 'resv_published', resv, keeps frame 32.7%, question 32.7%, text 2.5% as given")
    assert "  ratio 0.3" in rest
    assert any(line.startswith("  fitted resident: ") for line in rest)
    assert "selections" in LISTS
    assert len(listing("selections", mappers={})) == len(shipped("selections"))
    assert any(line.startswith("  kept ") for line in schema_lines("selection"))
