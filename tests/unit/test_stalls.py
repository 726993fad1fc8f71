"""Stalls by cause, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from archsim import Design, InputError, load_design
from archsim.engine import ENGINES
from archsim.explain.stalls import BUSY, DONE, INPUT, MEMORY, ROOM, TURN, Cause, places_of, stalls
from dataflow import Graph, Schedule, Section, Stream, Task, every, work


def design(**units: dict[str, Any]) -> Design:
    """Units of one lane, so that a firing of copy(d=n) takes n cycles; others as they are given."""
    lanes = {name: {"kind": "vector", "ops": [], "lanes": 1, **keys} if "kind" not in keys else keys
             for name, keys in units.items()}  # fmt: skip
    return load_design("toy").with_({"units": lanes})


def task(name: str, unit: str, firings: int, cycles: int, **ends: Any) -> Task:
    moves = {end: {s: every(n) for s, n in streams.items()} for end, streams in ends.items()}
    return Task(name, unit, firings, every(work("copy", d=cycles)), **moves)


def alone(*tasks: Task, streams: tuple[Stream, ...], repeat: int = 1, **fields: Any) -> Schedule:
    return Schedule(Graph("hand"), "toy", "hand", (Section("x", tasks, streams, repeat=repeat, **fields),))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_slow_producer(engine: str) -> None:
    """Four tokens at 5, 10, 15, 20, of a cycle each on the consumer: it waits 5, then 3 times 4, and is done at 21."""
    make, use = task("make", "a", 4, 5, gives={"s": 1}), task("use", "b", 4, 1, takes={"s": 1})
    given = alone(make, use, streams=(Stream("s", 2),))
    found = stalls(given, design(a={}, b={}), engine=engine)
    assert found.cycles == 21
    assert found.units == {
        "a": {Cause(BUSY): 20, Cause(DONE): 1},
        "b": {Cause(BUSY): 4, Cause(INPUT, "s"): 17},
    }
    assert str(found) == (
        "21 cycles\na: busy 95.2%, nothing left to do 4.8%\nb: waits for stream s 81.0%, busy 19.0%"
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_queue(engine: str) -> None:
    """The maker fills two places by 2, then waits for the end of each use, at 6, 11, 16; the third unit has no task."""
    given = alone(
        task("make", "a", 5, 1, gives={"s": 1}), task("use", "b", 5, 5, takes={"s": 1}), streams=(Stream("s", 2),),
        repeat=3,
    )  # fmt: skip
    found = stalls(given, design(a={}, b={}, c={"count": 2}), engine=engine)
    assert found.cycles == 3 * 26
    # Starts at 0, 1, 6, 11, 16, so it is done at 17.
    assert found.units == {
        "a": {Cause(BUSY): 3 * 5, Cause(ROOM, "s"): 3 * 12, Cause(DONE): 3 * 9},
        "b": {Cause(INPUT, "s"): 3, Cause(BUSY): 3 * 25},
        "c": {Cause(DONE): 2 * 3 * 26},
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_order(engine: str) -> None:
    """`late` is first in turn and waits for 6 cycles, although `early` could have run all that time."""
    given = alone(
        task("make", "a", 1, 6, gives={"s": 1}), task("late", "b", 1, 2, takes={"s": 1}), task("early", "b", 3, 1),
        streams=(Stream("s", 1),), orders={"b": (("late", 1), ("early", 3))},
    )  # fmt: skip
    found = stalls(given, design(a={}, b={}), engine=engine)
    assert found.cycles == 11
    assert found.units["b"] == {Cause(TURN): 6, Cause(BUSY): 5}


@pytest.mark.parametrize("engine", ENGINES)
def test_another_firing_that_becomes_possible_meanwhile(engine: str) -> None:
    """Until 2 neither could run: that is waiting for input. From 2 to 6 `early` could, and it is not its turn."""
    given = alone(
        task("make", "a", 1, 6, gives={"s": 1}), task("soon", "c", 1, 2, gives={"t": 1}),
        task("late", "b", 1, 2, takes={"s": 1}), task("early", "b", 1, 1, takes={"t": 1}),
        streams=(Stream("s", 1), Stream("t", 1)), orders={"b": (("late", 1), ("early", 1))},
    )  # fmt: skip
    found = stalls(given, design(a={}, b={}, c={}), engine=engine)
    assert found.units["b"] == {Cause(INPUT, "s"): 2, Cause(TURN): 4, Cause(BUSY): 3}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_memory_fills_is_waited_for_by_its_name(engine: str) -> None:
    """Reads of 8 B at 2 B a cycle arrive at 4 and 8."""
    on = design(b={}, ddr={"kind": "memory", "capacity": "1 KiB", "bandwidth": "2 B/cycle"})
    read = Task("read", "ddr", 2, every(work("read", bytes=8)), gives={"s": every(1)})
    found = stalls(alone(read, task("use", "b", 2, 1, takes={"s": 1}), streams=(Stream("s", 2),)), on, engine=engine)
    assert found.units["b"] == {Cause(MEMORY, "ddr"): 7, Cause(BUSY): 2}


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="schedule: expected a Schedule"):
        stalls("toy", load_design("toy"))  # type: ignore[arg-type]


def test_what_no_run_takes_is_refused() -> None:
    """Two places of 600 B in a memory of 1 KiB."""
    on = design(a={}, b={}, sram={"kind": "memory", "capacity": "1 KiB", "bandwidth": "1 B/cycle"})
    stream = Stream("s", 2, bytes_per_token=600, memory="sram")
    given = alone(task("make", "a", 4, 1, gives={"s": 1}), task("use", "b", 4, 1, takes={"s": 1}), streams=(stream,))
    with pytest.raises(InputError, match="sram"):
        stalls(given, on)


@pytest.mark.parametrize("stream, told", [
    ("load w freed, of 2", "2 places of load w"), ("part freed, of 3, by gemm", "3 places of part"),
    ("load w > gemm", ""), ("freed", ""),
])  # fmt: skip
def test_places_of_a_memory_are_room_and_not_input(stream: str, told: str) -> None:
    """A load that waits for a free place waits for room, under the name of what fills it; for data, for input."""
    assert places_of(stream) == told
    given = alone(
        task("use", "a", 3, 5, gives={stream: 1}), task("load", "b", 3, 1, takes={stream: 1}),
        streams=(Stream(stream, 2),),
    )  # fmt: skip
    (waits,) = (cause for cause in stalls(given, design(a={}, b={})).units["b"] if cause.kind in (INPUT, ROOM))
    assert waits == Cause(ROOM if told else INPUT, stream)
    assert waits.told_of == (told or stream)
