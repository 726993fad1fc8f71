"""How minimal depths read: a table under a few lines of text, the same as HTML, and the JSON for scripts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from archsim.design.depths import as_options
from archsim.fifos.depths import FifoSize, MinimalDepths
from archsim.files.json_text import plain
from archsim.quantity import show, show_limit
from archsim.units.fifo_memory import FifoMemory
from archsim.version import __version__
from dataflow.overview import Overview
from dataflow.task import UNLIMITED

LEGEND = """\
places hold tokens (elements, bursts or rows, by queue); peak: the most held with unlimited queues; saves alone: cycles
if only this queue is deepened; with one less: cycles over the target, or refused because one firing needs more.
A range of depths: streams that share the queue differ. Memory leaves out queues at the host and in memories."""


def screen(sizes: MinimalDepths) -> str:
    """Cycles, what holds the schedule back, memory; then a line for each queue."""
    table = _table(sizes)
    first, *others = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, *cells in table:
        padded = [cell.rjust(width) for cell, width in zip(cells, others, strict=True)]
        lines.append("  ".join([name.ljust(first), *padded]).rstrip())
    signals = sum(map(_is_signal, sizes.fifos))
    left_out = [f"and {signals} signals of one place, which carry no data"] if signals else []
    return "\n".join([*_head(sizes), "", *lines, *left_out, LEGEND])


def _head(sizes: MinimalDepths) -> list[str]:
    now = "deadlock" if sizes.cycles_now is None else _cycles(sizes, sizes.cycles_now) + _over(sizes, sizes.cycles_now)
    in_all = "no limit" if sizes.bytes_now is None else f"{sizes.bytes_now:,} B"
    named = f": {sizes.target}" if isinstance(sizes.target, str) else ""
    lines = [
        " · ".join(["FIFO sizes", sizes.design, sizes.model, *sizes.phase.title()]),
        f"target      {_cycles(sizes, sizes.target_cycles)}{named}",
        f"no limit    {_cycles(sizes, sizes.unbounded_cycles)}{_deeper(sizes)}", f"as given    {now}",
        f"minimal     {_cycles(sizes, sizes.cycles)}", *_held_back(sizes),
        f"memory      as given {in_all}{_memory(sizes, sizes.memory_now)}",
        f"            minimal  {sizes.bytes:,} B{_memory(sizes, sizes.memory)}",
        "proof       with one place less in any one queue this run misses the target, deadlocks or is refused",
        *_bounded(sizes), *_to_set(sizes), f"searched    {sizes.runs:,} runs of a section, {sizes.firings:,} firings",
    ]  # fmt: skip
    if sizes.schedule.options:
        lines.insert(1, "options     " + ", ".join(f"{k}={v}" for k, v in sizes.schedule.options.items()))
    lines += [f"simplified  {item}" for item in sizes.schedule.approximated]
    if sizes.first_come:
        units = ", ".join(f"'{name}'" for name in sizes.first_come)
        why = f"first come, first served at {units}: less depth can run faster"
        lines.append(f"not proven  that this is the smallest set: {why}")
    return lines


def _cycles(sizes: MinimalDepths, cycles: int) -> str:
    time = cycles / sizes.clock_hz
    tokens = sizes.schedule.graph.tokens
    rate = f", {show(tokens / time, 'rate of tokens')}" if tokens and cycles else ""
    return f"{cycles:,} cycles ({show(time, 'time')}{rate})"


def _bounded(sizes: MinimalDepths) -> list[str]:
    """The queues that are no deeper than given."""
    names = [fifo.name for fifo in sizes.fifos if any(stream.memory for stream in fifo.streams)]
    return [f"in memory   as deep as given at most: {', '.join(names)}"] if names else []


def _deeper(sizes: MinimalDepths) -> str:
    """That unlimited queues are slower than the fastest run known, and why that can be."""
    least = min(sizes.target_cycles, sizes.cycles_now or sizes.target_cycles)
    units = ", ".join(f"'{name}'" for name in sizes.first_come)
    return f"; deeper is slower here: first come, first served at {units}" if sizes.unbounded_cycles > least else ""


def _to_set(sizes: MinimalDepths) -> list[str]:
    """The options that give the design's own queues these depths."""
    if not sizes.settings or sizes.set_cycles is None:
        return []
    run = f"{sizes.set_cycles:,} cycles with these alone (verified by running it)"
    if sizes.set_cycles > sizes.target_cycles:
        run += f", {sizes.set_cycles - sizes.target_cycles:,} over the target: the queues that the mapper sizes stay"
    return [f"to set      {as_options(sizes.settings)}", f"            {run}"]


def _over(sizes: MinimalDepths, cycles: int) -> str:
    return f", {cycles / sizes.target_cycles - 1:.1%} over the target" if cycles > sizes.target_cycles else ""


def _memory(sizes: MinimalDepths, memory: FifoMemory | None) -> str:
    """The sum against the FPGA's budget, which other uses share."""
    if memory is None or sizes.budget is None:
        return ""
    shares = [
        f"{float(used):,g} of {float(sizes.budget[name]):,g} {name}"
        for name, used in (("lut", Fraction(memory.lut)), ("bram36", memory.bram36))
    ]
    return ", " + " and ".join(shares)


def _held_back(sizes: MinimalDepths) -> list[str]:
    found = sizes.held_back_by
    if sizes.reached:
        return ["held back   by no queue: the target is reached"]
    if not found:
        short = ", ".join(f"{f.name} {_depth(f)} to {f.minimal}" for f in sizes.fifos if f.short)
        return [f"held back   by several queues, none of which helps alone: {short}"]
    lines = []
    for fifo in found:
        if sizes.cycles_now is None:
            brings = f"alone it ends the deadlock, at {fifo.alone_cycles:,} cycles"
        else:
            saved = int(sizes.saved(fifo))
            brings = f"alone it would save {saved:,} cycles ({saved / sizes.cycles_now:.1%} of the time as given)"
        lines.append(f"held back   by {fifo.name}: {_needed(fifo)}; {brings}")
    return lines


def _needed(fifo: FifoSize) -> str:
    """The depth that a queue has and needs, in the value of the design where it has one."""
    if fifo.setting is None:
        return f"depth {_depth(fifo)} now, {fifo.minimal} needed"
    return f"{fifo.setting.path}={fifo.setting.value(fifo.minimal)} is needed ({_depth(fifo)} to {fifo.minimal} tokens)"


def _depth(fifo: FifoSize) -> str:
    """Places as given, the least to the most where streams of one queue differ."""
    least = min(s.depth for s in fifo.streams)
    return show_limit(fifo.depth) if least == fifo.depth else f"{show_limit(least)}-{show_limit(fifo.depth)}"


def _table(sizes: MinimalDepths) -> list[list[str]]:
    """The header; queues that hold the schedule back, then the largest. Signals of one place are left out."""
    header = ["queue", "now", "minimal", "peak", "B now", "B minimal"]
    if sizes.budget is not None:
        header += ["memory now", "memory"]
    header += ["saves alone", "with one less"]
    shown = [f for f in sizes.fifos if not _is_signal(f)]
    shown.sort(key=lambda f: (-sizes.saved(f), -f.minimal * f.bytes_per_token, -f.depth * f.bytes_per_token, f.name))
    return [header, *(_row(sizes, fifo) for fifo in shown)]


def _row(sizes: MinimalDepths, fifo: FifoSize) -> list[str]:
    size = fifo.bytes_per_token
    now = "inf" if fifo.depth == UNLIMITED and size else f"{fifo.depth * size:,}"
    cells = [fifo.name, _depth(fifo), f"{fifo.minimal:,}", f"{fifo.peak:,}", now, f"{fifo.minimal * size:,}"]
    if sizes.budget is not None:
        cells += ["at the host", ""] if fifo.at_host else [str(fifo.memory_now or "inf"), str(fifo.memory)]
    saved = sizes.saved(fifo)
    alone = "the deadlock" if saved == float("inf") else f"{saved:,}" if saved else ""
    return [*cells, alone, f"+{fifo.proof - sizes.target_cycles:,}" if isinstance(fifo.proof, int) else fifo.proof]


def _is_signal(fifo: FifoSize) -> bool:
    return fifo.bytes_per_token == 0 and fifo.depth == fifo.minimal == 1


def html(sizes: MinimalDepths) -> str:
    """The table as HTML, under the same lines."""
    header, *rows = _table(sizes)
    return Overview(tuple(_head(sizes)), tuple(header), tuple(map(tuple, rows))).html()


def as_json(sizes: MinimalDepths) -> dict[str, Any]:
    """The answer as plain data; null where a depth is unlimited, a run deadlocks or nothing is known."""
    return {
        "design": sizes.design, "model": sizes.model, "phase": sizes.phase.name, **sizes.phase.facts(),
        **plain(sizes.schedule, "options approximated"),
        **plain(sizes, "clock_hz target target_cycles unbounded_cycles cycles_now cycles bytes_now bytes"),
        "memory_now": _memory_json(sizes.memory_now), "memory": _memory_json(sizes.memory), **plain(sizes, "budget"),
        "held_back_by": [fifo.name for fifo in sizes.held_back_by], "first_come": list(sizes.first_come),
        "fifos": {fifo.name: _fifo_json(fifo) for fifo in sizes.fifos},
        **plain(sizes, "settings set_cycles runs firings"),
        "version": __version__,
    }  # fmt: skip


def _fifo_json(fifo: FifoSize) -> dict[str, Any]:
    return {
        "streams": [stream.name for stream in fifo.streams],
        "depth_now": None if fifo.depth == UNLIMITED else fifo.depth,
        **plain(fifo, "minimal floor peak bytes_per_token"), "one_place_less": fifo.proof,
        **plain(fifo, "alone_cycles at_host"), "setting": fifo.setting and fifo.setting.path,
        "memory_now": _memory_json(fifo.memory_now), "memory": _memory_json(fifo.memory),
    }  # fmt: skip


def _memory_json(memory: FifoMemory | None) -> dict[str, Any] | None:
    return None if memory is None else plain(memory, "lut bram36")
