"""The tracks of a trace: one for each server of a unit that is busy, and one for the unit's waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

import numpy as np

from archsim.design.design import Design
from archsim.run.timeline import Stretch

WAITS = -1  # in place of a lane


def lanes(spans: Iterable[tuple[int, int]]) -> list[int]:
    """A lane for each span (start, end), in order of their starts, so that those of one lane do not overlap.

    >>> lanes([(0, 4), (1, 2), (2, 5), (4, 6)])
    [0, 1, 1, 0]
    """
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    found = []
    for start, end in spans:
        while busy and busy[0][0] <= start:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        heappush(busy, (end, lane))
        found.append(lane)
    return found


def lanes_of(stretch: Stretch) -> np.ndarray:
    """The server of its unit, from 0, that each firing of the stretch is on."""
    firings, flat = stretch.recording.firings, stretch.flat
    found = np.zeros(len(firings), dtype=np.int64)
    unit = np.array([task.unit for task in flat.tasks], dtype=np.int64)[firings["task"]]
    for index, one in enumerate(flat.units):
        if one.count > 1:
            rows = np.flatnonzero(unit == index)
            found[rows] = lanes(zip(firings["start"][rows].tolist(), firings["end"][rows].tolist(), strict=True))
    return found


def tracks(stretches: Sequence[Stretch], by_lane: Sequence[np.ndarray], design: Design) -> dict[tuple[str, int], str]:
    """The name of each track by (unit, lane), in the order of the design; those of all stretches."""
    used: dict[str, set[int]] = {}
    of: dict[str, dict[str, None]] = {name: {} for name in design.units}
    several: set[str] = set()
    for stretch, on in zip(stretches, by_lane, strict=True):
        flat, recording = stretch.flat, stretch.recording
        unit = np.array([task.unit for task in flat.tasks], dtype=np.int64)[recording.firings["task"]]
        pairs = np.unique(np.stack([unit, on], axis=1), axis=0).tolist() if len(unit) else []
        pairs += [(index, WAITS) for index in np.unique(recording.waits["unit"]).tolist()]
        for index, place in pairs:
            used.setdefault(flat.units[index].name, set()).add(place)
        for one in flat.units:
            of[one.of][one.name] = None
            several |= {one.name} if one.count > 1 else set()
    found: dict[tuple[str, int], str] = {}
    for name in (name for names in of.values() for name in names):
        # The waits last.
        for lane in sorted(used.get(name, ()), key=lambda lane: (lane == WAITS, lane)):
            server = f"{name} [{lane}]" if name in several else name
            found[name, lane] = f"{name} waits" if lane == WAITS else server
    return found
