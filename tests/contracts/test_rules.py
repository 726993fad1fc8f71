"""Does every rule of selection hold to its contract, a rule that a user adds too, and do the contracts see a breach?"""

from dataclasses import dataclass

import numpy as np
import pytest

import archsim
from archsim.errors import DesignError, InputError
from archsim.selection.layer_cache import LayerCache
from archsim.selection.rule import Rule
from archsim.selection.selection import Selection
from archsim.selection.step import selection_step
from contracts import rules
from kernels.selection import ALGORITHMS, rule
from kernels.selection.algorithm import Algorithm, Counters, check_count

# Settings with which a rule drops tokens of 200; a rule that is not listed runs with its defaults.
SMALL = {
    "topk": {"tokens": 30},
    "streaming_llm": {"sinks": 4, "window": 30},
    "duo_attention": {"sinks": 4, "recent": 20},
    "h2o": {"heavy": 20, "recent": 20},
    "quest": {"pages": 3},
    "infllm": {"sinks": 4, "window": 20, "block": 10, "blocks": 2},
    "rekv": {"frame": 10, "frames": 3},
    "double_sparsity": {"tokens": 30},
    "lserve": {"page": 16, "pages": 2, "sinks": 4, "recent": 20},
}
PACKAGE = {name for name, entry in ALGORITHMS.items() if isinstance(entry, str)}  # those that a user adds are classes
# By hand, from the settings above: tokens of a page, block or frame, and 1 for single tokens.
GROUPS = {"quest": 16, "lserve": 16, "infllm": 10, "rekv": 10}


@dataclass(frozen=True, slots=True)
class EveryNth(Algorithm):
    """Keep every `step`-th token."""

    groups_by = "step"
    step: int = 2

    def check(self, shape):
        check_count("step", self.step, most=shape.tokens)

    def begin(self, shape):
        return None

    def absorb(self, state, keys, queries):
        return None, Counters()

    def choose(self, state, queries):
        return np.tile(np.arange(state.tokens) % self.step == 0, (state.shape.kv_heads, 1)), Counters()

    def metadata_bytes(self, shape, tokens, held):
        return 0


@pytest.fixture
def every_nth(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "every_nth", EveryNth)


def checked(name):
    for contract in rules.CONTRACTS[:2]:
        contract(name)
    for contract in rules.CONTRACTS[2:]:
        contract(name, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_rule_holds_to_its_contract(name):
    checked(name)


def test_a_rule_added_by_a_user_holds_to_it_too(every_nth):
    checked("every_nth")


@pytest.mark.parametrize("name", sorted(PACKAGE - {"resv"}))
def test_tokens_kept_together(name):
    assert rule(name)(**SMALL.get(name, {})).group_tokens(None) == GROUPS.get(name, 1)


def test_tokens_of_a_cluster_on_average():
    # Two clusters of four tokens in one head, four in the other: (2 + 1) / 2.
    assert rule("resv")().group_tokens(np.array([[0, 0, 1, 1], [0, 1, 2, 3]])) == 1.5


def test_the_rules_that_learn():
    assert {name for name in PACKAGE if rule(name).learns_from_queries} == {"h2o", "infllm"}


@pytest.mark.parametrize("name", ["h2o", "quest"])
def test_a_rule_that_says_the_opposite_breaks_its_contract(name, monkeypatch):
    algorithm = rule(name)
    monkeypatch.setattr(algorithm, "learns_from_queries", not algorithm.learns_from_queries)
    with pytest.raises(AssertionError):
        rules.learns_from_queries_as_it_says(name, **SMALL[name])


def test_a_rule_that_groups_by_no_option_breaks_its_contract(monkeypatch):
    monkeypatch.setattr(rule("quest"), "groups_by", "block")
    with pytest.raises(AssertionError):
        rules.says_of_itself_what_is_no_option("quest")


CACHE = LayerCache(heads=4, kv_heads=2, head_dim=16, element_bytes=2, cached=500, rows=10)


def own(tmp_path, text=""):
    path = tmp_path / "own.yaml"
    path.write_text(f"name: own\nsource: own\nalgorithm: every_nth\n{text}")
    return archsim.load_selection(str(path))


def test_an_added_rule_is_known_by_name_and_runs(every_nth, tmp_path):
    found = selection_step(own(tmp_path, "settings: {step: 5}\n"), CACHE, use="frame", resident=200)
    assert (found.kept, found.hits, found.miss_stretches) == (200, 80, 120)
    given = selection_step(own(tmp_path, "settings: {step: 5}\nkept: {frame: 0.5}\n"), CACHE, use="frame", resident=0)
    assert (given.miss_stretches, given.miss_groups) == (250, 100)  # 500 tokens of 1000, five by five
    assert Selection.model_json_schema()["properties"]["algorithm"]["enum"] == [*ALGORITHMS]
    with pytest.raises(InputError) as caught:
        selection_step(own(tmp_path, "settings: {pages: 5}\n"), CACHE, use="frame", resident=0)
    assert str(caught.value) == "selection 'own': settings.pages: unknown setting; settings are: step"


def test_a_rule_that_was_not_added_is_refused(tmp_path):
    with pytest.raises(DesignError) as caught:
        own(tmp_path)
    assert "algorithm: expected 'full', 'topk', " in str(caught.value)
    assert str(caught.value).endswith("'lserve' or 'resv', got 'every_nth'")


def test_an_added_rule_that_changes_under_its_name_runs_anew(every_nth, monkeypatch, tmp_path):
    def kept():
        return selection_step(own(tmp_path), CACHE, use="frame", resident=0).kept

    assert kept() == 500

    @dataclass(frozen=True, slots=True)
    class EveryThird(EveryNth):
        step: int = 3

    monkeypatch.setitem(ALGORITHMS, "every_nth", EveryThird)
    assert kept() == 334


def test_settings_that_python_calls_equal_are_told_apart():
    resv = archsim.load_selection("resv").with_({"settings.negative": "raw"})
    known, wrong = (resv.with_({"settings.rehash": value}) for value in (True, 1))
    assert selection_step(known, CACHE, use="frame", resident=0).kept > 0
    assert Rule.of(known) != Rule.of(wrong)
    with pytest.raises(InputError, match=r"settings\.rehash: expected true or false, got 1"):
        selection_step(wrong, CACHE, use="frame", resident=0)
