"""A sweep by several processes: the rows of one process, with what users' files add known in each."""

import subprocess
import sys
from pathlib import Path

import pytest

from archsim import load_design, load_model, load_selection
from mappers import sweep
from mappers.extend import load_file

ROOT = Path(__file__).parents[2]
HERE = "tests/extensions"
FILES = [f"{HERE}/{name}.py" for name in ("top_k_sorter", "row_wise_op", "phase", "mapper", "rule")]


def swept(jobs: int):
    """Rows in which a kind, an op, a phase and its field, a mapper and its option, and a rule of users' files show."""
    capped, sorting = load_design(f"{HERE}/capped.yaml"), load_design(f"{HERE}/sorting_retrieval.yaml")
    verified = sweep(
        capped, load_model("toy_llm"), phase="verify", jobs=jobs, over={"context": [8, 3], "drafts": [2, 4],
                                                                        "option.rows": [1, 2]},
    )  # fmt: skip
    chosen = sweep(
        sorting, load_model("toy_video"), phase="decode", jobs=jobs, context=20,
        selection=load_selection(f"{HERE}/strided.yaml"),
        over={"units.ksort.lanes": [1, 8], "selection.settings.stride": [2, 5]},
    )  # fmt: skip
    return [row.as_dict() for row in (*verified, *chosen)]


@pytest.mark.usefixtures("added")
def test_two_processes_give_the_rows_of_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    for file in FILES:
        load_file(file)
    rows = swept(1)
    assert swept(2) == rows
    # Four drafted tokens do not fit a context of three. At rates of 1, blocks of rows take no less time.
    assert [row["problem"] is None for row in rows] == [True] * 4 + [True] * 2 + [False] * 2 + [True] * 4
    seconds = [row.get("seconds") for row in rows]
    assert seconds[0] == seconds[1] < seconds[2]
    assert len(set(seconds[8:])) > 1


AFRESH = """
import sys
from mappers.extend import load_file
from tests.unit.test_sweep_workers import FILES, swept

for file in FILES:
    load_file(file)
assert swept(2) == swept(1)
"""


def test_a_script_needs_no_entry_guard(tmp_path):
    script = tmp_path / "afresh.py"
    script.write_text(AFRESH)
    own = {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, script], cwd=ROOT, env=own, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
