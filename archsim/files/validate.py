"""Checks a YAML document against a pydantic model and reports every problem with its line.

Knows the errors of pydantic and the form of our messages. Does not know designs, models or published numbers.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from archsim.errors import DesignError, InputError, quoted
from archsim.files.document import Document, message_at, path_below
from archsim.quantity import Written
from dataflow.errors import PathProblems

ModelT = TypeVar("ModelT", bound=BaseModel)


def validate(document: Document, model: type[ModelT], *, context: dict[str, Any] | None = None) -> ModelT:
    """The model instance that the document describes.

    Unions inside the model need a discriminator, such as `kind`, so that a message concerns the meant kind alone.

    Raises
    ------
    DesignError
        a key or value is not what the model takes; one problem per line of text, in the order of the file.
    """
    try:
        return model.model_validate(document.data, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
    placed = [(detail, _place(model, detail["loc"])) for detail in details]
    slips = {(place.parent, _slip(place, document)) for detail, place in placed if detail["type"] == "extra_forbidden"}
    lines: list[tuple[int, str]] = []
    for detail, place in placed:
        if detail["type"] == "missing" and (place.parent, place.key) in slips:
            continue  # an unknown key beside it says so already
        for at, where, message in _explain(detail, place, document):
            lines.append((document.line(at), message_at(document.path, document.line(at), where, message)))
    raise DesignError(list(dict.fromkeys(text for _, text in sorted(lines, key=lambda line: line[0]))))


@dataclass(frozen=True, slots=True)
class _Place:
    path: tuple[str, ...]
    holder: Any  # what holds the last key: a model class where the key is a field
    annotation: Any  # what the last key may be

    @property
    def parent(self) -> str:
        return ".".join(self.path[:-1])

    @property
    def key(self) -> str:
        return self.path[-1] if self.path else ""


def _place(model: type[BaseModel], loc: tuple[int | str, ...]) -> _Place:
    """Where a pydantic location is in the file; pydantic also names the union member that was taken."""
    path: list[str] = []
    holder: Any = None
    annotation: Any = model
    for step in loc:
        members = _members(annotation)
        if len(members) > 1:
            annotation = next(
                (kind for kind in members if step == getattr(kind, "__name__", None) or step in _kinds(kind)), Any
            )
        elif step != "[key]":  # marks an error in the key itself, whose name is the step before
            path.append(str(step))
            holder, annotation = members[0], _inside(members[0], step)
    return _Place(tuple(path), holder, annotation)


def _members(annotation: Any) -> list[Any]:
    """The members of a union, without None; for any other type that type alone."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) if part is not NoneType for member in _members(part)]
    return [annotation]


def _inside(annotation: Any, step: int | str) -> Any:
    """The type of the value under a key or an index of this type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found = _fields(annotation).get(str(step))
        return found.annotation if found else Any
    arguments = get_args(annotation) or (Any,)
    if get_origin(annotation) is tuple and isinstance(step, int) and Ellipsis not in arguments:
        return arguments[min(step, len(arguments) - 1)]
    return arguments[0] if isinstance(step, int) else arguments[-1]


def _fields(holder: Any) -> dict[str, FieldInfo]:
    """The fields of a model class under the names that a file uses; none for anything else."""
    fields = holder.model_fields if isinstance(holder, type) and issubclass(holder, BaseModel) else {}
    return {field.alias or name: field for name, field in fields.items()}


def _kinds(member: Any, name: str = "") -> list[str]:
    """Every value of the model class's Literal fields, or of the named one: tags by which a union knows the class."""
    literals = [f.annotation for key, f in _fields(member).items() if name in ("", key)]
    return [text for literal in literals if get_origin(literal) is Literal for text in get_args(literal)]


def _slip(place: _Place, document: Document) -> str | None:
    """The known key that an unknown one surely stands for, unless the file gives that key too."""
    # Above difflib's default of 0.6, so that a message guesses only when it is sure.
    alike = difflib.get_close_matches(place.key, _fields(place.holder), n=1, cutoff=0.75)
    return alike[0] if alike and path_below(place.parent, alike[0]) not in document.lines else None


EXPECTED = {
    "string_type": "text", "list_type": "a list", "tuple_type": "a list", "dict_type": "a mapping",
    "model_type": "a mapping", "model_attributes_type": "a mapping", "int_type": "a whole number such as 28",
    "int_parsing": "a whole number such as 28", "int_from_float": "a whole number such as 28",
    "float_type": "a number such as 1.5", "float_parsing": "a number such as 1.5", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false", "literal_error": "{expected}",
    "greater_than": "a number above {gt}", "greater_than_equal": "a number of {ge} or more",
    "less_than": "a number below {lt}", "less_than_equal": "a number of {le} or less",
}  # fmt: skip


def _explain(detail: ErrorDetails, place: _Place, document: Document) -> list[tuple[str, str, str]]:
    """For each problem in one pydantic error: the path whose line is meant, the path to show, and the message."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    here = ".".join(place.path)
    error = context.get("error")
    if isinstance(error, PathProblems):
        return [(path_below(here, path), path_below(here, path), message) for path, message in error.problems]
    if error is not None:
        problems = error.problems if isinstance(error, InputError) else (str(error),)
        return [(here, here, message) for message in problems]
    if kind == "missing":
        return [(place.parent, place.parent, f"missing key {place.key!r}{_example(place)}")]
    if kind == "extra_forbidden":
        slip, known = _slip(place, document), ", ".join(_fields(place.holder))
        advice = f"did you mean {slip!r}?" if slip else f"known keys: {known}"
        # The line is that of the key, the path that of its parent: the message itself names the key.
        return [(here, place.parent, f"unknown key {quoted(place.key)}; {advice}")]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return [_explain_kind(given, context["discriminator"].strip("'"), place)]
    return [(here, here, wrong_value(detail))]


def wrong_value(detail: ErrorDetails) -> str:
    """What pydantic finds wrong with a value, in the words of messages."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if "error" in context:
        return str(context["error"])
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind].format(**context)}, got {quoted(given)}"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, got {quoted(given)}"


def _explain_kind(given: Any, name: str, place: _Place) -> tuple[str, str, str]:
    here = ".".join(place.path)
    kinds = [kind for member in _members(place.annotation) for kind in _kinds(member, name)]
    known = f"{name}s are: {', '.join(kinds)}"
    if not isinstance(given, Mapping):
        return here, here, f"expected a mapping, got {quoted(given)}"
    if name not in given:
        return here, here, f"missing key {name!r}; {known}"
    alike = difflib.get_close_matches(str(given[name]), kinds, n=1, cutoff=0.75)
    advice = f"; did you mean {alike[0]!r}?" if alike else ""
    return f"{here}.{name}", here, f"unknown {name} {quoted(given[name])}; {known}{advice}"


def _example(place: _Place) -> str:
    """An example of the missing key, if its type has one."""
    found = _fields(place.holder).get(place.key)
    written = [entry for entry in (found.metadata if found else []) if isinstance(entry, Written)]
    return f"; write for example '{place.key}: {written[0].example}'" if written else ""
