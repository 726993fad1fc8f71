"""Sweeps survive: killed parents, workers and schedulers lose nothing, and a sweep goes on where it was."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import mappers
from archsim import InputError
from archsim.workers.pool import AHEAD, TRIES
from interrupts import hear

ROOT = Path(__file__).parents[2]
FRAGILE = ROOT / "tests/extensions/fragile_phase.py"
CONTEXTS = list(range(2, 34))
NTHS = [1, 2, 3]
POINTS = len(CONTEXTS) * len(NTHS)
SWEEP = f"""
import sys
import mappers
from mappers.extend import load_file

load_file({str(FRAGILE)!r})
over = {{"context": {CONTEXTS}, "nth": {NTHS}}}
rows = mappers.sweep("toy", "toy_llm", phase="fragile", over=over, jobs=2, store=sys.argv[1], resume=True)
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The file in which points write down that they begin."""
    path = tmp_path / "begun.txt"
    path.touch()
    monkeypatch.setenv("FRAGILE_LOG", str(path))
    return path


def swept(**more):
    over = {"context": CONTEXTS, "nth": NTHS}
    return mappers.sweep("toy", "toy_llm", phase="fragile", over=over, **more)


def begun(log):
    return log.read_text().split()


def stored(path):
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
        if not reader.execute("SELECT count(*) FROM sqlite_master WHERE name = 'rows'").fetchone()[0]:
            return 0
        return reader.execute("SELECT count(*) FROM rows").fetchone()[0]


def children(parent=None):
    """The processes that serve a sweep of this parent."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if b"workers.serve" in (folder / "cmdline").read_bytes():
                above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(folder.name)] if parent in (None, above) else []
        except (OSError, ValueError):
            continue
    return found


@pytest.fixture
def known(added):
    added(str(FRAGILE))


MOMENTS = [pytest.param(seed, marks=[] if seed < 2 else pytest.mark.heavy) for seed in range(20)]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("seed", MOMENTS)
def test_a_parent_that_is_killed_loses_nothing(tmp_path, log, seed):
    store, tries = tmp_path / "toy.db", random.Random(seed)
    # Each time at a moment of its own, from the start of Python to the last rows.
    for _ in range(2):
        parent = subprocess.Popen([sys.executable, "-c", SWEEP, store], cwd=ROOT)
        wanted = stored(store) + tries.randrange(1, POINTS // 2)
        while parent.poll() is None and stored(store) < wanted:
            time.sleep(tries.uniform(0, 0.05))
        before = children(parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 20
        while set(before) & set(children()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not set(before) & set(children()), "workers end with their parent"
    kept, spent = stored(store), len(begun(log))
    assert 0 < kept < POINTS
    assert spent - kept <= 2 * 2 * AHEAD, "what was begun and not kept was under way, twice in two processes"
    done = []
    rows = swept(jobs=2, store=store, resume=True, progress=done.append)
    assert sum(one.stored for one in done) == kept
    assert len(begun(log)) == spent + POINTS - kept
    assert rows.rows == swept().rows


@pytest.mark.usefixtures("known")
def test_a_worker_that_is_killed_loses_nothing(log):
    killed = []

    def kill(done):
        if done.place % 30 == 20:
            killed.append(children(os.getpid())[0])
            os.kill(killed[-1], signal.SIGKILL)

    rows = swept(jobs=2, progress=kill)
    assert len(set(killed)) == len(killed) >= POINTS // 30
    assert POINTS <= len(begun(log)) <= POINTS + len(killed)
    assert rows.rows == swept().rows


@pytest.mark.usefixtures("known")
def test_a_point_that_ends_its_process_costs_only_itself(tmp_path, log, monkeypatch, caplog):
    monkeypatch.setenv("FRAGILE_AT", "21")
    rows = swept(jobs=2, store=tmp_path / "toy.db")
    assert rows.counts == {"done": POINTS - len(NTHS), "lost": len(NTHS)}
    for row in rows:
        if row["context"] == 21:
            assert row.problem == (
                f"its process died (signal 9), {TRIES} times at this point; it may need more memory than there is"
            )
    assert begun(log).count("21") == TRIES * len(NTHS)
    assert caplog.messages.count("a process died (signal 9); the point that it was at runs again") == 6
    monkeypatch.delenv("FRAGILE_AT")
    done = []
    again = swept(jobs=2, store=tmp_path / "toy.db", resume=True, progress=done.append)
    assert [one.row["context"] for one in done if not one.stored] == [21] * len(NTHS)
    assert again.counts == {"done": POINTS}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_leaves_nothing_behind(tmp_path, number):
    (tmp_path / "toy.yaml").write_text(YAML)
    words = [sys.executable, "-m", "archsim", "sweep", "toy.yaml", "--jobs", "2"]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(words, cwd=tmp_path, env=own, stderr=subprocess.PIPE, text=True, preexec_fn=hear)
    while process.poll() is None and stored(tmp_path / "toy.db") < 10:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "resume (--resume) goes on with them" in said
    assert not list(tmp_path.glob("archsim-*"))


def test_a_command_that_nohup_began_outlives_its_terminal(tmp_path):
    (tmp_path / "toy.yaml").write_text(YAML)
    words = ["nohup", sys.executable, "-m", "archsim", "sweep", "toy.yaml", "--jobs", "1"]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=tmp_path, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and stored(tmp_path / "toy.db") < 10:
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    assert stored(tmp_path / "toy.db") == POINTS


def test_runs_that_a_killed_parent_shared_are_removed(tmp_path):
    (tmp_path / "toy.yaml").write_text(YAML)
    words = [sys.executable, "-m", "archsim", "sweep", "toy.yaml", "--jobs", "2"]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(words, cwd=tmp_path, env=own, stderr=subprocess.DEVNULL)
    while process.poll() is None and stored(tmp_path / "toy.db") < 10:
        time.sleep(0.02)
    assert list(tmp_path.glob("archsim-*"))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while list(tmp_path.glob("archsim-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(tmp_path.glob("archsim-*"))


def test_what_progress_raises_ends_processes_and_frees_the_store(tmp_path):
    def raising(done):
        raise ZeroDivisionError

    asked = {"phase": "decode", "over": {"context": [3, 4]}, "jobs": 2, "store": tmp_path / "toy.db", "resume": True}
    with pytest.raises(ZeroDivisionError) as kept:
        mappers.sweep("toy", "toy_llm", progress=raising, **asked)
    assert not children(os.getpid())
    assert mappers.sweep("toy", "toy_llm", **asked).counts == {"done": 2}
    assert kept.traceback  # which still holds the frames of the sweep


def test_a_process_that_cannot_begin_is_told(monkeypatch):
    monkeypatch.setattr("archsim.workers.pool.START", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(InputError, match=r"jobs: processes end before they begin \(signal 9\); take jobs=1"):
        mappers.sweep("toy", "toy_llm", phase="decode", over={"context": [3, 4]}, jobs=2)


def test_a_value_that_cannot_be_sent_is_a_row():
    over = {"context": [3, 4], "name": ["a", lambda: 1]}
    rows = mappers.sweep("toy", "toy_llm", phase="decode", over=over, jobs=2)
    assert [row.status for row in rows] == ["done", "refused"] * 2
    assert "a value cannot be sent to another process" in rows[1].problem


YAML = f"""
design: toy
model: toy_llm
phase: decode
over:
  context: {CONTEXTS}
  units.ddr.bandwidth: [1 B/cycle, 2 B/cycle, 3 B/cycle]
least: [seconds]
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_keeps_every_row(tmp_path, jobs):
    (tmp_path / "toy.yaml").write_text(YAML)
    words = [sys.executable, "-m", "archsim", "sweep", "toy.yaml", "--jobs", str(jobs)]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=tmp_path, env=own, preexec_fn=hear, **pipes)
    while process.poll() is None and stored(tmp_path / "toy.db") < 10:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=20)
    kept = stored(tmp_path / "toy.db")
    assert (process.returncode, out) == (130, "")
    assert said.endswith(f"{kept} rows are in toy.db; resume (--resume) goes on with them\ninterrupted\n")
    ended = subprocess.run([*words, "--resume"], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert (ended.returncode, stored(tmp_path / "toy.db")) == (0, POINTS)


@contextmanager
def cluster(folder):
    """A Dask scheduler with two workers: its address, its process and theirs."""
    pytest.importorskip("distributed")
    told, processes = folder / "scheduler.json", []

    def start(what, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", told, "--no-dashboard"]
        processes.append(subprocess.Popen([*command, *words], cwd=ROOT, stderr=subprocess.DEVNULL))

    try:
        start("scheduler", "--port", "0", "--host", "127.0.0.1")
        while not told.exists() or not told.read_text():
            time.sleep(0.05)
        for _ in range(2):
            start("worker", "--nthreads", "1", "--no-nanny")
        yield json.loads(told.read_text())["address"], processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("known")
def test_a_cluster_loses_a_worker_and_then_its_scheduler(tmp_path, log):
    store = tmp_path / "toy.db"
    with cluster(tmp_path) as (address, (scheduler, worker, _)):
        seen = []

        def kill(done):
            seen.append(done)
            if len(seen) == POINTS // 3:
                worker.send_signal(signal.SIGKILL)

        rows = swept(scheduler=address, progress=kill)
        assert rows.rows == swept().rows
        seen.clear()

        def end(done):
            seen.append(done)
            if len(seen) == POINTS // 3:
                scheduler.send_signal(signal.SIGKILL)

        with pytest.raises(InputError, match=rf"scheduler {address}: has gone, or has lost this sweep; the rows in"):
            swept(scheduler=address, store=store, progress=end)
    assert POINTS // 3 <= stored(store) < POINTS
    assert swept(store=store, resume=True).rows == rows.rows
    with pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:9: cannot be reached"):
        swept(scheduler="tcp://127.0.0.1:9")
