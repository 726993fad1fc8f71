"""extend: kinds of units, op kinds, mappers, phases and rules of selection that are not part of the package.

A user's file is named explicitly, on the command line by --with; nothing is found by scanning. What it adds is then
treated as the package's own.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from archsim.design.design import know_kinds
from archsim.errors import InputError, quoted
from archsim.files.document import contents
from archsim.units import KINDS, Unit
from dataflow.models.phases import PHASES
from dataflow.op import OP_KINDS, OpKind
from dataflow.phase import Phase
from kernels.selection import ALGORITHMS
from mappers.additions import name_of, problems_of
from mappers.mapper import Mapper
from mappers.registry import MAPPERS

if TYPE_CHECKING:
    from kernels.selection.algorithm import Algorithm

TABLES: dict[str, dict[str, Any]] = {
    "kind": KINDS, "op kind": OP_KINDS, "mapper": MAPPERS, "phase": PHASES, "rule": ALGORITHMS,
}  # fmt: skip
# Who added each name to its table: archsim, a file by its path, or a call of extend outside such a file.
OWNERS = {what: dict.fromkeys(table, "archsim") for what, table in TABLES.items()}
FILES: dict[str, str] = {}  # the loaded files by path, with the hash of their contents
RUNNING = ["a call of extend"]  # who calls extend now, last

Snapshot = list[dict[str, Any]]


def extend(
    *,
    kinds: Iterable[type[Unit]] = (),
    ops: Mapping[str, OpKind] | None = None,
    mappers: Iterable[type[Mapper]] = (),
    phases: Iterable[type[Phase]] = (),
    rules: Mapping[str, type[Algorithm]] | None = None,
) -> None:
    """Adds kinds of units, op kinds by name, mappers, phases, and rules of selection by name.

    A notebook that runs a cell again replaces what the cell added; nothing replaces what archsim or a file has added.
    Raises InputError with every problem; then nothing is added.
    """
    asked: dict[str, Any] = {
        "kind": kinds, "mapper": mappers, "phase": phases, "op kind": ops or {}, "rule": rules or {},
    }  # fmt: skip
    given: dict[str, list[tuple[Any, Any]]] = {}
    problems: list[str] = []
    for what, several in asked.items():
        by_name, given[what] = what in ("op kind", "rule"), []
        if by_name and isinstance(several, Mapping):
            given[what] = list(several.items())
        elif not by_name and isinstance(several, Iterable):
            given[what] = [(name_of(what, entry), entry) for entry in several]
        else:
            expected = f"a mapping of names to {what}s" if by_name else f"a list of {what}s"
            problems.append(f"{what}s: expected {expected}, got {quoted(several)}")
    known, owner = {*OP_KINDS, *dict(given["op kind"])}, RUNNING[-1]
    for what, entries in given.items():
        names = [name for name, _ in entries]
        for name, entry in entries:
            problems += problems_of(what, name, entry, ops=known)
            if OWNERS[what].get(name, owner) != owner:
                problems.append(f"{what} '{name}': {OWNERS[what][name]} has one of this name; take another")
        problems += [f"{what} '{name}' is given twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise InputError(problems)
    for what, entries in given.items():
        TABLES[what].update(entries)
        OWNERS[what].update((name, owner) for name, _ in entries)
    if given["kind"]:
        know_kinds()


def load_file(name: str) -> ModuleType:
    """Runs a Python file that calls `extend`; a file that was loaded before, unchanged, is not run again.

    A changed file takes the place of its earlier contents. Raises InputError where it cannot be read or run, with the
    line; then nothing is added.
    """
    path, where = Path(name), f"--with {name}"
    try:
        source = contents(path)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror}") from None
    key, digest = str(path.resolve()), hashlib.sha256(source).hexdigest()
    module = ModuleType(f"with_{path.stem}_{digest[:12]}")
    if FILES.get(key) == digest:
        return sys.modules[module.__name__]
    saved, module.__file__ = snapshot(), str(path)
    for what, owners in OWNERS.items():
        for added in [added for added, owner in owners.items() if owner == key]:
            del owners[added], TABLES[what][added]
    # Dataclasses and pickles look for the module of a class by its name.
    before, sys.modules[module.__name__] = sys.modules.get(module.__name__), module
    RUNNING.append(key)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        restore(saved)
        del sys.modules[module.__name__]
        sys.modules.update({} if before is None else {module.__name__: before})
        raise InputError([f"{where}{_line_in(path, error)}: {told}" for told in _told(error)]) from None
    finally:
        RUNNING.pop()
    FILES[key] = digest
    know_kinds()
    return module


def snapshot() -> Snapshot:
    """All that has been added so far, for `restore`."""
    return [dict(table) for table in (*TABLES.values(), *OWNERS.values(), FILES)]


def restore(saved: Snapshot) -> None:
    """Takes back what was added after the snapshot, and puts back what was replaced."""
    for table, was in zip((*TABLES.values(), *OWNERS.values(), FILES), saved, strict=True):
        table.clear()
        table.update(was)
    know_kinds()


def _line_in(path: Path, error: BaseException) -> str:
    """The line of the file where it went wrong, after a colon; empty where none is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f":{lines[-1]}" if lines and lines[-1] else ""


def _told(error: BaseException) -> tuple[str, ...]:
    if isinstance(error, InputError):
        return error.problems
    text = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__,)
