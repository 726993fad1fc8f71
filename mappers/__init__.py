"""Joins the two: a Graph and a Design become a Schedule. The mappers are listed in MAPPERS."""

from mappers.choose import MAPPERS, lower, lower_step, options_of
from mappers.pipeline import generation, run
from mappers.streaming import streaming
from mappers.temporal import temporal

__all__ = ["MAPPERS", "generation", "lower", "lower_step", "options_of", "run", "streaming", "temporal"]
