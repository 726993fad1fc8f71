"""Recording: the firings and the waits of a stretch of a section's run, as arrays; the same from every engine.

Knows no engine: what runs a section hands over its rows in batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from archsim.engine.flat import Flat

STARVED, BLOCKED = 0, 1
CAUSES = ("starved", "blocked")
FIRING = np.dtype([(name, np.int64) for name in ("task", "number", "start", "end")])
WAIT = np.dtype([(name, np.int64) for name in ("unit", "cause", "stream", "start", "end", "servers")])
NEVER = 2**62
# Rows (unit, what, start, end, servers) of an unfolded section and the cycle before which all are there. `what` is
# -1 - task for a firing, the stream where servers starve for it, the number of streams + the stream where they are
# blocked on it. A wait may be cut into several rows, one after another.
Batch = tuple[np.ndarray, int]


@dataclass(frozen=True, slots=True)
class Recording:
    """What units do in a run of a section between two cycles: `firings` and `waits`, records in order of their starts.

    A firing is in it if any of its cycles is, a firing of zero cycles if it starts there; `number` counts the firings
    of its task from 0, of which `begun` started before. Of a wait only what lies between the two cycles is in it;
    `servers` of the unit wait for `stream`. Indices are those of the flat form.
    """

    start: int
    end: int
    begun: np.ndarray
    firings: np.ndarray
    waits: np.ndarray

    def until(self, end: int) -> Recording:
        """The part of it before a cycle."""
        if end >= self.end:
            return self
        waits = self.waits[self.waits["start"] < end]
        waits["end"] = np.minimum(waits["end"], end)
        return Recording(self.start, end, self.begun, self.firings[self.firings["start"] < end], waits)


def recorded(
    flat: Flat, batches: Iterable[Batch], *, start: int = 0, end: int | None = None, most: int | None = None
) -> Recording:
    """What happens from cycle `start` on and before `end`; it stops earlier where more than `most` firings are in it.

    `flat` is the section that is told of, `batches` are of its unfolded form.
    """
    limit = NEVER if end is None else end
    seen, earlier = np.zeros((2, len(flat.tasks)), dtype=np.int64)
    fired, waited, kept, now = [np.zeros(0, dtype=FIRING)], [np.zeros((0, 5), dtype=np.int64)], 0, 0
    for rows, now in batches:
        firings = _numbered(rows[rows[:, 1] < 0], seen)
        before = firings["start"] < start
        earlier += np.bincount(firings["task"][before], minlength=len(earlier))
        fired.append(firings[(firings["start"] < limit) & (~before | (firings["end"] > start))])
        waits = rows[rows[:, 1] >= 0]
        waited.append(waits[(waits[:, 2] < limit) & (waits[:, 3] > start)])
        kept += len(fired[-1])
        if now >= limit or (most is not None and kept > most):
            break
    firings = np.concatenate(fired)
    firings = firings[np.lexsort((firings["number"], firings["task"], firings["start"]))]
    limit = min(limit, now)
    if most is not None and len(firings) > most:
        limit = int(firings["start"][most])
        firings = firings[firings["start"] < limit]
    return Recording(start, limit, earlier, firings, _waits(flat, np.concatenate(waited), start, limit))


def _numbered(rows: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rows of firings as records; `seen` counts the firings of each task so far, and is brought up to date."""
    task = -1 - rows[:, 1]
    counts = np.bincount(task, minlength=len(seen))
    order = np.argsort(task, kind="stable")  # the firings of a task are recorded in the order in which they start
    found = np.zeros(len(rows), dtype=FIRING)
    found["task"], found["start"], found["end"] = task, rows[:, 2], rows[:, 3]
    first = np.cumsum(counts) - counts
    found["number"][order] = np.arange(len(rows)) - np.repeat(first - seen, counts)
    seen += counts
    return found


def _waits(flat: Flat, rows: np.ndarray, start: int, end: int) -> np.ndarray:
    """Rows of waits as records, cut at both ends; rows that continue one wait are joined."""
    views = flat.unfolded().streams
    index = {stream.name: i for i, stream in enumerate(flat.streams)}
    stream_of = np.array([index[stream.name] for stream in views], dtype=np.int64)
    found = np.zeros(len(rows), dtype=WAIT)
    cause, view = np.divmod(rows[:, 1], max(len(views), 1))
    found["unit"], found["cause"], found["servers"] = rows[:, 0], cause, rows[:, 4]
    found["stream"] = stream_of[view] if len(views) else 0
    found["start"], found["end"] = np.maximum(rows[:, 2], start), np.minimum(rows[:, 3], end)
    found = found[found["end"] > found["start"]]
    found = found[np.lexsort((found["start"], found["unit"]))]
    # Engines close a wait at each event of its unit, even where the cause goes on. All free servers of a unit wait for
    # one thing, so that its waits never overlap and the row before is the wait before.
    goes_on = found["start"][1:] == found["end"][:-1]
    for name in ("unit", "cause", "stream", "servers"):
        goes_on &= found[name][1:] == found[name][:-1]
    first = np.flatnonzero(np.concatenate([[True], ~goes_on])) if len(found) else np.zeros(0, dtype=np.int64)
    joined = found[first]
    joined["end"] = found["end"][np.append(first[1:], len(found)) - 1] if len(found) else joined["end"]
    return joined[np.lexsort((joined["unit"], joined["start"]))]
