"""The JSON that scripts read of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from archsim.files.json_text import plain
from archsim.report.figures import Figures
from archsim.report.tables import rows_of
from archsim.run.capacity import NOWHERE
from archsim.run.placed import PlacedSection
from archsim.version import __version__
from dataflow.task import UNLIMITED

TILING_FIELDS = "op unit servers tile order tiles estimated_cycles"
PLACED_FIELDS = "name repeat steps cycles launches servers tiles bound_by"
STAGE_FIELDS = "name ops unit servers tiles firings busy_cycles interval_cycles"
OPERAND_FIELDS = "tensor role way times bytes"
SELECTED_FIELDS = (
    "algorithm kept memory beyond resident_tokens hit_bytes miss_bytes hit_rate requests mass_recall top_recall "
    "output_error"
)


def as_json(report: Figures) -> dict[str, Any]:
    """The report as plain data, with the keys that the command line promises; null where something is not modelled."""
    return {
        **plain(report, "design model"),
        "phase": report.phase.name,
        **report.phase.facts(),
        "fields": report.phase.values(),
        "mapper": report.mapper,
        **plain(report, "options clock_hz cycles seconds tokens tokens_per_second ttft_seconds tpot_seconds"),
        "tpot_first_seconds": report.step_seconds[0] if report.steps else None,
        "tpot_last_seconds": report.step_seconds[-1] if report.steps else None,
        "decode_tokens_per_second": report.decode_tokens_per_second,
        "steps": [{"context": context, "cycles": cycles} for context, cycles in report.steps] or None,
        "frames_per_second": report.frames_per_second,
        "selected": None if report.selected is None else plain(report.selected, SELECTED_FIELDS),
        **plain(report, "lower_bound_cycles"),
        "roofline_cycles": report.roofline and report.roofline[0],
        "roofline_of": report.roofline and report.roofline[1],
        **plain(report, "bottleneck energy_joules idle_joules rest_joules power_watts tokens_per_joule area_mm2"),
        "energy_missing": report.energy_missing or None,
        "resources": {what: _use_json(*amounts) for what, amounts in report.resources.items()},
        "parts": {part["name"]: part["cycles"] for part in rows_of(report, "parts")},
        "units": dict(_unit_json(report, **row) for row in rows_of(report, "units")),
        "memories": {
            name: {
                "read_bytes": report.bytes_moved(name, "read"),
                "written_bytes": report.bytes_moved(name, "written"),
                "by_role": {f"{way} {role}": n for (way, role), n in sorted(report.traffic[name].items())},
                "held": _held_json(report, name),
            }
            for name in report.traffic
        },
        "channels": {
            name: {"moved_bytes": sum(moved.values()), "by_role": dict(moved)} for name, moved in report.carried.items()
        },
        "in_no_memory": _held_json(report, NOWHERE),
        "ops": rows_of(report, "ops"),
        "tilings": [
            {**plain(one, TILING_FIELDS), "operands": [plain(operand, OPERAND_FIELDS) for operand in one.operands]}
            for one in report.tilings
        ],
        "placed": [_placed_json(section) for section in report.placed],
        "streams": {
            name: {"peak": peak, "depth": None if depth == UNLIMITED else depth, "bytes_per_token": size}
            for name, (peak, depth, size) in report.peaks.items()
        },
        "coverage": {
            **plain(report, "mapped free approximated recomputed"),
            "skipped": _summed(report.skipped),
            "skipped_for": {reason: dict(counts) for reason, counts in report.skipped.items()},
        },
        **plain(report, "assumed fitted firings firings_run engine"),
        "version": __version__,
    }


def _use_json(used: Fraction | None, budget: Fraction) -> dict[str, float | None]:
    return {"used": None if used is None else float(used), "budget": float(budget)}


def _placed_json(section: PlacedSection) -> dict[str, Any]:
    moved = [{"memory": memory, "way": way, "bytes": n} for (memory, way), n in section.traffic.items()]
    stages = [plain(stage, STAGE_FIELDS) for stage in section.stages]
    return {**plain(section, PLACED_FIELDS), "traffic": moved, "stages": stages}


def _held_json(report: Figures, memory: str) -> dict[str, int | None]:
    """Bytes by role when most lies in the memory; null where a queue has no limit."""
    return {role: None if size >= UNLIMITED else size for role, size in report.held.get(memory, {}).items()}


def _summed(by_reason: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    sums = Counter[str]()
    for counts in by_reason.values():
        sums.update(counts)
    return dict(sums)


def _unit_json(report: Figures, name: str, **row: Any) -> tuple[str, dict[str, Any]]:
    """The name and what the table of units has of it, with its waits."""
    waits = sorted(report.units[name].waits.items())
    return name, {**row, "waits": [{"cause": cause, "stream": stream, "cycles": n} for (cause, stream), n in waits]}
