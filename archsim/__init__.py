"""archsim: accelerators as YAML, kernels beside them, and a cycle-approximate event model that joins the two.

For users: load_design, load_model, load_workload, load_selection, simulate, simulate_steps, diff, size_fifos, stalls.
The packages dataflow and mappers stand beside it.
"""

import os
import sys
from importlib import import_module

TYPE_CHECKING = False  # as typing has it; no import here takes a hundredth of a second
if TYPE_CHECKING:
    from archsim.design.design import Design
    from archsim.errors import Deadlock, DesignError, GraphError, InputError, MappingError, ScheduleError
    from archsim.explain.stalls import Stalls, stalls
    from archsim.fifos.sizes import FifoSizes, size_fifos
    from archsim.files.shipped import load_model
    from archsim.importers.load import load_design, load_workload
    from archsim.report.difference.difference import Difference, diff
    from archsim.report.report import Report, simulate, simulate_steps
    from archsim.selection.selection import Selection, load_selection

__all__ = [
    "Deadlock", "Design", "DesignError", "Difference", "FifoSizes", "GraphError", "InputError", "MappingError",
    "Report", "ScheduleError", "Selection", "Stalls", "diff", "load_design", "load_model", "load_selection",
    "load_workload", "simulate", "simulate_steps", "size_fifos", "stalls",
]  # fmt: skip

_HOMES = {
    "archsim.design.design": ("Design",),
    "archsim.errors": ("Deadlock", "DesignError", "GraphError", "InputError", "MappingError", "ScheduleError"),
    "archsim.fifos.sizes": ("FifoSizes", "size_fifos"),
    "archsim.files.shipped": ("load_model",),
    "archsim.importers.load": ("load_design", "load_workload"),
    "archsim.report.difference.difference": ("Difference", "diff"),
    "archsim.report.report": ("Report", "simulate", "simulate_steps"),
    "archsim.explain.stalls": ("Stalls", "stalls"),
    "archsim.selection.selection": ("Selection", "load_selection"),
}


def __getattr__(name: str) -> object:
    # Not at the top of the file: the command line starts at once, and hears an interrupt while it loads them.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'archsim' has no attribute {name!r}")


OURS = "# One of the packages of archsim."  # a line of each of them: another project may be installed over it


def _check_neighbours() -> None:
    """Raises ImportError where another package has the name of one of this project's four, beside it or over it."""
    home = os.path.dirname(os.path.dirname(__file__))
    for name in ("kernels", "dataflow", "mappers"):
        spec = next(filter(None, (finder.find_spec(name, None) for finder in sys.meta_path)), None)
        origin = (spec and spec.origin) or ""
        there = os.path.dirname(os.path.dirname(origin)) if origin else None
        if there != home:
            told = f"comes from {there}" if there else "is not installed"
            raise ImportError(
                f"package '{name}' {told}, not from {home} as archsim does; another package of that name is, or was, "
                "in the way: uninstall it and install archsim anew, or install archsim into an environment of its own"
            )
        with open(origin, encoding="utf-8", errors="replace") as first:
            if OURS not in first.read():
                raise ImportError(
                    f"package '{name}' in {home} has the files of another project, which was installed over archsim's; "
                    f"uninstall it and install archsim anew (pip install --force-reinstall --no-deps archsim)"
                )


_check_neighbours()
