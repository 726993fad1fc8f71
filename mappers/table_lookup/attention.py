"""The attention of a table-lookup accelerator: groups of a prompt's queries, or the one query of a decode step.

Adds the tasks of one call; the caller decides the order of calls. Source of the structure: arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archsim.units import DecodeAttention
from dataflow.op import work
from dataflow.pattern import Pattern, sequence
from dataflow.role import Role
from mappers.table_lookup.builder import CallBuilder


def attention(builder: CallBuilder, after: Sequence[str]) -> None:
    """The call of attention, by the engine of a prompt or by that of a decode step."""
    builder.part = "attention"
    if builder.shapes.prefill:
        _groups(builder, after)
    else:
        _two_passes(builder, after)


def _groups(builder: CallBuilder, after: Sequence[str]) -> None:
    """Attention of groups of queries, each to the key and value rows that stand beside it, one row per step."""
    shapes, groups = builder.shapes, builder.shapes.groups()
    heads, size, spans = shapes.heads, shapes.group, [span for _, span in groups]
    step = shapes.attention.part(heads=heads, kv_heads=shapes.kv_heads, queries=size, keys=1, qk_dim=shapes.head_dim)
    drain = work("drain", d=size * heads * shapes.head_dim)
    runs = [(item, n) for span in spans for item, n in ((step, len(span)), (drain, 1))]
    tiles = tuple((range(1), range(0, heads, heads), range(g.start, g.stop, size), span) for g, span in groups)
    attend = builder.task("attention", shapes.names.prefill, runs, op="attention", tiles=tiles)
    # A group fires once per key row and once to drain: queries enter with its first step, results leave with the drain.
    steps = sum(len(span) for span in spans)
    each_step = sequence(*((t, n) for span in spans for t, n in ((1, len(span)), (0, 1))))
    first_steps = sequence(*((t, n) for span in spans for t, n in ((size, 1), (0, len(span)))))
    each_group = sequence(*((t, n) for span in spans for t, n in ((0, len(span)), (size, 1))))
    # Room for two groups of queries: the next one is read while this one is attended to.
    q = _rows_read(builder, "q", attend, shapes.padded, first_steps, depth=2 * size)
    caches = [_rows_read(builder, which, attend, steps, each_step) for which in ("k", "v")]
    _cache_after_queries(builder, q, size, caches)
    write = _rows_written(builder, attend, shapes.padded, each_group, 2 * size)
    builder.call("attention", after, first=[q], last=[write])


def _two_passes(builder: CallBuilder, after: Sequence[str]) -> None:
    """Attention of one query in two passes over the keys that it sees; their raw scores wait in between."""
    shapes, name, seen = builder.shapes, builder.shapes.names.decode, builder.shapes.seen
    unit: DecodeAttention = builder.design.units[name]  # type: ignore[assignment]
    heads, context = shapes.heads, len(seen)
    step = shapes.attention.part(heads=heads, kv_heads=shapes.kv_heads, queries=1, keys=1, qk_dim=shapes.head_dim)
    tiles = ((range(1), range(0, heads, heads), range(1), seen),)
    score = [(replace(step, kind="attention_scores"), context)]
    scores = builder.task("attention.scores", name, score, op="attention", tiles=tiles)
    sums = [(replace(step, kind="attention_values"), context), (work("drain", d=heads * shapes.head_dim), 1)]
    values = builder.task("attention.values", name, sums, op="attention", tiles=tiles)
    # The last firing drains the result, without a score or a value row.
    each_row = sequence((1, context), (0, 1))
    builder.stream(
        scores, values, unit.score_depth, takes=each_row, token_bytes=heads * shapes.activation_bytes,
        fifo=f"{name} scores",
    )  # fmt: skip
    q = _rows_read(builder, "q", scores, 1, sequence((1, 1), (0, context - 1)), depth=1)
    k = _rows_read(builder, "k", scores, context, sequence((1, context)))
    v = _rows_read(builder, "v", values, context, each_row)
    _cache_after_queries(builder, q, 1, (k, v))
    write = _rows_written(builder, values, 1, sequence((0, context), (1, 1)), 1)
    builder.call("attention", after, first=[q], last=[write])


def _rows_read(
    builder: CallBuilder, which: str, consumer: str, rows: int, takes: Pattern[int], *, depth: int | None = None
) -> str:
    """Adds the read of query (q), key (k) or value (v) rows from memory for an attention unit; returns its name."""
    shapes, what = builder.shapes, {"q": "queries", "k": "keys", "v": "values"}[which]
    role, size = Role.CACHE, shapes.kv_heads * shapes.head_dim * shapes.cache_bytes
    if which == "q":
        role, size = Role.ACTIVATION, shapes.heads * shapes.head_bytes
    if depth is None:  # of keys and values: the row in use, and at least one more for the requests under way
        depth = 1 + max(1, shapes.bytes_in_flight // size)
    read = f"attention.{which}.read"
    builder.task(read, shapes.names.memory, work("read", bytes=size), firings=rows, role=role)
    fifo = f"{builder.tasks[consumer].unit} {what}"
    builder.stream(read, consumer, depth, takes=takes, token_bytes=size, fifo=fifo)
    return read


def _rows_written(builder: CallBuilder, producer: str, rows: int, gives: Pattern[int], depth: int) -> str:
    """Adds the write to memory of the rows that an attention unit makes; returns its name."""
    size = builder.shapes.heads * builder.shapes.head_bytes
    each = work("write", bytes=size)
    write = builder.task("attention.write", builder.shapes.names.memory, each, firings=rows, role=Role.ACTIVATION)
    fifo = f"{builder.tasks[producer].unit} output"
    builder.stream(producer, write, depth, gives=gives, token_bytes=size, fifo=fifo)
    return write


def _cache_after_queries(builder: CallBuilder, q: str, rows: int, caches: Sequence[str]) -> None:
    """Starts the reads of keys and values when the first query rows are read: nothing can be scored before."""
    # A token without bytes: the read of the last of these rows gives it, the first read of the cache takes it.
    gives = sequence((0, rows - 1), (1, 1), (0, builder.tasks[q].firings - rows))
    for cache in caches:
        builder.stream(q, cache, 1, gives=gives, takes=sequence((1, 1), (0, builder.tasks[cache].firings - 1)))
