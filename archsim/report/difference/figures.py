"""The figures of two runs side by side, each with its change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from archsim.quantity import show
from archsim.report.difference.summary import Summary

Value = float | int | str | None
# What the groups are called, in the order in which they are shown.
GROUPS = ("results", "where the time goes", "share of the time busy", "bytes", "used of the FPGA")
SHARE, WORD = "share", "word"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of both runs; None where a run does not have it. `kind` says what it measures, and how it reads."""

    group: str
    name: str
    kind: str
    a: Value
    b: Value

    @property
    def changed(self) -> bool:
        """True where it differs at all."""
        return self.a != self.b

    @property
    def shows(self) -> bool:
        """True where it differs in the digits that a table has."""
        return self._cell(self.a) != self._cell(self.b)

    @property
    def difference(self) -> float | None:
        """b - a; None where one of them is no number."""
        return None if isinstance(self.a, str | None) or isinstance(self.b, str | None) else self.b - self.a

    @property
    def ratio(self) -> float | None:
        """b / a; None where one of them is no number, and of a share."""
        if self.difference is None or not self.a or self.kind == SHARE:
            return None
        ratio = float(self.b) / float(self.a)  # type: ignore[arg-type]
        return ratio if math.isfinite(ratio) else None

    @property
    def effect(self) -> float:
        """How large the change is among those of its group.

        Results change by a factor, except shares, and words and what one run lacks come last. Times of parts, shares
        and bytes change by an amount, of which what one run lacks is nothing.
        """
        if self.group == GROUPS[0] and self.kind != SHARE:
            # Rounded, so that a time and its rate, which change by one factor, stay in order.
            return round(abs(math.log(self.ratio)), 9) if self.ratio else -1.0
        a, b = (0.0 if isinstance(value, str | None) else float(value) for value in (self.a, self.b))
        return abs(b - a)

    def cells(self) -> list[str]:
        """Its name, both values and the change, as a table shows them."""
        return [self.name, self._cell(self.a), self._cell(self.b), self._change()]

    def _cell(self, value: Value) -> str:
        if value is None:
            return "-"
        if isinstance(value, str):
            return value
        if self.kind == SHARE:
            return f"{value:.1%}"
        if self.kind == "bytes":
            return f"{value:,} B"
        if self.kind == "rate of frames":
            return f"{value:.3g} frame/s"
        if self.kind == "amount":
            return f"{value:,g}" if value < 10**6 else f"{value:,.0f}"
        return f"{value:.3g}" if self.kind == "number" else show(Fraction(value), self.kind)

    def _change(self) -> str:
        if self.difference is None:
            return ""
        if self.kind == SHARE:
            return f"{100 * self.difference:+.2g} points"
        return "" if self.ratio is None else f"x {self.ratio:.4g}"


def figures(a: Summary, b: Summary) -> list[Figure]:
    """All figures that a run has, changed or not; in each group the largest effect first."""
    found = [*_results(a, b), *_parts(a, b), *_shares(a, b), *_bytes(a, b), *_used(a, b)]
    known = [one for one in found if one.a is not None or one.b is not None]
    return sorted(known, key=lambda figure: (GROUPS.index(figure.group), -figure.effect))


def _results(a: Summary, b: Summary) -> Iterator[Figure]:
    rows = {
        "time": ("time", "seconds"), "throughput": ("rate of tokens", "tokens_per_second"),
        "frames": ("rate of frames", "frames_per_second"), "energy": ("energy", "energy_joules"),
        "mean power": ("power", "power_watts"), "tokens per joule": ("number", "tokens_per_joule"),
        "area, mm^2": ("number", "area_mm2"),
        "busiest": (WORD, "bottleneck"), "roofline of": (WORD, "roofline_of"),
    }  # fmt: skip
    yield from _of_each(a, b, rows)
    steps = {"first token": ("time", "ttft_seconds"), "each token then": ("time", "tpot_seconds"),
             "tokens then": ("rate of tokens", "decode_tokens_per_second")}  # fmt: skip
    yield from _of_each(a if a.has_steps else None, b if b.has_steps else None, steps)
    yield Figure(GROUPS[0], "bound", "time", a.lower_bound_cycles / a.clock_hz, b.lower_bound_cycles / b.clock_hz)
    yield Figure(GROUPS[0], "roofline", "time", _time(a.roofline_cycles, a), _time(b.roofline_cycles, b))
    chosen = {
        "cached keys kept": (SHARE, "kept"), "of these near": (SHARE, "hit_rate"), "mass kept": (SHARE, "mass_recall"),
        "output error": ("number", "output_error"),
    }  # fmt: skip
    yield from _of_each(a.selected, b.selected, chosen)


def _of_each(a: object, b: object, rows: Mapping[str, tuple[str, str]]) -> Iterator[Figure]:
    """The results of these names, each with its kind and its attribute of both; None of a side that is None."""
    for name, (kind, key) in rows.items():
        yield Figure(GROUPS[0], name, kind, *(None if of is None else getattr(of, key) for of in (a, b)))


def _time(cycles: float | None, run: Summary) -> float | None:
    return None if cycles is None else cycles / run.clock_hz


def _parts(a: Summary, b: Summary) -> Iterator[Figure]:
    for name in dict.fromkeys([*a.parts, *b.parts]):
        shown = "loading, latency" if name == "waiting" else name
        yield Figure(GROUPS[1], shown, "time", _time(a.parts.get(name), a), _time(b.parts.get(name), b))


def _shares(a: Summary, b: Summary) -> Iterator[Figure]:
    for name in dict.fromkeys([*a.units, *b.units]):
        busy = [run.units[name].utilization if name in run.units else None for run in (a, b)]
        yield Figure(GROUPS[2], name, SHARE, *busy)


def _bytes(a: Summary, b: Summary) -> Iterator[Figure]:
    moved = [_moved(a), _moved(b)]
    for name in dict.fromkeys([*moved[0], *moved[1]]):
        yield Figure(GROUPS[3], name, "bytes", moved[0].get(name), moved[1].get(name))


def _used(a: Summary, b: Summary) -> Iterator[Figure]:
    for name in dict.fromkeys([*a.resources, *b.resources]):
        used = [run.resources[name].used if name in run.resources else None for run in (a, b)]
        yield Figure(GROUPS[4], name, "amount", *used)


def _moved(run: Summary) -> Mapping[str, int]:
    moved = {f"{name} read": memory.read_bytes for name, memory in run.memories.items()}
    moved |= {f"{name} written": memory.written_bytes for name, memory in run.memories.items()}
    return moved | {f"{name} moved": channel.moved_bytes for name, channel in run.channels.items()}
