"""Unit, the base of every kind: the op kinds it does, its cycles and energy for a Work, how firings share it.

The only place where work is divided by a rate is a unit's `_cycles`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archsim.errors import MappingError
from archsim.quantity import CyclesTime, Joules, Limit
from dataflow.errors import PathProblems
from dataflow.op import OP_KINDS, Work
from dataflow.task import UNLIMITED

U = TypeVar("U", bound="Unit")


class Unit(BaseModel):
    """Something that does work at a rate. A kind is a subclass with its parameters and `_cycles`.

    Raises TypeError for work that it does not do: schedules are checked against `does` before they run. Raises
    MappingError where `_cycles` gives no time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: ClassVar[tuple[str, ...]] = ()
    # Parameters of which more is no more hardware: how data lie, the width of a number, what was measured.
    describes: ClassVar[tuple[str, ...]] = ()
    off_chip: ClassVar[bool] = False  # what lies outside the FPGA takes none of it, unless a design says so

    count: Limit = Field(1, description="identical servers of this unit; each serves one firing at a time")
    arbitration: Literal["in_order", "first_come", "placed"] = Field(
        "in_order",
        description="in_order: the schedule fixes the order of firings; first_come: as they become ready; "
        "placed: every task has a server of its own, as on a spatial machine",
    )
    latency_cycles: CyclesTime = Field(
        0, description="cycles, or a time, after the end of a firing until its tokens are visible"
    )
    energy: dict[Literal["mac", "exp", "flop", "read", "written", "moved"], Joules] = Field(
        default_factory=dict, description="energy of a mac, exp, flop or byte; without it energy is not modelled"
    )

    @model_validator(mode="after")
    def _countable(self) -> Unit:
        # Only placed tasks can do without a number: each has a server of its own.
        if self.count == UNLIMITED and self.arbitration != "placed":
            told = f"inf servers need arbitration placed; with {self.arbitration} give their number"
            raise PathProblems([("count", told)])
        return self

    @property
    def named_kind(self) -> str:
        """The name of its kind, as designs write it."""
        return str(vars(self)["kind"])

    @property
    def does(self) -> tuple[str, ...]:
        """The op kinds that this unit does."""
        return self.kinds

    @property
    def holds_bytes(self) -> int:
        """Bytes that all of its servers hold together; 0 of what is no memory."""
        return 0

    @property
    def carries_per_cycle(self) -> Fraction | None:
        """Bytes that all of its servers carry in a cycle at most; None of what has no bandwidth."""
        return None

    def cycles(self, work: Work, servers: int = 1) -> int:
        """Cycles that this work holds one server of the unit, or so many that do it together, rounded up once."""
        if work.kind not in self.does:
            raise TypeError(f"a {type(self).__name__} does not do '{work.kind}'; it does {', '.join(self.does)}")
        found = self._cycles(work) if servers == 1 else self._gang(work, servers)
        if not isinstance(found, int | Fraction) or found < 0:
            raise MappingError(
                f"takes {found!r} cycles for {work}; expected an int or a Fraction of zero or more, which are exact",
                where=f"a unit of kind {self.named_kind}",
            )
        return ceil(found)

    def _cycles(self, work: Work) -> Fraction | int:
        raise NotImplementedError

    def _gang(self, work: Work, servers: int) -> Fraction | int:
        """As `_cycles`, for a firing that several servers do together. A kind that can share one says how."""
        raise MappingError(
            f"a firing is done by one server, {servers} are asked for",
            where=f"a unit of kind {self.named_kind}", ways_out=("servers: 1 of the task",),
        )  # fmt: skip

    def tile(self, work: Work) -> dict[str, int]:
        """The extents of the work that the unit does in one piece, by axis; none where any cut costs the same."""
        return {}

    def energy_joules(self, work: Work) -> Fraction | None:
        """Energy of this work; None if the design gives no energy for something that the work counts."""
        if not self.energy:
            return None
        # A count of zero needs no energy in the design.
        counts = {what: n for what, n in work.counts().items() if n}
        if not set(counts) <= set(self.energy):
            return None
        return sum((n * self.energy[what] for what, n in counts.items()), Fraction(0))  # type: ignore[index]

    def resources(self) -> dict[str, int | Fraction]:
        """What one server takes of an FPGA by formula, by resource as budgets name it; what is no key has no formula.

        A formula says how the use changes with the parameters. How large it is, a design's measured build says.
        """
        return {}


def pooled(unit: U, servers: int, *parameters: str) -> U:
    """The unit with these parameters of all servers together."""
    return unit.model_copy(update={name: servers * getattr(unit, name) for name in parameters})


def largest_share(work: Work, extent: str, servers: int) -> Work:
    """The work of the server that gets most where they share an extent in whole parts.

    >>> from dataflow.op import work
    >>> largest_share(work("matmul", m=4, k=8, n=10), "n", 4)["n"]
    3
    """
    names = OP_KINDS[work.kind].extents
    parts = [ceil_div(n, servers) if name == extent else n for name, n in zip(names, work.extents, strict=True)]
    return replace(work, extents=tuple(parts))


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up, exactly."""
    return -(-a // b)


def only(value: Any, known: Collection[str], noun: str) -> Any:
    """The value, unchanged. Raises ValueError if it lists something that is not `known`; `noun` says what that is."""
    # What is no list of text passes on to pydantic, which names the type that it expects.
    for kind in value if isinstance(value, list | tuple) else ():
        if isinstance(kind, str) and kind not in known:
            raise ValueError(f"{kind!r} is no {noun}; those are: {', '.join(known)}")
    return value
