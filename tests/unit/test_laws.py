"""Is every law of a run checked? Each is broken once, from outside."""

from dataclasses import replace

import pytest

import archsim
import dataflow
import mappers
from archsim import ScheduleError
from archsim.engine.result import StreamResult
from archsim.run.laws import LawBroken

DESIGN, MODEL = archsim.load_design("toy"), archsim.load_model("toy_llm")
ONE_BYTE = dataflow.every(dataflow.work("read", bytes=1))
SCHEDULE = mappers.lower(dataflow.decode(MODEL, context=3), DESIGN)


def with_tasks(change):
    sections = tuple(replace(s, tasks=tuple(change(t) for t in s.tasks)) for s in SCHEDULE.sections)
    return replace(SCHEDULE, sections=sections)


def test_the_schedule_itself_breaks_none():
    assert archsim.simulate(SCHEDULE, DESIGN).cycles == 726


@pytest.mark.parametrize(
    "schedule, told",
    [
        (replace(SCHEDULE, recomputed={"mac": 1}), "mac: scheduled"),
        (with_tasks(lambda t: replace(t, serves=()) if t.name == "q" else t), "op 'layer0.q' is served by no task"),
        (with_tasks(lambda t: replace(t, work=ONE_BYTE) if t.name == "load v" else t), "weight: .* bytes are read"),
        (with_tasks(lambda t: replace(t, work=ONE_BYTE) if t.name == "load lm_head" else t), "lm_head: 1 bytes"),
        (with_tasks(lambda t: replace(t, work=ONE_BYTE) if t.name == "load attention" else t), "cache: 2 bytes"),
    ],
)
def test_lost_work_and_bytes_are_noticed(schedule, told):
    """A mistake of whoever made the schedule, and no fault of the event model."""
    with pytest.raises(ScheduleError, match=told):
        archsim.simulate(schedule, DESIGN)


def test_a_result_that_does_not_add_up_is_noticed(monkeypatch):
    from archsim.run import schedule_run as runs

    def broken(change):
        original = archsim.engine.run
        monkeypatch.setattr(runs, "run", lambda flat, **how: change(original(flat, **how)))

    broken(lambda r: replace(r, cycles=r.cycles + 1))
    with pytest.raises(LawBroken, match="busy \\+ starved \\+ blocked \\+ idle"):
        runs.run_schedule(SCHEDULE, DESIGN, engine="auto")
    lost = {"given": 1, "taken": 0, "peak": 1}
    broken(lambda r: replace(r, streams={name: StreamResult(**lost) for name in r.streams}))
    with pytest.raises(LawBroken, match="tokens in"):
        archsim.simulate(SCHEDULE, DESIGN)


def test_totals_that_do_not_add_up_are_noticed(monkeypatch):
    from archsim.run.totals import Totals

    units = Totals.units

    def one_cycle_more(totals):
        return {name: replace(unit, idle_cycles=unit.idle_cycles + 1) for name, unit in units(totals).items()}

    monkeypatch.setattr(Totals, "units", one_cycle_more)
    with pytest.raises(LawBroken, match="unit 'ddr': busy \\+ starved \\+ blocked \\+ idle = 727, not 726"):
        archsim.simulate(SCHEDULE, DESIGN)
