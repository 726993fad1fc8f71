"""archsim: accelerators as YAML, kernels beside them, and a cycle-approximate event model that joins the two.

What a user types: load_design, load_model, simulate, compare; dataflow and mappers stand beside it as packages.
"""

from archsim.design import Design, load_design, load_model
from archsim.errors import Deadlock, DesignError, GraphError, InputError, MappingError, ScheduleError
from archsim.report import Report, simulate

__all__ = [
    "Deadlock", "Design", "DesignError", "GraphError", "InputError", "MappingError", "Report", "ScheduleError",
    "load_design", "load_model", "simulate",
]  # fmt: skip
