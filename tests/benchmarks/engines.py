"""Figures of the engines side by side: python tests/benchmarks/engines.py [--json FILE] [--quick].

Firings a second on the same sections, each engine in turn and the best of several rounds, with the ratio to the SimPy
engine in the same run; time and memory as the problem grows, with the exponent of a straight line through the
logarithms; the start of a process; a decode step over a million keys. Nothing here is a test: figures of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cases import cases

import archsim
import dataflow
import mappers
from archsim.engine import compiled, recurrence, simpy_engine
from archsim.engine.flat import Flat, flatten
from dataflow.errors import InputError

ENGINES: dict[str, Callable[[Flat], Any]] = {
    "simpy": simpy_engine.run,
    "recurrence": recurrence.run,
    "one by one": lambda flat: compiled.run(flat, skip=False),
    "skipping": compiled.run,
}
# What grows, by which engine it is run, and the sizes; quick runs take an eighth of each.
GROWTH: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "streamed attention, N = R": ("attention", "skipping", (512, 2048, 8192, 32_768)),
    "streamed attention, N = R, each firing": ("attention", "one by one", (256, 512, 1024, 2048)),
    "streamed causal attention, N = R": ("causal", "skipping", (256, 512, 1024, 2048)),
    "chain, firings": ("chain", "skipping", (10**5, 10**6, 10**7, 10**8)),
    "chain, firings, each one": ("chain", "one by one", (10**5, 10**6, 10**7, 10**8)),
    "chain, firings, by simpy": ("chain", "simpy", (10**4, 3 * 10**4, 10**5, 3 * 10**5)),
}
STARTS = {
    "archsim --help": ["--help"],
    "simulate, simpy": ["--engine", "simpy"],
    "simulate, compiled, warm": ["--engine", "compiled"],
    "simulate, compiled, cold": ["--engine", "compiled"],
}
SMALL_RUN = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "3"]
MILLION = 2**20
WIDE = {"units.decode_attention.score_depth": MILLION, "units.ddr.capacity": "1024 GiB", "resources.budget.uram": 10**6}
HERE = Path(__file__).parent
Row = dict[str, Any]


def rates(quick: bool) -> list[Row]:
    """Firings a second of every engine on every section; None where an engine does not take it."""
    made = cases(20_000, prompt=1, n=48) if quick else cases(300_000, prompt=16, n=256)
    rows = []
    for name, make in made.items():
        flat = make()
        best = dict.fromkeys(ENGINES, float("inf"))
        skipped = 0
        for _ in range(2 if quick else 5):
            for engine, run in ENGINES.items():
                begun = time.perf_counter()
                try:
                    result = run(flat)
                except InputError:
                    continue
                best[engine] = min(best[engine], time.perf_counter() - begun)
                skipped = result.skipped
        firings = sum(task.firings for task in flat.tasks)
        per_second = {engine: firings / seconds for engine, seconds in best.items() if seconds < float("inf")}
        rows.append({
            "section": name, "firings": firings, "skipped": skipped, "firings_per_second": per_second,
            "times_simpy": {engine: rate / per_second["simpy"] for engine, rate in per_second.items()},
        })  # fmt: skip
    return rows


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power of the size by which the values grow: least squares on logarithms.

    >>> round(exponent([1, 10, 100], [3, 30, 300]), 6), round(exponent([1, 10], [5, 5]), 6)
    (1.0, 0.0)
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def growth(quick: bool) -> list[Row]:
    """Time and peak memory at four sizes, each in a process of its own."""
    rows = []
    for name, (case, engine, sizes) in GROWTH.items():
        measured = [in_a_process(case, size // 8 if quick else size, engine) for size in sizes]
        peaks = [one["before_bytes"] + one["more_bytes"] for one in measured]
        rows.append({
            "what": name, "engine": engine, "measured": measured,
            "time_exponent": exponent([one["size"] for one in measured], [one["seconds"] for one in measured]),
            "memory_exponent": exponent([one["size"] for one in measured], peaks),
        })  # fmt: skip
    return rows


def in_a_process(case: str, size: int, engine: str) -> Row:
    command = [sys.executable, str(HERE / "measure.py"), case, str(size), engine]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    row: Row = json.loads(done.stdout)
    return row


def environment(**more: str) -> dict[str, str]:
    """That of this process, with the archsim that this process imported."""
    path = os.pathsep.join((str(Path(archsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    return {**os.environ, "PYTHONPATH": path, **more}


def starts(quick: bool) -> list[Row]:
    """Seconds from the shell to the answer; cold once, with an empty folder for machine code."""
    rows = []
    for name, options in STARTS.items():
        cold = name.endswith("cold")
        if cold and quick:
            continue
        command = [sys.executable, "-m", "archsim", *([] if "--help" in options else SMALL_RUN), *options]
        times = []
        for _ in range(1 if cold else 5):
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                env = environment(**({"NUMBA_CACHE_DIR": folder} if cold else {}))
                subprocess.run(command, capture_output=True, check=True, env=env)
                times.append(time.perf_counter() - begun)
        rows.append({"command": name, "seconds": min(times)})
    return rows


def million_keys() -> list[Row]:
    """A decode step over a million keys: a whole model on the table-lookup accelerator, and one streamed row."""
    design = archsim.load_design("tellme_kv260").with_(WIDE)
    model = archsim.load_model("bitnet_b158_large").model_copy(update={"max_context": MILLION})
    machine = archsim.load_design("streaming_machine")
    row = dataflow.attention(queries=1, keys=MILLION, head_dim=1)
    return [
        step("table lookup, whole model, a context of 1,000,000", dataflow.decode(model, context=1_000_000), design),
        step("streamed attention, one query over 2^20 keys", row, machine),
    ]


def step(name: str, graph: dataflow.Graph, design: archsim.Design) -> Row:
    """Seconds of making the schedule and of running its sections, with repeats skipped and each firing run."""
    begun = time.perf_counter()
    flats = [flatten(section, design) for section in mappers.lower(graph, design).sections]
    seconds = {"make": time.perf_counter() - begun}
    for engine in ("skipping", "one by one"):
        begun = time.perf_counter()
        results = [ENGINES[engine](flat) for flat in flats]
        seconds[engine] = time.perf_counter() - begun
    return {"step": name, "firings": sum(result.firings for result in results), "seconds": seconds}


def told(figures: Row) -> str:
    """The figures as a table for people."""
    lines = [f"{'firings a second (times the SimPy engine)':44}" + "".join(f"{engine:>22}" for engine in ENGINES)]
    for row in figures["rates"]:
        found, times = row["firings_per_second"], row["times_simpy"]
        cells = [f"{found[e]:>13,.0f} ({times[e]:,.0f}x)" if e in found else "-" for e in ENGINES]
        lines.append(f"{row['section']:44}" + "".join(f"{cell:>22}" for cell in cells))
    lines += ["", f"{'as the problem grows':44}{'time ~':>10}{'memory ~':>10}   at each size: seconds, MiB at most"]
    for row in figures["growth"]:
        cells = [
            f"{one['size']:,}: {one['seconds']:.3g} s, {(one['before_bytes'] + one['more_bytes']) / 2**20:.0f} MiB"
            for one in row["measured"]
        ]
        powers = "".join(f"{f'n^{row[what]:.2f}':>10}" for what in ("time_exponent", "memory_exponent"))
        lines.append(f"{row['what']:44}{powers}   {'; '.join(cells)}")
    lines += ["", "from the shell to the answer"]
    lines += [f"{row['command']:44}{row['seconds']:8.2f} s" for row in figures["starts"]]
    lines += ["", "a decode step over a million keys"]
    for row in figures["million_keys"]:
        cells = [f"{what} {seconds:.3g} s" for what, seconds in row["seconds"].items()]
        lines.append(f"{row['step']:50} {row['firings']:,} firings: {', '.join(cells)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="small sizes and no cold start: half a minute")
    asked = parser.parse_args(arguments)
    for warm in cases(100, prompt=1, n=4).values():
        compiled.run(warm(), skip=False)
    figures = {
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "python": platform.python_version(), "quick": asked.quick},
        "rates": rates(asked.quick), "growth": growth(asked.quick), "starts": starts(asked.quick),
        "million_keys": million_keys(),
    }  # fmt: skip
    print(told(figures))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
