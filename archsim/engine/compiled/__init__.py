"""The compiled engine: gives the same integers as the SimPy engine, in machine code."""

from archsim.engine.compiled.engine import batches, run

__all__ = ["batches", "run"]
