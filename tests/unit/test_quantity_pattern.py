"""The regular expressions that editors read take exactly the amounts that the reader takes."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import TypeAdapter

from archsim import quantity
from archsim.errors import InputError
from archsim.mapping import Part
from archsim.published import METRICS, PLAIN, Point, value_of
from archsim.quantity import DIMENSIONS, parse, text_of, written_in
from archsim.quantity_units import PLURALS, SCALED, SPELLINGS
from archsim.schema import json_schema

CLOCK = Fraction(250_000_000)
NAMES = [*SCALED, *PLURALS]
RESPELT = [name.replace(here, there) for name in NAMES for there, here in SPELLINGS.items() if here in name]
WRONG_UNITS = ["Mhz", "mHz", "KB", "gb", "Gb", "mm", "B2", "µ", "^2", "", "mm^²", "um^^2", "cycles2", "inf", "nan"]
unit = st.sampled_from([*NAMES, *RESPELT, *WRONG_UNITS])
blank = st.sampled_from(["", " ", "  ", "\t", "\u00a0"])
digits = st.text("0123456789", max_size=3)
number = st.tuples(
    st.sampled_from(["", "", "+", "-"]), digits, st.sampled_from(["", "."]), digits,
    st.sampled_from(["", "e", "E3", "e-12", "e+0", "e999"]),
).map("".join)  # fmt: skip
amount = st.tuples(blank, number | st.sampled_from(["0", "-0.0", "1" * 30, "1" * 31, "1." + "0" * 31]), blank, unit)
rate = st.tuples(amount.map("".join), blank, st.just("/"), blank, unit)
text = st.tuples(amount.map("".join) | rate.map("".join), blank).map("".join) | st.text(max_size=12)


def reads(written: str, dimension: str) -> bool:
    try:
        parse(written, dimension, clock_hz=CLOCK)
    except InputError:
        return False
    return True


def takes(written: str, dimension: str) -> bool:
    return re.search(text_of(dimension)["pattern"], written) is not None


@settings(max_examples=1000, derandomize=True, deadline=None)
@given(written=text)
def test_the_pattern_takes_what_the_reader_takes(written: str) -> None:
    for dimension in DIMENSIONS:
        assert takes(written, dimension) == reads(written, dimension), dimension


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_pair_of_units_is_taken_where_it_is_read(dimension: str) -> None:
    pairs = [above + (below and f"/{below}") for above in (*NAMES, *RESPELT) for below in ("", *NAMES, *RESPELT)]
    taken = re.compile(text_of(dimension)["pattern"])
    found = {pair for pair in pairs if taken.search(f"2 {pair}")}
    assert found == {pair for pair in pairs if reads(f"2 {pair}", dimension)}
    assert found


@pytest.mark.parametrize(
    ("written", "dimension"),
    [
        ("250 Mhz", "frequency"), ("10 GHz B", "frequency"), ("250", "frequency"), ("0 MHz", "frequency"),
        ("-1 MHz", "frequency"), ("3 s/s", "frequency"), ("3 cycle/cycle", "frequency"), ("1 Hz/Hz", "time"),
        ("-10 pJ", "energy"), ("10 pW", "energy"), ("35 W/s", "power"), ("inf W", "power"), ("1e999 W", "power"),
        ("36 KB", "bytes"), ("36 KiB/s", "bytes"), ("0 B", "bytes"), ("19.2 GB", "bytes per cycle"),
        ("64 MAC/cycle", "bytes per cycle"), ("0 B/cycle", "bytes per cycle"), ("-60 ns", "cycles"),
        ("1,000 Hz", "frequency"), ("2.5 mm", "area"), ("٣ W", "power"),
    ],
)  # fmt: skip
def test_neither_takes_what_is_wrong(written: str, dimension: str) -> None:
    assert not reads(written, dimension)
    assert not takes(written, dimension)


def test_every_type_of_text_with_a_unit_has_a_pattern() -> None:
    """So that a new one does not leave editors without."""
    types = {name: kind for name, kind in vars(quantity).items() if written_in(kind)}
    of_text = [name for name, kind in types.items() if " " in str(written_in(kind).example)]
    assert len(of_text) >= 12
    for name in of_text:
        schema = TypeAdapter(types[name]).json_schema()
        branches = schema.get("anyOf", [schema])
        assert any("pattern" in branch for branch in branches), name
        valid = Draft7Validator(schema).is_valid
        assert all(valid(example) for example in schema["examples"])
        assert not valid("12 parsec")
        assert not valid(True)
        assert not valid(-1)


def test_what_no_pattern_can_say_the_reader_refuses() -> None:
    schema = TypeAdapter(quantity.Bytes).json_schema()
    assert Draft7Validator(schema).is_valid("12 bit")
    with pytest.raises(ValueError, match="a whole number"):
        TypeAdapter(quantity.Bytes).validate_python("12 bit")


@pytest.mark.parametrize("metric", METRICS)
def test_a_published_value_is_told_by_its_metric(metric: str) -> None:
    valid = Draft7Validator(Point.model_json_schema()).is_valid
    point = {"metric": metric, "phase": "decode", "conditions": "x", "mark": "paper", "tolerance": 0.1}
    dimension = METRICS[metric][0]
    right = PLAIN[dimension][0] if dimension in PLAIN else DIMENSIONS[dimension].examples[0]
    zero = "0" + right[right.index(" ") :]
    written = [right, right.replace(" ", "  "), f"-{right}", zero, "35 W", "48 %", "9 ms", "x"]
    assert valid({**point, "value": right})
    for value in written:
        try:
            reads_it = value_of(value, dimension) > 0
        except ValueError:
            reads_it = False
        assert valid({**point, "value": value}) == reads_it, value


@pytest.mark.parametrize("written", [1, "1", "1/3", "3/3", "4/3", "0/3", "1/0", 2, 0, True, "2", "1/99999", "x"])
def test_a_part_is_valid_where_it_is_read(written: object) -> None:
    adapter = TypeAdapter(Part)
    valid = Draft7Validator(adapter.json_schema()).is_valid(written)
    try:
        adapter.validate_python(written)
    except ValueError:
        # How two numbers compare, no pattern can say.
        assert not valid or written in ("4/3", "0/3", "1/0")
    else:
        assert valid


@pytest.mark.parametrize(("size", "right"), [("32 KiB", True), ("0 KiB", False), ("32 W", False), ("big", False)])
def test_sizes_that_are_names_have_a_pattern_too(size: str, right: bool) -> None:
    data = {"name": "x", "source": "x", "add": {}, "multiply": {}, "sram": {size: "20 pJ"}}
    assert Draft7Validator(json_schema("technology")).is_valid(data) == right


@pytest.mark.parametrize(("uses", "right"), [(98.5, True), (0, True), (-1, False), (98.3, False), ("8", False)])
def test_an_amount_of_a_resource_is_in_halves(uses: object, right: bool) -> None:
    data = {"budget": {"lut": 100}, "used": {"mm": {"lut": uses}}}
    assert Draft7Validator(json_schema("resources")).is_valid(data) == right
