"""The flat form on disk: one .npz file with a section's integer arrays and its names.

Holds no pickles. What is read is held to the rules that a mapper's section keeps, so that an engine can trust it: a
file that is damaged, of another kind or put together by hand is refused with a message and never runs.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from archsim.engine.arrays import FIRST_COME, WIDTHS, Arrays, arrays
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit
from dataflow.errors import InputError
from dataflow.pattern import Pattern
from dataflow.task import UNLIMITED

FORMAT = 1
MOST_TOLD = 10  # problems of one file; a damaged one may have thousands
EXPECTED = "expected a file that archsim.engine.flat_file.save wrote"
LISTS = {"tasks": "tasks", "units": "units", "of": "units", "streams": "streams"}  # of names, with the rows they name
Pairs = list[tuple[int, int]]


def save(flat: Flat, path: str | os.PathLike[str]) -> None:
    """Writes the section to this file, whole or not at all; the same section gives the same bytes.

    The tasks of a unit are those that name it, in the order of the section, as `flatten` lists them.

    Raises InputError for a section that `load` would refuse and where the file cannot be written.
    """
    found = [f"section '{flat.section}': {problem}" for problem in islice(_problems(flat), MOST_TOLD)]
    if found:
        raise InputError(found)
    names = {
        "section": flat.section,
        "tasks": [t.name for t in flat.tasks],
        "units": [u.name for u in flat.units],
        "of": [u.of for u in flat.units],
        "streams": [s.name for s in flat.streams],
    }
    try:
        made = arrays(flat)
    except OverflowError:
        raise InputError(f"section '{flat.section}': a number beyond 2^63, more than a file holds; use less") from None
    columns: dict[str, np.ndarray] = {name: getattr(made, name) for name in WIDTHS}
    # As JSON in bytes: NumPy's own text drops zeros at its end and cannot hold every name that Python can.
    columns["names"] = np.frombuffer(json.dumps(names).encode("ascii"), dtype=np.uint8)
    columns["format"] = np.array(FORMAT, dtype=np.int64)
    written = io.BytesIO()
    np.savez_compressed(written, allow_pickle=False, **columns)
    whole = Path(path)
    part = whole.with_name(f".{whole.name}.part")
    try:
        part.write_bytes(written.getvalue())
        os.replace(part, whole)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def load(path: str | os.PathLike[str]) -> Flat:
    """The section that `save` wrote to this file.

    Raises InputError for a file that is not there, is something else or has another format, and for arrays that are no
    section together.
    """
    shown = os.fspath(path)
    columns = _columns(shown)
    flat = _flat(columns, shown)
    if not _same(arrays(flat), columns):
        raise InputError(f"{shown}: its arrays leave rows out or use them twice; {EXPECTED}")
    found = [f"{shown}: {problem}" for problem in islice(_problems(flat), MOST_TOLD)]
    if found:
        raise InputError(found)
    return flat


def _columns(shown: str) -> dict[str, np.ndarray]:
    """The arrays of the file by name, each of its type and shape."""
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
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            columns = {name: np.asarray(file[name]) for name in file.files}
    except Exception:  # ZIP, its codecs and NumPy's header each complain in their own way about what is damaged
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
    """The section of the arrays and names; every index in it is one that is there."""
    names = _names(columns, shown)
    rows: dict[str, list[Any]] = {name: columns[name].tolist() for name in WIDTHS}
    for name, within, place in _indices(rows):
        if not 0 <= place < len(rows[within]):
            there = f"there are {len(rows[within])}, counted from 0"
            raise InputError(f"{shown}: '{name}' names row {place} of '{within}'; {there}")
    takes, gives, order = ([(a, b) for a, b in rows[name]] for name in ("takes", "gives", "order"))
    runs = [FlatRun(n, cycles, tuple(takes[a:b]), tuple(gives[c:d])) for n, cycles, a, b, c, d in rows["runs"]]
    tasks = [
        FlatTask(name, unit, firings, tuple(runs[a:b]))
        for name, (unit, firings, a, b) in zip(names["tasks"], rows["tasks"], strict=True)
    ]
    mine: list[list[int]] = [[] for _ in rows["units"]]
    for i, task in enumerate(tasks):
        mine[task.unit].append(i)
    units = [
        FlatUnit(name, of, count, latency, None if a == FIRST_COME else tuple(order[a:b]), tuple(on_it))
        for name, of, (count, latency, a, b), on_it in zip(
            names["units"], names["of"], rows["units"], mine, strict=True
        )
    ]
    streams = [FlatStream(name, *row) for name, row in zip(names["streams"], rows["streams"], strict=True)]
    return Flat(names["section"], tuple(tasks), tuple(streams), tuple(units))


def _names(columns: dict[str, np.ndarray], shown: str) -> dict[str, Any]:
    """The name of the section and the lists of names, each as long as what it names."""
    written = columns.get("names", np.empty(0, dtype=np.uint8))
    try:
        names = json.loads(written.tobytes())
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, dict) or not isinstance(names.get("section"), str):
        raise InputError(f"{shown}: 'names' cannot be read; {EXPECTED}")
    for name, of in LISTS.items():
        listed = names.get(name)
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise InputError(f"{shown}: 'names' has no list of {name}; {EXPECTED}")
        if len(listed) != len(columns[of]):
            there = f"{len(listed)} names of {name} for {len(columns[of])} rows of '{of}'"
            raise InputError(f"{shown}: {there}; {EXPECTED}")
    return names


def _indices(rows: dict[str, list[Any]]) -> Iterator[tuple[str, str, int]]:
    """Every index that stands in the arrays: where, of what, which."""
    for name, within, columns in (
        ("tasks", "units", (0,)), ("takes", "streams", (0,)), ("gives", "streams", (0,)),
        ("streams", "tasks", (2, 3)), ("order", "tasks", (0,)),
    ):  # fmt: skip
        yield from ((name, within, row[i]) for row in rows[name] for i in columns)


def _same(made: Arrays, columns: dict[str, np.ndarray]) -> bool:
    """True where the section, written again, has these very arrays: no row is left over, shared or out of order."""
    return all(np.array_equal(getattr(made, name), columns[name]) for name in WIDTHS)


def _problems(flat: Flat) -> Iterator[str]:
    """Everything about a section, whose indices are all there, that an engine takes for granted and is not so."""
    if not flat.tasks:
        yield "it has no task; a section has at least one"
    for noun, names in (("task", flat.tasks), ("unit", flat.units), ("stream", flat.streams)):
        counted = Counter(one.name for one in names)
        yield from (f"{noun} '{name}' is there {n} times; names are different" for name, n in counted.items() if n > 1)
    for i, task in enumerate(flat.tasks):
        yield from (f"task '{task.name}': {problem}" for problem in _task_problems(flat, i))
    for s, stream in enumerate(flat.streams):
        yield from (f"stream '{stream.name}': {problem}" for problem in _stream_problems(flat, s))
    firings: list[dict[int, int]] = [{} for _ in flat.units]
    for i, task in enumerate(flat.tasks):
        firings[task.unit][i] = task.firings
    for unit, mine in zip(flat.units, firings, strict=True):
        yield from (f"unit '{unit.name}': {problem}" for problem in _unit_problems(unit, mine))


def _task_problems(flat: Flat, i: int) -> Iterator[str]:
    task = flat.tasks[i]
    if task.firings < 1 or not task.runs:
        yield f"{task.firings} firings in {len(task.runs)} runs; at least one of each"
    period = sum(run.count for run in task.runs)
    if period > task.firings:
        yield f"{task.firings} firings of a period of {period}; a period is cut where the firings end"
    least = 1 if flat.units[task.unit].order is None else 0
    for run in task.runs:
        if run.count < 1 or run.cycles < least:
            yield f"a run of {run.count} firings of {run.cycles} cycles; at least 1 firing of {least} cycles or more"
        yield from _moves_problems(flat, i, run.takes, "takes")
        yield from _moves_problems(flat, i, run.gives, "gives")


def _moves_problems(flat: Flat, i: int, moves: Sequence[tuple[int, int]], verb: str) -> Iterator[str]:
    """What is wrong with the tokens that one firing of the task takes or gives."""
    if len({s for s, _ in moves}) < len(moves):
        yield f"{verb} tokens of a stream twice in one firing; once is enough"
    for s, n in moves:
        stream = flat.streams[s]
        end = stream.consumer if verb == "takes" else stream.producer
        if end != i:
            yield f"{verb} tokens of stream '{stream.name}', whose end it is not; that is '{flat.tasks[end].name}'"
        if not 1 <= n <= stream.depth:
            yield f"{verb} {n} tokens of stream '{stream.name}' in one firing; 1 to its depth, {stream.depth}"


def _stream_problems(flat: Flat, s: int) -> Iterator[str]:
    stream = flat.streams[s]
    if not 1 <= stream.depth <= UNLIMITED:
        yield f"depth {stream.depth}; 1 to 2^62, which is without limit"
    if not 0 <= stream.initial <= stream.depth:
        yield f"{stream.initial} tokens at the start; 0 to its depth, {stream.depth}"
    given = _moved(flat.tasks[stream.producer], s, "gives")
    taken = _moved(flat.tasks[stream.consumer], s, "takes")
    if given != taken:
        yield f"{given} tokens given in all and {taken} taken; the totals are equal"


def _moved(task: FlatTask, s: int, end: str) -> int:
    """Tokens of the stream that all firings of the task take or give."""
    if not task.runs or any(run.count < 1 for run in task.runs):
        return 0
    runs = Pattern(tuple((dict(getattr(run, end)).get(s, 0), run.count) for run in task.runs))
    return sum(n * times for n, times in runs.counted(task.firings))


def _unit_problems(unit: FlatUnit, mine: dict[int, int]) -> Iterator[str]:
    """What is wrong with a unit on which tasks have so many firings."""
    if tuple(mine) != unit.tasks or not mine:
        yield "its tasks are those that name it, in the order of the section, and at least one"
    if unit.count < 1 or unit.latency_cycles < 0:
        yield f"{unit.count} servers of latency {unit.latency_cycles}; at least 1 server of latency 0 or more"
    if unit.order is None:
        return
    ordered: Counter[int] = Counter()
    for task, n in unit.order:
        ordered[task] += n
    if any(n < 1 for _, n in unit.order) or dict(ordered) != mine:
        yield "its order has other firings than its tasks; each firing stands there once, in runs of one or more"
