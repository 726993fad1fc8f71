"""Reports that several test files look into, each run once: of small runs that together hold all that a report has."""

from functools import cache

import mappers
from archsim.report.report import Report

RUNS = {
    "toy": ("toy", "toy_llm", {"phase": "decode", "context": 4}),
    "a generation": ("toy", "toy_llm", {"phase": "generate", "prompt": 4, "tokens": 3}),
    "on a mesh": ("sn40l", "llama3_8b", {"phase": "decode", "context": 100}),
    "tables and a fit": ("tellme_kv260", "bitnet_b158_large", {"phase": "decode", "context": 4}),
    "a selection": ("vrex8", "videollm_online_8b", {"phase": "frame", "context": 300, "selection": "resv_published"}),
}


@cache
def report_of(name: str) -> Report:
    """The report of a run by its name in RUNS; the same object each time."""
    design, model, asked = RUNS[name]
    return mappers.run(design, model, **asked)
