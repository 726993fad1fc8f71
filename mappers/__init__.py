"""Joins the two: a Graph and a Design become a Schedule. The mappers are listed in MAPPERS."""

from mappers.choose import MAPPERS, lower, options_of
from mappers.pipeline import run
from mappers.streaming import streaming
from mappers.temporal import temporal

__all__ = ["MAPPERS", "lower", "options_of", "run", "streaming", "temporal"]
