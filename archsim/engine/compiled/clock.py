"""Runs a section on the clock kernel, from its beginning or from where it starts to differ from an earlier section."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled import clock_kernel, clock_state
from archsim.engine.compiled.clock_state import State
from archsim.engine.compiled.incremental import EarlierRun, Outcome, changed_tasks, rejoin, restore_before_change
from archsim.engine.compiled.machine_code import tell_if_cold
from archsim.engine.compiled.steady_state import Detectors, make_detectors
from archsim.engine.machine_code_folder import CLOCK
from dataflow.errors import ScheduleError
from kernels.limits import EVENTS_AT_ONCE, beyond

FIRINGS_A_CALL = 500_000  # a fraction of a second: Python hears an interrupt only between two calls of a kernel


def run(
    packed: Arrays, *, skip: bool, patience: int, before: EarlierRun | None, turns: bool
) -> tuple[Outcome, Detectors] | None:
    """The outcome and the detectors with their snapshots; None once `patience` firings were run and it is not done."""
    watched = changed_tasks(packed, before.packed) if before else ()
    tell_if_cold(CLOCK)
    begun = clock_state.begin(packed, turns=turns)
    detectors = make_detectors(begun, on=skip, watched=watched)
    # A restored state has its clients sorted already.
    if not (before and watched and restore_before_change(begun, detectors, before)):
        clock_kernel.sort_clients(begun)
    for state, status in steps(begun, detectors):
        if status == clock_kernel.ENDED:
            return _outcome(packed, state), detectors
        if status == clock_kernel.MAY_REJOIN and before:
            rest = rejoin(packed, state, detectors, before)
            if rest is not None:
                return rest, detectors
        # Skipped firings are not in FIRED: a section that repeats is never given up.
        if state.scalars[clock_state.FIRED] >= patience:
            return None
    raise AssertionError("the last step is the end of the run")


def steps(state: State, detectors: Detectors) -> Iterator[tuple[State, int]]:
    """The state and the kernel's status after each call of the kernel, up to the one that has ended."""
    status = clock_kernel.PAUSED
    while status != clock_kernel.ENDED:
        status = clock_kernel.advance(state, detectors, FIRINGS_A_CALL)
        yield state, status
        # Doubled, so that copying stays linear in the events. Full spans are emptied by whoever reads the states.
        if status == clock_kernel.CROWDED and state.scalars[clock_state.EVENTS] >= len(state.events) - 1:
            told = {"of": "firings and tokens under way at once", "instead": "take fewer servers or shorter latencies"}
            if problem := beyond(2 * len(state.events), EVENTS_AT_ONCE, **told):
                raise ScheduleError(problem)
            state = state._replace(events=np.concatenate([state.events, np.zeros_like(state.events)]))


def _outcome(packed: Arrays, state: State) -> Outcome:
    tasks, streams = state.tasks, state.streams
    return Outcome(
        int(state.scalars[clock_state.NOW]), int(state.scalars[clock_state.SKIPPED]),
        tasks["left"], tasks["start"], tasks["end"], streams["starved"], streams["blocked"],
        packed.streams[:, 0] - streams["least_room"], state.units["turned"],
    )  # fmt: skip
