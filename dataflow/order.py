"""Orders: in which order a unit fires its tasks, in run-length form, with runs that repeat. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dataflow.errors import quoted

DEEPEST = 20  # repeats inside repeats: far above any loop nest, and far below Python's limit of nested calls


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
        inside, times = (counted(run.runs), run.times) if isinstance(run, Repeat) else (dict([run]), 1)
        for task, n in inside.items():
            found[task] = found.get(task, 0) + n * times
    return found


def turn(order: Order, place: int) -> Any:
    """The task of the firing at this place, counted from 0. Raises IndexError behind the last."""
    for run in order:
        if isinstance(run, Repeat):
            size = sum(counted(run.runs).values())
            if place < size * run.times:
                return turn(run.runs, place % size)
            place -= size * run.times
        elif place < run[1]:
            return run[0]
        else:
            place -= run[1]
    raise IndexError(place)


def renamed(order: Order, by: Callable[[Any], Any]) -> Order:
    """The order with other names of the tasks."""
    return tuple(
        Repeat(renamed(run.runs, by), run.times) if isinstance(run, Repeat) else (by(run[0]), run[1]) for run in order
    )


def run_problems(order: object, deep: int = 0) -> Iterator[str]:
    """What is wrong with the form of an order, as a section's rules tell it."""
    if not isinstance(order, tuple | list):
        yield f"{quoted(order)}; a tuple of runs (task, firings in a row) and repeats is expected"
        return
    if deep > DEEPEST:
        yield f"repeats inside repeats, more than {DEEPEST} deep; fewer are expected"
        return
    for run in order:
        if isinstance(run, Repeat):
            if type(run.times) is not int or run.times < 1:
                yield f"a repeat of {quoted(run.times)} times; runs are repeated once or more"
            elif run.runs in ((), []):
                yield "a repeat without runs; one or more are repeated"
            else:
                yield from run_problems(run.runs, deep + 1)
        elif not isinstance(run, tuple | list) or [type(one) for one in run] != [str, int]:
            told = f"({', '.join(map(quoted, run))})" if isinstance(run, tuple | list) else quoted(run)
            yield f"{told}; a run (task, firings in a row) is expected"
        elif run[1] < 1:
            yield f"a run of {run[1]} firings of '{run[0]}'; runs are of one or more"
