"""The sections that engines are timed on: in flat form, which any of them takes, of about as many firings as asked."""

from __future__ import annotations

from collections.abc import Callable

import archsim
import dataflow
import mappers
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit, flatten
from dataflow.order import Repeat

Moves = tuple[tuple[int, int], ...]
LENGTH = 10  # units of a chain
CLIENTS = 6  # readers of a memory


def chain(firings: int, *, depth: int = 2) -> Flat:
    """A line of units with a task each, a cycle a firing, joined by queues of this depth."""
    each = max(1, firings // LENGTH)
    tasks = []
    for i in range(LENGTH):
        takes: Moves = ((i - 1, 1),) if i else ()
        gives: Moves = ((i, 1),) if i + 1 < LENGTH else ()
        tasks.append(FlatTask(f"t{i}", i, each, (FlatRun(1, 1, takes, gives),)))
    streams = tuple(FlatStream(f"s{i}", depth, 0, i, i + 1) for i in range(LENGTH - 1))
    return Flat("chain", tuple(tasks), streams, alone(tasks))


def fork_join(firings: int) -> Flat:
    """A task that feeds four of different pace, which feed one."""
    each, ways = max(1, firings // 6), range(4)
    tasks = [FlatTask("fork", 0, each, (FlatRun(1, 1, (), tuple((w, 1) for w in ways)),))]
    tasks += [FlatTask(f"way {w}", 1 + w, each, (FlatRun(1, 1 + w % 3, ((w, 1),), ((4 + w, 1),)),)) for w in ways]
    tasks.append(FlatTask("join", 5, each, (FlatRun(1, 1, tuple((4 + w, 1) for w in ways), ()),)))
    streams = [FlatStream(f"to {w}", 4, 0, 0, 1 + w) for w in ways]
    streams += [FlatStream(f"from {w}", 4, 0, 1 + w, 5) for w in ways]
    return Flat("fork and join", tuple(tasks), tuple(streams), alone(tasks))


def shared(firings: int) -> Flat:
    """A line of nine tasks on three units, each of which serves its three by turns, a firing each."""
    each = max(1, firings // 9)
    tasks = []
    for i in range(9):
        takes: Moves = ((i - 1, 1),) if i else ()
        gives: Moves = ((i, 1),) if i < 8 else ()
        tasks.append(FlatTask(f"t{i}", i % 3, each, (FlatRun(1, 2 + i % 2, takes, gives),)))
    streams = tuple(FlatStream(f"s{i}", 2, 0, i, i + 1) for i in range(8))
    turns = [(Repeat(tuple((u + 3 * i, 1) for i in range(3)), each),) for u in range(3)]
    units = tuple(FlatUnit(f"u{u}", f"u{u}", 1, 1, turns[u], (u, u + 3, u + 6)) for u in range(3))
    return Flat("shared in order", tuple(tasks), streams, units)


def memory(firings: int) -> Flat:
    """Readers of one memory, bursts of different length, each with a unit that works on what is read."""
    each, reads = max(1, firings // (2 * CLIENTS)), range(CLIENTS)
    tasks = [FlatTask(f"read {i}", 0, each, (FlatRun(1, 2 + i % 3, (), ((i, 1),)),)) for i in reads]
    tasks += [FlatTask(f"use {i}", 1 + i, each, (FlatRun(1, 5 + 3 * i, ((i, 1),), ()),)) for i in reads]
    streams = tuple(FlatStream(f"s{i}", 2, 0, i, CLIENTS + i) for i in reads)
    units = [FlatUnit("memory", "memory", 1, 20, None, tuple(reads))]
    units += [FlatUnit(f"u{i}", f"u{i}", 1, 0, ((CLIENTS + i, each),), (CLIENTS + i,)) for i in reads]
    return Flat("memory", tuple(tasks), streams, tuple(units))


def alone(tasks: list[FlatTask]) -> tuple[FlatUnit, ...]:
    """A unit of its own, without latency, for each task."""
    return tuple(FlatUnit(f"u{i}", f"u{i}", 1, 0, ((i, task.firings),), (i,)) for i, task in enumerate(tasks))


def lookup(prompt: int) -> Flat:
    """The layers of a prefill on the table-lookup accelerator."""
    design, model = archsim.load_design("tellme_kv260"), archsim.load_model("bitnet_b158_large")
    schedule = mappers.lower(dataflow.prefill(model, prompt=prompt), design)
    (layers,) = (section for section in schedule.sections if section.name == "layers")
    return flatten(layers, design)


def attention(n: int, *, causal: bool = False) -> Flat:
    """Attention of n keys and as many rows, all of a length or growing, as streams without memory."""
    design = archsim.load_design("streaming_machine")
    graph = dataflow.attention(queries=n, keys=n, head_dim=1, causal=causal)
    return flatten(mappers.lower(graph, design).sections[0], design)


def cases(firings: int, *, prompt: int, n: int) -> dict[str, Callable[[], Flat]]:
    """The sections by what they are: made ones of about so many firings, and two of shipped designs."""
    return {
        "chain of 10 units, depth 2": lambda: chain(firings),
        "chain of 10 units, depth 16": lambda: chain(firings, depth=16),
        "fork and join": lambda: fork_join(firings),
        "three shared units, in order": lambda: shared(firings),
        f"memory with {CLIENTS} clients, first come": lambda: memory(firings),
        f"table lookup, layers of prefill {prompt}": lambda: lookup(prompt),
        f"streamed attention, N = R = {n}": lambda: attention(n),
    }
