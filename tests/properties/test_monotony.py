"""More of a rate, a capacity, a depth or a count is not slower; more of a time is not faster.

Where a unit serves first come, a change may put requests in another order: then at most 2 % slower, and only there.
"""

import random
from itertools import pairwise
from typing import Any

import pytest
from shipped_runs import CASES, RUNS, network

import archsim
import mappers
from archsim import Design, InputError
from archsim.report.report import Report
from dataflow.task import UNLIMITED

# Geometry: more of these may cost more cycles, because work is padded to it, and not because it is slower.
GEOMETRY = {
    "rows", "columns",  # of an array: folds fill and drain by them, and cut what does not divide
    "trees", "inputs",  # of a core array: products are padded to whole trees
    "query_parallel",  # rows of a prompt are padded to whole groups of queries
    "group_size", "block_inputs", "region_blocks", "region_outputs", "regions", "vectors_per_beat", "word_bits",
    "beat_bits", "port_bits", "burst_beats",  # the layout of weights in memory
    "loop_elements", "activation_bits", "element_bits", "buckets", "max_context", "score_depth",  # of data, not of time
}  # fmt: skip
# Times: more of these is slower.
TIMES = {
    "request_overhead", "latency_cycles", "launch_overhead", "measured_time", "interval_cycles", "program_load",
    "argument_load", "step_latency",
}  # fmt: skip
# Of tiles of a fabric: products are padded to whole lanes and stages, and what is wider is read from more tiles.
# Places in fewer, larger tiles share fewer links, and sections are cut otherwise: SPREAD is how much that may cost.
TILES = {"compute_tile": {"lanes", "stages"}, "memory_tile": {"lanes", "capacity"}}
SPREAD = 1.1
NEITHER = {"measured_macs", "cache_region", "request_bytes"}  # what was measured; a share of a memory; a cut of bytes
FIRST_COME = 1.02
SEARCHED = ("a100", "agx_orin", "sn40l", "sn40l_node", "vrex48", "vrex8")  # whose graphs are mapped anew each time
# From where almost nothing fits to where all does.
SIZES = [
    ("vrex8", "frame", "units.buffer.capacity", [n * 1000 for n in (440, 600, 620, 640, 780, 800, 900, 4000)]),
    ("vrex8", "prefill", "units.buffer.capacity", [n * 1000 for n in (700, 800, 1000, 1200, 1500, 2000, 4000)]),
    ("toy_retrieval", "frame", "units.buffer.capacity", [132, 150, 180, 256, 400, 600, 1024, 2048]),
]


def run(on: Design, design: str, phase: str) -> Report:
    model, phases = RUNS[design]
    return mappers.run(on, network(model), phase=phase, **phases[phase])


def values(design: Design) -> dict[str, Any]:
    """The numbers of units and queues by path, and the count of each unit that has one, written or not."""
    data = design.document.data
    found = {f"units.{unit}.count": one.count for unit, one in design.units.items() if one.count != UNLIMITED}
    for unit, one in data["units"].items():
        found |= {f"units.{unit}.{key}": value for key, value in one.items() if not isinstance(value, dict | list)}
    found |= {f"links.{name}.depth": link["depth"] for name, link in data.get("links", {}).items()}
    found |= {f"fifos.{name}": depth for name, depth in data.get("fifos", {}).items()}
    words = {path for path, value in found.items() if isinstance(value, str) and not value[:1].isdigit()}
    return {path: value for path, value in found.items() if path not in words}


def scaled(value: Any, factor: float) -> Any:
    if isinstance(value, int):
        return max(value + 1, round(value * factor))
    number, unit = value.split(" ", 1)
    if unit.startswith(("B", "KiB", "MiB", "GiB", "GB", "TB", "bit")) and "/" not in unit:
        return f"{round(float(number) * factor)} {unit}"
    return f"{float(number) * factor:.6g} {unit}"


@pytest.mark.parametrize(("design", "phase"), CASES)
def test_more_is_not_slower(design: str, phase: str) -> None:
    shipped_design, rng = archsim.load_design(design), random.Random(f"{design} {phase}")
    before = run(shipped_design, design, phase)
    first_come = any(unit.arbitration == "first_come" for unit in shipped_design.units.values())
    slower: dict[str, float] = {}
    for path, value in values(shipped_design).items():
        name = path.rpartition(".")[2]
        unit = shipped_design.units.get(path.split(".")[1])
        if name in GEOMETRY | NEITHER | TILES.get(unit.named_kind if unit else "", set()):
            continue
        # Where tiles are looked for anew with each number, one factor is enough of them.
        for factor in (rng.uniform(1.1, 5),) if design in SEARCHED else (2, rng.uniform(1.1, 5)):
            try:
                after = run(shipped_design.with_({path: scaled(value, factor)}), design, phase)
            except InputError:  # such as more servers for a unit that holds state
                continue
            if name in TIMES or name.endswith("_cycles"):
                assert after.cycles * FIRST_COME >= before.cycles, (path, factor)
            elif after.cycles > before.cycles:
                assert any("requests are served as they come" in caveat for caveat in after.caveats), path
                slower[path] = max(slower.get(path, 0), after.cycles / before.cycles)
    assert max(slower.values(), default=1) <= (FIRST_COME if first_come else 1), slower


@pytest.mark.parametrize(("design", "phase"), [case for case in CASES if case[0] in ("plasticine", "sn40l_node")])
def test_larger_memory_tiles_are_not_much_slower(design: str, phase: str) -> None:
    shipped_design = archsim.load_design(design)
    written = shipped_design.document.data["units"]["pmu"]["capacity"]
    before = run(shipped_design, design, phase).cycles
    for factor in (1.5, 2, 4):
        after = run(shipped_design.with_({"units.pmu.capacity": scaled(written, factor)}), design, phase)
        assert after.cycles <= before * SPREAD, factor


@pytest.mark.parametrize(("design", "phase", "path", "sizes"), SIZES)
def test_a_larger_buffer_is_not_slower_where_activations_spill(design: str, phase: str, path: str, sizes) -> None:
    shipped_design = archsim.load_design(design)
    taken = [run(shipped_design.with_({path: f"{size} B"}), design, phase).cycles for size in sizes]
    assert [(a, b) for a, b in pairwise(zip(sizes, taken, strict=True)) if b[1] > a[1] * FIRST_COME] == []
    assert taken[0] > taken[-1] * FIRST_COME
