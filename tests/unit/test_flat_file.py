"""A section on disk: what is read is what was written, and whatever else lies there is refused with one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from archsim import InputError, load_design, load_model
from archsim.engine.flat import Flat, FlatRun, FlatStream, FlatTask, FlatUnit, flatten
from archsim.engine.flat_file import load, save
from dataflow import UNLIMITED, decode
from mappers import lower

WROTE = "expected a file that archsim.engine.flat_file.save wrote"
SMALL = Flat(
    "hand",
    (
        FlatTask("a", 0, 6, (FlatRun(2, 1, (), ((0, 1),)), FlatRun(1, 3, (), ((0, 2),)))),
        FlatTask("b", 1, 2, (FlatRun(1, 5, ((0, 4), (1, 1)), ((1, 1),)),)),
        FlatTask("c", 0, 1, (FlatRun(1, 0, (), ()),)),
    ),
    (FlatStream("s", 4, 0, 0, 1), FlatStream("back", UNLIMITED, 1, 1, 1)),
    (
        FlatUnit("u", "u", 1, 3, ((0, 2), (2, 1), (0, 4)), (0, 2)),
        FlatUnit("v", "v", 2, 0, None, (1,)),
    ),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the small section."""
    save(SMALL, tmp_path / "x.npz")
    return tmp_path / "x.npz"


def columns(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def changed(path: Path, **arrays: np.ndarray) -> None:
    """Writes the file again with these arrays in place of its own."""
    np.savez(path, **columns(path) | arrays)  # type: ignore[arg-type]


def message(path: Path) -> str:
    """What `load` says of this file, its folder left out."""
    with pytest.raises(InputError) as raised:
        load(path)
    return str(raised.value).replace(f"{path.parent}/", "")


def test_the_file_is_what_it_says(path: Path) -> None:
    """The arrays counted by hand: a reader without this code needs no more than the names of the columns."""
    found = columns(path)
    names = json.loads(found.pop("names").tobytes())
    assert names == {"section": "hand", "tasks": ["a", "b", "c"], "units": ["u", "v"], "of": ["u", "v"],
                     "streams": ["s", "back"]}  # fmt: skip
    assert {name: array.tolist() for name, array in found.items()} == {
        "format": 2,
        "tasks": [[0, 6, 0, 2, 0], [1, 2, 2, 3, 0], [0, 1, 3, 4, 0]],
        "runs": [[2, 1, 0, 0, 0, 1], [1, 3, 0, 0, 1, 2], [1, 5, 0, 2, 2, 3], [1, 0, 2, 2, 3, 3]],
        "takes": [[0, 4], [1, 1]],
        "gives": [[0, 1], [0, 2], [1, 1]],
        "streams": [[4, 0, 0, 1], [2**62, 1, 1, 1]],
        "units": [[1, 3, 0, 3, 1], [2, 0, -1, 3, 1]],
        "order": [[0, 2], [2, 1], [0, 4]],
        "repeats": [],
    }
    assert load(path) == SMALL


def test_the_same_section_gives_the_same_bytes_and_no_other_file(path: Path) -> None:
    first = path.read_bytes()
    save(SMALL, path)
    assert path.read_bytes() == first
    assert [other.name for other in path.parent.iterdir()] == ["x.npz"]
    save(replace(SMALL, section="other"), str(path.with_name("plain")))
    assert load(str(path.with_name("plain"))).section == "other"


@pytest.mark.parametrize("name", ["", "é > ß", "ends in zero\0", "'\"\n", "\ud800", "0" * 5000])
def test_any_name_comes_back(name: str, path: Path) -> None:
    tasks = (replace(SMALL.tasks[0], name=name), *SMALL.tasks[1:])
    streams = (replace(SMALL.streams[0], name=name), *SMALL.streams[1:])
    units = (replace(SMALL.units[0], name=name, of=name), *SMALL.units[1:])
    named = Flat(name, tasks, streams, units)
    save(named, path)
    assert load(path) == named


def test_a_whole_model_comes_back(path: Path) -> None:
    design, model = load_design("tellme_kv260"), load_model("bitnet_b158_large")
    for section in lower(decode(model, context=16), design).sections:
        flat = flatten(section, design)
        save(flat, path)
        assert load(path) == flat


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    assert message(path) == f"x.npz: no such file; {WROTE}"
    assert message(Path(f"{path}\0")).startswith("x.npz\0: cannot be read: ")
    path.mkdir()
    assert message(path) == f"x.npz: is a directory; {WROTE}"


@pytest.mark.parametrize("raw", [b"", b"PK\3\4", b"name: toy\n", b"\x93NUMPY\1\0\x0a\0{'descr': (", bytes(1000)])
def test_a_file_of_another_kind(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(raw)
    assert message(path) == f"x.npz: is damaged or no .npz file at all; {WROTE}"


def test_arrays_of_something_else(path: Path) -> None:
    other = path.with_name("y.npy")
    np.save(other, np.zeros(3))
    assert message(other) == f"y.npy: is damaged or no .npz file at all; {WROTE}"
    changed(path, runs=np.array([object()]))
    assert message(path) == f"x.npz: is damaged or no .npz file at all; {WROTE}"
    np.savez(path, weights=np.zeros(3))
    assert message(path) == f"x.npz: holds no section in flat form; {WROTE}"


@pytest.mark.parametrize(
    "form, said",
    [
        (np.array(7), "is of format 7; this archsim reads format 2, so save the section again"),
        (np.array([1]), f"holds no section in flat form; {WROTE}"),
        (np.array("1"), f"holds no section in flat form; {WROTE}"),
    ],
)
def test_another_format(path: Path, form: np.ndarray, said: str) -> None:
    changed(path, format=form)
    assert message(path) == f"x.npz: {said}"


ARRAYS = ("tasks", "runs", "takes", "gives", "streams", "units", "order", "repeats")
CHANGES: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda a: a.astype(float),
    lambda a: a.astype(np.int32),
    lambda a: a[:, 1:],
    np.ravel,
]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", CHANGES, ids=["floats", "32 bit", "a column less", "flat"])
def test_an_array_of_another_type_or_shape(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    widths = {"tasks": 5, "runs": 6, "takes": 2, "gives": 2, "streams": 4, "units": 5, "order": 2, "repeats": 3}
    said = f"x.npz: '{name}' is no array of whole numbers in {widths[name]} columns; {WROTE}"
    found = columns(path)
    changed(path, **{name: change(found[name])})
    assert message(path) == said
    del found[name]
    np.savez(path, **found)  # type: ignore[arg-type]
    assert message(path) == said


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda names: [], "'names' cannot be read"),
        (lambda names: {**names, "section": 1}, "'names' cannot be read"),
        (lambda names: {**names, "of": None}, "'names' has no list of of"),
        (lambda names: {**names, "tasks": [1, 2, 3]}, "'names' has no list of tasks"),
        (lambda names: {**names, "units": ["u"]}, "1 names of units for 2 rows of 'units'"),
    ],
)
def test_names_that_name_nothing(path: Path, change: Callable[[Any], Any], said: str) -> None:
    names = change(json.loads(columns(path)["names"].tobytes()))
    changed(path, names=np.frombuffer(json.dumps(names).encode(), dtype=np.uint8))
    assert message(path) == f"x.npz: {said}; {WROTE}"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_names_that_are_no_names(path: Path, raw: bytes) -> None:
    changed(path, names=np.frombuffer(raw, dtype=np.uint8))
    assert message(path) == f"x.npz: 'names' cannot be read; {WROTE}"


TWICE = f"its arrays leave rows out or use them twice; {WROTE}"
ORDER = "its order has other firings than its tasks; each firing stands there once, in runs of one or more"


@pytest.mark.parametrize(
    "name, row, column, value, said",
    [
        ("tasks", 0, 0, 2, "'tasks' names row 2 of 'units'; there are 2, counted from 0"),
        ("tasks", 0, 0, -1, "'tasks' names row -1 of 'units'; there are 2, counted from 0"),
        ("takes", 0, 0, 2, "'takes' names row 2 of 'streams'; there are 2, counted from 0"),
        ("gives", 2, 0, 9, "'gives' names row 9 of 'streams'; there are 2, counted from 0"),
        ("streams", 1, 3, 3, "'streams' names row 3 of 'tasks'; there are 3, counted from 0"),
        ("order", 0, 0, 4, "'order' names row 4 of 'tasks'; there are 3, counted from 0"),
        ("tasks", 2, 2, 2, TWICE),
        ("runs", 3, 2, 1, TWICE),
        ("units", 1, 3, 2, TWICE),
        ("units", 0, 2, 1, TWICE),
        ("tasks", 2, 1, 0, "task 'c': 0 firings in 1 runs; at least one of each"),
        ("tasks", 2, 3, 3, TWICE),
        ("runs", 0, 0, 6, "task 'a': 6 firings of a period of 7; a period is cut where the firings end"),
        ("runs", 3, 0, 0, "task 'c': a run of 0 firings of 0 cycles; at least 1 firing of 0 cycles or more"),
        ("runs", 0, 1, -1, "task 'a': a run of 2 firings of -1 cycles; at least 1 firing of 0 cycles or more"),
        ("runs", 2, 1, 0, "task 'b': a run of 1 firings of 0 cycles; at least 1 firing of 1 cycles or more"),
        ("takes", 1, 0, 0, "task 'b': takes tokens of a stream twice in one firing; once is enough"),
        ("gives", 2, 0, 0, "task 'b': gives tokens of stream 's', whose end it is not; that is 'a'"),
        ("streams", 0, 3, 0, "task 'b': takes tokens of stream 's', whose end it is not; that is 'a'"),
        ("takes", 0, 1, 0, "task 'b': takes 0 tokens of stream 's' in one firing; 1 to its depth, 4"),
        ("takes", 0, 1, 5, "task 'b': takes 5 tokens of stream 's' in one firing; 1 to its depth, 4"),
        ("gives", 1, 1, 3, "stream 's': 10 tokens given in all and 8 taken; the totals are equal"),
        ("streams", 0, 0, 0, "stream 's': depth 0; 1 to 2^62, which is without limit"),
        ("streams", 1, 0, 2**62 + 1, "stream 'back': depth 4611686018427387905; 1 to 2^62, which is without limit"),
        ("streams", 0, 1, 5, "stream 's': 5 tokens at the start; 0 to its depth, 4"),
        ("streams", 0, 1, -1, "stream 's': -1 tokens at the start; 0 to its depth, 4"),
        ("units", 1, 0, 0, "unit 'v': 0 servers of latency 0; at least 1 server of latency 0 or more"),
        ("units", 1, 1, -2, "unit 'v': 2 servers of latency -2; at least 1 server of latency 0 or more"),
        ("order", 0, 1, 3, f"unit 'u': {ORDER}"),
        ("order", 0, 1, -2, f"unit 'u': {ORDER}"),
        ("order", 1, 0, 1, f"unit 'u': {ORDER}"),
        ("tasks", 1, 0, 0, "unit 'v': its tasks are those that name it, in the order of the section, and at least one"),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be(path: Path, name: str, row: int, column: int, value: int, said: str) -> None:
    array = columns(path)[name].copy()
    array[row, column] = value
    changed(path, **{name: array})
    assert f"x.npz: {said}" in message(path).splitlines()


def test_a_task_without_runs(path: Path) -> None:
    tasks = columns(path)["tasks"].copy()
    tasks[2, 3] = 3
    changed(path, tasks=tasks, runs=columns(path)["runs"][:3])
    assert message(path) == "x.npz: task 'c': 1 firings in 0 runs; at least one of each"


def test_a_section_without_anything(path: Path) -> None:
    nothing = {name: columns(path)[name][:0] for name in ARRAYS}
    names = {"section": "", "tasks": [], "units": [], "of": [], "streams": []}
    changed(path, **nothing, names=np.frombuffer(json.dumps(names).encode(), dtype=np.uint8))
    assert message(path) == "x.npz: it has no task; a section has at least one"


@pytest.mark.parametrize("noun", ["task", "unit", "stream"])
def test_names_are_different(path: Path, noun: str) -> None:
    names = json.loads(columns(path)["names"].tobytes())
    names[f"{noun}s"] = ["x" for _ in names[f"{noun}s"]]
    changed(path, names=np.frombuffer(json.dumps(names).encode(), dtype=np.uint8))
    assert message(path) == f"x.npz: {noun} 'x' is there {len(names[f'{noun}s'])} times; names are different"


def test_no_more_than_ten_problems_are_told(path: Path) -> None:
    streams = tuple(FlatStream(f"s{i}", 0, 0, 0, 0) for i in range(1000))
    with pytest.raises(InputError) as raised:
        save(replace(SMALL, streams=streams), path)
    assert len(raised.value.problems) == 10
    assert load(path) == SMALL


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match="section 'hand': stream 's': 9 tokens at the start; 0 to its depth, 4"):
        save(replace(SMALL, streams=(replace(SMALL.streams[0], initial=9), SMALL.streams[1])), path)
    long = replace(SMALL.tasks[2], runs=(FlatRun(1, 2**63, (), ()),))
    with pytest.raises(InputError, match=r"section 'hand': a number beyond 2\^63, more than a file holds; use less"):
        save(replace(SMALL, tasks=(*SMALL.tasks[:2], long)), path)
    with pytest.raises(InputError, match=r"x.npz/y.npz: cannot be written: "):
        save(SMALL, path / "y.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    raw = path.read_bytes()
    for length in range(0, len(raw), 5):
        path.write_bytes(raw[:length])
        assert message(path) == f"x.npz: is damaged or no .npz file at all; {WROTE}"


def test_a_byte_changed_anywhere_is_refused_or_changes_nothing(path: Path) -> None:
    """What the archive holds beside the arrays, such as dates, may differ."""
    raw, random, refused = path.read_bytes(), Random(1), 0
    for place in range(0, len(raw), 3):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ random.randrange(1, 256)]) + raw[place + 1 :])
        try:
            assert load(path) == SMALL
        except InputError:
            refused += 1
    assert refused > len(raw) / 3 / 2
