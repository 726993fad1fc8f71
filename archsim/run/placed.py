"""Placed sections: which stages lie on a fabric at once, with how many tiles each, and which of them is slowest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archsim.design.design import Design
from archsim.run.results import ScheduleRun, SectionRun
from archsim.units import Launcher, MemoryTile
from dataflow.floor import Floor
from dataflow.pattern import Pattern


@dataclass(frozen=True, slots=True)
class PlacedStage:
    """A task with servers of its own that computes ops: its busy cycles in one run of the section, in all its firings.

    `tiles`: memory tiles of the streams that it takes. `interval_cycles`: busy cycles for each token that leaves the
    section; where a pass of attention is the section, for those of some heads.
    """

    name: str
    ops: tuple[str, ...]
    unit: str
    servers: int
    tiles: int
    firings: int
    busy_cycles: int
    interval_cycles: int


@dataclass(frozen=True, slots=True)
class PlacedSection:
    """A section of placed stages: one run of the `repeat` in each of `steps`. `launches`: how many kernels it starts.

    `servers` and `tiles` are those of all stages and streams, by unit. `bound_by`: the task or shared unit that is busy
    for longest, for so many cycles. `traffic`: bytes by memory and direction. `floor`: where it lies, if that is known.
    """

    name: str
    repeat: int
    steps: int
    cycles: int
    launches: int
    stages: tuple[PlacedStage, ...]
    servers: Mapping[str, int]
    tiles: Mapping[str, int]
    bound_by: tuple[str, int]
    traffic: Mapping[tuple[str, str], int]
    floor: Floor | None

    @property
    def all_cycles(self) -> int:
        """Cycles of all its runs, each step taken as long as the first."""
        return self.cycles * self.repeat * self.steps


def placed_sections(run: ScheduleRun, design: Design, *, label: str, steps: int) -> Iterator[PlacedSection]:
    """The sections of a run, the first of so many steps; none on a design without memory tiles."""
    if not design.of_kind(MemoryTile):
        return
    for part in run.sections:
        yield _section(part, design, label, steps)


def _section(part: SectionRun, design: Design, label: str, steps: int) -> PlacedSection:
    section, tasks = part.section, part.result.tasks
    tiles = {stream.name: stream.tiles for stream in section.streams}
    computing = [task for task in section.tasks if task.serves and design.units[task.unit].arbitration == "placed"]
    # A stage fires for each piece or head of a token, and gives its result with the last of them.
    tokens = min((_given(pattern, task.firings) for task in computing for pattern in task.gives.values()), default=1)
    stages = tuple(
        PlacedStage(
            task.name, tuple(served.ops[0] for served in task.serves), task.unit, task.servers,
            sum(tiles[name] for name in task.takes), task.firings, tasks[task.name].busy_cycles,
            -(-tasks[task.name].busy_cycles // tokens),
        )
        for task in computing
    )  # fmt: skip
    servers, of_memory, traffic = dict[str, int](), dict[str, int](), dict[tuple[str, str], int]()
    for stage in stages:
        servers[stage.unit] = servers.get(stage.unit, 0) + stage.servers
    for stream in section.streams:
        if stream.tiles:
            of_memory[stream.memory] = of_memory.get(stream.memory, 0) + stream.tiles
    for (unit, way, _), n in part.traffic.sums.items():
        if way in ("read", "written"):
            traffic[unit, way] = traffic.get((unit, way), 0) + int(n)
    launches = sum(
        n for task in section.tasks if isinstance(design.units[task.unit], Launcher)
        for item, n in task.work.counted(task.firings) if item.kind == "enter"
    )  # fmt: skip
    return PlacedSection(
        label + section.name, section.repeat, steps, part.result.cycles, launches, stages, servers, of_memory,
        _longest(part, design), traffic, section.floor,
    )  # fmt: skip


def _given(gives: Pattern[int], firings: int) -> int:
    return sum(tokens * n for tokens, n in gives.counted(firings))


def _longest(part: SectionRun, design: Design) -> tuple[str, int]:
    """The placed task or shared unit that is busy for longest, the first of equals."""
    busy: dict[str, int] = {}
    for task in part.section.tasks:
        unit = design.units[task.unit]
        name = task.name if unit.arbitration == "placed" else task.unit
        servers = 1 if unit.arbitration == "placed" else unit.count // task.servers
        busy[name] = busy.get(name, 0) + part.result.tasks[task.name].busy_cycles // servers
    return max(busy.items(), key=lambda one: one[1])
