"""What of a run is in a trace: whole first repetitions, or their first cycles, or a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archsim.errors import InputError
from archsim.run.timeline import Stretch, Timeline
from archsim.run.tokens import handed_over, places_taken

LIMIT = 200_000  # events by default: some 30 MB, which viewers load in seconds
MOST = 2_000_000  # events of a window


@dataclass(frozen=True, slots=True)
class Contents:
    """The stretches whose firings, waits and FIFOs are in a trace, and what they are of the run, in words."""

    stretches: tuple[Stretch, ...]
    told: str


def by_default(timeline: Timeline, *, limit: int = LIMIT) -> Contents:
    """The first repetition of each section; the first cycles of each where all would be more events than `limit`."""
    whole = timeline.first_passes(most=limit)
    times = np.sort(np.concatenate([_event_cycles(stretch) for stretch in whole]))
    ends = [stretch.recording.end for stretch in whole if not stretch.is_whole]
    ends += [int(times[limit])] if len(times) > limit else []
    if not ends:
        each = "the first repetition of each section; later ones are equal"
        repeats = any(section.repeat > 1 for section in timeline.schedule.sections)
        return Contents(tuple(whole), f"all firings of {each if repeats else 'the run'}")
    cut = [stretch.until(min(ends)) for stretch in whole]
    in_full = [stretch.section.name for stretch in cut if stretch.is_whole]
    told = f"the firings of the first {min(ends):,} cycles of the first repetition of each section"
    told += f" (in full: {', '.join(in_full)})" if in_full else ""
    fired, all_of = sum(len(stretch.recording.firings) for stretch in cut), timeline.schedule.run_firings
    told += f"; left out are {all_of - fired:,} of {all_of:,} firings, to stay below {limit:,} events"
    return Contents(tuple(cut), f"{told}: a window shows another part")


def within_window(timeline: Timeline, start: int, end: int, *, most: int = MOST) -> Contents:
    """All between two cycles. Raises InputError where that is more than `most` events."""
    stretches, events = [], 0
    for stretch in timeline.between(start, end, most=most):
        stretches.append(stretch)
        events += len(_event_cycles(stretch))
        if events > most or stretch.recording.end < min(end, stretch.of.end) - stretch.of.start:
            share = (stretch.end - start) / (end - start) * min(1, most / max(events, 1))
            raise InputError(
                f"trace: the window has {end - start:,} cycles and more than {most:,} events; give a window of some "
                f"{max(1, int(share * (end - start))):,} cycles"
            )
    return Contents(tuple(stretches), f"all firings of cycles {start:,} to {end:,}")


def _event_cycles(stretch: Stretch) -> np.ndarray:
    """When each event of the stretch takes place, in cycles of its pass."""
    recording, flat = stretch.recording, stretch.flat
    starts = recording.firings["start"]
    flows = [starts[each.takers] for each in handed_over(flat, recording)]
    # A flow is two events.
    found = [starts, recording.waits["start"], *flows, *flows]
    return np.concatenate([*found, *(each.cycles for each in places_taken(flat, recording))])
