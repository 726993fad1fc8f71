"""Sections in flat form, made from a `Random`: as varied as `drawn`'s, and many times as fast to make.

All are legal: totals are equal at both ends of a stream, a depth holds a firing, clients of a unit that serves first
come take time. Tasks fire in rounds; in each round both ends of a stream move as many tokens, unless a stream's tokens
lie anyhow over all of its firings. Some streams are broadcasts, some orders have repeats, some firings take a gang of
servers. Some deadlock: places may be too few, an order may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from math import lcm
from random import Random

from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit
from dataflow.order import Order, Repeat
from dataflow.task import UNLIMITED

MOST_FIRINGS = 120


@dataclass
class Plan:
    """A task under way: its unit, its firings in a round and in all, and what each firing of a period does."""

    unit: int
    rate: int
    firings: int
    cycles: list[int]
    priority: int = 0
    takes: dict[int, list[int]] = field(default_factory=dict)
    gives: dict[int, list[int]] = field(default_factory=dict)

    def flat(self, name: str) -> FlatTask:
        """The task: firings of one period of all its patterns, equal ones in runs."""
        patterns = [self.cycles, *self.takes.values(), *self.gives.values()]
        period = min(self.firings, lcm(*map(len, patterns)))
        same = groupby(self.firing(i) for i in range(period))
        runs = (FlatRun(len(list(equal)), *firing) for firing, equal in same)
        return FlatTask(name, self.unit, self.firings, tuple(runs), self.priority)

    def firing(self, i: int) -> tuple[int, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
        """Cycles of the i-th firing and the tokens that it takes and gives."""
        taken = ((s, n[i % len(n)]) for s, n in self.takes.items())
        given = ((s, n[i % len(n)]) for s, n in self.gives.items())
        return (
            self.cycles[i % len(self.cycles)],
            tuple((s, n) for s, n in taken if n),
            tuple((s, n) for s, n in given if n),
        )


def made(random: Random, *, rounds: int | None = None, most_tasks: int = 6) -> Flat:
    """A section of up to so many tasks. `rounds` of firings, all alike, make it long; without, it is short."""
    n = random.randint(1, most_tasks)
    units = _units(random, n)
    tasks = _tasks(random, n, units, rounds)
    streams: list[FlatStream] = []
    for a, b in _edges(random, n):
        _join(random, tasks, streams, a, b, anyhow=rounds is None)
    flat_units = []
    for u, (name, of, count, latency, arbitration) in enumerate(units):
        mine = tuple(i for i, task in enumerate(tasks) if task.unit == u)
        order = None if arbitration == "first come" else _order(random, tasks, streams, mine, rounds)
        flat_units.append(FlatUnit(name, of, count, latency, order, mine, random.choice((1, 1, 1, 2, 3))))
    flats = tuple(task.flat(f"t{i}") for i, task in enumerate(tasks))
    return Flat("made", flats, tuple(streams), tuple(flat_units))


def _units(random: Random, n: int) -> list[tuple[str, str, int, int, str]]:
    """Up to n units as (name, of, servers, latency, arbitration), each of which will have a task."""
    units = []
    for u in range(n if random.random() < 0.25 else random.randint(1, min(3, n))):
        arbitration = random.choice(("in order", "in order", "first come", "first come", "placed"))
        count = 1 if arbitration == "placed" else random.choice((1, 1, 1, 2, 3))
        name = f"u{u}"
        units.append((f"{name}: t" if arbitration == "placed" else name, name, count, random.choice((0, 0, 1, 3, 9)),
                      arbitration))  # fmt: skip
    return units


def _tasks(random: Random, n: int, units: list[tuple[str, str, int, int, str]], rounds: int | None) -> list[Plan]:
    """Tasks without streams; a placed unit has one, every other at least one."""
    places = list(range(len(units)))
    shared = [u for u in places if units[u][4] != "placed"]
    if not shared:
        units[0] = ("u0", "u0", 1, units[0][3], "in order")
        shared = [0]
    places += [random.choice(shared) for _ in range(n - len(units))]
    random.shuffle(places)
    times = rounds or random.randint(1, max(1, MOST_FIRINGS // (2 * n)))
    rates = [1] * n if random.random() < 0.5 else [random.choice((1, 1, 2, 3, 4)) for _ in range(n)]
    tasks = []
    for unit, rate in zip(places, rates, strict=True):
        least = 1 if units[unit][4] == "first come" else 0
        cycles = [random.randint(least, 4) for _ in range(random.choice((1, 1, 2, 3, 5)))]
        priority = random.choice((0, 0, 0, 1, -1))
        tasks.append(Plan(unit, rate, times * rate, cycles if random.random() < 0.9 else [*cycles, 40], priority))
    return tasks


def _edges(random: Random, n: int) -> list[tuple[int, int]]:
    """Mostly a connected DAG in the order of the tasks, some pairs joined twice, a few edges back or to oneself."""
    edges = [(random.randrange(i), i) for i in range(1, n) if random.random() < 0.85]
    for _ in range(random.randint(0, 2)):
        a, b = sorted((random.randrange(n), random.randrange(n)))
        edges += [(a, b)] * (a < b)
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        a, b = sorted((random.randrange(n), random.randrange(n)))
        edges.append((b, a))
    random.shuffle(edges)
    return edges


def _join(random: Random, tasks: list[Plan], streams: list[FlatStream], a: int, b: int, *, anyhow: bool) -> None:
    """Adds a stream whose ends agree; its initial tokens are few on the way forward and many on the way back."""
    others = [c for c in range(len(tasks)) if c != b and (c > a or random.random() < 0.1)]
    consumers = [b, *random.sample(others, min(len(others), random.choice((0, 0, 0, 0, 1, 2))))]
    giver, taker, s = tasks[a], tasks[b], len(streams)
    if anyhow and random.random() < 0.2:
        tokens = random.choice((giver.firings, taker.firings, random.randint(0, 12)))
        giver.gives[s] = _anyhow(random, tokens, giver.firings)
        for c in consumers:
            tasks[c].takes[s] = _anyhow(random, tokens, tasks[c].firings)
    else:
        tokens = random.choice((lcm(giver.rate, taker.rate), giver.rate, taker.rate))
        giver.gives[s] = _spread(random, tokens, giver.rate)
        for c in consumers:
            tasks[c].takes[s] = _spread(random, tokens, tasks[c].rate)
    least = max(1, *giver.gives[s], *(n for c in consumers for n in tasks[c].takes[s]))
    depth = least + random.choice((0, 1, 1, 2, 4, tokens, 2 * tokens, UNLIMITED - least))
    most = min(depth, 2 * tokens + 2)
    back = a >= min(consumers)
    initial = random.choice((1, most, most, random.randint(0, most))) if back else random.choice((0, 0, 0, 0, 1))
    streams.append(FlatStream(f"s{s}", depth, initial, a, b, tuple(consumers[1:])))


def _spread(random: Random, tokens: int, firings: int) -> list[int]:
    """So many tokens over the firings of a round: as evenly as they go, late or early, or all at an end."""
    how = random.choice(("late", "late", "early", "last", "first"))
    late = [(i + 1) * tokens // firings - i * tokens // firings for i in range(firings)]
    if how in ("last", "first"):
        late = [0] * (firings - 1) + [tokens]
    return late if how in ("late", "last") else late[::-1]


def _anyhow(random: Random, tokens: int, firings: int) -> list[int]:
    cuts = sorted(random.randint(0, tokens) for _ in range(firings - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, tokens], strict=True)]


def _order(
    random: Random, tasks: list[Plan], streams: list[FlatStream], mine: tuple[int, ...], rounds: int | None
) -> Order:
    """Firings of these tasks, maybe with repeats: one after another, as they could be fired, by rounds, or anyhow."""
    left = {i: tasks[i].firings for i in mine}
    how = random.choice(("listed", "rounds", "rounds", "rounds")) if rounds else random.choice(
        ("listed", "played", "played", "played", "played", "played", "rounds", "anyhow")
    )  # fmt: skip
    if how == "listed" or len(mine) == 1:
        return tuple(left.items())
    if how == "rounds":
        return _in_rounds(random, tasks, mine)
    order = _played(random, tasks, streams, mine) if how == "played" else []
    for i in order:
        left[i] -= 1
    rest = [i for i, n in left.items() for _ in range(n)]
    random.shuffle(rest)
    return _joined([*order, *rest], random)


def _in_rounds(random: Random, tasks: list[Plan], mine: tuple[int, ...]) -> Order:
    """The firings of each round in one order, which is the same in all; some tasks may be a round ahead of the rest."""
    times = tasks[mine[0]].firings // tasks[mine[0]].rate
    one = [i for i in mine for _ in range(tasks[i].rate)]
    if random.random() < 0.3:
        random.shuffle(one)
    ahead = [i for i in one if random.random() < 0.5 and i < mine[-1]] if random.random() < 0.3 else []
    early = [i for i in mine if i in ahead]
    before = [i for i in one if i in early]
    after = [i for i in one if i not in early]
    if times > 1 and random.random() < 0.5:
        repeated = Repeat(_joined(one, random), times - 1)
        return (*_joined(before, random), repeated, *_joined(after, random))
    return _joined([*before, *(one * (times - 1)), *after], random)


def _joined(order: list[int], random: Random) -> Order:
    """The order in runs, equal neighbours joined or each by itself, and some runs that repeat as such."""
    alone = random.random() < 0.5
    runs: Order = tuple((i, 1) if alone else (i, len(list(same))) for i, same in groupby(order))
    if alone:
        runs = tuple((i, 1) for i in order)
    while runs and random.random() < 0.4:
        runs = _folded(runs, random)
    return runs


def _folded(runs: Order, random: Random) -> Order:
    """The order with a stretch of it, and those equal to it that follow, as a repeat."""
    start, size = random.randrange(len(runs)), random.choice((1, 1, 2, 3))
    one, times = runs[start : start + size], 1
    while runs[start + times * size : start + (times + 1) * size] == one:
        times += 1
    return (*runs[:start], Repeat(one, times), *runs[start + times * len(one) :])


def _played(random: Random, tasks: list[Plan], streams: list[FlatStream], mine: tuple[int, ...]) -> list[int]:
    """Firings of these tasks in an order in which all tasks could be fired one by one, as far as that goes."""
    tokens = [dict.fromkeys(s.consumers, s.initial) for s in streams]
    fired = [0] * len(tasks)
    order: list[int] = []

    def possible(i: int) -> bool:
        if fired[i] == tasks[i].firings:
            return False
        _, takes, gives = tasks[i].firing(fired[i])
        enough = all(tokens[s][i] >= n for s, n in takes)
        return enough and all(streams[s].depth - max(tokens[s].values()) >= n for s, n in gives)

    while can := [i for i in range(len(tasks)) if possible(i)]:
        i = random.choice(can)
        _, takes, gives = tasks[i].firing(fired[i])
        for s, n in takes:
            tokens[s][i] -= n
        for s, n in gives:
            for c in tokens[s]:
                tokens[s][c] += n
        fired[i] += 1
        order += [i] * (i in mine)
    return order
