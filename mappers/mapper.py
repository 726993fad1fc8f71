"""Mapper: how graphs are laid on designs. A mapper is a frozen dataclass whose fields are its options."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from archsim.design.design import Design
from archsim.errors import InputError, MappingError, quoted
from archsim.mapping import Mapping
from archsim.selection.selection import Selection
from dataflow.errors import refuse
from dataflow.graph import Graph
from dataflow.phase import HELP, Phase
from dataflow.schedule import Schedule

FILES = (Selection, Mapping)  # options that are read from a file of their own
TYPES = {int: "a whole number", bool: "true or false"}
WORDS = {"true": True, "false": False}


def option(meaning: str, *, default: Any) -> Any:
    """A field of a mapper: an option with its default and one line of meaning."""
    return field(default=default, metadata={HELP: meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapper:
    """A mapper of this name with these options, as values or as text; a subclass gives `lower`.

    `phases` are the phases of a model that it can lower; None where any graph will do. Raises InputError with every
    option that it cannot have.
    """

    name: ClassVar[str] = ""
    phases: ClassVar[tuple[type[Phase], ...] | None] = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        for option in options_of(type(self)).values():
            try:
                object.__setattr__(self, option.name, option.value(getattr(self, option.name)))
            except InputError as problem:
                problems += problem.problems
        refuse(problems, InputError)

    def lower(self, graph: Graph, design: Design) -> Schedule:
        """The schedule of the graph on the design. Raises MappingError where it does not fit."""
        raise NotImplementedError(f"mapper '{self.name}' has no lower(graph, design)")

    def step(self, previous: Schedule, graph: Graph, design: Design) -> Schedule:
        """The schedule of the decode step after that of `previous`, equal to lowering it with the options of that.

        A mapper that shares tasks with the previous step may leave out the checks of limits: the last step was lowered
        before.
        """
        return _sharing(previous, self.lower(graph, design))

    def settled(self, last: Schedule) -> Mapper:
        """The mapper of all decode steps, once the last of them has been lowered: with what was chosen for that one."""
        return self

    def loops(self, graph: Graph, design: Design) -> list[str]:
        """Lines for people about the mapping that `lower` uses, such as the loops of each op; none by default."""
        return []

    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _sharing(previous: Schedule, made: Schedule) -> Schedule:
    """The schedule with the sections and tasks of the previous one where they are equal."""
    if [section.name for section in made.sections] != [section.name for section in previous.sections]:
        return made
    shared = []
    for section, old in zip(made.sections, previous.sections, strict=True):
        was = {task.name: task for task in old.tasks}
        kept = {task.name: was[task.name] for task in section.tasks if was.get(task.name) == task}
        shared.append(old if section == old else section.with_tasks(kept))
    return replace(made, sections=tuple(shared))


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a mapper: its values as words (of a Literal) or one type, its default and its meaning."""

    name: str
    values: tuple[str, ...]
    kind: type
    default: Any
    meaning: str

    @property
    def told(self) -> str:
        """Its values, as help and messages show them, the default first."""
        if self.values:
            return " | ".join([self.default, *(value for value in self.values if value != self.default)])
        shown = TYPES.get(self.kind) or f"a {self.kind.__name__.lower()}"
        return shown if self.default is None else f"{shown}, {quoted(self.default)} unless given"

    def value(self, given: Any) -> Any:
        """The value that is given, as text or as itself. Raises InputError with what it takes."""
        if self.values:
            taken = given in self.values if isinstance(given, str) else False
        elif self.kind is int and isinstance(given, str) and given.removeprefix("-").isdecimal() and given.isascii():
            given, taken = int(given), True
        elif self.kind is bool and isinstance(given, str) and given in WORDS:
            given, taken = WORDS[given], True
        else:
            taken = type(given) is self.kind or (given is None and self.default is None)
        if taken:
            return given
        if self.kind in FILES:
            name = given if isinstance(given, str) else "NAME"
            told = f"expected a {self.kind.__name__}, got {quoted(given)}; or give --{self.name} {name}"
            raise InputError(f"option {self.name}: {told}")
        expected = " or ".join(self.values) if self.values else self.told.split(",")[0]
        raise InputError(f"option {self.name}: expected {expected}, got {quoted(given)}")


def options_of(mapper: type[Mapper]) -> dict[str, Option]:
    """The options of a mapper by name. Raises InputError for one without a known type, a default or a meaning."""
    known: Any = mapper
    return _options(known)


# Cached, because every step of a generation makes its mapper anew.
@cache
def _options(mapper: Any) -> dict[str, Option]:
    hints = get_type_hints(mapper)
    found, problems = {}, []
    for f in fields(mapper):
        where = f"mapper '{mapper.name}': option '{f.name}'"
        kinds = [kind for kind in _members(hints[f.name]) if kind is not NoneType]
        words = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
        typed = all(isinstance(word, str) for word in words) if words else kinds[0] in (int, bool, *FILES)
        if len(kinds) != 1 or not typed:
            problems.append(f"{where}: its type is none of int, bool, Literal of words, Selection, Mapping")
        elif f.default is MISSING or not f.metadata.get(HELP):
            problems.append(f"{where}: has no default or no meaning; write option(meaning, default=...)")
        else:
            kind = str if words else kinds[0]
            found[f.name] = Option(f.name, words, kind, f.default, f.metadata[HELP])
    if problems:
        raise InputError(problems)
    return found


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def refuse_phase(mapper: Mapper, graph: Graph) -> None:
    """Raises MappingError for a phase that the mapper does not know."""
    known = mapper.phases
    if known is not None and type(graph.phase) not in (*known, Phase):
        names = " and ".join(phase.name for phase in known)
        raise MappingError(
            f"mapper '{mapper.name}' lowers the phases {names}, not '{graph.phase.name}'",
            ways_out=("one of these phases", "another mapper or design"),
        )
