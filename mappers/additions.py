"""What is wrong with a kind of unit, an op kind, a mapper, a phase or a rule that a user adds, a line each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, get_args

from archsim.errors import InputError, quoted
from archsim.report.figures import Figures
from archsim.units import Unit
from dataflow.models.phases import PHASES
from dataflow.op import OpKind
from dataflow.phase import NOT_FACTS, Phase, field_types
from mappers.mapper import FILES, Mapper, options_of

EXPECTED = {
    "kind": 'a class of Unit with a field `kind: Literal["its_name"]`',
    "op kind": "an OpKind",
    "mapper": "a frozen dataclass of Mapper with a name",
    "phase": "a frozen dataclass of Phase with a name",
    "rule": "a frozen dataclass of kernels.selection.algorithm.Algorithm",
}
# Words that name something else on the command line, in a call or in a sweep.
TAKEN = ("design", "model", "graph", "phase", "mapper", "engine", "options", "option", "progress", "output", "json",
         "set", "with", "target", "help", "selection", "mapping", "set_", "with_", "json_", "jobs", "over")  # fmt: skip


def name_of(what: str, entry: Any) -> Any:
    """The name that a kind, a mapper or a phase has by itself; None where it has none."""
    if what != "kind":
        return getattr(entry, "name", None)
    field = entry.model_fields.get("kind") if isinstance(entry, type) and issubclass(entry, Unit) else None
    # Designs ask for a kind by the one value of its field `kind`.
    return next(iter(get_args(field.annotation)), None) if field else None


def problems_of(what: str, name: object, entry: Any, *, ops: set[str]) -> Iterator[str]:
    """Every problem of one addition; `ops` are all op kinds, those that are added beside it included."""
    if not _is_one(what, entry):
        got = f"class {entry.__name__}" if isinstance(entry, type) else quoted(entry)
        yield f"{what}{f' {quoted(name)}' if name else ''}: expected {EXPECTED[what]}, got {got}"
        return
    where = f"{what} {quoted(name)}: "
    if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.isascii():
        yield f"{where}a name has letters, digits and '_'"
    if what == "op kind":
        yield from (where + problem for problem in _op_problems(entry))
        return
    yield from (f"{where}has no {method}" for method in _lacking(what, entry))
    if what == "kind":
        yield from (where + problem for problem in _kind_problems(entry, ops))
    elif what != "rule":
        yield from _field_problems(where, entry)


def _base(what: str) -> type:
    if what == "rule":
        from kernels.selection.algorithm import Algorithm  # here, because it imports numpy

        return Algorithm
    return {"kind": Unit, "op kind": OpKind, "mapper": Mapper, "phase": Phase}[what]


def _is_one(what: str, entry: Any) -> bool:
    if what == "op kind":
        return isinstance(entry, OpKind)
    if not isinstance(entry, type) or _base(what) not in entry.__mro__:
        return False
    if what == "kind":
        return name_of(what, entry) is not None
    # Of its own: a class below a dataclass has the fields of that one, too.
    own = vars(entry).get("__dataclass_params__")
    return own is not None and own.frozen and (what == "rule" or name_of(what, entry) != name_of(what, _base(what)))


def _lacking(what: str, entry: Any) -> Iterator[str]:
    methods = {
        "kind": ("_cycles",), "mapper": ("lower",), "rule": ("check", "begin", "absorb", "choose", "metadata_bytes"),
        "phase": ("steps", "ends") if getattr(entry, "many_steps", False) else ("graph",),
    }  # fmt: skip
    for name in methods[what]:
        inherited = getattr(_base(what), name)
        if getattr(entry, name) is inherited:
            yield f"{name}({', '.join(inspect.signature(inherited).parameters)})"


def _kind_problems(kind: type[Unit], ops: set[str]) -> Iterator[str]:
    if not isinstance(kind.kinds, tuple | list):
        yield f"kinds: expected a tuple of op kinds, got {quoted(kind.kinds)}"
    else:
        yield from (f"kinds: no op kind {quoted(op)}; give its record in ops" for op in kind.kinds if op not in ops)
    for name, field in kind.model_fields.items():
        if name not in {*Unit.model_fields, "kind"} and not field.description:
            yield f"field '{name}' has no description"


def _op_problems(record: OpKind) -> Iterator[str]:
    for field in ("count", "elements"):
        if not callable(getattr(record, field)):
            yield f"{field}: expected a function of a Work, got {quoted(getattr(record, field))}"
    if type(record.factors) is not int or record.factors < 0:
        yield f"factors: expected how many of the first inputs it multiplies, got {quoted(record.factors)}"
    for field in ("axes", "sums", "rows", "defaults"):
        for axis in getattr(record, field):
            if axis not in record.extents:
                yield f"{field}: no extent '{axis}'; extents are: {', '.join(record.extents)}"
    if record.shape is not None and (record.tile is None) == (record.evaluate is None):
        yield "give its numbers by tile or by evaluate, one of the two"


def _field_problems(where: str, entry: Any) -> Iterator[str]:
    """Of the options of a mapper, or the fields of a phase."""
    a_phase = issubclass(entry, Phase)
    known = () if a_phase or entry.phases is None else entry.phases
    if not isinstance(known, tuple) or not all(isinstance(one, type) and issubclass(one, Phase) for one in known):
        yield f"{where}phases: expected a tuple of classes of Phase, or None for any graph, got {quoted(known)}"
    word, base = ("field", Phase) if a_phase else ("option", Mapper)
    try:
        names: dict[str, Any] = field_types(entry) if a_phase else options_of(entry)
        if not a_phase:
            entry()  # checks the defaults
    except InputError as error:
        yield from (problem if problem.startswith(where) else where + problem for problem in error.problems)
        return
    # A name that the base has as well, such as frames or lower, would hide it; a report has a place for each name.
    words = {*TAKEN, *dir(base), *(dir(Figures) if a_phase else ())} - {"batch", *NOT_FACTS}
    # An option that is read from a file has the name of what is in it.
    words -= set() if a_phase else {one.kind.__name__.lower() for one in names.values() if one.kind in FILES}
    told = f"is a word of the command line, of a report or of every {base.__name__}"
    yield from (f"{where}{word} '{name}' {told}" for name in names if name in words)
    for f in fields(entry) if a_phase else ():
        if f.default not in (MISSING, None) and type(f.default) is not names[f.name]:
            yield f"{where}field '{f.name}': its default {quoted(f.default)} is no {names[f.name].__name__}"
        elif f.name == "batch" and f.default != 1:
            yield f"{where}field 'batch': every phase has one sequence unless more are asked for"
    for other in PHASES.values() if a_phase else ():
        for name, kind in field_types(other).items() if other.name != entry.name else ():
            if names.get(name, kind) is not kind:
                own = names[name].__name__
                yield f"{where}field '{name}' is {own}, that of phase '{other.name}' is {kind.__name__}"
