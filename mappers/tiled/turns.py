"""Turns: the order of a unit whose tasks fire a few times each, in rounds, instead of one task after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dataflow.order import Repeat
from dataflow.task import Task


class Turn(NamedTuple):
    """A task that takes turns with others: how many rounds it lags behind, and its firings in a round."""

    task: str
    lag: int
    firings: int


def order_of(unit: str, tasks: Mapping[str, Task], together: Sequence[Sequence[Turn]]) -> Iterator[Any]:
    """The order of the unit: its tasks one after another, but those of a group in `together` in rounds.

    A group takes the place of its first task; of each group only the tasks on this unit count.
    """
    groups = {turn.task: [one for one in group if tasks[one.task].unit == unit] for group in together for turn in group}
    for name in (task.name for task in tasks.values() if task.unit == unit):
        group = groups.get(name)
        if group is None:
            yield name, tasks[name].firings
        elif group[0].task == name:
            yield from _rounds(tasks, group)


def _rounds(tasks: Mapping[str, Task], group: Sequence[Turn]) -> Iterator[Any]:
    """Launches, which are not shared, then the rounds; those in which all take their turn are alike."""
    launches = {turn.task: launches_of(tasks[turn.task]) for turn in group}
    yield from ((task, n) for task, n in launches.items() if n)
    first, *_ = group
    rounds = (tasks[first.task].firings - launches[first.task]) // first.firings
    least, most = min(turn.lag for turn in group), max(turn.lag for turn in group)

    def round_(at: int) -> tuple[tuple[str, int], ...]:
        return tuple((turn.task, turn.firings) for turn in group if 0 <= at - turn.lag < rounds)

    if most - least >= rounds:  # at no time all of them
        for at in range(least, most + rounds):
            yield from round_(at)
        return
    for at in range(least, most):
        yield from round_(at)
    yield Repeat(round_(most), least + rounds - most)
    for at in range(least + rounds, most + rounds):
        yield from round_(at)


def launches_of(task: Task) -> int:
    """The firings of a task that come before those of its op."""
    return sum(n for item, n in task.work if item.kind == "enter")
