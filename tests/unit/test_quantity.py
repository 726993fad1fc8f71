"""Quantities: every conversion here is counted by hand and compared exactly."""

import pickle
import subprocess
import sys
from fractions import Fraction

import pytest
from pydantic import BaseModel, ValidationError

from archsim.errors import InputError, MappingError
from archsim.quantity import (
    DIMENSIONS,
    Bits,
    Bytes,
    BytesPerCycle,
    Count,
    CycleFraction,
    Cycles,
    CyclesTime,
    Frequency,
    Joules,
    MacsPerCycle,
    Watts,
    parse,
    show,
)
from archsim.quantity_units import SCALED

CLOCK = Fraction(250_000_000)


@pytest.mark.parametrize(
    "text, dimension, expected",
    [
        ("250 MHz", "frequency", 250_000_000),
        ("1.4GHz", "frequency", 1_400_000_000),
        ("36 KiB", "bytes", 36 * 1024),
        ("36 kB", "bytes", 36_000),
        ("12 bit", "bytes", Fraction(3, 2)),
        ("1 Mbit", "bytes", 125_000),
        ("512 bits", "bits", 512),
        ("64 B", "bits", 512),
        ("60 ns", "time", Fraction(6, 10**8)),
        ("7.5 us", "time", Fraction(75, 10**7)),
        ("7.5 µs", "time", Fraction(75, 10**7)),
        ("0 s", "time", 0),
        ("4.8 W", "power", Fraction(24, 5)),
        ("300 mW", "power", Fraction(3, 10)),
        ("0.1 pJ", "energy", Fraction(1, 10**13)),
        ("240 um^2", "area", Fraction(240, 10**6)),
        ("2.5 mm²", "area", Fraction(5, 2)),
        ("17.1 GB/s", "rate of bytes", 17_100_000_000),
        ("1 B / ns", "rate of bytes", 10**9),
        ("12.8 Gbit/s", "rate of bytes", 1_600_000_000),
        ("5.4 GMAC/s", "rate of MAC", 5_400_000_000),
        ("1e3 token/s", "rate of tokens", 1000),
        ("64 B/cycle", "bytes per cycle", 64),
        ("512 bit/cycle", "bytes per cycle", 64),
    ],
)
def test_parse_is_exact(text: str, dimension: str, expected: Fraction) -> None:
    value = parse(text, dimension)
    assert isinstance(value, Fraction)
    assert value == expected


def test_rates_meet_the_clock_exactly() -> None:
    per_cycle = Fraction(171, 10) * 10**9 / 250_000_000
    assert parse("17.1 GB/s", "rate of bytes") / CLOCK == per_cycle == Fraction(342, 5)
    assert parse("17.1 GB/s", "bytes per cycle", clock_hz=CLOCK) == per_cycle
    assert parse("64 B/cycle", "rate of bytes", clock_hz=CLOCK) == 16_000_000_000
    assert parse("60 ns", "cycles", clock_hz=CLOCK) == 15
    assert parse("15 cycles", "time", clock_hz=CLOCK) == Fraction(60, 10**9)


@pytest.mark.parametrize(
    "text, dimension, message",
    [
        (250, "frequency", "expected a frequency such as '250 MHz', got 250"),
        ("250", "frequency", "expected a frequency such as '250 MHz', got '250'"),
        (True, "frequency", "expected a frequency such as '250 MHz', got true"),
        (None, "frequency", "expected a frequency such as '250 MHz', got nothing"),
        (float("nan"), "power", "expected a power such as '4.8 W', got nan"),
        ("nan W", "power", "expected a power such as '4.8 W', got 'nan W'"),
        ("inf W", "power", "expected a power such as '4.8 W', got 'inf W'"),
        ([1], "bytes", "expected a size in bytes such as '36 KiB', got a list"),
        ("4 GB", "frequency", "expected a frequency such as '250 MHz', got '4 GB'"),
        ("3 cycle/s", "frequency", "expected a frequency such as '250 MHz', got '3 cycle/s'"),
        ("2*3 MHz", "frequency", "expected a frequency such as '250 MHz', got '2*3 MHz'"),
        ("1,000 Hz", "frequency", "expected a frequency such as '250 MHz', got '1,000 Hz'"),
        ("1e999 Hz", "frequency", "expected a frequency such as '250 MHz', got '1e999 Hz'"),
        ("3 B/s/s", "rate of bytes", "expected a bandwidth such as '17.1 GB/s', got '3 B/s/s'"),
        ("0 MHz", "frequency", "expected a frequency above zero such as '250 MHz', got '0 MHz'"),
        ("-1 ns", "time", "expected a time of zero or more such as '60 ns', got '-1 ns'"),
        ("250 mhz", "frequency", "unknown unit 'mhz' in '250 mhz'; did you mean 'MHz'?"),
        ("64 KB", "bytes", "unknown unit 'KB' in '64 KB'; write 'KiB' for 1024 bytes or 'kB' for 1000 bytes"),
        ("8 Gb/s", "rate of bytes", "unknown unit 'Gb' in '8 Gb/s'; write 'Gbit' for bits or 'GB' for bytes"),
        (
            "17.1 GB/s",
            "bytes per cycle",
            "'17.1 GB/s' needs the clock of the design, which is missing or could not be read",
        ),
        ("3", "bytes per cycle", "expected a bandwidth such as '17.1 GB/s' or '64 B/cycle', got '3'"),
    ],
)
def test_parse_refuses(text: object, dimension: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse(text, dimension)
    assert str(raised.value) == message


def test_unknown_unit_without_a_sure_guess_lists_the_units() -> None:
    with pytest.raises(InputError, match=r"unknown unit 'parsec' in '3 parsec'; known units: s, Hz, .*, mm\^2"):
        parse("3 parsec", "time")
    with pytest.raises(InputError, match=r"unknown unit 'mHz'.*did you mean 'MHz'"):
        parse("250 mHz", "frequency")


def test_every_unit_is_defined_as_its_table_says() -> None:
    base_of = {"Hz": "frequency", "B": "bytes", "bit": "bits", "s": "time", "W": "power", "J": "energy"}
    for name, (unit, scale) in SCALED.items():
        if unit in base_of:
            assert parse(f"3 {name}", base_of[unit]) == 3 * scale


def test_every_example_reads_back() -> None:
    for name, dimension in DIMENSIONS.items():
        for example in dimension.examples:
            assert parse(example, name, clock_hz=CLOCK) > 0


class Everything(BaseModel):
    clock: Frequency = Fraction(1)
    size: Bytes = 1
    width: Bits = 1
    power: Watts = Fraction(0)
    energy: Joules = Fraction(0)
    bandwidth: BytesPerCycle = Fraction(1)
    macs_per_cycle: MacsPerCycle = Fraction(1)
    count: Count = 1
    cycles: Cycles = 0
    latency: CyclesTime = 0
    overhead: CycleFraction = Fraction(0)


@pytest.mark.parametrize(
    "field, written, expected",
    [
        ("clock", "250 MHz", CLOCK),
        ("size", "36 KiB", 36_864),
        ("width", "64 B", 512),
        ("power", "5 mW", Fraction(1, 200)),
        ("energy", "20 pJ", Fraction(1, 5 * 10**10)),
        ("bandwidth", "17.1 GB/s", Fraction(342, 5)),
        ("bandwidth", "1 MB/s", Fraction(1, 250)),
        ("bandwidth", "64 B/cycle", 64),
        ("macs_per_cycle", "336 GMAC/s", 1344),
        ("macs_per_cycle", "7 MAC/cycle", 7),
        ("macs_per_cycle", 7, 7),
        ("count", 28, 28),
        ("count", 1, 1),
        ("cycles", 0, 0),
        ("latency", 0, 0),
        ("latency", 12, 12),
        ("latency", "60 ns", 15),
        ("latency", "61 ns", 16),
        ("latency", "0 ns", 0),
        ("overhead", 12, 12),
        ("overhead", "61 ns", Fraction(61, 4)),
    ],
)
def test_fields_read_what_is_written(field: str, written: object, expected: object) -> None:
    value = getattr(Everything.model_validate({field: written}, context={"clock_hz": CLOCK}), field)
    assert value == expected
    assert type(value) is Everything.model_fields[field].annotation


@pytest.mark.parametrize(
    "field, written, message",
    [
        ("size", "12 bit", "expected a size in bytes, a whole number, such as '36 KiB', got '12 bit' (3/2)"),
        ("size", 4, "expected a size in bytes such as '36 KiB', got 4"),
        ("width", "0.5 bit", "expected a width in bits, a whole number, such as '512 bit', got '0.5 bit' (1/2)"),
        ("bandwidth", 64, "expected a bandwidth such as '17.1 GB/s' or '64 B/cycle', got 64"),
        (
            "bandwidth",
            "1 GB/s",
            "'1 GB/s' needs the clock of the design, which is missing or could not be read",
        ),
        ("macs_per_cycle", 0, "expected a rate of MACs such as '336 GMAC/s' or '28 MAC/cycle', got 0"),
        ("macs_per_cycle", True, "expected a rate of MACs such as '336 GMAC/s' or '28 MAC/cycle', got true"),
        ("count", "28", "expected a count such as 28, got '28'"),
        ("count", 28.0, "expected a count such as 28, got 28.0"),
        ("count", True, "expected a count such as 28, got true"),
        ("count", 0, "expected a count of 1 or more such as 28, got 0"),
        ("cycles", -1, "expected a number of cycles of 0 or more such as 12, got -1"),
        ("cycles", "60 ns", "expected a number of cycles such as 12, got '60 ns'"),
        ("latency", -1, "expected a number of cycles of 0 or more such as 12, got -1"),
        ("overhead", -1, "expected a number of cycles of 0 or more such as 12, got -1"),
        ("latency", 1.5, "expected a bare number of cycles, or a time such as '60 ns', got 1.5"),
        ("latency", "60 ns", "'60 ns' needs the clock of the design, which is missing or could not be read"),
    ],
)
def test_fields_refuse(field: str, written: object, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Everything.model_validate({field: written})
    assert str(raised.value.errors()[0]["ctx"]["error"]) == message


def test_the_schema_shows_unit_and_example() -> None:
    fields = Everything.model_json_schema()["properties"]
    assert (fields["clock"]["unit"], fields["clock"]["examples"], fields["clock"]["type"]) == (
        "Hz",
        ["250 MHz"],
        "string",
    )
    assert (fields["count"]["unit"], fields["count"]["examples"], fields["count"]["type"]) == ("count", [28], "integer")


@pytest.mark.parametrize(
    "value, dimension, expected",
    [
        (17_100_000_000, "rate of bytes", "17.1 GB/s"),
        (Fraction(342, 5), "bytes per cycle", "68.4 B/cycle"),
        (Fraction(1, 3), "bytes per cycle", "0.3333 B/cycle"),
        (548 * 1024, "bytes", "548 KiB"),
        (3 * 2**19, "bytes", "1.5 MiB"),
        (2**20, "bytes", "1 MiB"),
        (10**6, "bytes", "1 MB"),
        (2**20 + 1, "bytes", "1048577 B"),
        (9_999_999, "bytes", "9999999 B"),
        (12_345_678, "bytes", "12.35 MB"),
        (999_996_789, "bytes", "1 GB"),
        (0, "bytes", "0 B"),
        (512, "bits", "512 bit"),
        (Fraction(7, 2000), "time", "3.50 ms"),
        (Fraction(99_949, 10**8), "time", "999 us"),
        (Fraction(99_951, 10**8), "time", "1.00 ms"),
        (0, "time", "0 s"),
        (25, "rate of tokens", "25.0 token/s"),
        (250_000_000, "frequency", "250 MHz"),
        (336 * 10**9, "rate of MAC", "336 GMAC/s"),
        (Fraction(-1, 20), "power", "-50.0 mW"),
        (Fraction(1, 2), "area", "0.500 mm^2"),
        (Fraction(1, 10**4), "area", "100 um^2"),
    ],
)
def test_show(value: Fraction, dimension: str, expected: str) -> None:
    assert show(value, dimension) == expected


def test_shown_sizes_read_back() -> None:
    for value in (1, 1023, 1024, 4096, 10**6, 3 * 2**29, 7 * 2**20):
        assert parse(show(value, "bytes"), "bytes") == value


def test_importing_archsim_leaves_pint_alone_until_a_quantity_is_read() -> None:
    code = (
        "import sys, archsim.quantity, archsim.files.document; assert 'pint' not in sys.modules;"
        "archsim.quantity.parse('1 Hz', 'frequency'); assert 'pint' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_carry_their_problems_through_pickle() -> None:
    several = InputError(["a: wrong", "b: wrong"])
    assert str(several) == "a: wrong\nb: wrong"
    assert pickle.loads(pickle.dumps(several)).problems == ("a: wrong", "b: wrong")
    mapping = MappingError("does not fit", where="op 'x'", resource="dsp", demand=5, capacity=4, ways_out=["less"])
    again = pickle.loads(pickle.dumps(mapping))
    assert str(again) == "op 'x': does not fit; dsp asked 5, there is 4; ways out: less"
    assert (again.resource, again.demand, again.capacity, again.ways_out) == ("dsp", 5, 4, ("less",))
    assert str(MappingError("no unit does 'exp'")) == "no unit does 'exp'"
