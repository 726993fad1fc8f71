"""YAML read strictly and checked against toy models; every line number here is counted by hand."""

import json
import random
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from archsim.errors import DesignError
from archsim.files.document import Document, read, read_text, write
from archsim.files.json_text import json_text
from archsim.files.validate import validate
from archsim.quantity import BytesPerCycle, Count, CyclesTime, Frequency
from dataflow.errors import CONTROLS, PathProblems

SAMPLE = """\
name: toy
clock: 1 MHz
units:
  mm: {kind: array, tables: 28}
  ddr:
    kind: memory
    bandwidth: 1 B/cycle
links:
  - {from: ddr, to: mm, depth: 2}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(DesignError) as raised:
        read_text(text, path="x.yaml")
    return list(raised.value.problems)


def test_lines_of_keys_items_and_nearest_parents() -> None:
    document = read_text(SAMPLE)
    assert document.data["units"]["mm"] == {"kind": "array", "tables": 28}
    asked = ["", "name", "units.mm.tables", "units.ddr.bandwidth", "links.0.depth", "units.ddr.rate", "units.x.y", "no"]
    assert [document.line(path) for path in asked] == [1, 1, 4, 7, 9, 5, 3, 1]
    assert document.problem("units.ddr", "is slow") == "text:5: units.ddr: is slow"
    assert Document("x.yaml", {}).problem("clock", "is slow") == "x.yaml: clock: is slow"


def test_a_key_with_dots_has_its_line() -> None:
    document = read_text("assumed:\n  units.mm.tables: why\n")
    assert document.line("assumed.units.mm.tables") == 2


@pytest.mark.parametrize(
    "written, value",
    [
        ("1", 1), ("-3", -3), ("0", 0), ("0x1F", 31), ("1.5", 1.5), ("1.0e+9", 1e9), ("true", True), ("False", False),
        ("", None), ("~", None), ("'no'", "no"), ("'1e9'", "1e9"), ('"010"', "010"), ("'2024-01-01'", "2024-01-01"),
        ("250 MHz", "250 MHz"), ("1.0.0", "1.0.0"), ("e9", "e9"), ("[1, a]", [1, "a"]), ("{}", {}),
        ("|\n  1e9\n", "1e9\n"), ("9" * 60, 10**60 - 1),
    ],
)  # fmt: skip
def test_values_that_mean_what_they_look_like(written: str, value: object) -> None:
    assert read_text(f"a: {written}").data == {"a": value}


@pytest.mark.parametrize(
    "written, message",
    [
        ("1e9", "'1e9' is read as text, not as a number; write 1000000000, or put it in quotes"),
        ("1e-3", "'1e-3' is read as text, not as a number; write 0.001, or put it in quotes"),
        ("1e-7", "'1e-7' is read as text, not as a number; write 1.0e-07, or put it in quotes"),
        ("08", "'08' is read as text, not as a number; write 8, or put it in quotes"),
        ("1e400", "'1e400' is read as text, not as a number; put it in quotes"),
        ("no", "'no' is read as false; write false, or put it in quotes"),
        ("On", "'On' is read as true; write true, or put it in quotes"),
        ("12:30", "'12:30' is read as a number to base 60; put it in quotes"),
        ("010", "'010' is read as octal, 8; write it without the leading 0"),
        ("1_000", "'1_000' is a number with '_' in it; write 1000"),
        ("-inf", "'-inf' is read as text, not as a number; put it in quotes"),
        ("Inf", "'Inf' is read as text, not as a number; put it in quotes"),
        (".inf", "'.inf' is not a finite number; expected a number such as 1.5"),
        ("1.0e+999", "'1.0e+999' is not a finite number; expected a number such as 1.5"),
        ("9" * 61, f"'{'9' * 59}…' is a number of 61 characters; expected at most 60"),
        ("2024-01-01", "'2024-01-01' is read as a date; put it in quotes"),
        ("=", "'=' is read as a default value; put it in quotes"),
        ("&x 1", "'&x' shares a value between places; write the value out at each"),
        ("*x", "'*x' shares a value between places; write the value out at each"),
        ("!!int 5", "tag '!!int' is not allowed; write the value alone"),
        ("!thing {}", "tag '!thing' is not allowed; write the value alone"),
        ('"\\ud800"', "'\\ud800' holds half a character; write the character itself"),
    ],
)
def test_values_that_are_misread_are_refused(written: str, message: str) -> None:
    assert problems(f"b: 1\na: {written}") == [f"x.yaml:2: a: {message}"]


@pytest.mark.parametrize(
    "key, message",
    [
        ("no", "key 'no' is read as false; put it in quotes"),
        ("~", "key '~' is read as nothing; put it in quotes"),
        ("1", "key '1' is read as a number or a date; put it in quotes"),
        ("1e9", "key '1e9' is read as a number or a date; put it in quotes"),
        ("''", "key '' is no name; expected printable text without space around it"),
        ("' a'", "key ' a' is no name; expected printable text without space around it"),
        ("<<", "'<<' merges values from elsewhere; write them out"),
        ("[a, b]", "expected a name as key, got a list"),
    ],
)
def test_keys_that_are_no_names_are_refused(key: str, message: str) -> None:
    assert problems(f"u:\n  {key}: 1") == [f"x.yaml:2: u: {message}"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "x.yaml:1: the file is empty; expected lines of 'key: value'"),
        ("# nothing\n", "x.yaml:1: the file is empty; expected lines of 'key: value'"),
        ("\n---\n", "x.yaml:3: the file is empty; expected lines of 'key: value'"),
        ("- a\n- b\n", "x.yaml:1: expected lines of 'key: value', got a list"),
        ("hello", "x.yaml:1: expected lines of 'key: value', got 'hello'"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: a second document starts here; expected one document in a file"),
        ("a:\n\tb: 1", "x.yaml:2: a tab; write spaces instead"),
        ("a: [1, 2\nb: 3", "x.yaml:2: expected ',' or the end of the '[' opened on line 1"),
        ("a: [1, , 2]", "x.yaml:1: expected a value, or the end of what '[' or '{' opened before"),
        ("a: {{{", "x.yaml:1: expected a value, or the end of what '[' or '{' opened before"),
        ("b: 1\na: 'x\nc: 2", "x.yaml:2: a quote opens here and is never closed"),
        ("a: 1\nfoo\nb: 2", "x.yaml:2: expected 'key: value'"),
        ("a: @x", "x.yaml:1: a value cannot start with '@'; put it in quotes"),
        (
            "a:\n  b: 1\n c: 2",
            "x.yaml:3: this line does not fit the block that starts on line 1; expected the same indentation and form",
        ),
        (
            "a: b: c",
            "x.yaml:1: a ':' cannot stand here; indent the line like its neighbours, "
            "or put text that contains ': ' in quotes",
        ),
        ("a: 1\nb: \x00", "x.yaml:2: control character '\\x00'; only printable text is allowed"),
        ('b: 1\na: "\\UFFFFFFFF"', "x.yaml:2: not valid YAML: Python int too large to convert to C int"),
    ],
)
def test_text_that_is_no_mapping(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = "a: no\nunits:\n  x: {k: 1}\n  y: 1e3\n  x: {k: 010}\n"
    assert problems(text) == [
        "x.yaml:1: a: 'no' is read as false; write false, or put it in quotes",
        "x.yaml:4: units.y: '1e3' is read as text, not as a number; write 1000, or put it in quotes",
        "x.yaml:5: units.x: duplicate key; first given on line 3",
        "x.yaml:5: units.x.k: '010' is read as octal, 8; write it without the leading 0",
    ]


def test_a_message_is_one_line_whatever_the_key() -> None:
    assert problems('u:\n  "a\\nb": {c: no}') == [
        "x.yaml:2: u: key 'a\\nb' is no name; expected printable text without space around it",
        "x.yaml:2: u.a\\nb.c: 'no' is read as false; write false, or put it in quotes",
    ]


def test_nesting_has_a_limit_on_both_sides() -> None:
    assert read_text("a: " + "[" * 19 + "]" * 19).data
    assert len(read_text("a: [" + "[], " * 30 + "]").data["a"]) == 30
    assert problems("a: " + "[" * 20 + "]" * 20) == ["x.yaml:1: not valid YAML: nested more than 20 deep"]
    assert problems("a: " + "[" * 5000) == ["x.yaml:1: not valid YAML: nested more than 20 deep"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    cases: list[tuple[Path | str, str]] = [
        (tmp_path / "no.yaml", ": no such file"),
        (tmp_path, ": is a directory; expected a YAML file"),
        (tmp_path / "latin.yaml", ":2: byte 0xe9 is not UTF-8; save the file as UTF-8 text"),
        (tmp_path / "latin.yaml" / "x", ": cannot be read: Not a directory"),
        ("a\0b", ": cannot be read: embedded null byte"),
    ]
    for path, message in cases:
        with pytest.raises(DesignError) as raised:
            read(path)
        assert str(raised.value) == f"{path}{message}"
    document = read(tmp_path / "mark.yaml")
    assert (document.data, document.line("b")) == ({"a": 1, "b": 2}, 2)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Array(Frozen):
    kind: Literal["array", "grid"]
    tables: Count
    share: float = Field(default=1.0, gt=0, le=1)


class Memory(Frozen):
    kind: Literal["memory"]
    bandwidth: BytesPerCycle
    latency: CyclesTime | None = None
    memory: dict[str, int] = {}


class Link(Frozen):
    source: str = Field(alias="from")
    to: str
    depth: Count = 2


class Toy(Frozen):
    name: str
    clock: Frequency
    units: dict[str, Annotated[Array | Memory, Field(discriminator="kind")]] = {}
    links: list[Link] = []
    inner: Array | None = None

    @model_validator(mode="after")
    def check(self) -> "Toy":
        wrong = [
            (f"links.{i}.{key}", f"no unit {end!r}")
            for i, link in enumerate(self.links)
            for key, end in (("from", link.source), ("to", link.to))
            if end not in self.units
        ]
        if wrong:
            raise PathProblems(wrong)
        if self.name == "bad":
            raise ValueError("a toy cannot be bad")
        return self


def refused(text: str, context: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(DesignError) as raised:
        validate(read_text(text, path="x.yaml"), Toy, context=context)
    return [line.removeprefix("x.yaml:") for line in raised.value.problems]


def test_a_right_document_becomes_its_model() -> None:
    toy = validate(read_text(SAMPLE), Toy)
    assert toy.units["mm"] == Array(kind="array", tables=28)
    assert (toy.clock, toy.links[0].depth) == (1_000_000, 2)


HEAD = "name: t\nclock: 1 MHz\n"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("name: t\n", ["1: missing key 'clock'; write for example 'clock: 250 MHz'"]),
        ("name: t\nclock: 250\n", ["2: clock: expected a frequency such as '250 MHz', got 250"]),
        ("name: t\nclok: 1 MHz\n", ["2: unknown key 'clok'; did you mean 'clock'?"]),
        (HEAD + "clok: 1\n", ["3: unknown key 'clok'; known keys: name, clock, units, links, inner"]),
        (
            HEAD + "units:\n  u: {kind: array,\n      table: 1}\n",
            ["5: units.u: unknown key 'table'; did you mean 'tables'?"],
        ),
        (HEAD + "units:\n  u: {kind: array}", ["4: units.u: missing key 'tables'; write for example 'tables: 28'"]),
        (
            HEAD + "units:\n  u:\n    kind: memry\n",
            ["5: units.u: unknown kind 'memry'; kinds are: array, grid, memory; did you mean 'memory'?"],
        ),
        (HEAD + "units:\n  u: {kind: 5}", ["4: units.u: unknown kind 5; kinds are: array, grid, memory"]),
        (HEAD + "units:\n  u: {}", ["4: units.u: missing key 'kind'; kinds are: array, grid, memory"]),
        (HEAD + "units:\n  u: 5", ["4: units.u: expected a mapping, got 5"]),
        (HEAD + "units: []", ["3: units: expected a mapping, got a list"]),
        (
            HEAD + "units:\n  u: {kind: grid, tables: '28'}",
            ["4: units.u.tables: expected a count such as 28, got '28'"],
        ),
        (
            HEAD + "units:\n  u: {kind: grid, tables: 1, share: 0}",
            ["4: units.u.share: expected a number above 0.0, got 0"],
        ),
        (
            HEAD + "units:\n  memory: {kind: memory, bandwidth: 1 B/cycle, memory: {memory: x}}",
            ["4: units.memory.memory.memory: expected a whole number such as 28, got 'x'"],
        ),
        (HEAD + "links:\n- {to: u}\n", ["4: links.0: missing key 'from'"]),
        (HEAD + "inner: {kind: mesh, tables: 1}", ["3: inner.kind: expected 'array' or 'grid', got 'mesh'"]),
        (HEAD + "links:\n- from: a\n  to: b", ["4: links.0.from: no unit 'a'", "5: links.0.to: no unit 'b'"]),
        ("name: bad\nclock: 1 MHz", ["1: a toy cannot be bad"]),
        ("name: [1]\nclock: 1 MHz", ["1: name: expected text, got a list"]),
    ],
)
def test_what_a_model_refuses(text: str, expected: list[str]) -> None:
    assert refused(text) == expected


def test_rates_by_the_second_take_the_clock_from_the_context() -> None:
    text = HEAD + "units:\n  u: {kind: memory, bandwidth: 3 MB/s, latency: 7 us}\n"
    toy = validate(read_text(text), Toy, context={"clock_hz": 1_000_000})
    assert toy.units["u"] == Memory(kind="memory", bandwidth="3 B/cycle", latency=7)
    assert [line.partition("'")[0] for line in refused(text)] == ["4: units.u.bandwidth: ", "4: units.u.latency: "]


plain = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=8).filter(
    lambda word: not CONTROLS.search(word)
)
traps = st.sampled_from(
    ["1e9", "no", "12:30", "010", "<<", "=", "~", "", "2024-01-01", "a: b", "# c", "nan", "*x", "1_0"]
)
names = (words | traps).filter(lambda key: key.isprintable() and key == key.strip() and key != "")
values = st.recursive(
    plain | words | traps,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, values, min_size=1, max_size=4))
def test_what_is_written_reads_back(data: dict[str, Any]) -> None:
    assert read_text(write(data)).data == data


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_json_is_not_written(number: float) -> None:
    assert json.loads(json_text({"seconds": [0.1, None]})) == {"seconds": [0.1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"seconds": [number]})


def test_a_value_used_twice_is_written_twice() -> None:
    shared = [1, 2]
    assert write({"a": shared, "b": shared}) == "a:\n- 1\n- 2\nb:\n- 1\n- 2\n"


def test_mutated_files_give_problems_and_never_a_traceback(tmp_path: Path) -> None:
    draw = random.Random(20)
    path = tmp_path / "mutated.yaml"
    pieces = [
        b"\t",
        b"\x00",
        b"\xff",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!map ",
        b"{",
        b"]",
        b"'",
        b'"\\U',
        b"? ",
        b"---\n",
        b"%",
        b"\n",
    ]
    lines: list[str] = []
    for _ in range(2000):
        raw = bytearray(SAMPLE.encode())
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(raw))
            change = draw.randrange(4)
            if change == 0:
                raw[at] = draw.randrange(256)
            elif change == 1:
                del raw[at : at + draw.randint(1, 8)]
            else:
                raw[at:at] = draw.choice(pieces) if change == 2 else raw[at : at + 12]
        path.write_bytes(raw)
        try:
            validate(read(path), Toy)
        except DesignError as error:
            lines += error.problems
    assert len(lines) > 1000
    assert all(line.startswith(f"{path}:") and line.isprintable() for line in lines)
