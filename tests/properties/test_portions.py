"""Bursts of tokens: k times as many of everything change no cycle, and the compiled kernels agree on all of them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from made import made

from archsim.engine import simpy_engine
from archsim.engine.arrays import arrays
from archsim.engine.compiled import order_state
from archsim.engine.compiled.engine import run
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit
from archsim.engine.result import StreamResult, Stuck
from dataflow.task import UNLIMITED


def in_bursts(flat: Flat, k: int, spare: int) -> Flat:
    """The section with k tokens for each, and `spare` places (fewer than k) that no burst fits into."""
    streams = tuple(
        replace(s, depth=s.depth if s.depth == UNLIMITED else k * s.depth + spare, initial=k * s.initial)
        for s in flat.streams
    )
    tasks = tuple(replace(task, runs=tuple(_in_bursts(run, k) for run in task.runs)) for task in flat.tasks)
    return replace(flat, tasks=tasks, streams=streams)


def _in_bursts(run: FlatRun, k: int) -> FlatRun:
    return replace(run, takes=tuple((s, k * n) for s, n in run.takes), gives=tuple((s, k * n) for s, n in run.gives))


def test_bursts_take_the_cycles_of_single_tokens() -> None:
    ordered = 0
    for seed in range(600):
        flat = made(Random(seed))
        k, spare = Random(seed).choice(((2, 1), (3, 0), (64, 63), (4096, 17)))
        bursts = in_bursts(flat, k, spare)
        one, many = run(flat, skip=False), run(bursts, skip=False)
        assert many == simpy_engine.run(bursts), seed
        if isinstance(one, Stuck) or isinstance(many, Stuck):
            assert (type(one), one.cycle) == (type(many), many.cycle), seed
            continue
        ordered += order_state.accepts(arrays(bursts.unfolded()))
        assert (one.cycles, one.tasks, one.units) == (many.cycles, many.tasks, many.units), seed
        for name, stream in one.streams.items():
            assert many.streams[name] == StreamResult(k * stream.given, k * stream.taken, k * stream.peak), seed
    assert ordered > 50


def pair(given: int, taken: int, *, initial: int = 0) -> Flat:
    """A task that gives bursts and one that takes bursts of another size, 7 cycles and 5, with room for two of each."""
    streams = (FlatStream("s", 2 * (given + taken) + initial, initial, 0, 1),)
    tasks = (
        FlatTask("a", 0, 3 * taken, (FlatRun(1, 7, (), ((0, given),)),)),
        FlatTask("b", 1, 3 * given, (FlatRun(1, 5, ((0, taken),), ()),)),
    )
    units = tuple(FlatUnit(f"u{i}", f"u{i}", 1, 2, ((i, task.firings),), (i,)) for i, task in enumerate(tasks))
    return Flat("pair", tasks, streams, units)


@pytest.mark.parametrize(
    ("given", "taken", "accepted"), [(3, 2, True), (64, 48, True), (1024, 1024, True), (37, 31, False)]
)
@pytest.mark.parametrize("initial", [0, 1, 5])
def test_bursts_of_unlike_sizes(given: int, taken: int, accepted: bool, initial: int) -> None:
    """The order kernel keeps a time for each portion that both ends share; where those are many, the clock runs it."""
    flat = pair(given, taken, initial=initial)
    assert order_state.accepts(arrays(flat)) == accepted
    assert run(flat, skip=False) == run(flat) == simpy_engine.run(flat)
