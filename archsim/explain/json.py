"""The JSON of an explanation: plain data, with null where something is not known."""

from __future__ import annotations

from typing import Any

from archsim.explain.findings import Effect, Findings
from archsim.explain.ops import RooflineOfOps


def as_json(found: Findings) -> dict[str, Any]:
    """The explanation as plain data; cycles of stalls are server-cycles."""
    binding = found.binding
    return {
        "title": found.title, "cycles": found.cycles, "seconds": found.seconds, "clock_hz": float(found.clock_hz),
        "binding": {
            "unit": binding.unit, "share": binding.share, "where": binding.where,
            "effect": binding.effect and _effect(binding.effect),
        },
        "effects": [_effect(one) for one in found.effects],
        "step": found.step or None, "step_share": found.step_share if found.step else None,
        "critical_path": {
            "cycles": found.path.cycles, "unseen_cycles": found.path.unseen,
            "stretches": [{**stretch._asdict(), "cycles": n} for stretch, n in found.path.stretches.items()],
        },
        "stalls": {
            unit: [{"cause": cause.kind, "of": cause.of or None, "cycles": n} for cause, n in causes.items()]
            for unit, causes in found.stalls.units.items()
        },
        "roofline": found.roofline and _roofline(found.roofline),
        "approximated": list(found.caveats),
        "limits": list(found.limits),
    }  # fmt: skip


def _effect(one: Effect) -> dict[str, Any]:
    change = one.change
    return {
        "path": change.path, "way": change.way, "was": change.was, "value": change.value, "seconds": one.seconds,
        "gain": one.gain, "problem": one.problem,
        "use_not_known": list(one.unknown),
        "over_budget": {name: {"used": used, "budget": budget} for name, (used, budget) in one.beyond.items()},
    }  # fmt: skip


def _roofline(roofs: RooflineOfOps) -> dict[str, Any]:
    return {
        "memory": roofs.memory,
        "bytes_per_cycle": float(roofs.bandwidth),
        "operations_per_cycle": {unit: float(peak) for unit, peak in roofs.peaks.items()},
        "ops": [
            {
                "ops": list(point.ops), "kind": point.kind, "unit": point.unit, "operations": point.operations,
                "bytes": point.bytes, "cycles": float(point.cycles), "reached": roofs.reached(point),
                "peak_operations_per_cycle": float(point.peak),
                "bound_by": roofs.memory if roofs.is_bound_by_memory(point) else point.unit,
            }
            for point in roofs.points
        ],
    }  # fmt: skip
