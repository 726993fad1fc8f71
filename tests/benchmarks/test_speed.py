"""How fast? Figures, not timed tests: pytest tests/benchmarks --benchmark-enable --benchmark-only."""

import resource
import subprocess
import sys

import pytest

import archsim
import dataflow
import mappers
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.yamlfile import read_text
from dataflow import Section, Stream, Task, every, work

pytestmark = pytest.mark.benchmark

LENGTH, FIRINGS = 10, 5_000


def chain(tmp_path):
    """A chain of units, each with a task of its own, joined by queues of depth 2."""
    units = "".join(f"  u{i}: {{kind: channel, bandwidth: 1 B/cycle, arbitration: in_order}}\n" for i in range(LENGTH))
    text = f"name: chain\nsource: drawn\nclock: 1 MHz\nmapper: temporal\nunits:\n{units}"
    path = tmp_path / "chain.yaml"
    path.write_text(text)
    assert read_text(text)
    tasks = tuple(
        Task(
            f"t{i}", f"u{i}", FIRINGS, every(work("move", bytes=1)),
            takes={f"s{i}": every(1)} if i else {}, gives={f"s{i + 1}": every(1)} if i + 1 < LENGTH else {},
        )
        for i in range(LENGTH)
    )  # fmt: skip
    streams = tuple(Stream(f"s{i}", 2) for i in range(1, LENGTH))
    return flatten(Section("chain", tasks, streams), archsim.load_design(str(path)))


def test_simpy_firings_on_a_chain(benchmark, tmp_path):
    result = benchmark.pedantic(run, args=(chain(tmp_path),), kwargs={"engine": "simpy"}, rounds=5)
    benchmark.extra_info["firings_per_second"] = result.firings / benchmark.stats["min"]
    assert result.cycles == FIRINGS + LENGTH - 1


def test_simpy_firings_on_the_table_lookup_accelerator(benchmark):
    design, model = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")
    schedule = mappers.lower(dataflow.prefill(model, prompt=16), design)
    flat = flatten(schedule.sections[1], design)
    result = benchmark.pedantic(run, args=(flat,), kwargs={"engine": "simpy"}, rounds=5)
    benchmark.extra_info["firings_per_second"] = result.firings / benchmark.stats["min"]


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
        args=([sys.executable, "-m", "archsim.cli", *command],),
        kwargs={"capture_output": True},
        rounds=5,
    )
    assert done.returncode == 0
    benchmark.extra_info["peak_kibibytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
