"""How the figures of a run read: one screen of text, and an HTML table for notebooks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from fractions import Fraction

from archsim.design.use_told import shown
from archsim.explain.stalls import places_of
from archsim.files.provenance import SET
from archsim.quantity import show
from archsim.report.figures import Figures
from archsim.report.placed_text import placed_lines
from archsim.run.capacity import NOWHERE
from archsim.run.totals import UnitReport
from dataflow.overview import Overview
from dataflow.role import Role
from dataflow.task import UNLIMITED


def screen(report: Figures) -> str:
    """The report on one screen."""
    blocks = [head_lines(report), _parts(report), _units(report), _traffic(report), tiling_lines(report)]
    blocks += [placed_lines(report), limits(report)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def head_lines(report: Figures) -> list[str]:
    """The first lines: what was run, its time, bounds, throughput and energy."""
    busiest = report.units[report.bottleneck]
    lines = [
        " · ".join([report.design, report.model, *report.phase.title()]),
        f"time        {show(Fraction(report.seconds), 'time')}: {report.cycles:,} cycles at "
        f"{show(report.clock_hz, 'frequency')}",
        _least(report, "bound", report.lower_bound_cycles)
        + "in this schedule; the busiest unit or longest chain of each section, summed",
        *_roofline(report),
        "throughput  " + _throughput(report),
        *_per_token(report),
        *_selected(report),
        "energy      " + _energy(report),
        *_resources(report),
        f"busiest     {report.bottleneck}, {busiest.busiest_cycles / report.cycles:.0%} of the time",
    ]
    if report.options:
        lines.append("options     " + ", ".join(f"{k}={v}" for k, v in report.options.items()))
    return lines


def _least(report: Figures, name: str, cycles: int) -> str:
    return f"{name:<11} at least {show(cycles / report.clock_hz, 'time')}, {cycles / report.cycles:.0%} of the time, "


def _roofline(report: Figures) -> list[str]:
    if report.roofline is None:
        return []
    cycles, unit = report.roofline
    why = "compulsory bytes" if report.traffic.get(unit) else "the work of the graph"
    return [_least(report, "roofline", cycles) + f"with these ops on these units; {why} over the peak rate of {unit}"]


def _throughput(report: Figures) -> str:
    if report.tokens is None or report.tokens_per_second is None:
        return "no tokens in this graph"
    tokens = f"{report.tokens} token{'s' * (report.tokens != 1)}"
    if report.frames_per_second is not None:
        frames = report.phase.frames
        return f"{report.frames_per_second:.3g} frame/s ({frames} frame{'s' * (frames != 1)}, {tokens} in all)"
    done = report.phase.done.format(tokens=tokens, n=report.tokens)
    return f"{show(Fraction(report.tokens_per_second), 'rate of tokens')} ({done})"


def _energy(report: Figures) -> str:
    """Energy, power and tokens a joule, and where the energy goes or why there is none."""
    energy, power = report.energy_joules, report.power_watts
    if energy is None or power is None:
        return f"not known: {report.energy_missing}"
    per_joule = "" if report.tokens_per_joule is None else f", {report.tokens_per_joule:.3g} token/J"
    if report.published_watts is not None:
        return f"{show(Fraction(energy), 'energy')}{per_joule}: published power, {_watts(power)}, x time"
    beside = {"idle": report.idle_joules, "the rest of the FPGA": report.rest_joules}
    units = {
        name + ("" if unit.busy_cycles else " (not used)"): unit.energy_joules for name, unit in report.units.items()
    }
    parts = {name: float(joules) for name, joules in (units | beside).items() if joules}
    most = sorted(parts.items(), key=lambda part: (-part[1], part[0]))
    shares = [f"{name} {joules / energy:.0%}" for name, joules in most[:4]]
    shares += [f"others {sum(joules for _, joules in most[4:]) / energy:.0%}"] if most[4:] else []
    told = f"{show(Fraction(energy), 'energy')}, {_watts(power)} on average{per_joule}"
    return f"{told}: {', '.join(shares)}" if shares else told


def _resources(report: Figures) -> list[str]:
    """What the design uses of its FPGA, and what of it is not known; nothing without an FPGA."""
    told = [
        f"{shown(used)} {what}" + (f" ({float(used / budget):.0%})" if budget else "")
        for what, (used, budget) in report.resources.items()
        if used is not None
    ]
    unknown = [what for what, (used, _) in report.resources.items() if used is None]
    parts = [f"{', '.join(told)} of the FPGA"] if told else []
    parts += [f"not known: {', '.join(unknown)}"] if unknown else []
    return ["resources   " + "; ".join(parts)] if parts else []


def _watts(power: float) -> str:
    return show(Fraction(power), "power")


def _per_token(report: Figures) -> list[str]:
    """The time to first token and the time per output token of a generation; nothing for other phases."""
    if not report.phase.many_steps or report.ttft_seconds is None:
        return []
    lines = [f"first token {show(Fraction(report.ttft_seconds), 'time')} (TTFT, the prefill)"]
    if report.tpot_seconds is not None and report.decode_tokens_per_second is not None:
        mean, first, last = (
            show(Fraction(seconds), "time")
            for seconds in (report.tpot_seconds, report.step_seconds[0], report.step_seconds[-1])
        )
        rate = show(Fraction(report.decode_tokens_per_second), "rate of tokens")
        ends = f"{first} at a context of {report.steps[0][0]}, {last} at {report.steps[-1][0]}"
        lines.append(f"then        {mean} a token on average (TPOT), {rate}; {ends}")
    return lines


def _selected(report: Figures) -> list[str]:
    """How much of the cache the step attends to, in which memories that lies, and how good the selection is."""
    chosen = report.selected
    if chosen is None:
        return []
    step = "of the last step: " if report.phase.many_steps else ""
    lines = [f"selection   {step}{chosen.algorithm} keeps {chosen.kept:.1%} of the cached keys and values"]
    if chosen.hit_rate is not None:
        hits, misses = (_decimal(size) for size in (chosen.hit_bytes, chosen.miss_bytes))
        fetched = f"{misses} come from {chosen.beyond} (misses) in {chosen.requests:,} requests"
        lines[0] += f"; of these {chosen.hit_rate:.1%}, {hits}, lie in {chosen.memory} (hits), "
        lines[0] += fetched if chosen.miss_bytes else "nothing is fetched"
    if chosen.mass_recall is not None and chosen.kept < 1:
        lines.append(
            f"quality     on {chosen.keys} keys: {chosen.mass_recall:.1%} of dense attention's mass and "
            f"{chosen.top_recall:.1%} of its highest scores kept; relative output error {chosen.output_error:.2g}"
        )
    return lines


def _decimal(size: int) -> str:
    """Bytes in decimal units, so that amounts beside each other compare."""
    for scale, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"


def _parts(report: Figures) -> list[str]:
    # A bar of 40 blocks leaves the line within 82 columns.
    lines = ["where the time goes (kinds of work, waits for input included; kinds that overlap share equally)"]
    for name, cycles in report.parts.items():
        part = "loading, latency" if name == "waiting" else name
        share = float(cycles / report.cycles)
        bar = "█" * round(40 * share)
        lines.append(f"  {part:<20} {show(cycles / report.clock_hz, 'time'):>9}  {share:6.1%}  {bar}".rstrip())
    return lines


def _units(report: Figures) -> list[str]:
    lines = [f"{'unit':<18} {'busy':>7} {'starved':>8} {'blocked':>8} {'idle':>7}  waits most for (share of the time)"]
    unused = [name for name, unit in report.units.items() if not _is_used(unit)]
    for name, unit in report.units.items():
        if name in unused:
            continue
        busy, starved, blocked, idle = _shares(unit)
        shares = f"{busy:7.1%} {starved:8.1%} {blocked:8.1%} {idle:7.1%}"
        lines.append(f"{name:<18} {shares}  {longest_wait(unit)}".rstrip())
    lines.append("starved: waits for input; blocked: waits for room for output; idle: no work in the running section")
    return [*lines, *_places(report, unused)]


def _shares(unit: UnitReport) -> list[float]:
    """The shares of the time that the unit is busy, starved, blocked and idle."""
    times = (unit.busy_cycles, unit.starved_cycles, unit.blocked_cycles, unit.idle_cycles)
    return [cycles / unit.total_cycles for cycles in times]


def _is_used(unit: UnitReport) -> bool:
    return unit.idle_cycles < unit.total_cycles


def longest_wait(unit: UnitReport) -> str:
    """What a unit waits for longest, by its stream's name "producer > consumer"; nothing below half a percent."""
    # Of equal waits the first by name, so that two runs print the same line.
    cause, stream = min(unit.waits, key=lambda wait: (-unit.waits[wait], wait), default=("", ""))
    share = unit.waits[cause, stream] / unit.total_cycles if stream else 0.0
    if share < 0.005:
        return ""
    producer, arrow, consumer = stream.partition(" > ")
    if cause == "blocked":
        awaited = f"room {'before' if arrow else 'in'} {consumer or stream}"
    elif producer.endswith(" done"):
        awaited = f"{producer.removesuffix(' done')} to finish"
    elif places := places_of(stream):
        awaited = f"one of {places}"
    else:
        awaited = f"input {'from' if arrow else 'in'} {producer}"
    return f"{awaited} ({share:.0%})"


def _traffic(report: Figures) -> list[str]:
    lines = []
    for memory, cells in report.traffic.items():
        if not _is_used(report.units[memory]):
            continue
        for way in ("read", "written"):
            roles = {role: n for (w, role), n in cells.items() if w == way}
            shown = {role: f"{n:,}" for role, n in sorted(roles.items(), key=lambda item: -item[1])}
            lines.append(_amount(f"{memory} {way:<8}", f"{sum(roles.values()):>13,} B", shown or {"none": ""}))
        lines += _held(report, memory, f"{memory} {'holds':<8}")
    # Only where a selection fetches over channels does their rate say something that busy time does not.
    for channel, by_role in report.carried.items() if report.selected else ():
        if busy := report.units[channel].busy_cycles:
            moved = sum(by_role.values())
            rate = show(moved * report.clock_hz / busy, "rate of bytes")
            lines.append(f"{channel} moved    {moved:>13,} B at {rate} while it is busy")
    return lines + _held(report, NOWHERE, "in no memory   ")


def tiling_lines(report: Figures) -> list[str]:
    """How ops were cut: the tile, the loops that turn, and how often the tiles of each operand come or leave."""
    if not report.tilings:
        return []
    lines = ["tiles (extents; loops, outermost first; how often each tile of an operand comes, and bytes over a hop)"]
    for one in report.tilings:
        on = one.unit if one.servers == 1 else f"{one.servers} {one.unit}"
        extents = " ".join(f"{axis} {size:,}" for axis, size in one.tile.items() if axis != "batch" or size > 1)
        loops = f"{' > '.join(one.order)}: {one.tiles:,} tiles" if one.order else "one tile"
        moved = ", ".join(f"{each.role} {each.times}x {each.bytes:,} B" for each in one.operands) or "nothing moves"
        lines.append(f"  {one.op} on {on}: {extents}; {loops}; {moved}; estimated {one.estimated_cycles:,} cycles")
    if len(report.ops) == 1 and report.cycles:  # beside other ops it is not known which of the time is its own
        off = report.tilings[0].estimated_cycles / report.cycles - 1
        lines[-1] += f", {abs(off):.1%} {'more' if off > 0 else 'less'} than it took"
    return lines


def _held(report: Figures, memory: str, title: str) -> list[str]:
    """What lies in a memory when most does, or in none of the design."""
    contents = {role: n for role, n in report.held.get(memory, {}).items() if n}
    if not contents:
        return []
    total = sum(contents.values())
    most = sorted(contents.items(), key=lambda item: -item[1])
    inside = {role: "without limit" if n >= UNLIMITED else f"{n:,}" for role, n in most}
    return [_amount(title, f"{'no limit':>15}" if total >= UNLIMITED else f"{total:>13,} B", inside)]


def _amount(title: str, total: str, by_role: Mapping[str, str]) -> str:
    """A line of bytes: the total, then the parts by role; the total alone where nothing has a role."""
    parts = ", ".join(f"{role or 'of no role'} {n}".rstrip() for role, n in by_role.items())
    return f"{title} {total}" if [*by_role] == [""] else f"{title} {total}: {parts}"


def _places(report: Figures, unused: list[str]) -> list[str]:
    """Which unit did which kinds of ops, and which units did nothing."""
    kinds: dict[str, dict[str, None]] = {}
    for op in report.ops:
        kinds.setdefault(op.unit, {})[op.kind] = None
    told = [f"{unit}: {', '.join(of)}" for unit, of in kinds.items()]
    told += [f"not used: {', '.join(unused)}"] if unused else []
    return ["ops run on  " + "; ".join(told)] if told else []


def _counted(counts: Mapping[str, int]) -> str:
    """Counts, and bytes by the role of what they are of."""
    return ", ".join(f"{n:,} {'B of ' if what in set(Role) else ''}{what}" for what, n in counts.items())


def limits(report: Figures) -> list[str]:
    extra = _counted(report.recomputed)
    beyond = f"{extra} ({report.recomputed_for})" if extra else "none"
    free = f"needing no unit: {sum(report.free.values())} ({', '.join(report.free)}); " if report.free else ""
    lines = [f"coverage    all {report.mapped} ops mapped; {free}work beyond the graph: {beyond}"]
    lines += [f"left out    {_counted(counts)}: {reason}" for reason, counts in report.skipped.items()]
    lines += [f"simplified  {item}" for item in report.approximated]
    changed = [path for path, why in report.assumed.items() if why == SET]
    if assumed := len(report.assumed) - len(changed):
        listed = f"; `archsim check {shlex.join(report.files)}` lists them with reasons" if report.files else ""
        lines.append(f"assumed     {assumed} number{'s' * (assumed != 1)}{listed}")
    lines += [f"set         {', '.join(changed)}: by this variant, not by the source"] if changed else []
    lines += [f"fitted      {path}, to the published point {point}" for path, point in report.fitted.items()]
    run = f"{report.firings_run:,} of {report.firings:,} firings simulated one by one"
    others = "; the others are exact repeats" if report.firings_run < report.firings else ""
    cold = " (same integers; the compiled engine is not compiled yet: --engine compiled does it)" if report.cold else ""
    return [*lines, f"engine      {report.engine}{cold}: {run}{others}"]


def html(report: Figures) -> str:
    """The unit table as HTML, between the report's first lines and what it says of its own limits."""
    rows = [(name, unit.kind, *(f"{share:.1%}" for share in _shares(unit)), longest_wait(unit))
            for name, unit in report.units.items()]  # fmt: skip
    columns = ("unit", "kind", "busy", "starved", "blocked", "idle", "waits most for (share of the time)")
    numeric = (False, False, True, True, True, True, False)
    return Overview(tuple(head_lines(report)), columns, tuple(rows), tuple(limits(report)), numeric).html()
