"""Is what the README says true: commands, example, folders? Its table of figures is held in tests/published."""

import re
from pathlib import Path

import mappers
from archsim import Design, load_model, simulate
from archsim.cli import main
from archsim.files.document import read_text
from archsim.units import KINDS
from dataflow import decode, prefill
from mappers.extend import restore, snapshot

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_gate_runs_the_readme_s_own_test_command():
    commands = [line for line in README.splitlines() if "pip install" in line]
    assert len(commands) == 2
    assert "pytest" in commands[1]
    assert """grep -F "pip install -e '.[test]'" README.md""" in (ROOT / ".ci/run").read_text()


def test_the_examples_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a store is written
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
    assert len(names["swept"]) == 12


def test_the_sweep_of_ten_lines_and_that_of_a_file_are_one(tmp_path, monkeypatch):
    """Ten lines of Python, and a file of fifteen at most."""
    monkeypatch.chdir(tmp_path)
    (text,) = [block for block in YAML if "over:" in block]
    Path("tables.yaml").write_text(text)
    names = {"mappers": mappers}
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", README, re.S) if "tables.db" in one]
    exec(block, names)
    done: list = []
    swept = mappers.sweep_file("tables.yaml", resume=True, progress=done.append)
    assert [one.stored for one in done] == [True] * 12, "the same rows, which the store has"
    assert [row.figures for row in swept] == [row.figures for row in names["swept"]]
    assert {row.status for row in swept} == {"done", "outside"}
    assert block.count("\n") <= 10
    assert text.count("\n") <= 15


def test_every_folder_that_it_names_is_there():
    for folder in re.findall(r"^\| `(\w+)/`", README, re.M):
        assert (ROOT / folder).is_dir()


YAML = re.findall(r"```yaml\n(.*?)```", README, re.S)


def test_the_mapping_of_a_design_is_used():
    block = YAML[1]
    shipped = (ROOT / "designs" / "systolic_two_level.yaml").read_text()
    design = Design.read(read_text(shipped.replace("mapping: {order: time}\n", block), path="own.yaml"))
    small = {"layers": 2, "hidden": 128, "ffn": 256, "heads": 4, "kv_heads": 4, "head_dim": 32, "vocab": 100}
    graph = prefill(load_model("llama2_7b").model_copy(update=small), prompt=128)
    mapping = mappers.plan(graph, design)
    assert mapping.ops["layer*.q"].tile["m"] == mapping.ops["layer*.up"].tile["m"] == 64
    assert simulate(mappers.lower(graph, design), design).cycles > 0


def test_the_design_of_several_units_and_memories_runs():
    block = YAML[0]
    text = f"name: npu\nsource: the README\nclock: 1 GHz\nmapping: {{order: time}}\n{block}"
    design = Design.read(read_text(text, path="npu.yaml"))
    graph = decode(load_model("bitnet_b158_large"), context=64)
    report = simulate(mappers.lower(graph, design), design)
    weights = {role: n for (way, role), n in report.traffic["dram"].items() if way == "read"}
    assert weights["weight"] == graph.bytes_of("weight")
    # Attention runs beside dram, without the memory on chip.
    assert ("read", "cache") not in report.traffic["sram"]
    assert report.units["pim"].busy_cycles > 0


def test_the_explanation_is_the_one_that_is_printed():
    (block,) = [one for one in README.split("```") if "what one change alone" in one]
    printed = str(mappers.run("tellme_kv260", "bitnet_b158_large", phase="decode", context=512).explain()).splitlines()
    lines = [line for line in block.splitlines() if line.strip() and line.strip() != "..."]
    assert len(lines) == 11
    assert [line for line in lines if line not in printed] == []


def test_the_difference_that_it_shows_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    variant, difference = re.findall(r"^archsim (.* wide)$", README, re.M)
    assert main(variant.split()) == 0
    capsys.readouterr()
    assert main(difference.split()) == 0
    printed = capsys.readouterr().out
    shown = re.search(r"^```\n(inputs that differ\n.*?)```", README, re.M | re.S)
    assert shown
    for part in shown[1].split("  ...\n"):
        assert part in printed
