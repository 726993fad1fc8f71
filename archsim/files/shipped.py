"""The shipped YAML files, found by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from archsim.errors import DesignError, quoted
from archsim.files.data_folder import data_folder, shipped
from archsim.files.document import Document, read
from archsim.files.edits import edited
from archsim.files.validate import validate
from dataflow.errors import guess
from dataflow.models.model import Model


def found(name: str, folder: str, noun: str) -> Document:
    """The document with a shipped name or at a path. Raises DesignError when there is neither."""
    if not isinstance(name, str):
        raise DesignError(f"{noun}: expected a shipped name or a path, got {quoted(name)}")
    known = shipped(folder)
    if name in known:
        path = known[name]
        # Messages name the file as in a checkout, wherever the package is installed.
        short = "/".join(path.parts[path.parts.index("designs") :]) if "designs" in path.parts else str(path)
        document = read(path)
        return Document(short, document.data, document.lines, name)
    # Messages name shipped files as in a checkout; what they name can be given back anywhere.
    top, _, rest = name.partition("/")
    if top == "designs" and not os.path.exists(name) and (data_folder() / rest).is_file():
        document = read(data_folder() / rest)
        return Document(name, document.data, document.lines, name)
    # Unlike Path.exists, which raises for a name that no file can have.
    if name.endswith((".yaml", ".yml", ".json")) or os.path.exists(name):
        return read(name)
    raise DesignError(f"no {noun} {quoted(name)}; {guess(name, known, otherwise='shipped are')} (a path ends in .yaml)")


def load_model(name: str) -> Model:
    """The model with a shipped name or at a path. Raises DesignError with every problem of the file."""
    return validate(found(name, "models", "model"), Model)


def model_with(model: Model, changes: Mapping[str, Any]) -> Model:
    """The model with the values at these dotted paths replaced. Raises DesignError as load_model."""
    written = Document(f"model '{model.name}'", model.model_dump(exclude_none=True))
    return validate(edited(written, changes, opens=0), Model)
