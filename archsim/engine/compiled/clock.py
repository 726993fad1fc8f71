"""Runs a section by the clock kernel, from the beginning or from where it parts from one that is like it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from archsim.engine.arrays import Arrays
from archsim.engine.compiled import clock_kernel, clock_state
from archsim.engine.compiled.clock_state import State
from archsim.engine.compiled.incremental import Earlier, changed_tasks, rejoin, restore
from archsim.engine.compiled.machine_code import tell_if_cold
from archsim.engine.compiled.outcome import Outcome
from archsim.engine.compiled.steady_state import Repeats, repeats

FIRINGS_A_CALL = 500_000  # a fraction of a second, after which an interrupt is heard


def run(packed: Arrays, *, skip: bool, patience: int, before: Earlier | None) -> tuple[Outcome, Repeats] | None:
    """The clock's answer; None where it has run so many firings one by one and is not done."""
    watched = changed_tasks(packed, before.packed) if before else ()
    tell_if_cold("clock_kernel")
    begun = clock_state.begin(packed)
    seen = repeats(begun, on=skip, watched=watched)
    if not (before and watched and restore(begun, seen, before)):
        clock_kernel.enter(begun)
    for q, status in steps(begun, seen):
        if status == clock_kernel.ENDED:
            return _outcome(packed, q), seen
        if status == clock_kernel.ALIKE and before:
            rest = rejoin(packed, q, seen, before)
            if rest is not None:
                return rest, seen
        if q.scalars[clock_state.FIRED] >= patience:
            return None
    raise AssertionError("the last step is the end")


def steps(q: State, seen: Repeats) -> Iterator[tuple[State, int]]:
    """The state after each call of the kernel with what the kernel said, until it has ended."""
    status = clock_kernel.PAUSED
    while status != clock_kernel.ENDED:
        status = clock_kernel.advance(q, seen, FIRINGS_A_CALL)
        yield q, status
        if status == clock_kernel.CROWDED and q.scalars[clock_state.EVENTS] >= len(q.events) - 1:
            q = q._replace(events=np.concatenate([q.events, np.zeros_like(q.events)]))


def _outcome(packed: Arrays, q: State) -> Outcome:
    fired, skipped = int(q.scalars[clock_state.FIRED]), int(q.scalars[clock_state.SKIPPED])
    tasks, streams = q.tasks, q.streams
    return Outcome(
        int(q.scalars[clock_state.NOW]), fired + skipped, skipped,
        tasks[:, clock_state.LEFT], tasks[:, clock_state.START], tasks[:, clock_state.END],
        streams[:, clock_state.STARVED], streams[:, clock_state.BLOCKED],
        packed.streams[:, 0] - streams[:, clock_state.LEAST_ROOM],
    )  # fmt: skip
