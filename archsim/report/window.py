"""What a timeline is drawn of: the run of a report, and the window of it that a user names."""

from __future__ import annotations

import re
from fractions import Fraction
from numbers import Integral

from archsim.engine import ENGINES
from archsim.errors import InputError, quoted
from archsim.quantity import parse, show
from archsim.report.figures import Figures
from archsim.run.timeline import Stretch, Timeline
from dataflow.errors import guess

Window = str | tuple[int | str | None, int | str | None]
MOST_FIRINGS = 3_000_000  # of a picture: some seconds
EXPECTED = "expected START..END in cycles or times, such as 1000..2000, '1.5 ms..2 ms' or 1000.."


def timeline_of(report: Figures, *, what: str) -> Timeline:
    """The timeline of a report's run; of a phase of many steps that of its `step`.

    Raises InputError, which begins with `what`, for a report that has not kept what it is of.
    """
    origin = report.origin
    if origin is None:
        raise InputError(
            f"{what}: this report came from another process, without its design and schedule; run the point here, with "
            "mappers.run, and ask that report"
        )
    engine = report.engine if report.engine in ENGINES else "auto"
    return Timeline(origin.schedule, origin.design, list(origin.sections), engine)


def read_window(given: Window, clock_hz: Fraction, *, what: str) -> tuple[int, int | None]:
    """The cycles of a window: START..END or a pair, of cycles or times; the end is None where it is left out.

    A time stands for the cycle that it lies in, as an end for the cycle after it. Raises InputError, which begins with
    `what`.

    >>> read_window("1,000..2 us", Fraction(10**9), what="window"), read_window((None, 5), Fraction(1), what="window")
    ((1000, 2000), (0, 5))
    """
    ends = given.split("..") if isinstance(given, str) else given
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise InputError(f"{what}: {EXPECTED}; got {_shown(given)}")
    start, end = (_cycles(one, clock_hz, given, what) for one in ends)
    first, last = int(start or 0), None if end is None else -int(-end // 1)
    if last is not None and last <= first:
        raise InputError(f"{what}: {_shown(given)} ends at cycle {last:,}, not after its start, cycle {first:,}")
    return first, last


def _shown(given: object) -> str:
    """The window as a message shows it, a pair with both ends."""
    if not isinstance(given, list | tuple):
        return quoted(given)
    ends = ["None" if one is None else quoted(one) for one in given[:4]] + ["…"] * (len(given) > 4)
    return f"({', '.join(ends)})"


def _cycles(written: int | str | None, clock_hz: Fraction, given: Window, what: str) -> Fraction | None:
    if isinstance(written, bool) or not isinstance(written, Integral | str | None):
        raise InputError(f"{what}: {EXPECTED}; got {_shown(given)}")
    text = str("" if written is None else written).strip()
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,18}|[0-9]{1,3}(,[0-9]{3}){1,5}", text):
        return Fraction(text.replace(",", ""))
    try:
        return parse(text, "cycles", clock_hz=clock_hz)
    except InputError as error:
        raise InputError(f"{what}: {EXPECTED}; got {_shown(given)}: {error}") from None


def within(window: tuple[int, int | None], timeline: Timeline, clock_hz: Fraction, *, what: str) -> tuple[int, int]:
    """The window as far as the run goes. Raises InputError, which begins with `what`, where it begins after it."""
    start, end = window
    if start >= timeline.end:
        time = show(timeline.end / clock_hz, "time")
        raise InputError(f"{what}: begins at cycle {start:,}; the run ends at cycle {timeline.end:,} ({time})")
    return start, timeline.end if end is None else min(end, timeline.end)


def part_of_run(
    timeline: Timeline, section: str, window: Window | None, clock_hz: Fraction, *, what: str
) -> tuple[list[Stretch], str]:
    """The stretches of a window, or the first repetition of a section, and in words which part of the run they are.

    Without a name it is the section that takes the most time in all. Only the first `MOST_FIRINGS` firings are in it,
    which the words say. Raises InputError, which begins with `what`, for a name or a window that is none, and for both.
    """
    if section and window is not None:
        raise InputError(f"{what}: a section and a window; name one of them")
    sections = {one.name: place for place, one in reversed([*enumerate(timeline.schedule.sections)])}
    if section and section not in sections:
        meant = guess(str(section), [*reversed(sections)], otherwise="there are")
        raise InputError(f"{what}: no section {quoted(section)}; {meant}")
    if window is None:
        repeats = [one.repeat for one in timeline.schedule.sections]
        longest = max(range(len(repeats)), key=lambda at: repeats[at] * timeline.cycles[at])
        place = sections[section] if section else longest
        one = next(one for one in timeline.passes if one.place == place)
        start, end = one.start, one.end
        if start == end:
            raise InputError(f"{what}: section {quoted(section)} takes no cycle; name another one")
        told = timeline.schedule.sections[place].name
        told += f", the first of {repeats[place]} repetitions" if repeats[place] > 1 else ""
    else:
        start, end = within(read_window(window, clock_hz, what=f"{what}: window"), timeline, clock_hz, what=what)
        told = f"cycles {start:,} to {end:,}"
    found: list[Stretch] = []
    for stretch in timeline.between(start, end, most=MOST_FIRINGS):
        found.append(stretch)
        if stretch.end < min(end, stretch.of.end) or sum(len(one.recording.firings) for one in found) > MOST_FIRINGS:
            told += f", only up to cycle {stretch.end:,}: beyond that there are more than {MOST_FIRINGS:,} firings"
            break
    return found, told
