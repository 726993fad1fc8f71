"""The compiled engine: the same integers as the SimPy engine's, in machine code, with exact repeats skipped.

It has two kernels. The clock kernel runs any section and skips repeats. The order kernel is faster, takes sections in
which every order of firings is fixed, and runs those that hardly repeat.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from archsim.engine.arrays import Arrays, arrays, arrays_like, firings
from archsim.engine.compiled import clock, clock_kernel, clock_state, order_kernel, order_state
from archsim.engine.compiled.clock import FIRINGS_A_CALL
from archsim.engine.compiled.incremental import EarlierRun, Outcome
from archsim.engine.compiled.machine_code import tell_if_cold
from archsim.engine.compiled.steady_state import Detectors, make_detectors
from archsim.engine.flat import Flat
from archsim.engine.machine_code_folder import CLOCK
from archsim.engine.memo import Memo
from archsim.engine.outcome import section_result
from archsim.engine.recording import Batch
from archsim.engine.result import SectionResult, Stuck
from archsim.engine.token_state import state_after
from dataflow.errors import ScheduleError

MOST = 2**62  # also the depth of a stream without limit
PATIENCE = 8  # the clock runs one firing in eight before it leaves a section to the order kernel, if that accepts it


def run(flat: Flat, *, skip: bool = True, memo: Memo | None = None, turns: bool = False) -> SectionResult | Stuck:
    """One run of this section; Stuck when nothing can happen any more and firings are left.

    Skips repeats, and the parts that are equal to the run before, which `memo` holds. With `skip` False every firing is
    run one by one. `turns` is as in the SimPy engine; runs of a memo do not have it. Raises ScheduleError where cycles
    or tokens could pass 2^62.
    """
    section, flat = flat, flat.unfolded()
    before = memo.last(EarlierRun) if skip and memo and not turns else None
    packed = _packed(flat, before)
    outcome, detectors = _outcome(packed, skip, before, turns)
    if outcome.left.any():
        fired = [task.firings - n for task, n in zip(flat.tasks, outcome.left.tolist(), strict=True)]
        return Stuck(outcome.cycle, state_after(section, fired).waiting())
    if memo and not turns:
        memo.keep(EarlierRun(flat, packed, outcome, detectors))
    return _result(flat, packed, outcome)


def _result(flat: Flat, packed: Arrays, outcome: Outcome) -> SectionResult:
    # Once every firing has ended, busy cycles and tokens follow from the section alone: the kernels count neither.
    times = firings(packed)
    busy = np.add.reduceat(times * packed.runs[:, 1], packed.tasks[:, 2])
    moved = np.zeros(len(packed.streams), dtype=np.int64)
    np.add.at(moved, packed.gives[:, 0], np.repeat(times, packed.runs[:, 5] - packed.runs[:, 4]) * packed.gives[:, 1])
    # Rows as tuples: a list for each would take three times as long.
    tasks = [*zip(outcome.start.tolist(), outcome.end.tolist(), busy.tolist(), strict=True)]
    counted = (moved, outcome.peak, outcome.starved, outcome.blocked)
    streams = [*zip(*(column.tolist() for column in counted), strict=True)]
    turned = () if outcome.turned is None else outcome.turned.tolist()
    return section_result(flat, outcome.cycle, tasks, streams, turned=turned, skipped=outcome.skipped)


def _outcome(packed: Arrays, skip: bool, before: EarlierRun | None, turns: bool) -> tuple[Outcome, Detectors | None]:
    # The clock first, even where the order kernel is faster: whether a section repeats shows only as it runs. A section
    # that is done before its patience ends needs no order kernel.
    n = int(packed.tasks[:, 1].sum())
    ordered = not turns and (n > FIRINGS_A_CALL or not skip) and order_state.accepts(packed)
    if skip or not ordered:
        patience = max(FIRINGS_A_CALL, n // PATIENCE) if ordered else MOST
        found = clock.run(packed, skip=skip, patience=patience, before=before, turns=turns)
        if found is not None:
            return found
    return _in_order(packed), None


def batches(flat: Flat) -> Iterator[Batch]:
    """What each unit does in a run of this section, up to its end or deadlock; skips nothing."""
    flat = flat.unfolded()
    tell_if_cold(CLOCK)
    begun = clock_state.begin(_packed(flat), spans=True)
    clock_kernel.sort_clients(begun)
    gangs = np.array([unit.gang for unit in flat.units], dtype=np.int64)
    for state, _ in clock.steps(begun, make_detectors(begun, on=False)):
        rows = np.concatenate([state.spans[: state.scalars[clock_state.SPANS]], _open_waits(state)])
        rows[:, 4] *= gangs[rows[:, 0]]
        state.scalars[clock_state.SPANS] = 0
        yield rows, int(state.scalars[clock_state.NOW])


def _open_waits(state: clock_state.State) -> np.ndarray:
    """The waits up to now as rows; they are closed, and those that go on begin anew."""
    units, now = state.units, state.scalars[clock_state.NOW]
    waiting = np.flatnonzero((units["cause"] != clock_state.IDLE) & (units["free"] > 0) & (units["changed"] < now))
    rows = [waiting, units["cause"][waiting], units["changed"][waiting], np.full(len(waiting), now)]
    rows.append(units["free"][waiting])
    units["changed"][waiting] = now
    return np.stack(rows, axis=1).astype(np.int64)


def _in_order(packed: Arrays) -> Outcome:
    tell_if_cold("order_kernel.work_off")
    state = order_state.begin(packed)
    while not order_kernel.work_off(state, FIRINGS_A_CALL):
        pass
    tasks, streams = state.tasks, state.streams
    return Outcome(
        int(state.scalars[order_state.LAST]), 0, tasks["left"], tasks["start"], tasks["end"],
        streams["starved"], streams["blocked"], order_state.peaks(packed, state),
    )  # fmt: skip


def _packed(flat: Flat, before: EarlierRun | None = None) -> Arrays:
    """The section as arrays. Raises ScheduleError where cycles, firings, tokens or places could pass 2^62."""
    try:
        a = arrays_like(flat, before.flat, before.packed) if before else arrays(flat)
    except OverflowError:
        _refuse_what_overflows(flat)
        raise
    # A quick upper bound from the largest values; only if it comes near the limit is each task counted exactly. Halving
    # the limit covers the rounding of floats.
    longest = float(a.runs[:, 1].max()) + float(a.units[:, 1].max())
    cycles = longest * float(a.units[:, 0].max()) * a.tasks[:, 1].sum(dtype=float)
    tokens = float(max(a.takes[:, 1].max(initial=1), a.gives[:, 1].max(initial=1))) * float(a.tasks[:, 1].max())
    if max(cycles, tokens, a.tasks[:, 1].sum(dtype=float)) > MOST / 2 or a.streams[:, 0].max(initial=0) > MOST:
        _refuse_what_overflows(flat)
    return a


def _refuse_what_overflows(flat: Flat) -> None:
    """Raises ScheduleError for every number that could pass 2^62.

    Time passes only while a firing holds its unit or its tokens are on their way, so the sum of both over all firings
    is an upper bound of the cycles.
    """
    servers = max(unit.count for unit in flat.units)
    cycles = sum(task.busy_cycles + task.firings * flat.units[task.unit].latency_cycles for task in flat.tasks)
    tokens = (task.firings * n for task in flat.tasks for run in task.runs for _, n in (*run.takes, *run.gives))
    counted = (
        ("server-cycles", cycles * servers),
        ("firings", sum(task.firings for task in flat.tasks)),
        ("tokens of a task", max(tokens, default=0)),
        ("places of a stream", max((stream.depth for stream in flat.streams), default=0)),
        ("servers of a unit", servers),
    )
    found = [
        f"section '{flat.section}': up to {n:,} {what}; the compiled engine counts to 2^62 = {MOST:,}; make them "
        "fewer, or take --engine simpy"
        for what, n in counted
        if n > MOST
    ]
    if found:
        raise ScheduleError(found)
