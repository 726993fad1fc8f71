"""How fast? Figures, not timed tests: pytest tests/benchmarks --benchmark-enable --benchmark-only.

`python tests/benchmarks/engines.py` sets the engines side by side, with growth, memory and the start of a process.
"""

import subprocess
import sys

import pytest
from cases import LENGTH, attention, chain, lookup, memory

import archsim
import mappers
from archsim.engine import compiled, run

pytestmark = pytest.mark.benchmark

FIRINGS = 50_000  # what the SimPy engine runs in a fraction of a second
MANY = 5_000_000


def rate(benchmark, function, flat, **options):
    """The result of a few runs after one that loads machine code; firings a second of the best beside it."""
    result = benchmark.pedantic(function, args=(flat,), kwargs=options, rounds=5, warmup_rounds=1)
    benchmark.extra_info["firings_per_second"] = result.firings / benchmark.stats["min"]
    return result


@pytest.mark.parametrize("engine", ["simpy", "recurrence", "compiled"])
def test_firings_on_a_chain(benchmark, engine):
    result = rate(benchmark, run, chain(FIRINGS), engine=engine)
    assert result.cycles == FIRINGS // LENGTH + LENGTH - 1


@pytest.mark.parametrize("depth", [2, 16])
def test_firings_one_by_one_on_a_chain(benchmark, depth):
    result = rate(benchmark, compiled.run, chain(MANY, depth=depth), skip=False)
    assert result.cycles == MANY // LENGTH + LENGTH - 1


@pytest.mark.parametrize("skip", [False, True], ids=["one by one", "skipping"])
def test_firings_on_a_memory_that_serves_first_come(benchmark, skip):
    assert rate(benchmark, compiled.run, memory(MANY // 10), skip=skip).cycles > 0


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_firings_on_the_table_lookup_accelerator(benchmark, engine):
    assert rate(benchmark, run, lookup(16), engine=engine).cycles > 0


def test_a_billion_scores_streamed(benchmark):
    n = 32_768
    result = rate(benchmark, run, attention(n), engine="compiled")
    assert result.cycles == n * n + 4


def test_a_decode_step_of_the_whole_model(benchmark):
    design, model = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")
    report = benchmark.pedantic(mappers.run, args=(design, model), kwargs={"phase": "decode", "context": 128}, rounds=5)
    assert report.cycles > 0


@pytest.mark.parametrize(
    "command",
    [
        ["check", "tellme_kv260"],
        ["simulate", "tellme_kv260", "bitnet_b158_large", "--phase", "decode", "--context", "128"],
    ],
    ids=["check", "simulate"],
)
def test_a_command_from_the_shell(benchmark, command):
    done = benchmark.pedantic(
        subprocess.run,
        args=([sys.executable, "-m", "archsim", *command],),
        kwargs={"capture_output": True},
        rounds=5,
    )
    assert done.returncode == 0


def drawn(design, model, points, over, **fields):
    """A sweep of points that differ in most settings, on two processes."""
    return mappers.sweep(
        design, model, phase="decode", over=over, search="random", points=points, seed=3, jobs=2, **fields
    )


def test_a_sweep_of_the_table_lookup_accelerator(benchmark):
    over = {
        "units.tlmm.num_tables": [7, 14, 21, 28, 35, 42], "units.tlmm.readers_per_table": [4, 8, 12, 16],
        "links.int8.depth": {"from": 2, "to": 64},
        "links.accumulators.depth": {"from": 1, "to": 16}, "units.ddr.bandwidth": {"from": "4 GB/s", "to": "34 GB/s"},
    }  # fmt: skip
    rows = benchmark.pedantic(
        drawn, args=("tellme_kv260", "bitnet_b158_large", 500, over), kwargs={"context": 512}, rounds=1
    )
    assert rows.counts == {"done": 500}


def test_a_sweep_of_small_runs(benchmark):
    over = {
        "context": {"from": 2, "to": 64}, "units.ddr.bandwidth": {"from": "1 B/cycle", "to": "16 B/cycle"},
        "units.mm.macs_per_cycle": {"from": 1, "to": 64}, "units.vec.lanes": {"from": 1, "to": 16},
    }  # fmt: skip
    rows = benchmark.pedantic(drawn, args=("toy", "toy_llm", 10_000, over), rounds=1)
    assert rows.counts == {"done": 10_000}
