"""The engines by name: which one answers, one run of a section on it, and what each unit does when."""

from __future__ import annotations

from collections.abc import Iterable

from archsim.engine.flat import Flat
from archsim.engine.machine_code_folder import CLOCK, is_compiled
from archsim.engine.memo import Memo
from archsim.engine.recording import Batch, Recording, recorded
from archsim.engine.result import SectionResult, Stuck
from archsim.engine.spans import Span, spans_of
from archsim.engine.starts import Latest, Starts
from archsim.engine_names import ENGINES, NAMES, OWN_UNITS
from dataflow.errors import InputError, guess, quoted

# SimPy runs these in 7 to 15 s (0.3 to 0.7 million a second), about as long as compiling the engine takes.
COLD_FIRINGS = 5_000_000

_cold_runs: list[int] = []  # firings of the runs of this process for which SimPy took the place of the cold engine


def engine_for(engine: str, firings: int | None) -> str:
    """The engine that answers a run of this many firings, None for many: the named one, or "auto", the fastest.

    "auto" is the compiled engine. On a machine that has not compiled it yet, "auto" is SimPy until the runs of this
    process, which are counted here, would together take longer than compiling. Both give the same integers. Raises
    InputError for an engine that is not there.
    """
    if engine not in NAMES:
        raise InputError(f"unknown engine {quoted(engine)}; {guess(str(engine), NAMES, otherwise='engines are')}")
    if engine != "auto":
        return engine
    if firings is None or sum(_cold_runs) + firings > COLD_FIRINGS or is_compiled(CLOCK):
        return "compiled"
    _cold_runs.append(firings)
    return "simpy"


def attempt(
    flat: Flat, *, engine: str = "auto", memo: Memo | None = None, turns: bool = False
) -> SectionResult | Stuck:
    """One run of the section on the named engine, or where it is stuck.

    With `turns`, waits of a unit in order count for ("turn", "") while a firing could start whose turn it is not.
    Raises InputError for an engine that is not there, and for a section that the named one does not take.
    """
    engine = engine_for(engine, sum(task.firings for task in flat.tasks))
    if engine == "recurrence":
        from archsim.engine.recurrence import run as run_recurrence

        return run_recurrence(flat)  # every task has a unit of its own, and so every turn
    if engine == "simpy":
        from archsim.engine.simpy_engine import run as run_simpy

        return run_simpy(flat, turns=turns)
    from archsim.engine.compiled.engine import run as run_compiled

    return run_compiled(flat, memo=memo, turns=turns)


def record(
    flat: Flat, *, start: int = 0, end: int | None = None, most: int | None = None, engine: str = "auto"
) -> Recording:
    """What units do in a run of the section from cycle `start` on and before `end`, in deadlock as far as it gets.

    Where more than `most` firings are in it, it ends before the first one too many. On an engine of ENGINES.
    """
    return recorded(flat, _batches(flat, engine), start=start, end=end, most=most)


def spans(flat: Flat, *, engine: str = "auto") -> list[Span]:
    """What each unit does when in a run of the section, in deadlock as far as it gets; on an engine of ENGINES."""
    return spans_of(flat, record(flat, engine=engine))


def _batches(flat: Flat, engine: str) -> Iterable[Batch]:
    if _recording(flat, engine) == "simpy":
        from archsim.engine.simpy_engine import batches as batches_of_simpy

        return batches_of_simpy(flat)
    from archsim.engine.compiled.engine import batches as batches_of_compiled

    return batches_of_compiled(flat)


def starts(flat: Flat, *, most: int, engine: str = "auto") -> Starts:
    """When each firing of the section starts, the last `most` at least; on an engine of ENGINES."""
    kept = Latest(len(flat.tasks), most)
    for rows, _ in _batches(flat, engine):
        fired = rows[rows[:, 1] < 0]
        kept.add(-1 - fired[:, 1], fired[:, 2])
    return kept.starts()


def _recording(flat: Flat, engine: str) -> str:
    """The engine that records a run of the section. Raises InputError for one that does not."""
    if engine in OWN_UNITS:
        raise InputError(f"spans are recorded by the engines {', '.join(ENGINES)}, not by '{engine}'")
    return engine_for(engine, sum(task.firings for task in flat.tasks))
