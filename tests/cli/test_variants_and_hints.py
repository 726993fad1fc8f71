"""A variant that was written and read again is still one, and the hints of a report run as they are printed."""

import re
import shlex

import pytest

from archsim import load_design
from archsim.cli import DONE, main
from archsim.files.document import write

OVERHEAD = "units.ddr.request_overhead"
DECODE = ["--phase", "decode", "--context", "64"]
KIND = """
from archsim.units.matmul_array import MatmulArray
from mappers.extend import extend
from typing import Literal

class Twin(MatmulArray):
    kind: Literal["twin_array"]

extend(kinds=[Twin])
"""


def said(capsys, *arguments, status=DONE) -> str:
    assert main([str(word) for word in arguments]) == status
    return capsys.readouterr().out


def hinted(text: str) -> list[str]:
    """The words after `archsim` in the one hint of a report."""
    (hint,) = re.findall("`archsim (.*?)`", text)
    return shlex.split(hint)


def lines(text: str, *firsts: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(firsts)]


def test_a_number_that_was_set_is_not_fitted_when_its_variant_is_read_again(tmp_path, capsys):
    run = ["simulate", "tellme_kv260", "bitnet_b158_large", *DECODE]
    first = said(capsys, *run, "--set", f"{OVERHEAD}=10 ns", "--output", tmp_path / "variant")
    saved = tmp_path / "variant" / "design.yaml"
    again = said(capsys, "simulate", saved, "bitnet_b158_large", *DECODE)
    told = ("time", "fitted", "set", "simplified")
    assert lines(first, *told) == lines(again, *told)
    assert lines(again, "set") == [f"set         {OVERHEAD}: by this variant, not by the source"]
    assert OVERHEAD not in "".join(lines(again, "fitted"))
    assert lines(first, "energy") == lines(again, "energy")
    assert f"  assumed {OVERHEAD}: set in this variant\n" in said(capsys, "check", saved)


def test_what_is_set_is_said_whatever_it_was_before():
    design = load_design("tellme_kv260")
    sourced = design.with_({"units.tlmm.num_tables": 14})
    assert sourced.assumptions() == {**design.assumptions(), "units.tlmm.num_tables": "set in this variant"}
    assert sourced.fits() == design.fits()
    whole = design.with_({"units.ddr": design.document.data["units"]["ddr"]})
    assert not [path for path in whole.fits() if path.startswith("units.ddr.")]
    assert {why for path, why in whole.assumptions().items() if path.startswith("units.ddr")} == {"set in this variant"}
    assert whole.with_({"clock": "100 MHz"}).assumptions() == whole.assumptions() | {"clock": "set in this variant"}
    assert design.with_({"name": "mine"}).assumptions() == design.assumptions()


@pytest.mark.parametrize("given", ["mine.yaml", "a folder/my chip.yaml"])
def test_the_hint_of_a_report_names_the_file_as_it_was_given(given, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    (tmp_path / given).write_text(write(load_design("vrex8").document.data | {"name": "my chip"}))
    report = said(capsys, "simulate", given, "toy_video", "--phase", "frame", "--context", "20", "--selection", "resv")
    assert hinted(report) == ["check", given, "resv"]
    listed = said(capsys, *hinted(report))
    count = int(re.search(r"^assumed +(\d+) number", report, re.M)[1])
    assert len(lines(listed, "  assumed ")) == count


def test_the_hint_of_a_report_has_the_files_of_with(tmp_path, capsys, added):
    (tmp_path / "kind.py").write_text(KIND)
    toy = load_design("toy").document.data
    twin = toy["units"] | {"mm": {"kind": "twin_array", "macs_per_cycle": 1}}
    design = toy | {"units": twin, "assumed": {"units.mm.macs_per_cycle": "a guess"}}
    (tmp_path / "twin.yaml").write_text(write(design))
    with_ = ["--with", str(tmp_path / "kind.py")]
    report = said(capsys, "simulate", tmp_path / "twin.yaml", "toy_llm", *DECODE, *with_)
    assert hinted(report) == ["check", str(tmp_path / "twin.yaml"), *with_]
    assert "units.mm.macs_per_cycle: a guess" in said(capsys, *hinted(report))
