"""Long sections that repeat themselves on shared units: memories, servers, orders, phases; and late deadlocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

from made import made
from repeating import depth, flat_of, hold, lumps, owns, task

from archsim.engine.flat import Flat
from dataflow import UNLIMITED, Stream, Task, sequence


def memory(random: Random) -> str:
    return f"memory {random.choice((0, 1, 4, 9))} {random.choice((1, 1, 2, 3))}"


def clients(random: Random) -> Flat:
    """Readers and writers of one memory with bursts of different lengths, each joined to a unit of its own."""
    unit, tasks, streams = memory(random), [], []
    for i, own in enumerate(owns(random, random.randint(2, 5))):
        firings, s = random.randint(150, 600), {f"s{i}": 1}
        held = hold(random, least=1), hold(random)
        streams.append(Stream(f"s{i}", depth(random)))
        if random.random() < 0.6:
            tasks += [task(f"read {i}", unit, firings, held[0], {}, s), task(f"use {i}", own, firings, held[1], s)]
        else:
            tasks += [task(f"make {i}", own, firings, held[1], {}, s), task(f"write {i}", unit, firings, held[0], s)]
    random.shuffle(tasks)
    return flat_of(tasks, streams)


def read_compute_write(random: Random) -> Flat:
    """Two operands read in bursts, computed on and written back, all through one memory."""
    firings, unit, burst = random.randint(200, 500), memory(random), random.randint(1, 4)
    first, second = owns(random, 2)
    tasks = [
        task("weights", unit, firings * burst, hold(random, least=1), {}, {"w": 1}),
        task("inputs", unit, firings, hold(random, least=1), {}, {"x": 1}),
        task("compute", first, firings, hold(random, least=1), {"w": burst, "x": 1}, {"y": 1}),
        task("round", second, firings, hold(random), {"y": 1}, {"z": 1}),
        task("write", unit, firings, hold(random, least=1), {"z": 1}),
    ]
    return flat_of(tasks, [Stream("w", depth(random, least=burst)), *(Stream(s, depth(random)) for s in "xyz")])


def rivals(random: Random) -> Flat:
    """Clients that are always ready, on few servers: states that differ in who comes next and in nothing else."""
    unit, firings = memory(random), random.randint(60, 250)
    tasks, streams = [], []
    for i in range(random.randint(2, 7)):
        tasks.append(task(f"r{i}", unit, firings * random.choice((1, 1, 2)), random.randint(1, 9)))
    if random.random() < 0.5:
        tasks.append(task("use", owns(random, 1)[0], tasks[0].firings, hold(random), {"s": 1}))
        tasks[0] = task("r0", unit, tasks[0].firings, random.randint(1, 9), {}, {"s": 1})
        streams.append(Stream("s", depth(random)))
    return flat_of(tasks, streams)


def servers(random: Random) -> Flat:
    """A line of units of several servers whose firings overtake one another."""
    n, firings = random.randint(2, 4), random.randint(300, 1000)
    kinds = [f"several {random.choice((2, 3, 5))} {i}" for i in range(n)]
    tasks = [
        task(f"t{i}", unit, firings, hold(random), {f"s{i}": 1} if i else {}, {f"s{i + 1}": 1} if i + 1 < n else {})
        for i, unit in enumerate(kinds)
    ]
    return flat_of(tasks, [Stream(f"s{i}", depth(random)) for i in range(1, n)])


def filling(random: Random) -> Flat:
    """A queue without limit that fills as long as it is fed: no state is as it was before, until it drains."""
    firings, units = random.randint(300, 1500), owns(random, 3)
    slow = random.randint(3, 9)
    tasks = [
        task("fast", units[0], firings, random.randint(1, slow - 1), {}, {"s": 1}),
        task("slow", units[1], firings, slow, {"s": 1}, {"t": 1}),
        task("slower", units[2], firings, slow + random.randint(0, 2), {"t": 1}),
    ]
    return flat_of(tasks, [Stream("s", UNLIMITED), Stream("t", random.choice((1, 2, UNLIMITED)))])


def levels(random: Random) -> Flat:
    """Short lines whose queues fill or drain in steps while all else repeats, until one is full, empty or done."""
    firings = random.randint(3, 40) * random.choice((1, 2, 3, 5)) + random.randint(0, 3)
    singles = iter(owns(random, 4))
    units = [next(singles) if random.random() < 0.6 else f"several {random.choice((2, 3))} {i}" for i in range(4)]
    n, rates = random.randint(2, 4), [random.choice((1, 1, 2, 3)) for _ in range(4)]
    tasks, streams = [], []
    for i in range(n):
        takes, gives = {}, {}
        if i:
            takes[f"s{i}"] = lumps(random, rates[i - 1] * rates[i], rates[i])
        if i + 1 < n:
            tokens = rates[i] * rates[i + 1]
            gives[f"s{i + 1}"] = lumps(random, tokens, rates[i])
            deep = random.choice((tokens + 15, tokens + 60, tokens + 200, UNLIMITED))
            initial = random.choice((0, 0, min(deep, 100) - random.randint(0, 10)))
            streams.append(Stream(f"s{i + 1}", deep, initial=initial))
        held = [random.randint(0, 4) for _ in range(random.randint(1, 4))]
        tasks.append(task(f"t{i}", units[i], firings * rates[i], held, takes, gives))
    return flat_of(tasks, streams)


def phases(random: Random) -> Flat:
    """Pairs of tasks one after another on the same units, in order or, by a last token, as each comes to its end."""
    n, first_come = random.randint(2, 5), random.random() < 0.5
    left, right = (memory(random), owns(random, 1)[0]) if first_come else owns(random, 2)
    tasks: list[Task] = []
    streams: list[Stream] = []
    for i in range(n):
        firings, s = random.randint(60, 400), {f"s{i}": 1}
        streams.append(Stream(f"s{i}", depth(random)))
        takes, gives = {}, {}
        if i:
            takes[f"done {i}"] = sequence((1, 1), (0, firings - 1))
        if i + 1 < n:
            gives[f"done {i + 1}"] = sequence((0, firings - 1), (1, 1))
            streams.append(Stream(f"done {i + 1}", 1))
        tasks += [task(f"a{i}", left, firings, hold(random, least=1), takes, s),
                  task(f"b{i}", right, firings, hold(random), s, gives)]  # fmt: skip
    return flat_of(tasks, streams)


def interleaved(random: Random) -> Flat:
    """Units whose order takes turns between tasks, one firing or a few at a time: as many entries as firings."""
    times, rates = random.randint(100, 400), [random.randint(1, 3) for _ in range(random.randint(3, 5))]
    units = owns(random, 2)
    tasks = []
    for i, rate in enumerate(rates):
        takes = {f"s{i}": rates[i - 1]} if i else {}
        gives = {f"s{i + 1}": rates[i + 1]} if i + 1 < len(rates) else {}
        tasks.append(task(f"t{i}", units[i % 2], rate * times, hold(random), takes, gives))
    streams = [Stream(f"s{i}", depth(random, least=2 * a * b)) for i, (a, b) in enumerate(pairwise(rates), 1)]
    orders = {}
    for u, unit in enumerate(units):
        turns = [(f"t{i}", rate) for i, rate in enumerate(rates) if i % 2 == u]
        one = [(name, 1) for name, n in turns for _ in range(n)] if random.random() < 0.5 else turns
        orders[unit] = tuple(one * times)
    return flat_of(tasks, streams, orders)


def cut(random: Random) -> Flat:
    """Periods of two tasks that have no common end, and firings that are a multiple of neither."""
    a, b, firings = random.randint(2, 13), random.randint(2, 13), random.randint(500, 2500)
    units = owns(random, 2)
    tasks = [
        task("a", units[0], firings, [random.randint(0, 5) for _ in range(a)], {}, {"s": 1}),
        task("b", units[1], firings, [random.randint(0, 5) for _ in range(b)], {"s": 1}),
    ]
    return flat_of(tasks, [Stream("s", depth(random))])


def growing_rows(random: Random) -> Flat:
    """Rows that grow by an element each past their own sum: stuck at the first that is longer than the way past."""
    r = random.randint(30, 70)
    lengths = range(1, r + 1)
    firings = sum(lengths)
    first = sequence(*((n, k) for length in lengths for n, k in ((1, 1), (0, length - 1))))
    last = sequence(*((n, k) for length in lengths for n, k in ((0, length - 1), (1, 1))))
    units = owns(random, 3)
    tasks = [
        task("fork", units[0], firings, 1, {}, {"to": 1, "past": 1}),
        task("sum", units[1], firings, 1, {"to": 1}, {"total": last}),
        task("divide", units[2], firings, hold(random), {"total": first, "past": 1}),
    ]
    past = random.choice((r - 1, r, r + 9, random.randint(r // 2, r)))
    return flat_of(tasks, [Stream("to", depth(random)), Stream("past", past), Stream("total", depth(random))])


def late_deadlock(random: Random) -> Flat:
    """Thousands of firings that go well, and then the way past is too short, or a turn comes too early."""
    n, units = random.randint(300, 1200), owns(random, 4)
    if random.random() < 0.5:
        more = random.randint(3, 9)
        given = sequence((1, n), (0, more - 1), (more, 1))
        tasks = [
            task("a", units[0], n + more, hold(random), {}, {"s": 1, "past": 1}),
            task("b", units[1], n + more, hold(random), {"s": 1}, {"t": given}),
            task("c", units[2], n + more, hold(random), {"t": 1, "past": 1}),
        ]
        return flat_of(tasks, [Stream("s", 2), Stream("t", more + 1), Stream("past", more - 1)])
    tasks = [
        task("a", units[0], n + 1, hold(random), {}, {"s": 1}),
        task("b", units[1], n + 1, hold(random), {"s": 1}, {"t": 1}),
        task("c", units[0], n + 1, hold(random), {"t": 1}),
    ]
    turns = (*(("a", 1), ("c", 1)) * n, ("c", 1), ("a", 1))
    return flat_of(tasks, [Stream("s", depth(random)), Stream("t", depth(random))], {units[0]: turns})


def rounds(random: Random) -> Flat:
    """Whatever can be made, in some hundred rounds."""
    return made(random, rounds=random.randint(60, 500))


def crowded(random: Random) -> Flat:
    """Hundreds of firings under way at a time: on many servers, and on their way for hundreds of cycles."""
    firings, many = random.randint(900, 1800), f"crowd {random.choice((300, 700))}"
    held = [random.randint(200, 900) for _ in range(random.randint(1, 9))]
    tasks = [
        task("source", owns(random, 1)[0], firings, 0, {}, {"s": 1}),
        task("many", many, firings, held, {"s": 1}, {"t": 1}),
        task("sink", "far", firings, hold(random, least=1), {"t": 1}),
    ]
    return flat_of(tasks, [Stream("s", depth(random)), Stream("t", random.choice((250, 900, UNLIMITED)))])


FAMILIES: dict[str, Callable[[Random], Flat]] = {
    "clients of a memory": clients, "read, compute, write": read_compute_write, "several servers": servers,
    "filling without limit": filling, "levels": levels, "phases": phases, "interleaved orders": interleaved,
    "periods cut": cut, "growing rows": growing_rows, "late deadlock": late_deadlock, "made in rounds": rounds,
    "crowded": crowded, "rivals": rivals,
}  # fmt: skip
