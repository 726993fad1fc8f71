"""The token game: how far a section comes with given depths, time left out.

What can be fired at all does not depend on time: a firing that is possible stays possible whatever is fired before it.
So the game is the compiled engine's run of the section in which every firing takes one cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsim.engine import compiled
from archsim.engine.flat import Flat
from archsim.engine.result import Stuck
from archsim.engine.token_state import TokenState, state_after


def run_untimed(flat: Flat, depths: Sequence[int] | None = None) -> TokenState:
    """Where a section stands, with these depths in place of its own, once nothing can be fired any more."""
    if depths is not None:
        streams = tuple(replace(s, depth=depth) for s, depth in zip(flat.streams, depths, strict=True))
        flat = replace(flat, streams=streams)
    tasks = tuple(replace(t, runs=tuple(replace(run, cycles=1) for run in t.runs)) for t in flat.tasks)
    units = tuple(replace(unit, count=1, latency_cycles=0) for unit in flat.units)
    result = compiled.run(replace(flat, tasks=tasks, units=units))
    fired = [task.firings for task in flat.tasks]
    if isinstance(result, Stuck):
        for wait in result.waiting:
            fired[wait.task] = wait.firing
    return state_after(flat, fired)
