"""The energy of runs: the actions of each unit, its cycles where they have an energy, and what belongs to no unit.

Summed twice, by unit and by section: the law that both agree is checked at every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from archsim.design.design import Design
from archsim.design.energy import CycleEnergy
from archsim.run.results import SectionRun
from dataflow.task import UNLIMITED


@dataclass(frozen=True, slots=True)
class Joules:
    """The energy of runs: of each unit, and beside them of what belongs to none; None where it is not known.

    `total` is None where a unit that was busy, or that waits at an energy, has none; never a part of the whole.
    """

    units: Mapping[str, Fraction | None]
    beside: Fraction | None
    total: Fraction | None


@dataclass(slots=True)
class EnergySums:
    """Sums over sections that were added, one after another."""

    design: Design
    _cycle: CycleEnergy | None = field(init=False)
    _cycles: int = 0
    _actions: dict[str, Fraction] = field(default_factory=dict)
    _lacking: set[str] = field(default_factory=set)  # units of which the energy of an action is not given
    _active: set[str] = field(default_factory=set)  # units that were busy
    _busy: dict[str, Fraction] = field(default_factory=dict)  # cycles of a server on average, if cycles have an energy
    _by_section: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        self._cycle = self.design.cycle_energy

    def add(self, run: SectionRun, times: int) -> None:
        """Adds so many runs of a section."""
        self._active |= {unit.of for unit in run.flat.units if run.result.units[unit.name].busy_cycles}
        actions = {key: joules for key, joules in run.energy.sums.items() if isinstance(key, str)}
        self._lacking |= {key[0] for key in run.energy.sums if not isinstance(key, str)}
        self._cycles += times * run.result.cycles
        _add(self._actions, actions, times)
        self._by_section += times * sum(actions.values())
        if self._cycle is not None:
            busy, cycles = self._busy_in(run), run.result.cycles
            _add(self._busy, busy, times)
            self._by_section += times * self._cycle.of_all(busy, cycles)

    def _busy_in(self, run: SectionRun) -> dict[str, Fraction]:
        """Cycles in which a server of each unit is busy, on average over the servers of the unit."""
        found: dict[str, Fraction] = {}
        for server in run.flat.units:
            count = self.design.units[server.of].count
            cycles = Fraction(run.result.units[server.name].busy_cycles, count if count < UNLIMITED else 1)
            found[server.of] = found.get(server.of, Fraction(0)) + cycles
        return found

    def _of_unit(self, name: str) -> Fraction | None:
        priced = self._cycle is not None and name in self._cycle.busy
        # A unit whose cycles have an energy needs none for its actions.
        expected = self.design.units[name].energy or self.design.technology
        if name in self._lacking and (not priced or expected):
            return None
        actions = Fraction(0) if name in self._lacking else self._actions.get(name, Fraction(0))
        if self._cycle is None or not priced:
            return actions
        cycles = self._cycle.of_unit(name, self._busy.get(name, Fraction(0)), self._cycles)
        return None if cycles is None else cycles + actions

    def joules(self) -> Joules:
        """The energy of all sections."""
        units = {name: self._of_unit(name) for name in sorted(self.design.units)}
        beside = None if self._cycle is None else self._cycle.beside(self._cycles)
        priced = () if self._cycle is None else self._cycle.busy
        parts = [units[name] for name in units if name in self._active or name in priced]
        parts += [] if self._cycle is None else [beside]
        known = [part for part in parts if part is not None]
        return Joules(units, beside, sum(known, Fraction(0)) if parts and len(known) == len(parts) else None)

    def broken(self) -> Iterator[str]:
        """The broken law: the energy of all units and what belongs to none is that of all sections."""
        found = self.joules()
        if found.total is not None and found.total != self._by_section:
            yield f"energy: {float(found.total)} J by units, {float(self._by_section)} J by sections"


def _add(sums: dict[str, Fraction], more: Mapping[str, int | Fraction], times: int) -> None:
    for name, n in more.items():
        sums[name] = sums.get(name, Fraction(0)) + times * n
