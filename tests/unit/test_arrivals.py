"""Arrivals at given times, counted by hand: load, waits and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from archsim import Design, DesignError, MappingError, ScheduleError, load_design
from archsim.engine import ENGINES, run
from archsim.engine.flat import flatten
from dataflow import UNLIMITED, Section, Stream, Task, every, work

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
    with pytest.raises(ScheduleError, match=r"task 'second' on 'door', .* is not alone on one server"):
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
        flatten(section(on, 3, 1), on)
