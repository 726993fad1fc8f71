"""What a report says of its own limits stands in its text, HTML, page, JSON and row, for every shipped design."""

import re
from html import unescape

import pytest
from shipped_runs import CASES, RUNS, network

import archsim
import mappers
from archsim.report.json import as_json


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


@pytest.mark.parametrize(("design", "phase"), CASES, ids=[f"{design}-{phase}" for design, phase in CASES])
def test_every_caveat_stands_in_every_form(design, phase) -> None:
    model, phases = RUNS[design]
    on, fields = archsim.load_design(design), phases[phase]
    report = mappers.run(on, network(model), phase=phase, **fields)
    (row,) = mappers.sweep(on, network(model), phase=phase, over={name: [n] for name, n in fields.items()})
    coverage = as_json(report)["coverage"]
    said = [line for line in str(report).splitlines() if line.startswith(("simplified  ", "left out  "))]
    assert len(said) == len(report.caveats)
    assert list(report.caveats) == [*coverage["skipped_for"], *coverage["approximated"]] == list(row.caveats)
    forms = {"text": str(report), "html": words(report._repr_html_()), "page": words(report.page()), "row": str(row)}
    for caveat in report.caveats:
        for form, told in forms.items():
            assert caveat in told, form
        assert caveat in words(row._repr_html_())
    # What is assumed, set and fitted is no caveat of the row, but stands wherever the report is shown.
    for line in str(report).splitlines():
        if line.startswith(("coverage", "left out", "simplified", "assumed", "set ", "fitted", "engine")):
            assert all(" ".join(line.split()) in forms[form] for form in ("html", "page"))
