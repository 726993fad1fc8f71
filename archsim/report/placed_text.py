"""How sections of placed stages read: a line for each, and the stages of the one that takes the most time."""

from __future__ import annotations

from archsim.quantity import show
from archsim.report.figures import Figures
from archsim.run.placed import PlacedSection


def placed_lines(report: Figures) -> list[str]:
    """The sections, their tiles, what bounds them, and the stages of the longest; none without a fabric."""
    if not report.placed:
        return []
    launches = sum(section.launches * section.repeat * section.steps for section in report.placed)
    lines = [f"sections laid out in space; kernels are launched {launches:,} times"]
    lines += [_line(section, report) for section in report.placed]
    longest = max(report.placed, key=lambda section: section.all_cycles)
    lines.append(f"stages of {longest.name} (tiles of each; busy cycles a token; share of the section's time)")
    return lines + _stages(longest)


def _line(section: PlacedSection, report: Figures) -> str:
    times = f" x {section.repeat}" if section.repeat > 1 else ""
    times += f" in {section.steps:,} steps, the first of them" if section.steps > 1 else ""
    took = show(section.cycles / report.clock_hz, "time")
    taken = {**section.servers, **section.tiles}
    tiles = [f"{n:,} of {report.units[unit].count:,} {unit}" for unit, n in taken.items()]
    name, busy = section.bound_by
    moved = [f"{memory} {way} {_bytes(n)}" for (memory, way), n in section.traffic.items() if n]
    return (
        f"  {section.name}{times}: {took}, bound by {name} ({busy / section.cycles:.0%}); {', '.join(tiles)}; "
        f"{', '.join(moved) or 'no memory'}"
    )


def _bytes(size: int) -> str:
    return show(size, "bytes") if size < 10**4 else f"{size / 10**6:,.2f} MB"


def _stages(section: PlacedSection) -> list[str]:
    lines = []
    for stage in section.stages:
        slowest = "  slowest stage" if stage.busy_cycles == max(one.busy_cycles for one in section.stages) else ""
        lines.append(
            f"  {stage.name:<20} {stage.servers:>6,} {stage.unit:<6} {stage.tiles:>6,} memory tiles "
            f"{stage.interval_cycles:>12,} cycles {stage.busy_cycles / section.cycles:>6.1%}{slowest}"
        )
    return lines
