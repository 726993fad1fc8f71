"""Long sections that repeat themselves after a while, family by family, made from a `Random`.

Thousands of firings each: what the compiled engine skips most of and the SimPy engine runs one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd
from random import Random
from typing import Any

from archsim import load_design
from archsim.engine.flat import Flat, flatten
from dataflow import UNLIMITED, Pattern, Section, Stream, Task, every, sequence, work

LANE = {"kind": "vector", "ops": [], "lanes": 1}
LATENCIES = (0, 1, 4, 9)
UNITS: dict[str, dict[str, Any]] = {f"own {n} {i}": {**LANE, "latency_cycles": n} for n in LATENCIES for i in range(8)}
UNITS |= {f"deep {n}": {**LANE, "latency_cycles": n} for n in (30, 61, 90, 200)}
UNITS |= {f"memory {n} {k}": {**LANE, "latency_cycles": n, "count": k, "arbitration": "first_come"}
          for n in LATENCIES for k in (1, 2, 3)}  # fmt: skip
UNITS |= {f"several {n} {i}": {**LANE, "latency_cycles": i, "count": n} for n in (2, 3, 5) for i in range(4)}
UNITS |= {f"crowd {n}": {**LANE, "count": n, "latency_cycles": 333} for n in (300, 700)}
UNITS |= {"far": {**LANE, "arbitration": "first_come", "count": 9, "latency_cycles": 2_000}}
UNITS |= {"placed": {**LANE, "arbitration": "placed", "count": 99, "latency_cycles": 1}}
DESIGN = load_design("toy").with_({"units": UNITS})
Ends = Mapping[str, int | Pattern[int]]


def task(
    name: str, unit: str, firings: int, cycles: int | list[int], takes: Ends | None = None, gives: Ends | None = None
) -> Task:
    """A task that holds a unit of one lane for so many cycles a firing: always as many, or by turns."""
    held = sequence(*((work("copy", d=n), 1) for n in ([cycles] if isinstance(cycles, int) else cycles)))
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, unit, firings, held, taken, given)


def flat_of(
    tasks: list[Task], streams: list[Stream], orders: Mapping[str, tuple[tuple[str, int], ...]] | None = None
) -> Flat:
    return flatten(Section("repeating", tuple(tasks), tuple(streams), orders=orders or {}), DESIGN)


def owns(random: Random, n: int) -> list[str]:
    """So many units of one server each, of several latencies."""
    return random.sample([name for name in UNITS if name.startswith("own")], n)


def hold(random: Random, *, least: int = 0) -> list[int]:
    """Cycles of a firing, the same for all or by turns of up to five."""
    return [random.randint(least, 6) for _ in range(random.choice((1, 1, 2, 3, 5)))]


def depth(random: Random, *, least: int = 1) -> int:
    return random.choice((least, least + 1, least + 1, least + 3, least + 10, UNLIMITED))


def chain(random: Random) -> Flat:
    """A line of units; what is slowest sets the pace once the queues before it are full, if they ever are."""
    n, firings = random.randint(2, 8), random.randint(300, 1500)
    tasks = [
        task(f"t{i}", unit, firings, hold(random), {f"s{i}": 1} if i else {}, {f"s{i + 1}": 1} if i + 1 < n else {})
        for i, unit in enumerate(owns(random, n))
    ]
    return flat_of(tasks, [Stream(f"s{i}", depth(random)) for i in range(1, n)])


def multi_rate_chain(random: Random) -> Flat:
    """A line in which each link multiplies or divides the rate; tokens evenly or all at once."""
    rates = [random.choice((1, 2, 3, 4, 6)) for _ in range(random.randint(2, 5))]
    times = random.randint(200, 600)
    takes: list[dict[str, Pattern[int]]] = [{} for _ in rates]
    gives: list[dict[str, Pattern[int]]] = [{} for _ in rates]
    streams = []
    for i in range(1, len(rates)):
        tokens = rates[i - 1] * rates[i] // gcd(rates[i - 1], rates[i])
        given, taken = lumps(random, tokens, rates[i - 1]), lumps(random, tokens, rates[i])
        gives[i - 1][f"s{i}"], takes[i][f"s{i}"] = given, taken
        least = max(n for pattern in (given, taken) for n, _ in pattern) + random.choice((0, tokens))
        streams.append(Stream(f"s{i}", depth(random, least=least)))
    tasks = [
        task(f"t{i}", unit, times * rate, hold(random), takes[i], gives[i])
        for i, (unit, rate) in enumerate(zip(owns(random, len(rates)), rates, strict=True))
    ]
    return flat_of(tasks, streams)


def lumps(random: Random, tokens: int, firings: int) -> Pattern[int]:
    """So many tokens over so many firings: as many each, or all with the first or the last."""
    rest = (0, firings - 1)
    return random.choice((every(tokens // firings), sequence((tokens, 1), rest), sequence(rest, (tokens, 1))))


def fork_join(random: Random) -> Flat:
    """One task feeds several ways of one or two tasks, which meet again, and another is fed by the way past."""
    firings, ways = random.randint(300, 1000), random.randint(2, 3)
    units = iter(owns(random, 2 + 2 * ways))
    inner, streams = [], []
    gives, takes = {}, {}
    for w in range(ways):
        length = random.randint(0, 2)
        names = [f"s{w} {i}" for i in range(length + 1)]
        gives[names[0]], takes[names[-1]] = 1, 1
        streams += [Stream(name, depth(random)) for name in names]
        inner += [
            task(f"w{w} {i}", next(units), firings, hold(random), {names[i]: 1}, {names[i + 1]: 1})
            for i in range(length)
        ]
    first = task("fork", next(units), firings, hold(random), {}, gives)
    return flat_of([first, *inner, task("join", next(units), firings, hold(random), takes)], streams)


def loop(random: Random) -> Flat:
    """A ring with initial tokens, fed and drained; its state goes round with the tokens."""
    n, firings = random.randint(1, 4), random.randint(400, 1500)
    units = owns(random, n + 2)
    back = random.randint(1, 6)
    tasks = []
    for i in range(n):
        takes, gives = {f"r{i}": 1}, {f"r{(i + 1) % n}": 1}
        takes |= {"in": 1} if i == 0 else {}
        gives |= {"out": 1} if i == n - 1 else {}
        tasks.append(task(f"t{i}", units[i], firings, hold(random), takes, gives))
    tasks += [task("source", units[n], firings, hold(random), {}, {"in": 1}),
              task("sink", units[n + 1], firings, hold(random), {"out": 1})]  # fmt: skip
    streams = [Stream(f"r{i}", depth(random) if i else back + random.randint(0, 2), initial=0 if i else back)
               for i in range(n)]  # fmt: skip
    return flat_of(tasks, [*streams, Stream("in", depth(random)), Stream("out", depth(random))])


def rows(random: Random) -> Flat:
    """Rows of N elements past their own sum, as streamed attention has them: N - 1 firings alike and 1 other."""
    n, r = random.randint(2, 40), random.randint(10, 60)
    first, last, step = sequence((1, 1), (0, n - 1)), sequence((0, n - 1), (1, 1)), random.choice((1, 1, 2))
    units = ["placed"] * 4 if random.random() < 0.5 else owns(random, 4)
    tasks = [
        task("fork", units[0], n * r, step, {}, {"to": 1, "past": 1}),
        task("sum", units[1], n * r, step, {"to": 1}, {"total": last}),
        task("divide", units[2], n * r, step, {"total": first, "past": 1}, {"out": 1}),
        task("sink", units[3], n * r, random.choice((1, 1, 3)), {"out": 1}),
    ]
    past = random.choice((n, n + 1, n + 5, n + 30, UNLIMITED))
    return flat_of(tasks, [Stream("to", depth(random)), Stream("past", past), Stream("total", depth(random)),
                           Stream("out", depth(random))])  # fmt: skip


def nested(random: Random) -> Flat:
    """Periods within periods: sums of sums, and totals that are handed out again."""
    a, b, times = random.randint(2, 9), random.randint(2, 9), random.randint(8, 40)
    units = owns(random, 4)
    tasks = [
        task("each", units[0], a * b * times, hold(random, least=1), {}, {"x": 1}),
        task("sum", units[1], a * b * times, hold(random), {"x": 1}, {"y": sequence((0, a - 1), (1, 1))}),
        task("sum of sums", units[2], b * times, hold(random), {"y": 1}, {"z": sequence((0, b - 1), (1, 1))}),
        task("again", units[3], a * times, hold(random), {"z": sequence((1, 1), (0, a - 1))}),
    ]
    return flat_of(tasks, [Stream("x", depth(random)), Stream("y", depth(random)), Stream("z", depth(random))])


def deep(random: Random) -> Flat:
    """Pipelines of long latency, so that many results are on their way at any time; all the way round in a loop."""
    unit, firings = random.choice([name for name in UNITS if name.startswith("deep")]), random.randint(500, 2500)
    latency = UNITS[unit]["latency_cycles"]
    initial, first, last = random.randint(1, latency + 2), *owns(random, 2)
    tasks = [
        task("source", first, firings, hold(random), {}, {"s": 1}),
        task("deep", unit, firings, hold(random), {"s": 1, "again": 1}, {"again": 1, "t": 1}),
        task("sink", last, firings, hold(random), {"t": 1}),
    ]
    out = random.choice((1, latency // 2, latency + 1, UNLIMITED))
    return flat_of(tasks, [Stream("s", depth(random)), Stream("again", initial + 1, initial=initial), Stream("t", out)])


FAMILIES: dict[str, Callable[[Random], Flat]] = {
    "chain": chain, "multi-rate chain": multi_rate_chain, "fork and join": fork_join, "loop": loop, "rows": rows,
    "nested periods": nested, "deep pipelines": deep,
}  # fmt: skip
