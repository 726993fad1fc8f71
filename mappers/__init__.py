"""Joins the two: a Graph and a Design become a Schedule. The mappers are listed in MAPPERS."""

# One of the packages of archsim.

from archsim.mapping import Mapping, load_mapping
from archsim.report.rows.pareto import pareto
from archsim.report.rows.row import Row
from mappers.experiment.explain import explain
from mappers.experiment.run import run, step_schedules
from mappers.experiment.sweep import sweep, sweep_file
from mappers.experiment.swept import Sweep
from mappers.extend import extend
from mappers.mapper import Mapper, option
from mappers.registry import MAPPERS, lower, lower_step, plan

__all__ = [
    "MAPPERS", "Mapper", "Mapping", "Row", "Sweep", "explain", "extend", "load_mapping", "lower", "lower_step",
    "option", "pareto", "plan", "run", "step_schedules", "sweep", "sweep_file",
]  # fmt: skip
