"""The compiled engine: the same integers as the SimPy engine's, in machine code."""

from archsim.engine.compiled.engine import run, spans

__all__ = ["run", "spans"]
