"""The JSON that scripts read of a run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from archsim.report.figures import Figures
from archsim.run.totals import UnitReport
from dataflow.task import UNLIMITED

OP_FIELDS = ("name", "kind", "unit", "start_cycle", "end_cycle", "busy_cycles")


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A mapper's options as plain data: numbers, true and false as they are, all else, a selection too, as text."""
    return {name: value if isinstance(value, int | float) else str(value) for name, value in options.items()}


def as_json(report: Figures) -> dict[str, Any]:
    """The report as plain data, with the keys that the command line promises; null where something is not modelled."""
    return {
        "design": report.design,
        "model": report.model,
        "phase": report.phase.name,
        **report.phase.facts(),
        "options": plain_options(report.options),
        "clock_hz": float(report.clock_hz),
        "cycles": report.cycles,
        "seconds": report.seconds,
        "tokens": report.tokens,
        "tokens_per_second": report.tokens_per_second,
        "ttft_seconds": report.ttft_seconds,
        "tpot_seconds": report.tpot_seconds,
        "tpot_first_seconds": report.step_seconds[0] if report.steps else None,
        "tpot_last_seconds": report.step_seconds[-1] if report.steps else None,
        "decode_tokens_per_second": report.decode_tokens_per_second,
        "steps": [{"context": context, "cycles": cycles} for context, cycles in report.steps] or None,
        "frames_per_second": report.frames_per_second,
        "selected": _selected_json(report),
        "lower_bound_cycles": report.lower_bound_cycles,
        "bottleneck": report.bottleneck,
        "energy_joules": report.energy_joules,
        "power_watts": None if report.power_watts is None else float(report.power_watts),
        "parts": {part: float(cycles) for part, cycles in report.parts.items()},
        "units": {name: _unit_json(unit) for name, unit in report.units.items()},
        "memories": {
            name: {
                "read_bytes": report.bytes_moved(name, "read"),
                "written_bytes": report.bytes_moved(name, "written"),
                "by_role": {f"{way} {role}": n for (way, role), n in sorted(report.traffic[name].items())},
            }
            for name in report.traffic
        },
        "channels": {name: {"moved_bytes": moved} for name, moved in report.carried.items()},
        "ops": [{field: getattr(op, field) for field in OP_FIELDS} for op in report.ops],
        "streams": {
            name: {"peak": peak, "depth": None if depth == UNLIMITED else depth, "bytes_per_token": size}
            for name, (peak, depth, size) in report.peaks.items()
        },
        "coverage": {
            "mapped": report.mapped,
            "approximated": list(report.approximated),
            "recomputed": dict(report.recomputed),
            "skipped": _summed(report.skipped),
            "skipped_for": {reason: dict(counts) for reason, counts in report.skipped.items()},
        },
        "assumed": dict(report.assumed),
        "fitted": dict(report.fitted),
        "firings": report.firings,
        "firings_run": report.firings_run,
        "engine": report.engine,
        "version": version("archsim"),
    }


def _summed(by_reason: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for counts in by_reason.values():
        for what, n in counts.items():
            sums[what] = sums.get(what, 0) + n
    return sums


def _selected_json(report: Figures) -> dict[str, Any] | None:
    chosen = report.selected
    if chosen is None:
        return None
    names = (
        "algorithm", "kept", "memory", "beyond", "resident_tokens", "hit_bytes", "miss_bytes", "hit_rate",
        "requests",
        "mass_recall", "top_recall", "output_error",
    )  # fmt: skip
    return {name: getattr(chosen, name) for name in names}


def _unit_json(unit: UnitReport) -> dict[str, Any]:
    return {
        "kind": unit.kind, "count": unit.count, "busy_cycles": unit.busy_cycles, "busiest_cycles": unit.busiest_cycles,
        "starved_cycles": unit.starved_cycles, "blocked_cycles": unit.blocked_cycles, "idle_cycles": unit.idle_cycles,
        "utilization": unit.utilization,
        "energy_joules": None if unit.energy_joules is None else float(unit.energy_joules),
        "waits": [{"cause": c, "stream": s, "cycles": n} for (c, s), n in sorted(unit.waits.items())],
    }  # fmt: skip
