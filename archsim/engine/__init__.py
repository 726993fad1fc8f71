"""The engines: a schedule's sections on a design, in cycles. `run` picks one by name."""

from __future__ import annotations

from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult
from dataflow.errors import InputError

ENGINES = ("simpy",)


def run(flat: Flat, *, engine: str = "auto") -> SectionResult:
    """One run of the section on the named engine; "auto" takes the fastest there is. Raises Deadlock, InputError."""
    if engine not in ("auto", *ENGINES):
        raise InputError(f"unknown engine '{engine}'; engines are: auto, {', '.join(ENGINES)}")
    from archsim.engine.simpy_engine import run as run_simpy

    return run_simpy(flat)
