"""A SCALE-Sim configuration as a design: its array alone, on ideal memory.

Reads the keys of versions 2 and 3. What does not change the cycles of the array is said to be left out; what would
change them is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archsim.design.design import Design
from archsim.errors import DesignError
from archsim.files.document import Document, file_text, given_again
from archsim.importers.extent import WHOLE, extent
from archsim.importers.sections import Entry, Sections, read_sections
from dataflow.errors import quoted, shortened
from dataflow.name import LONGEST_NAME

GENERAL, ARRAY, RUN, LAYOUT, SPARSITY = "general", "architecture_presets", "run_presets", "layout", "sparsity"
ROWS, COLUMNS, DATAFLOW, BANDWIDTH = "ArrayHeight", "ArrayWidth", "Dataflow", "Bandwidth"
NAME, INTERFACE, TRACE, SPARSE = "run_name", "InterfaceBandwidth", "UseRamulatorTrace", "SparsitySupport"
KNOWN = {
    GENERAL: (NAME,),
    ARRAY: (
        ROWS, COLUMNS, "IfmapSramSzkB", "FilterSramSzkB", "OfmapSramSzkB", "IfmapOffset", "FilterOffset", "OfmapOffset",
        BANDWIDTH, DATAFLOW, "MemoryBanks", "ReadRequestBuffer", "WriteRequestBuffer",
    ),
    RUN: (INTERFACE, TRACE),
    LAYOUT: None,  # of version 3: switches, and numbers that have no effect while these are off
    SPARSITY: None,
}  # fmt: skip
DATAFLOWS = {"os": "output_stationary", "ws": "weight_stationary", "is": "input_stationary"}
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
CALCULATED, AS_GIVEN = "CALC", "USER"

MOST_TOLD = 16  # entries in a sentence of a report; more than a section of ours has
CLOCK = "the file gives no clock, and SCALE-Sim counts cycles; 1 GHz makes a nanosecond of each"
IDEAL = "memory is ideal, as in SCALE-Sim's cycles without stalls"
PATHS = {
    "name": (GENERAL, NAME), "units.array.rows": (ARRAY, ROWS), "units.array.columns": (ARRAY, COLUMNS),
    "units.array.dataflow": (ARRAY, DATAFLOW),
}  # fmt: skip


def scalesim_design(path: str) -> Design:
    """The design that a SCALE-Sim configuration describes. Raises DesignError with every problem of the file."""
    shown, text = file_text(path, form="a SCALE-Sim configuration")
    file = read_sections(text, path=shown, known=KNOWN)
    data = {
        "name": _name(file, Path(path).stem),
        "source": f"the SCALE-Sim configuration {shown}",
        "clock": "1 GHz",
        "mapping": {"order": "time"},
        "units": {"array": {"kind": "array", **_array(file), "folds": "serial"}},
        "paths": {"array": []},
        "approximated": [*_left_out(file)],
        "assumed": {"clock": CLOCK},
    }
    if file.problems:
        raise DesignError(file.messages())
    lines = {path: entry.line for path, place in PATHS.items() if (entry := file.find(*place))}
    return Design.read(Document(shown, data, lines, given_again(path)))


def _name(file: Sections, otherwise: str) -> str:
    entry = file.find(GENERAL, NAME)
    if entry is not None and len(entry.value) > LONGEST_NAME:
        told = f"expected a name of 1 to {LONGEST_NAME} characters, got {quoted(entry.value)}"
        file.refuse(entry.line, f"[{GENERAL}] {NAME}: {told}")
    return entry.value if entry else otherwise


def _array(file: Sections) -> dict[str, Any]:
    """Rows, columns and dataflow of the array; stand-ins where the file has a problem there."""
    if ARRAY not in file.lines:
        file.refuse(1, f"missing section [{ARRAY}]; it has {ROWS}, {COLUMNS} and {DATAFLOW}")
        return {}
    found = {}
    for key, example in ((ROWS, "32"), (COLUMNS, "32"), (DATAFLOW, "ws")):
        entry = file.find(ARRAY, key)
        if entry is not None:
            found[key] = entry
        elif not any(f"did you mean '{key}'?" in told for _, told in file.problems):  # which says it already
            file.refuse(file.lines[ARRAY], f"[{ARRAY}]: missing key '{key}'; write for example '{key}: {example}'")
    for entry in found.values():
        if entry.key != DATAFLOW and extent(entry.value) is None:
            _refuse(file, entry, WHOLE)
        if entry.key == DATAFLOW and entry.value not in DATAFLOWS:
            # SCALE-Sim runs it as os, and says nothing.
            _refuse(file, entry, "os, ws or is")
    return {
        "rows": extent(found[ROWS].value) if ROWS in found else 1,
        "columns": extent(found[COLUMNS].value) if COLUMNS in found else 1,
        "dataflow": DATAFLOWS.get(found[DATAFLOW].value if DATAFLOW in found else ""),
    }


def _refuse(file: Sections, entry: Entry, expected: str) -> None:
    file.refuse(entry.line, f"[{entry.section}] {entry.key}: expected {expected}, got {quoted(entry.value)}")


def _left_out(file: Sections) -> Iterator[str]:
    """What of the file is not modelled, a sentence each; what may not be left out becomes a problem."""
    interface, trace = (file.find(RUN, key) for key in (INTERFACE, TRACE))
    if interface is not None and interface.value not in (CALCULATED, AS_GIVEN):
        _refuse(file, interface, f"{CALCULATED} or {AS_GIVEN}")
    by_bandwidth = interface is not None and interface.value == AS_GIVEN
    stalling = [interface] if interface is not None and by_bandwidth else []
    if trace is not None and _switch(file, trace):
        stalling.append(trace)

    memory = [entry for entry in file.of(ARRAY) if entry.key not in (ROWS, COLUMNS, DATAFLOW)]
    memory += [entry for entry in file.of(RUN) if entry not in stalling]
    yield IDEAL + (f"; not modelled: {_told(memory)}" if memory else "")
    if stalling:
        yield f"{_told(stalling)}: stalls that SCALE-Sim counts so are not modelled; the cycles are those without them"

    sparse = file.find(SPARSITY, SPARSE)
    if sparse is not None and _switch(file, sparse):
        _refuse(file, sparse, f"{NO[0]}, because sparse products are not modelled")
    layouts = [entry for entry in file.of(LAYOUT) if _is_on(entry)]
    if layouts and by_bandwidth:
        for entry in layouts:
            _refuse(file, entry, f"{NO[0]}, because conflicts in banks are not modelled; or {INTERFACE}: {CALCULATED}")
    elif layouts:
        yield f"{_told(layouts)}: layouts of the SRAMs are not modelled"
    others = [entry for entry in file.of(SPARSITY) if entry.key.lower() != SPARSE.lower() and _is_on(entry)]
    if others:
        yield f"{_told(others)}: without effect, because {SPARSE} is off"


def _told(entries: list[Entry]) -> str:
    """The entries as a report names them."""
    more = f" and {len(entries) - MOST_TOLD} more" if len(entries) > MOST_TOLD else ""
    return ", ".join(f"{entry.key} {shortened(entry.value)}" for entry in entries[:MOST_TOLD]) + more


def _switch(file: Sections, entry: Entry) -> bool:
    """True where the entry is a switch that is on."""
    if entry.value.lower() not in (*YES, *NO):
        _refuse(file, entry, "true or false")
    return entry.value.lower() in YES


def _is_on(entry: Entry) -> bool:
    """True for a switch that is on; 1 is a number unless the key is known to be a switch."""
    return entry.value.lower() in YES[:-1] or (entry.value == YES[-1] and "custom" in entry.key.lower())
