"""The folder that a run leaves behind: summary, ops, the resolved design and a manifest. Same input, same bytes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from archsim.design.design import Design
from archsim.files.contents import content_hash
from archsim.files.document import write
from archsim.files.folder import MANIFEST, sha256
from archsim.files.json_text import json_text
from archsim.files.provenance import Sourced
from archsim.report.figures import Figures
from archsim.report.json import as_json
from archsim.report.table_file import csv_text
from archsim.report.tables import TABLES
from archsim.version import __version__
from dataflow.graph import Graph
from dataflow.models.model import Model

SUMMARY, DESIGN, SELECTION = "summary.json", "design.yaml", "selection.yaml"
PACKAGES = ("numpy", "numba", "simpy", "pydantic", "pint", "PyYAML")


def run_files(
    report: Figures,
    design: Design,
    *,
    model: Model | Graph,
    inputs: Mapping[str, str],
    asked: Mapping[str, Any] | None = None,
    extensions: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """summary.json, ops.csv, design.yaml, the options that are files, and manifest.json, each with its text.

    The manifest has hashes of everything that was read, with the changes by --set, and of everything that was written,
    and the seed of the keys that a selection ran on: nothing else is drawn. `inputs` are the names of what was read,
    `asked` is what the command line asked for, `extensions` are the files of --with and their hashes.
    """
    resolved = write(design.document.data)
    # Options that were read from a file of their own, such as a selection.
    read_options = {name: value for name, value in report.options.items() if isinstance(value, Sourced)}
    summary = as_json(report)
    files = {
        SUMMARY: _json({key: value for key, value in summary.items() if key != "ops"}),
        "ops.csv": csv_text(summary["ops"], TABLES["ops"].columns),
        DESIGN: resolved,
    }
    read = {"design": resolved, "model": model.model_dump_json() if isinstance(model, Model) else graph_text(model)}
    for name, value in read_options.items():
        files[f"{name}.yaml"] = read[name] = write(value.document.data)
        inputs = {name: value.document.data["name"], **inputs}
    named = {
        f"{name}.{key}": {"given": path, "sha256": content_hash(path)}
        for name, value in {**read_options, "design": design}.items()
        for key, path in value.files.items()
    }
    versions = {"archsim": __version__, **{name: version(name) for name in PACKAGES}}
    manifest = {
        "inputs": {
            **{noun: {"given": inputs[noun], "sha256": sha256(text.encode())} for noun, text in read.items()}, **named,
        },
        "outputs": {name: {"sha256": sha256(text.encode())} for name, text in files.items()},
        "versions": {**versions, "python": platform.python_version()},
        "engine": report.engine,
        "seed": next((value.seed for value in read_options.values() if value.seed is not None), None),
        **({"with": dict(extensions)} if extensions else {}),
        **({"asked": dict(asked)} if asked else {}),
    }
    return files | {MANIFEST: _json(manifest)}


def graph_text(graph: Graph) -> str:
    """The whole graph as text; equal graphs give equal texts."""
    tensors = [[t.name, t.shape, [t.format.name, str(t.format.bits), t.format.region], t.role]
               for t in graph.tensors.values()]  # fmt: skip
    ops = [[op.name, op.inputs, str(op.work), {name: str(value) for name, value in op.attributes.items()}]
           for op in graph.ops.values()]  # fmt: skip
    return json_text([graph.name, graph.phase.title(), tensors, ops, graph.approximated])


def _json(data: Any) -> str:
    return json_text(data) + "\n"
