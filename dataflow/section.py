"""Section: tasks and streams that run together, as pure data that validates itself. Knows names of units, no rates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from dataflow import section_rules
from dataflow.errors import ScheduleError, refuse
from dataflow.floor import Floor
from dataflow.forms import ANYTHING, HOLDS, TEXT, WHOLE, instance, mapping_of, misfits, optional, titled, tuple_of
from dataflow.order import Order
from dataflow.task import Stream, Task

SECTION = {
    "name": TEXT, "tasks": tuple_of(instance(Task), "Task"), "streams": tuple_of(instance(Stream), "Stream"),
    "repeat": WHOLE, "orders": mapping_of(TEXT, ANYTHING, "from unit to runs"), "holds": HOLDS, "round": TEXT,
    "floor": optional(instance(Floor)),
}  # fmt: skip
CHANGED = mapping_of(TEXT, instance(Task), "from the names of tasks to Tasks")


@dataclass(frozen=True, slots=True)
class Section:
    """Tasks and streams that run together; the next section starts when every firing of this one has ended.

    A section with `repeat` n runs n times in a row. `orders` gives the order of firings of a unit that serves several
    tasks: ((task, firings in a row), ...), where a Repeat stands for runs that repeat. Any other unit runs its tasks
    one after another as listed; a unit that serves first come has no order. `holds`: bytes of activations that lie in
    each memory at once, by (memory, role); "" is no memory of the design. Sections that follow one another with the
    same `round`, if it is not empty, repeat together: each runs once, then each again. `floor` says where its tasks
    lie. Raises ScheduleError with every problem.
    """

    name: str
    tasks: tuple[Task, ...]
    streams: tuple[Stream, ...]
    repeat: int = 1
    orders: Mapping[str, Order] = field(default_factory=dict)
    holds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    round: str = ""
    floor: Floor | None = None

    def __post_init__(self) -> None:
        self._refuse(misfits(self, SECTION))
        self._check()

    def _check(self, changed: Sequence[Task] | None = None) -> None:
        self._refuse(
            section_rules.problems(self.tasks, self.streams, repeat=self.repeat, orders=self.orders, changed=changed)
        )

    def _refuse(self, problems: Iterable[str]) -> None:
        refuse([f"{titled('section', self.name)}: {problem}" for problem in problems], ScheduleError)

    def with_tasks(self, tasks: Mapping[str, Task]) -> Section:
        """This section with some tasks replaced, by name. Raises ScheduleError.

        Only what the new tasks touch is checked: a generation makes thousands of sections that differ in a few tasks.
        """
        if (wrong := CHANGED.wrong(tasks)) is not None:
            self._refuse([f"tasks to replace are {wrong}; {CHANGED.told} is expected"])
        names = {task.name for task in self.tasks}
        self._refuse(f"no task '{name}' to replace" for name in tasks if name not in names)
        self._refuse(section_rules.wrong_types(tasks.values(), ()))
        section = copy(self)  # `replace` would check the whole section again
        object.__setattr__(section, "tasks", tuple(tasks.get(task.name, task) for task in self.tasks))
        section._check(section.changed_since(self))
        return section

    def changed_since(self, earlier: Section) -> list[Task] | None:
        """The tasks replaced since an earlier section; None if more than their work and tokens per firing changed.

        Each changed task keeps its name, its unit, its streams and the streams that its first tokens wait for.
        """
        # Objects are compared by identity: with_tasks shares the streams and every task that it does not replace.
        same = self.streams is earlier.streams and self.repeat == earlier.repeat and self.orders == earlier.orders
        if not same or len(self.tasks) != len(earlier.tasks):
            return None
        pairs = [(new, old) for new, old in zip(self.tasks, earlier.tasks, strict=True) if new is not old]
        # Equal first waits cannot form a new dead cycle, so that rule need not be checked again.
        alike = all(
            (new.name, new.unit, list(new.takes)) == (old.name, old.unit, list(old.takes))
            and section_rules.first_waits(new) == section_rules.first_waits(old)
            for new, old in pairs
        )
        return [new for new, _ in pairs] if alike else None

    def order_of(self, unit: str) -> Order:
        """The firings of this unit in their fixed order: ((task, how many in a row), ...), with repeats."""
        return self.unit_orders().get(unit, ())

    def unit_orders(self) -> dict[str, Order]:
        """As order_of, for all units at once."""
        listed: dict[str, list[tuple[str, int]]] = {}
        for task in self.tasks:
            listed.setdefault(task.unit, []).append((task.name, task.firings))
        return {**{unit: tuple(order) for unit, order in listed.items()}, **self.orders}

    def queues(self) -> dict[str, int]:
        """Bytes of all places of the streams that lie in each memory; streams of one FIFO count once, as its largest.

        Of streams that say `at` which byte they lie, those up to the last one of all. Under "" those of streams that
        name no memory.
        """
        sizes: dict[tuple[str, str], int] = {}
        for stream in self.streams:
            if stream.bytes_per_token:
                placed = stream.at is not None
                queue = stream.memory, "" if placed else stream.fifo or f"stream {stream.name}"
                sizes[queue] = max(sizes.get(queue, 0), (stream.at or 0) + stream.bytes)
        found: dict[str, int] = {}
        for (memory, _), size in sizes.items():
            found[memory] = found.get(memory, 0) + size
        return found

    @property
    def ends(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """For each stream, its producing task and its consuming tasks."""
        producer = {s: t.name for t in self.tasks for s in t.gives}
        consumers: dict[str, list[str]] = {s.name: [] for s in self.streams}
        for task in self.tasks:
            for stream in task.takes:
                consumers[stream].append(task.name)
        return {s.name: (producer[s.name], tuple(consumers[s.name])) for s in self.streams}


def rounds(sections: Sequence[Section]) -> list[list[int]]:
    """The places of the sections that repeat together, in order; a section without a round is alone."""
    found: list[list[int]] = []
    for place, section in enumerate(sections):
        before = sections[place - 1] if place else None
        if before is not None and section.round and section.round == before.round:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def played(sections: Sequence[Section]) -> Iterator[tuple[int, int]]:
    """The place and the repetition, counted from 0, of each run of a section, in the order in which they run."""
    for places in rounds(sections):
        for repetition in range(sections[places[0]].repeat):
            for place in places:
                yield place, repetition
