"""Every design, model, phase, mapper, batch and selection: an answer whose laws hold, or a refusal in words."""

import csv
import hashlib
import itertools
import json
import math
import os
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import archsim
import mappers
from archsim import InputError
from archsim.fifos.sizes import size_fifos
from archsim.fifos.text import as_json as sizes_as_json
from archsim.files.data_folder import shipped
from archsim.files.folder import write_files
from archsim.report.folder import run_files
from archsim.report.json import as_json
from archsim.report.report import Report
from archsim.selection.selection import Selection
from dataflow import PHASES, phase_named
from dataflow.models.model import Model
from mappers.registry import takes

FIELDS: dict[str, dict[str, int]] = {
    "prefill": {"prompt": 9}, "decode": {"context": 40}, "attention": {"prompt": 3, "context": 7},
    "frame": {"context": 40}, "question": {"context": 40, "prompt": 3}, "generate": {"prompt": 4, "tokens": 3},
}  # fmt: skip
OURS = ("retrieval", "spatial", "table_lookup", "tiled")
SELECTIONS = [None, *shipped("selections")]
CASES = [
    (design, model, phase, mapper, batch, selection)
    for design, model, phase, mapper, batch in itertools.product(
        shipped(), shipped("models"), FIELDS, OURS, (1, 2)
    )
    for selection in (SELECTIONS if takes(mapper, Selection) else [None])
]
# Drawn once for all; all of them run with -m heavy.
FEW = random.Random(1).sample(CASES, 400)


@cache
def network(name: str) -> Model:
    """The model with fewer layers, which repeat."""
    model = archsim.load_model(name)
    fewer: dict[str, Any] = {"layers": 2}
    if model.vision is not None:
        fewer["vision"] = model.vision.model_copy(update={"layers": 2})
    return model.model_copy(update=fewer)


def answer(design: str, model: str, phase: str, mapper: str, batch: int, selection: str | None) -> Report | None:
    """The report, or None where the run is refused. Anything but a refusal is a fault."""
    asked: dict[str, Any] = {**FIELDS[phase], "batch": batch}
    chosen = {} if selection is None else {"selection": archsim.load_selection(selection)}
    try:
        return mappers.run(archsim.load_design(design), network(model), phase=phase, mapper=mapper, **asked, **chosen)
    except InputError:
        return None


def holds(report: Report) -> None:
    """What every answer keeps to, beside the laws that its run was checked against."""
    data = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert data["cycles"] > 0
    assert report.lower_bound_cycles <= report.cycles
    assert report.roofline is None or report.roofline[0] <= report.cycles
    assert all(0 <= unit["utilization"] <= 1 for unit in data["units"].values())
    assert sum(report.parts.values()) == report.cycles
    assert math.isclose(report.seconds * float(report.clock_hz), report.cycles)
    assert str(report)
    assert report._repr_html_()


def written(report: Report, case: Any, folder: Path) -> None:
    """The folder of --output is whole, in place of that of the case before, and valid JSON without NaN."""
    design, model, *_, selection = case
    named = {"design": design, "model": model, **({} if selection is None else {"selection": selection})}
    names = run_files(report, archsim.load_design(design), model=network(model), inputs=named)
    write_files(str(folder), names, force=False)
    assert set(os.listdir(folder)) == set(names)
    assert {"design.yaml", "manifest.json", "ops.csv", "summary.json"} <= set(names)
    assert ("selection.yaml" in names) == ("selection" in report.options)
    texts = [(folder / f"{name}.json").read_text() for name in ("manifest", "summary")]
    manifest, summary = (json.loads(text, parse_constant=pytest.fail) for text in texts)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in {*names} - {"manifest.json"}}
    assert {name: one["sha256"] for name, one in manifest["outputs"].items()} == hashes
    assert named.items() <= {noun: one["given"] for noun, one in manifest["inputs"].items()}.items()
    assert summary == {key: value for key, value in as_json(report).items() if key != "ops"}
    with (folder / "ops.csv").open() as table:
        assert [row["name"] for row in csv.DictReader(table)] == [op.name for op in report.ops]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix") / "run"


def test_no_phase_is_left_out() -> None:
    # Others have been added by --with or by a test.
    assert set(FIELDS) == {name for name, phase in PHASES.items() if phase.__module__.startswith("dataflow.")}


@pytest.mark.parametrize("case", FEW, ids=["-".join(map(str, case)) for case in FEW])
def test_some_of_all_runs(case: Any, folder: Path) -> None:
    report = answer(*case)
    if report is not None:
        holds(report)
        written(report, case, folder)


@pytest.mark.heavy
def test_all_runs(folder: Path) -> None:
    taken = 0
    for case in CASES:
        report = answer(*case)
        if report is not None:
            taken += 1
            holds(report)
            written(report, case, folder)
    assert taken > len(CASES) // 4


@pytest.mark.heavy
def test_fifos_of_all_runs() -> None:
    """Minimal depths reach a target that no given depths beat, or are refused."""
    for design, model, phase, mapper, batch, selection in CASES:
        if selection is not None or phase == "generate":
            continue
        on, graph = archsim.load_design(design), None
        try:
            graph = phase_named(phase, {**FIELDS[phase], "batch": batch}).graph(network(model))
            sizes = size_fifos(mappers.lower(graph, on, mapper=mapper), on)
        except InputError:
            continue
        assert sizes.cycles <= sizes.target_cycles <= min(sizes.unbounded_cycles, sizes.cycles_now or math.inf)
        json.dumps(sizes_as_json(sizes), allow_nan=False)
