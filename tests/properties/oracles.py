"""What a section means in time, three times over and apart from the engine: a game, a recurrence and a slow clock.

None of them imports archsim. Units are their written form (`arbitration`, `count`, `latency_cycles`), and every firing
is work `copy(d=n)` on one lane, which holds its server for n cycles, or s servers for n / s, rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import Any

from dataflow.op import work
from dataflow.order import Repeat
from dataflow.pattern import Pattern, every
from dataflow.section import Section
from dataflow.task import Task

Units = Mapping[str, Mapping[str, Any]]


def unrolled(pattern: Pattern[Any], n: int) -> list[Any]:
    """The first n values of a pattern."""
    period = [value for value, times in pattern.runs for _ in range(times)]
    return [period[i % len(period)] for i in range(n)]


def written_out(order: Any) -> list[str]:
    """Each firing of an order, by its task."""
    firings: list[str] = []
    for run in order:
        if isinstance(run, Repeat):
            firings += written_out(run.runs) * run.times
        else:
            firings += [run[0]] * run[1]
    return firings


class Plain:
    """A section with its patterns written out: per task and firing the cycles, and per stream the tokens."""

    def __init__(self, section: Section) -> None:
        self.tasks = [t.name for t in section.tasks]
        self.unit = {t.name: t.unit for t in section.tasks}
        self.firings = {t.name: t.firings for t in section.tasks}
        self.servers = {t.name: t.servers for t in section.tasks}
        self.priority = {t.name: t.priority for t in section.tasks}
        self.cycles = {
            t.name: [ceil(item.extents[0] / t.servers) for item in unrolled(t.work, t.firings)] for t in section.tasks
        }
        self.takes = {t.name: {s: unrolled(p, t.firings) for s, p in t.takes.items()} for t in section.tasks}
        self.gives = {t.name: {s: unrolled(p, t.firings) for s, p in t.gives.items()} for t in section.tasks}
        self.depth = {s.name: s.depth for s in section.streams}
        self.initial = {s.name: s.initial for s in section.streams}
        self.order = {unit: written_out(section.order_of(unit)) for unit in dict.fromkeys(self.unit.values())}
        self.consumers = {s.name: [t for t in self.tasks if s.name in self.takes[t]] for s in section.streams}

    @classmethod
    def of_flat(cls, flat: Any) -> Plain:
        """The same of a section in flat form, of which a gang of servers is one that does its firings alone."""
        plain = cls(Section("none", (Task("t", "u", 1, every(work("copy", d=1))),), ()))
        plain.tasks = [t.name for t in flat.tasks]
        runs = {t.name: unrolled(Pattern(tuple((run, run.count) for run in t.runs)), t.firings) for t in flat.tasks}
        plain.unit = {t.name: flat.units[t.unit].name for t in flat.tasks}
        plain.firings = {t.name: t.firings for t in flat.tasks}
        plain.servers = dict.fromkeys(plain.tasks, 1)
        plain.priority = {t.name: t.priority for t in flat.tasks}
        plain.cycles = {t: [run.cycles for run in runs[t]] for t in plain.tasks}
        plain.depth = {s.name: s.depth for s in flat.streams}
        plain.initial = {s.name: s.initial for s in flat.streams}
        plain.order = {
            u.name: [plain.tasks[i] for i in written_out(u.order if u.order is not None else ())] for u in flat.units
        }
        names = [s.name for s in flat.streams]
        for end, moved in (("takes", plain.takes), ("gives", plain.gives)):
            moved.clear()
            for t in plain.tasks:
                of_run = [{names[s]: n for s, n in getattr(run, end)} for run in runs[t]]
                used = {s for one in of_run for s in one}  # each firing has them in the order of the section
                moved[t] = {s: [one.get(s, 0) for one in of_run] for s in names if s in used}
        plain.consumers = {s.name: [plain.tasks[i] for i in s.consumers] for s in flat.streams}
        return plain


@dataclass
class Game:
    """The firings of a game in order, and how often each task was fired."""

    fired: list[str]
    counts: dict[str, int]


def run_untimed(section: Section, units: Units | None = None, *, random: Random | None = None) -> Game:
    """Fires tasks one by one, time left out, until none can: what can be fired at all does not depend on when.

    With `units`, the fixed orders of those that serve in order are kept; without, every order is free.
    """
    plain = Plain(section)
    tokens = {(s, t): plain.initial[s] for s, consumers in plain.consumers.items() for t in consumers}
    counts = dict.fromkeys(plain.tasks, 0)
    served = dict.fromkeys(plain.unit.values(), 0)
    fired: list[str] = []

    def possible(task: str) -> bool:
        i, unit = counts[task], plain.unit[task]
        if i == plain.firings[task]:
            return False
        if units and units[unit]["arbitration"] == "in_order" and plain.order[unit][served[unit]] != task:
            return False
        if any(tokens[s, task] < n[i] for s, n in plain.takes[task].items()):
            return False
        held = {s: max(tokens[s, t] for t in plain.consumers[s]) for s in plain.gives[task]}
        return all(plain.depth[s] - held[s] >= n[i] for s, n in plain.gives[task].items())

    while can := [task for task in plain.tasks if possible(task)]:
        task = random.choice(can) if random else can[0]
        for s, n in plain.takes[task].items():
            tokens[s, task] -= n[counts[task]]
        for s, n in plain.gives[task].items():
            for t in plain.consumers[s]:
                tokens[s, t] += n[counts[task]]
        counts[task] += 1
        served[plain.unit[task]] += 1
        fired.append(task)
    return Game(fired, counts)


@dataclass
class Times:
    """Start and end of every firing that happens, per task; `cycles` until the last end or arrival."""

    starts: dict[str, list[int]]
    ends: dict[str, list[int]]
    cycles: int


def recurrence(section: Section, units: Units) -> Times:
    """Starts of firings on units of one server and one task each, from those that they wait for.

    start(i) = max(end of the task's firing i - 1; per stream taken: the arrival of its last token needed; per stream
    given and consumer: the end of its firing that frees the last place needed). Firings are worked off
    as their terms become known.
    """
    plain = Plain(section)
    producer = {s: t for t in plain.tasks for s in plain.gives[t]}
    latency = {t: units[plain.unit[t]]["latency_cycles"] for t in plain.tasks}
    starts: dict[str, list[int]] = {t: [] for t in plain.tasks}
    ends: dict[str, list[int]] = {t: [] for t in plain.tasks}

    def end_of(task: str, moved: list[int], needed: int) -> int | None:
        """The end of the firing of this task that moves the needed-th token; None where it is not known yet."""
        if needed <= 0:
            return 0
        so_far = 0
        for end, n in zip(ends[task], moved, strict=False):
            so_far += n
            if so_far >= needed:
                return end
        return None

    def start_of(task: str, i: int) -> int | None:
        terms: list[int | None] = [ends[task][-1] if i else 0]
        for s, n in plain.takes[task].items():
            if n[i]:
                giver = producer[s]
                needed = sum(n[: i + 1]) - plain.initial[s]
                end = end_of(giver, plain.gives[giver][s], needed)
                terms.append(end if end is None or needed <= 0 else end + latency[giver])
        for s, n in plain.gives[task].items():
            if n[i]:
                needed = plain.initial[s] + sum(n[: i + 1]) - plain.depth[s]
                terms += [end_of(taker, plain.takes[taker][s], needed) for taker in plain.consumers[s]]
        known = [t for t in terms if t is not None]
        return max(known) if len(known) == len(terms) else None

    progress = True
    while progress:
        progress = False
        for task in plain.tasks:
            while (i := len(starts[task])) < plain.firings[task] and (start := start_of(task, i)) is not None:
                starts[task].append(start)
                ends[task].append(start + plain.cycles[task][i])
                progress = True
    last = [end + latency[t] * any(n[i] for n in plain.gives[t].values())
            for t in plain.tasks for i, end in enumerate(ends[t])]  # fmt: skip
    return Times(starts, ends, max(last, default=0))


CAUSES = ("busy", "starved", "blocked", "idle")


@dataclass
class Account:
    """What a run of the slow clock saw. `fired` counts starts, apart from comparisons; `stuck`: firings are left."""

    cycles: int = 0
    stuck: bool = False
    fired: dict[str, int] = field(default_factory=dict, compare=False)
    units: dict[str, dict[str, int]] = field(default_factory=dict)
    stalls: dict[str, dict[tuple[str, str], int]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)


class SlowClock:
    """A section, cycle by cycle: at each time everything that ends, ends; what must start, starts; then a cycle passes.

    Units in order start as soon as the task in turn can; when all else at this time is done, units that serve first
    come pick, of the lowest priority, the firing that could start since the earliest time, the task listed first among
    equals. A place is taken until each consumer of its token has finished.
    """

    def __init__(self, plain: Plain, units: Units, *, turns: bool = False) -> None:
        self.plain, self.units, self.turns = plain, units, turns
        p = self.plain
        self.now = 0
        self.tokens = {(s, t): p.initial[s] for s, consumers in p.consumers.items() for t in consumers}
        self.places_taken = dict(p.initial)  # in all, those that have come free since included
        self.finished = dict.fromkeys(self.tokens, 0)
        self.fired = dict.fromkeys(p.tasks, 0)
        self.under_way: list[tuple[int, str, int]] = []
        self.coming: list[tuple[int, str, int]] = []
        self.turn = dict.fromkeys(p.order, 0)
        self.since: dict[str, int] = {}
        self.seen = Account(
            units={u: dict.fromkeys(CAUSES, 0) for u in p.order}, stalls={u: {} for u in p.order}, peaks=dict(p.initial)
        )

    def run(self) -> Account:
        """The account of the whole run."""
        while True:
            while self.end_some() or self.start_in_order():
                pass
            self.choose()
            if not self.under_way and not self.coming:
                break
            self.pass_a_cycle()
        self.seen.cycles, self.seen.fired = self.now, self.fired
        self.seen.stuck = self.fired != self.plain.firings
        return self.seen

    def end_some(self) -> bool:
        ending = [one for one in self.under_way if one[0] == self.now]
        arriving = [one for one in self.coming if one[0] == self.now]
        self.under_way = [one for one in self.under_way if one[0] != self.now]
        self.coming = [one for one in self.coming if one[0] != self.now]
        for _, stream, n in arriving:
            for consumer in self.plain.consumers[stream]:
                self.tokens[stream, consumer] += n
        for _, task, i in ending:
            self.seen.ends[task] = self.now
            for stream, n in self.plain.takes[task].items():
                self.finished[stream, task] += n[i]
            for stream, n in self.plain.gives[task].items():
                if n[i]:
                    self.coming.append((self.now + self.units[self.plain.unit[task]]["latency_cycles"], stream, n[i]))
        return bool(ending or arriving)

    def lack(self, task: str) -> tuple[str, str] | None:
        i = self.fired[task]
        for stream, n in self.plain.takes[task].items():
            if self.tokens[stream, task] < n[i]:
                return "starved", stream
        for stream, n in self.plain.gives[task].items():
            if self.plain.depth[stream] - self.held(stream) < n[i]:
                return "blocked", stream
        return None

    def held(self, stream: str) -> int:
        """Places that are taken now."""
        slowest = min(self.finished[stream, consumer] for consumer in self.plain.consumers[stream])
        return self.places_taken[stream] - slowest

    def free(self, unit: str) -> int:
        at_work = [task for _, task, _ in self.under_way if self.plain.unit[task] == unit]
        return self.units[unit]["count"] - sum(self.plain.servers[task] for task in at_work)

    def fits(self, task: str) -> bool:
        return self.free(self.plain.unit[task]) >= self.plain.servers[task]

    def start(self, task: str) -> None:
        i = self.fired[task]
        self.fired[task] += 1
        self.seen.starts.setdefault(task, self.now)
        for stream, n in self.plain.takes[task].items():
            self.tokens[stream, task] -= n[i]
        for stream, n in self.plain.gives[task].items():
            self.places_taken[stream] += n[i]
        self.under_way.append((self.now + self.plain.cycles[task][i], task, i))

    def in_turn(self, unit: str) -> str | None:
        order = self.plain.order[unit]
        return order[self.turn[unit]] if self.turn[unit] < len(order) else None

    def start_in_order(self) -> bool:
        for unit in self.plain.order:
            task = self.in_turn(unit)
            if self.units[unit]["arbitration"] == "in_order" and task and self.fits(task) and not self.lack(task):
                self.turn[unit] += 1
                self.start(task)
                return True
        return False

    def unfinished(self, unit: str) -> list[str]:
        p = self.plain
        return [t for t in p.tasks if p.unit[t] == unit and self.fired[t] < p.firings[t]]

    def choose(self) -> None:
        for unit in self.plain.order:
            if self.units[unit]["arbitration"] != "first_come":
                continue
            while True:
                ready = [t for t in self.unfinished(unit) if not self.lack(t)]
                for task in ready:
                    self.since.setdefault(task, self.now)
                p = self.plain
                if not ready or not self.fits(ready[0]):
                    break
                task = min(ready, key=lambda t: (p.priority[t], self.since[t], p.tasks.index(t)))
                del self.since[task]
                self.start(task)

    def why(self, unit: str) -> tuple[str, str]:
        """Why a free server does nothing: of tasks that wait, those without room speak first, then the first listed."""
        if self.units[unit]["arbitration"] == "in_order":
            task = self.in_turn(unit)
            lack = self.lack(task) if task else None
            if lack and self.turns and any(not self.lack(other) for other in self.unfinished(unit)):
                return "turn", ""
            return lack or ("idle", "")
        lacks = [lack for t in self.unfinished(unit) if (lack := self.lack(t))]
        blocked = [lack for lack in lacks if lack[0] == "blocked"]
        return next(iter(blocked or lacks), ("idle", ""))

    def pass_a_cycle(self) -> None:
        for unit in self.plain.order:
            free = self.free(unit)
            self.seen.units[unit]["busy"] += self.units[unit]["count"] - free
            if free:
                cause = self.why(unit)
                self.seen.units[unit][cause[0]] = self.seen.units[unit].get(cause[0], 0) + free
                if cause[0] != "idle":
                    self.seen.stalls[unit][cause] = self.seen.stalls[unit].get(cause, 0) + free
        for stream, peak in self.seen.peaks.items():
            self.seen.peaks[stream] = max(peak, self.held(stream))
        self.now += 1
