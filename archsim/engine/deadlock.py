"""Why nothing can go on: the tasks that wait, the cycle they wait in, and the depth that would let it go on."""

from __future__ import annotations

from archsim.engine.flat import Flat, FlatStream
from archsim.engine.result import Stuck, Waiting
from archsim.errors import Deadlock


def explain(flat: Flat, stuck: Stuck) -> Deadlock:
    """The Deadlock to raise: the wait-for cycle first, then every other waiting task."""
    waiting, cycle = stuck.waiting, stuck.cycle
    by_task = {w.task: w for w in waiting}
    ends = {s.name: s for s in flat.streams}
    waits_for = {w.task: _waits_for(w, ends) for w in waiting}
    cycle_tasks = _find_cycle(waits_for)
    lines = [_line(flat, by_task[t], ends) for t in cycle_tasks]
    others = [_line(flat, w, ends) for w in waiting if w.task not in cycle_tasks]
    ways_out = [
        " and ".join(f"stream '{stream}': depth {depth}" for stream, depth in w.depths)
        + f" lets '{flat.tasks[w.task].name}' go on"
        for w in (by_task[t] for t in cycle_tasks)
        if w.cause == "blocked"
    ]
    told = [f"section '{flat.section}' is in deadlock from cycle {cycle} on; each of these waits for the next:"]
    told += [f"  {line}" for line in lines]
    if others:
        told += ["and behind them:", *(f"  {line}" for line in others)]
    if ways_out:
        told.append("ways out: " + "; ".join(ways_out))
    return Deadlock(
        "\n".join(told), section=flat.section, cycle=cycle, wait_cycle=lines, others=others, ways_out=ways_out
    )


def _waits_for(w: Waiting, ends: dict[str, FlatStream]) -> int | None:
    if w.cause == "turn":
        return w.turn
    stream = ends[w.stream]
    return int(stream.producer if w.cause == "starved" else stream.consumer)


def _find_cycle(waits_for: dict[int, int | None]) -> list[int]:
    """The tasks of the first cycle found by following who waits for whom; a chain's end where there is none."""
    for first in waits_for:
        seen: list[int] = []
        task: int | None = first
        while task is not None and task in waits_for and task not in seen:
            seen.append(task)
            task = waits_for[task]
        if task in seen:
            return seen[seen.index(task) :]
    return []


def _line(flat: Flat, w: Waiting, ends: dict[str, FlatStream]) -> str:
    task = flat.tasks[w.task]
    head = f"'{task.name}' at firing {w.firing + 1} of {task.firings}"
    if w.cause == "turn":
        other = "nothing" if w.turn is None else f"'{flat.tasks[w.turn].name}'"
        return f"{head} waits for its turn on '{flat.units[task.unit].name}' after {other}"
    stream = ends[w.stream]
    if w.cause == "starved":
        giver = flat.tasks[stream.producer].name
        return f"{head} needs {w.needed} tokens of '{w.stream}', which holds {w.tokens}; '{giver}' gives them"
    taker = flat.tasks[stream.consumer].name
    return (
        f"{head} needs {w.needed} places in '{w.stream}' (depth {stream.depth}), which has {w.room} free; "
        f"'{taker}' frees them"
    )
