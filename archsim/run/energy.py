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
class EnergyTotals:
    """The energy of runs: of each unit, and beside them of idle power and of the resources that no unit uses.

    `missing` says why the energy of a unit is not known, or that of the rest (""). `total` is None where anything is
    missing that was busy or that takes energy while it waits; never a part of the whole.
    """

    units: Mapping[str, Fraction | None]
    idle: Fraction | None
    rest: Fraction | None
    missing: Mapping[str, str]
    total: Fraction | None


def why_unknown(joules: EnergyTotals, design: Design) -> str:
    """Why energy and power of a run are not known; "" where they are."""
    if design.power is not None:
        return "" if design.published_power is not None else "power is published of what was built, and this differs"
    if design.energy is not None and design.energy.cycle and design.built is None:
        return "what a cycle takes goes by the use of the FPGA, and nothing says what was built"
    if design.energy is design.technology is None and not any(unit.energy for unit in design.units.values()):
        return "the design gives neither power nor energies"
    of_reason: dict[str, list[str]] = {}
    for name, why in joules.missing.items():
        of_reason.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(names)}: {why}" if any(names) else why for why, names in of_reason.items())


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

    def _of_unit(self, name: str) -> Fraction | str:
        """Joules of a unit, or why they are not known.

        A unit whose cycles are priced, as an FPGA's are, needs no energy for its actions; where it is given all the
        same, both add up.
        """
        unpriced = name in self._lacking
        if self._cycle is None or name not in self._cycle.busy:
            return self.design.why_unpriced(name) if unpriced else self._actions.get(name, Fraction(0))
        if unpriced and (self.design.units[name].energy or self.design.technology):
            return self.design.why_unpriced(name)
        cycles = self._cycle.of_unit(name, self._busy.get(name, Fraction(0)), self._cycles)
        if cycles is None:
            return self._cycle.missing[name]
        return cycles + (0 if unpriced else self._actions.get(name, Fraction(0)))

    def joules(self) -> EnergyTotals:
        """The energy of all sections."""
        found = {name: self._of_unit(name) for name in sorted(self.design.units)}
        units = {name: None if isinstance(each, str) else each for name, each in found.items()}
        needed = {*self._active, *(self._cycle.busy if self._cycle else ())}
        missing = {name: why for name, why in found.items() if isinstance(why, str) and name in needed}
        idle, rest = None, None
        if self._cycle is not None:
            idle, rest = self._cycle.idle * self._cycles, self._cycle.of_rest(self._cycles)
            if rest is None and not missing:
                missing[""] = "what the rest of the FPGA uses is not known"
        parts = [units[name] for name in units if name in needed] + [each for each in (idle, rest) if each is not None]
        known = [part for part in parts if part is not None]
        return EnergyTotals(units, idle, rest, missing, None if missing or not parts else sum(known, Fraction(0)))

    def broken(self) -> Iterator[str]:
        """The broken law: the energy of all units and what belongs to none is that of all sections."""
        found = self.joules()
        if found.total is not None and found.total != self._by_section:
            yield f"energy: {float(found.total)} J by units, {float(self._by_section)} J by sections"


def _add(sums: dict[str, Fraction], more: Mapping[str, int | Fraction], times: int) -> None:
    for name, n in more.items():
        sums[name] = sums.get(name, Fraction(0)) + times * n
