"""Joins the two: a Graph and a Design become a Schedule. The mappers are listed in MAPPERS."""

# One of the packages of archsim.

from mappers.experiment.row import Row, pareto
from mappers.experiment.run import run, step_schedules
from mappers.experiment.sweep import sweep, sweep_rows
from mappers.extend import extend
from mappers.mapper import Mapper, option
from mappers.registry import MAPPERS, lower, lower_step

__all__ = [
    "MAPPERS", "Mapper", "Row", "extend", "lower", "lower_step", "option", "pareto", "run", "step_schedules", "sweep",
    "sweep_rows",
]  # fmt: skip
