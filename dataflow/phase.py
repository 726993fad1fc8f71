"""Phase: what is asked of a model, and how reports speak of it. The phases themselves stand in dataflow/models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, get_type_hints

from dataflow.errors import InputError, quoted, refuse

HELP = "help"
TYPES = {int: "a whole number", bool: "true or false", str: "text"}
NOT_FACTS = ("tokens",)  # a field that a report has already, as the tokens of the whole
FIRST_FACTS = ("prompt", "context", "batch", "mask")  # of every phase, None where it has none


def asks(what: str, **default: Any) -> Any:
    """A field of a phase; `what` is its meaning on the command line, `default` its default where it has one."""
    return field(metadata={HELP: what}, **default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A graph that is no phase of a model. A phase of one is a subclass with a name, fields and `graph`.

    The command line, sweeps and published conditions ask for its fields, by `asks`; they are whole numbers, text or
    true and false. A phase of many steps has `many_steps`, `steps` and `ends` instead of `graph`.
    """

    name: ClassVar[str] = "graph"
    done: ClassVar[str] = "{tokens} made"  # what a report says of its throughput; n is the number of tokens
    use: ClassVar[str] = "text"  # what its new rows are to a selection: text, frame or question
    first_token: ClassVar[bool] = False  # True where it ends with the first token of an answer
    one_token: ClassVar[bool] = False  # True for the step that makes one more token
    many_steps: ClassVar[bool] = False

    batch: int = asks("sequences at once", default=1)

    def __post_init__(self) -> None:
        refuse(type_problems(type(self), {f.name: getattr(self, f.name) for f in fields(self)}), InputError)

    def graph(self, model: Any) -> Any:
        """The Graph of this phase of a Model. Raises GraphError where the model cannot run it."""
        if self.many_steps:
            raise InputError(f"phase {self.name} has a graph for each of its steps; take steps(model)")
        raise NotImplementedError(f"phase '{self.name}' has no graph(model)")

    def steps(self, model: Any) -> Any:
        """The Graphs of a phase of many steps, one after another, each made when it is asked for."""
        raise NotImplementedError(f"phase '{self.name}' has many steps and no steps(model)")

    def ends(self, model: Any) -> Any:
        """Of a phase of many steps the Graphs that need most: what holds these holds all steps."""
        raise NotImplementedError(f"phase '{self.name}' has many steps and no ends(model)")

    @property
    def frames(self) -> int | None:
        """Video frames; None where there are none."""
        return None

    @property
    def tokens_made(self) -> int | None:
        """Of a phase of many steps the tokens that it makes; None where it makes none."""
        return None

    def facts(self) -> dict[str, Any]:
        """What a report says of the phase beside its name."""
        own = [f.name for f in fields(self) if f.name not in (*FIRST_FACTS, *NOT_FACTS)]
        return {name: getattr(self, name, None) for name in (*FIRST_FACTS, *own)}

    def values(self) -> dict[str, Any]:
        """The fields with their values, by which the phase can be asked for again; none of a graph that is no phase."""
        return {f.name: getattr(self, f.name) for f in fields(self)} if type(self) is not Phase else {}

    def follows(self, other: Phase) -> bool:
        """True where both make one more token and differ in the context alone."""
        same = type(self) is type(other) and self.one_token
        return same and {**self.facts(), "context": None} == {**other.facts(), "context": None}

    def title(self) -> list[str]:
        """The name, and what is asked, as the heading of a report."""
        values = self.values()
        beyond = {name: values[name] for name in NOT_FACTS if name in values}
        # Keys of the first mapping give the order. A graph that is no phase was asked for nothing.
        asked = {**dict.fromkeys(("prompt", "context")), **beyond, **self.facts()} if type(self) is not Phase else {}
        return [self.name, *(f"{name} {value}" for name, value in asked.items() if value)]


def field_types(phase: type[Phase]) -> dict[str, type]:
    """The fields of a phase with their types: int, bool or str. Raises InputError for one without type or meaning."""
    known: Any = phase
    return _field_types(known)


# Cached, because every step of a generation is a phase of its own.
@cache
def _field_types(phase: Any) -> dict[str, type]:
    hints = get_type_hints(phase)
    found, problems = {}, []
    for f in fields(phase):
        kinds = [kind for kind in TYPES if hints[f.name] in (kind, kind | None)]
        if not kinds:
            problems.append(f"phase '{phase.name}': field '{f.name}': its type is none of int, bool, str")
        elif not f.metadata.get(HELP):
            problems.append(f"phase '{phase.name}': field '{f.name}': has no meaning; write asks(meaning)")
        else:
            found[f.name] = kinds[0]
    refuse(problems, InputError)
    return found


def type_problems(phase: type[Phase], given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the types of these fields; a field whose default is None may be None."""
    types, optional = field_types(phase), {f.name for f in fields(phase) if f.default is None}
    return [
        f"{name}: expected {TYPES[types[name]]}, got {quoted(value)}"
        for name, value in given.items()
        if name in types and type(value) is not types[name] and not (value is None and name in optional)
    ]


def flag(name: str) -> str:
    """A field of a phase as the command line asks for it.

    >>> flag("draft_tokens")
    '--draft-tokens'
    """
    return f"--{name.replace('_', '-')}"


def asked_by(phase: type[Phase]) -> dict[str, str]:
    """The fields of a phase but the batch, with their meanings; first those that must be given."""
    return {f.name: f.metadata[HELP] for f in fields(phase) if f.name != "batch"}


NO_PHASE = Phase()
