"""Explains a deadlock: the tasks that wait, the cycle they wait in, and the depths with which the section ends.

Depths are found by untimed runs, which stop where every engine stops. The way out is then run on an engine, for its
cycles. Knows neither how an engine works nor what a firing costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import Any

import networkx

from archsim.engine.deadlock.untimed import run_untimed
from archsim.engine.flat import Flat
from archsim.engine.result import SectionResult, Stuck, Waiting
from archsim.engine.token_state import TokenState
from archsim.errors import Deadlock, Wait, WayOut
from dataflow.errors import ScheduleError
from dataflow.pattern import total
from dataflow.task import UNLIMITED

Cycle = list[Waiting]


def explain(flat: Flat, stuck: Stuck, attempt: Callable[[Flat], SectionResult | Stuck]) -> Deadlock:
    """The Deadlock to raise; `attempt` runs the section with the depths of the way out."""
    waits_for = _wait_graph(flat, stuck.waiting)
    # Tasks are named in sorted order everywhere, so that the message does not depend on the listing of the section.
    cycle = _wait_cycles(flat, waits_for)[0]
    inside = {w.task for w in cycle}
    others = sorted((w for w in stuck.waiting if w.task not in inside), key=lambda w: flat.tasks[w.task].name)
    leading = networkx.ancestors(waits_for, cycle[0].task)
    behind, apart = ([w for w in others if (w.task in leading) == leads] for leads in (True, False))
    head = f"section '{flat.section}' is in deadlock from cycle {stuck.cycle} on; {_how(cycle)}"
    lines = [head, *_lines(flat, cycle)]
    for heading, waiting in (("and behind them:", behind), ("and apart from them:", apart)):
        if waiting:
            lines += [heading, *_lines(flat, waiting)]
    try:
        way_out, said = _way_out(flat, cycle, attempt)
    except ScheduleError as error:
        # The compiled engine, which does the untimed runs unless it is cold, counts to 2^62; SimPy gets stuck beyond.
        way_out, said = None, [f"way out: not looked for; {error}"]
    return Deadlock(
        "\n".join([*lines, *said]), section=flat.section, cycle=stuck.cycle, wait_cycle=_waits(flat, cycle),
        others=_waits(flat, others), way_out=way_out,
    )  # fmt: skip


def _wait_graph(flat: Flat, waiting: Sequence[Waiting]) -> networkx.DiGraph:
    """The wait-for graph: an edge from each waiting task, with its `wait`, to the task that has to fire first."""
    graph = networkx.DiGraph()
    for w in waiting:
        graph.add_node(w.task, wait=w)
        graph.add_edge(w.task, w.awaited)
    return graph


def _wait_cycles(flat: Flat, waits_for: networkx.DiGraph) -> list[Cycle]:
    """Every cycle of the graph, begun at the task whose name sorts first, sorted by that name."""
    cycles = []
    # Each task waits for exactly one other: a component that no edge leaves is a cycle, and a search from one of its
    # tasks meets them in the order of the cycle. On 10^5 tasks networkx.find_cycle took six times as long.
    for tasks in networkx.attracting_components(waits_for):
        first = min(tasks, key=lambda task: flat.tasks[task].name)
        cycles.append([waits_for.nodes[task]["wait"] for task in networkx.dfs_preorder_nodes(waits_for, first)])
    return sorted(cycles, key=lambda cycle: flat.tasks[cycle[0].task].name)


def _way_out(
    flat: Flat, cycle: Cycle, attempt: Callable[[Flat], SectionResult | Stuck]
) -> tuple[WayOut | None, list[str]]:
    """The depths with which the section ends, None where there are none, and the lines of the message about them."""
    depths = _one_deeper(flat, cycle)
    single = bool(depths)
    if not single:
        last, depths = _several_deeper(flat)
        if last:
            return None, _no_way_out(flat, cycle, last)
    # An untimed run knows no cycles, so the engine of the user runs the section once more and verifies the depths.
    result = attempt(flat.with_depths(depths.get(s.name, s.depth) for s in flat.streams))
    assert isinstance(result, SectionResult), "a section that ends untimed ends on every engine"
    now = {s.name: s.depth for s in flat.streams if s.name in depths}
    out = WayOut(depths, {name: now[name] for name in depths}, result.cycles)
    changes = [f"stream '{name}': depth {depth} instead of {now[name]}" for name, depth in depths.items()]
    said = f"{changes[0]} lets" if single else f"no single depth is enough; together: {' and '.join(changes)} let"
    cycles = f"{result.cycles:,} cycle{'s' * (result.cycles != 1)}"
    return out, [f"way out: {said} it run to its end, in {cycles} (verified by running it)"]


def _one_deeper(flat: Flat, cycle: Cycle) -> dict[str, int]:
    """{stream: depth} for the one stream that lets the section end with the least increase of depth; empty if none."""
    component = networkx.node_connected_component(_coupling(flat), cycle[0].task)
    depths = [s.depth for s in flat.streams]
    # A depth changes nothing outside its component: a second deadlock elsewhere needs a second depth.
    if not _done(run_untimed(flat), [task for task in range(len(flat.tasks)) if task not in component]):
        return {}
    found: dict[str, int] = {}
    least_change = UNLIMITED
    # Only streams in which a task of the cycle lacks places: deeper ones elsewhere leave the cycle as it is.
    for i in _by_name(flat, {w.stream for w in cycle if w.cause == "blocked"}):
        # Below the best change so far, so that of two equal changes the first by name stays.
        depth = _least_depth(flat, depths, i, component, depths[i] + least_change)
        if depth is not None:
            found, least_change = {flat.streams[i].name: depth}, depth - depths[i]
    return found


def _by_name(flat: Flat, streams: Collection[int]) -> list[int]:
    return sorted(streams, key=lambda i: flat.streams[i].name)


def _several_deeper(flat: Flat) -> tuple[Cycle, dict[str, int]]:
    """Depths that together let the section end, none of which can be smaller; or a cycle that waits without limits too.

    Every stream in which a task of a wait cycle lacks places loses its limit, until the section ends. Then each of
    these streams, by name, gets the least depth that is enough given the depths of the others.
    """
    now = [s.depth for s in flat.streams]
    depths = list(now)
    raised: set[int] = set()
    # Each round ends the limit of some stream, so there are at most as many rounds as streams.
    while not (state := run_untimed(flat, depths)).finished:
        for cycle in _wait_cycles(flat, _wait_graph(flat, state.waiting())):
            # Every output that lacks room counts, not only the first: a firing needs places in all of them at once.
            short = {i for w in cycle if w.cause == "blocked" for i, _ in w.depths}
            # A stream without limit may be full of initial tokens all the same, which no depth changes.
            if all(depths[i] == UNLIMITED for i in short):
                return cycle, {}
            raised |= short
        for i in raised:
            depths[i] = UNLIMITED
    coupling = _coupling(flat)
    for i in _by_name(flat, raised):
        component = networkx.node_connected_component(coupling, flat.streams[i].producer)
        depths[i] = now[i]  # may be enough now that others are deeper
        if not _done(run_untimed(flat, depths), component):
            least = _least_depth(flat, depths, i, component, UNLIMITED)
            assert least is not None, "with this stream unlimited the section ended"
            depths[i] = least
    return [], {flat.streams[i].name: depths[i] for i in _by_name(flat, raised) if depths[i] > now[i]}


def _least_depth(flat: Flat, depths: Sequence[int], stream: int, tasks: Collection[int], below: int) -> int | None:
    """The least depth of the stream, under `below`, with which these tasks finish; None if there is none.

    With its depth in `depths` they do not finish.
    """
    producer = flat.tasks[flat.streams[stream].producer]
    passing = total(producer.tokens(stream, "gives"), producer.firings)

    def ends(depth: int) -> bool:
        return _done(run_untimed(flat, [*depths[:stream], depth, *depths[stream + 1 :]]), tasks)

    # A stream that holds all its tokens at once blocks nothing, so a depth beyond that is no help.
    fails, holds = depths[stream], min(below - 1, flat.streams[stream].initial + passing)
    if holds <= fails or not ends(holds):
        return None
    # What finishes with a depth finishes with every larger one.
    return bisect_left(range(holds), True, lo=fails + 1, key=ends)


def _done(state: TokenState, tasks: Collection[int]) -> bool:
    """True where every firing of these tasks is done."""
    return all(state.fired[task] == state.flat.tasks[task].firings for task in tasks)


def _coupling(flat: Flat) -> networkx.Graph:
    """The tasks, joined by an edge where they share a stream or an order; tasks in other components do not matter."""
    graph = networkx.Graph((s.producer, consumer) for s in flat.streams for consumer in s.consumers)
    graph.add_nodes_from(range(len(flat.tasks)))
    for unit in flat.units:
        # First come, the clients of a unit delay each other but never keep each other from firing.
        if unit.order is not None:
            networkx.add_path(graph, unit.tasks)
    return graph


def _no_way_out(flat: Flat, cycle: Cycle, last: Cycle) -> list[str]:
    """What has to change instead of a depth, by the cycle that is left when no stream has a limit."""
    turns = [
        f"on '{flat.units[flat.tasks[w.task].unit].name}', where it is the turn of '{flat.tasks[w.awaited].name}'"
        for w in last
        if w.cause == "turn"
    ]
    change = f"the order of firings {' and '.join(turns)}, or" if turns else "what firings take and give, or"
    said = f"way out: no depth lets it run to its end; {change} initial tokens must change"
    lines = _lines(flat, last)
    return [said] if lines == _lines(flat, cycle) else [f"{said}; without any limit of depth {_how(last)}", *lines]


def _how(cycle: Cycle) -> str:
    return "each of these waits for the next:" if len(cycle) > 1 else "this task waits for itself:"


def _lines(flat: Flat, waiting: Sequence[Waiting]) -> list[str]:
    return [f"  {wait}" for wait in _waits(flat, waiting)]


def _waits(flat: Flat, waiting: Sequence[Waiting]) -> list[Wait]:
    """What each task waits for, by name and in words."""
    return [_wait(flat, w) for w in waiting]


def _wait(flat: Flat, w: Waiting) -> Wait:
    task = flat.tasks[w.task]
    unit = flat.units[task.unit].name
    head = f"'{task.name}' at firing {w.firing + 1} of {task.firings}"
    other = flat.tasks[w.awaited].name
    details: dict[str, Any] = {}
    if w.cause == "turn":
        text = f"{head} waits for its turn on '{unit}' after '{other}'"
    else:
        stream, depth = flat.streams[w.stream].name, flat.streams[w.stream].depth
        details = {"stream": stream, "needed": w.needed, "tokens": w.tokens}
        details |= {"room": w.room, "depth": depth} if depth < UNLIMITED else {}
        if w.cause == "starved":
            needed = f"{_tokens(w.needed)} of '{stream}', which holds {w.tokens}"
            text = f"{head} needs {needed}; '{other}' gives {'it' if w.needed == 1 else 'them'}"
        else:
            places = f"{w.needed} place{'s' * (w.needed != 1)}"
            held = f"'{stream}' (depth {depth}), which holds {_tokens(w.tokens)} and has {w.room} free"
            text = f"{head} needs {places} in {held}; '{other}' frees them"
    return Wait(task.name, w.firing + 1, task.firings, w.cause, unit, other, text, **details)


def _tokens(n: int) -> str:
    return f"{n} token{'s' * (n != 1)}"
