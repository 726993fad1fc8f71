"""Sections on disk: whatever is made comes back equal, and whatever a file was changed to either runs or is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from drawn import Drawn, drawn
from hypothesis import HealthCheck, given, settings
from made import made

from archsim import InputError, ScheduleError
from archsim.engine import compiled, simpy_engine
from archsim.engine.arrays import WIDTHS
from archsim.engine.flat import flatten
from archsim.engine.flat_file import load, save

SOME = settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = (-1, 0, 1, 2, 3, 5, 2**31, 2**62, 2**63 - 1, -(2**63))
MOST_FIRINGS = 5_000


@SOME
@given(case=drawn())
def test_a_drawn_section_comes_back(case: Drawn, tmp_path: Path) -> None:
    flat = flatten(case.section, case.design)
    save(flat, tmp_path / "x.npz")
    assert load(tmp_path / "x.npz") == flat


def test_a_made_section_comes_back(tmp_path: Path) -> None:
    for seed in range(400):
        flat = made(Random(seed), rounds=200 if seed % 10 == 0 else None)
        save(flat, tmp_path / "x.npz")
        assert load(tmp_path / "x.npz") == flat, seed


def with_other_numbers(path: Path, random: Random) -> None:
    """Writes the file again with one of its numbers or three replaced."""
    with np.load(path) as file:
        found = {name: file[name].copy() for name in file.files}
    for _ in range(random.choice((1, 1, 1, 3))):
        array = found[random.choice([name for name in WIDTHS if found[name].size])]
        place = random.randrange(array.size)
        array.flat[place] = random.choice((random.choice(NUMBERS), int(array.flat[place]) ^ 1))
    np.savez(path, **found)


def changed_is_run_or_refused(seed: int, path: Path) -> str:
    """What became of a made section after numbers of its file were replaced."""
    random = Random(seed)
    save(made(random), path)
    with_other_numbers(path, random)
    try:
        flat = load(path)
    except InputError as error:
        return "refused" if all(problem.startswith(f"{path}: ") for problem in error.problems) else "without a path"
    try:
        found = compiled.run(flat)
    except ScheduleError:
        return "too long"
    if sum(task.firings for task in flat.tasks) > MOST_FIRINGS:
        return "many firings"
    assert found == simpy_engine.run(flat), seed
    return "run"


def test_other_numbers_are_run_or_refused(tmp_path: Path) -> None:
    seen = Counter(changed_is_run_or_refused(seed, tmp_path / "x.npz") for seed in range(600))
    assert min(seen["refused"], seen["run"]) >= 60, seen
    assert set(seen) <= {"refused", "run", "too long", "many firings"}


@pytest.mark.heavy
def test_many_other_numbers_are_run_or_refused(tmp_path: Path) -> None:
    for seed in range(600, 20_000):
        changed_is_run_or_refused(seed, tmp_path / "x.npz")
