"""The recurrence: the start and end of each firing as a formula, for sections in which every task has its own unit.

start(i) = max(end(i - 1); for each stream taken, arrival of the last token needed; for each stream given, end of the
firing that frees the last place needed). end(i) = start(i) + cycles(i); tokens arrive latency_cycles after the end.
A firing is computed once all its terms are known. Has no clock, no queue of events and no arbitration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import chain, cycle, groupby, islice, repeat
from operator import itemgetter, sub

from archsim.engine.flat import Flat, FlatTask
from archsim.engine.outcome import section_result
from archsim.engine.result import SectionResult, Stuck
from archsim.engine.token_state import state_after
from dataflow.errors import InputError
from dataflow.pattern import Pattern, total

Runs = tuple[tuple[int, int], ...]  # (value of each firing, firings) of one period
Term = tuple[Callable[[], int], list[int], int, list[int], int]  # what `_Section.terms` makes
Round = tuple[int, int, list[Term]]  # firings, cycles of each, what each waits for
LONG = 2**32  # firings of a run whose value never changes; the run repeats, so any large number will do


def run(flat: Flat) -> SectionResult | Stuck:
    """One run of this section; Stuck when no further firing can start and some are left.

    Raises InputError with every unit that has several tasks or several servers.
    """
    found = _shared(flat)
    if found:
        raise InputError(found)
    section = _Section(flat.unfolded())
    section.work_off()
    state = state_after(flat, [times.fired for times in section.times])
    return section.result() if state.finished else Stuck(section.last(), state.waiting())


def _shared(flat: Flat) -> list[str]:
    """A problem for each unit with several tasks and for each with several servers."""
    found = []
    for unit in flat.units:
        *others, last = (f"'{flat.tasks[i].name}'" for i in unit.tasks)
        who = f"tasks {', '.join(others)} and {last}" if others else f"task {last}"
        if others:
            found.append(f"{who} share unit '{unit.name}'; it answers where every task has a unit of its own")
        if unit.count > 1:
            found.append(f"unit '{unit.name}' of {who} has {unit.count} servers; it answers where every unit has one")
    return [f"engine recurrence: {line}" for line in found]


class _Times:
    """The ends of a task's firings, the i-th at index i; index 0 stands for tokens that are there at the start.

    `awaited` is a heap of the tasks that wait for an end, each as one integer: firing * number of tasks + task.
    """

    __slots__ = ("awaited", "ends", "latency_cycles")

    def __init__(self, latency_cycles: int) -> None:
        self.latency_cycles = latency_cycles
        # Firing 0 gives the initial tokens: they arrive a latency after its end, which is cycle 0.
        self.ends = [-latency_cycles]
        self.awaited: list[int] = []

    @property
    def fired(self) -> int:
        """The number of firings computed so far."""
        return len(self.ends) - 1


class _Section:
    """A section under way: the times of each task, the tokens per firing at both ends of each stream, and the stalls.

    `stalls` has the cycles starved for each stream, then the cycles blocked on each stream.
    """

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self.times = [_Times(flat.units[task.unit].latency_cycles) for task in flat.tasks]
        self.given = _moved(flat, "gives")
        self.taken = _moved(flat, "takes")
        firings = [flat.tasks[stream.producer].firings for stream in flat.streams]
        self.in_all = [total(Pattern(given), n) for given, n in zip(self.given, firings, strict=True)]
        self.stalls = [0] * (2 * len(flat.streams))

    def work_off(self) -> None:
        """Computes the firings of each task as far as their terms are known, and goes on where new ends are awaited."""
        width = len(self.times)
        terms = self.terms()
        tasks = [_fire(self, i, _rounds(task, *terms)) for i, task in enumerate(self.flat.tasks)]
        ready = list(range(width))
        # Any order gives the same times, as each firing is the same maximum of the same terms.
        while ready:
            i = ready.pop()
            next(tasks[i], None)
            # Keys below `known` are of firings whose ends are in the list by now.
            awaited, known = self.times[i].awaited, len(self.times[i].ends) * width
            while awaited and awaited[0] < known:
                ready.append(heappop(awaited) % width)

    def terms(self) -> tuple[list[Term | None], list[Term | None]]:
        """For each stream, the term of its consumer (tokens) and that of its producer (places); None if it never waits.

        A term has: a function that gives, firing by firing, which firing of the other end is waited for; the ends of
        the other end; cycles from such an end to the end of the wait; its `awaited`; the index in `stalls`.
        """
        tokens: list[Term | None] = []
        places: list[Term | None] = []
        for s, stream in enumerate(self.flat.streams):
            giver, taker = self.times[stream.producer], self.times[stream.consumer]
            given, taken, in_all = self.given[s], self.taken[s], self.in_all[s]
            first, room = -stream.initial, stream.initial - stream.depth
            # Bound methods, as they are called once for each firing and stream: the innermost loop of a run.
            which = chain.from_iterable(_sources(taken, given, first)).__next__
            tokens.append((which, giver.ends, giver.latency_cycles, giver.awaited, s) if first + in_all > 0 else None)
            which = chain.from_iterable(_sources(given, taken, room)).__next__
            cause = s + len(self.flat.streams)
            places.append((which, taker.ends, 0, taker.awaited, cause) if room + in_all > 0 else None)
        return tokens, places

    def last(self) -> int:
        """The cycle of the last end or arrival of the firings computed so far."""
        return max(
            max(times.ends[-1], times.ends[_last_giving(task, times.fired)] + times.latency_cycles)
            for task, times in zip(self.flat.tasks, self.times, strict=True)
        )

    def result(self) -> SectionResult:
        """The result, once every firing is computed."""
        tasks = [
            (times.ends[1] - task.runs[0].cycles, times.ends[-1], task.busy_cycles)
            for task, times in zip(self.flat.tasks, self.times, strict=True)
        ]
        stalls = self.stalls
        streams = [(n, self.peak(s), stalls[s], stalls[s + len(self.in_all)]) for s, n in enumerate(self.in_all)]
        return section_result(self.flat, self.last(), tasks, streams)

    def peak(self, s: int) -> int:
        """The most places of the stream that are taken at once, counted after all events of a cycle."""
        stream = self.flat.streams[s]
        giver, taker = self.flat.tasks[stream.producer], self.times[stream.consumer]
        cycles = _each(tuple((run.cycles, run.count) for run in giver.runs))
        starts = map(sub, islice(self.times[stream.producer].ends, 1, None), cycles)
        freed = zip(islice(taker.ends, 1, None), _each(self.taken[s]), strict=False)
        most = held = stream.initial
        end, freeing = next(freed)
        for start, filled in zip(starts, _each(self.given[s]), strict=False):
            # Ends of a cycle before its starts: places that come free in a cycle and are taken again count once.
            while end <= start:
                held -= freeing
                end, freeing = next(freed, (start + 1, 0))
            held += filled
            if held > most:
                most = held
                if most == stream.depth:
                    break
        return most


def _fire(section: _Section, me: int, rounds: Iterator[Round]) -> Iterator[None]:
    """Computes the ends of a task's firings; yields whenever a firing of another task has to be computed first."""
    ends, stalls, width = section.times[me].ends, section.stalls, len(section.times)
    end = 0
    for count, cycles, terms in rounds:
        for _ in repeat(None, count):
            # In the order in which a firing looks: each term is charged only for what it adds to those before it.
            for which, others, later, awaited, cause in terms:
                i = which()
                if i >= len(others):
                    heappush(awaited, i * width + me)
                    yield
                when = others[i] + later
                if when > end:
                    stalls[cause] += when - end
                    end = when
            end += cycles
            ends.append(end)


def _rounds(task: FlatTask, tokens: list[Term | None], places: list[Term | None]) -> Iterator[Round]:
    """The task's firings in runs: how many, the cycles of each, and its terms, inputs before outputs."""
    rounds, known = [], {}
    for run in task.runs:
        moves = run.takes, run.gives
        if moves not in known:
            waits = [*(tokens[s] for s, _ in run.takes), *(places[s] for s, _ in run.gives)]
            known[moves] = [term for term in waits if term is not None]
        rounds.append((run.count if len(task.runs) > 1 else task.firings, run.cycles, known[moves]))
    left = task.firings
    for count, cycles, terms in cycle(rounds):
        yield min(count, left), cycles, terms
        left -= count
        if left <= 0:
            return


def _sources(asks: Runs, moves: Runs, need: int) -> Iterator[Iterable[int]]:
    """For each firing that needs tokens, the firing of the other end that moves the last of them, from 1; 0 for none.

    `asks` are tokens that a firing needs, `moves` tokens that one of the other end moves. `need` is what has to be
    moved before the first is asked for; negative if that many are there already. Yields stretches of firings.
    """
    # The other end has ended `done` firings, which moved `before` tokens; with its present run it is `upto`.
    done = before = upto = count = per = 0
    others = cycle(moves)
    for n, left in cycle(asks):
        if n and need < 0:
            free = min(left, -need // n)
            yield repeat(0, free)
            need, left = need + n * free, left - free
        while n and left:
            while need + n > upto:
                done, before = done + count, upto
                per, count = next(others)
                upto += per * count
            k = min(left, (upto - need) // n)
            first = need + n - before - 1
            if k == 1:
                yield (done + 1 + first // per,)
            elif n % per:
                yield (done + 1 + token // per for token in range(first, first + k * n, n))
            else:
                # The sources are evenly spaced: a range, without a division for each firing.
                start, step = done + 1 + first // per, n // per
                yield range(start, start + k * step, step)
            need, left = need + k * n, left - k


def _moved(flat: Flat, end: str) -> list[Runs]:
    """For each stream, the tokens of each firing at this end (`takes` or `gives`), in runs of one period."""
    moved: list[list[tuple[int, int]]] = [[] for _ in flat.streams]
    for task in flat.tasks:
        named = {s for run in task.runs for s, _ in getattr(run, end)}
        for run in task.runs:
            tokens = dict(getattr(run, end))
            for s in named:
                moved[s].append((tokens.get(s, 0), run.count))
    return [_even(runs) for runs in moved]


def _even(runs: list[tuple[int, int]]) -> Runs:
    """The same runs with equal neighbours merged; a constant value, or no run at all, becomes one long run."""
    even = tuple((n, sum(count for _, count in same)) for n, same in groupby(runs, key=itemgetter(0)))
    return even if len(even) > 1 else ((even[0][0] if even else 0, LONG),)


def _each(runs: Runs) -> Iterator[int]:
    """The value of each firing, endlessly."""
    return chain.from_iterable(repeat(value, count) for value, count in cycle(runs))


def _last_giving(task: FlatTask, fired: int) -> int:
    """The last of the first `fired` firings that gives tokens, counted from 1; 0 if none does."""
    period = sum(run.count for run in task.runs)
    last = at = 0
    for run in task.runs:
        if run.gives and at < fired:
            # The firings before this run begins for the last time.
            begun = (fired - at - 1) // period * period + at
            last = max(last, min(fired, begun + run.count))
        at += run.count
    return last
