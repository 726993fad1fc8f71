"""Quantities as papers print them ("17.1 GB/s", "250 MHz", "36 KiB"): read as exact fractions, and shown.

Knows the units of the field and the types that a YAML field can have. Does no arithmetic on quantities: after reading,
each is a plain int or Fraction in the base unit that the field's name or type says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, get_args

from pydantic_core import CoreSchema, core_schema

from archsim.quantity_units import SCALED, WRITTEN, factor, pattern, unit_in
from dataflow.errors import InputError, quoted
from dataflow.task import UNLIMITED


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a quantity measures: its name in messages, its base unit, examples, and whether zero is refused."""

    noun: str
    base: str
    examples: tuple[str, ...]
    positive: bool = False
    digits: int | None = None  # significant digits of results; None: as many as needed, up to four

    def expected(self, *, least: str = "") -> str:
        return f"expected {self.noun}{least} such as {' or '.join(map(repr, self.examples))}"


DIMENSIONS = {
    "frequency": Dimension("a frequency", "Hz", ("250 MHz",), positive=True),
    "bytes": Dimension("a size in bytes", "B", ("36 KiB",), positive=True),
    "bits": Dimension("a width in bits", "bit", ("512 bit",), positive=True),
    "time": Dimension("a time", "s", ("60 ns",), digits=3),
    "cycles": Dimension("a bare number of cycles, or a time", "cycle", ("60 ns",)),
    "power": Dimension("a power", "W", ("4.8 W",), digits=3),
    "energy": Dimension("an energy", "J", ("20 pJ",), digits=3),
    "area": Dimension("an area", "mm2", ("2.5 mm^2",), digits=3),
    "rate of bytes": Dimension("a bandwidth", "B/s", ("17.1 GB/s",), positive=True),
    "rate of MAC": Dimension("a rate of MACs", "MAC/s", ("336 GMAC/s",), positive=True),
    "rate of FLOP": Dimension("a rate of FLOPs", "FLOP/s", ("1.2 TFLOP/s",), positive=True),
    "rate of OP": Dimension("a rate of operations", "OP/s", ("4 TOP/s",), positive=True),
    "rate of tokens": Dimension("a rate of tokens", "token/s", ("25 token/s",), positive=True, digits=3),
    "bytes per cycle": Dimension("a bandwidth", "B/cycle", ("17.1 GB/s", "64 B/cycle"), positive=True),
    "MACs per cycle": Dimension("a rate of MACs", "MAC/cycle", ("336 GMAC/s", "28 MAC/cycle"), positive=True),
    "FLOPs per cycle": Dimension("a rate of FLOPs", "FLOP/cycle", ("1.2 TFLOP/s", "64 FLOP/cycle"), positive=True),
    "OPs per cycle": Dimension("a rate of operations", "OP/cycle", ("50 MOP/s", "2 OP/cycle"), positive=True),
}


def parse(text: object, dimension: str, *, clock_hz: Fraction | None = None) -> Fraction:
    """The exact amount that a text such as '17.1 GB/s' means, in the base unit of the dimension.

    `clock_hz` converts between rates per second and per cycle, and between times and cycles.

    Raises
    ------
    InputError
        the text is no number with a unit of this dimension, is negative, is zero where zero is refused, or needs a
        clock.

    Examples
    --------
    >>> parse("36 KiB", "bytes"), parse("17.1 GB/s", "bytes per cycle", clock_hz=Fraction(250_000_000))
    (Fraction(36864, 1), Fraction(342, 5))
    """
    wanted = DIMENSIONS[dimension]
    found = WRITTEN.fullmatch(text.strip()) if isinstance(text, str) else None
    unit = unit_in(found[2], text) if found else None
    scale, cycles = factor(unit, wanted.base) if unit else (None, 0)
    if found is None or scale is None:
        raise InputError(f"{wanted.expected()}, got {quoted(text)}")
    if cycles and clock_hz is None:
        raise InputError(f"{quoted(text)} needs the clock of the design, which is missing or could not be read")
    value = Fraction(found[1]) * scale * (clock_hz or Fraction(1)) ** cycles
    if value < 0 or (value == 0 and wanted.positive):
        least = " above zero" if wanted.positive else " of zero or more"
        raise InputError(f"{wanted.expected(least=least)}, got {quoted(text)}")
    return value


def _whole(text: object, dimension: str) -> int:
    value = parse(text, dimension)
    if value.denominator != 1:
        raise InputError(f"{DIMENSIONS[dimension].expected(least=', a whole number,')}, got {quoted(text)} ({value})")
    return int(value)


def _bare(value: object, *, noun: str, example: int, least: int) -> int:
    if type(value) is not int:  # not isinstance, because a bool is an int in Python
        raise InputError(f"expected {noun} such as {example}, got {quoted(value)}")
    if value < least:
        raise InputError(f"expected {noun} of {least} or more such as {example}, got {quoted(value)}")
    return value


@dataclass(frozen=True, slots=True)
class Written:
    """How a field of a pydantic model is written in YAML: in an Annotated type it reads and describes the field.

    `reads(value, clock_hz)` gives the number in `unit` or raises InputError; `clock_hz` comes from the validation
    context and is None if the context has no clock. `other` is a second example, where a value may have another type.
    """

    unit: str
    example: str | int
    reads: Callable[[Any, Fraction | None], Fraction | int]
    other: str | int | None = None
    dimension: str = ""  # of text that is a quantity

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> Fraction | int:
            return self.reads(value, (info.context or {}).get("clock_hz"))

        # JSON has no fractions, and a float would not be exact.
        as_text = core_schema.to_string_ser_schema(when_used="json") if source is Fraction else None
        return core_schema.with_info_plain_validator_function(read, serialization=as_text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        examples = [one for one in (self.example, self.other) if one is not None]
        # A word such as inf stands for itself; other text is a number and a unit.
        text = text_of(self.dimension) if self.dimension else {"type": "string"}
        types = [
            self._whole() if isinstance(one, int) else {"const": one} if one.isalpha() else text for one in examples
        ]
        taken = {"anyOf": types} if len(types) > 1 else types[0]
        return {**taken, "unit": self.unit, "examples": examples}

    def _whole(self) -> dict[str, Any]:
        """A bare number, from the least on that it reads."""
        try:
            self.reads(0, None)
        except InputError:
            return {"type": "integer", "minimum": 1}
        return {"type": "integer", "minimum": 0}


def text_of(dimension: str, *, positive: bool = False) -> dict[str, Any]:
    """The JSON Schema of text that `parse` reads, of amounts above zero if so asked, with what editors say of other."""
    wanted = DIMENSIONS[dimension]
    taken = pattern(wanted.base, positive=positive or wanted.positive)
    return {"type": "string", "pattern": taken, "patternErrorMessage": wanted.expected()}


def written_in(annotation: Any, metadata: Iterable[Any] = ()) -> Written | None:
    """How a value of this type is written: by the first Written of its own, or of the types that it is made of."""
    inside = [entry for member in get_args(annotation) for entry in getattr(member, "__metadata__", ())]
    own = [*metadata, *getattr(annotation, "__metadata__", ())]
    return next((entry for entry in (*own, *inside) if isinstance(entry, Written)), None)


def _macs_per_cycle(value: Any, clock_hz: Fraction | None) -> Fraction:
    # A count is taken too, and only here among the rates: a field of this type has the unit in its name.
    if type(value) is int and value >= 1:
        return Fraction(value)
    return parse(value, "MACs per cycle", clock_hz=clock_hz)


def _limit(value: Any) -> int:
    return UNLIMITED if value == "inf" else _bare(value, noun="a count, or inf,", example=28, least=1)


def _cycles_time(value: Any, clock_hz: Fraction | None) -> Fraction:
    if type(value) is int:
        return Fraction(_bare(value, noun="a number of cycles", example=12, least=0))
    return parse(value, "cycles", clock_hz=clock_hz)


def _quantity(unit: str, example: str, dimension: str) -> Written:
    return Written(unit, example, lambda value, clock: parse(value, dimension, clock_hz=clock), dimension=dimension)


Frequency = Annotated[Fraction, _quantity("Hz", "250 MHz", "frequency")]
Bytes = Annotated[int, Written("B", "36 KiB", lambda value, _: _whole(value, "bytes"), dimension="bytes")]
Bits = Annotated[int, Written("bit", "512 bit", lambda value, _: _whole(value, "bits"), dimension="bits")]
Area = Annotated[Fraction, _quantity("mm^2", "2.5 mm^2", "area")]
Watts = Annotated[Fraction, _quantity("W", "4.8 W", "power")]
Joules = Annotated[Fraction, _quantity("J", "20 pJ", "energy")]
BytesPerCycle = Annotated[Fraction, _quantity("B/cycle", "17.1 GB/s", "bytes per cycle")]
MacsPerCycle = Annotated[
    Fraction, Written("MAC/cycle", "336 GMAC/s", _macs_per_cycle, 1024, dimension="MACs per cycle")
]
FlopsPerCycle = Annotated[Fraction, _quantity("FLOP/cycle", "1.2 TFLOP/s", "FLOPs per cycle")]
OpsPerCycle = Annotated[Fraction, _quantity("OP/cycle", "50 MOP/s", "OPs per cycle")]
Count = Annotated[int, Written("count", 28, lambda value, _: _bare(value, noun="a count", example=28, least=1))]
Limit = Annotated[int, Written("count, or inf", 28, lambda value, _: _limit(value), "inf")]
Cycles = Annotated[
    int, Written("cycles", 12, lambda value, _: _bare(value, noun="a number of cycles", example=12, least=0))
]
CyclesTime = Annotated[
    int, Written("cycles", "60 ns", lambda value, clock: ceil(_cycles_time(value, clock)), 15, dimension="cycles")
]
CycleFraction = Annotated[Fraction, Written("cycles, exact", "28 ns", _cycles_time, 15, dimension="cycles")]


def show_limit(value: int) -> str:
    """A count with separators, or inf."""
    return "inf" if value == UNLIMITED else f"{value:,}"


def show(value: Fraction | int, dimension: str) -> str:
    """The amount, given in the base unit of the dimension, in the largest unit not above it.

    Sizes in bytes and bits take the largest binary or decimal unit that is exact with one decimal at most. They are
    rounded only from ten million up, if every exact form has six digits or more before the point.
    Times, energies, powers, areas and token rates keep three significant digits; the others show up to four.

    Examples
    --------
    >>> show(561152, "bytes"), show(Fraction(7, 2000), "time"), show(25, "rate of tokens"), show(64, "bytes per cycle")
    ('548 KiB', '3.50 ms', '25.0 token/s', '64 B/cycle')
    """
    if value < 0:
        return "-" + show(-value, dimension)
    wanted = DIMENSIONS[dimension]
    base, _, below = wanted.base.partition("/")
    text = _exact_size(value, base) if wanted.base in ("B", "bit") else None
    text = (text or _rounded(value, base, digits=wanted.digits)).replace("m2", "m^2")
    return f"{text}/{below}" if below else text


def _falling(unit: str) -> list[tuple[str, Fraction]]:
    return sorted(((name, scale) for name, (base, scale) in SCALED.items() if base == unit), key=lambda pair: -pair[1])


def _exact_size(value: Fraction | int, unit: str) -> str | None:
    for name, scale in _falling(unit):
        tenths = 10 * value / scale
        if tenths >= 10 and tenths.denominator == 1 and (tenths < 10**6 or value < 10**7):
            whole, tenth = divmod(int(tenths), 10)
            return f"{whole}.{tenth} {name}" if tenth else f"{whole} {name}"
    return None


def _rounded(value: Fraction | int, unit: str, *, digits: int | None) -> str:
    exact = Fraction(value)
    # Rounded before the unit is chosen: 999.96 MB is 1 GB, not 1000 MB.
    context = Context(prec=digits or 4, rounding=ROUND_HALF_EVEN)
    rounded = Fraction(context.divide(Decimal(exact.numerator), Decimal(exact.denominator)))
    scales = [scale for scale in _falling(unit) if not scale[0].startswith(("Ki", "Mi", "Gi", "Ti"))]
    least = Fraction(1, 1000) if unit == "mm2" else 1  # 0.5 mm^2 reads better than 500000 um^2
    fitting = [scale for scale in scales if rounded >= least * scale[1]]
    name, scale = fitting[0] if fitting else (unit, Fraction(1)) if value == 0 else scales[-1]
    number = Decimal((rounded / scale).numerator) / Decimal((rounded / scale).denominator)
    if digits is None:
        return f"{number.normalize():f} {name}"
    places = max(0, digits - 1 - number.adjusted()) if number else 0
    return f"{number:.{places}f} {name}"
