"""The errors that a user of archsim can meet: those of dataflow, and those about a design or a mapping.

Each class says what the user must edit. All survive pickling, so that a sweep can pass them between processes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from archsim.quantity import show
from dataflow.errors import GraphError, InputError, ScheduleError, quoted

__all__ = [
    "Deadlock", "DesignError", "GraphError", "InputError", "MappingError", "ScheduleError", "Wait", "WayOut", "quoted",
]  # fmt: skip


class DesignError(InputError):
    """The design, model or published file cannot be right: edit the YAML."""


class MappingError(InputError):
    """The graph does not fit the design: change the design, the mapper's options or the model.

    Parameters
    ----------
    what : what does not fit, with the values.
    where : the op, tensor or task that is placed, as the user knows it.
    resource : the name of what runs out, such as a memory or `dsp`.
    demand, capacity : the amount needed and the amount there is, exact, in the base unit of `dimension`.
    dimension : the dimension of archsim.quantity that shows both amounts; None for plain counts.
    ways_out : the cheapest changes that make it fit, cheapest first.

    Examples
    --------
    >>> print(MappingError("the weights do not fit", where="op 'w3'", resource="uram", demand=3 * 2**19,
    ...                    capacity=2**20, dimension="bytes", ways_out=("a smaller tile", "a larger capacity")))
    op 'w3': the weights do not fit; uram asked 1.5 MiB, there is 1 MiB; ways out: a smaller tile, a larger capacity
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        resource: str | None = None,
        demand: int | Fraction | None = None,
        capacity: int | Fraction | None = None,
        dimension: str | None = None,
        ways_out: Sequence[str] = (),
    ) -> None:
        self.resource, self.demand, self.capacity = resource, demand, capacity
        self.dimension, self.ways_out = dimension, tuple(ways_out)
        parts = [f"{where}: {what}" if where else what]
        if resource is not None and demand is not None and capacity is not None:
            parts.append(f"{resource} asked {_amount(demand, dimension)}, there is {_amount(capacity, dimension)}")
        if self.ways_out:
            parts.append("ways out: " + ", ".join(self.ways_out))
        # Unpickling calls the class with this text alone and then restores the attributes, hence the defaults above.
        super().__init__("; ".join(parts))


def _amount(value: int | Fraction, dimension: str | None) -> str:
    return str(value) if dimension is None else show(value, dimension)


@dataclass(frozen=True, slots=True)
class Wait:
    """A task that cannot fire: its next firing, counted from 1, and what it waits for; `str` says so in words.

    `cause` is "starved" (it needs tokens of `stream`), "blocked" (it needs places there) or "turn" (`waits_for` comes
    first on `unit`). `tokens` lie in the stream, and `room` places of its `depth` are free. Fields are None if they do
    not belong to the cause; `room` and `depth` also if the stream has no limit.
    """

    task: str
    firing: int
    firings: int
    cause: str
    unit: str
    waits_for: str
    text: str
    stream: str | None = None
    needed: int | None = None
    tokens: int | None = None
    room: int | None = None
    depth: int | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class WayOut:
    """Depths by stream with which the section was run to its end, in `cycles`; `now` has their present depths.

    With one place less in any of them the section is stuck again.
    """

    depths: Mapping[str, int]
    now: Mapping[str, int]
    cycles: int


class Deadlock(InputError):
    """No task can fire and firings are left: change a depth, an order, initial tokens or a stream's rates.

    Nothing happens from `cycle` on. In `wait_cycle` each task waits for the next and the last for the first; `others`
    are the other waiting tasks by name. `way_out` is the smallest change of one depth that lets the section run to its
    end, or of several depths if no single one does; None if no depths do. `settings` are the values of the design, by
    path, that give these depths; empty where the mapper gives one of them.
    """

    def __init__(
        self,
        text: str,
        *,
        section: str = "",
        cycle: int = 0,
        wait_cycle: Sequence[Wait] = (),
        others: Sequence[Wait] = (),
        way_out: WayOut | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> None:
        self.section, self.cycle, self.settings = section, cycle, dict(settings or {})
        self.wait_cycle, self.others, self.way_out = tuple(wait_cycle), tuple(others), way_out
        super().__init__(text)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data; "text" is the message."""
        out = self.way_out
        return {
            "section": self.section,
            "cycle": self.cycle,
            "wait_cycle": [asdict(wait) for wait in self.wait_cycle],
            "others": [asdict(wait) for wait in self.others],
            "way_out": None
            if out is None
            else {"depths": dict(out.depths), "from": dict(out.now), "cycles": out.cycles},
            "settings": self.settings,
            "text": str(self),
        }
