"""The engines: a schedule's sections on a design, in cycles. `run` picks one by name."""

from __future__ import annotations

from archsim.engine.deadlock import explain
from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult, Stuck
from dataflow.errors import InputError

ENGINES = ("simpy",)


def attempt(flat: Flat, *, engine: str = "auto") -> SectionResult | Stuck:
    """One run of the section on the named engine, or where it is stuck; "auto" takes the fastest engine there is.

    Raises InputError for an engine that is not there.
    """
    if engine not in ("auto", *ENGINES):
        raise InputError(f"unknown engine '{engine}'; engines are: auto, {', '.join(ENGINES)}")
    from archsim.engine.simpy_engine import run as run_simpy

    return run_simpy(flat)


def run(flat: Flat, *, engine: str = "auto") -> SectionResult:
    """One run of the section on the named engine. Raises Deadlock, which explains where it is stuck, and InputError."""
    result = attempt(flat, engine=engine)
    if isinstance(result, Stuck):
        raise explain(flat, result)
    return result
