"""Rule: what of a selection decides what its rule does, as a frozen value that runs are remembered by.

Knows settings, which it checks by the fields of the rule's class, and turns a kernel's ValueError into an InputError at
the YAML key it names. Does not run anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from archsim.errors import InputError, quoted
from archsim.files.contents import content_hash
from archsim.selection.selection import Selection, StreamOptions
from dataflow.errors import guess
from kernels.selection import rule
from kernels.selection.algorithm import Algorithm, BudgetBeyondCache, CacheShape

TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of a selection with its settings and the source of its keys; variants that differ elsewhere share it.

    name: the selection's, for messages · settings: name, type and value, by name; the type, because True == 1 == 1.0 ·
    contents: hashes of the files that the selection names, since another file can take a path.
    """

    name: str
    algorithm: type[Algorithm]
    settings: tuple[tuple[str, type, Any], ...]
    stream: StreamOptions
    recording: str | None
    recorded_selection: str | None
    contents: tuple[str | None, ...]

    @classmethod
    def of(cls, selection: Selection) -> Rule:
        """The rule of a selection."""
        settings = tuple((name, type(value), value) for name, value in sorted(selection.settings.items()))
        keys, choices = selection.recording, selection.recorded_selection
        contents = tuple(map(content_hash, selection.files.values()))
        return cls(selection.name, rule(selection.algorithm), settings, selection.stream, keys, choices, contents)

    def options(self, shape: CacheShape) -> Algorithm:
        """The algorithm with these settings.

        Raises InputError for settings that it or a cache of this shape cannot have, or that no unit has a time for, and
        BudgetBeyondCache where it would keep more than the cache holds.
        """
        known, problems = _settable(self.algorithm), []
        for name, kind, value in self.settings:
            if name not in known:
                hint = guess(name, known, otherwise="settings are") if known else "the rule has none"
                problems.append(self.at(f"settings.{name}: unknown setting; {hint}"))
            # By exact type, because True is an int; a whole number passes where a float is asked.
            elif kind not in known[name] and not (kind is int and float in known[name]):
                expected = " or ".join(TYPES[each] for each in known[name])
                problems.append(self.at(f"settings.{name}: expected {expected}, got {quoted(value)}"))
        if problems:
            raise InputError(problems)
        with self.explained("settings", known):
            options = self.algorithm(**{name: value for name, _, value in self.settings})
            options.check(shape)
            options.check_timed()
        return options

    def at(self, problem: str) -> str:
        """The problem with the selection's name before it."""
        return f"selection '{self.name}': {problem}"

    @contextmanager
    def explained(self, path: str, keys: Collection[str] = ()) -> Iterator[None]:
        """Turns a kernel's ValueError into an InputError at the key that it names.

        That is one of `keys` under `path`, else `path` itself.
        """
        try:
            yield
        except BudgetBeyondCache:
            raise  # no mistake: whoever asks for the step keeps everything
        except ValueError as problem:
            # Kernels begin a message with the option's name and a colon, or with the name and an index.
            text = str(problem)
            named = text.split(":")[0].split("[")[0] in keys
            raise InputError(self.at(f"{path}{'.' if named else ': '}{text}")) from problem


def _settable(algorithm: type[Algorithm]) -> dict[str, tuple[type, ...]]:
    """The options that YAML can give, with their types: numbers, text, true, false or nothing, no arrays."""
    hints = get_type_hints(algorithm)
    kinds = {field.name: hints[field.name] for field in fields(algorithm)}
    members = {n: get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,) for n, kind in kinds.items()}
    return {name: types for name, types in members.items() if set(types) <= set(TYPES)}
