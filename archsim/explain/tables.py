"""The tables of an explanation, as notebooks and pages show them: what its text says, each figure in a cell."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from archsim.explain import text
from archsim.explain.findings import Findings
from archsim.explain.text import MOST_POINTS, cause_text, moving, path_text, refused
from archsim.quantity import show


class Table(NamedTuple):
    """A table: what it is of, a name above each column, rows of text, and which columns are numbers."""

    caption: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()


def tables(found: Findings) -> Iterator[Table]:
    """What changes bring and which are refused, the critical path, what units spend their time on, and ops."""
    of = f" of {found.step}" if found.step else ""
    yield _effects(found)
    names = ("reason", "changes")
    yield Table("Changes that are refused", names, tuple((w, ", ".join(p)) for w, p in refused(found.effects).items()))
    by_unit, cycles = found.path.by_unit(), found.path.cycles
    rows = tuple((unit, f"{n / cycles:.1%}", path_text(found, unit)) for unit, n in by_unit.items())
    caption = "; ".join(filter(None, [f"Critical path{of}", text.unseen_text(found)]))
    yield Table(caption, ("unit", "share of the time", "tasks"), rows, ("share of the time",))
    causes = tuple((unit, cause_text(causes)) for unit, causes in found.stalls.units.items())
    yield Table(f"What each unit spends its time on{of}", ("unit", "causes, which add up to 100%"), causes)
    if found.roofline is not None:
        yield _roofline(found, of)


def _effects(found: Findings) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            one.change.path, f"{one.gain:+.1%}", f"{one.change.was} -> {one.change.value}",
            show(Fraction(one.seconds or 0), "time"), text.use_text(one),
        )
        for one in moving(found.effects)
    ]  # fmt: skip
    names: tuple[str, ...] = ("one change alone", "faster by", "from, to", "time", "of the FPGA")
    if not any(row[-1] for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]
    still = text.without_effect(found.effects)
    caption = "What one change alone would bring" + (f"; {still} others bring nothing" if still else "")
    return Table(caption, names, tuple(rows), ("faster by", "time"))


def _roofline(found: Findings, of: str) -> Table:
    roofs = found.roofline
    assert roofs is not None
    names = ("ops", "unit", f"operations per byte by {roofs.memory}", "rate reached", "of its roof", "which is that of")
    rows = []
    order = sorted(roofs.points, key=lambda point: -point.cycles * len(point.ops))
    left = sum(len(point.ops) for point in order[MOST_POINTS:])
    for point in order[:MOST_POINTS]:
        intensity = "-" if point.intensity is None else f"{point.intensity:.3g}"
        roof = roofs.memory if roofs.is_bound_by_memory(point) else point.unit
        rate = show(Fraction(point.rate) * found.clock_hz, "rate of OP")
        rows.append((point.name, point.unit, intensity, rate, f"{roofs.reached(point):.0%}", roof))
    caption = f"Roofline of ops{of}" + (f"; {left:,} shorter ops are left out" if left else "")
    return Table(caption, names, tuple(rows), names[2:5])
