"""roofline: cycles that no schedule beats which does each op where this one does it: compulsory work over peak rates.

Knows ops, units and stored bytes. Does not know tasks, queues or waiting.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import ceil

from archsim.design.design import Design
from archsim.run.results import ScheduleRun
from archsim.units import Memory
from dataflow.kinds.attention import THREE_PASSES
from dataflow.op import OP_KINDS, Work
from dataflow.task import Task

Place = tuple[str, tuple[str, ...]]  # a unit, and the ops of one repetition of a task on it


def roofline(run: ScheduleRun, design: Design) -> tuple[int, str] | None:
    """The cycles, and the unit or memory that needs them: the largest over all of them; None where none is known.

    A unit needs the cycles of its ops, each taken whole, over its servers; a memory the bytes of stored tensors that
    must pass it, over its bandwidth. Ops of one task count as one op, as wide as all of them. Attention in three
    passes counts on the units of its passes. Other ops that several units share, or that no unit does whole, count
    nothing, nor does attention of which a selection leaves out a part.
    """
    graph, left_out = run.schedule.graph, run.schedule.left_out()
    places: dict[str, dict[Place, None]] = {}  # of each op
    passes: Counter[tuple[str, Work]] = Counter()
    tasks = [task for part in run.sections for task in part.section.tasks]
    summed = {name for task in tasks if _kind(task) == THREE_PASSES[-1] for name in task.ops}
    for part in run.sections:
        for task in part.section.tasks:
            # Each pass counts whole, on its unit. Of an engine of two none does: its tiles may take less than all.
            if (kind := _kind(task)) in THREE_PASSES and summed.issuperset(task.ops):
                works_of = (graph.ops[name].work for name in task.ops)
                passes.update((task.unit, replace(item, kind=kind)) for item in works_of)
                continue
            for names in zip(*(served.ops for served in task.serves), strict=True):
                for name in names:
                    places.setdefault(name, {})[task.unit, names] = None
    needed = dict.fromkeys(design.units, Fraction(0))
    # The ops of equal layers have equal work, whose cycles are asked for once.
    alone = [at for at in dict.fromkeys(chain(*places.values())) if all(len(places[name]) == 1 for name in at[1])]
    works = Counter((unit, _joined([graph.ops[name].work for name in names])) for unit, names in alone)
    for (unit, item), times in (*works.items(), *passes.items()):
        if item is None:
            continue
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


def _kind(task: Task) -> str:
    """The kind of work of a task, its launch aside; empty where it has several."""
    kinds = {item.kind for item, _ in task.work if item.kind != "enter"}
    return kinds.pop() if len(kinds) == 1 else ""


def _joined(items: list[Work]) -> Work | None:
    """One work as wide as all of these, which do not differ elsewhere; None where they do.

    A unit may do it in fewer cycles than one after another, and no schedule of these tasks in fewer.

    >>> from dataflow.op import work
    >>> str(_joined([work("matmul", m=1, k=8, n=4), work("matmul", m=1, k=8, n=2)]))
    'matmul(batch=1, m=1, k=8, n=6)'
    >>> print(_joined([work("matmul", None, name, m=1, k=8, n=4) for name in ("int8", "bf16")]))
    None
    """
    kind = OP_KINDS[items[0].kind]
    if len(items) == 1:
        return items[0]
    wide = [axis for axis in kind.axes if axis not in kind.sums]
    alike = len({(item.kind, item.format) for item in items}) == 1
    if not wide or items[0].mask is not None or not alike:
        return None
    at = kind.extents.index(wide[-1])
    if len({(*item.extents[:at], *item.extents[at + 1 :]) for item in items}) > 1:
        return None
    extents = items[0].extents
    joined = (*extents[:at], sum(item.extents[at] for item in items), *extents[at + 1 :])
    return replace(items[0], extents=joined)
