"""archsim: accelerators as YAML, kernels beside them, and a cycle-approximate event model that joins the two.

For users: load_design, load_model, load_selection, simulate, simulate_steps, size_fifos. The packages dataflow
and mappers stand beside it.
"""

from importlib.util import find_spec
from pathlib import Path


def _check_neighbours() -> None:
    """Raises ImportError where another package on the machine has the name of one of this project's four."""
    home = Path(__file__).parent.parent
    for name in ("kernels", "dataflow", "mappers"):
        spec = find_spec(name)
        there = Path(spec.origin).parent.parent if spec and spec.origin else None
        if there != home:
            told = f"comes from {there}" if there else "is not installed"
            raise ImportError(
                f"package '{name}' {told}, not from {home} as archsim does; another package of that name is in the "
                "way: uninstall it, or install archsim into an environment of its own"
            )


_check_neighbours()

from archsim.design.design import Design, load_design  # noqa: E402
from archsim.errors import (  # noqa: E402
    Deadlock,
    DesignError,
    GraphError,
    InputError,
    MappingError,
    ScheduleError,
)
from archsim.fifos.sizes import FifoSizes, size_fifos  # noqa: E402
from archsim.files.shipped import load_model  # noqa: E402
from archsim.report.report import Report, simulate, simulate_steps  # noqa: E402
from archsim.selection.selection import Selection, load_selection  # noqa: E402

__all__ = [
    "Deadlock", "Design", "DesignError", "FifoSizes", "GraphError", "InputError", "MappingError", "Report",
    "ScheduleError", "Selection", "load_design", "load_model", "load_selection", "simulate", "simulate_steps",
    "size_fifos",
]  # fmt: skip
