"""A section run like one before it: the whole result is that of a run of its own, and little of it is run again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from made import made

from archsim import load_design, load_model
from archsim.engine import simpy_engine
from archsim.engine.compiled.engine import run
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit, flatten
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult
from dataflow import Section, Stream, Task, decode, every, sequence, work
from mappers import lower

LANE = {"kind": "vector", "ops": [], "lanes": 1}
UNITS = {
    **{f"own {i}": {**LANE, "latency_cycles": i % 3} for i in range(4)},
    "memory": {**LANE, "arbitration": "first_come", "latency_cycles": 2},
    "two": {**LANE, "count": 2, "arbitration": "first_come"},
}
LANES = load_design("toy").with_({"units": UNITS})


def other_cycles(random: Random, flat: Flat) -> Flat:
    """The same section with other cycles in some runs of one or two tasks."""
    tasks = list(flat.tasks)
    for i in random.choices(range(len(tasks)), k=random.choice((1, 1, 2))):
        runs = tuple(replace(run, cycles=random.randint(1, 5)) for run in tasks[i].runs)
        tasks[i] = replace(tasks[i], runs=runs)
    return replace(flat, tasks=tuple(tasks))


def other_amounts(random: Random) -> list[Flat]:
    """A pair whose producer gives the same tokens in another order in each step, some still under way when it ends."""
    n, rounds, depth, latency = random.randint(1, 4), random.randint(1, 6), random.randint(6, 20), random.randint(0, 30)
    takes = [random.randint(1, 3) for _ in range(2 * n)]
    cycles = random.randint(1, 9)
    flats = []
    for _ in range(4):
        gives = random.sample(takes, len(takes))
        p = FlatTask("p", 0, 2 * n * rounds, tuple(FlatRun(1, 1, (), ((0, k),)) for k in gives))
        c = FlatTask("c", 1, 2 * n * rounds, tuple(FlatRun(1, cycles, ((0, k),), ()) for k in takes))
        z = FlatTask("z", 2, 50, (FlatRun(50, 1, (), ()),))
        units = tuple(
            FlatUnit(f"u{i}", f"u{i}", 1, latency * (i == 0), ((i, task.firings),), (i,))
            for i, task in enumerate((p, c, z))
        )
        flats.append(Flat("x", (p, c, z), (FlatStream("s", depth, 0, 0, 1),), units))
    return flats


def calls(random: Random) -> list[tuple[list[Task], list[Stream]]]:
    """Steps of calls one after another, one of which fires more in each step; a task may run beside them."""
    shapes = [
        (*random.choices([*UNITS], k=2), random.randint(1, 12), random.randint(1, 4), random.randint(1, 4))
        for _ in range(random.randint(3, 5))
    ]
    middle, beside = random.randrange(len(shapes)), random.random() < 0.5
    grows, depths = random.randint(1, 3), [random.randint(1, 3) for _ in shapes]
    return [_calls(shapes, depths, middle, beside, n * grows) for n in range(4)]


def _calls(
    shapes: list[tuple[str, str, int, int, int]], depths: list[int], middle: int, beside: bool, more: int
) -> tuple[list[Task], list[Stream]]:
    tasks: list[Task] = []
    streams: list[Stream] = []
    for i, (reads, computes, n, long, short) in enumerate(shapes):
        n += more if i == middle else 0
        tasks.append(Task(f"read {i}", reads, n, sequence((work("copy", d=long), 1), (work("copy", d=short), n))))
        tasks.append(Task(f"compute {i}", computes, n, every(work("copy", d=short))))
        streams.append(Stream(f"s{i}", depths[i]))
        tasks[-2] = replace(tasks[-2], gives={f"s{i}": every(1)})
        tasks[-1] = replace(tasks[-1], takes={f"s{i}": every(1)})
        if i:
            before = tasks[2 * i - 1]
            streams.append(Stream(f"done {i}", 1))
            tasks[2 * i - 1] = replace(before, gives={f"done {i}": sequence((0, before.firings - 1), (1, 1))})
            tasks[2 * i] = replace(tasks[2 * i], takes={f"done {i}": sequence((1, 1), (0, n - 1))})
    if beside:
        tasks.append(Task("beside", "memory", 9, every(work("copy", d=3))))
    return tasks, streams


def agrees(flats: list[Flat], seen: Counter[str]) -> None:
    """Each section run like the one before is what it is by itself."""
    memo = Memo()
    for flat in flats:
        expected = simpy_engine.run(flat)
        found = run(flat, memo=memo)
        assert found == expected, flat
        alone = run(flat)
        if isinstance(found, SectionResult) and isinstance(alone, SectionResult):
            seen["less is run"] += found.skipped > alone.skipped
            seen["half is run"] += 2 * (found.firings - found.skipped) <= alone.firings - alone.skipped
        seen["sections"] += 1


def some(what: str, seeds: range) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        random = Random(seed)
        if what == "other cycles":
            flats = [made(random)]
            for _ in range(4):
                flats.append(other_cycles(random, flats[0]))
        elif what == "other amounts":
            flats = other_amounts(random)
        else:
            steps = calls(random)
            flats = [flatten(Section("x", tuple(tasks), tuple(streams)), LANES) for tasks, streams in steps]
        agrees(flats, seen)
    return seen


@pytest.mark.parametrize("what, less, half", [("other cycles", 30, 4), ("calls", 200, 150), ("other amounts", 0, 0)])
def test_sections_like_the_one_before(what: str, less: int, half: int) -> None:
    seen = some(what, range(260))
    assert seen["less is run"] >= less, seen
    assert seen["half is run"] >= half, seen


def test_a_section_that_is_not_like_the_one_before() -> None:
    agrees([made(Random(seed)) for seed in range(200)], Counter())


@pytest.mark.heavy
@pytest.mark.parametrize("what", ["other cycles", "calls", "other amounts"])
def test_many_sections_like_the_one_before(what: str) -> None:
    some(what, range(200, 4_000))


@pytest.mark.parametrize("buffering", ["single", "double"])
def test_decode_steps_are_run_where_they_differ(buffering: str) -> None:
    """With room for two matrices too; a step by itself fires 18,000 times one by one."""
    regions = {"units.weight_buffer.regions": 12} if buffering == "double" else {}
    design = load_design("tellme_kv260").with_({**regions, "resources.budget.uram": 200})
    model = load_model("bitnet_b158_large")
    memo = Memo()
    for context in (70, 71, 72, 73, 75, 76):
        schedule = lower(decode(model, context=context), design, weight_buffering=buffering)
        flat = flatten(schedule.sections[1], design)
        found = run(flat, memo=memo)
        assert found == run(flat, skip=False)
        assert isinstance(found, SectionResult)
        if context in (72, 73, 76):
            assert found.firings - found.skipped < 3_000
