"""Why nothing can go on: the tasks that wait, the cycle they wait in, and the depths that let the section end.

Depths are found by the token game, which is stuck where every engine is, and then run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from archsim.engine.deadlock.untimed import run_untimed
from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult, Stuck, Waiting
from archsim.engine.token_state import TokenState
from archsim.errors import Deadlock, Wait, WayOut
from dataflow.errors import ScheduleError
from dataflow.task import UNLIMITED

Cycle = list[Waiting]


def explain(flat: Flat, stuck: Stuck, attempt: Callable[[Flat], SectionResult | Stuck]) -> Deadlock:
    """The Deadlock to raise; `attempt` runs the section with the depths that are the way out."""
    cycle = _wait_cycles(flat, stuck.waiting)[0]
    inside = {w.task for w in cycle}
    others = sorted((w for w in stuck.waiting if w.task not in inside), key=lambda w: flat.tasks[w.task].name)
    led = _led_to(flat, inside, others)
    behind, apart = ([w for w in others if (w.task in led) == leads] for leads in (True, False))
    told = [f"section '{flat.section}' is in deadlock from cycle {stuck.cycle} on; {_how(cycle)}", *_lines(flat, cycle)]
    for heading, waiting in (("and behind them:", behind), ("and apart from them:", apart)):
        if waiting:
            told += [heading, *_lines(flat, waiting)]
    try:
        way_out, said = _way_out(flat, cycle, attempt)
    except ScheduleError as error:
        way_out, said = None, [f"way out: not looked for; {error}"]
    return Deadlock(
        "\n".join([*told, *said]),
        section=flat.section,
        cycle=stuck.cycle,
        wait_cycle=[_wait(flat, w) for w in cycle],
        others=[_wait(flat, w) for w in others],
        way_out=way_out,
    )


def _waits_for(flat: Flat, waiting: Sequence[Waiting]) -> dict[int, int]:
    """For each waiting task the one that would have to fire first; that one waits too."""
    streams = {s.name: s for s in flat.streams}
    found = {}
    for w in waiting:
        if w.cause == "turn":
            assert w.turn is not None, "where a task waits for its turn, it is another's"
            found[w.task] = w.turn
        else:
            found[w.task] = streams[w.stream].producer if w.cause == "starved" else streams[w.stream].consumer
    return found


def _wait_cycles(flat: Flat, waiting: Sequence[Waiting]) -> list[Cycle]:
    """Every cycle of tasks each of which waits for the next, from the name that sorts first on, and sorted by it."""
    by_task = {w.task: w for w in waiting}
    waits_for = _waits_for(flat, waiting)
    seen: set[int] = set()
    cycles = []
    for task in waits_for:
        path: list[int] = []
        while task not in seen:
            seen.add(task)
            path.append(task)
            task = waits_for[task]
        if task in path:
            tasks = path[path.index(task) :]
            first = min(range(len(tasks)), key=lambda i: flat.tasks[tasks[i]].name)
            cycles.append([by_task[t] for t in (*tasks[first:], *tasks[:first])])
    return sorted(cycles, key=lambda cycle: flat.tasks[cycle[0].task].name)


def _led_to(flat: Flat, inside: set[int], others: Cycle) -> set[int]:
    """Those of the others that wait, over however many, for a task of the cycle."""
    waits_for = _waits_for(flat, others)
    leads = dict.fromkeys(inside, True)
    for task in waits_for:
        path = []
        while task not in leads:
            leads[task] = False
            path.append(task)
            task = waits_for[task]
        leads.update(dict.fromkeys(path, leads[task]))
    return {task for task in waits_for if leads[task]}


def _way_out(
    flat: Flat, cycle: Cycle, attempt: Callable[[Flat], SectionResult | Stuck]
) -> tuple[WayOut | None, list[str]]:
    """The way out by depths, where there is one, and the lines that tell it."""
    depths = _one_deeper(flat, cycle)
    single = bool(depths)
    if not single:
        last, depths = _several_deeper(flat)
        if last:
            return None, _no_way_out(flat, cycle, last)
    streams = [replace(s, depth=depths.get(s.name, s.depth)) for s in flat.streams]
    result = attempt(replace(flat, streams=tuple(streams)))
    assert isinstance(result, SectionResult), "what the game finishes the engine finishes"
    now = {s.name: s.depth for s in flat.streams if s.name in depths}
    out = WayOut(depths, {name: now[name] for name in depths}, result.cycles)
    parts = [f"stream '{name}': depth {depth} instead of {now[name]}" for name, depth in depths.items()]
    said = f"{parts[0]} lets" if single else f"no single depth is enough; together: {' and '.join(parts)} let"
    cycles = f"{result.cycles:,} cycle{'s' * (result.cycles != 1)}"
    return out, [f"way out: {said} it run to its end, in {cycles} (verified by running it)"]


def _one_deeper(flat: Flat, cycle: Cycle) -> dict[str, int]:
    """The stream and the depth that alone, by the smallest change, let the game end; nothing where none does.

    Whatever else is deeper, the cycle goes on only with places that one of its tasks lacks.
    """
    part = _parts(flat)[cycle[0].task]
    depths = [s.depth for s in flat.streams]
    if not _ends(run_untimed(flat), [task for task in range(len(flat.tasks)) if task not in part]):
        return {}
    index = {s.name: i for i, s in enumerate(flat.streams)}
    found: dict[str, int] = {}
    below = UNLIMITED
    for name in sorted({w.stream for w in cycle if w.cause == "blocked"}):
        now = depths[index[name]]
        depth = _least_depth(flat, depths, index[name], part, now + below)
        if depth is not None:
            found, below = {name: depth}, depth - now
    return found


def _several_deeper(flat: Flat) -> tuple[Cycle, dict[str, int]]:
    """Depths with which the game ends, none of which can be less; or the cycle that waits even without limits.

    Every stream that a task of a wait cycle lacks places in loses its limit, until the game ends. Each of them, by
    name, then gets the least depth that is enough beside the others.
    """
    index = {s.name: i for i, s in enumerate(flat.streams)}
    now = [s.depth for s in flat.streams]
    depths = list(now)
    raised: set[str] = set()
    while not (game := run_untimed(flat, depths)).finished:
        for cycle in _wait_cycles(flat, game.waiting()):
            short = {name for w in cycle if w.cause == "blocked" for name, _ in w.depths}
            if not short:
                return cycle, {}
            raised |= short
        for name in raised:
            depths[index[name]] = UNLIMITED
    parts = _parts(flat)
    for name in sorted(raised):
        i = index[name]
        part = parts[flat.streams[i].producer]
        depths[i] = now[i]
        if not _ends(run_untimed(flat, depths), part):
            least = _least_depth(flat, depths, i, part, UNLIMITED)
            assert least is not None, "without its limit the game ended"
            depths[i] = least
    return [], {name: depths[index[name]] for name in sorted(raised) if depths[index[name]] > now[index[name]]}


def _least_depth(flat: Flat, depths: Sequence[int], stream: int, part: Sequence[int], below: int) -> int | None:
    """The least depth of a stream with which its part of the game ends, as it does not now; None if not below a limit.

    Deeper than all that ever passes is no help, and what ends with a depth ends with a deeper one.
    """
    producer = flat.tasks[flat.streams[stream].producer]
    runs = zip(producer.runs, producer.cycles_counted(), strict=True)
    passing = sum(n * times for run, (_, times) in runs for s, n in run.gives if s == stream)

    def ends(depth: int) -> bool:
        return _ends(run_untimed(flat, [*depths[:stream], depth, *depths[stream + 1 :]]), part)

    fails, holds = depths[stream], min(below - 1, flat.streams[stream].initial + passing)
    if holds <= fails or not ends(holds):
        return None
    while holds - fails > 1:
        middle = (fails + holds) // 2
        fails, holds = (fails, middle) if ends(middle) else (middle, holds)
    return holds


def _ends(game: TokenState, part: Sequence[int]) -> bool:
    """True where every firing of these tasks is done."""
    return all(game.fired[task] == game.flat.tasks[task].firings for task in part)


def _parts(flat: Flat) -> list[list[int]]:
    """For each task those that it has to do with, over however many streams and orders: no other matters to it."""
    parts = [[task] for task in range(len(flat.tasks))]
    joined = [(s.producer, s.consumer) for s in flat.streams]
    joined += [(u.tasks[0], task) for u in flat.units if u.order is not None for task in u.tasks]
    for a, b in joined:
        if parts[a] is not parts[b]:
            less, more = sorted((parts[a], parts[b]), key=len)
            more += less
            for task in less:
                parts[task] = more
    return parts


def _no_way_out(flat: Flat, cycle: Cycle, last: Cycle) -> list[str]:
    """What is to change instead, by the cycle that waits even without limits."""
    turns = [
        f"on '{flat.units[flat.tasks[w.task].unit].name}', where it is the turn of '{flat.tasks[w.turn].name}'"
        for w in last
        if w.turn is not None
    ]
    change = f"the order of firings {' and '.join(turns)}, or" if turns else "what firings take and give, or"
    said = f"way out: no depth lets it run to its end; {change} initial tokens must change"
    lines = _lines(flat, last)
    return [said] if lines == _lines(flat, cycle) else [f"{said}; without any limit of depth {_how(last)}", *lines]


def _how(cycle: Cycle) -> str:
    return "each of these waits for the next:" if len(cycle) > 1 else "this task waits for itself:"


def _lines(flat: Flat, waiting: Sequence[Waiting]) -> list[str]:
    return [f"  {_wait(flat, w)}" for w in waiting]


def _wait(flat: Flat, w: Waiting) -> Wait:
    """What the task waits for, by name and in words."""
    task = flat.tasks[w.task]
    unit = flat.units[task.unit].name
    head = f"'{task.name}' at firing {w.firing + 1} of {task.firings}"
    other = flat.tasks[_waits_for(flat, [w])[w.task]].name
    told: dict[str, Any] = {}
    if w.cause == "turn":
        text = f"{head} waits for its turn on '{unit}' after '{other}'"
    else:
        stream = next(s for s in flat.streams if s.name == w.stream)
        limited = stream.depth < UNLIMITED
        told = {"stream": w.stream, "needed": w.needed, "tokens": w.tokens}
        told |= {"room": w.room, "depth": stream.depth} if limited else {}
        if w.cause == "starved":
            needed = f"{_tokens(w.needed)} of '{w.stream}', which holds {w.tokens}"
            text = f"{head} needs {needed}; '{other}' gives {'it' if w.needed == 1 else 'them'}"
        else:
            places = f"{w.needed} place{'s' * (w.needed != 1)}"
            held = f"'{w.stream}' (depth {stream.depth}), which holds {_tokens(w.tokens)} and has {w.room} free"
            text = f"{head} needs {places} in {held}; '{other}' frees them"
    return Wait(task.name, w.firing + 1, task.firings, w.cause, unit, other, text, **told)


def _tokens(n: int) -> str:
    return f"{n} token{'s' * (n != 1)}"
