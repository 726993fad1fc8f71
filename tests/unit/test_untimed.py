"""Untimed runs counted by hand: how far each task comes, and with which depths."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from archsim import load_design
from archsim.engine.deadlock.untimed import run_untimed
from archsim.engine.flat import Flat, flatten
from archsim.engine.result import Waiting
from archsim.engine.token_state import TokenState
from dataflow import Pattern, Section, Stream, Task, every, sequence, work
from dataflow.task import UNLIMITED

Ends = Mapping[str, int | Pattern[int]]


def task(name: str, unit: str, firings: int, takes: Ends | None = None, gives: Ends | None = None) -> Task:
    taken, given = (
        {s: every(n) if isinstance(n, int) else n for s, n in (ends or {}).items()} for ends in (takes, gives)
    )
    return Task(name, unit, firings, every(work("copy", d=1)), taken, given)


def flat(
    tasks: tuple[Task, ...],
    streams: tuple[Stream, ...],
    *,
    orders: Mapping[str, tuple[tuple[str, int], ...]] | None = None,
    arbitration: str = "in_order",
) -> Flat:
    keys = {"kind": "vector", "ops": [], "lanes": 1, "arbitration": arbitration}
    design = load_design("toy").with_({"units": dict.fromkeys({t.unit for t in tasks}, keys)})
    return flatten(Section("x", tasks, streams, orders=orders or {}), design)


def fired(state: TokenState) -> dict[str, int]:
    return {t.name: n for t, n in zip(state.flat.tasks, state.fired, strict=True)}


@pytest.mark.parametrize("depth", [1, 2, 7, UNLIMITED])
def test_a_chain_ends_with_any_depth(depth: int) -> None:
    tasks = (task("a", "ua", 5, gives={"s": 1}), task("b", "ub", 5, takes={"s": 1}))
    state = run_untimed(flat(tasks, (Stream("s", depth),)))
    assert state.finished
    assert (fired(state), state.tokens, state.waiting()) == ({"a": 5, "b": 5}, ({1: 0},), ())


def test_a_run_stops_where_places_are_missing_and_says_which() -> None:
    """b takes four tokens to begin with and s holds three; with the fourth place both end."""
    tasks = (task("a", "ua", 8, gives={"s": 1}), task("b", "ub", 2, takes={"s": 4}))
    section = flat(tasks, (Stream("s", 4),))
    state = run_untimed(section, [3])
    assert (fired(state), state.finished) == ({"a": 3, "b": 0}, False)
    assert state.waiting() == (
        Waiting(0, 3, "blocked", 0, needed=1, tokens=3, room=0, awaited=1, depths=((0, 4),)),
        Waiting(1, 0, "starved", 0, needed=4, tokens=3, room=0, awaited=0, depths=()),
    )
    assert run_untimed(section).finished


@pytest.mark.parametrize("depth, times", [(2, 0), (3, 1), (4, 2), (5, 6)])
def test_a_firing_finds_its_places_before_it_frees_others(depth: int, times: int) -> None:
    """From one token on, three firings take one and give two: two places free beside 1, 2 and 3 tokens. Then back."""
    more, fewer = sequence((2, 3), (1, 3)), sequence((1, 3), (2, 3))
    section = flat((task("a", "u", 6, takes={"s": fewer}, gives={"s": more}),), (Stream("s", depth, initial=1),))
    assert run_untimed(section).fired == (times,)


@pytest.mark.parametrize("initial, times", [(1, 0), (2, 1), (3, 2), (4, 6)])
def test_a_firing_finds_its_tokens_before_it_gives_others(initial: int, times: int) -> None:
    """Three firings take two and give one, of 4, 3 and 2 tokens that must lie there. Then back."""
    more, fewer = sequence((2, 3), (1, 3)), sequence((1, 3), (2, 3))
    section = flat((task("a", "u", 6, takes={"s": more}, gives={"s": fewer}),), (Stream("s", 9, initial=initial),))
    assert run_untimed(section).fired == (times,)


def test_an_order_is_kept_and_first_come_has_none() -> None:
    """In order `use` comes first and has nothing; first come, both end."""
    tasks = (task("make", "u", 4, gives={"s": 1}), task("use", "u", 4, takes={"s": 1}))
    order = {"u": (("use", 1), ("make", 4), ("use", 3))}
    state = run_untimed(flat(tasks, (Stream("s", 4),), orders=order))
    assert fired(state) == {"make": 0, "use": 0}
    assert [(w.cause, w.awaited) for w in state.waiting()] == [("turn", 1), ("starved", 0)]
    assert run_untimed(flat(tasks, (Stream("s", 4),), orders=order, arbitration="first_come")).finished


def test_a_batch_ends_with_its_turn() -> None:
    """Two made, one used, two made: three places are full, and two more are made before the next is used."""
    tasks = (task("make", "u", 6, gives={"s": 1}), task("use", "u", 6, takes={"s": 1}))
    order = {"u": (("make", 2), ("use", 1), ("make", 4), ("use", 5))}
    state = run_untimed(flat(tasks, (Stream("s", 3),), orders=order))
    assert fired(state) == {"make": 4, "use": 1}
    assert state.turn(0) == 0
    assert run_untimed(flat(tasks, (Stream("s", 5),), orders=order)).finished


def test_a_batch_ends_with_its_run() -> None:
    """Only the third and the sixth firing of r give; the one place of t lets it come to the fifth."""
    tasks = (
        task("p", "up", 6, gives={"s": 1}),
        task("r", "ur", 6, takes={"s": 1}, gives={"t": sequence((0, 2), (1, 1))}),
        task("q", "uq", 1, takes={"t": 2}),
    )
    section = flat(tasks, (Stream("s", 9), Stream("t", 2)))
    assert fired(run_untimed(section, [9, 1])) == {"p": 6, "r": 5, "q": 0}
    assert run_untimed(section).finished
