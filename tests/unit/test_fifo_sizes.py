"""Minimal FIFO depths counted by hand, each held on both sides; targets; what the table-lookup accelerator needs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import pytest

import archsim
import dataflow
import mappers
from archsim import Deadlock, Design, FifoSizes, InputError, load_design, load_model, size_fifos
from archsim.engine import run
from archsim.engine.flat import flatten
from archsim.fifos.depths import DEADLOCK, FLOOR
from archsim.fifos.search import DepthTrials
from archsim.fifos.text import LEGEND
from archsim.units.fifo_memory import FifoMemory
from dataflow import UNLIMITED, Graph, Pattern, Schedule, Section, Stream, Task, every, sequence, work

Ends = dict[str, int | Pattern[int]]
TOY, TOY_LLM = load_design("toy"), load_model("toy_llm")


def design(**units: dict[str, Any]) -> Design:
    """The toy with units of one lane, so that a firing of copy(d=n) takes n cycles."""
    return TOY.with_({"units": {u: {"kind": "vector", "ops": [], "lanes": 1} | keys for u, keys in units.items()}})


def task(name: str, firings: int, takes: Ends | None = None, gives: Ends | None = None, *, cycles: int = 1) -> Task:
    """A task on the unit of its own name."""
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, name, firings, every(work("copy", d=cycles)), taken, given)


def schedule(*sections: Section) -> Schedule:
    return Schedule(Graph("hand"), "toy", "hand", sections)


def around(n: int, *, past: int = 2, late: int = 2, width: int = 4, name: str = "around", repeat: int = 1) -> Section:
    """n tokens go through a stage with a latency, and past it to where both meet."""
    return Section(
        name,
        (
            task("fork", n, gives={"to stage": 1, "past": 1}),
            task("stage", n, takes={"to stage": 1}, gives={"late": 1}),
            task("join", n, takes={"late": 1, "past": 1}),
        ),
        (Stream("to stage", 2, 4), Stream("past", past, width, fifo="way past"), Stream("late", late, 4)),
        repeat,
    )


def stages(latency: int) -> Design:
    return design(fork={}, stage={"latency_cycles": latency}, join={})


def normed(n: int, *, past: int, rows: int = 3, cycles: int = 1, name: str = "norm") -> Section:
    """A row of n tokens goes to a sum, which gives one token a row, and past it to where both meet."""
    return Section(
        name,
        (
            task("row", n * rows, gives={"to sum": 1, "past": 1}, cycles=cycles),
            task("sum", n * rows, takes={"to sum": 1}, gives={"scale": sequence((0, n - 1), (1, 1))}, cycles=cycles),
            task("join", n * rows, takes={"scale": sequence((1, 1), (0, n - 1)), "past": 1}, cycles=cycles),
        ),
        (Stream("to sum", 2, 2), Stream("past", past, 2), Stream("scale", 2, 2)),
    )


NORM = design(row={}, sum={}, join={})


def minimal(sizes: FifoSizes) -> dict[str, int]:
    return {fifo.name.rpartition(": ")[2]: fifo.minimal for fifo in sizes.fifos}


def cycles_of(of: Schedule, on: Design) -> int | None:
    """Cycles of a schedule, summed here over its sections; None where it deadlocks."""
    try:
        return sum(section.repeat * run(flatten(section, on)).cycles for section in of.sections)
    except Deadlock:
        return None


def check_proof(sizes: FifoSizes, given: Schedule, on: Design) -> None:
    """The sizes reach the target; one place less of each does what the proof says, and misses it."""
    depths = {fifo.name: fifo.minimal for fifo in sizes.fifos}
    assert cycles_of(given.with_depths(depths), on) == sizes.cycles <= sizes.target_cycles
    assert sizes.schedule == given.with_depths(depths)
    for fifo in sizes.fifos:
        less = {**depths, fifo.name: fifo.minimal - 1}
        if fifo.minimal == fifo.floor:
            assert fifo.proof == FLOOR
            with pytest.raises(archsim.ScheduleError):
                given.with_depths(less)
        else:
            took = cycles_of(given.with_depths(less), on)
            assert fifo.proof == (DEADLOCK if took is None else took)
            assert took is None or took > sizes.target_cycles


@pytest.mark.parametrize("latency, n", [(0, 9), (2, 12), (5, 30), (5, 4), (7, 8)])
def test_a_way_past_a_latency_holds_what_is_under_way(latency: int, n: int) -> None:
    """Token i is given from i on and joined until i + latency + 3; between stage and join it is one cycle less.

    So past holds latency + 3 tokens, late one less, and to stage, from i until i + 2, two; or all n if these are fewer.
    """
    given = schedule(around(n))
    sizes = size_fifos(given, stages(latency))
    assert minimal(sizes) == {"to stage": 2, "way past": min(n, latency + 3), "late": min(n, latency + 2)}
    assert [fifo.peak for fifo in sizes.fifos] == [fifo.minimal for fifo in sizes.fifos]
    assert sizes.cycles == sizes.unbounded_cycles == n + latency + 2
    check_proof(sizes, given, stages(latency))


def test_one_place_less_takes_what_is_counted_by_hand() -> None:
    """With b places each b tokens take as long as the first: 5 cycles past, 4 at late, 2 at to stage.

    Runs: the unbounded one, at its peaks, all at their floors, past there and at 3 and 4 of 5, the others at theirs,
    late there and at 2 and 3 of 4, to stage there, as given, and that with late alone deeper; with past alone, and for
    the proof, all is known by then.
    """
    sizes = size_fifos(schedule(around(12)), stages(2))
    assert sizes.cycles == 16
    assert sizes.fifo("way past").proof == 11 // 4 * 5 + 11 % 4 + 5
    assert sizes.fifo("around: late").proof == 11 // 3 * 4 + 11 % 3 + 5
    assert sizes.fifo("around: to stage").proof == 11 * 2 + 5
    assert sizes.runs == 1 + 1 + 1 + 3 + 1 + 3 + 1 + 1 + 1


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_a_way_past_a_sum_holds_a_row_and_what_is_under_way(n: int) -> None:
    """The join needs the sum, and that all n tokens of the row; two more come while the first is summed and joined.

    Below n it deadlocks; each place less than n + 2 makes each row but the last a cycle late.
    """
    for past in (1, n, 5 * n):
        given = schedule(normed(n, past=past))
        sizes = size_fifos(given, NORM)
        assert minimal(sizes) == {"to sum": 2, "past": n + 2, "scale": 1}
        assert sizes.cycles == 3 * n + n + 1
        assert sizes.fifo("norm: past").proof == sizes.cycles + 2
        check_proof(sizes, given, NORM)


@pytest.mark.parametrize("slack, past", [(0, 6), (1, 6), (2, 5), (3, 5), (4, 4), (5, 4)])
def test_a_number_of_cycles_that_leaves_some_needs_fewer_places(slack: int, past: int) -> None:
    """Rows of four, three of them: a place less costs two cycles, and below four there is no row."""
    given = schedule(normed(4, past=9))
    sizes = size_fifos(given, NORM, target=17 + slack)
    assert minimal(sizes) == {"to sum": 2, "past": past, "scale": 1}
    assert sizes.fifo("norm: past").proof == (DEADLOCK if past == 4 else 17 + 2 * (7 - past))
    assert (sizes.target_cycles, sizes.unbounded_cycles) == (17 + slack, 17)
    check_proof(sizes, given, NORM)


def test_no_depths_below_the_minimal_ones_reach_the_target() -> None:
    """All depths up to the peaks tried: those that reach it are nowhere below."""
    for target in (7, 8, 9, 11):
        given = schedule(normed(2, past=9, rows=2))
        sizes = size_fifos(given, NORM, target=target)
        reach = []
        for depths in product(range(1, 4), range(1, 6), range(1, 3)):
            took = cycles_of(given.with_depths(dict(zip(given.fifos(), depths, strict=True))), NORM)
            if took is not None and took <= target:
                reach.append(depths)
        found = tuple(fifo.minimal for fifo in sizes.fifos)
        assert found in reach
        assert not [d for d in reach if d != found and all(a <= b for a, b in zip(d, found, strict=True))]
        assert sum(found) == min(map(sum, reach))


def test_places_taken_for_no_time_are_needed_too() -> None:
    """With firings of zero cycles no place is taken for any time, and yet the sum waits for a whole row."""
    given = schedule(normed(5, past=1, cycles=0))
    sizes = size_fifos(given, NORM)
    assert sizes.fifo("norm: past").peak == 0
    assert minimal(sizes) == {"to sum": 1, "past": 5, "scale": 1}
    assert (sizes.cycles_now, sizes.cycles) == (None, 0)


def test_a_floor_is_what_a_firing_moves_or_what_lies_there_first() -> None:
    tasks = (task("a", 4, gives={"s": 3}), task("b", 3, takes={"s": 4, "t": 0}, gives={"t": 0}))
    given = schedule(Section("rates", tasks, (Stream("s", 9), Stream("t", 9, initial=3))))
    sizes = size_fifos(given, design(a={}, b={}))
    assert [fifo.floor for fifo in sizes.fifos] == [4, 3]
    assert sizes.fifo("rates: t").proof == FLOOR
    check_proof(sizes, given, design(a={}, b={}))


def test_one_queue_of_several_streams_has_one_depth_and_sections_count_as_often_as_they_repeat() -> None:
    """The longer latency decides; each section is run again only where its own depths change."""
    given = schedule(around(12), around(4, name="again", past=1, width=6, repeat=3))
    sizes = size_fifos(given, stages(5))
    past = sizes.fifo("way past")
    assert [stream.depth for stream in past.streams] == [2, 1]
    assert (past.depth, past.minimal, past.peak, past.short, past.bytes_per_token) == (2, 8, 8, True, 6)
    assert minimal(replace(sizes, fifos=sizes.fifos[:3])) == {"to stage": 2, "way past": 8, "late": 7}
    assert sizes.fifo("again: late").minimal == 4
    assert sizes.cycles == (12 + 7) + 3 * (4 + 7)
    check_proof(sizes, given, stages(5))
    runs = DepthTrials(given, stages(5), "auto", lambda _: None)
    for depths, count in (({}, 2), ({}, 2), ({"again: late": 3}, 3), ({"way past": 5}, 5), ({"way past": 5}, 5)):
        runs.cycles(depths)
        assert runs.count == count
    assert runs.firings == 3 * (12 + 4 + 4 + 12 + 4)


def test_a_queue_whose_streams_are_given_different_depths_gets_one() -> None:
    """Alone, the queue of 9 places is 9 deep for both, although fewer do where cycles are to spare."""
    given = schedule(around(12, past=9, late=9), around(12, name="again", past=1, late=9))
    spare = size_fifos(given, stages(5), target=56)
    past = spare.fifo("way past")
    assert (past.depth, past.short) == (9, True)
    assert past.minimal < 8
    assert past.alone_cycles == cycles_of(given.with_depths({"way past": 9}), stages(5))
    assert past.alone_cycles < cycles_of(given.with_depths({"way past": past.minimal}), stages(5))
    assert "way past: depth 1-9 now" in str(spare)
    assert spare.fifo("around: to stage").alone_cycles is None


def test_what_holds_the_schedule_back_is_named_with_what_it_would_save() -> None:
    """Four places past a row of four cost two cycles a row, of which the last pays nothing."""
    sizes = size_fifos(schedule(normed(4, past=4)), NORM)
    (held,) = sizes.held_back_by
    assert (held.name, held.alone_cycles, sizes.cycles_now, sizes.saved(held)) == ("norm: past", 17, 21, 4)
    assert "held back   by norm: past: depth 4 now, 6 needed; alone it would save 4 cycles (19.0% of " in str(sizes)
    assert "as given    21 cycles (21.0 us), 23.5% over the target" in str(sizes)
    assert not size_fifos(schedule(normed(4, past=6)), NORM).held_back_by

    slack = size_fifos(schedule(normed(4, past=4)), NORM, target=19)
    assert [fifo.alone_cycles for fifo in slack.held_back_by] == [19]
    assert "target      19 cycles (19.0 us)\n" in str(slack)
    assert "21 cycles (21.0 us), 10.5% over the target" in str(slack)
    row = next(line for line in str(slack).splitlines() if line.startswith("norm: past"))
    assert row.split()[-1] == "+2"  # 21 with one place less, not the 17 of unlimited queues


def test_what_saves_most_stands_first() -> None:
    sizes = size_fifos(schedule(normed(4, past=5, name="a"), normed(4, past=4, name="b", rows=4)), NORM)
    assert [(f.name, sizes.saved(f)) for f in sizes.held_back_by] == [("b: past", 6), ("a: past", 2)]
    lines = str(sizes).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("queue"))
    assert [line.partition("  ")[0] for line in lines[start + 1 : start + 4]] == ["b: past", "a: past", "a: to sum"]
    slower = replace(sizes.fifo("a: past"), alone_cycles=10**6)
    assert sizes.saved(slower) == 0


def relayed(a: int, b: int, *, n: int = 4, widths: tuple[int, int] = (3, 8), host: bool = False) -> Schedule:
    """n tokens are made, and only then `go` lets the sink take them: the two queues hold n together.

    Of four, each holds two for full rate, 9 cycles; with one place in either it takes 12.
    """
    sink = task("sink", n, takes={"b": 1, "start": sequence((1, 1), (0, n - 1))})
    if host:
        sink = replace(sink, work=every(work("matmul", m=1, k=1, n=1)))
    made = (replace(task("make", n, gives={"a": 1}), unit="u"), replace(task("go", 1, gives={"start": 1}), unit="u"))
    tasks = (*made, task("relay", n, takes={"a": 1}, gives={"b": 1}), sink)
    streams = (Stream("a", a, widths[0]), Stream("b", b, widths[1]), Stream("start", 1))
    return schedule(Section("relay", tasks, streams))


def test_a_schedule_that_reaches_its_target_is_held_back_by_nothing() -> None:
    """Not even where another split of the places, here the one that takes fewer bytes, would make it faster."""
    on = design(u={}, relay={}, sink={})
    given = relayed(3, 1)
    sizes = size_fifos(given, on, target=12)
    assert minimal(sizes) == {"a": 2, "b": 2, "start": 1}
    assert (sizes.cycles_now, sizes.cycles, sizes.unbounded_cycles) == (12, 9, 9)
    assert sizes.saved(sizes.fifo("relay: b")) == 3
    assert not sizes.held_back_by
    assert "held back   by no queue: the target is reached" in str(sizes)
    check_proof(sizes, given, on)


def test_cycles_to_spare_are_spent_from_full_rate_on_where_that_saves_more() -> None:
    """From the peaks, b would be tried first, as it saves 2 x 4 bytes against 5, and leave a its two places."""
    given = relayed(3, 3, n=3, widths=(5, 4))
    on = design(u={}, relay={}, sink={})
    full = size_fifos(given, on)
    sizes = size_fifos(given, on, target=full.cycles + 2)
    assert minimal(full) == {"a": 2, "b": 2, "start": 1}
    assert minimal(sizes) == {"a": 1, "b": 2, "start": 1}
    check_proof(sizes, given, on)


def test_a_queue_at_the_host_takes_nothing_of_the_part() -> None:
    """So the other is as shallow as can be, however wide the host's."""
    host = {"kind": "host", "measured_macs": 1, "measured_time": "1 us"}
    plain = {"kind": "vector", "ops": [], "lanes": 1}
    on = TOY.with_({"units": {"u": plain, "relay": plain, "sink": host}})
    sizes = size_fifos(relayed(2, 2, host=True), on, target=12)
    assert minimal(sizes) == {"a": 1, "b": 3, "start": 1}
    assert [fifo.at_host for fifo in sizes.fifos] == [False, True, True]
    assert (sizes.bytes_now, sizes.bytes) == (6, 3)


def test_where_units_serve_first_come_a_queue_may_shrink_again_once_others_have() -> None:
    """With two places in first, each needs three for full rate; with one, which is tried later, two are enough."""
    on = design(u={"arbitration": "first_come", "latency_cycles": 1})
    tasks = (
        task("a", 3, gives={"first": sequence((1, 1), (0, 2)), "each": 1}),
        task("b", 1, takes={"first": 1}),
        task("c", 1),
        task("d", 3, takes={"each": 1}),
        task("e", 1),
    )
    streams = (Stream("first", 1, 1, initial=1), Stream("each", 1, 1))
    given = schedule(Section("one unit", tuple(replace(t, unit="u") for t in tasks), streams))
    names = tuple(given.fifos())
    took = {d: cycles_of(given.with_depths(dict(zip(names, d, strict=True))), on) for d in product((1, 2), (2, 3))}
    assert took == {(1, 2): 9, (1, 3): 9, (2, 2): 10, (2, 3): 9}
    sizes = size_fifos(given, on)
    assert minimal(sizes) == {"first": 1, "each": 2}
    assert sizes.first_come == ("u",)
    check_proof(sizes, given, on)
    # A unit with one task has nothing to choose.
    assert not size_fifos(
        schedule(normed(4, past=4)), design(row={"arbitration": "first_come"}, sum={}, join={})
    ).first_come


def test_a_deadlock_is_ended_by_one_queue_or_only_by_several() -> None:
    sizes = size_fifos(schedule(normed(4, past=3)), NORM)
    assert sizes.cycles_now is None
    assert "as given    deadlock" in str(sizes)
    assert "by norm: past: depth 3 now, 6 needed; alone it ends the deadlock, at 17 cycles" in str(sizes)

    both = {"s": 1, "t": 2}
    streams = (Stream("s", 1, initial=1), Stream("t", 3, initial=2))
    given = schedule(Section("sums", (task("a", 2, takes=both, gives=both),), streams))  # type: ignore[arg-type]
    sizes = size_fifos(given, design(a={}))
    assert minimal(sizes) == {"s": 2, "t": 4}
    assert [fifo.proof for fifo in sizes.fifos] == [DEADLOCK, DEADLOCK]
    assert not sizes.held_back_by
    assert "by several queues, none of which helps alone: sums: s 1 to 2, sums: t 3 to 4" in str(sizes)
    check_proof(sizes, given, design(a={}))


def test_what_no_depth_frees_is_a_deadlock() -> None:
    crossed = Section(
        "crossed",
        (
            Task("a", "u", 1, every(work("copy", d=1)), {"s": every(1)}),
            Task("b", "u", 1, every(work("copy", d=1)), {}, {"s": every(1)}),
        ),
        (Stream("s", 1),),
    )
    with pytest.raises(Deadlock, match="waits for its turn"):
        size_fifos(schedule(crossed), design(u={}))


@pytest.mark.parametrize(
    "target, said",
    [
        ("fast", "target: expected 'full rate', a number of cycles such as 300000, or a rate of tokens such as "
                 "'25 token/s', got 'fast'"),
        (0, "target: expected 'full rate', a number of cycles such as 300000, or a rate of tokens such as "
            "'25 token/s', got 0"),
        (True, "target: expected 'full rate', a number of cycles such as 300000, or a rate of tokens such as "
               "'25 token/s', got true"),
        ("25 tok/s", "target: unknown unit 'tok' in '25 tok/s'; known units: s, Hz, bit, B, W, J, cycle, MAC, FLOP, "
                     "OP, token, mm^2 with the usual prefixes; a target is 'full rate', a number of cycles such as "
                     "300000, or a rate of tokens such as '25 token/s'"),
        ("25 MHz", "target: expected a rate of tokens such as '25 token/s', got '25 MHz'; a target is 'full rate', a "
                   "number of cycles such as 300000, or a rate of tokens such as '25 token/s'"),
        ("25 token/s", "target: graph 'hand' makes no tokens, got '25 token/s'; give a number of cycles"),
        (16, "target: 16 cycles is out of reach of any depths known: the fastest run takes 17 cycles"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_is_told_with_what_can(target: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        size_fifos(schedule(normed(4, past=4)), NORM, target=target)
    assert str(raised.value) == said


def test_a_rate_is_reached_by_the_cycles_that_it_leaves() -> None:
    """One token in 726 cycles of a microsecond: 1377.41 in a second."""
    given = mappers.lower(dataflow.decode(TOY_LLM, context=3), TOY)
    assert size_fifos(given, TOY, target="1377.4 token/s").target_cycles == 726
    assert size_fifos(given, TOY, target="1 ktoken/s").target_cycles == 1000
    with pytest.raises(InputError, match=r"target: .* is out of reach .* takes 726 cycles"):
        size_fifos(given, TOY, target="1377.42 token/s")


def test_engine_and_progress() -> None:
    told: list[str] = []
    sizes = size_fifos(schedule(normed(4, past=4)), NORM, engine="simpy", progress=told.append)
    assert len(told) == sizes.runs
    assert told[-1] == f"sections run: {sizes.runs}, firings: {sizes.firings:,}"
    assert sizes.firings == sizes.runs * 36
    with pytest.raises(InputError, match="unknown engine 'fast'"):
        size_fifos(schedule(normed(4, past=4)), NORM, engine="fast")


def test_bytes_and_unlimited_queues() -> None:
    """Two bytes a token: 2 + 4 + 2 places now, 2 + 6 + 1 needed."""
    sizes = size_fifos(schedule(normed(4, past=4)), NORM)
    assert (sizes.bytes_now, sizes.bytes) == (16, 18)
    assert (sizes.budget, sizes.memory, sizes.memory_now) == (None, None, None)
    unlimited = size_fifos(schedule(normed(4, past=UNLIMITED)), NORM)
    assert (unlimited.bytes_now, unlimited.bytes, unlimited.cycles_now) == (None, 18, 17)
    assert unlimited.as_json()["fifos"]["norm: past"]["depth_now"] is None
    assert "as given no limit" in str(unlimited)
    assert " inf " in str(unlimited)


def test_the_table_as_text_and_html() -> None:
    sizes = size_fifos(schedule(normed(4, past=4)), NORM)
    lines = str(sizes).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("queue"))
    assert [line.split() for line in lines[start : start + 4]] == [
        ["queue", "now", "minimal", "peak", "B", "now", "B", "minimal", "saves", "alone", "with", "one", "less"],
        ["norm:", "past", "4", "6", "6", "8", "12", "4", "+2"],
        ["norm:", "to", "sum", "2", "2", "2", "4", "4", "+11"],
        ["norm:", "scale", "2", "1", "1", "4", "2", "refused"],
    ]
    assert lines[start + 4 :] == LEGEND.splitlines()
    assert max(map(len, lines)) <= 120
    html = sizes._repr_html_()
    assert html.count("<tr>") == 4
    assert "<td>norm: past</td><td>4</td><td>6</td>" in html
    assert "not proven" not in str(sizes)


def test_json_says_what_the_answer_holds() -> None:
    data = size_fifos(schedule(normed(4, past=3)), NORM).as_json()
    assert (data["target"], data["target_cycles"], data["cycles_now"], data["cycles"]) == ("full rate", 17, None, 17)
    assert data["held_back_by"] == ["norm: past"]
    assert data["fifos"]["norm: past"] == {
        "streams": ["past"], "depth_now": 3, "minimal": 6, "floor": 1, "peak": 6, "bytes_per_token": 2,
        "one_place_less": 19, "alone_cycles": 17, "at_host": False, "memory_now": None, "memory": None,
        "setting": None,
    }  # fmt: skip


STREAMS = load_design("streaming_machine")


def attention(form: str, *, rows: int, keys: int, latency: int, long: int) -> tuple[Schedule, Design]:
    """One head on the streaming machine, every node with this latency until its output is visible."""
    slow = {f"units.{name}.latency_cycles": latency - 1 for name in STREAMS.units}
    on = STREAMS.with_({**slow, "fifos.long": long, "fifos.short": latency + 1})
    graph = dataflow.attention(queries=rows, keys=keys, heads=1, head_dim=4, causal=False)
    return mappers.lower(graph, on, form=form), on


@pytest.mark.parametrize("rows, keys, latency", [(16, 16, 1), (8, 32, 1), (5, 12, 3)])
def test_streaming_attention_needs_the_published_depths(rows: int, keys: int, latency: int) -> None:
    """A long FIFO of N + 2 L for a row of N keys, short ones of L + 1 at most; arXiv 2404.16629 and what follows."""
    for long in (keys - 1, keys, keys + 2 * latency):
        given, on = attention("naive", rows=rows, keys=keys, latency=latency, long=long)
        sizes = size_fifos(given, on)
        deepest = max(sizes.fifos, key=lambda fifo: fifo.minimal)
        assert sizes.cycles == rows * keys + keys + 5 * latency - 1
        assert (deepest.minimal, deepest.proof) == (keys + 2 * latency, sizes.cycles + rows - 1)
        assert sorted(fifo.minimal for fifo in sizes.fifos)[-2] == latency + 1
        late = (rows - 1) * (keys + 2 * latency - long)
        assert sizes.cycles_now == (None if long < keys else sizes.cycles + late)
        assert sizes.held_back_by == ((deepest,) if late else ())
    given, on = attention("memory_free", rows=rows, keys=keys, latency=latency, long=1)
    sizes = size_fifos(given, on)
    assert sizes.cycles == rows * keys + 4 * latency
    assert max(fifo.minimal for fifo in sizes.fifos) == latency + 1


TELLME, BITNET = load_design("tellme_kv260"), load_model("bitnet_b158_large")


@cache
def decoding() -> tuple[Schedule, FifoSizes]:
    given = mappers.lower(dataflow.decode(BITNET, context=64), TELLME)
    return given, size_fifos(given, TELLME)


def test_the_table_lookup_accelerator_is_held_back_by_its_int8_fifo() -> None:
    """The one that its authors give 16 elements: alone it brings all that unlimited queues would."""
    given, sizes = decoding()
    assert [fifo.name for fifo in sizes.held_back_by] == ["int8"]
    assert sizes.fifo("int8").depth == 8
    assert sizes.fifo("int8").alone_cycles == sizes.unbounded_cycles == sizes.cycles
    assert archsim.simulate(given, TELLME).cycles == sizes.cycles_now
    assert 0.02 < 1 - sizes.cycles / sizes.cycles_now < 0.03
    assert sizes.first_come == ("ddr",)
    check_proof(sizes, given, TELLME)


def test_queues_of_the_table_lookup_accelerator_bear_the_names_of_its_links() -> None:
    fifos = decoding()[0].fifos()
    assert set(TELLME.links) <= set(fifos)
    assert {name: len(fifos[name]) for name in ("input", "operand", "reader requests", "norm rows in")} == {
        "input": 7, "operand": 5, "reader requests": 7, "norm rows in": 5,
    }  # fmt: skip
    alone = [name for name, streams in fifos.items() if name == f"layers: {streams[0].name}"]
    assert all(stream.bytes_per_token == 0 for name in alone for stream in fifos[name])


def test_what_its_queues_take_of_the_part() -> None:
    """The int8 FIFO: 16 bit a token of two elements. A burst of 512 byte is 11 words of the widest link's 384 bit."""
    _, sizes = decoding()
    int8, rows, host = (sizes.fifo(name) for name in ("int8", "norm rows in", "host weights"))
    assert int8.memory_now == FifoMemory(lut=16)
    assert int8.memory == FifoMemory(lut=16 * -(-int8.minimal // 32))
    assert rows.memory_now == FifoMemory(0, rows.memory_now.bram36)
    assert float(rows.memory_now.bram36) == 5.5
    assert (host.at_host, host.memory) == (True, None)
    inside = [fifo for fifo in sizes.fifos if not fifo.at_host]
    assert sizes.memory == sum((fifo.memory for fifo in inside), FifoMemory())
    assert sizes.memory_now == sum((fifo.memory_now for fifo in inside), FifoMemory())
    assert sizes.bytes == sum(fifo.minimal * fifo.bytes_per_token for fifo in inside)
    assert sizes.budget == {"lut": 117_120, "bram36": 144}
    assert "of 117,120 lut and" in str(sizes)
    assert "22-32" in str(sizes)
    assert "at the host" in str(sizes)
    assert "first come, first served at" in str(sizes)
    assert "signals of one place" in str(sizes)
