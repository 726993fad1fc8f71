"""extend: kinds of units, op kinds, mappers, phases and rules of selection that are not part of the package.

A user's file is named explicitly, on the command line by --with; nothing is found by scanning. What it adds is then
treated as the package's own.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from archsim.design.design import know_kinds
from archsim.errors import InputError, quoted
from archsim.units import KINDS, Unit
from dataflow.models.phases import PHASES, field_types
from dataflow.op import OP_KINDS, OpKind
from dataflow.phase import Phase, asked_by
from kernels.selection import ALGORITHMS
from mappers.mapper import Mapper, options_of
from mappers.registry import MAPPERS

if TYPE_CHECKING:
    from kernels.selection.algorithm import Algorithm

# Files that were loaded, by path, with the hash of their contents: part of a run's manifest.
FILES: dict[str, str] = {}
OWN = {id(table): frozenset(table) for table in (KINDS, OP_KINDS, MAPPERS, PHASES, ALGORITHMS)}
# Words that name something else on the command line or in a sweep.
TAKEN = ("design", "model", "phase", "mapper", "selection", "engine", "options", "option", "progress", "output", "json",
         "set", "with", "target", "help")  # fmt: skip


def extend(
    *,
    kinds: Iterable[type[Unit]] = (),
    ops: Mapping[str, OpKind] | None = None,
    mappers: Iterable[type[Mapper]] = (),
    phases: Iterable[type[Phase]] = (),
    rules: Mapping[str, type[Algorithm]] | None = None,
) -> None:
    """Adds kinds of units, op kinds by name, mappers, phases, and rules of selection by name.

    An addition may replace an earlier one of its name, as when a notebook runs a cell again, but nothing of archsim's
    own. Raises InputError with every problem; then nothing is added.
    """
    kinds, mappers, phases = tuple(kinds), tuple(mappers), tuple(phases)
    ops, rules = dict(ops or {}), dict(rules or {})
    problems: list[str] = []
    for what, table, names in (
        ("kind", KINDS, [_kind_of(kind) for kind in kinds]), ("op kind", OP_KINDS, list(ops)),
        ("mapper", MAPPERS, [mapper.name for mapper in mappers]), ("phase", PHASES, [phase.name for phase in phases]),
        ("rule", ALGORITHMS, list(rules)),
    ):  # fmt: skip
        problems += [problem for name in names if (problem := _name_problem(what, table, name))]
    for name, record in ops.items():
        problems += _op_problems(name, record)
    for kind in kinds:
        problems += _kind_problems(kind, known={*OP_KINDS, *ops})
    for mapper in mappers:
        problems += _mapper_problems(mapper)
    for phase in phases:
        problems += _phase_problems(phase)
    for name, rule in rules.items():
        problems += _rule_problems(name, rule)
    if problems:
        raise InputError(problems)
    OP_KINDS.update(ops)
    KINDS.update({str(_kind_of(kind)): kind for kind in kinds})
    MAPPERS.update({mapper.name: mapper for mapper in mappers})
    PHASES.update({phase.name: phase for phase in phases})
    ALGORITHMS.update(rules)
    if kinds:
        know_kinds()


def load_file(name: str) -> ModuleType:
    """Runs a Python file that calls `extend`; a file that was loaded before, unchanged, is not run again.

    Raises InputError where it cannot be read or run, with the line.
    """
    path, where = Path(name), f"--with {name}"
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror}") from None
    key, digest = str(path.resolve()), hashlib.sha256(source).hexdigest()
    module = ModuleType(f"with_{path.stem}_{digest[:12]}")
    if FILES.get(key) == digest:
        return sys.modules[module.__name__]
    module.__file__ = str(path)
    # Dataclasses and pickles look for the module of a class by its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except InputError as error:
        raise InputError([f"{where}: {problem}" for problem in error.problems]) from None
    except SyntaxError as error:
        raise InputError(f"{where}:{error.lineno}: {error.msg}") from None
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        at = f"{where}:{lines[-1]}" if lines else where
        raise InputError(f"{at}: {type(error).__name__}: {error}") from None
    FILES[key] = digest
    return module


def _name_problem(what: str, table: Mapping[str, Any], name: object) -> str:
    if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.isascii():
        return f"{what} {quoted(name)}: a name has letters, digits and '_'"
    return f"{what} '{name}': archsim has one of this name; take another" if name in OWN[id(table)] else ""


def _kind_of(kind: object) -> object:
    """The name under which designs ask for a kind of unit: the one value of its field `kind`."""
    field = kind.model_fields.get("kind") if isinstance(kind, type) and issubclass(kind, Unit) else None
    return next(iter(get_args(field.annotation)), None) if field else None


def _kind_problems(kind: type[Unit], *, known: set[str]) -> list[str]:
    where = f"kind '{_kind_of(kind)}'"
    if not (isinstance(kind, type) and issubclass(kind, Unit)) or _kind_of(kind) is None:
        return [f"{getattr(kind, '__name__', kind)}: a kind is a Unit with a field `kind: Literal[\"its_name\"]`"]
    problems = [f"{where}: has no _cycles(self, work)"] if kind._cycles is Unit._cycles else []
    problems += [f"{where}: kinds: no op kind '{op}'; give its record in ops" for op in kind.kinds if op not in known]
    own = kind.model_fields.keys() - Unit.model_fields.keys() - {"kind"}
    return problems + [
        f"{where}: field '{name}' has no description" for name in sorted(own) if not kind.model_fields[name].description
    ]


def _op_problems(name: str, record: OpKind) -> list[str]:
    if not isinstance(record, OpKind):
        return [f"op kind '{name}': expected an OpKind, got {quoted(record)}"]
    problems = [
        f"op kind '{name}': {field}: no extent '{axis}'; extents are: {', '.join(record.extents)}"
        for field in ("axes", "sums", "rows", "defaults")
        for axis in getattr(record, field)
        if axis not in record.extents
    ]
    if record.shape is not None and (record.tile is None) == (record.evaluate is None):
        problems.append(f"op kind '{name}': give its numbers by tile or by evaluate, one of the two")
    return problems


def _mapper_problems(mapper: type[Mapper]) -> list[str]:
    if not (isinstance(mapper, type) and issubclass(mapper, Mapper) and is_dataclass(mapper)):
        return [f"mapper {quoted(mapper)}: a mapper is a frozen dataclass of Mapper with a name"]
    problems = [f"mapper '{mapper.name}': has no lower(self, graph, design)"] if mapper.lower is Mapper.lower else []
    try:
        options_of(mapper)
    except InputError as error:
        problems += error.problems
    return problems


def _phase_problems(phase: type[Phase]) -> list[str]:
    where = f"phase '{getattr(phase, 'name', phase)}'"
    if not (isinstance(phase, type) and issubclass(phase, Phase) and is_dataclass(phase)):
        return [f"{where}: a phase is a frozen dataclass of Phase with a name"]
    lacks = [name for name in (("steps", "ends") if phase.many_steps else ("graph",))
             if getattr(phase, name) is getattr(Phase, name)]  # fmt: skip
    problems = [f"{where}: has no {name}(self, model)" for name in lacks]
    try:
        types = field_types(phase)
        asked_by(phase)
    except (KeyError, StopIteration):
        return [*problems, f"{where}: a field is an int, a bool or a str, with asks(meaning)"]
    others = {name: kind for other in PHASES.values() if other.name != phase.name
              for name, kind in field_types(other).items()}  # fmt: skip
    problems += [f"{where}: field '{n}' is a word of the command line; take another" for n in types if n in TAKEN]
    return problems + [
        f"{where}: field '{name}' is {kind.__name__}, that of another phase is {others[name].__name__}"
        for name, kind in types.items()
        if others.get(name, kind) is not kind
    ]


def _rule_problems(name: str, rule: type[Algorithm]) -> list[str]:
    lacks = [part for part in ("check", "begin", "absorb", "choose", "metadata_bytes") if not hasattr(rule, part)]
    if not isinstance(rule, type) or not is_dataclass(rule) or lacks:
        told = f"; it lacks {', '.join(lacks)}" if lacks else ""
        return [f"rule '{name}': a rule is a frozen dataclass of kernels.selection.algorithm.Algorithm{told}"]
    return []
