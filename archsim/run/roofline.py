"""roofline: cycles that no schedule beats which does each op where this one does it: compulsory work over peak rates.

Knows ops, units and stored bytes. Does not know tasks, queues or waiting.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import ceil

from archsim.design.design import Design
from archsim.run.results import ScheduleRun
from archsim.units import Memory


def roofline(run: ScheduleRun, design: Design) -> tuple[int, str] | None:
    """The cycles, and the unit or memory that needs them: the largest over all of them; None where none is known.

    A unit needs the cycles of its ops, each taken whole, over its servers; a memory the bytes of stored tensors that
    must pass it, over its bandwidth. Ops that several units share, or that no unit does whole, count nothing, nor does
    attention of which a selection leaves out a part.
    """
    graph, left_out = run.schedule.graph, run.schedule.left_out()
    units_of: dict[str, set[str]] = {}
    for part in run.sections:
        for task in part.section.tasks:
            for name in task.ops:
                units_of.setdefault(name, set()).add(task.unit)
    needed = dict.fromkeys(design.units, Fraction(0))
    # The ops of equal layers have equal work, whose cycles are asked for once.
    works = Counter((next(iter(units)), graph.ops[name].work) for name, units in units_of.items() if len(units) == 1)
    for (unit, item), times in works.items():
        partly = item.mask is not None and not left_out.keys().isdisjoint(("mac", "exp"))
        if item.kind in design.units[unit].does and not partly:
            needed[unit] += times * Fraction(design.units[unit].cycles(item)) / design.units[unit].count
    passed: dict[tuple[str, str], int] = {}
    for part in run.sections:
        for (unit, way, role), n in part.traffic.sums.items():
            if way == "read":
                passed[unit, role] = passed.get((unit, role), 0) + int(n) * part.section.repeat
    for (unit, role), n in passed.items():
        memory = design.units[unit]
        if isinstance(memory, Memory):
            compulsory = run.stored.sums.get(role, 0) - left_out.get(role, 0)
            needed[unit] += max(0, min(n, compulsory)) / memory.bandwidth / memory.count
    longest = max(needed, key=lambda name: needed[name])
    return (ceil(needed[longest]), longest) if needed[longest] else None
