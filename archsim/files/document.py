"""YAML files read strictly, with the line of every key and all problems at once.

Knows YAML and the lines of a file; does not know what a design, a model or a published number is. The only file that
imports yaml. Text that YAML reads in another way than people mean it (`no`, `1e9`, `12:30`, `010`, dates, duplicate
keys, anchors) is refused.
"""

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import yaml

from archsim.errors import DesignError, quoted
from dataflow.errors import CONTROLS
from dataflow.name import LONGEST_NAME

DEEPEST = 20  # far above any file of ours, and far below Python's limit of nested calls
LARGEST_BYTES = 4 * 2**20  # of a file; reading takes 1 to 2 s and 10 MB for each MB
LONGEST_TEXT = 4096  # characters of one value; the longest reasons of ours have some hundred
LONGEST_NUMBER = 60  # characters; Python refuses to read ints of more than 4,300 digits
EMPTY = "the file is empty; expected lines of 'key: value'"


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML mapping: the path as the user typed it, plain Python data, and the line of every dotted path.

    `given` is what to type to read the file again: a shipped name or a path; "" where there is no such file.
    """

    path: str
    data: dict[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    given: str = ""

    def line(self, dotted_path: str) -> int:
        """Line of the key at the path, or of its nearest parent in the file; 0 when no line is known."""
        while dotted_path and dotted_path not in self.lines:
            dotted_path = dotted_path.rpartition(".")[0]
        return self.lines.get(dotted_path, 0)

    def problem(self, dotted_path: str, message: str) -> str:
        """The message for the user: `file:line: path: message`."""
        return message_at(self.path, self.line(dotted_path), dotted_path, message)


def message_at(path: str, line: int, where: str, message: str) -> str:
    return ": ".join(part for part in (f"{path}:{line}" if line else path, where, message) if part)


def path_below(where: str, key: str) -> str:
    return f"{where}.{key}" if where and key else where or key


def contents(path: str | os.PathLike[str], *, most: int | None = None) -> bytes:
    """The bytes of a file, which may be a pipe; at most those of a YAML file unless `most` are given.

    Raises OSError where it cannot be read or has more.
    """
    most = LARGEST_BYTES if most is None else most
    with open(path, "rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(errno.EFBIG, f"it has more than {most // 2**20} MiB; expected some KiB of text")
    return raw


def read(path: str | os.PathLike[str]) -> Document:
    """The mapping that a UTF-8 YAML file holds.

    Raises
    ------
    DesignError
        the file cannot be read, is not valid YAML, or holds what this project refuses; one problem per line.
    """
    shown, text = file_text(path, form="a YAML file")
    return replace(read_text(text, path=shown), given=given_again(path))


def given_again(path: str | os.PathLike[str]) -> str:
    """What to type to read the file again; nothing for a pipe, which is read once."""
    given = os.fspath(path)
    return given if os.path.isfile(given) and not given.startswith("/dev/") else ""


def file_text(path: str | os.PathLike[str], *, form: str, most: int | None = None) -> tuple[str, str]:
    """The path as messages show it, and the text of a UTF-8 file. Raises DesignError; `form` is what is expected."""
    given = os.fspath(path)
    shown = given.replace("\n", "\\n")  # a message is one line, whatever the name
    try:
        raw = contents(given, most=most)  # not text, so that the line of a wrong byte can be counted
    except FileNotFoundError:
        raise DesignError(f"{shown}: no such file") from None
    except IsADirectoryError:
        raise DesignError(f"{shown}: is a directory; expected {form}") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise DesignError(f"{shown}: cannot be read: {reason}") from None
    try:
        return shown, raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = raw.count(b"\n", 0, error.start) + 1, raw[error.start]
        raise DesignError(f"{shown}:{line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8 text") from None


def read_text(text: str, *, path: str = "text") -> Document:
    """The mapping that YAML text holds; `path` is the name used in messages.

    Raises
    ------
    DesignError
        as `read`.

    Examples
    --------
    >>> document = read_text("units:\\n  mm: {rate: 1}\\n")
    >>> document.data, document.line("units.mm.rate"), document.line("units.mm.kind")
    ({'units': {'mm': {'rate': 1}}}, 2, 2)
    """
    reading = _Reading(json=path.endswith(".json"))
    data: Any = None
    try:
        data = reading.document(yaml.SafeLoader(text))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reading.problem(line, "", f"control character {text[error.position]!r}; only printable text is allowed")
    except yaml.MarkedYAMLError as error:
        reading.problem(*_syntax(error, text))
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        # PyYAML lets Python's own complaints through, such as chr() of a \U escape beyond Unicode.
        told = (str(error) or "cannot be read").splitlines()[0]
        reading.problem(reading.at, "", f"not valid YAML: {told}")
    if reading.problems:
        raise DesignError([message_at(path, *problem) for problem in sorted(reading.problems, key=lambda p: p[0])])
    return Document(path, data, reading.lines)


def write(data: Mapping[str, Any]) -> str:
    """YAML text that `read_text` reads back equal; text that looks like a number is quoted."""
    return yaml.dump(data, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)


def written(value: Any) -> str:
    """A value as YAML has it, on one line.

    >>> written("28"), written({"order": "time", "tiers": ["sram", 1.5]})
    ("'28'", '{order: time, tiers: [sram, 1.5]}')
    """
    style = '"' if isinstance(value, str) and "\n" in value else None
    text = yaml.dump(
        value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=10**9, default_flow_style=True,
        default_style=style,
    )  # fmt: skip
    return text.removesuffix("\n...\n").removesuffix("\n")


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # `read` refuses anchors, so a value that is used twice is written twice


def _write_text(writer: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style="'" if _is_number(value) else None)


_Writer.add_representer(str, _write_text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Reading:
    """One pass over the events of a file, which keeps data, lines and problems; PyYAML's own loader keeps only data."""

    loader: yaml.SafeLoader

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.lines: dict[str, int] = {}
        self.problems: list[tuple[int, str, str]] = []
        self.at = 1
        self.depth = 0

    def problem(self, line: int, where: str, message: str) -> None:
        self.problems.append((line, where, message))

    def next(self) -> yaml.Event:
        event = self.loader.get_event()
        self.at = event.start_mark.line + 1
        return event

    def document(self, loader: yaml.SafeLoader) -> Any:
        # Events come as: start of stream, start of document, the value, end of document, end of stream.
        self.loader = loader
        self.next()
        if isinstance(self.next(), yaml.StreamEndEvent):
            self.problem(1, "", EMPTY)
            return None
        event = self.next()
        self.lines[""] = self.at
        data = self.value(event, "")
        self.next()
        if not isinstance(self.next(), yaml.StreamEndEvent):
            self.problem(self.at, "", "a second document starts here; expected one document in a file")
        if data is None:
            self.problem(self.lines[""], "", EMPTY)
        elif not isinstance(data, dict):
            self.problem(self.lines[""], "", f"expected lines of 'key: value', got {quoted(data)}")
        return data

    def value(self, event: yaml.Event, where: str) -> Any:
        self.refuse_reuse(event, where)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, where)
        if isinstance(event, yaml.AliasEvent):
            return None  # refused above, so its value does not matter
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
        inside = self.mapping(where) if isinstance(event, yaml.MappingStartEvent) else self.sequence(where)
        self.depth -= 1
        return inside

    def refuse_reuse(self, event: yaml.Event, where: str) -> None:
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            mark = "*" if isinstance(event, yaml.AliasEvent) else "&"
            self.problem(self.at, where, f"'{mark}{anchor}' shares a value between places; write the value out at each")
        if tag:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.problem(self.at, where, f"tag {quoted(shown)} is not allowed; write the value alone")

    def scalar(self, event: yaml.ScalarEvent, where: str) -> Any:
        value, complaint = _plain(event.value) if event.implicit[0] else (event.value, "")
        if self.json and event.implicit[0] and _JSON_NUMBER.fullmatch(event.value) and isfinite(float(event.value)):
            value, complaint = json.loads(event.value), ""  # in YAML 1.1 a number such as 1e-06 is text
        if any("\ud800" <= letter <= "\udfff" for letter in event.value):
            complaint = f"{quoted(event.value)} holds half a character; write the character itself"
        elif control := CONTROLS.search(event.value):
            complaint = f"control character {control[0]!r}; only printable text is allowed"
        elif len(event.value) > LONGEST_TEXT:
            complaint = f"a text of {len(event.value):,} characters; expected at most {LONGEST_TEXT:,}"
        if complaint:
            self.problem(self.at, where, complaint)
        return value

    def sequence(self, where: str) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            child = path_below(where, str(len(items)))
            self.lines.setdefault(child, self.at)
            items.append(self.value(event, child))
        return items

    def mapping(self, where: str) -> dict[str, Any]:
        data: dict[str, Any] = {}
        given: dict[str, int] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            line, key = self.at, self.key(event, where)
            child = path_below(where, key)
            # `given` holds keys of this mapping alone; `lines` may have the path from a duplicate of its parent.
            if key in given:
                self.problem(line, child, f"duplicate key; first given on line {given[key]}")
            given.setdefault(key, line)
            self.lines.setdefault(child, line)
            data[key] = self.value(self.next(), child)
        return data

    def key(self, event: yaml.Event, where: str) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            line, value = self.at, self.value(event, where)
            self.problem(line, where, f"expected a name as key, got {quoted(value)}")
            return quoted(value)
        self.refuse_reuse(event, where)
        text, shown = event.value, quoted(event.value)
        value, complaint = _plain(text) if event.implicit[0] and text else (text, "")
        if text == "<<" and complaint:
            self.problem(self.at, where, "'<<' merges values from elsewhere; write them out")
        elif complaint or not isinstance(value, str):
            # Other readers of YAML would take such a key as False, None or a number.
            read_as = quoted(value) if value is None or isinstance(value, bool) else "a number or a date"
            self.problem(self.at, where, f"key {shown} is read as {read_as}; put it in quotes")
        elif not text or not text.isprintable() or text != text.strip():
            self.problem(self.at, where, f"key {shown} is no name; expected printable text without space around it")
        elif len(text) > LONGEST_NAME:
            self.problem(self.at, where, f"key {shown} has {len(text):,} characters; expected at most {LONGEST_NAME}")
            return quoted(text)
        return text if text.isprintable() else repr(text)[1:-1]  # a message is one line, whatever the key


_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d{0,59})(\.\d{1,60})?([eE][-+]?\d{1,4})?", re.ASCII)

# PyYAML follows YAML 1.1, in which `no` is false and 010 is octal.
_RESOLVER = yaml.resolver.Resolver()
_MISREAD = {"timestamp": "a date", "merge": "a merge of other values", "value": "a default value"}


def _plain(text: str) -> tuple[Any, str]:
    """The value that YAML gives unquoted text, and the problem with that ("" if people mean the same)."""
    kind = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]
    shown = quoted(text)
    if kind == "null":
        return None, ""
    if kind == "bool":
        value = text.lower() in ("true", "yes", "on")
        complaint = f"{shown} is read as {quoted(value)}; write {quoted(value)}, or put it in quotes"
        return value, "" if text.lower() in ("true", "false") else complaint
    if kind in ("int", "float"):
        return _number(text, whole=kind == "int")
    if kind == "str":
        if text == "inf":  # the word of a Limit for no limit
            return text, ""
        return text, f"{shown} is read as text, not as a number; {_as_number(text)}" if _is_number(text) else ""
    return text, f"{shown} is read as {_MISREAD.get(kind, kind)}; put it in quotes"


def _as_number(text: str) -> str:
    number = float(text)
    if not isfinite(number):
        return "put it in quotes"
    # A float below 2**53, about 9e15, holds every whole number exactly.
    shown = str(int(number)) if number.is_integer() and abs(number) < 1e15 else yaml.safe_dump(number).split()[0]
    return f"write {shown}, or put it in quotes"


def _number(text: str, *, whole: bool) -> tuple[Any, str]:
    shown = quoted(text)
    if len(text) > LONGEST_NUMBER:
        return 0, f"{shown} is a number of {len(text)} characters; expected at most {LONGEST_NUMBER}"
    if "_" in text:
        return 0, f"{shown} is a number with '_' in it; write {text.replace('_', '')}"
    if ":" in text:
        return 0, f"{shown} is read as a number to base 60; put it in quotes"
    if re.fullmatch("[-+]?0[0-7]+", text):
        return 0, f"{shown} is read as octal, {int(text, 8)}; write it without the leading 0"
    if text.lower().lstrip("+-") in (".inf", ".nan") or (not whole and not isfinite(float(text))):
        return 0, f"{shown} is not a finite number; expected a number such as 1.5"
    # Base 0 reads hexadecimal as YAML does.
    return (int(text, 0) if whole else float(text)), ""


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """Line, no path, and a plain message for a syntax error of PyYAML's parser."""
    # PyYAML has no error codes, so causes are recognised by its wording.
    mark, opened = error.problem_mark, error.context_mark
    line = mark.line + 1 if mark else 1
    start = opened.line + 1 if opened else line
    problem, context = error.problem or "", error.context or ""
    if mark and text[mark.index : mark.index + 1] == "\t":
        message = "a tab; write spaces instead"
    elif "mapping values are not allowed" in problem:
        message = (
            "a ':' cannot stand here; indent the line like its neighbours, or put text that contains ': ' in quotes"
        )
    elif "could not find expected ':'" in problem:
        line, message = start, "expected 'key: value'"
    elif "quoted scalar" in context and "end of stream" in problem:
        line, message = start, "a quote opens here and is never closed"
    elif "flow node" in context:
        message = "expected a value, or the end of what '[' or '{' opened before"
    elif "flow" in context:
        bracket = "{" if "mapping" in context else "["
        message = f"expected ',' or the end of the '{bracket}' opened on line {start}"
    elif "expected <block end>" in problem:
        message = (
            f"this line does not fit the block that starts on line {start}; expected the same indentation and form"
        )
    elif "cannot start any token" in problem:
        message = (
            f"a value cannot start with {quoted(text[mark.index : mark.index + 1] if mark else '')}; put it in quotes"
        )
    else:
        message = f"not valid YAML: {problem} {context}".rstrip()
    return line, "", message
