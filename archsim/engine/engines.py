"""The engines by name: which one answers, one run of a section on it, and what each unit does when."""

from __future__ import annotations

from archsim.engine.flat import Flat
from archsim.engine.machine_code_folder import CLOCK, is_compiled
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult, Stuck
from archsim.engine.spans import Span
from archsim.engine.starts import Starts
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


def spans(flat: Flat, *, engine: str = "auto") -> list[Span]:
    """What each unit does when in a run of the section, in deadlock as far as it gets; on an engine of ENGINES."""
    if _recording(flat, engine) == "simpy":
        from archsim.engine.simpy_engine import spans as spans_of_simpy

        return spans_of_simpy(flat)
    from archsim.engine.compiled.engine import spans as spans_of_compiled

    return spans_of_compiled(flat)


def starts(flat: Flat, *, most: int, engine: str = "auto") -> Starts:
    """When each firing of the section starts, the last `most` at least; on an engine of ENGINES."""
    if _recording(flat, engine) == "simpy":
        from archsim.engine.simpy_engine import starts as starts_of_simpy

        return starts_of_simpy(flat, most=most)
    from archsim.engine.compiled.engine import starts as starts_of_compiled

    return starts_of_compiled(flat, most=most)


def _recording(flat: Flat, engine: str) -> str:
    """The engine that records a run of the section. Raises InputError for one that does not."""
    if engine in OWN_UNITS:
        raise InputError(f"spans are recorded by the engines {', '.join(ENGINES)}, not by '{engine}'")
    return engine_for(engine, sum(task.firings for task in flat.tasks))
