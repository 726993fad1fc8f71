"""How the value at a path of a design is written, and the number that it means in a table.

Knows the types of a design's fields, so that a value that the design refuses has a unit too. Does not check values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from archsim.design.design import Design
from archsim.errors import InputError
from archsim.files.edits import keys_of
from archsim.quantity import Written, parse, written_in
from dataflow.task import UNLIMITED

PER_CYCLE, PER_SECOND = "/cycle", "/s"


def written_at(design: Design, path: str) -> Written | None:
    """How a value at this path of the design is written; None for text, a part that has paths below, or no path."""
    there: Any = design
    kind: Any = Design
    metadata: list[Any] = []
    for key in keys_of(design.document.data, path):
        model = type(there) if isinstance(there, BaseModel) else next(filter(_is_model, _members(kind)), None)
        if model is not None:
            fields = {field.alias or name: name for name, field in model.model_fields.items()}
            if key not in fields:
                return None
            field = model.model_fields[fields[key]]
            kind, metadata, there = field.annotation, field.metadata, getattr(there, fields[key], None)
            continue
        holder = next((one for one in _members(kind) if get_origin(one) in (dict, tuple)), None)
        if holder is None:
            return None
        kind, metadata = get_args(holder)[1 if get_origin(holder) is dict else 0], []
        there = there.get(key) if isinstance(there, Mapping) else None
    if any(get_origin(one) is dict for one in _members(kind)):
        return None
    return written_in(kind, metadata)


def unit_of(written: Written) -> str:
    """The unit of numbers in a table: rates are per second, because points may have different clocks.

    "count" is that of what is counted, and of a count that may be inf; "cycles" that of a time in cycles.
    """
    return written.unit.partition(",")[0].replace(PER_CYCLE, PER_SECOND)


def number_of(written: Written, value: Any, clock_hz: Fraction | None) -> int | float | None:
    """The number that a written value means, in `unit_of` it; None where it cannot be read.

    A rate per cycle is one per second by the clock, a time so many cycles of it. Without a clock neither is known.
    """
    try:
        read = written.reads(value, clock_hz)
    except InputError:
        return None
    if isinstance(read, int):
        return math.inf if read == UNLIMITED else read
    if written.unit.endswith(PER_CYCLE) and not clock_hz:
        return None
    try:
        return float(read * (clock_hz or 1) if written.unit.endswith(PER_CYCLE) else read)
    except OverflowError:
        return None


def clock_of(design: Design, settings: Mapping[str, Any]) -> Fraction | None:
    """The clock of a variant with these settings; None where it cannot be read."""
    if "clock" not in settings:
        return design.clock
    try:
        return parse(settings["clock"], "frequency")
    except InputError:
        return None


def _members(kind: Any) -> list[Any]:
    """The types of which a value may have one."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
