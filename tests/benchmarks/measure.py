"""One measurement in a process of its own: `python measure.py CASE SIZE ENGINE` writes a line of JSON.

Peak memory belongs to a process, so that each size needs a new one. What is measured is the run, the section being made
and the machine code loaded before; memory beyond what the process held then.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases

from archsim.engine import compiled, simpy_engine
from archsim.engine.flat import Flat

CASES: dict[str, Callable[[int], Flat]] = {
    "attention": cases.attention,
    "chain": cases.chain,
    "causal": lambda n: cases.attention(n, causal=True),
}
ENGINES: dict[str, Callable[[Flat], Any]] = {
    "simpy": simpy_engine.run,
    "one by one": lambda flat: compiled.run(flat, skip=False),
    "skipping": compiled.run,
}
ENOUGH_SECONDS, MOST_TIMES = 1.0, 5


def peak_bytes() -> int:
    """The most memory that this process has held.

    Linux hands ru_maxrss down to the processes that one starts, so there the kernel's own mark is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(case: str, size: int, engine: str) -> dict[str, Any]:
    """The best time of a few runs and the memory that they took."""
    begun = time.perf_counter()
    flat = CASES[case](size)
    made = time.perf_counter() - begun
    run = ENGINES[engine]
    run(cases.chain(100))
    run(cases.memory(100))
    before = peak_bytes()
    times: list[float] = []
    while not times or (sum(times) < ENOUGH_SECONDS and len(times) < MOST_TIMES):
        begun = time.perf_counter()
        result = run(flat)
        times.append(time.perf_counter() - begun)
    return {
        "case": case, "size": size, "engine": engine, "firings": result.firings, "skipped": result.skipped,
        "cycles": result.cycles, "make_seconds": made, "seconds": min(times), "before_bytes": before,
        "more_bytes": peak_bytes() - before,
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])) + "\n")
