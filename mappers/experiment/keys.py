"""The key of a point: a hash of everything that its figures depend on, so that a store knows what it has.

That is the design, the model, the phases, selection, mapping, options and engine, the contents of recordings and of the
files of --with, and the code of archsim itself. Of YAML files counts what they say: neither the order of keys nor
comments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping as Entries
from math import isfinite
from typing import Any

import numpy as np

from archsim.errors import InputError, quoted
from archsim.files.contents import code_hash, content_hash
from archsim.files.json_text import json_line
from archsim.files.provenance import Sourced
from archsim.files.shipped import shipped
from archsim.mapping import load_mapping
from archsim.report.folder import graph_text
from archsim.selection.selection import load_selection
from dataflow.graph import Graph
from mappers.experiment.request import SELECTION_PREFIX, SweepRequest
from mappers.experiment.run import SELECTION
from mappers.extend import FILES, OWNERS
from mappers.mapper import Mapper
from mappers.registry import MAPPING

CODE = "the code of archsim"
TECHNOLOGY = "technology"  # of a design, names a file
RECORDINGS = ("recording", "recorded_selection")  # keys of a selection that name files
ORDERED = ("ops",)  # keys whose entries have an order: of a mapping's entries the first that names an op counts


class Keys:
    """The keys of the points of a request."""

    def __init__(self, request: SweepRequest) -> None:
        self.request = request
        self.inputs = inputs_of(request)
        self.base = hashed(self.inputs)
        self._read: dict[tuple[str, str], Sourced] = {}

    def check(self) -> None:
        """Raises InputError where code has no contents that could be hashed."""
        without = [f"{what} '{name}'" for what, owners in OWNERS.items() for name, owner in owners.items()
                   if owner != "archsim" and owner not in FILES]  # fmt: skip
        if without:
            told = "added by a call of extend, and a store must know the code that a row stands for"
            raise InputError(f"store: {', '.join(without)}: {told}; put it into a file and load that with --with FILE")

    def opened(self, settings: Entries[str, Any]) -> dict[str, Any]:
        """The settings with files that they name as objects, read once: all points of a sweep run the same contents."""
        return {path: self._opened(path, value) for path, value in settings.items()}

    def of(self, opened: Entries[str, Any]) -> str:
        """The key of the point with these settings, as `opened` gives them."""
        said = {path: canonical({path.rpartition(".")[2]: value}) for path, value in opened.items()}
        return hashed([self.base, said, self._recordings(opened)])

    def _opened(self, path: str, value: Any) -> Any:
        loads: dict[str, Any] = {SELECTION: load_selection, MAPPING: load_mapping}
        if path not in loads or not isinstance(value, str):
            return value
        if (path, value) not in self._read:
            self._read[path, value] = loads[path](value)
        return self._read[path, value]

    def _recordings(self, opened: Entries[str, Any]) -> dict[str, str | None]:
        """The contents of the files that the design or any selection of the point names, by their paths."""
        request = self.request
        of_mapper = request.mapper.options().values() if isinstance(request.mapper, Mapper) else ()
        objects = (request.design, request.selection, *request.options.values(), *of_mapper, *opened.values())
        files = [path for one in objects if isinstance(one, Sourced) for path in one.files.values()]
        files += [path for name in RECORDINGS if isinstance(path := opened.get(SELECTION_PREFIX + name), str)]
        if isinstance(name := opened.get(TECHNOLOGY), str):
            files.append(str(shipped("technologies").get(name, name)))
        return {path: content_hash(path) for path in files}


def inputs_of(request: SweepRequest) -> dict[str, str]:
    """The hash of each input that all points share, by its name."""
    model, mapper = request.model, request.mapper
    said: dict[str, Any] = {
        "design": request.design,
        "model": graph_text(model) if isinstance(model, Graph) else model.model_dump(),
        "phases": dict(request.phases),
        SELECTION: request.selection,
        MAPPING: request.mapping,
        "options": dict(request.options),
        "mapper": [mapper.name, dict(mapper.options())] if isinstance(mapper, Mapper) else mapper,
        "engine": request.engine,
        "with": sorted(FILES.values()),
        CODE: [code_hash(), np.__version__],  # numpy draws the keys of selections
    }
    return {name: hashed(canonical(value)) for name, value in said.items()}


def hashed(data: Any) -> str:
    """The SHA-256 of plain data."""
    return hashlib.sha256(json_line(data).encode()).hexdigest()


def canonical(value: Any) -> Any:
    """The value as plain data that JSON has; equal values give equal data, and 1, 1.0 and true differ."""
    if isinstance(value, int) and value.bit_length() > 200:
        return hex(value)  # Python writes no ints of more than 4,300 digits in tens
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, Sourced):
        return canonical(value.document.data)
    if isinstance(value, Entries):
        said = {str(key): canonical(inside) for key, inside in value.items()}
        return {key: [*one.items()] if key in ORDERED and isinstance(one, dict) else one for key, one in said.items()}
    if isinstance(value, list | tuple):
        return [canonical(inside) for inside in value]
    return f"{type(value).__name__} {quoted(value) if isinstance(value, float) else value}"
