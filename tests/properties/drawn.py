"""Sections and designs as hypothesis draws them: small, valid, and as varied as the event model allows.

Every unit is a vector with one lane, so that a firing with `copy(d=n)` holds it for n cycles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import strategies as st
from oracles import run_untimed

from archsim import Design, load_design
from dataflow.op import Work, work
from dataflow.order import Order, Repeat
from dataflow.pattern import Pattern
from dataflow.section import Section
from dataflow.task import Stream, Task

TOY = load_design("toy")
MOST_FIRINGS = 60
Units = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Drawn:
    """A section and the written form of the units it runs on."""

    section: Section
    units: Units

    @property
    def design(self) -> Design:
        """The toy design with these units in place of its own."""
        return TOY.with_({"units": self.units})

    def with_section(self, **changes: Any) -> Drawn:
        """The same with fields of the section replaced."""
        return replace(self, section=replace(self.section, **changes))

    def with_every_unit(self, **changes: Any) -> Drawn:
        """The same with keys of every unit replaced."""
        return replace(self, units={name: {**unit, **changes} for name, unit in self.units.items()})


def pattern(values: list[Any]) -> Pattern[Any]:
    """The shortest repeating pattern that begins with these values, in runs."""
    period = next(p for p in range(1, len(values) + 1) if all(values[i] == values[i % p] for i in range(len(values))))
    runs: list[tuple[Any, int]] = []
    for value in values[:period]:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return Pattern(tuple(runs))


def copies(values: list[int]) -> Pattern[Work]:
    """The work of firings that hold a unit of one lane for so many cycles."""
    return pattern([work("copy", d=n) for n in values])


@st.composite
def drawn(
    draw: st.DrawFn,
    *,
    arbitrations: tuple[str, ...] = ("in_order", "first_come"),
    own_units: bool = False,
    most_tasks: int = 6,
) -> Drawn:
    """A section with its units: chains, forks, joins and reconvergence, loops with initial tokens, several rates.

    Some streams are broadcasts, some tasks have a priority, on some units firings take all servers, some orders repeat.

    `own_units` gives every task one server of its own. Some deadlock: places may be too few, an order may be wrong.
    """
    names = [f"t{i}" for i in range(draw(st.integers(1, most_tasks)))]
    units = _units(draw, len(names), arbitrations, own_units)
    gangs = {name: draw(st.sampled_from([1, 1, unit["count"]])) for name, unit in units.items()}
    each = MOST_FIRINGS // len(names)
    most = draw(st.integers(1, each))
    tasks = {}
    for i, name in enumerate(names):
        unit = f"u{i}" if own_units else draw(st.sampled_from(sorted(units)))
        firings = draw(st.sampled_from([most, most, *(k for k in (1, 2, 3, 4, 6, 8, 12) if k <= each)]))
        least = 1 if units[unit]["arbitration"] == "first_come" else 0
        priority = draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
        servers = gangs[unit]
        work_of = copies(_holds(draw, firings, least))
        tasks[name] = Task(name, unit, firings, work_of, servers=servers, priority=priority)
    streams: list[Stream] = []
    for source, sink in _edges(draw, names):
        back = not draw(st.integers(0, 9))
        others = [name for name in names if name not in (source, sink) and (name > source or back)]
        further = draw(st.sampled_from([0, 0, 0, 1, 2]))
        _join(draw, tasks, streams, source, (sink, *others[:further]))
    section = Section("drawn", tuple(tasks.values()), tuple(streams))
    return Drawn(replace(section, orders=_orders(draw, section, units)), units)


def _units(draw: st.DrawFn, tasks: int, arbitrations: tuple[str, ...], own_units: bool) -> Units:
    names = [f"u{i}" for i in range(tasks if own_units else draw(st.integers(1, 3)))]
    return {
        name: {
            "kind": "vector", "ops": [], "lanes": 1,
            "arbitration": draw(st.sampled_from(arbitrations)),
            "count": 1 if own_units else draw(st.sampled_from([1, 1, 1, 2, 3])),
            "latency_cycles": draw(st.sampled_from([0, 0, 1, 3])),
        }
        for name in names
    }  # fmt: skip


def _holds(draw: st.DrawFn, firings: int, least: int) -> list[int]:
    cycles = st.integers(least, 4)
    if draw(st.booleans()):
        return [draw(cycles)] * firings
    return draw(st.lists(cycles, min_size=firings, max_size=firings))


def _edges(draw: st.DrawFn, names: list[str]) -> list[tuple[str, str]]:
    """Mostly a connected DAG in the order of the names, some pairs joined twice, a few edges back or to oneself."""
    edges = [(draw(st.sampled_from(names[:i])), name) for i, name in enumerate(names) if i and draw(st.integers(0, 5))]
    place = st.integers(0, len(names) - 1)
    for _ in range(draw(st.integers(0, 2))):
        a, b = draw(place), draw(place)
        if a != b:
            edges.append((names[min(a, b)], names[max(a, b)]))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        a, b = draw(place), draw(place)
        edges.append((names[max(a, b)], names[min(a, b)]))
    return edges


def _join(draw: st.DrawFn, tasks: dict[str, Task], streams: list[Stream], source: str, sinks: tuple[str, ...]) -> None:
    """Adds a stream whose ends agree; its initial tokens are few on the way forward and many on the way back."""
    a, b = tasks[source].firings, tasks[sinks[0]].firings
    tokens = draw(st.sampled_from([a, b, max(a, b), min(a, b), draw(st.integers(0, 12))]))
    given = _spread(draw, tokens, a)
    taken = {sink: _spread(draw, tokens, tasks[sink].firings) for sink in sinks}
    depth = max(1, *given, *(n for each in taken.values() for n in each)) + draw(st.sampled_from([0, 1, 1, 2, 4]))
    name = f"s{len(streams)}"
    back = source >= min(sinks)
    initial = draw(st.integers(1, depth)) if back else draw(st.sampled_from([0, 0, 0, 0, 0, 1]))
    streams.append(Stream(name, depth, 1, initial))
    tasks[source] = replace(tasks[source], gives={**tasks[source].gives, name: pattern(given)})
    for sink, each in taken.items():
        tasks[sink] = replace(tasks[sink], takes={**tasks[sink].takes, name: pattern(each)})


def _spread(draw: st.DrawFn, tokens: int, firings: int) -> list[int]:
    """So many tokens over so many firings: as evenly as they go, late or early; all at an end; or anyhow."""
    how = draw(st.sampled_from(["late", "late", "early", "early", "last", "first", "anyhow"]))
    late = [(i + 1) * tokens // firings - i * tokens // firings for i in range(firings)]
    if how == "anyhow":
        cuts = sorted(draw(st.lists(st.integers(0, tokens), min_size=firings - 1, max_size=firings - 1)))
        return [b - a for a, b in zip([0, *cuts], [*cuts, tokens], strict=True)]
    if how in ("last", "first"):
        late = [0] * (firings - 1) + [tokens]
    return late if how in ("late", "last") else late[::-1]


def _orders(draw: st.DrawFn, section: Section, units: Units) -> dict[str, Order]:
    """For each unit in order: as listed, as the tasks could be fired one by one, or anyhow."""
    random = Random(draw(st.integers(0, 10**6)))
    fired = run_untimed(section, random=random).fired
    orders = {}
    for name, unit in units.items():
        mine = [t for t in section.tasks if t.unit == name]
        how = draw(st.sampled_from(["played", "played", "played", "played", "listed", "anyhow"]))
        if unit["arbitration"] != "in_order" or not mine or how == "listed":
            continue
        left = [t.name for t in mine for _ in range(t.firings)]
        order = [n for n in fired if n in {t.name for t in mine}] if how == "played" else []
        for n in order:
            left.remove(n)
        random.shuffle(left)
        orders[name] = tuple((n, 1) for n in [*order, *left])
        if draw(st.booleans()):
            orders[name] = _folded(orders[name])
    return orders


def _folded(order: Order) -> Order:
    """The same firings, with each stretch of up to three runs that comes again as a repeat; these may repeat too."""
    for size in (1, 2, 3):
        found: list[Any] = []
        at = 0
        while at < len(order):
            times = 1
            while order[at + times * size : at + (times + 1) * size] == order[at : at + size]:
                times += 1
            found += [Repeat(order[at : at + size], times)] if times > 1 else order[at : at + 1]
            at += times * size if times > 1 else 1
        order = tuple(found)
    return order
