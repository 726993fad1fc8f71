"""Repeats are skipped exactly: long sections of every family give the SimPy engine's integers, and most are skipped.

Whole results are compared, so cycles, stalls, peaks, starts and ends are. With -m heavy: thousands of sections.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import pytest
import repeating
import repeating_shared

from archsim import load_design
from archsim.engine import simpy_engine
from archsim.engine.compiled.engine import run
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit, flatten
from archsim.engine.result import SectionResult, Stuck
from dataflow import attention
from mappers.spatial.mapper import Spatial

FAMILIES = {**repeating.FAMILIES, **repeating_shared.FAMILIES}
FEW = 15
SHORT = {"levels": 800, "made in rounds": 40}  # families whose sections are short enough for more of them
# Of the firings of the sections that end; what never repeats, or not for long, is skipped less or not at all.
LEAST_SKIPPED = dict.fromkeys(FAMILIES, 0.4) | {
    "clients of a memory": 0.2, "levels": 0.2, "phases": 0.1, "made in rounds": 0.3, "growing rows": 0,
    "late deadlock": 0, "crowded": 0,
}  # fmt: skip


@dataclass
class Tally:
    """What became of the sections of a family: how many were stuck, how many skipped, and how much."""

    ended: int = 0
    stuck: int = 0
    skipping: int = 0
    firings: int = 0
    skipped: int = 0


def tally(family: str, seeds: Iterable[int]) -> Tally:
    """Runs sections of these seeds on both engines, with repeats skipped and with none."""
    seen = Tally()
    for seed in seeds:
        flat = FAMILIES[family](Random(seed))
        expected, found = simpy_engine.run(flat), run(flat)
        assert found == expected, f"{family}, seed {seed}"
        assert run(flat, skip=False) == expected, f"{family}, seed {seed}, one by one"
        if isinstance(found, SectionResult):
            seen.ended += 1
            seen.firings += found.firings
            seen.skipped += found.skipped
            seen.skipping += found.skipped > 0
            assert found.firings == sum(task.firings for task in flat.tasks)
        else:
            seen.stuck += 1
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family(family: str) -> None:
    few = SHORT.get(family, FEW)
    seen = tally(family, range(few))
    assert seen.ended + seen.stuck == few
    assert seen.skipped >= LEAST_SKIPPED[family] * seen.firings, seen
    if family == "late deadlock":
        assert seen.stuck == few
    elif family == "crowded":
        assert seen.ended == few
    elif family == "growing rows":
        assert min(seen.stuck, seen.ended) >= 4
    else:
        assert seen.ended >= few / 2
        assert seen.skipping >= 0.3 * seen.ended, seen


@pytest.mark.heavy
@pytest.mark.parametrize("family", FAMILIES)
def test_many_of_a_family(family: str) -> None:
    few = SHORT.get(family, FEW)
    tally(family, range(few, 30 * few))


@pytest.mark.parametrize("seed", range(8))
def test_a_section_cut_short_anywhere(seed: int) -> None:
    """One firing more or less at a time: the end cuts the period at every place, and near where skipping begins."""
    random = Random(seed)
    cycles = [[random.randint(0, 5) for _ in range(random.randint(1, 7))] for _ in range(3)]
    units, depths = repeating.owns(random, 3), (repeating.depth(random), repeating.depth(random))
    for firings in (*range(1, 40), *range(400, 440)):
        tasks = [
            repeating.task("a", units[0], firings, cycles[0], {}, {"s": 1}),
            repeating.task("b", units[1], firings, cycles[1], {"s": 1}, {"t": 1}),
            repeating.task("c", units[2], firings, cycles[2], {"t": 1}),
        ]
        streams = [repeating.Stream("s", depths[0]), repeating.Stream("t", depths[1])]
        flat = repeating.flat_of(tasks, streams)
        assert run(flat) == simpy_engine.run(flat), firings


MACHINE = load_design("streaming_machine")


def streamed(form: str, n: int, latency: int, *, rows: int | None = None) -> Flat:
    """Attention of N keys and as many rows, or some rows, with deep FIFOs on nodes of latency L."""
    deep = {f"units.{name}.latency_cycles": latency - 1 for name in MACHINE.units}
    design = MACHINE.with_({**deep, "fifos": {"long": "inf", "short": "inf"}})
    graph = attention(queries=rows or n, keys=n, head_dim=1, causal=False)
    (section,) = Spatial(form=form).lower(graph, design).sections  # type: ignore[arg-type]
    return flatten(section, design)


@pytest.mark.parametrize("latency", [1, 3])
@pytest.mark.parametrize("n", [1024, 32_768])
def test_long_attention_without_memory(n: int, latency: int) -> None:
    """R N + 4 L, as in tests/properties/test_streaming_laws.py; a billion rows of scores in no time."""
    found = run(streamed("memory_free", n, latency))
    assert isinstance(found, SectionResult)
    assert found.cycles == n * n + 4 * latency
    assert found.firings - found.skipped < found.firings / 100
    assert max(stream.peak for stream in found.streams.values()) == latency + 1


@pytest.mark.parametrize("latency", [1, 3])
@pytest.mark.parametrize("n", [1024, 32_768])
def test_long_attention_that_waits_for_its_sum(n: int, latency: int) -> None:
    """R N + N + 5 L - 1, with N + 2 L places taken in the long FIFO."""
    found = run(streamed("naive", n, latency))
    assert isinstance(found, SectionResult)
    assert found.cycles == n * n + n + 5 * latency - 1
    assert found.firings - found.skipped < found.firings / 100
    assert max(stream.peak for stream in found.streams.values()) == n + 2 * latency


def test_one_query_over_a_million_keys() -> None:
    """A row of 2^20 scores: N + 4 L."""
    found = run(streamed("memory_free", 2**20, 2, rows=1))
    assert not isinstance(found, Stuck)
    assert found.cycles == 2**20 + 8


def lacks_within_what_is_skipped(pre: int, n: int, rounds: int) -> Flat:
    """A consumer lacks `s` at first in each long period and then always `r`, while `s` gains a token a period.

    A state that another task's runs keep within the periods that are skipped must not count `s` as never lacked since.
    """
    uses = (2 * (2 * n + 1) + 3) * rounds // 4
    tasks = (
        FlatTask("g", 0, (n + 1) * rounds, (FlatRun((n + 1) * rounds, 8, (), ((0, 2),)),)),
        FlatTask("x", 1, (2 * n + 2) * rounds, (
            FlatRun(2 * n + 1, 2, ((0, 1),), ((1, 2),)), FlatRun(1, 0, ((0, 1),), ((1, 3),)),
        )),
        FlatTask("y", 2, uses, (FlatRun(uses, 8, (), ((2, 1),)),)),
        FlatTask("w", 3, uses, (FlatRun(uses, 2, ((1, 4), (2, 1)), ()),)),
        FlatTask("v", 3, uses, (FlatRun(uses, 4, (), ()),)),
        FlatTask("z", 4, 2 * uses, (FlatRun(1, 4, (), ()), FlatRun(1, 4, (), ()))),
    )  # fmt: skip
    streams = tuple(FlatStream(name, 10**6, 0, a, b) for name, a, b in (("g", 0, 1), ("s", 1, 3), ("r", 2, 3)))
    latencies, turns = (8 * pre, 0, 8 * pre + 5, 0, 0), ((3, 1), (4, 1)) * uses
    alone = {0: 0, 1: 1, 2: 2, 4: 5}
    units = tuple(
        FlatUnit(f"u{u}", f"u{u}", 1, latency, turns, (3, 4)) if u == 3
        else FlatUnit(f"u{u}", f"u{u}", 1, latency, ((alone[u], tasks[alone[u]].firings),), (alone[u],))
        for u, latency in enumerate(latencies)
    )  # fmt: skip
    return Flat("lacks", tasks, streams, units)


@pytest.mark.parametrize("pre", [3, 11, 23, 24, 31])
@pytest.mark.parametrize("n", [44, 45, 50])
def test_what_lacked_within_a_period_lacked_within_those_that_are_skipped(pre: int, n: int) -> None:
    flat = lacks_within_what_is_skipped(pre, n, 8)
    found = run(flat)
    assert found == simpy_engine.run(flat)
    assert isinstance(found, SectionResult)
    assert found.skipped > found.firings // 2
