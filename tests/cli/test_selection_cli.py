"""Selections on the command line: text, JSON, the folder of results, settings and seeds."""

import json
import os
import subprocess
import sys

from archsim.cli import DONE, main

FRAME = ["simulate", "toy_retrieval", "toy_video", "--phase", "frame", "--context", "20", "--selection"]


def said(capsys, *arguments, status=DONE):
    assert main([*arguments]) == status
    return capsys.readouterr()


def test_json_has_hits_misses_and_quality(capsys):
    data = json.loads(said(capsys, *FRAME, "resv", "--json").out)
    chosen = data["selected"]
    assert (chosen["algorithm"], chosen["memory"], chosen["beyond"]) == ("resv", "dram", "ssd")
    assert chosen["hit_bytes"] / (chosen["hit_bytes"] + chosen["miss_bytes"]) == chosen["hit_rate"]
    assert data["memories"]["ssd"]["by_role"]["read fetched"] == chosen["miss_bytes"]
    assert 0 < chosen["mass_recall"] <= 1
    assert data["frames_per_second"] == 1 / data["seconds"]
    assert data["options"].pop("mapping") == "toy_video on toy_retrieval"
    assert data["options"] == {"selection": "resv", "prediction": "this", "layout": "clustered"}
    assert data["coverage"]["skipped"]["cache"] > 0
    assert data["assumed"]["selection.resident"]


def test_text_names_the_tiers_and_what_is_left_out(capsys):
    text = said(capsys, *FRAME, "resv_published").out
    for words in ("lie in dram (hits), ", "come from ssd (misses)", "frame/s", "left out", "is given and spread",
                  "fitted      selection.resident, to the published point frame_20000"):  # fmt: skip
        assert words in text
    assert "quality" not in text
    whole = said(capsys, *FRAME, "full").out
    assert "nothing is fetched" in whole
    assert "left out" not in whole


def test_settings_and_seeds_change_what_is_kept(capsys):
    def kept(*changes):
        sets = [word for change in changes for word in ("--set", f"selection.{change}")]
        data = json.loads(said(capsys, *FRAME, "resv", *sets, "--json").out)
        return data["selected"]["kept"], data["options"]["selection"]

    share, name = kept("settings.ratio=1.0", "resident=0")
    assert (share, name) == (1.0, "resv (settings.ratio=1.0, resident=0)")
    assert len({kept(f"stream.seed={seed}")[0] for seed in range(5)}) > 1
    assert kept() == kept()


def test_a_folder_of_results_has_the_selection_and_its_seed(tmp_path, capsys):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        out = said(capsys, *FRAME, "resv", "--set", "selection.stream.seed=3", "--output", str(folder))
        assert "selection.yaml" in out.err
    assert {p.name: p.read_bytes() for p in folders[0].iterdir()} == {
        p.name: p.read_bytes() for p in folders[1].iterdir()
    }
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    assert (manifest["seed"], manifest["inputs"]["selection"]["given"]) == (3, "resv")
    again = json.loads(said(capsys, *FRAME, str(folders[0] / "selection.yaml"), "--json").out)
    assert again["selected"] == json.loads((folders[0] / "summary.json").read_text())["selected"]


def test_the_digits_of_a_measure_do_not_depend_on_threads() -> None:
    said = set()
    for threads in ("1", "2"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-m", "archsim", "simulate", "toy_retrieval", "toy_video", "--phase", "frame",
             "--context", "60", "--selection", "resv", "--json"],
            capture_output=True, text=True, check=True, env={**os.environ, **dict.fromkeys(names, threads)},
        )  # fmt: skip
        said.add(done.stdout)
    assert len(said) == 1
