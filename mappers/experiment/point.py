"""One point of a sweep: its row, whatever becomes of it. Knows how settings become runs; not which points there are."""

from __future__ import annotations

import logging
from collections.abc import Mapping as Entries
from typing import Any

from archsim.design.design import Design
from archsim.errors import Deadlock, InputError
from archsim.files.shipped import model_with
from archsim.mapping import load_mapping
from archsim.report.report import Report
from archsim.report.rows.row import Row, figures_of, plain_value, resources_of
from archsim.selection.selection import load_selection
from dataflow.graph import Graph
from dataflow.models.phases import phase_named
from mappers.experiment.request import DESIGN, MODEL, OPTION, SweepRequest
from mappers.experiment.run import SELECTION, run, with_mapping_edited
from mappers.registry import MAPPING, chosen_mapper


def row_of(request: SweepRequest, settings: Entries[str, Any]) -> Row:
    """The row of the point with these settings: figures, or the reason why there are none."""
    try:
        design = _design(request, settings)
        reports = _reports(request, settings, design)
        figures = {
            f"{label}.{name}" if label else name: value
            for label, report in reports.items()
            for name, value in figures_of(report).items()
        }
        caveats = tuple(dict.fromkeys(told for report in reports.values() for told in report.caveats))
        return Row(settings, {**figures, **resources_of(design)}, caveats)
    except Deadlock as problem:
        return Row(settings, status="deadlock", problem=str(problem))
    except InputError as problem:
        return Row(settings, status="refused", problem=str(problem))
    except Exception as fault:
        shown = {path: plain_value(value) for path, value in settings.items()}
        logging.getLogger("archsim").exception(f"internal fault at {shown}")
        return Row(settings, status="fault", problem=f"internal fault: {type(fault).__name__}: {fault}")


def reports_of(request: SweepRequest, settings: Entries[str, Any]) -> dict[str, Report]:
    """The report of each phase of a point, by label. Raises InputError where it is refused."""
    return _reports(request, settings, _design(request, settings))


def _design(request: SweepRequest, settings: Entries[str, Any]) -> Design:
    own = request.below(DESIGN, settings)
    return request.design.with_(own) if own else request.design


def _reports(request: SweepRequest, settings: Entries[str, Any], design: Design) -> dict[str, Report]:
    model = request.model
    if (own := request.below(MODEL, settings)) and not isinstance(model, Graph):
        model = model_with(model, own)
    chosen, mapped = settings.get(SELECTION, request.selection), settings.get(MAPPING, request.mapping)
    selection = load_selection(chosen) if isinstance(chosen, str) else chosen
    mapping = load_mapping(mapped) if isinstance(mapped, str) else mapped
    if selection and (own := request.below(SELECTION, settings)):
        selection = selection.with_(own)
    read = {name: value for name, value in ((SELECTION, selection), (MAPPING, mapping)) if value is not None}
    options = {**request.options, **request.below(OPTION, settings), **read}
    mapper = chosen_mapper(design, request.mapper, options)
    mapper = with_mapping_edited(mapper, design, model, request.below(MAPPING, settings))
    engine = settings.get("engine", request.engine)
    if isinstance(model, Graph):
        return {"": run(design, model, mapper=mapper, engine=engine)}
    phases = {
        label: phase_named(name or "", request.fields_of(label, settings))
        for label, (name, _) in request.phases.items()
    }
    return {label: run(design, model, phase=phase, mapper=mapper, engine=engine) for label, phase in phases.items()}
