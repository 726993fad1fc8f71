"""The flat form on disk: one .npz file with a section's integer arrays and its names, without pickles.

Reading checks every rule that an engine relies on: a file that is damaged, of another kind or written by hand with a
mistake is refused with a message and never runs.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from archsim.engine.arrays import FIRST_COME, WIDTHS, arrays
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit
from dataflow.errors import InputError
from dataflow.order import Order, Repeat, counted
from dataflow.task import UNLIMITED
from kernels.npz import read_arrays

FORMAT = 2
MOST_PROBLEMS = 10  # reported of one file; a damaged one may have thousands
EXPECTED = "expected a file that archsim.engine.flat_file.save wrote"
# Indices in the arrays: the array they stand in, the array they point to, their column.
INDICES = (
    ("tasks", "units", 0), ("takes", "streams", 0), ("gives", "streams", 0), ("streams", "tasks", 2),
    ("streams", "tasks", 3), ("order", "tasks", 0),
)  # fmt: skip
LISTS = {"tasks": "tasks", "units": "units", "of": "units", "streams": "streams"}  # list of names: array it names


def save(flat: Flat, path: str | os.PathLike[str]) -> None:
    """Writes the section to this file, whole or not at all; the same section gives the same bytes.

    `tasks` of a unit is not stored: it is the tasks that name the unit, in the order of the section.

    Raises InputError for a section that `load` would refuse, and if the file cannot be written.
    """
    found = [f"section '{flat.section}': {problem}" for problem in islice(_problems(flat), MOST_PROBLEMS)]
    if found:
        raise InputError(found)
    names = {
        "section": flat.section, "tasks": [t.name for t in flat.tasks], "units": [u.name for u in flat.units],
        "of": [u.of for u in flat.units], "streams": [s.name for s in flat.unfolded().streams],
    }  # fmt: skip
    try:
        made = arrays(flat.unfolded())
    except OverflowError:
        raise InputError(f"section '{flat.section}': a number beyond 2^63, more than a file holds; use less") from None
    columns: dict[str, np.ndarray] = {name: getattr(made, name) for name in WIDTHS}
    # As JSON in bytes: NumPy's own text drops zeros at its end and cannot hold every name that Python can.
    columns["names"] = np.frombuffer(json.dumps(names).encode("ascii"), dtype=np.uint8)
    columns["format"] = np.array(FORMAT, dtype=np.int64)
    # Through a buffer: given a path, NumPy appends ".npz" to names without it.
    written = io.BytesIO()
    np.savez_compressed(written, allow_pickle=False, **columns)
    whole = Path(path)
    # A rename in the same folder is atomic, so an interrupt leaves the old file or the new one, never half of it.
    part = whole.with_name(f".{whole.name}.part")
    try:
        part.write_bytes(written.getvalue())
        os.replace(part, whole)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def load(path: str | os.PathLike[str]) -> Flat:
    """The section that `save` wrote to this file.

    Raises InputError for a file that does not exist, is of another kind or of another format, and for arrays that do
    not form a section.
    """
    shown = os.fspath(path)
    columns = _columns(shown)
    unfolded = _flat(columns, shown)
    _check_all_used(unfolded, columns, shown)
    flat = unfolded.folded()
    found = [f"{shown}: {problem}" for problem in islice(_problems(flat), MOST_PROBLEMS)]
    if found:
        raise InputError(found)
    _check_all_used(flat.unfolded(), columns, shown)
    return flat


def _check_all_used(unfolded: Flat, columns: dict[str, np.ndarray], shown: str) -> None:
    """Raises InputError unless the section, written again, has these very arrays: no row left over or used twice."""
    written = arrays(unfolded)
    if not all(np.array_equal(getattr(written, name), columns[name]) for name in WIDTHS):
        raise InputError(f"{shown}: its arrays leave rows out or use them twice; {EXPECTED}")


def _columns(shown: str) -> dict[str, np.ndarray]:
    """The arrays of the file by name, each checked for its type and its number of columns."""
    try:
        raw = Path(shown).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{shown}: no such file; {EXPECTED}") from None
    except IsADirectoryError:
        raise InputError(f"{shown}: is a directory; {EXPECTED}") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise InputError(f"{shown}: cannot be read: {reason}") from None
    try:
        columns = read_arrays(io.BytesIO(raw))
    except ValueError:
        raise InputError(f"{shown}: is damaged or no .npz file at all; {EXPECTED}") from None
    form = columns.get("format")
    if form is None or form.shape != () or form.dtype != np.int64:
        raise InputError(f"{shown}: holds no section in flat form; {EXPECTED}")
    if form != FORMAT:
        raise InputError(f"{shown}: is of format {form}; this archsim reads format {FORMAT}, so save the section again")
    for name, width in WIDTHS.items():
        array = columns.get(name)
        if array is None or array.dtype != np.int64 or array.ndim != 2 or array.shape[1] != width:
            raise InputError(f"{shown}: '{name}' is no array of whole numbers in {width} columns; {EXPECTED}")
    return columns


def _flat(columns: dict[str, np.ndarray], shown: str) -> Flat:
    """The unfolded section that the arrays and names form; every index is checked against the array it points to."""
    names = _names(columns, shown)
    rows: dict[str, list[Any]] = {name: columns[name].tolist() for name in WIDTHS}
    # Before anything is looked up: a negative index would be legal Python and name another row.
    # Ranges of rows, such as the runs of a task, need no check: a wrong one shows when the arrays are compared.
    for name, within, i in INDICES:
        wrong = next((row[i] for row in rows[name] if not 0 <= row[i] < len(rows[within])), None)
        if wrong is not None:
            there = f"there are {len(rows[within])}, counted from 0"
            raise InputError(f"{shown}: '{name}' names row {wrong} of '{within}'; {there}")
    takes, gives, order = ([(a, b) for a, b in rows[name]] for name in ("takes", "gives", "order"))
    repeats = [(a, b, times) for a, b, times in rows["repeats"]]
    runs = [FlatRun(n, cycles, tuple(takes[a:b]), tuple(gives[c:d])) for n, cycles, a, b, c, d in rows["runs"]]
    tasks = [
        FlatTask(name, unit, firings, tuple(runs[a:b]), priority)
        for name, (unit, firings, a, b, priority) in zip(names["tasks"], rows["tasks"], strict=True)
    ]
    tasks_on: list[list[int]] = [[] for _ in rows["units"]]
    for i, task in enumerate(tasks):
        tasks_on[task.unit].append(i)
    units = [
        FlatUnit(name, of, count, latency, None if a == FIRST_COME else _order(order, a, b, repeats), (*on_unit,), gang)
        for name, of, (count, latency, a, b, gang), on_unit in zip(
            names["units"], names["of"], rows["units"], tasks_on, strict=True
        )
    ]
    streams = [FlatStream(name, *row) for name, row in zip(names["streams"], rows["streams"], strict=True)]
    return Flat(names["section"], tuple(tasks), tuple(streams), tuple(units))


def _order(entries: list[tuple[int, int]], first: int, end: int, repeats: list[tuple[int, int, int]]) -> Order:
    """The entries of a unit with the repeats that lie among them; any that lie otherwise are left out."""
    found: list[Any] = []
    starts: list[int] = []  # the entry at which each run of `found` begins
    inside = [(a, b, times) for a, b, times in repeats if first <= a < b <= end]  # by ends, inner ones first
    for i in range(max(first, 0), min(end, len(entries))):
        found.append(entries[i])
        starts.append(i)
        while inside and inside[0][1] == i + 1:
            a, _, times = inside.pop(0)
            if a in starts:
                at = starts.index(a)
                found[at:], starts[at:] = [Repeat(tuple(found[at:]), times)], [a]
    return tuple(found)


def _names(columns: dict[str, np.ndarray], shown: str) -> dict[str, Any]:
    """The name of the section and the lists of names, each as long as the array that it names."""
    written = columns.get("names", np.empty(0, dtype=np.uint8))
    try:
        names = json.loads(written.tobytes())
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, dict) or not isinstance(names.get("section"), str):
        raise InputError(f"{shown}: 'names' cannot be read; {EXPECTED}")
    for name, array in LISTS.items():
        listed = names.get(name)
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise InputError(f"{shown}: 'names' has no list of {name}; {EXPECTED}")
        if len(listed) != len(columns[array]):
            there = f"{len(listed)} names of {name} for {len(columns[array])} rows of '{array}'"
            raise InputError(f"{shown}: {there}; {EXPECTED}")
    return names


def _problems(flat: Flat) -> Iterator[str]:
    """Every rule that engines rely on and this section breaks; its indices are known to be valid."""
    if not flat.tasks:
        yield "it has no task; a section has at least one"
    for noun, names in (("task", flat.tasks), ("unit", flat.units), ("stream", flat.streams)):
        counted = Counter(named.name for named in names)
        yield from (f"{noun} '{name}' is there {n} times; names are different" for name, n in counted.items() if n > 1)
    for i, task in enumerate(flat.tasks):
        yield from (f"task '{task.name}': {problem}" for problem in _task_problems(flat, i))
    given, taken = (_totals(flat, end) for end in ("gives", "takes"))
    for s, stream in enumerate(flat.streams):
        yield from (f"stream '{stream.name}': {problem}" for problem in _stream_problems(flat, s, given, taken))
    firings: list[dict[int, int]] = [{} for _ in flat.units]
    for i, task in enumerate(flat.tasks):
        firings[task.unit][i] = task.firings
    for unit, on_unit in zip(flat.units, firings, strict=True):
        yield from (f"unit '{unit.name}': {problem}" for problem in _unit_problems(unit, on_unit))


def _task_problems(flat: Flat, i: int) -> Iterator[str]:
    task = flat.tasks[i]
    if task.firings < 1 or not task.runs:
        yield f"{task.firings} firings in {len(task.runs)} runs; at least one of each"
    period = sum(run.count for run in task.runs)
    if period > task.firings:
        yield f"{task.firings} firings of a period of {period}; a period is cut where the firings end"
    # As in `flatten`: where clients compete, firings of zero cycles could not be told apart in time.
    least = 1 if flat.units[task.unit].order is None else 0
    for run in task.runs:
        if run.count < 1 or run.cycles < least:
            yield f"a run of {run.count} firings of {run.cycles} cycles; at least 1 firing of {least} cycles or more"
        yield from _moves_problems(flat, i, run.takes, "takes")
        yield from _moves_problems(flat, i, run.gives, "gives")


def _moves_problems(flat: Flat, i: int, moves: Sequence[tuple[int, int]], verb: str) -> Iterator[str]:
    """Problems of the (stream, tokens) that one firing of the task takes or gives."""
    if len({s for s, _ in moves}) < len(moves):
        yield f"{verb} tokens of a stream twice in one firing; once is enough"
    for s, n in moves:
        stream = flat.streams[s]
        ends = stream.consumers if verb == "takes" else (stream.producer,)
        if i not in ends:
            there = ", ".join(f"'{flat.tasks[end].name}'" for end in ends)
            yield f"{verb} tokens of stream '{stream.name}', whose end it is not; that is {there}"
        if not 1 <= n <= stream.depth:
            yield f"{verb} {n} tokens of stream '{stream.name}' in one firing; 1 to its depth, {stream.depth}"


def _totals(flat: Flat, end: Literal["gives", "takes"]) -> Counter[tuple[int, int]]:
    """The tokens that each task gives to, or takes from, each stream in all its firings, by (stream, task)."""
    # Over all streams at once: a task may have as many streams as the section.
    totals: Counter[tuple[int, int]] = Counter()
    for i, task in enumerate(flat.tasks):
        if _counts(task):
            for (_, times), run in zip(task.cycles_counted(), task.runs, strict=True):
                for s, n in getattr(run, end):
                    totals[s, i] += n * times
    return totals


def _counts(task: FlatTask) -> bool:
    """False where the task has broken runs, which are reported with it and give no totals."""
    return bool(task.runs) and all(run.count >= 1 for run in task.runs)


def _stream_problems(
    flat: Flat, s: int, given: Counter[tuple[int, int]], taken: Counter[tuple[int, int]]
) -> Iterator[str]:
    stream = flat.streams[s]
    if not 1 <= stream.depth <= UNLIMITED:
        yield f"depth {stream.depth}; 1 to 2^62, which is without limit"
    if not 0 <= stream.initial <= stream.depth:
        yield f"{stream.initial} tokens at the start; 0 to its depth, {stream.depth}"
    if not all(_counts(flat.tasks[end]) for end in (stream.producer, *stream.consumers)):
        return
    if len(set(stream.consumers)) < len(stream.consumers):
        yield "a task consumes it twice; once is enough"
    for consumer in stream.consumers:
        gives, takes = given[s, stream.producer], taken[s, consumer]
        if gives != takes:
            yield f"{gives} tokens given in all and {takes} taken; the totals are equal"


def _unit_problems(unit: FlatUnit, firings: dict[int, int]) -> Iterator[str]:
    """Problems of a unit; `firings` gives those of each task that names it."""
    if tuple(firings) != unit.tasks or not firings:
        yield "its tasks are those that name it, in the order of the section, and at least one"
    if unit.count < 1 or unit.gang < 1 or unit.latency_cycles < 0:
        servers = f"{unit.count} gangs of {unit.gang} servers" if unit.gang != 1 else f"{unit.count} servers"
        yield f"{servers} of latency {unit.latency_cycles}; at least 1 server of latency 0 or more"
    if unit.order is None:
        return
    if not _at_least_once(unit.order) or counted(unit.order) != firings:
        yield "its order has other firings than its tasks; each firing stands there once, in runs of one or more"


def _at_least_once(order: Order) -> bool:
    """True where runs are of one or more firings, and repeats of one or more times."""
    return all(
        run.times >= 1 and _at_least_once(run.runs) if isinstance(run, Repeat) else run[1] >= 1 for run in order
    )
