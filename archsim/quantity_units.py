"""Units in which quantities are written: their names, spellings and scales, and the regular expression of each kind.

Knows no dimension's name, no sign of an amount, and no field. `factor` is the one place that asks pint.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

from dataflow.errors import InputError, quoted

if TYPE_CHECKING:
    import pint

PREFIXES = {
    "p": Fraction(1, 10**12), "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
}  # fmt: skip
# Only what the field prints: with every prefix allowed on every unit, '250 mHz' would be read without a word.
ALLOWED = {
    "s": ("p", "n", "u", "m", ""),
    "Hz": ("", "k", "M", "G"),
    "bit": ("", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"),
    "B": ("", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"),
    "W": ("u", "m", "", "k"),
    "J": ("p", "n", "u", "m", ""),
    "cycle": ("",),
    "MAC": ("", "k", "M", "G", "T"),
    "FLOP": ("", "k", "M", "G", "T"),
    "OP": ("", "k", "M", "G", "T"),
    "token": ("", "k", "M", "G", "T"),
}
DERIVED = {"Hz": "1 / s", "B": "8 * bit"}
# Units whose scale is no prefix: an area scales by the square of its length.
SCALED = {"mm2": ("mm2", Fraction(1)), "um2": ("mm2", Fraction(1, 10**6))} | {
    prefix + unit: (unit, PREFIXES[prefix]) for unit, prefixes in ALLOWED.items() for prefix in prefixes
}
SPELLINGS = {"µ": "u", "μ": "u", "²": "2", "^2": "2"}
PLURALS = {"bits": "bit", "bytes": "B", "byte": "B", "cycles": "cycle", "tokens": "token", "MACs": "MAC"}
# Digits are bounded, so that no short text such as 1e999999999 becomes a fraction that fills the memory.
DIGITS = r"(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"
EXPONENT = r"(?:[eE][+-]?[0-9]{1,2})?"
WRITTEN = re.compile(rf"([+-]?{DIGITS}{EXPONENT})\s*(\S.*)")
UNIT = re.compile(r"([A-Za-z]+2?)(?:\s*/\s*([A-Za-z]+2?))?")


def unit_in(text: str, whole: object) -> tuple[str, str] | None:
    """The names above and below the bar; None for text that is no unit. Raises InputError for an unknown name."""
    for there, here in SPELLINGS.items():
        text = text.replace(there, here)
    found = UNIT.fullmatch(text)
    if found is None:
        return None
    above, below = (PLURALS.get(name, name) for name in (found[1], found[2] or ""))
    for name in (above, below):
        if name and name not in SCALED:
            raise InputError(f"unknown unit {name!r} in {quoted(whole)}; {_advice(name)}")
    return above, below


def _advice(name: str) -> str:
    if name == "KB":
        return "write 'KiB' for 1024 bytes or 'kB' for 1000 bytes"
    if re.fullmatch(r"[kKmMgGtT]b", name):
        prefix = "k" if name[0] in "kK" else name[0].upper()
        return f"write '{prefix}bit' for bits or '{prefix}B' for bytes"
    alike = [known for known in SCALED if known.casefold() == name.casefold()]
    if len(alike) == 1:
        return f"did you mean {alike[0]!r}?"
    return "known units: " + ", ".join([*ALLOWED, "mm^2"]) + " with the usual prefixes"


@cache
def _registry() -> "pint.UnitRegistry":
    # pint's own registry takes 0.4 s to load and knows units that we want refused; ours takes 5 ms. The import of pint
    # itself takes 0.3 s, hence here and not above.
    import pint

    registry: pint.UnitRegistry = pint.UnitRegistry(None, non_int_type=Fraction)
    for unit in [*ALLOWED, "mm2"]:
        registry.define(f"{unit} = {DERIVED.get(unit, f'[{unit}]')}")
    for name, (unit, scale) in SCALED.items():
        if name != unit:
            registry.define(f"{name} = {scale.numerator} / {scale.denominator} * {unit}")
    return registry


@cache
def factor(unit: tuple[str, str], base: str) -> tuple[Fraction | None, int]:
    """The factor from unit to base and the power of the clock that it also needs; None if their dimensions differ."""
    (given, measures), (wanted, dimension) = _roots(*unit), _roots(*(base.split("/") if "/" in base else (base, "")))
    _, clock = _roots("cycle", "s")
    # 0 comes first: what is in the wanted unit already never depends on the clock.
    for cycles in (0, 1, -1):
        if measures * clock**cycles == dimension:
            return given / wanted, cycles
    return None, 0


@cache
def _roots(above: str, below: str) -> tuple[Fraction, Any]:
    """A unit as a multiple of units that stand for themselves, and the powers of these."""
    registry = _registry()
    # Not both in one container, where they would be one entry if they are alike: 's/s' would be '1/s'.
    one = registry.Quantity(Fraction(1), registry.UnitsContainer({above: 1}))
    if below:
        one = one / registry.Quantity(Fraction(1), registry.UnitsContainer({below: 1}))
    root = one.to_root_units()
    return Fraction(root.magnitude), registry.UnitsContainer(dict(root.unit_items()))


@cache
def pattern(base: str, *, positive: bool) -> str:
    """The regular expression of amounts that can be converted to the base, in what Python and JavaScript read alike.

    It takes all that `parse` takes, and where a field wants a whole number also others, because that depends on the
    number and the unit together.

    >>> re.search(pattern("Hz", positive=True), "250 MHz") is None, re.search(pattern("Hz", positive=True), "0 MHz")
    (False, None)
    """
    zero = DIGITS.replace("[0-9]", "0")
    digits = rf"\+?(?=[0-9.]*[1-9]){DIGITS}" if positive else rf"(?:\+?{DIGITS}|-{zero})"
    units = "|".join(
        _names(over) + (rf"\s*/\s*{_names(under)}" if under else "") for under, over in _convertible(base).items()
    )
    return rf"^\s*{digits}{EXPONENT}\s*(?:{units})\s*$"


def _convertible(base: str) -> dict[tuple[str, ...], list[str]]:
    """Units below the bar, or none, and those that above these can be converted to the base; all without prefixes."""
    units = list(dict.fromkeys(unit for unit, _ in SCALED.values()))
    found: dict[tuple[str, ...], list[str]] = {}
    for above in units:
        if factor((above, ""), base)[0] is not None:
            found.setdefault((), []).append(above)
        if under := tuple(below for below in units if factor((above, below), base)[0] is not None):
            found.setdefault(under, []).append(above)
    return found


def _names(units: Iterable[str]) -> str:
    """The regular expression of units in all their spellings and with their prefixes."""
    names = [name for name, (unit, _) in SCALED.items() if unit in units]
    text = "|".join([*names, *(name for name, unit in PLURALS.items() if unit in units)])
    # Backwards, because the reader replaces one spelling after another: mm^² is mm^2, which is mm2.
    for there, here in reversed(SPELLINGS.items()):
        text = text.replace(here, f"(?:{here}|{re.escape(there)})")
    return f"(?:{text})"
