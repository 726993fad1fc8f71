"""Do the notebooks run at small sizes and end in an assertion?"""

import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent.parent / "notebooks"
NEW_STORE = f"{tempfile.mkdtemp()}/first_tour.db"
SMALL = {
    "arrays_and_tiles": 'SIZE, CAPACITIES, MODEL = 384, [32, 128], "llama2_7b"',
    "first_look": "LAYERS, CONTEXT, PROMPT = 2, 16, 8",
    "first_tour": "CONTEXT, POINTS, JOBS, STORE = 128, 24, 1, '" + NEW_STORE + "'",
    "fusion_on_a_fabric": 'MODEL, PROMPT, CONTEXT, LAYERS = "llama3_8b", 512, 2048, 3',
    "groups_under_a_budget": "GROUPS, TABLES, PROMPT, CONTEXT = [2, 3, 6, 7], [14, 28, 56], 64, 64",
    "retrieval_codesign": "CONTEXT, RATIOS, DISTANCES, LINKS = 2_000, [0.1, 0.5], [5, 7], [4, 8]",
    "streaming_attention": "N, ROWS = 24, 2",
    "why_it_is_slow": "CONTEXT = 64",
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_runs_small_and_ends_in_an_assertion(path):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    names = re.split(r"\s*=", parameters.source)[0]
    assert SMALL[path.stem].startswith(names)
    parameters.source = SMALL[path.stem]
    assert re.search(r"^assert ", notebook.cells[-1].source, re.M)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
