"""The rules of a section: streams with two ends and equal totals, depths that hold a firing, orders, no dead cycle."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from math import prod

from dataflow.errors import guess, quoted
from dataflow.forms import TEXT, WHOLE, form, instance, mapping_of, misfits, optional, titled, tuple_of
from dataflow.op import Work
from dataflow.order import Order, counted, run_problems
from dataflow.pattern import Pattern, side_by_side, total
from dataflow.role import Role
from dataflow.task import ONE_TILE, UNLIMITED, Served, Stream, Task

ROLES = [role.value for role in Role]
Orders = Mapping[str, Order]

# What the fields hold; patterns are looked into below.
TOKENS = mapping_of(TEXT, form("anything", lambda value: True, Pattern), "from the names of streams to Patterns")
TASK = {
    "name": TEXT, "unit": TEXT, "firings": WHOLE, "takes": TOKENS, "gives": TOKENS,
    "serves": tuple_of(instance(Served), "Served", lists=False), "role": optional(TEXT), "expression": TEXT,
    "part": optional(TEXT), "servers": WHOLE, "priority": WHOLE,
}  # fmt: skip
BOXES = tuple_of(instance(range), "ranges", lists=False)
SERVED = {
    "ops": tuple_of(TEXT, "names, one a repetition,", lists=False),
    "tiles": tuple_of(BOXES, "boxes, which are tuples of ranges,", lists=False),
}
STREAM = {
    "name": TEXT, "depth": WHOLE, "bytes_per_token": WHOLE, "initial": WHOLE, "fifo": TEXT, "memory": TEXT,
    "at": optional(WHOLE), "tiles": WHOLE,
}  # fmt: skip


def problems(
    tasks: Sequence[Task], streams: Sequence[Stream], *, repeat: int, orders: Orders, changed: Sequence[Task] | None
) -> Iterator[str]:
    """Every problem of the tasks, streams and orders of a section, a line each.

    `changed` are the tasks that were replaced in a valid section (see Section.changed_since), whose types are right:
    then only these are checked, with their streams and the orders of their units.
    """
    if changed is not None:
        names, units = {s for t in changed for s in (*t.takes, *t.gives)}, {t.unit for t in changed}
        touched = [stream for stream in streams if stream.name in names]
        theirs = {unit: order for unit, order in orders.items() if unit in units}
        # No dead cycle can be new: changed_since has found the first waits unchanged.
        yield from _local_problems(changed, touched, theirs, tasks, repeat)
        return
    if wrong := list(wrong_types(tasks, streams)):
        yield from wrong
        return  # the other rules count
    if not tasks:
        yield "it has no task; a section has at least one"
    yield from (f"task '{n}' is given twice" for n in _twice([t.name for t in tasks]))
    if repeat < 1:
        yield f"repeat is {repeat}; a section is run at least once"
    known = {s.name for s in streams}
    yield from (f"stream '{n}' is given twice" for n in _twice([s.name for s in streams]))
    for end in ("takes", "gives"):
        for name in sorted({s for t in tasks for s in getattr(t, end)} - known):
            yield f"stream '{name}' is in the {end} of a task but is not declared"
    yield from _local_problems(tasks, streams, orders, tasks, repeat)
    yield from _dead_cycle(tasks, streams)


def wrong_types(tasks: Iterable[Task], streams: Iterable[Stream]) -> Iterator[str]:
    """What is not of the type that the fields of tasks and streams have."""
    for task in tasks:
        wrong = [*misfits(task, TASK)] or [*_wrong_patterns(task), *_wrong_types_of_serves(task)]
        yield from (f"{titled('task', task.name)}: {told}" for told in wrong)
    for stream in streams:
        yield from (f"{titled('stream', stream.name)}: {told}" for told in misfits(stream, STREAM))


def _wrong_patterns(task: Task) -> Iterator[str]:
    for name, pattern in (("work", task.work), *task.takes.items(), *task.gives.items()):
        if not isinstance(pattern, Pattern):
            yield f"'{name}' is {quoted(pattern)}; a Pattern such as every(...) is expected"
        elif pattern is task.work:
            if wrong := [item for item, _ in pattern if not isinstance(item, Work)]:
                yield f"work of a firing is {quoted(wrong[0])}; a Work such as work('read', bytes=4) is expected"
        elif wrong := [n for n, _ in pattern if type(n) is not int]:
            yield f"tokens of '{name}' are {quoted(wrong[0])}; whole numbers are expected"


def _wrong_types_of_serves(task: Task) -> Iterator[str]:
    for served in task.serves:
        if wrong := [*misfits(served, SERVED)]:
            yield from wrong
        elif not isinstance(served.per_firing, Pattern):
            told = f"{quoted(served.per_firing)}; a Pattern such as every(...) is expected"
            yield f"per_firing of op '{', '.join(served.ops)}' is {told}"
        elif numbers := [n for n, _ in served.per_firing if type(n) is not int]:
            told = f"{quoted(numbers[0])}; a whole number is expected"
            yield f"tiles a firing of op '{', '.join(served.ops)}' are {told}"
        elif backward := [along for box in served.tiles for along in box if along.step < 0]:
            told = f"{backward[0]}; a range with a positive step is expected"
            yield f"tiles of op '{', '.join(served.ops)}' go along {told}"


def _local_problems(
    checked: Sequence[Task], streams: Sequence[Stream], orders: Orders, tasks: Sequence[Task], repeat: int
) -> Iterator[str]:
    """The problems of the `checked` tasks, these streams and these orders; `tasks` are all tasks."""
    for task in checked:
        yield from _task_problems(task, repeat)
    producers: dict[str, list[Task]] = {s.name: [] for s in streams}
    consumers: dict[str, list[Task]] = {s.name: [] for s in streams}
    for task in tasks:
        for ends, patterns in ((producers, task.gives), (consumers, task.takes)):
            for name in patterns:
                if name in ends:  # a stream that is not declared, or not touched, is reported elsewhere or valid
                    ends[name].append(task)
    for stream in streams:
        yield from _stream_problems(stream, producers[stream.name], consumers[stream.name])
    firings: dict[str, dict[str, int]] = {unit: {} for unit in orders}
    for task in tasks:
        if task.unit in firings:
            firings[task.unit][task.name] = task.firings
    for unit, order in orders.items():
        yield from _order_problems(unit, order, firings[unit])


def _twice(names: list[str]) -> list[str]:
    return sorted(name for name, n in Counter(names).items() if n > 1)


def _task_problems(task: Task, repeat: int) -> Iterator[str]:
    if task.firings < 1:
        yield f"task '{task.name}' is fired {task.firings} times; a task is fired at least once"
        return  # the other rules count over the firings
    if task.servers < 1:
        yield f"task '{task.name}' asks for {task.servers} servers; a firing takes at least one"
    if abs(task.priority) > UNLIMITED:
        yield f"task '{task.name}' has the priority {quoted(task.priority)}; priorities are -2^62 to 2^62"
    if task.role is not None and task.role not in ROLES:
        yield f"task '{task.name}' has the role '{task.role}'; {guess(task.role, ROLES, otherwise='roles are')}"
    for kind, patterns in (("takes", task.takes), ("gives", task.gives)):
        for stream, pattern in patterns.items():
            if [n for n, _ in pattern.runs if n < 0]:
                yield f"task '{task.name}' {kind} a negative number of tokens of '{stream}'"
    yield from _served_problems(task, repeat)


def _served_problems(task: Task, repeat: int) -> Iterator[str]:
    wrong = [len(served.ops) for served in task.serves if len(served.ops) != repeat >= 1]
    yield from (f"task '{task.name}' names {n} ops for {repeat} repetitions" for n in wrong)
    if len(task.serves) > 1 and not wrong:
        each = [_twice([served.ops[repetition] for served in task.serves]) for repetition in range(repeat)]
        for name in dict.fromkeys(name for names in each for name in names):
            yield f"task '{task.name}' names op '{name}' twice; one Served has all tiles of an op"
    tiled = [served for served in task.serves if served.tiles]
    if len(tiled) not in (0, len(task.serves)):
        (without, *_) = [served for served in task.serves if not served.tiles]
        told = f"tiles of op '{', '.join(tiled[0].ops)}' and none of op '{', '.join(without.ops)}'"
        yield f"task '{task.name}' has {told}; of several ops each has its tiles, or none has"
    elif any(served.tiles or served.per_firing != ONE_TILE for served in task.serves):
        computing = task.computing
        problems = [told for served in task.serves for told in _tile_problems(task, served, computing)]
        yield from problems or _idle_firing(task, computing)


def _tile_problems(task: Task, served: Served, computing: int) -> Iterator[str]:
    """That the tiles of an op are not as many as its firings compute: a replay would pair them wrongly."""
    of = f" of op '{', '.join(served.ops)}'" if len(task.serves) > 1 else ""
    tiles = sum(prod(map(len, box)) for box in served.tiles)
    if served.per_firing == ONE_TILE:
        if tiles != computing:
            told = f"{computing} computing firings and {tiles} tiles{of}"
            yield f"task '{task.name}' has {told}; each firing computes one tile"
    elif any(n < 0 for n, _ in served.per_firing):
        yield f"task '{task.name}' computes a negative number of tiles{of} in a firing"
    elif (computed := total(served.per_firing, computing)) != tiles:
        told = f"{tiles} tiles{of} and computes {computed} in {computing} computing firings"
        yield f"task '{task.name}' has {told}; per_firing says how many each firing computes"


def _idle_firing(task: Task, computing: int) -> Iterator[str]:
    """That a firing with arithmetic computes no tile of any op."""
    if any(served.per_firing == ONE_TILE for served in task.serves):
        return
    place = 0
    for count, numbers in side_by_side([served.per_firing for served in task.serves], computing):
        if not any(numbers):
            yield f"task '{task.name}': computing firing {place} of 0 to {computing - 1} computes no tile of its ops"
            return
        place += count


def _stream_problems(stream: Stream, producers: list[Task], consumers: list[Task]) -> Iterator[str]:
    if stream.depth < 1:
        yield f"stream '{stream.name}' has depth {stream.depth}; a stream holds at least one token"
    if not 0 <= stream.initial <= max(stream.depth, 0):
        yield f"stream '{stream.name}' starts with {stream.initial} tokens; it holds 0 to {stream.depth}"
    if stream.at is not None and stream.fifo:
        yield f"stream '{stream.name}' lies at byte {stream.at} and in the FIFO '{stream.fifo}'; give one of the two"
    if stream.at is not None and (stream.at < 0 or not stream.memory):
        where = f"memory '{stream.memory}'" if stream.memory else "no memory"
        yield f"stream '{stream.name}' lies at byte {stream.at} of {where}; expected one from 0 on, of a named memory"
    if len(producers) != 1:
        found = ", ".join(f"'{t.name}'" for t in producers) or "none"
        yield f"stream '{stream.name}' needs one producing task, has {found}"
    if not consumers:
        yield f"stream '{stream.name}' needs a consuming task, has none"
    if len(producers) != 1:
        return  # totals need both ends
    (source,) = producers
    given = total(source.gives[stream.name], source.firings)
    for sink in consumers:
        taken = total(sink.takes[stream.name], sink.firings)
        # Equal totals leave a stream as it began, so that the section can repeat and every task can finish.
        if given != taken:
            yield (
                f"stream '{stream.name}': '{source.name}' gives {given} tokens in all and '{sink.name}' takes {taken}; "
                "the totals must be equal"
            )
    ends = [(source, "gives", source.gives), *((sink, "takes", sink.takes) for sink in consumers)]
    for task, verb, pattern in ends:
        # A firing takes or gives all its tokens at once, so with fewer places it could never start.
        most = max([n for n, _ in pattern[stream.name].runs])
        if most > stream.depth >= 1:
            yield (
                f"stream '{stream.name}': '{task.name}' {verb} {most} tokens in one firing and the depth is "
                f"{stream.depth}; use a depth of at least {most}"
            )


def _order_problems(unit: str, order: Order, firings: Mapping[str, int]) -> Iterator[str]:
    """The problems of a unit's order; `firings` are those of each of its tasks."""
    wrong = [f"the order of unit '{unit}' has {told}" for told in run_problems(order)]
    yield from wrong
    ordered = {} if wrong else counted(order)
    if not wrong and ordered != firings:
        yield f"the order of unit '{unit}' has the firings {ordered}, its tasks are {firings}"


def _dead_cycle(tasks: Sequence[Task], streams: Sequence[Stream]) -> Iterator[str]:
    """A cycle of streams without initial tokens in which each gets its first token only after the one before it.

    A task that gives before it first takes breaks the cycle, as initial tokens do.
    """
    empty = {s.name for s in streams if not s.initial}
    if _follow(tasks, empty):
        return
    waits: dict[str | tuple[str, int], list[str | tuple[str, int]]] = {}
    for task in tasks:
        needed, given = first_waits(task)
        # A chain, whose nth link stands for the first n streams of `needed`, has a line for each stream; a line from
        # each given to each needed stream would be their product.
        for n, stream in enumerate(needed):
            waits[task.name, n + 1] = [(task.name, n), *([stream] if stream in empty else [])]
        for stream, n in given:
            if stream in empty:
                waits[stream] = [(task.name, n)]
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        # Each waits for the one before, and the first is named again at the end.
        circle = [name for name in error.args[1][:-1] if isinstance(name, str)]
        # The least name comes first, so that the message does not depend on the order of the tasks.
        first = circle.index(min(circle))
        names = ", ".join(f"'{name}'" for name in (*circle[first:], *circle[:first]))
        yield f"streams {names} form a cycle without initial tokens; start one of them with initial tokens"


def _follow(tasks: Sequence[Task], empty: Set[str]) -> bool:
    """True where each task could wait for all of its `empty` streams before it gives, as in most sections."""
    takers: dict[str, list[Task]] = {}
    missing: dict[str, int] = {}
    given = [stream for task in tasks for stream in task.gives]
    if len({*given}) < len(given) or len({task.name for task in tasks}) < len(tasks):
        return False  # told of elsewhere, and no order can be found by names
    for task in tasks:
        needed = [stream for stream in task.takes if stream in empty]
        missing[task.name] = len(needed)
        for stream in needed:
            takers.setdefault(stream, []).append(task)
    free = [task for task in tasks if not missing[task.name]]
    for task in free:  # grows
        for stream in task.gives:
            for taker in takers.get(stream, ()):
                missing[taker.name] -= 1
                if not missing[taker.name]:
                    free.append(taker)
    return len(free) == len(tasks)


def first_waits(task: Task) -> tuple[list[str], list[tuple[str, int]]]:
    """The streams that the task takes from, by their first firing that takes, and each stream that it gives to.

    With the latter the number of streams taken from at or before the first firing that gives.
    """
    takes = sorted(((_first(pattern), stream) for stream, pattern in task.takes.items()), key=lambda one: one[0])
    firsts = [first for first, _ in takes]
    gives = [(stream, bisect_right(firsts, _first(pattern))) for stream, pattern in task.gives.items()]
    return [stream for _, stream in takes], gives


def _first(pattern: Pattern[int]) -> float:
    """The firing at which the pattern first moves a token; infinite if it moves none."""
    passed = 0
    for n, count in pattern:
        if n:
            return passed
        passed += count
    return float("inf")
