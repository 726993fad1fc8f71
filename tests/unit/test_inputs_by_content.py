"""Are recordings told apart by their content, not by name, size or time?"""

import json
import os
import shutil
from pathlib import Path

import pytest

import archsim
import mappers
from archsim.cli import main
from archsim.files.contents import content_hash
from kernels.selection.recordings import save_stream
from kernels.selection.streams import video_stream

COMMAND = "simulate toy_retrieval toy_video --phase frame --context 20 --selection resv"


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        save_stream(f"rec{seed}.npz", video_stream(seed, 20, heads=2, kv_heads=1, head_dim=2, frame=3))
    assert Path("rec0.npz").stat().st_size == Path("rec1.npz").stat().st_size


def test_a_file_of_the_same_size_and_time_is_read_again() -> None:
    selection = archsim.load_selection("resv").with_({"recording": "rec.npz"})
    design, model = archsim.load_design("toy_retrieval"), archsim.load_model("toy_video")
    found, hashes = [], []
    for seed in (0, 1):
        shutil.copy(f"rec{seed}.npz", "rec.npz")
        os.utime("rec.npz", ns=(10**18, 10**18))
        found.append(mappers.run(design, model, phase="frame", context=20, selection=selection).cycles)
        hashes.append(content_hash("rec.npz"))
    alone = selection.with_({"recording": "rec1.npz"})
    assert found[1] == mappers.run(design, model, phase="frame", context=20, selection=alone).cycles != found[0]
    assert hashes == [content_hash("rec0.npz"), content_hash("rec1.npz")]


def test_the_manifest_has_the_recording_by_its_content() -> None:
    inputs = []
    for seed in (0, 1):
        shutil.copy(f"rec{seed}.npz", "rec.npz")
        assert main([*COMMAND.split(), "--set", "selection.recording=rec.npz", "--output", f"out{seed}"]) == 0
        inputs.append(json.loads(Path(f"out{seed}/manifest.json").read_text())["inputs"])
    assert [found["selection.recording"]["sha256"] for found in inputs] == [
        content_hash(f"rec{seed}.npz") for seed in (0, 1)
    ]
    assert inputs[0]["selection.recording"]["given"] == "rec.npz"


def test_what_is_no_file_has_no_content() -> None:
    assert content_hash("nowhere.npz") is None
    assert content_hash("/dev/zero") is None
