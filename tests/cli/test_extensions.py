"""Are a user's kind, op, phase, mapper and rule treated as the package's own, from one file each by --with?"""

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import archsim
from archsim import DesignError, InputError, load_design, load_model, simulate
from archsim.cli import DONE, OUTSIDE, WRONG, main
from archsim.design.design import Design
from archsim.units import KINDS
from dataflow import FORMATS, Graph, Tensor
from dataflow.numeric.evaluate import evaluate, random_tensors, replay
from kernels.selection import ALGORITHMS
from mappers import lower, run

ROOT = Path(__file__).parents[2]
HERE = "tests/extensions"
FILES = {name: f"{HERE}/{name}.py" for name in ("top_k_sorter", "row_wise_op", "phase", "mapper", "rule")}
VERIFY = ["simulate", f"{HERE}/capped.yaml", "toy_llm", "--phase", "verify", "--context", "8", "--drafts", "4"]
CAPPED = [word for name in ("phase", "mapper", "row_wise_op") for word in ("--with", FILES[name])]
SORTED = ["simulate", f"{HERE}/sorting_retrieval.yaml", "toy_video", "--phase", "decode", "--context", "20",
          "--selection", "topk", "--set", "selection.settings.tokens=4"]  # fmt: skip

pytestmark = pytest.mark.usefixtures("added")


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def said(capsys):
    def ran(*words, status=DONE):
        assert main([*map(str, words)]) == status, capsys.readouterr().err
        return capsys.readouterr()

    return ran


LISTED = {
    "top_k_sorter": ("kinds", "top_k_sorter       Compares scores in a network of so many lanes: "),
    "row_wise_op": ("ops", "softcap            (rows, d) cap x tanh(x / cap)"),
    "phase": ("phases", "  --drafts          drafted tokens that are verified at once"),
    "mapper": ("mappers", "  rows               a whole number, 1 unless given: rows of an op that a firing computes"),
    "rule": ("rules", "recent_and_strided Keep the last `recent` tokens and each `stride`-th token"),
}


@pytest.mark.parametrize("file", FILES)
def test_it_is_listed_with_its_file_alone(file, said):
    what, line = LISTED[file]
    assert line not in said("list", what).out
    assert line in said("list", what, "--with", FILES[file]).out
    assert len(Path(FILES[file]).read_text().splitlines()) < 60


CHECKED = {
    "top_k_sorter": ("sorting_retrieval", "10: units.ksort: unknown kind 'top_k_sorter'; kinds are: array, arrivals, "),
    "row_wise_op": ("capped", "8: units.vec.ops: 'softcap' is no element-wise op kind; those are: embedding, "),
    "mapper": ("capped", "5: mapper: unknown mapper 'row_blocks'; mappers are: retrieval, spatial, "),
    "rule": ("strided", "3: algorithm: expected 'full', "),
}


@pytest.mark.parametrize("file", CHECKED)
def test_a_yaml_file_that_names_it_is_checked(file, said):
    name, problem = CHECKED[file]
    # The design that caps values names a mapper too.
    others = [word for other in ("mapper", "row_wise_op") if other != file for word in ("--with", FILES[other])]
    refused = said("check", f"{HERE}/{name}.yaml", *others, status=WRONG).err
    assert refused.startswith(f"{HERE}/{name}.yaml:{problem}")
    assert len(refused.splitlines()) == 1
    assert f"'{name}'" in said("check", f"{HERE}/{name}.yaml", *others, f"--with={FILES[file]}").out


def test_the_schema_of_a_kind_and_of_designs_has_it(said):
    text = said("schema", "top_k_sorter", "--with", FILES["top_k_sorter"]).out
    assert text.startswith("top_k_sorter: Compares scores in a network")
    assert "  lanes                    count, such as 28 (required): comparisons per cycle\n" in text
    data = json.loads(said("schema", "design", "--json", "--with", FILES["top_k_sorter"]).out)
    assert "TopKSorter" in data["$defs"]
    units = data["properties"]["units"]["additionalProperties"]
    assert "top_k_sorter" in units["properties"]["kind"]["enum"]
    assert {"$ref": "#/$defs/TopKSorter"} in [case["then"] for case in units["allOf"]]
    own = json.loads(said("schema", "units.top_k_sorter", "--json", "--with", FILES["top_k_sorter"]).out)
    assert own["required"] == ["kind", "lanes", "depth_cycles"]
    selection = json.loads(said("schema", "selection", "--json", "--with", FILES["rule"]).out)
    assert "recent_and_strided" in selection["properties"]["algorithm"]["enum"]


def test_a_kind_runs(said):
    """20 keys in each of two heads and of two layers: 40 comparisons a layer, 4 a cycle, are 10 + 3 cycles."""
    data = json.loads(said(*SORTED, "--with", FILES["top_k_sorter"], "--json").out)
    assert data["units"]["ksort"]["busy_cycles"] == 2 * 13
    slow = ["--set", "units.ksort.lanes=1", "--set", "units.ksort.depth_cycles=0"]
    data = json.loads(said(*SORTED, *slow, "--with", FILES["top_k_sorter"], "--json").out)
    assert data["units"]["ksort"]["busy_cycles"] == 2 * 40
    wrong = said(*SORTED, "--set", "units.ksort.lanes=0", "--with", FILES["top_k_sorter"], status=WRONG)
    assert "units.ksort.lanes: expected a count of 1 or more such as 28, got 0" in wrong.err


def test_a_phase_and_a_mapper_run_together(said):
    data = json.loads(said(*VERIFY, *CAPPED, "--option", "rows=3", "--json").out)
    assert (data["phase"], data["context"], data["drafts"], data["tokens"]) == ("verify", 8, 4, 4)
    assert data["options"] == {"rows": 3}
    # Four rows of logits, each of 4 x 8 products.
    assert next(op for op in data["ops"] if op["name"] == "lm_head")["busy_cycles"] == 4 * 4 * 8
    text = said(*VERIFY, *CAPPED).out
    assert text.startswith("capped · toy_llm · verify · context 8 · batch 1 · drafts 4\n")
    assert "(4 tokens verified)" in text
    assert "options     rows=1" in text


def test_a_phase_of_a_file_is_asked_for_by_its_fields(said):
    assert "--drafts" not in said("simulate", "--help").out
    assert "no such option: --drafts" in said(*VERIFY, status=WRONG).err.lower()
    help_ = said("simulate", "--help", "--with", FILES["phase"]).out
    assert "drafted tokens that are verified" in " ".join(help_.split())
    assert "generate|verify" in help_
    lacking = said(*VERIFY[:-2], *CAPPED, status=WRONG).err
    assert lacking == "phase verify takes --drafts: drafted tokens that are verified at once\n"
    assert said(*VERIFY[:-1], "9", *CAPPED, status=WRONG).err == (
        "drafts: the context includes them; expected 8 or fewer, got 9\n"
    )
    foreign = said("simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--drafts", "2",
                   "--with", FILES["phase"], status=WRONG)  # fmt: skip
    assert foreign.err == "phase decode takes --context, not --drafts\n"


def test_an_option_of_a_mapper_of_a_file_is_read_and_refused(said):
    refused = said(*VERIFY, *CAPPED, "--option", "rows=x", status=WRONG).err
    assert refused == "option rows: expected a whole number, got 'x'\n"
    assert said(*VERIFY, *CAPPED, "--option", "rows=0", status=WRONG).err == (
        "option rows: expected 1 or more, got 0\n"
    )
    assert said(*VERIFY, *CAPPED, "--option", "row=2", status=WRONG).err == (
        "mapper 'row_blocks' has no option 'row'; did you mean 'rows'?\n"
    )


def test_fifos_are_sized_for_it(said):
    sizes = json.loads(said("size-fifos", *VERIFY[1:], *CAPPED, "--option", "rows=3", "--json").out)
    assert (sizes["phase"], sizes["drafts"], sizes["options"]) == ("verify", 4, {"rows": 3})
    assert sizes["cycles"] == sizes["target_cycles"]


def test_a_rule_runs(said):
    """Of 20 keys the last 2 and those at 0, 3, ... 18; the last is the step's own, so 7 of 19 cached ones."""
    words = ["simulate", "toy_retrieval", "toy_video", "--phase", "decode", "--context", "20", "--json"]
    data = json.loads(said(*words, "--selection", f"{HERE}/strided.yaml", "--with", FILES["rule"]).out)
    assert data["selected"]["kept"] == pytest.approx(7 / 19)
    refused = said(*words, "--selection", f"{HERE}/strided.yaml", "--set", "selection.settings.stride=0", "--with",
                   FILES["rule"], status=WRONG)  # fmt: skip
    assert "settings.stride: 0 is no whole number from 1 on" in refused.err


def test_the_manifest_has_the_files(tmp_path, said):
    said(*VERIFY, *CAPPED, "--output", tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    names = [FILES[name] for name in ("phase", "mapper", "row_wise_op")]
    assert manifest["with"] == {n: hashlib.sha256(Path(n).read_bytes()).hexdigest() for n in names}
    said("simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3", "--output", tmp_path)
    assert "with" not in json.loads((tmp_path / "manifest.json").read_text())


PUBLISHED = """\
design: tests/extensions/capped.yaml
model: toy_llm
source: counted by the model itself
points:
  verify:
    metric: seconds
    phase: verify
    tokens: 8
    fields: {drafts: 4}
    value: 2.6 ms
    conditions: four drafts
    mark: paper
    tolerance: VERY
"""


def test_a_published_point_of_a_phase_of_a_file(tmp_path, said):
    path = tmp_path / "own.yaml"
    path.write_text(PUBLISHED.replace("VERY", "0.01"))
    assert "phase: unknown phase 'verify'; phases are:" in said("check", path, status=WRONG).err
    assert "1 published points of" in said("check", path, *CAPPED).out
    assert " ok" in said("compare", path, *CAPPED).out
    path.write_text(PUBLISHED.replace("VERY", "0.01").replace("2.6 ms", "9 ms"))
    assert " outside" in said("compare", path, *CAPPED, status=OUTSIDE).out
    path.write_text(PUBLISHED.replace("VERY", "0.01").replace("drafts: 4", "draft: 4"))
    assert "phase verify takes --drafts: " in said("check", path, *CAPPED, status=WRONG).err


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return {'lut': 1 // 0}", "ZeroDivisionError: integer division or modulo by zero"),
        ("raise ValueError('no logarithm of 0')", "ValueError: no logarithm of 0"),
        ("assert self.lanes < 0, 'lanes'", "AssertionError: lanes"),
        ("return {'lut': self.width}", "AttributeError: 'TopKSorter' object has no attribute 'width'"),
    ],
)
@pytest.mark.parametrize("method", ["resources(self)", "_cycles(self, work)"])
def test_a_fault_in_the_code_of_a_kind_is_told_at_its_line(method, body, told, tmp_path, said):
    head, end = Path(FILES["top_k_sorter"]).read_text().split("\n\n\nextend(kinds")
    kind, design = tmp_path / "kind.py", tmp_path / "design.yaml"
    kind.write_text(f"{head}\n\n    def {method}:\n        {body}\n\n\nextend(kinds{end}")
    shipped = Path(f"{HERE}/sorting_retrieval.yaml").read_text()
    design.write_text(f"{shipped}\nresources: {{budget: {{lut: 1}}, used: {{rest: {{lut: 0}}}}}}\n")
    line = kind.read_text().splitlines().index(f"        {body}") + 1
    words = ["simulate", design, *SORTED[2:], "--with", kind]
    assert said(*words, status=WRONG).err.splitlines()[-1] == f"--with {kind}:{line}: {told}"


def test_the_contracts_run_on_them():
    words = [word for file in FILES.values() for word in ("--with", file)]
    names = "top_k_sorter or softcap or verify or row_blocks or recent_and_strided"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/contracts", "-k", names, *words, "-vv"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for name in names.split(" or "):
        assert f"{name}-" in done.stdout or f"[{name}]" in done.stdout
    assert "skipped" not in done.stdout


def test_the_contracts_refuse_a_file_that_cannot_be_read():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/contracts", "--with", "none.py"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 4
    assert "--with none.py: cannot be read: No such file or directory" in done.stderr


def test_an_op_kind_in_a_graph_is_scheduled_and_replayed(added):
    for name in ("row_wise_op", "mapper"):
        added(FILES[name])
    graph = Graph("capped")
    x = graph.add_tensor(Tensor("x", (7, 5), FORMATS["fp32"]))
    y = graph.add("doubled", "add", (x, x), format=FORMATS["fp32"])
    graph.add("capped", "softcap", (y,), format=FORMATS["fp32"], cap=2)
    design = load_design(f"{HERE}/capped.yaml")
    schedule = lower(graph, design, rows=3)
    assert [task.firings for section in schedule.sections for task in section.tasks] == [3, 3]
    tensors = random_tensors(graph, 0)
    whole = evaluate(graph, tensors)["capped"]
    np.testing.assert_allclose(whole, 2 * np.tanh(tensors["x"].astype(np.float64)), rtol=1e-6)
    assert np.array_equal(replay(schedule, tensors)["capped"], whole)
    # 35 elements twice, one a cycle.
    assert simulate(schedule, design).cycles == 70
    with pytest.raises(InputError, match=r"op 'wide': softcap takes x \[rows, d\] and a cap above 0, got"):
        graph.add("wide", "softcap", (y,), format=FORMATS["fp32"])


@pytest.mark.parametrize("rows, batch", [(1, 1), (3, 2), (100, 2)])
def test_a_model_by_the_mapper_of_a_file_computes_its_graph(rows, batch, added):
    for name in ("phase", "row_wise_op", "mapper"):
        added(FILES[name])
    verify = added(FILES["phase"]).Verify(context=6, drafts=3, batch=batch)
    graph, design = verify.graph(load_model("toy_llm")), load_design(f"{HERE}/capped.yaml")
    schedule, tensors = lower(graph, design, rows=rows), random_tensors(graph, 1)
    expected, found = evaluate(graph, tensors), replay(schedule, tensors)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_a_design_is_read_once_its_kind_is_known(added):
    path = f"{HERE}/sorting_retrieval.yaml"
    with pytest.raises(DesignError, match="unknown kind 'top_k_sorter'; kinds are: array, arrivals, channel, "):
        load_design(path)
    before = load_design("toy")
    added(FILES["top_k_sorter"])
    design = load_design(path)
    assert design.units["ksort"].lanes == 4
    assert design.with_({"units.ksort.lanes": 8}).units["ksort"].lanes == 8
    # A design that was read before, too.
    wider = before.with_({"units.sorter": {"kind": "top_k_sorter", "lanes": 2, "depth_cycles": 0}})
    assert wider.units["sorter"].lanes == 2
    assert wider.of_kind(KINDS["top_k_sorter"]) == {"sorter": wider.units["sorter"]}
    again = pickle.loads(pickle.dumps(design))
    assert again.units == design.units


def test_reports_with_additions_are_pickled(added):
    for name in ("phase", "mapper", "row_wise_op"):
        added(FILES[name])
    report = run(load_design(f"{HERE}/capped.yaml"), load_model("toy_llm"), phase="verify", context=8, drafts=4)
    again = pickle.loads(pickle.dumps(report))
    assert (again.phase, again.cycles, str(again)) == (report.phase, report.cycles, str(report))


def test_all_is_taken_back_afterwards(added):
    assert "top_k_sorter" not in KINDS
    assert "recent_and_strided" not in ALGORITHMS
    assert "top_k_sorter" not in json.dumps(Design.model_json_schema())
    assert archsim.load_design("toy")
