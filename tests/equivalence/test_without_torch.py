"""Without PyTorch every algorithm runs; only a reference asks for it, in one line."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


sys.meta_path.insert(0, Blocker())
"""

ALGORITHMS = """
import importlib, pkgutil
import numpy as np
import archsim, kernels, mappers
import kernels.selection, kernels.ternary
from dataflow import decode, prefill
from dataflow.numeric.evaluate import evaluate, random_tensors, replay
from kernels.selection import rule
from kernels.selection.algorithm import walk
from kernels.selection.streams import video_stream

for module in pkgutil.walk_packages(kernels.__path__, "kernels."):
    importlib.import_module(module.name)
assert kernels.PAIRS
assert not hasattr(kernels.activation.torch, "__wrapped__")
sizes = {"hidden": 96, "ffn": 176, "heads": 2, "kv_heads": 1, "head_dim": 48, "vocab": 40}
model, design = archsim.load_model("toy_llm").model_copy(update=sizes), archsim.load_design("tellme_kv260")
for graph in (prefill(model, prompt=3), decode(model, context=3)):
    tensors = random_tensors(graph, 1)
    again = replay(mappers.lower(graph, design), tensors)
    logits = evaluate(graph, tensors)["lm_head"]
    # An INT8 rounding at a tie may fall the other way after FP32 sums in another order.
    np.testing.assert_allclose(again["lm_head"], logits, rtol=0, atol=0.02 * np.abs(logits).max())
stream = video_stream(0, 4, heads=2, kv_heads=1, head_dim=8)
(*_, kept) = walk(stream.shape, rule("resv")(), keys=stream.keys, queries=stream.queries, chunk=10)
assert kept.mask.any()
assert "torch" not in sys.modules
"""

REFERENCES = """
import numpy as np
from kernels.activation import silu_reference

try:
    silu_reference(np.zeros(1))
except ImportError as error:
    assert str(error) == "the references need PyTorch: pip install torch", error
else:
    raise AssertionError("no ImportError")
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_evaluate_replay_and_a_selection_run_without_torch() -> None:
    run(ALGORITHMS)


def test_a_reference_without_torch_says_what_to_install() -> None:
    run(REFERENCES)
