"""What a YAML file says, as an overview: the entries of one key as a table, the rest as lines, all as written.

Knows no key but those that every file has of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dataflow.errors import quoted
from dataflow.overview import Overview, labelled

WITH = "as written"
LONGEST = 500  # characters of what is written under a key


def of_file(
    data: Mapping[str, Any],
    *,
    head: str,
    table: str,
    row: str,
    columns: Sequence[str],
    foot: Iterable[tuple[str, str]],
    leave_out: Sequence[str],
) -> Overview:
    """The overview of a file's data under a line.

    `table` is the key of the entries that are rows, `row` names what a row is, and `columns` those of its keys that
    have a column. `foot` are lines with their labels, below all other keys but those that are left out.
    """
    entries = data.get(table) or {}
    others = {key: value for key, value in data.items() if key not in (table, *leave_out)}
    nested = {key: value for key, value in others.items() if isinstance(value, Mapping | list)}
    plain = " · ".join(f"{key} {written(value)}" for key, value in others.items() if key not in nested)
    lines = [labelled(key, _cut(written(value, outermost=True))) for key, value in nested.items()]
    lines += [labelled(label, told) for label, told in foot]
    cells = tuple(tuple(_cells(name, entry, columns)) for name, entry in entries.items())
    names = (row, *columns, WITH) if cells else ()
    return Overview((head, plain) if plain else (head,), names, cells, tuple(lines), (False,) * len(names)).first()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _cells(name: str, entry: Any, columns: Sequence[str]) -> Iterator[str]:
    yield str(name)
    if not isinstance(entry, Mapping):
        yield from [""] * len(columns)
        yield written(entry)
        return
    for key in columns:
        yield written(entry[key], outermost=True) if key in entry else ""
    yield ", ".join(f"{key} {written(value)}" for key, value in entry.items() if key not in columns)


def written(value: Any, *, outermost: bool = False) -> str:
    """A value on one line, nearly as YAML writes it; the outermost list or mapping without its brackets.

    >>> written({"from": "ddr", "depth": 2}), written([True, None, "36 KiB"], outermost=True)
    ('{from: ddr, depth: 2}', 'true, nothing, 36 KiB')
    """
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {written(one)}" for key, one in value.items())
        return inside if outermost else f"{{{inside}}}"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(written, value))
        return inside if outermost else f"[{inside}]"
    if isinstance(value, str):
        return value
    return quoted(value) if value is None or isinstance(value, bool | int) else str(value)
