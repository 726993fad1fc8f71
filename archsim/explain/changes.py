"""Changes of a design and its mapping one at a time: each number doubled, or halved where less is better.

Knows how numbers are written and what more of them means. Does not know what a change brings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from archsim.design.design import Design
from archsim.design.written import written_at
from archsim.files.provenance import Sourced
from archsim.units import Unit
from dataflow.task import UNLIMITED

AMOUNT = re.compile(r"([0-9]*\.?[0-9]+)(\D.*)")
TIMES = ("cycles", "cycles, exact")  # units of numbers of which less is faster
# Of a unit, what is no number of the hardware: what it is called and does, and costs other than time.
BESIDE = ("kind", "ops", "arbitration", "energy")


@dataclass(frozen=True, slots=True)
class Change:
    """A number of the design by its path, how it is changed, and its old and new value as YAML has them."""

    path: str
    way: Literal["doubled", "halved"]
    was: Any
    value: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.was} -> {self.value}"


def changes_of(design: Design, *, mapping: Sourced | None = None) -> tuple[Change, ...]:
    """Every change: the clock, each number and the count of each unit, each depth of a link, a FIFO and a tile buffer.

    `mapping` is the one in force, which says how many `buffers` there are; None where there is none.

    Numbers that say how data lie, or what was measured, are left out (`Unit.describes`), and those that are 0 or inf.
    A halved number of cycles is rounded down.
    """
    data = design.document.data
    found = [("clock", data["clock"])]
    for name, unit in design.units.items():
        found += _numbers(f"units.{name}", data["units"][name], unit)
    found += [(f"links.{name}.depth", link["depth"]) for name, link in (data.get("links") or {}).items()]
    found += [(f"fifos.{name}", depth) for name, depth in (data.get("fifos") or {}).items()]
    made = [_change(design, path, value) for path, value in found]
    if mapping is not None and type(buffers := mapping.document.data.get("buffers")) is int:
        made.append(Change("mapping.buffers", "doubled", buffers, 2 * buffers))
    return tuple(change for change in made if change is not None)


def _numbers(path: str, written: Mapping[str, Any], unit: Unit) -> Iterator[tuple[str, Any]]:
    """The numbers of a unit with their paths, those below a key such as `rates` too."""
    if "count" not in written and unit.count != UNLIMITED:
        yield f"{path}.count", unit.count
    for key, value in written.items():
        if key in (*BESIDE, *unit.describes):
            continue
        inside = value.items() if isinstance(value, Mapping) else [("", value)]
        yield from ((f"{path}.{key}.{below}".rstrip("."), one) for below, one in inside)


def _change(design: Design, path: str, value: Any) -> Change | None:
    """The change of a number; None for what is no number, or cannot be changed."""
    written = written_at(design, path)
    is_time = path.endswith("_cycles") or (written is not None and written.unit in TIMES)
    to = _halved(value) if is_time else _doubled(value)
    if to is None or to == value or (to == 0 and written is not None and written.unit == "count"):
        return None
    return Change(path, "halved" if is_time else "doubled", value, to)


def _doubled(value: Any) -> Any:
    """Twice a number or an amount.

    >>> _doubled(28), _doubled("17.1 GB/s"), _doubled("inf"), _doubled(True)
    (56, '34.2 GB/s', None, None)
    """
    return 2 * value if type(value) is int else _scaled(value, Decimal(2))


def _halved(value: Any) -> Any:
    """Half of a number, rounded down, or of an amount.

    >>> _halved(35), _halved("38 ns")
    (17, '19 ns')
    """
    return value // 2 if type(value) is int else _scaled(value, Decimal("0.5"))


def _scaled(value: Any, factor: Decimal) -> str | None:
    found = AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    return None if found is None else f"{(Decimal(found[1]) * factor).normalize():f}{found[2]}"
