"""Pictures drawn with matplotlib: where the time of a run goes, and what a sweep found. The only place that draws.

Each function returns matplotlib Axes, which a notebook shows and `axes.figure.savefig("name.pdf")` keeps. Those that
draw rows take a Sweep, or any rows and the design that says which units their settings have.
"""

from archsim.report.plot.cells import heat_map
from archsim.report.plot.curves import lines, sweep_lines
from archsim.report.plot.effects import importance
from archsim.report.plot.fifos import fifo_occupancy
from archsim.report.plot.floor import floorplan
from archsim.report.plot.front import pareto
from archsim.report.plot.parts import time_by_part
from archsim.report.plot.timeline import timeline
from archsim.report.plot.why import roofline, sensitivity, stall_causes

__all__ = [
    "fifo_occupancy", "floorplan", "heat_map", "importance", "lines", "pareto", "roofline", "sensitivity",
    "stall_causes", "sweep_lines", "time_by_part", "timeline",
]  # fmt: skip
