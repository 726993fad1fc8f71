"""What varies in a sweep: a path with the values that it takes, a list of them or a range."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from archsim.errors import InputError, quoted
from dataflow.errors import guess, shortened
from kernels.limits import COMBINATIONS

DIGITS = 4  # of a value that is drawn, after the first of the range: enough to tell two apart, short enough to read
AMOUNT = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?)\s*(\D.*)?")
KEYS = ("from", "to", "step", "log")
MOST_STEPS = 2**53


@dataclass(frozen=True, slots=True)
class Range:
    """Values from `low` to `high`, both included: whole numbers, others, or amounts in one `unit`.

    With a `step` only every so many from `low` on; `log` spreads draws evenly over orders of magnitude.
    """

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool
    unit: str

    @property
    def size(self) -> int | None:
        """How many values there are; None where they are not counted."""
        step = self.step or (1 if self.whole else None)
        return None if step is None else math.floor((self.high - self.low) / step + 1e-9) + 1

    def at(self, share: float) -> Any:
        """The value at a share of the range, from 0 up to but not including 1."""
        if self.size is not None and not self.log:
            return self.value(int(share * self.size))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = low + share * (high - low)
        if self.log:
            return self._written(_rounded(math.exp(drawn), math.exp(drawn)))
        return self._written(_rounded(drawn, self.high - self.low))

    def value(self, place: int) -> Any:
        """The value at a place, of those that are counted."""
        return self._written(self.low + place * (self.step or 1))

    @property
    def ends(self) -> list[Any]:
        """The first and the last value."""
        last = self.high if self.size is None else self.low + (self.size - 1) * (self.step or 1)
        return [self._written(self.low), self._written(last)]

    def _written(self, number: float) -> Any:
        if self.whole:
            return min(max(round(number), int(self.low)), int(self.high))
        within = min(max(float(f"{number:.12g}"), self.low), self.high)
        return f"{within:.12g} {self.unit}" if self.unit else within


def _rounded(number: float, to: float) -> float:
    """The number with so many digits as tell parts of `to` apart."""
    return round(number, DIGITS - math.floor(math.log10(to))) if to > 0 else number


Axis = list[Any] | Range


def axes_of(over: Mapping[Any, Any]) -> tuple[dict[str, Axis], list[str]]:
    """The values of each path, numbers of arrays as Python's own; and what is wrong.

    A mapping with `from` and `to`, and optionally `step` and `log`, is a range; any other iterable a list.
    """
    found: dict[str, Axis] = {}
    problems = []
    for path, values in over.items():
        if not isinstance(path, str):
            problems.append(f"over: expected paths as text, got {quoted(path)}")
        elif isinstance(values, Mapping):
            try:
                found[path] = _range(values)
            except InputError as problem:
                nested = [key for key, one in values.items() if key not in KEYS and isinstance(one, list | Mapping)]
                whole = [f"values stand under whole paths; write {path}.{key}: …" for key in nested]
                problems += [f"{path}: {one}" for one in whole or problem.problems]
        elif isinstance(values, Set):
            problems.append(f"{path}: expected a list of values; a set has no order, so that no two runs are alike")
        elif isinstance(values, str | bytes) or not isinstance(values, Iterable):
            told = "expected a list of values, or a range such as {from: 1, to: 64}"
            problems.append(f"{path}: {told}, got {quoted(values)}")
        else:
            # Cut, because an iterator may have no end; a list that was cut is refused with its size.
            found[path] = [_plain(value) for value in islice(values, COMBINATIONS + 1)]
            problems += [] if found[path] else [f"{path}: no values; give at least one"]
    return found, problems


def examples(axis: Axis) -> list[Any]:
    """Values that stand for all: those of a list, the ends of a range."""
    return axis.ends if isinstance(axis, Range) else axis


def axis_text(axis: Axis) -> str:
    """The axis in words."""
    if isinstance(axis, list):
        first_few = ", ".join(shortened(str(value)) for value in axis[:4])
        return f"{len(axis):,} values, {first_few}{', …' * (len(axis) > 4)}"
    first, last = axis.ends
    counted = "" if axis.size is None else f"{axis.size:,} values, "
    return f"{counted}{first} to {last}{', evenly over orders of magnitude' * axis.log}"


def size_of(axis: Axis) -> int | None:
    """How many values there are; None where they are not counted."""
    return axis.size if isinstance(axis, Range) else len(axis)


def value_at(axis: Axis, share: float) -> Any:
    """The value at a share of the axis, from 0 up to but not including 1."""
    return axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]


def nth(axis: Axis, place: int) -> Any:
    """The value at a place of an axis whose values are counted."""
    return axis.value(place) if isinstance(axis, Range) else axis[place]


def values_of(axis: Axis) -> list[Any]:
    """All values of an axis whose values are counted."""
    return [axis.value(i) for i in range(axis.size or 0)] if isinstance(axis, Range) else axis


def is_ordered(axis: Axis) -> bool:
    """True where values are amounts in one unit that rise, so that neighbours are alike."""
    if isinstance(axis, Range):
        return True
    amounts = [_amount(value) for value in axis]
    known = [amount for amount in amounts if amount is not None]
    numbers = [number for number, _, _ in known]
    return len(known) == len(axis) and len({unit for _, unit, _ in known}) <= 1 and numbers == sorted(numbers)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _range(given: Mapping[Any, Any]) -> Range:
    unknown = [key for key in given if key not in KEYS]
    problems = [f"a range has no {quoted(key)}; {guess(str(key), KEYS, otherwise='it has')}" for key in unknown]
    lacking = [key for key in ("from", "to") if given.get(key) is None]
    problems += [f"a range needs '{key}', such as {{from: 1, to: 64}}" for key in lacking]
    log = given.get("log", False)
    if not isinstance(log, bool):
        problems.append(f"log: expected true or false, got {quoted(log)}")
    amounts = {key: _amount(_plain(given[key])) for key in KEYS[:3] if given.get(key) is not None}
    problems += [
        f"{key}: expected a number, or an amount such as '8 GB/s', got {quoted(given[key])}"
        for key, amount in amounts.items()
        if amount is None
    ]
    if problems:
        raise InputError(problems)
    known = {key: amount for key, amount in amounts.items() if amount is not None}
    (low, unit, _), (high, _, _) = known["from"], known["to"]
    step = known["step"][0] if "step" in known else None
    units = list(dict.fromkeys(unit for _, unit, _ in known.values()))
    if len(units) > 1:
        told = " and ".join(unit or "a bare number" for unit in units)
        problems.append(f"its ends have different units, {told}; write all in one")
    if low > high:
        problems.append(f"from {quoted(given['from'])} lies above to {quoted(given['to'])}; swap them")
    if step is not None and step <= 0:
        problems.append(f"step: expected more than 0, got {quoted(given['step'])}")
    elif step is not None and (high - low) / step >= MOST_STEPS:
        problems.append(f"step: {quoted(given['step'])} is too small for this range; take a larger one")
    if log and low <= 0:
        problems.append(f"log: expected a range above 0, got from {quoted(given['from'])}")
    if log and step is not None:
        problems.append("step stands beside log; give one of the two")
    if problems:
        raise InputError(problems)
    return Range(low, high, step, log, all(whole for _, _, whole in known.values()) and not unit, unit)


def _amount(value: Any) -> tuple[float, str, bool] | None:
    """The number, its unit, and whether it is a bare whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return (float(value), "", isinstance(value, int)) if abs(value) < 2**53 else None
    written = AMOUNT.fullmatch(value.strip())
    return (float(written[1]), written[2].strip(), False) if written and written[2] else None
