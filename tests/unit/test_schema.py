"""The JSON Schema of each kind of file takes every shipped file of that kind, and refuses what the readers refuse."""

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from archsim.files.shipped import found, shipped
from archsim.schema import schema_of

FOLDERS = {"design": "", "model": "models", "selection": "selections", "mapping": "mappings", "published": "published"}
FILES = [(kind, name) for kind, folder in FOLDERS.items() for name in shipped(folder)]


def validator(kind: str) -> Draft202012Validator:
    schema = schema_of(kind).model_json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def data_of(kind: str, name: str) -> Any:
    return copy.deepcopy(found(name, FOLDERS[kind], kind).data)


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_shipped_file_is_valid(kind: str, name: str) -> None:
    assert [f"{list(e.absolute_path)}: {e.message}" for e in validator(kind).iter_errors(data_of(kind, name))] == []


@pytest.mark.parametrize("kind", FOLDERS)
def test_an_unknown_key_is_not(kind: str) -> None:
    name = next(iter(shipped(FOLDERS[kind])))
    assert list(validator(kind).iter_errors({**data_of(kind, name), "colour": 3}))


def test_values_of_other_types_are_not() -> None:
    for path, wrong in (("bandwidth", 3), ("capacity", 17), ("latency_cycles", 0.5), ("count", "many")):
        data = data_of("design", "vrex8")
        data["units"]["dram"][path] = wrong
        assert list(validator("design").iter_errors(data)), path
