"""Tiers: the memories that hold cached keys and values, and the channels between them, from the cores outward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archsim.design.resources import no_unit
from archsim.units import Channel, Memory, Unit


def tier_problems(tiers: Sequence[str], units: Mapping[str, Unit]) -> list[tuple[str, str]]:
    """Problems of the tiers: they are a memory on chip, the main one, then optionally channels and one memory more."""
    problems = []
    for i, name in enumerate(tiers):
        if name not in units:
            problems.append((f"tiers.{i}", no_unit(name, units)))
        elif not isinstance(units[name], Memory | Channel):
            kind = units[name].named_kind
            problems.append((f"tiers.{i}", f"'{name}' is a {kind}; tiers are units of kind memory or channel"))
        elif name in tiers[:i]:
            problems.append((f"tiers.{i}", f"'{name}' stands at tiers.{tiers.index(name)} already; name a tier once"))
    # The order is judged only if every tier is a memory or a channel of the design.
    if problems or not tiers:
        return problems
    memories = [name for name in tiers if isinstance(units[name], Memory)]
    shown = f"[{', '.join(tiers)}]"
    if list(tiers[:2]) != memories[:2] or len(tiers) < 2:
        problems.append(("tiers", f"{shown} does not begin with two memories; name one on chip, then the main one"))
    elif len(memories) > 3:
        problems.append(("tiers", f"{shown} has {len(memories) - 2} memories beyond the main one; name one at most"))
    elif tiers[-1] != memories[-1]:
        problems.append(("tiers", f"{shown} ends with a channel; name the memory that it leads to, or leave it out"))
    return problems
