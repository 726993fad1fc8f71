"""What a report says of its own limits stands in its text, JSON, HTML and the rows of a sweep alike."""

from html import unescape

import pytest

import archsim
import mappers
from archsim.report.json import as_json
from mappers import sweep

RUNS = {
    "a spill and a share": ("vrex8", "videollm_online_8b", {"phase": "frame", "context": 1000}, "resv_published"),
    "a variant": ("tellme_kv260", "bitnet_b158_large", {"phase": "decode", "context": 4}, None),
    "no home": ("toy", "toy_llm", {"phase": "decode", "context": 4}, None),
}


@pytest.mark.parametrize(("design", "model", "asked", "selection"), RUNS.values(), ids=RUNS)
def test_caveats_stand_in_every_form(design, model, asked, selection) -> None:
    on, network = archsim.load_design(design), archsim.load_model(model)
    if design == "tellme_kv260":
        on = on.with_({"units.tlmm.num_tables": 14})
    chosen = {} if selection is None else {"selection": archsim.load_selection(selection)}
    report = mappers.run(on, network, **asked, **chosen)
    assert report.caveats
    coverage = as_json(report)["coverage"]
    assert list(report.caveats) == [*coverage["skipped_for"], *coverage["approximated"]]
    context = "context"
    phase = {key: value for key, value in asked.items() if key != context}
    (row,) = sweep(on, network, **phase, **chosen, over={context: [asked[context]]})
    assert row.caveats == report.caveats
    assert row.as_dict()["caveats"] == "; ".join(report.caveats)
    shown = unescape(report._repr_html_())
    for caveat in report.caveats:
        assert caveat in str(report)
        assert caveat in shown


def test_a_row_without_a_report_has_none() -> None:
    toy, model = archsim.load_design("toy"), archsim.load_model("toy_llm")
    (row,) = sweep(toy, model, phase="decode", over={"context": [10**6]})
    assert row.problem
    assert (row.caveats, row.as_dict()["caveats"]) == ((), "")


def test_without_a_selection_the_report_says_what_would_compare_fairly() -> None:
    """The command that it names runs, and takes the time of a whole cache of which that share is resident."""
    on, network = archsim.load_design("vrex8"), archsim.load_model("videollm_online_8b")
    asked = {"phase": "frame", "context": 40_000}
    bare = mappers.run(on, network, **asked)
    (told,) = [one for one in bare.caveats if one.startswith("nothing is selected")]
    assert told.endswith("such as --selection full --set selection.resident=0.6")
    fair = mappers.run(on, network, **asked, selection=archsim.load_selection("full").with_({"resident": 0.6}))
    assert not [one for one in fair.caveats if one.startswith("nothing is selected")]
    chosen = mappers.run(on, network, **asked, selection=archsim.load_selection("resv_published"))
    assert bare.seconds < chosen.seconds < fair.seconds
