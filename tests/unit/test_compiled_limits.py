"""Where the compiled engine ends: at 2^62, at an interrupt, and on a machine that it has not been compiled for yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from archsim import Deadlock, ScheduleError
from archsim.engine import attempt, compiled, run, simpy_engine
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit
from dataflow import UNLIMITED
from interrupts import hear

MOST = 2**62
PROGRAM = """
import sys
from test_compiled_limits import pair
from archsim.engine.compiled.engine import run
for servers in (1, 2):
    run(pair(3, servers=servers), skip=False)
print("begun", flush=True)
firings, servers = (int(word) for word in sys.argv[1:])
run(pair(3, firings=firings, use=2, depth=2, servers=servers), skip=False)
"""


ZERO_CYCLES = """
from archsim.engine.compiled.engine import run
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit
def flat(n):
    tasks = (FlatTask("a", 0, n, (FlatRun(n, 0, (), ((0, 1),)),)), FlatTask("b", 1, n, (FlatRun(n, 0, ((0, 1),), ()),)))
    units = (FlatUnit("u", "u", 1, 0, ((0, n),), (0,)), FlatUnit("v", "v", 1, 0, ((1, n),), (1,)))
    return Flat("x", tasks, (FlatStream("s", 2, 0, 0, 1),), units)
run(flat(3), skip={skip})
print("begun", flush=True)
run(flat(10**12), skip={skip})
"""


def pair(
    cycles: int, *, firings: int = 1, latency: int = 0, servers: int = 1, waiting: int = 1, depth: int = UNLIMITED,
    tokens: int = 1, use: int = 0, first_come: bool = False,
) -> Flat:  # fmt: skip
    """A task on some servers, and one that waits for what it gives on others."""
    tasks = (
        FlatTask("a", 0, firings, (FlatRun(1, cycles, (), ((0, tokens),)),)),
        FlatTask("b", 1, firings, (FlatRun(1, use, ((0, tokens),), ()),)),
    )
    units = (
        FlatUnit("u", "u", servers, latency, None if first_come else ((0, firings),), (0,)),
        FlatUnit("v", "v", waiting, 0, ((1, firings),), (1,)),
    )
    return Flat("giant", tasks, (FlatStream("s", depth, 0, 0, 1),), units)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(
    "below, above, n",
    [
        (pair(MOST), pair(MOST + 1), MOST + 1),
        (pair(MOST - 3, latency=3), pair(MOST - 3, latency=4), MOST + 1),
        (pair(MOST // 4, firings=4), pair(MOST // 4 + 1, firings=4), MOST + 4),
        (pair(1, tokens=MOST), pair(1, tokens=MOST // 2 + 1, firings=2), MOST + 2),
    ],
)
def test_two_to_the_62nd(below: Flat, above: Flat, n: int, skip: bool) -> None:
    """What can take so long and no longer is run, and rightly; a cycle or token more is refused, by one engine only."""
    assert compiled.run(below, skip=skip) == simpy_engine.run(below)
    with pytest.raises(ScheduleError) as raised:
        compiled.run(above, skip=skip)
    assert str(raised.value).startswith("section 'giant': ")
    assert f"{n:,}" in str(raised.value)
    assert attempt(above, engine="simpy") == simpy_engine.run(above)


def test_near_the_end_it_is_right_or_refused() -> None:
    """Servers wait as well as work, so that server-cycles reach the end before cycles do."""
    seen: Counter[str] = Counter()
    big = (2**59, 2**60 - 1, 2**61 - 5, 2**62 - 9, 2**63, 2**70)
    for cycles, firings, servers, waiting, use in product(big, (1, 3), (1, 3), (1, 8), (0, 7)):
        flat = pair(cycles, firings=firings, servers=servers, waiting=waiting, use=use, depth=2, first_come=servers > 1)
        try:
            found = compiled.run(flat)
        except ScheduleError:
            seen["refused"] += 1
        else:
            assert found == simpy_engine.run(flat)
            seen["right"] += 1
    assert min(seen["refused"], seen["right"]) >= 15, seen


@pytest.mark.parametrize("depth", [2**62 - 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 10**30])
@pytest.mark.parametrize("tokens", [1, 2**60])
def test_a_depth_that_nothing_fills(depth: int, tokens: int) -> None:
    """Up to that of a stream without limit it is taken; beyond it is refused, as nothing needs it."""
    flat = pair(5, firings=3, use=1, depth=depth, tokens=tokens)
    if depth <= UNLIMITED:
        assert compiled.run(flat) == simpy_engine.run(flat)
    else:
        with pytest.raises(ScheduleError, match=f"section 'giant': .*{depth:,}"):
            compiled.run(flat)


@pytest.mark.parametrize("initial", [0, 2**62 - 2, 2**62])
def test_places_without_limit_that_are_taken(initial: int) -> None:
    """A task that feeds itself: stuck where it has no token, and where there is no place beside them."""
    tasks = (
        FlatTask("a", 0, 3, (FlatRun(1, 1, ((0, 1),), ((0, 1), (1, 1))),)),
        FlatTask("b", 1, 3, (FlatRun(1, 1, ((1, 1),), ()),)),
    )
    units = (FlatUnit("u", "u", 1, 0, ((0, 3),), (0,)), FlatUnit("v", "v", 1, 0, ((1, 3),), (1,)))
    streams = (FlatStream("back", UNLIMITED, initial, 0, 0), FlatStream("s", UNLIMITED, 0, 0, 1))
    flat = Flat("full", tasks, streams, units)
    assert compiled.run(flat) == simpy_engine.run(flat)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)), **more}


@pytest.mark.parametrize("servers", [1, 2])
def test_an_interrupt_ends_a_run_of_days(servers: int) -> None:
    """In both kernels: units of several servers are for the clock."""
    command = [sys.executable, "-c", PROGRAM, str(10**13), str(servers)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), preexec_fn=hear, **pipes) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == "begun\n"
            time.sleep(0.3)
            assert run.poll() is None
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=30)
        finally:
            run.kill()
    assert said.rstrip().endswith("KeyboardInterrupt")


def said(folder: Path | None) -> list[str]:
    """What a process that needs both kernels says on stderr, with machine code kept in this folder."""
    more = {} if folder is None else {"NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM, "1", "1"]
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, check=True)
    assert done.stdout == "begun\n"
    return done.stderr.splitlines()


def test_once_it_is_compiled_it_says_nothing() -> None:
    for servers in (1, 2):
        compiled.run(pair(1, servers=servers), skip=False)
    assert said(None) == []


@pytest.mark.heavy
def test_it_is_compiled_once_and_says_so(tmp_path: Path) -> None:
    first, second = said(tmp_path), said(tmp_path)
    assert first == ["compiling the engine for this machine, once: about a quarter of a minute"]
    assert second == []


def test_more_firings_than_are_counted_are_refused() -> None:
    """Firings of no cycles are bounded by nothing else."""
    n = 2**61
    runs = [FlatRun(n, int(i == 0), ((i - 1, 1),) if i else (), ((i, 1),) if i < 4 else ()) for i in range(5)]
    tasks = tuple(FlatTask(f"t{i}", i, n, (run,)) for i, run in enumerate(runs))
    units = tuple(FlatUnit(f"u{i}", f"u{i}", 1, 0, ((i, n),), (i,)) for i in range(5))
    streams = tuple(FlatStream(f"s{i}", 2, 0, i, i + 1) for i in range(4))
    with pytest.raises(ScheduleError, match=f"section 'x': up to {5 * n:,} firings; the compiled engine counts to 2"):
        compiled.run(Flat("x", tasks, streams, units))


def test_a_deadlock_that_is_too_large_for_a_way_out_is_told() -> None:
    """Two tasks that wait for each other, 2^63 times: the SimPy engine finds it, a way out is not looked for."""
    n = 2**63
    tasks = (
        FlatTask("a", 0, n, (FlatRun(n, 1, ((1, 1),), ((0, 1),)),)),
        FlatTask("b", 1, n, (FlatRun(n, 1, ((0, 1),), ((1, 1),)),)),
    )
    units = tuple(FlatUnit(u, u, 1, 0, ((i, n),), (i,)) for i, u in enumerate("uv"))
    flat = Flat("x", tasks, (FlatStream("s", 1, 0, 0, 1), FlatStream("r", 1, 0, 1, 0)), units)
    with pytest.raises(Deadlock, match="way out: not looked for; section 'x': up to") as raised:
        run(flat, engine="simpy")
    assert [wait.task for wait in raised.value.wait_cycle] == ["a", "b"]


@pytest.mark.parametrize("skip", [True, False])
def test_an_interrupt_ends_a_run_in_which_no_time_passes(skip: bool) -> None:
    code = ZERO_CYCLES.format(skip=skip)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == "begun\n"
        time.sleep(0.3)
        it.send_signal(signal.SIGINT)
        _, said = it.communicate(timeout=30)
    assert said.rstrip().endswith("KeyboardInterrupt")
