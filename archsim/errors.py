"""The errors a user of archsim can meet: those of dataflow, and those that name a design or a mapping.

Each leaf says what the user must edit. All of them survive pickling, so that a sweep can hand them between processes.
"""

from collections.abc import Sequence
from fractions import Fraction

from archsim.quantity import show
from dataflow.errors import GraphError, InputError, ScheduleError, quoted

__all__ = ["Deadlock", "DesignError", "GraphError", "InputError", "MappingError", "ScheduleError", "quoted"]


class DesignError(InputError):
    """The design, model or published file cannot be right: edit the YAML."""


class MappingError(InputError):
    """The graph does not fit the design: change the design, the mapper's options or the model.

    Parameters
    ----------
    what : what does not fit, with the values.
    where : the op, tensor or task that was being placed, as the user knows it.
    resource : the name of what runs out, such as a memory or `dsp`.
    demand, capacity : how much is asked and how much there is, exact numbers in the base unit of `dimension`.
    dimension : a dimension of archsim.quantity by which the two are shown; None for plain counts.
    ways_out : the cheapest changes that would let it fit, cheapest first.

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
        super().__init__("; ".join(parts))


def _amount(value: int | Fraction, dimension: str | None) -> str:
    return str(value) if dimension is None else show(value, dimension)


class Deadlock(InputError):
    """Nothing can happen any more and firings are left: change a depth, an order or the rates of a stream.

    `wait_cycle` holds a line for each task of the cycle that waits for itself, `others` for the rest; `ways_out` the
    smallest depths of streams of the cycle that let a producer go on.
    """

    def __init__(
        self,
        text: str,
        *,
        section: str = "",
        cycle: int = 0,
        wait_cycle: Sequence[str] = (),
        others: Sequence[str] = (),
        ways_out: Sequence[str] = (),
    ) -> None:
        self.section, self.cycle = section, cycle
        self.wait_cycle, self.others, self.ways_out = tuple(wait_cycle), tuple(others), tuple(ways_out)
        super().__init__(text)
