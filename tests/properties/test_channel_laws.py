"""Laws of bounded channels between nodes, in closed form and to the cycle: full rate, back-pressure, forks that meet.

L_send is the latency of the node that sends, from the start of a firing to the visible token; L_response the cycles for
which the receiver holds the place, its interval. Source: DAM (ISCA 2024), section on time-carrying channels; derived.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import pytest

from archsim import Deadlock, Design, Report, load_design, simulate
from dataflow import Graph, Schedule, Section, Stream, Task, every, sequence, work

TOY = load_design("toy")
KINDS = ["source", "map", "zip", "repeat", "broadcast", "reduce", "sink"]


def nodes(**units: tuple[int, int]) -> Design:
    """A design of nodes by name: (interval, latency L), the latency counted from the start of a firing."""
    return TOY.with_({
        "units": {
            name: {"kind": "node", "ops": KINDS, "interval_cycles": interval, "latency_cycles": latency - interval}
            for name, (interval, latency) in units.items()
        }
    })  # fmt: skip


def node(name: str, kind: str, n: int, takes: Sequence[str] = (), gives: Sequence[str] = ()) -> Task:
    """A task on the node of its own name that takes and gives a token of each stream in each of n firings."""
    one = every(1)
    return Task(name, name, n, every(work(kind, mac=0, exp=0, flop=0)), dict.fromkeys(takes, one),
                dict.fromkeys(gives, one))  # fmt: skip


def run(design: Design, tasks: Sequence[Task], **depths: int) -> Report:
    streams = tuple(Stream(name, depth) for name, depth in depths.items())
    section = Section("hand", tuple(tasks), streams)
    return simulate(Schedule(Graph("hand"), design.name, "by hand", (section,)), design)


def pair(n: int, depth: int, *, send: int, response: int = 1) -> int:
    """Cycles of n tokens through one channel."""
    design = nodes(a=(1, send), b=(response, response))
    return run(design, (node("a", "source", n, gives=["s"]), node("b", "sink", n, takes=["s"])), s=depth).cycles


@pytest.mark.parametrize("send", [1, 2, 3, 6])
@pytest.mark.parametrize("depth", range(1, 9))
def test_the_interval_of_a_channel(send: int, depth: int) -> None:
    """(L_send + L_response) / depth cycles a token, at least one; exact over whole rounds of the channel."""
    turn = send + 1
    more = turn * depth // gcd(turn, depth)
    assert (pair(5 * more, depth, send=send) - pair(4 * more, depth, send=send)) * depth == more * max(depth, turn)


@pytest.mark.parametrize("send", [1, 4])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_full_rate_needs_both_latencies_and_no_more(send: int, n: int) -> None:
    """n tokens, the last visible L_send after its start and used for a cycle: n + L_send."""
    assert pair(n, send + 1, send=send) == n + send
    assert pair(n, 100, send=send) == n + send
    if n > send:
        assert pair(n, send, send=send) > n + send


def test_two_places_are_the_least_for_full_rate_with_unit_latencies() -> None:
    assert [pair(10, depth, send=1) for depth in (1, 2, 3)] == [20, 11, 11]


@pytest.mark.parametrize("times, tiles, cycles", [((10, 30, 20), 50, 1530), ((7,), 3, 21), ((5, 5, 5), 4, 30)])
def test_a_coarse_pipeline_goes_at_its_slowest_stage(times: Sequence[int], tiles: int, cycles: int) -> None:
    """sum t + (T - 1) max t, with two places between stages and hand-shakes that take no time."""
    assert cycles == sum(times) + (tiles - 1) * max(times)
    names = [f"stage{i}" for i in range(len(times))]
    design = nodes(**{name: (t, t) for name, t in zip(names, times, strict=True)})
    tasks = [
        node(name, "map", tiles, takes=[f"s{i}"] if i else [], gives=[f"s{i + 1}"] if i + 1 < len(names) else [])
        for i, name in enumerate(names)
    ]
    depths = {f"s{i}": 2 for i in range(1, len(names))}
    assert run(design, tasks, **depths).cycles == cycles
    if len(set(times)) > 1:
        assert run(design, tasks, **dict.fromkeys(depths, 1)).cycles > cycles


@pytest.mark.parametrize("interval", [1, 2, 3, 7])
@pytest.mark.parametrize("depth", [2, 3, 10])
def test_a_slow_sink_sets_the_pace_of_all_before_it(interval: int, depth: int) -> None:
    """n k + 3: the first token reaches the sink after three nodes, and from then on it never waits."""
    design = nodes(a=(1, 1), b=(1, 1), c=(1, 1), sink=(interval, interval))

    def cycles(n: int) -> int:
        tasks = (
            node("a", "source", n, gives=["ab"]), node("b", "map", n, ["ab"], ["bc"]),
            node("c", "map", n, ["bc"], ["cs"]), node("sink", "sink", n, ["cs"]),
        )  # fmt: skip
        report = run(design, tasks, ab=depth, bc=depth, cs=depth)
        assert report.units["sink"].busy_cycles == n * interval
        return report.cycles

    assert [cycles(n) for n in (1, 10, 40, 41)] == [n * interval + 3 for n in (1, 10, 40, 41)]


@pytest.mark.parametrize("send", [1, 3])
@pytest.mark.parametrize("through", [1, 2, 5, 12])
def test_paths_that_meet_again_need_the_longer_ones_latency_in_the_shorter(send: int, through: int) -> None:
    """Full rate if and only if b >= D + L_send + L_response: a token taken from the fork is D longer on its way."""
    n = 40
    design = nodes(fork=(1, send), path=(1, through), join=(1, 1))

    def cycles(depth: int) -> int:
        tasks = (
            node("fork", "broadcast", n, gives=["there", "past"]),
            node("path", "map", n, ["there"], ["back"]),
            node("join", "zip", n, ["back", "past"]),
        )
        return run(design, tasks, there=send + 1, back=through + 1, past=depth).cycles

    full = n + send + through
    assert cycles(through + send + 1) == cycles(10 * n) == full
    assert cycles(through + send) > full


def test_a_row_past_its_own_sum_is_a_deadlock_and_no_slowdown() -> None:
    n, rows = 6, 3
    design = nodes(fork=(1, 1), sum=(1, 1), join=(1, 1))
    first, last = sequence((1, 1), (0, n - 1)), sequence((0, n - 1), (1, 1))
    step = every(work("map", mac=0, exp=0, flop=0))

    def cycles(depth: int) -> int:
        tasks = (
            Task("fork", "fork", n * rows, step, {}, {"to": every(1), "past": every(1)}),
            Task("sum", "sum", n * rows, step, {"to": every(1)}, {"total": last}),
            Task("join", "join", n * rows, step, {"total": first, "past": every(1)}, {}),
        )
        return run(design, tasks, to=2, past=depth, total=1).cycles

    with pytest.raises(Deadlock) as raised:
        cycles(n - 1)
    assert "'past'" in str(raised.value)
    assert cycles(n) > cycles(n + 2)
    assert cycles(n + 2) == cycles(100) == n * rows + n + 1


def test_a_broadcast_fires_only_when_all_have_room_and_a_repeat_gives_a_scalar_n_times() -> None:
    """One slow reader holds back the other; the repeat takes one token and gives four, a cycle each."""
    design = nodes(a=(1, 1), fast=(1, 1), slow=(3, 3))
    tasks = (
        node("a", "broadcast", 8, gives=["f", "s"]), node("fast", "sink", 8, ["f"]), node("slow", "sink", 8, ["s"])
    )  # fmt: skip
    report = run(design, tasks, f=8, s=1)
    assert report.cycles == 8 * (3 + 1)
    assert report.peaks["hand: f"][0] == 1
    design = nodes(a=(1, 1), b=(1, 1), c=(1, 1))
    copy = every(work("repeat", mac=0, exp=0, flop=0))
    again = Task("b", "b", 12, copy, {"x": sequence((1, 1), (0, 3))}, {"y": every(1)})
    report = run(design, (node("a", "source", 3, gives=["x"]), again, node("c", "sink", 12, ["y"])), x=1, y=2)
    assert report.cycles == 1 + 12 + 1


@pytest.mark.parametrize("stride, cycles", [(1, 1), (2, 2), (4, 4), (5, 1), (8, 8), (12, 4), (16, 16)])
def test_a_stride_through_banks_sets_the_pace(stride: int, cycles: int) -> None:
    """gcd(s, 16) cycles a vector; a write of stride 1 through the other port goes on at the same time."""
    design = TOY.with_({"units": {
        "pmu": {
            "kind": "memory_tile", "count": 2, "capacity": "1 KiB", "banks": 16, "lanes": 16, "element_bits": "32 bit",
        },
        "pcu": {"kind": "node", "ops": KINDS, "interval_cycles": 1, "latency_cycles": 0},
    }})  # fmt: skip
    n = 20
    tasks = (
        Task("read", "pmu", n, every(work("load", vectors=1, stride=stride)), {}, {"in": every(1)}),
        Task("add", "pcu", n, every(work("map", mac=0, exp=0, flop=16)), {"in": every(1)}, {"out": every(1)}),
        Task("write", "pmu", n, every(work("store", vectors=1, stride=1)), {"out": every(1)}, {}),
    )
    section = Section("hand", tasks, (Stream("in", 2), Stream("out", 2)))
    schedule = Schedule(Graph("hand"), design.name, "by hand", (section,), recomputed={"flop": 16 * n})
    assert simulate(schedule, design).cycles == n * cycles + 2
