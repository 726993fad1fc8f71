"""Is what the README says true: commands, example, folders? Its table of figures is held in tests/published."""

import re
from pathlib import Path

import mappers
from archsim import Design, load_model, simulate
from archsim.files.document import read_text
from archsim.units import KINDS
from dataflow import decode
from mappers.extend import restore, snapshot

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_gate_runs_the_readme_s_own_test_command():
    commands = [line for line in README.splitlines() if "pip install" in line]
    assert len(commands) == 2
    assert "pytest" in commands[1]
    assert """grep -F "pip install -e '.[test]'" README.md""" in (ROOT / ".ci/run").read_text()


def test_the_examples_run_one_after_the_other():
    names: dict = {}
    saved = snapshot()
    try:
        for block in re.findall(r"```python\n(.*?)```", README, re.S):
            exec(block, names)
        assert {"sorter"} < set(KINDS)
        assert names["dataflow"].PHASES["verify"] is names["Verify"]
    finally:
        restore(saved)
    assert names["report"].cycles > 0
    assert simulate(names["ahead"], names["npu"]).cycles == 100 + 3 * 100 + 80
    assert 0 < len(names["best"]) <= len(names["rows"]) == 6
    assert not any(row.problem for row in names["rows"])


def test_every_folder_that_it_names_is_there():
    for folder in re.findall(r"^\| `(\w+)/`", README, re.M):
        assert (ROOT / folder).is_dir()


def test_the_design_of_several_units_and_memories_runs():
    [block] = re.findall(r"```yaml\n(.*?)```", README, re.S)
    text = f"name: npu\nsource: the README\nclock: 1 GHz\nmapper: temporal\n{block}"
    design = Design.read(read_text(text, path="npu.yaml"))
    graph = decode(load_model("bitnet_b158_large"), context=64)
    report = simulate(mappers.lower(graph, design), design)
    weights = {role: n for (way, role), n in report.traffic["dram"].items() if way == "read"}
    assert weights["weight"] == graph.bytes_of("weight")
    # Attention runs beside dram, without the memory on chip.
    assert ("read", "cache") not in report.traffic["sram"]
    assert report.units["pim"].busy_cycles > 0
