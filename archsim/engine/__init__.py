"""The engines: how long a schedule's sections take on a design, in cycles."""

from __future__ import annotations

from archsim.engine.engines import attempt, engine_for, record, spans, starts
from archsim.engine.flat import Flat
from archsim.engine.memo import Memo
from archsim.engine.result import SectionResult, Stuck
from archsim.engine_names import ENGINES, OWN_UNITS

__all__ = ["ENGINES", "OWN_UNITS", "attempt", "engine_for", "record", "run", "spans", "starts"]


def run(flat: Flat, *, engine: str = "auto", memo: Memo | None = None) -> SectionResult:
    """One run of the section on the named engine, which may go on from what `memo` has of the run before.

    Raises Deadlock, which explains where it is stuck, and InputError.
    """
    result = attempt(flat, engine=engine, memo=memo)
    if isinstance(result, Stuck):
        from archsim.engine.deadlock.explain import explain

        raise explain(flat, result, lambda deeper: attempt(deeper, engine=engine))
    return result
