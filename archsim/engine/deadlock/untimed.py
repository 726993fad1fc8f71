"""The untimed run: how far a section comes with given depths, without regard to time.

How often each task can fire does not depend on time: a firing that is possible stays possible whatever fires before it.
So an engine runs the section with one cycle for every firing and says where it is stuck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsim.engine.engines import attempt
from archsim.engine.flat import Flat
from archsim.engine.result import Stuck
from archsim.engine.token_state import TokenState, state_after


def run_untimed(flat: Flat, depths: Sequence[int] | None = None) -> TokenState:
    """The state in which no task of the section can fire any more, with `depths` in place of its own where given."""
    flat = flat if depths is None else flat.with_depths(depths)
    # One cycle and not zero, which units that serve first come do not take. One server for each unit, so that sections
    # with fixed orders can go to the order kernel.
    tasks = tuple(replace(t, runs=tuple(replace(run, cycles=1) for run in t.runs)) for t in flat.tasks)
    units = tuple(replace(unit, count=1, latency_cycles=0) for unit in flat.units)
    result = attempt(replace(flat, tasks=tasks, units=units))
    fired = [task.firings for task in flat.tasks]
    if isinstance(result, Stuck):
        for wait in result.waiting:
            fired[wait.task] = wait.firing
    return state_after(flat, fired)
