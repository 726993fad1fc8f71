"""Patterns and sections counted by hand, and every mistake that a section refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow import (
    Graph,
    Pattern,
    Repeat,
    Schedule,
    ScheduleError,
    Section,
    Served,
    Stream,
    Task,
    Work,
    every,
    sequence,
    total,
    work,
)
from dataflow.op import computes
from dataflow.pattern import side_by_side
from dataflow.role import Role

ONE = every(work("copy", d=1))
ADD = every(work("add", rows=1, d=4))


def unrolled(pattern: Pattern[Any], n: int) -> list[Any]:
    return [pattern.at(i) for i in range(n)]


def test_a_pattern_repeats_its_runs() -> None:
    pattern = Pattern((("a", 2), ("b", 1), ("a", 1)))
    assert pattern.period == 4
    assert "".join(unrolled(pattern, 10)) == "aabaaabaaa"
    assert list(pattern) == [("a", 2), ("b", 1), ("a", 1)]


def test_every_is_one_run_and_sequence_leaves_out_empty_runs() -> None:
    assert every(3) == Pattern(((3, 1),))
    assert sequence((0, 0), (1, 2), (5, 0), (0, 3)) == Pattern(((1, 2), (0, 3)))


@pytest.mark.parametrize("runs", [(), ((1, 0),), ((1, 2), (0, -1))])
def test_a_pattern_of_no_or_empty_runs_is_refused(runs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ScheduleError) as raised:
        Pattern(runs)
    assert str(raised.value) == f"a pattern is made of runs of one or more, got {runs!r}"


def test_a_sequence_without_runs_is_refused() -> None:
    with pytest.raises(ScheduleError):
        sequence((1, 0))


def test_total_counts_whole_periods_and_the_rest() -> None:
    one_in_three = sequence((0, 2), (1, 1))
    assert [total(one_in_three, n) for n in range(8)] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert sequence((7, 2), (5, 3)).counted(11) == [(7, 5), (5, 6)]
    assert sequence((7, 2), (5, 3)).counted(3) == [(7, 2), (5, 1)]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=5), st.integers(0, 60))
def test_counted_and_total_agree_with_the_places_one_by_one(runs: list[tuple[int, int]], n: int) -> None:
    pattern = Pattern(tuple(runs))
    period = [value for value, count in runs for _ in range(count)]
    places = [period[i % len(period)] for i in range(n)]
    assert unrolled(pattern, n) == places
    assert total(pattern, n) == sum(places)
    assert sum(count for _, count in pattern.counted(n)) == n


def test_counts_of_a_task_follow_its_pattern() -> None:
    """Firings 1 to 5 work on 4, 4, 10, 4, 4 elements."""
    task = Task("a", "u", 5, sequence((work("add", rows=1, d=4), 2), (work("add", rows=1, d=10), 1)))
    assert task.counts() == {"flop": 26}
    one = work("attention", queries=1, keys=1, heads=2, qk_dim=4)
    both = Task("b", "u", 3, sequence((one, 1), (work("drain", d=8), 1)))
    assert both.counts() == {"mac": 32, "exp": 4}


def test_slices_walk_boxes_row_by_row_and_are_cut_at_the_end() -> None:
    served = Served(("y",), ((range(0, 3, 2), range(0, 5, 4)), (range(7, 8), range(0, 4, 2))))
    assert list(served.slices()) == [
        (range(0, 2), range(0, 4)), (range(0, 2), range(4, 5)), (range(2, 3), range(0, 4)), (range(2, 3), range(4, 5)),
        (range(7, 8), range(0, 2)), (range(7, 8), range(2, 4)),
    ]  # fmt: skip
    cube = Served(("y",), ((range(2), range(0, 3, 2), range(2)),))
    assert [tuple(r.start for r in box) for box in cube.slices()] == [
        (0, 0, 0), (0, 0, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0), (1, 0, 1), (1, 2, 0), (1, 2, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "item, arithmetic",
    [
        (work("matmul", m=1, k=2, n=3), True),
        (work("add", rows=1, d=1), True),
        (work("attention_values", queries=1, keys=1, heads=1, qk_dim=2), True),
        (work("read", bytes=4), False), (work("write", bytes=4), False), (work("move", bytes=4), False),
        (work("enter"), False), (work("drain", d=4), False), (work("embedding", rows=1, d=4), False),
    ],
)  # fmt: skip
def test_arithmetic_is_what_counts_operations(item: Work, arithmetic: bool) -> None:
    assert computes(item) is arithmetic


def chain(**changes: Any) -> Section:
    """Two tasks on two units, four tokens over a stream of depth 2; fields of the section as given."""
    fields: dict[str, Any] = {
        "name": "x",
        "tasks": (Task("a", "ua", 4, ONE, gives={"s": every(1)}), Task("b", "ub", 2, ONE, takes={"s": every(2)})),
        "streams": (Stream("s", 2),),
    }
    return Section(**{**fields, **changes})


def test_ends_and_orders_of_a_valid_section() -> None:
    section = chain()
    assert section.ends == {"s": ("a", ("b",))}
    assert section.order_of("ua") == (("a", 4),)
    shared = chain(tasks=tuple(Task(t.name, "u", t.firings, t.work, t.takes, t.gives) for t in section.tasks))
    assert shared.order_of("u") == (("a", 4), ("b", 2))
    turns = (("a", 2), ("b", 1), ("a", 2), ("b", 1))
    assert chain(tasks=shared.tasks, orders={"u": turns}).order_of("u") == turns


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ScheduleError) as raised:
        chain(**changes)
    return [p.removeprefix("section 'x': ") for p in raised.value.problems]


A = Task("a", "ua", 4, ONE, gives={"s": every(1)})
B = Task("b", "ub", 2, ONE, takes={"s": every(2)})
S = Stream("s", 2)
WIDE = Stream("s", 9)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"tasks": (), "streams": ()}, ["it has no task; a section has at least one"]),
        ({"repeat": 0}, ["repeat is 0; a section is run at least once"]),
        ({"tasks": (A, B, Task("c", "ua", 1, ONE), Task("c", "ub", 1, ONE))}, ["task 'c' is given twice"]),
        ({"tasks": (A, B, Task("c", "ua", 0, ONE))}, ["task 'c' is fired 0 times; a task is fired at least once"]),
        (
            {"tasks": (A, B, Task("c", "ua", 1, ONE, serves=(Served(("p", "q")),)))},
            ["task 'c' names 2 ops for 1 repetitions"],
        ),
        (
            {"repeat": 2, "tasks": (A, B, Task("c", "ua", 1, ONE, serves=(Served(("p",)),)))},
            ["task 'c' names 1 ops for 2 repetitions"],
        ),
        (
            {"tasks": (A, B, Task("c", "ua", 1, ONE, role="weights"))},
            ["task 'c' has the role 'weights'; did you mean 'weight'?"],
        ),
        (
            {"tasks": (A, B, Task("c", "ua", 1, ONE, role="x"))},
            ["task 'c' has the role 'x'; roles are: weight, expert, embedding, lm_head, norm, cache, state, "
             "activation, input, metadata, fetched, evicted"],
        ),
        (
            {"tasks": (A, B, Task("c", "ua", 3, ADD, serves=(Served(("p",), ((range(2), range(1)),)),)))},
            ["task 'c' has 3 computing firings and 2 tiles; each firing computes one tile"],
        ),
        (
            {"tasks": (A, B, Task("c", "ua", 2, ONE, serves=(Served(("p",), ((range(2), range(1)),)),)))},
            ["task 'c' has 0 computing firings and 2 tiles; each firing computes one tile"],
        ),
        (
            {"tasks": (Task("a", "ua", 4, ONE, gives={"s": sequence((-1, 1), (3, 1))}), B), "streams": (WIDE,)},
            ["task 'a' gives a negative number of tokens of 's'"],
        ),
        (
            {"tasks": (A, Task("b", "ub", 2, ONE, takes={"s": sequence((5, 1), (-1, 1))})), "streams": (WIDE,)},
            ["task 'b' takes a negative number of tokens of 's'"],
        ),
        ({"streams": (S, S)}, ["stream 's' is given twice"]),
        (
            {"streams": ()},
            ["stream 's' is in the takes of a task but is not declared",
             "stream 's' is in the gives of a task but is not declared"],
        ),
        (
            {"streams": (S, Stream("t", 1))},
            ["stream 't' needs one producing task, has none", "stream 't' needs a consuming task, has none"],
        ),
        (
            {"tasks": (A, B, Task("c", "ua", 4, ONE, gives={"s": every(1)}))},
            ["stream 's' needs one producing task, has 'a', 'c'"],
        ),
        (
            {"tasks": (A, B, *(Task(name, "uc", 1, ONE, takes={"s": every(n)}) for name, n in (("c", 2), ("d", 3))))},
            ["stream 's': 'a' gives 4 tokens in all and 'c' takes 2; the totals must be equal",
             "stream 's': 'a' gives 4 tokens in all and 'd' takes 3; the totals must be equal",
             "stream 's': 'd' takes 3 tokens in one firing and the depth is 2; use a depth of at least 3"],
        ),
        ({"tasks": (replace(A, servers=0), B)}, ["task 'a' asks for 0 servers; a firing takes at least one"]),
        (
            {"tasks": (replace(A, servers=1.5, priority="high"), B)},
            ["task 'a': servers are 1.5; a whole number is expected",
             "task 'a': priority is 'high'; a whole number is expected"],
        ),
        (
            {"orders": {"ua": (Repeat((("a", 1), ("a", 1)), 3),)}},
            ["the order of unit 'ua' has the firings {'a': 6}, its tasks are {'a': 4}"],
        ),
        (
            {"orders": {"ua": (Repeat((("a", 2),), 0), ("a", 4))}},
            ["the order of unit 'ua' has a repeat of 0 times; runs are repeated once or more"],
        ),
        (
            {"orders": {"ua": (Repeat((("a", 0), ("a", 4)), 1), "a", ("a", True))}},
            ["the order of unit 'ua' has a run of 0 firings of 'a'; runs are of one or more",
             "the order of unit 'ua' has 'a'; a run (task, firings in a row) is expected",
             "the order of unit 'ua' has ('a', true); a run (task, firings in a row) is expected"],
        ),
        (
            {"orders": {"ua": 4}},
            ["the order of unit 'ua' has 4; a tuple of runs (task, firings in a row) and repeats is expected"],
        ),
        ({"streams": (Stream("s", 2, initial=3),)}, ["stream 's' starts with 3 tokens; it holds 0 to 2"]),
        ({"streams": (Stream("s", 2, initial=-1),)}, ["stream 's' starts with -1 tokens; it holds 0 to 2"]),
        ({"streams": (Stream("s", 0),)}, ["stream 's' has depth 0; a stream holds at least one token"]),
        (
            {"tasks": (A, Task("b", "ub", 3, ONE, takes={"s": every(2)}))},
            ["stream 's': 'a' gives 4 tokens in all and 'b' takes 6; the totals must be equal"],
        ),
        (
            {"streams": (Stream("s", 1),)},
            ["stream 's': 'b' takes 2 tokens in one firing and the depth is 1; use a depth of at least 2"],
        ),
        (
            {"tasks": (Task("a", "ua", 1, ONE, gives={"s": every(4)}), B), "streams": (Stream("s", 3),)},
            ["stream 's': 'a' gives 4 tokens in one firing and the depth is 3; use a depth of at least 4"],
        ),
        (
            {"orders": {"ua": (("a", 3),)}},
            ["the order of unit 'ua' has the firings {'a': 3}, its tasks are {'a': 4}"],
        ),
        (
            {"orders": {"ua": (("a", 4), ("b", 1))}},
            ["the order of unit 'ua' has the firings {'a': 4, 'b': 1}, its tasks are {'a': 4}"],
        ),
        (
            {"orders": {"uc": (("a", 4),)}},
            ["the order of unit 'uc' has the firings {'a': 4}, its tasks are {}"],
        ),
        (
            {"orders": {"ua": (("a", 0), ("a", 4))}},
            ["the order of unit 'ua' has a run of 0 firings of 'a'; runs are of one or more"],
        ),
        (
            {"orders": {"ua": (("a", 5), ("a", -1))}},
            ["the order of unit 'ua' has a run of -1 firings of 'a'; runs are of one or more"],
        ),
    ],
)  # fmt: skip
def test_each_mistake_has_its_message(changes: dict[str, Any], expected: list[str]) -> None:
    assert problems(**changes) == expected


def test_a_task_may_have_any_role_also_by_name() -> None:
    for role in (None, *Role, *(role.value for role in Role)):
        assert chain(tasks=(A, B, Task("c", "ua", 1, ONE, role=role)))


def test_all_problems_are_told_at_once() -> None:
    three_tiles = (Served(("p",), ((range(3), range(1)),)),)
    assert problems(
        tasks=(A, B, Task("c", "ua", 0, ONE), Task("d", "ub", 2, ADD, serves=three_tiles)),
        streams=(Stream("s", 1), Stream("t", 0)),
        repeat=-1,
        orders={"ub": (("b", 2),)},
    ) == [
        "repeat is -1; a section is run at least once",
        "task 'c' is fired 0 times; a task is fired at least once",
        "task 'd' has 2 computing firings and 3 tiles; each firing computes one tile",
        "stream 's': 'b' takes 2 tokens in one firing and the depth is 1; use a depth of at least 2",
        "stream 't' has depth 0; a stream holds at least one token",
        "stream 't' needs one producing task, has none",
        "stream 't' needs a consuming task, has none",
        "the order of unit 'ub' has the firings {'b': 2}, its tasks are {'b': 2, 'd': 2}",
    ]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_depth_is_that_of_the_largest_firing(depth: int) -> None:
    tasks = (Task("a", "ua", 2, ONE, gives={"s": every(2)}), Task("b", "ub", 4, ONE, takes={"s": every(1)}))
    if depth < 2:
        assert len(problems(tasks=tasks, streams=(Stream("s", depth),))) == 1
    else:
        assert chain(tasks=tasks, streams=(Stream("s", depth),))


def test_a_schedule_counts_repetitions() -> None:
    section = Section("x", (Task("a", "u", 3, ADD),), (), repeat=5)
    schedule = Schedule(Graph("g"), "toy", "by hand", (section, Section("y", (Task("b", "u", 2, ADD),), ())))
    assert schedule.firings == 17
    assert schedule.counts() == {"flop": 68}


def test_a_pattern_is_walked_as_runs_and_not_as_places() -> None:
    assert list(islice(sequence((1, 10**12), (0, 1)), 2)) == [(1, 10**12), (0, 1)]
    assert total(sequence((1, 10**12), (0, 1)), 10**12 + 1) == 10**12


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 60),
)
def test_patterns_side_by_side_are_their_places(runs: list[list[tuple[int, int]]], n: int) -> None:
    patterns = [Pattern(tuple(each)) for each in runs]
    walked = [values for count, values in side_by_side(patterns, n) for _ in range(count)]
    assert walked == list(zip(*(unrolled(pattern, n) for pattern in patterns), strict=True))
