"""Files of sections, `[section]`, and entries, `key: value` or `key = value`, with the line of each.

Knows the form of such files; does not know what the keys mean. Not Python's configparser, which stops at the
first mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from archsim.errors import DesignError
from dataflow.errors import guess, quoted
from dataflow.name import LONGEST_NAME
from kernels.limits import LINES, beyond


class Entry(NamedTuple):
    """One line of a section; the key is written as the list of known keys has it."""

    section: str
    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Sections:
    """What a file holds: the line of each section, the entries, and the problems by their lines.

    Entries are found by section and key, the key in lower case: its case is free.
    """

    path: str
    lines: dict[str, int] = field(default_factory=dict)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, line: int, message: str) -> None:
        """Notes a problem of this line."""
        self.problems.append((line, f"{self.path}:{line}: {message}"))

    def find(self, section: str, key: str) -> Entry | None:
        """The entry of this key, if there is one."""
        return self.entries.get((section, key.lower()))

    def of(self, section: str) -> Iterator[Entry]:
        """The entries of a section."""
        return (entry for entry in self.entries.values() if entry.section == section)

    def messages(self) -> list[str]:
        """The problems in the order of the file."""
        return [message for _, message in sorted(self.problems, key=lambda problem: problem[0])]


def read_sections(text: str, *, path: str, known: Mapping[str, Sequence[str] | None]) -> Sections:
    """What the text holds; `known` has the keys of each section that there may be, or None where any key may stand.

    Raises DesignError for a text of too many lines; other problems are noted in what it returns.
    """
    found, section = Sections(path), ""
    rows = text.removeprefix("\ufeff").split("\n")
    if problem := beyond(len(rows), LINES, of="lines", instead="a file of sections has some dozens"):
        raise DesignError(f"{path}: {problem}")
    for line, written in enumerate(rows, start=1):
        words = written.strip()
        if not words or words[0] in "#;":
            continue
        if not words.replace("\t", " ").isprintable():
            found.refuse(line, f"expected printable text, got {quoted(words)}")
        elif words[0] == "[" and words[-1] == "]":
            section = words[1:-1].strip()
            if section not in known:
                found.refuse(line, f"unknown section {quoted(section)}; {guess(section, known, otherwise='there are')}")
            elif section in found.lines:
                found.refuse(line, f"[{section}]: is given twice, first in line {found.lines[section]}; give it once")
            found.lines.setdefault(section, line)
        else:
            _add(found, section, words, line, known)
    return found


def _add(
    found: Sections, section: str, words: str, line: int, known: Mapping[str, Sequence[str] | None]
) -> None:
    """Adds the entry of a line, or what is wrong with it."""
    at = min((place for mark in ":=" if (place := words.find(mark)) > 0), default=0)
    key, value = words[:at].strip(), words[at + 1 :].strip()
    if not at or not value:
        found.refuse(line, f"expected [section] or 'key: value', got {quoted(words)}")
    elif len(key) > LONGEST_NAME:
        found.refuse(line, f"expected a key of at most {LONGEST_NAME} characters, got {quoted(key)}")
    elif not section:
        found.refuse(line, f"{quoted(key)} stands before the first section; write one of [{'], ['.join(known)}] above")
    elif section in known:
        names = known[section]
        spelt = {name.lower(): name for name in names or (key,)}
        if key.lower() not in spelt:
            hint = guess(key, spelt.values(), otherwise="known keys are")
            found.refuse(line, f"[{section}]: unknown key {quoted(key)}; {hint}")
        elif before := found.find(section, key):
            found.refuse(line, f"[{section}] {key}: is given twice, first in line {before.line}; give it once")
        else:
            found.entries[section, key.lower()] = Entry(section, spelt[key.lower()], value, line)
