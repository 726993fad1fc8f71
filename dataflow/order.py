"""Orders: in which order a unit fires its tasks, in run-length form, with runs that repeat. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Repeat:
    """These runs, one after another, so many times; among them may be further repeats.

    >>> interleaved = (("scores", 1), Repeat((("scores", 1), ("values", 1)), 2), ("values", 1))
    >>> [task for task, _ in walked(interleaved)]
    ['scores', 'scores', 'values', 'scores', 'values', 'values']
    >>> counted(interleaved), turn(interleaved, 3)
    ({'scores': 3, 'values': 3}, 'scores')
    """

    runs: tuple[Any, ...]  # an Order
    times: int


# (task, firings in a row), and repeats of such runs; tasks by name, or by index where they are resolved.
Order = tuple[Any, ...]


def walked(order: Order) -> Iterator[tuple[Any, int]]:
    """The runs one after another, repeats gone through as often as they say."""
    for run in order:
        if isinstance(run, Repeat):
            for _ in range(run.times):
                yield from walked(run.runs)
        else:
            yield run


def counted(order: Order) -> dict[Any, int]:
    """How often each task is fired."""
    found: dict[Any, int] = {}
    for run in order:
        for task, n in counted(run.runs).items() if isinstance(run, Repeat) else (run,):
            found[task] = found.get(task, 0) + n * (run.times if isinstance(run, Repeat) else 1)
    return found


def turn(order: Order, place: int) -> Any:
    """The task of the firing at this place, counted from 0. Raises IndexError behind the last."""
    for run in order:
        inside = isinstance(run, Repeat)
        size = sum(counted(run.runs).values()) if inside else run[1]
        if place < size * (run.times if inside else 1):
            return turn(run.runs, place % size) if inside else run[0]
        place -= size * (run.times if inside else 1)
    raise IndexError(place)


def renamed(order: Order, by: Callable[[Any], Any]) -> Order:
    """The order with other names of the tasks."""
    return tuple(
        Repeat(renamed(run.runs, by), run.times) if isinstance(run, Repeat) else (by(run[0]), run[1]) for run in order
    )
