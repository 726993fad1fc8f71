"""How the figures of a run read: one screen of text, and an HTML table for notebooks."""

from __future__ import annotations

from fractions import Fraction
from html import escape

from archsim.quantity import show
from archsim.report.figures import Figures

WAITS_SHOWN = 1


def screen(report: Figures) -> str:
    """The report on one screen."""
    blocks = [_head(report), _parts(report), _units(report), _traffic(report), _honesty(report)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _head(report: Figures) -> list[str]:
    about = [f"{key} {report.about[key]}" for key in ("prompt", "context", "batch", "mask") if report.about.get(key)]
    title = " · ".join([report.design, report.model, str(report.about["phase"]), *about])
    energy = report.energy_joules
    lines = [
        title,
        f"time        {show(Fraction(report.seconds), 'time')}: {report.cycles:,} cycles at "
        f"{show(report.clock_hz, 'frequency')}, lower bound {report.lower_bound_cycles / report.cycles:.0%} of that",
        "throughput  " + _throughput(report),
        *_per_token(report),
        *_selected(report),
        "energy      " + ("not modelled" if energy is None else show(Fraction(energy), "energy") + _power(report)),
        f"bound by    {report.bottleneck}, busy {_busiest(report):.0%} of the time",
    ]
    if report.options:
        lines.append("options     " + ", ".join(f"{k}={v}" for k, v in report.options.items()))
    return lines


def _busiest(report: Figures) -> float:
    return report.units[report.bottleneck].busiest_cycles / report.cycles


def _throughput(report: Figures) -> str:
    if report.tokens_per_second is None:
        return "no tokens in this graph"
    if report.frames_per_second is not None:
        return f"{report.frames_per_second:.3g} frame/s ({report.about['frames']} of {report.tokens} tokens in all)"
    verb = {"prefill": "read", "question": "read", "attention": "queries"}.get(report.about["phase"], "made")
    return f"{show(Fraction(report.tokens_per_second), 'rate of tokens')} ({report.tokens} {verb})"


def _per_token(report: Figures) -> list[str]:
    """Of a generation the time to first token, and per output token after it."""
    if report.about["phase"] != "generate":
        return []
    lines = [f"first token {show(Fraction(report.ttft_seconds or 0), 'time')} (TTFT, the prefill)"]
    if report.tpot_seconds is not None and report.decode_tokens_per_second is not None:
        mean, first, last = (
            show(Fraction(seconds), "time")
            for seconds in (report.tpot_seconds, report.step_seconds[0], report.step_seconds[-1])
        )
        rate = show(Fraction(report.decode_tokens_per_second), "rate of tokens")
        contexts = f"{report.steps[0][0]} and {report.steps[-1][0]}"
        lines.append(f"then        {mean} a token (TPOT), {first} and {last} at contexts of {contexts}: {rate}")
    return lines


def _selected(report: Figures) -> list[str]:
    """What of the cache the step attends to, where that lies, and how good the choice is."""
    chosen = report.selected
    if chosen is None:
        return []
    step = "of the last step: " if report.about["phase"] == "generate" else ""
    lines = [f"selection   {step}{chosen.algorithm} keeps {chosen.kept:.1%} of the cached keys and values"]
    if chosen.hit_rate is not None:
        hits, misses = (_decimal(size) for size in (chosen.hit_bytes, chosen.miss_bytes))
        fetched = f"{misses} come from {chosen.beyond} (misses) in {chosen.requests:,} requests"
        lines[0] += f": {hits} lie in {chosen.memory} (hits, {chosen.hit_rate:.1%})"
        lines[0] += f", {fetched}" if chosen.miss_bytes else ", nothing is fetched"
    if chosen.mass_recall is not None:
        lines.append(
            f"quality     {chosen.mass_recall:.1%} of the attention mass, {chosen.top_recall:.1%} of the exact top, "
            f"output error {chosen.output_error:.2g}"
        )
    return lines


def _decimal(size: int) -> str:
    """Bytes in one family of units, so that amounts beside each other compare."""
    for scale, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"


def _power(report: Figures) -> str:
    return f" at {show(report.power_watts, 'power')} for the whole" if report.power_watts is not None else ""


def _parts(report: Figures) -> list[str]:
    lines = ["where the time goes"]
    for part, cycles in report.parts.items():
        share = float(cycles / report.cycles)
        bar = "█" * round(40 * share)
        lines.append(f"  {part:<20} {show(cycles / report.clock_hz, 'time'):>9}  {share:6.1%}  {bar}".rstrip())
    return lines


def _units(report: Figures) -> list[str]:
    lines = [f"{'unit':<18} {'busy':>7} {'starved':>8} {'blocked':>8} {'idle':>7}   waits most for"]
    for name, unit in report.units.items():
        if unit.idle_cycles == unit.total_cycles:
            continue
        shares = [n / unit.total_cycles for n in (unit.busy_cycles, unit.starved_cycles, unit.blocked_cycles)]
        idle = unit.idle_cycles / unit.total_cycles
        waits = sorted(unit.waits.items(), key=lambda item: (-item[1], item[0]))[:WAITS_SHOWN]
        shown = ", ".join(f"{stream} ({cycles / unit.total_cycles:.0%})" for (_, stream), cycles in waits)
        lines.append(f"{name:<18} {shares[0]:7.1%} {shares[1]:8.1%} {shares[2]:8.1%} {idle:7.1%}   {shown}")
    unused = [name for name, unit in report.units.items() if unit.idle_cycles == unit.total_cycles]
    return lines + ([f"idle throughout: {', '.join(unused)}"] if unused else [])


def _traffic(report: Figures) -> list[str]:
    lines = []
    for memory, cells in report.traffic.items():
        for way in ("read", "written"):
            roles = {role: n for (w, role), n in cells.items() if w == way}
            inside = ", ".join(f"{role} {n:,}" for role, n in sorted(roles.items(), key=lambda item: -item[1]))
            lines.append(f"{memory} {way:<8} {sum(roles.values()):>13,} B: {inside or 'nothing'}")
    for channel, moved in report.carried.items() if "selection" in report.options else ():
        busy = report.units[channel].busy_cycles
        rate = show(moved * report.clock_hz / busy, "rate of bytes") if busy else "nothing"
        lines.append(f"{channel} moved    {moved:>13,} B at {rate} while it is busy")
    return lines


def _honesty(report: Figures) -> list[str]:
    extra, left = (
        ", ".join(f"{n:,} {'B of ' if what == 'cache' else ''}{what}" for what, n in counts.items())
        for counts in (report.recomputed, report.skipped)
    )
    beside = f"beside the graph's work (padding, repeats, scores): {extra or 'nothing'}"
    lines = [f"coverage    {report.mapped} ops mapped, none refused; {beside}"]
    if left:
        lines.append(f"left out    {left}, as the selection does not keep it")
    lines += [f"not exact   {item}" for item in report.approximated]
    if report.assumed:
        selection = report.options.get("selection")
        files = report.design + (f" {selection.name}" if selection else "")
        lines.append(f"assumed     {len(report.assumed)} numbers; `archsim check {files}` says which and why")
    lines += [f"fitted      {path} to {point}" for path, point in report.fitted.items()]
    run = f"{report.firings_run:,} of {report.firings:,} firings run one by one"
    others = "; the others repeat them exactly" if report.firings_run < report.firings else ""
    return [*lines, f"engine      {report.engine}: {run}{others}"]


def html(report: Figures) -> str:
    """The unit table as HTML, under the report's first lines."""
    head = "<br>".join(escape(line) for line in _head(report))
    names = ("unit", "kind", "busy", "starved", "blocked", "idle")
    rows = []
    for name, unit in report.units.items():
        cells = [unit.busy_cycles, unit.starved_cycles, unit.blocked_cycles, unit.idle_cycles]
        shares = "".join(f"<td>{n / unit.total_cycles:.1%}</td>" for n in cells)
        rows.append(f"<tr><td>{escape(name)}</td><td>{escape(unit.kind)}</td>{shares}</tr>")
    header = "".join(f"<th>{n}</th>" for n in names)
    return f"<p>{head}</p><table><tr>{header}</tr>{''.join(rows)}</table>"
