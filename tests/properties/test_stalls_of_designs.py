"""Stalls by cause over every shipped design and phase: they are all of the time, and the same on both engines."""

import pytest
from shipped_runs import CASES, RUNS, network

import archsim
import mappers
from archsim.explain.stalls import BUSY, Cause, stalls
from archsim.files.data_folder import shipped
from dataflow.models.phases import graph_of, phase_named


def test_no_design_is_left_out() -> None:
    assert set(RUNS) == set(shipped())


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_the_causes_are_all_of_the_time_and_the_same_on_both_engines(name: str, phase: str) -> None:
    on, (model, phases) = archsim.load_design(name), RUNS[name]
    schedule = mappers.lower(graph_of(phase_named(phase, phases[phase]), network(model)), on)
    found = stalls(schedule, on, engine="compiled")
    report = archsim.simulate(schedule, on)
    assert found.cycles == report.cycles
    for unit, causes in found.units.items():
        told = report.units[unit]
        assert sum(causes.values()) == told.count * found.cycles
        assert causes.get(Cause(BUSY), 0) == told.busy_cycles
        assert min(causes.values()) > 0
    assert stalls(schedule, on, engine="simpy") == found
