"""Joins the two: a Graph and a Design become a Schedule. The mappers are listed in MAPPERS."""

from mappers.choose import MAPPERS, lower, lower_step, options_of
from mappers.explore import sweep, sweep_rows
from mappers.pipeline import generation, run
from mappers.retrieval import retrieval
from mappers.rows import Row, pareto
from mappers.streaming import streaming
from mappers.temporal import temporal

__all__ = [
    "MAPPERS", "Row", "generation", "lower", "lower_step", "options_of", "pareto", "retrieval", "run", "streaming",
    "sweep", "sweep_rows", "temporal",
]  # fmt: skip
