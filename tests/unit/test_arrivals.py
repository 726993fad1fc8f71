"""Arrivals at given times, counted by hand: load, waits and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from archsim import Design, DesignError, MappingError, ScheduleError, load_design, simulate, size_fifos
from archsim.engine import ENGINES, run
from archsim.engine.flat import flatten
from archsim.engine.memo import Memo
from archsim.fifos.depths import FLOOR
from dataflow import UNLIMITED, Graph, Schedule, Section, Stream, Task, every, sequence, work

SERVER = {"kind": "vector", "ops": [], "lanes": 1}


def design(**arrivals: Any) -> Design:
    return load_design("toy").with_({"units": {"door": {"kind": "arrivals", **arrivals}, "server": SERVER}})


def section(on: Design, n: int, cycles: int, depth: int = UNLIMITED) -> Section:
    arrive = Task("arrive", "door", n, on.units["door"].works(n), gives={"queue": every(1)})
    serve = Task("serve", "server", n, every(work("copy", d=cycles)), takes={"queue": every(1)})
    return Section("x", (arrive, serve), (Stream("queue", depth),))


@pytest.mark.parametrize("engine", [*ENGINES, "recurrence"])
def test_requests_wait_for_a_server_that_is_busy(engine: str) -> None:
    """At 3, 10, 11 and 40, served for 5 cycles each: until 8, 15, 20 and 45; two are in the queue from 11 to 15."""
    on = design(times=[3, 10, 11, 40])
    found = run(flatten(section(on, 4, 5), on), engine=engine)
    assert found.cycles == found.tasks["serve"].end_cycle == 45
    assert (found.tasks["arrive"].start_cycle, found.tasks["arrive"].end_cycle) == (0, 40)
    assert found.units["server"].stalls == {("starved", "queue"): 3 + 2 + 0 + 20}
    # The place of a firing is taken from its start: 40 comes with the one before it under way.
    assert found.streams["queue"].peak == 3


@pytest.mark.parametrize("engine", [*ENGINES, "recurrence"])
@pytest.mark.parametrize(("cycles", "ends"), [(20, 330 + 20), (33, 330 + 33), (50, 33 + 500)])
def test_frames_at_an_interval(engine: str, cycles: int, ends: int) -> None:
    """Ten frames every 33 us, from 33 on: a server that is faster keeps pace, a slower one falls behind."""
    on = design(times="33 us")
    assert run(flatten(section(on, 10, cycles), on), engine=engine).cycles == ends


def test_what_could_hold_arrivals_up_is_refused() -> None:
    on = design(times=3)
    one = section(on, 4, 1)
    assert run(flatten(section(on, 4, 1, depth=4), on)).cycles == 13
    with pytest.raises(ScheduleError, match=r"gives 4 tokens to 'queue', which has room for 3$"):
        flatten(section(on, 4, 1, depth=3), on)
    late = replace(one.tasks[0], takes={"back": every(1)})
    answer = replace(one.tasks[1], gives={"back": every(1)})
    with pytest.raises(ScheduleError, match="takes from 'back'; it may wait for nothing"):
        flatten(Section("x", (late, answer), (*one.streams, Stream("back", 4, initial=1))), on)
    second = Task("second", "door", 1, every(work("arrive", number=1)))
    with pytest.raises(ScheduleError, match=r"task 'second' on 'door', .* shares it; give each task a unit of its own"):
        flatten(Section("x", (*one.tasks, second), one.streams), on)


def test_times_that_are_none() -> None:
    for times in ([], [1, 3, 2]):
        with pytest.raises(DesignError, match=r"units.door.times: expected an interval, or times of which none is"):
            design(times=times)
    for times in ("soon", [1, "soon"], None):
        with pytest.raises(DesignError, match=r"units.door.times(.1)?: expected"):
            design(times=times)
    on = design(times=[1, 3])
    with pytest.raises(MappingError, match=r"arrival 3 is asked for, and there are times for 2; ways out: more times"):
        on.units["door"].works(3)
    for n in (0, -1, 1.5, "two", None, True):
        with pytest.raises(MappingError, match="a number of arrivals, 1 or more, is expected, got"):
            on.units["door"].works(n)
    with pytest.raises(DesignError, match=r"latency_cycles: arrivals come at their times, without a latency"):
        design(times=1, latency_cycles=2)
    with pytest.raises(ScheduleError, match="has 2 servers; give the unit a count of 1"):
        flatten(section(on, 2, 1), design(times=[1, 3], count=2))


def test_arrivals_come_in_turn() -> None:
    on = design(times=[3, 5, 9])
    given = section(on, 3, 1)
    for numbers in ((2, 3, 1), (3, 3, 3)):
        other = sequence(*((work("arrive", number=n), 1) for n in numbers))
        tasks = (replace(given.tasks[0], work=other), given.tasks[1])
        with pytest.raises(ScheduleError, match=r"does not take them in turn; its work is that of the unit's works"):
            flatten(Section("x", tasks, given.streams), on)


def test_what_follows_a_step_is_held_to_it_too() -> None:
    """The second section differs in the arrivals alone, and its queue has no room for the fourth."""
    on = design(times=[3, 5, 9, 11])
    memo, short, long = Memo(), section(on, 3, 1, depth=3), section(on, 4, 1, depth=3)
    flatten(short, on, memo)
    with pytest.raises(ScheduleError, match="gives 4 tokens to 'queue', which has room for 3"):
        flatten(short.with_tasks({task.name: task for task in long.tasks}), on, memo)


def test_no_queue_of_arrivals_is_shrunk_below_what_arrives() -> None:
    on = design(times=[3, 5, 9])
    sizes = size_fifos(Schedule(Graph("hand"), "toy", "hand", (section(on, 3, 4, depth=5),)), on)
    assert [(fifo.minimal, fifo.proof) for fifo in sizes.fifos] == [(3, FLOOR)]
    assert simulate(sizes.schedule, on).cycles == sizes.cycles == 15
