"""Run: one side of a comparison, from a report, from a folder that a run wrote, or from the JSON that it printed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from archsim.errors import DesignError, InputError, quoted
from archsim.files.document import Document, file_text, read_text
from archsim.files.folder import MANIFEST, sha256
from archsim.files.provenance import Sourced
from archsim.files.validate import validate
from archsim.report.difference.summary import Read, Summary, summary_of
from archsim.report.figures import Figures
from archsim.report.folder import DESIGN, SELECTION, SUMMARY
from archsim.report.json import as_json

LARGEST_JSON = 256 * 2**20  # bytes; reports of many ops have some MiB
WRITE = "name a folder that `archsim simulate ... --output DIR` wrote"


class _Input(Read):
    given: str
    sha256: str | None


class _Output(Read):
    sha256: str


class _Manifest(Read):
    inputs: dict[str, _Input]
    outputs: dict[str, _Output]
    versions: dict[str, str]
    asked: dict[str, Any] | None = None
    extensions: dict[str, str] = Field(default_factory=dict, alias="with")


@dataclass(frozen=True, slots=True)
class Run:
    """What went into a run, by what it is, and what came out.

    `asked` is what the command line asked for and `extensions` the files of --with, where they are known.
    """

    name: str
    inputs: Mapping[str, Any]
    summary: Summary
    asked: Mapping[str, Any] | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)


def run_of_report(name: str, report: Figures) -> Run:
    """The run of a report, with the whole design where it was run here."""
    summary = summary_of(as_json(report), path=name)
    chosen = report.options.get("selection")
    data = {"selection": chosen.document.data} if isinstance(chosen, Sourced) else {}
    if report.origin is not None:
        data["design"] = report.origin.design.document.data
    return Run(name, {**summary.inputs(None), **data}, summary)


def run_of_files(name: str, files: Mapping[str, str]) -> Run:
    """The run that wrote these files. Raises DesignError where they are not those of a run, or not as it wrote them."""
    told = json_object(files[MANIFEST], path=f"{name}/{MANIFEST}")
    manifest = validate(Document(f"{name}/{MANIFEST}", told), _Manifest)
    changed = [
        file for file, text in files.items()
        if file != MANIFEST and sha256(text.encode()) != getattr(manifest.outputs.get(file), "sha256", None)
    ]  # fmt: skip
    if changed:
        problem = f"is not as the run wrote it, says {MANIFEST}; run it again"
        raise DesignError([f"{name}/{file}: {problem}" for file in changed])
    summary = summary_of(json_object(files[SUMMARY], path=f"{name}/{SUMMARY}"), path=f"{name}/{SUMMARY}")
    asked, extensions = manifest.asked, manifest.extensions
    inputs = summary.inputs(asked) | {"versions": manifest.versions, "design": _data(name, DESIGN, files)}
    if SELECTION in files:
        inputs["selection"] = _data(name, SELECTION, files)
    files_of = {what: one.sha256 for what, one in manifest.inputs.items() if "." in what or what == "model"}
    return Run(name, {**inputs, "contents": files_of, "with": extensions}, summary, asked, extensions)


def _data(name: str, file: str, files: Mapping[str, str]) -> dict[str, Any]:
    return read_text(files[file], path=f"{name}/{file}").data


def run_of_folder(given: str) -> Run:
    """The run that wrote this folder. Raises DesignError as run_of_files, and where it is no folder of a run."""
    missing = [name for name in (SUMMARY, MANIFEST, DESIGN) if not Path(given, name).is_file()]
    if missing:
        raise DesignError(f"{given}: is no folder of a run: it lacks {', '.join(missing)}; {WRITE}")
    names = [name for name in (SUMMARY, MANIFEST, DESIGN, SELECTION) if Path(given, name).is_file()]
    texts = {name: file_text(os.path.join(given, name), form="a file of a run", most=LARGEST_JSON)[1] for name in names}
    return run_of_files(given, texts)


def run_of_json(name: str, data: dict[str, Any]) -> Run:
    """The run whose `simulate --json` printed this. Raises DesignError where it is no report."""
    summary = summary_of(data, path=name)
    return Run(name, summary.inputs(summary.asked), summary, summary.asked)


def json_object(text: str, *, path: str) -> dict[str, Any]:
    """The object that JSON text holds. Raises DesignError."""
    try:
        data = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise DesignError(f"{path}:{error.lineno}: is not valid JSON: {error.msg}; run it again") from None
    except (ValueError, RecursionError) as error:
        told = "it is nested too deep" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise DesignError(f"{path}: is not valid JSON: {told}; run it again") from None
    if not isinstance(data, dict):
        raise DesignError(f"{path}: expected an object of JSON, got {quoted(data)}; run it again")
    return data


def _no_number(word: str) -> Any:
    raise InputError(f"{word} is no number")
