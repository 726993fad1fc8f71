"""What is told of the use of an FPGA: uses beyond the budget, what is not known and why, how far formulas are off."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from archsim.design.resources import REST
from archsim.design.use import Use


def beyond_budget(use: Use, *, built: bool) -> Iterator[tuple[str, str]]:
    """Problems: resources of which more is used than there is, by what was measured where nothing says the build."""
    for resource, budget in use.resources.budget.items():
        total = use.total(resource) if built else use.resources.measured(resource)
        if total is not None and total > budget:
            yield f"resources.budget.{resource}", _excess(use, resource, total, budget)


def _excess(use: Use, resource: str, total: Fraction, budget: Fraction) -> str:
    uses = {name: use.written(name, resource) for name in use.resources.owners}
    uses[REST] = use.rest(resource)
    scaled = [
        f"'{owner}' {shown(n)}"
        for owner, n in uses.items()
        if n and n != use.resources.used.get(owner, {}).get(resource)
    ]
    of_them = f" (of these {', '.join(scaled)}, scaled from the build)" if scaled else ""
    return f"{shown(total)} are used{of_them} and the FPGA has {shown(budget)}; use less or take a larger one"


def factors(use: Use) -> Iterator[tuple[str, str, Fraction]]:
    """Unit, resource and what was measured over what the formula gives as built: how far a formula is from a build."""
    for name in use.resources.owners:
        part = use.part(name)
        for resource, measured in use.resources.used[name].items():
            if part is not None and part.then.get(resource):
                yield name, resource, Fraction(measured) / part.then[resource]


def caveats(use: Use, *, built: bool) -> Iterator[str]:
    """What is not known and why, and what is scaled."""
    if not built:
        told = "built does not say with which parameters it was measured"
        yield f"the use of {', '.join(use.resources.budget)} is not known: {told}"
        return
    lacking: dict[str, list[str]] = {}
    for resource in use.resources.budget:
        if use.total(resource) is None:
            reasons = [part.why(resource) for part in use.parts if not part.knows(resource)]
            if use.is_left_out(resource):
                reasons.append("resources.used says nothing of it for `rest`, where formulas find some")
            for why in dict.fromkeys(reasons or ["formulas scale what is written for `rest`, which is nothing"]):
                lacking.setdefault(why, []).append(resource)
    for why, names in lacking.items():
        yield f"the use of {', '.join(names)} is not known: {why}"
    scaled = [
        f"{resource} of {name} (alone off by a factor of {float(factor):.2f} as built)"
        for name, resource, factor in factors(use)
        if (changed := use.part(name)) and not changed.unknown and changed.now.get(resource) != changed.then[resource]
    ]
    if scaled:
        yield f"scaled from the build by a formula: {', '.join(scaled)}"


def shown(amount: Fraction) -> str:
    """An amount with separators, in halves at most."""
    return f"{int(amount):,}" if amount.denominator == 1 else f"{float(amount):,.1f}"
