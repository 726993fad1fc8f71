"""Tokens and places over drawn sections, against walks token by token and cycle by cycle; windows of a recording."""

from __future__ import annotations

from typing import Literal

import numpy as np
from drawn import Drawn, drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import load_design
from archsim.engine import ENGINES, attempt, record
from archsim.engine.flat import Flat, flatten
from archsim.engine.recording import Recording
from archsim.engine.result import SectionResult
from archsim.run.tokens import handed_over, places_taken, sums
from dataflow import Section, Stream, Task, every, sequence, work
from dataflow.pattern import Pattern

LANE = {"kind": "vector", "ops": [], "lanes": 1}


def same(one: Recording, other: Recording) -> bool:
    pairs = [(one.firings, other.firings), (one.waits, other.waits), (one.begun, other.begun)]
    return (one.start, one.end) == (other.start, other.end) and all(np.array_equal(a, b) for a, b in pairs)


def tokens_moved(flat: Flat, task: int, stream: int, end: Literal["takes", "gives"], firings: int) -> list[int]:
    """Which firing moves each token of the stream, one by one."""
    pattern = flat.tasks[task].tokens(stream, end)
    return [firing for firing in range(firings) for _ in range(pattern.at(firing))]


def pairs_walked(flat: Flat, recording: Recording, index: int, consumer: int) -> dict[tuple[int, int], int]:
    stream, fired = flat.streams[index], np.bincount(recording.firings["task"], minlength=len(flat.tasks)).tolist()
    givers = tokens_moved(flat, stream.producer, index, "gives", fired[stream.producer])
    takers = tokens_moved(flat, consumer, index, "takes", fired[consumer])
    found: dict[tuple[int, int], int] = {}
    for pair in zip(givers, takers[stream.initial :], strict=False):
        found[pair] = found.get(pair, 0) + 1
    return found


def places_walked(flat: Flat, recording: Recording, index: int) -> list[int]:
    """The places taken in each cycle."""
    stream = flat.streams[index]
    of = {task: recording.firings[recording.firings["task"] == task] for task in range(len(flat.tasks))}
    gives = flat.tasks[stream.producer].tokens(index, "gives")
    found = []
    for cycle in range(recording.end):
        given = sum(gives.at(int(one["number"])) for one in of[stream.producer] if one["start"] <= cycle)
        freed = min(
            sum(flat.tasks[c].tokens(index, "takes").at(int(one["number"])) for one in of[c] if one["end"] <= cycle)
            for c in stream.consumers
        )
        found.append(stream.initial + given - freed)
    return found


def spread(cycles: np.ndarray, places: np.ndarray, start: int, end: int) -> list[int]:
    return [int(places[np.searchsorted(cycles, cycle, side="right") - 1]) for cycle in range(start, end)]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(case=drawn(), ends=st.tuples(st.integers(0, 30), st.integers(1, 30)))
def test_tokens_and_places_as_walked_one_by_one_also_in_a_window(case: Drawn, ends: tuple[int, int]) -> None:
    flat = flatten(case.section, case.design)
    whole = record(flat, engine="simpy")
    assert same(whole, record(flat, engine="compiled"))
    result = attempt(flat, engine="simpy")
    start, end = ends[0], min(ends[0] + ends[1], whole.end)
    window = record(flat, start=start, end=end, engine="compiled") if start < end else whole
    walked = {}
    for taken in places_taken(flat, whole):
        walked[taken.stream] = places_walked(flat, whole, taken.stream)
        assert spread(taken.cycles, taken.places, 0, whole.end) == walked[taken.stream]
        if isinstance(result, SectionResult) and result.cycles:
            assert taken.places.max() == result.streams[flat.streams[taken.stream].name].peak
    for taken in places_taken(flat, window):
        assert taken.cycles[0] == window.start
        part = walked[taken.stream][window.start : window.end]
        assert spread(taken.cycles, taken.places, window.start, window.end) == part
    numbers = window.firings["number"].tolist()
    consumers = iter([(i, c) for i, stream in enumerate(flat.streams) for c in stream.consumers])
    in_window = {(int(one["task"]), int(one["number"])) for one in window.firings}
    for handed, (index, consumer) in zip(handed_over(flat, window), consumers, strict=True):
        producer = flat.streams[index].producer
        pairs = zip(handed.givers.tolist(), handed.takers.tolist(), handed.tokens.tolist(), strict=True)
        found = {(numbers[giver], numbers[taker]): n for giver, taker, n in pairs}
        assert found == {
            (giver, taker): n
            for (giver, taker), n in pairs_walked(flat, whole, index, consumer).items()
            if (producer, giver) in in_window and (consumer, taker) in in_window
        }


@settings(max_examples=100, derandomize=True, deadline=None)
@given(case=drawn(), ends=st.tuples(st.integers(0, 30), st.integers(1, 30)), most=st.integers(1, 20))
def test_a_window_is_what_lies_in_it(case: Drawn, ends: tuple[int, int], most: int) -> None:
    flat = flatten(case.section, case.design)
    whole = record(flat)
    start, end = ends[0], min(ends[0] + ends[1], whole.end)
    if start >= end:
        return
    both = [record(flat, start=start, end=end, engine=engine) for engine in ENGINES]
    assert same(*both)
    window, all_of = both[0], whole.firings
    inside = (all_of["start"] < end) & ((all_of["end"] > start) | (all_of["start"] >= start))
    assert np.array_equal(window.firings, all_of[inside])
    assert server_cycles(window) == server_cycles(whole, start, end)
    few = record(flat, most=most)
    assert same(few, record(flat, most=most, engine="simpy"))
    assert len(few.firings) <= most
    assert same(few, whole) if len(all_of) <= most else few.end == all_of["start"][most]
    assert same(few, whole.until(few.end))


def server_cycles(recording: Recording, start: int = 0, end: int = 2**62) -> dict[tuple[int, ...], int]:
    """Of each wait, by unit, cause and stream, between two cycles."""
    found: dict[tuple[int, ...], int] = {}
    for unit, cause, stream, first, last, servers in recording.waits.tolist():
        if (length := min(last, end) - max(first, start)) > 0:
            found[unit, cause, stream] = found.get((unit, cause, stream), 0) + servers * length
    return found


def test_tokens_and_places_counted_by_hand() -> None:
    """Each firing of a gives 2 tokens to b, which takes 1 at a time, and to c, which takes 4 and 2; one lies there.

    a fires at 0, 2 and 4 for 2 cycles; b at 0, with the token that lies there, and at 2 to 6 for 1 cycle; c at 4,
    when 5 tokens are there, and at 7 for 3 cycles. c frees the places: 4 at 7, and 2 at 10.
    """
    design = load_design("toy").with_({"units": dict.fromkeys("uvw", LANE)})
    tasks = (
        Task("a", "u", 3, every(work("copy", d=2)), {}, {"s": every(2)}),
        Task("b", "v", 6, every(work("copy", d=1)), {"s": every(1)}, {}),
        Task("c", "w", 2, every(work("copy", d=3)), {"s": sequence((4, 1), (2, 1))}, {}),
    )
    flat = flatten(Section("x", tasks, (Stream("s", 9, initial=1),)), design)
    recording = record(flat)
    numbers = recording.firings["number"]
    to_b, to_c = (
        [*zip(numbers[each.givers].tolist(), numbers[each.takers].tolist(), each.tokens.tolist(), strict=True)]
        for each in handed_over(flat, recording)
    )
    assert to_b == [(0, 1, 1), (0, 2, 1), (1, 3, 1), (1, 4, 1), (2, 5, 1)]
    assert to_c == [(0, 0, 2), (1, 0, 1), (1, 1, 1), (2, 1, 1)]
    (taken,) = places_taken(flat, recording)
    assert (taken.cycles.tolist(), taken.places.tolist()) == ([0, 2, 4, 7], [3, 5, 7, 3])


def test_sums_of_a_pattern() -> None:
    pattern = Pattern(((3, 2), (0, 1), (1, 4)))
    walked = [sum(pattern.at(i) for i in range(n)) for n in range(30)]
    assert sums(pattern, np.arange(30)).tolist() == walked
