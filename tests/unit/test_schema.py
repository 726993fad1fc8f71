"""The JSON Schema of each kind of file takes every shipped file of that kind, and refuses what the readers refuse."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from archsim.design.design import Design
from archsim.design.technology import Technology
from archsim.errors import InputError
from archsim.files.data_folder import NOUNS, data_folder, shipped
from archsim.files.document import read_text, write
from archsim.files.json_text import json_text
from archsim.files.shipped import found
from archsim.files.validate import validate
from archsim.mapping import Mapping
from archsim.published import Published
from archsim.schema import json_schema
from archsim.selection.selection import Selection
from dataflow.models.model import Model

ERRORS = Path(__file__).parents[1] / "errors"
FILES = [(kind, name) for kind, folder in NOUNS.items() for name in shipped(folder)]
# Bad files of tests/errors whose mistake is one of form: a key, a type, a word, a whole number that is too small.
FORM = {
    "bare_clock": "design", "fitted_without_point": "design", "mapping_block": "design", "missing_key": "design",
    "missing_kind": "design", "misspelt_key": "design", "model_format": "model", "model_fraction": "model",
    "model_true_as_number": "model", "negative_latency": "design", "neither": "mapping",
    "neither_mapper_nor_mapping": "design", "no_as_false": "design", "number_as_text": "design",
    "published_op": "published", "selection_misspelt": "selection", "selection_values": "selection",
    "several": "design", "sweep_of_unknown_keys": "sweep", "unknown_key": "design", "unknown_kind": "design",
    "wrong_type": "design", "zero_count": "design", "zero_depth": "design",
}  # fmt: skip


def validator(kind: str) -> Draft7Validator:
    schema = json_schema(kind)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def data_of(kind: str, name: str) -> Any:
    return copy.deepcopy(found(name, NOUNS[kind], kind).data)


def problems(kind: str, data: Any) -> list[str]:
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator(kind).iter_errors(data)]


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_shipped_file_is_valid(kind: str, name: str) -> None:
    assert problems(kind, data_of(kind, name)) == []


@pytest.mark.parametrize("kind", NOUNS)
def test_an_unknown_key_and_a_missing_one_are_not(kind: str) -> None:
    data = data_of(kind, next(iter(shipped(NOUNS[kind]))))
    assert problems(kind, {**data, "colour": 3})
    assert problems(kind, {key: value for key, value in data.items() if key != "source"})


def test_values_of_other_types_are_not() -> None:
    for path, wrong in (("bandwidth", 3), ("capacity", 17), ("latency_cycles", 0.5), ("count", "many")):
        data = data_of("design", "vrex8")
        data["units"]["dram"][path] = wrong
        assert problems("design", data), path


@pytest.mark.parametrize(("name", "kind"), FORM.items())
def test_a_file_with_a_mistake_of_form_is_not(name: str, kind: str) -> None:
    assert problems(kind, yaml.safe_load((ERRORS / f"{name}.yaml").read_text()))


def test_a_problem_of_a_unit_is_told_by_its_kind_alone() -> None:
    data = data_of("design", "toy")
    data["units"]["mm"]["macs"] = 1
    (told,) = problems("design", data)
    assert told.startswith("units.mm: Additional properties are not allowed ('macs' was unexpected)")
    data["units"]["mm"] = {"kind": "matmul_aray"}
    (told,) = problems("design", data)
    assert told.startswith("units.mm.kind: 'matmul_aray' is not one of")


def test_what_the_reader_takes_in_two_forms_is_valid_in_both() -> None:
    data = data_of("mapping", "gemm_4096")
    assert Mapping.read(found("gemm_4096", "mappings", "mapping")).fuse == ()
    for value in ("none", [], [{"ops": ["a", "b"], "rows": 4}]):
        assert problems("mapping", {**data, "fuse": value}) == []
    assert problems("mapping", {**data, "fuse": "all"})


def test_a_sweep_is_valid() -> None:
    data = {"design": "toy", "model": "toy_llm", "phase": "decode", "over": {"context": [3, 4]}}
    assert problems("sweep", data) == []
    assert problems("sweep", {**data, "points": "many"})


@pytest.mark.parametrize("kind", [*NOUNS, "sweep"])
def test_editors_read_the_schema_that_the_code_gives(kind: str) -> None:
    """Write it anew by `archsim schema KIND --json > designs/schemas/KIND.json`."""
    assert (data_folder() / "schemas" / f"{kind}.json").read_text() == json_text(json_schema(kind)) + "\n"


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_shipped_file_names_its_schema_in_its_first_line(kind: str, name: str) -> None:
    path = shipped(NOUNS[kind])[name]
    said, _, named = path.read_text().partition("\n")[0].partition("=")
    assert said == "# yaml-language-server: $schema"
    assert (path.parent / named).resolve() == (data_folder() / "schemas" / f"{kind}.json").resolve()


READERS: dict[str, Any] = {
    "design": Design.read, "mapping": Mapping.read, "selection": Selection.read,
    "published": lambda document: validate(document, Published), "model": lambda document: validate(document, Model),
    "technology": lambda document: validate(document, Technology),
}  # fmt: skip
# A wrong value inside a part that a file may leave out, or that may be nothing.
NESTED = [
    ("design", "tellme_kv260", "energy.waiting", 2), ("design", "tellme_kv260", "energy.idle", "1 J"),
    ("design", "tellme_kv260", "energy.cycle.lut", "-1 pJ"), ("design", "tellme_kv260", "clock", "250 Mhz"),
    ("design", "tellme_kv260", "resources.budget.lut", -1), ("design", "vrex8", "silicon.cores", 0),
    ("design", "vrex8", "units.dram.bandwidth", "19.2 GB"), ("design", "a100", "mapping.buffers", 0),
    ("model", "videollm_online_8b", "vision.layers", 0), ("published", "sn40l", "points.decode_bytes.batch", 0),
    ("selection", "resv_published", "stream.temporal", 2), ("technology", "7nm", "flop", "1 W"),
    ("mapping", "gemm_4096", "ops.gemm.buffers", 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "path", "wrong"), NESTED)
def test_a_wrong_value_is_told_at_its_own_place(kind: str, name: str, path: str, wrong: object) -> None:
    data = data_of(kind, name)
    *above, key = path.split(".")
    holder = data
    for step in above:
        holder = holder.setdefault(step, {})
    holder[key] = wrong
    assert [told.partition(": ")[0] for told in problems(kind, data)] == [path]
    with pytest.raises(InputError) as refused:
        READERS[kind](read_text(write(data), path="f.yaml"))
    assert [told.split(": ")[1] for told in refused.value.problems] == [path]


def test_what_may_be_left_out_may_be_nothing() -> None:
    data = data_of("design", "vrex8")
    assert problems("design", {**data, "silicon": None, "resources": None, "energy": None}) == []
    assert problems("design", {**data, "silicon": 3}) == ["silicon: 3 is not of type 'object', 'null'"]


def test_editors_check_what_was_built_as_they_check_the_parts():
    data = yaml.safe_load((data_folder() / "tellme_kv260.yaml").read_text())
    for part, wrong, where in (
        ("units", {"norm": {"kind": "norm", "lanes": 0}}, ["units", "norm", "lanes"]),
        ("units", {"norm": {"kind": "nrom", "lanes": 16}}, ["units", "norm", "kind"]),
        ("links", {"int8": {**data["links"]["int8"], "depth": 0}}, ["links", "int8", "depth"]),
    ):
        built = {**data["built"], part: {**data["built"][part], **wrong}}
        told = [list(error.absolute_path) for error in validator("design").iter_errors({**data, "built": built})]
        assert ["built", *where] in told
