"""What a YAML file may hold: every key of a file or a kind of unit, with unit, example, default and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from archsim.design.built import Built
from archsim.design.design import Design, Link
from archsim.design.energy import Energy
from archsim.design.placement import PlaceRule
from archsim.design.resources import Resources
from archsim.design.silicon import Silicon
from archsim.design.technology import Technology
from archsim.errors import InputError, quoted
from archsim.files.data_folder import data_folder, shipped
from archsim.files.provenance import Fitted
from archsim.mapping import Entry, Fused, Mapping, Room
from archsim.published import Published
from archsim.quantity import written_in
from archsim.selection.selection import Selection
from archsim.sweep_file import SweepFile
from archsim.units import KINDS
from dataflow.errors import guess
from dataflow.models.model import Model
from dataflow.models.vision import Vision


def schema_of(path: str | None) -> type[BaseModel]:
    """The pydantic model behind a path: a design without one, a model, published, a kind, units.<kind>, links …"""
    known, name = places(), path or "design"
    if (kind := name.removeprefix("units.")) in KINDS:
        name = kind
    if name not in known:
        raise InputError(f"no schema of {quoted(path)}; {_way_to(name, known)}")
    return known[name]


def _way_to(path: str, known: dict[str, type[BaseModel]]) -> str:
    """What to ask for in place of a path that has no schema of its own."""
    of, _, rest = path.partition(".")
    kind = rest.partition(".")[0]
    if of == "units" and kind in KINDS:
        of, path = kind, rest
    if of == "units":
        kinds = guess(kind, KINDS, otherwise="kinds are")
        return f"units.KIND takes a kind of unit, as designs give by `kind`; {kinds}"
    place = next((place for place in sorted(known, key=len, reverse=True) if path.startswith(f"{place}.")), "design")
    keys = [field.alias or name for name, field in known[place].model_fields.items()]
    key = (path.removeprefix(f"{place}.") if place != "design" or of == "design" else path).partition(".")[0]
    if key in keys:
        return f"'{key}' is a key of '{place}', which `archsim schema {place}` lists"
    if "." in path:
        return f"'{place}' has no key {quoted(key)}; {guess(key, keys, otherwise='its keys are')}"
    return guess(path, known, otherwise="there are")


def places() -> dict[str, type[BaseModel]]:
    """What a schema can be of, by its name: files, their parts, and the kinds of units."""
    return {
        "design": Design, "model": Model, "vision": Vision, "selection": Selection, "mapping": Mapping,
        "mapping.ops": Entry, "mapping.fuse": Fused, "mapping.room": Room, "published": Published,
        "technology": Technology, "sweep": SweepFile,
        "links": Link, "place": PlaceRule, "energy": Energy, "resources": Resources, "built": Built, "silicon": Silicon,
        "fitted": Fitted, **KINDS,
    }  # fmt: skip


def json_schema(path: str | None) -> dict[str, Any]:
    """The same for editors: JSON Schema, in the draft that they read. Units are told apart by `kind`."""
    tidy = _tidied(schema_of(path).model_json_schema())
    found = _or_null(tidy, tidy.get("$defs", {}))
    if schema_of(path) is Design:
        # The reader takes them one by one, to tell what is left out; a file should write them as it writes the parts.
        built = found["properties"]["built"]["properties"]
        for place in ("units", "links"):
            built[place]["additionalProperties"] = found["properties"][place]["additionalProperties"]
    needed = set(_references(found))
    parts = {name: part for name, part in found.get("$defs", {}).items() if f"#/$defs/{name}" in needed}
    told = {**found, "$defs": parts} if parts else _without(found, "$defs")
    return {"$schema": "http://json-schema.org/draft-07/schema#", **told}


def _tidied(schema: Any) -> Any:
    """The schema in one form, whichever release of pydantic gave it, and with a case for each kind of a union.

    Of a case the editor knows which keys are meant; of `oneOf` it can only say that nothing fits.
    """
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "discriminator" in schema:
        told = {key: text for key, text in schema.items() if key == "description"}
        return {**told, **_cases(schema["discriminator"])}
    tidy: dict[str, Any] = {}
    for word, value in schema.items():
        if word in ("properties", "$defs"):  # their keys are names, not words of the schema
            tidy[word] = {name: _tidied(inside) for name, inside in value.items()}
        elif word in ("default", "examples", "enum", "const"):
            tidy[word] = value
        elif word != "title" and (word, value) != ("additionalProperties", True):
            tidy[word] = _tidied(value)
    return {"const": tidy.pop("const"), **_without(tidy, "type", "enum")} if "const" in tidy else tidy


def _or_null(schema: Any, parts: dict[str, Any]) -> Any:
    """The schema with one type, of its own or nothing, where it has a choice of a type and of nothing.

    Of a choice a checker says that the whole fits nothing; of one type it says which value inside is wrong.
    """
    if isinstance(schema, list):
        return [_or_null(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    match schema.get("anyOf"):
        case [dict(one), {"type": "null"}]:
            one = parts[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
            if isinstance(one.get("type"), str):
                words = {"enum": [*one["enum"], None]} if "enum" in one else {}
                schema = {**one, **_without(schema, "anyOf"), **words, "type": [one["type"], "null"]}
    return {word: _or_null(value, parts) for word, value in schema.items()}


def _references(schema: Any) -> Iterator[str]:
    """Every $ref of a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)


def _without(schema: dict[str, Any], *words: str) -> dict[str, Any]:
    return {word: value for word, value in schema.items() if word not in words}


def _cases(discriminator: dict[str, Any]) -> dict[str, Any]:
    key, kinds = discriminator["propertyName"], discriminator["mapping"]
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": list(kinds)}},
        "allOf": [
            {"if": {"properties": {key: {"const": kind}}, "required": [key]}, "then": {"$ref": place}}
            for kind, place in kinds.items()
        ],
    }


def schema_lines(path: str | None) -> list[str]:
    """Every key of a file or kind: unit, example, default and meaning."""
    model = schema_of(path)
    meaning = (model.__doc__ or "").partition("\n")[0]
    lines = [f"{path or 'design'}: {meaning}"]
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        written = written_in(field.annotation, field.metadata)
        unit = f"{written.unit}, such as {written.example}" if written else _plain(field.annotation)
        # A name of a table that users extend is a str, whose names only the schema knows.
        if field.annotation is str:
            unit = " | ".join(properties[field.alias or name].get("enum", [unit]))
        default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
        lines.append(f"  {field.alias or name:<24} {unit} ({default}): {field.description or 'what this is'}")
    if model is Design:
        lines.append(f"kinds of units: {', '.join(KINDS)}; `archsim schema KIND` lists the keys of one")
        lines.append(f"shipped files: {len(shipped())} designs under {data_folder().name}/")
    return lines


def _plain(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join("null" if one is NoneType else _plain(one) for one in get_args(annotation))
    if get_origin(annotation) is not None:
        return str(annotation).replace("typing.", "").split("[")[0]
    return getattr(annotation, "__name__", str(annotation))
