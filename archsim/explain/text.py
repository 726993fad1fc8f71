"""How an explanation reads: what to change, what the time is made of, what units wait for, which roof is near."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from archsim.explain.findings import Effect, Findings
from archsim.explain.ops import OpPoint, RooflineOfOps
from archsim.explain.stalls import Cause
from archsim.quantity import show

SMALL = 0.0005  # a gain or loss below it is no change
LEAST_SHARE = 0.005  # shares below it are told together
MOST_TASKS = 4
MOST_POINTS = 20


def screen(found: Findings) -> str:
    """The explanation as text."""
    blocks = [head_lines(found), effect_lines(found), _path(found), _stalls(found), _roofline(found)]
    blocks.append(list(found.limits))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def head_lines(found: Findings) -> list[str]:
    """What was run, its time, and what binds it."""
    time = f"time        {show(Fraction(found.seconds), 'time')}: {found.cycles:,} cycles at "
    return [found.title, time + show(found.clock_hz, "frequency"), binding_line(found)]


def binding_line(found: Findings) -> str:
    """The unit that binds, and the line of the design that sets it."""
    binding = found.binding
    of = f" of {found.step} (such steps take {found.step_share:.0%} of the time)" if found.step else ""
    part = f"the last {1 - found.path.unseen / found.path.cycles:.0%} of " if found.path.unseen else ""
    line = f"binding     {binding.unit}, {binding.share:.0%} of {part}the critical path{of}"
    if binding.effect is None or binding.effect.gain is None:
        return f"{line}; no change of one of its numbers makes the run faster"
    change, gain = binding.effect.change, binding.effect.gain
    return f"{line}; set by {binding.where}: {change.path}, which {change.way} brings {gain:+.1%}"


def effect_lines(found: Findings) -> list[str]:
    """What each change would bring: those that change the time as a table, the others by name."""
    lines = ["what one change alone would bring: each number doubled or halved, mapped and simulated again"]
    felt = moving(found.effects)
    wide = max((len(one.change.path) for one in felt), default=0)
    head = f"  {'faster by':>9}  {'change':<{wide}}  {'from, to':<24}  {'time':>9}"
    lines += [head + "  of the FPGA" * any(map(use_text, felt))] if felt else []
    for one in felt:
        then, time = f"{one.change.was} -> {one.change.value}", show(Fraction(one.seconds or 0), "time")
        lines.append(f"  {one.gain:>+9.1%}  {one.change.path:<{wide}}  {then:<24}  {time:>9}  {use_text(one)}".rstrip())
    still = without_effect(found.effects)
    lines += [f"  nothing   {still} others"] if still else []
    return lines + [f"  refused   {', '.join(paths)}: {why}" for why, paths in refused(found.effects).items()]


def needs_text(one: Effect) -> str:
    """What a change needs beyond the budget of the FPGA; nothing where it fits, or where that is not known."""
    told = [f"{used:,g} of {budget:,g} {name}" for name, (used, budget) in one.beyond.items()]
    return f"needs {', '.join(told)}" if told else ""


def use_text(one: Effect) -> str:
    """What a change needs beyond the budget of the FPGA, and what of its use is not known."""
    return "; ".join(filter(None, [needs_text(one), f"{', '.join(one.unknown)} not known" if one.unknown else ""]))


def without_effect(effects: Iterable[Effect]) -> int:
    """How many changes leave the time as it is."""
    return sum(one.gain is not None and abs(one.gain) < SMALL for one in effects)


def refused(effects: Iterable[Effect]) -> dict[str, list[str]]:
    """The changes that are refused, as they would be set, by the reason."""
    found: dict[str, list[str]] = {}
    for one in effects:
        if one.gain is None:
            found.setdefault(reason(one), []).append(f"{one.change.path}={one.change.value}")
    return found


def reason(one: Effect) -> str:
    """Why a change is refused, in short: the first line, without the path and the ways out."""
    first = (one.problem or "").partition("\n")[0].partition("; ways out")[0]
    return first.rpartition(f"{one.change.path}={one.change.value}: ")[2].removeprefix(f"{one.change.path}: ")


def moving(effects: Iterable[Effect]) -> list[Effect]:
    """The effects that change the time."""
    return [one for one in effects if one.gain is not None and abs(one.gain) >= SMALL]


def _path(found: Findings) -> list[str]:
    of = f" of {found.step}" if found.step else ""
    lines = [f"critical path{of}: the chain of firings that the time is made of, each cycle once"]
    for unit, n in found.path.by_unit().items():
        if n / found.path.cycles >= LEAST_SHARE:
            lines.append(f"  {unit:<18} {n / found.path.cycles:>6.1%}  {path_text(found, unit)}".rstrip())
    return lines + ([f"  {told}"] if (told := unseen_text(found)) else [])


def unseen_text(found: Findings) -> str:
    """How much of the path is not looked at; nothing where all of it is."""
    share = found.path.unseen / found.path.cycles
    return f"{share:.1%} of the time is not looked at, because too many firings lie there" if share else ""


def path_text(found: Findings, unit: str) -> str:
    """The tasks of a unit with most of the path, and the share that its others have together."""
    total = found.path.cycles
    parts = {
        stretch.task + (" (latency)" if stretch.what == "latency" else ""): cycles
        for stretch, cycles in found.path.stretches.items()
        if stretch.unit == unit
    }
    order = sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    shown = [(name, n) for name, n in order[:MOST_TASKS] if n / total >= LEAST_SHARE]
    rest = sum(parts.values()) - sum(n for _, n in shown)
    told = [f"{name} {n / total:.1%}" for name, n in shown]
    return ", ".join(told + ([f"others {rest / total:.1%}"] if shown and rest / total >= LEAST_SHARE else []))


def _stalls(found: Findings) -> list[str]:
    of = f" of {found.step}" if found.step else ""
    lines = [f"what each unit spends its time on{of}; the shares of a unit add up to 100%"]
    for unit, causes in found.stalls.units.items():
        if sum(n for cause, n in causes.items() if cause != Cause("done")):
            lines.append(f"  {unit:<18} {cause_text(causes)}")
    unused = [unit for unit, causes in found.stalls.units.items() if set(causes) <= {Cause("done")}]
    return lines + ([f"  not used: {', '.join(unused)}"] if unused else [])


def cause_text(causes: Mapping[Cause, int]) -> str:
    """The causes with their shares, which add up to 100%; of those about streams their sum and the longest."""
    total = sum(causes.values())
    kinds: dict[str, dict[Cause, int]] = {}
    for cause, n in sorted(causes.items(), key=lambda item: (-item[1], item[0])):
        kinds.setdefault(cause.told_as, {})[cause] = n
    told, small = [], 0
    for words, of in sorted(kinds.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        longest, n = next(iter(of.items()))
        if sum(of.values()) / total < LEAST_SHARE:
            small += sum(of.values())
            continue
        alone = f" {longest.told_of}" * longest.is_of_stream
        most = f" (longest {longest.told_of} {n / total:.1%})" if len(of) > 1 else alone
        told.append(f"{words} {sum(of.values()) / total:.1%}{most}")
    return ", ".join(told + ([f"others {small / total:.1%}"] if small / total >= SMALL else []))


def _roofline(found: Findings) -> list[str]:
    roofs = found.roofline
    if roofs is None:
        return []
    bandwidth = show(roofs.bandwidth * found.clock_hz, "rate of bytes")
    of = f" of {found.step}" if found.step else ""
    order = sorted(roofs.points, key=lambda point: -point.cycles * len(point.ops))
    wide = max((len(point.name) for point in order[:MOST_POINTS]), default=0)
    lines = [
        f"roofline of ops{of}: operations for each stored byte that an op must read, by {roofs.memory} ({bandwidth})",
        f"  {'ops':<{wide}} {'unit':<18} {'op/B':>8} {'reached':>13} {'of its roof':>12}",
    ]
    lines += [_point(point, roofs, found.clock_hz, wide) for point in order[:MOST_POINTS]]
    left = order[MOST_POINTS:]
    return lines + ([f"  and {sum(len(one.ops) for one in left):,} shorter ops"] if left else [])


def _point(point: OpPoint, roofs: RooflineOfOps, clock_hz: Fraction, wide: int) -> str:
    intensity = "-" if point.intensity is None else f"{point.intensity:.3g}"
    rate = show(Fraction(point.rate) * clock_hz, "rate of OP")
    roof = roofs.memory if roofs.is_bound_by_memory(point) else point.unit
    return f"  {point.name:<{wide}} {point.unit:<18} {intensity:>8} {rate:>13} {roofs.reached(point):>6.0%} {roof}"
