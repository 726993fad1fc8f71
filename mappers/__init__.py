"""Joins the two: a Graph and a Design become a Schedule. The mappers are listed in MAPPERS."""

from mappers.experiment.row import Row, pareto
from mappers.experiment.run import generation, run
from mappers.experiment.sweep import sweep, sweep_rows
from mappers.registry import MAPPERS, lower, lower_step, options_of

__all__ = ["MAPPERS", "Row", "generation", "lower", "lower_step", "options_of", "pareto", "run", "sweep", "sweep_rows"]
