"""The engines: a schedule's sections on a design, in cycles. `run` picks one by name."""

from __future__ import annotations

from archsim.engine.flat import Flat
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult, Stuck
from archsim.engine.spans import Span
from dataflow.errors import InputError

ENGINES = ("compiled", "simpy")  # take every section
OWN_UNITS = ("recurrence",)  # take those in which every task has a unit of its own


def attempt(flat: Flat, *, engine: str = "auto", memo: Memo | None = None) -> SectionResult | Stuck:
    """One run of the section on the named engine, or where it is stuck; "auto" is the compiled engine.

    Raises InputError for an engine that is not there, and for a section that the named one does not take.
    """
    names = ("auto", *ENGINES, *OWN_UNITS)
    if engine not in names:
        raise InputError(f"unknown engine '{engine}'; engines are: {', '.join(names)}")
    if engine == "recurrence":
        from archsim.engine.recurrence import run as run_recurrence

        return run_recurrence(flat)
    if engine == "simpy":
        from archsim.engine.simpy_engine import run as run_simpy

        return run_simpy(flat)
    from archsim.engine.compiled.engine import run as run_compiled

    return run_compiled(flat, memo=memo)


def spans(flat: Flat, *, engine: str = "auto") -> list[Span]:
    """What each unit does when in a run of the section, in deadlock as far as it gets; on an engine of ENGINES."""
    if engine not in ("auto", *ENGINES):
        raise InputError(f"spans are recorded by the engines {', '.join(ENGINES)}, not by '{engine}'")
    if engine == "simpy":
        from archsim.engine.simpy_engine import spans as spans_of_simpy

        return spans_of_simpy(flat)
    from archsim.engine.compiled.engine import spans as spans_of_compiled

    return spans_of_compiled(flat)


def run(flat: Flat, *, engine: str = "auto", memo: Memo | None = None) -> SectionResult:
    """One run of the section on the named engine, which may go on from what `memo` has of the run before.

    Raises Deadlock, which explains where it is stuck, and InputError.
    """
    result = attempt(flat, engine=engine, memo=memo)
    if isinstance(result, Stuck):
        from archsim.engine.deadlock.explain import explain

        raise explain(flat, result, lambda deeper: attempt(deeper, engine=engine))
    return result
