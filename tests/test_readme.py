"""Is what the README says true: commands, example, folders? Its table of figures is held in tests/published."""

import re
from pathlib import Path

from archsim.units import KINDS
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
    assert 0 < len(names["best"]) <= len(names["rows"]) == 6
    assert not any(row.problem for row in names["rows"])


def test_every_folder_that_it_names_is_there():
    for folder in re.findall(r"^\| `(\w+)/`", README, re.M):
        assert (ROOT / folder).is_dir()
