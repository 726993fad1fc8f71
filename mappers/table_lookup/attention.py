"""The attention of a table-lookup accelerator: groups of a prompt's queries, or the one query of a decode step.

Each function adds the tasks of one call; the caller decides the order of calls. Source of the structure:
arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence

from archsim.units import DecodeAttention
from dataflow.op import work
from dataflow.pattern import Pattern, sequence
from dataflow.role import Role
from mappers.table_lookup.builder import CallBuilder


def prefill_attention(
    builder: CallBuilder,
    *,
    groups: Sequence[tuple[range, range]],
    heads: int,
    kv_heads: int,
    head_dim: int,
    after: Sequence[str],
) -> None:
    """Attention of groups of queries, each to the key and value rows that stand beside it, one row per step."""
    builder.part = "attention"
    names, size, spans = builder.names, len(groups[0][0]), [span for _, span in groups]
    step = work("attention", heads=heads, kv_heads=kv_heads, queries=size, keys=1, qk_dim=head_dim)
    drain = work("drain", d=size * heads * head_dim)
    runs = [(item, n) for span in spans for item, n in ((step, len(span)), (drain, 1))]
    all_heads = (range(1), range(0, heads, heads))
    tiles = tuple((*all_heads, range(g.start, g.stop, size), span) for g, span in groups)
    attend = builder.task("attention", names.prefill, runs, op="attention", tiles=tiles)
    row, kv_row = (n * head_dim * builder.activation_bytes for n in (heads, kv_heads))
    # A group fires once per key row and once to drain: queries enter with its first step, results leave with the drain.
    steps = sum(len(span) for span in spans)
    each_step = sequence(*((t, n) for span in spans for t, n in ((1, len(span)), (0, 1))))
    first_steps = sequence(*((t, n) for span in spans for t, n in ((size, 1), (0, len(span)))))
    # Room for two groups of queries: the next one is read while this one is attended to.
    q = _rows_read(builder, "q", attend, len(groups) * size, row, first_steps, 2 * size)
    k = _rows_read(builder, "k", attend, steps, kv_row, each_step, _cached_rows(builder, kv_row))
    v = _rows_read(builder, "v", attend, steps, kv_row, each_step, _cached_rows(builder, kv_row))
    _cache_after_queries(builder, q, size, (k, v))
    each_group = sequence(*((t, n) for span in spans for t, n in ((0, len(span)), (size, 1))))
    write = _rows_written(builder, attend, len(groups) * size, row, each_group, 2 * size)
    builder.call("attention", after, first=[q], last=[write])


def decode_attention(
    builder: CallBuilder, *, seen: range, heads: int, kv_heads: int, head_dim: int, after: Sequence[str]
) -> None:
    """Attention of one query in two passes over the keys that it sees; their raw scores wait in between."""
    builder.part = "attention"
    name = builder.names.decode
    unit: DecodeAttention = builder.design.units[name]  # type: ignore[assignment]
    context = len(seen)
    extents = {"heads": heads, "kv_heads": kv_heads, "queries": 1, "keys": 1, "qk_dim": head_dim}
    tiles = ((range(1), range(0, heads, heads), range(1), seen),)
    score = [(work("attention_scores", **extents), context)]
    scores = builder.task("attention.scores", name, score, op="attention", tiles=tiles)
    sums = [(work("attention_values", **extents), context), (work("drain", d=heads * head_dim), 1)]
    values = builder.task("attention.values", name, sums, op="attention", tiles=tiles)
    row, kv_row = (n * head_dim * builder.activation_bytes for n in (heads, kv_heads))
    # The last firing drains the result, without a score or a value row.
    each_row = sequence((1, context), (0, 1))
    builder.stream(
        scores, values, unit.score_depth, takes=each_row, token_bytes=heads * builder.activation_bytes,
        fifo=f"{name} scores",
    )  # fmt: skip
    q = _rows_read(builder, "q", scores, 1, row, sequence((1, 1), (0, context - 1)), 1)
    k = _rows_read(builder, "k", scores, context, kv_row, sequence((1, context)), _cached_rows(builder, kv_row))
    v = _rows_read(builder, "v", values, context, kv_row, each_row, _cached_rows(builder, kv_row))
    _cache_after_queries(builder, q, 1, (k, v))
    write = _rows_written(builder, values, 1, row, sequence((0, context), (1, 1)), 1)
    builder.call("attention", after, first=[q], last=[write])


def _cached_rows(builder: CallBuilder, row_bytes: int) -> int:
    """Key or value rows queued before the unit: the one in use, and at least one more for the requests under way."""
    return 1 + max(1, builder.bytes_in_flight // row_bytes)


def _rows_read(
    builder: CallBuilder, which: str, consumer: str, rows: int, row_bytes: int, takes: Pattern[int], depth: int
) -> str:
    """Adds the read of query (q), key (k) or value (v) rows from memory for an attention unit; returns its name."""
    what = {"q": "queries", "k": "keys", "v": "values"}[which]
    role = Role.ACTIVATION if which == "q" else Role.CACHE
    each = work("read", bytes=row_bytes)
    read = builder.task(f"attention.{which}.read", builder.names.memory, each, firings=rows, role=role)
    fifo = f"{builder.tasks[consumer].unit} {what}"
    builder.stream(read, consumer, depth, takes=takes, token_bytes=row_bytes, fifo=fifo)
    return read


def _rows_written(
    builder: CallBuilder, producer: str, rows: int, row_bytes: int, gives: Pattern[int], depth: int
) -> str:
    """Adds the write to memory of the rows that an attention unit makes; returns its name."""
    each = work("write", bytes=row_bytes)
    write = builder.task("attention.write", builder.names.memory, each, firings=rows, role=Role.ACTIVATION)
    fifo = f"{builder.tasks[producer].unit} output"
    builder.stream(producer, write, depth, gives=gives, token_bytes=row_bytes, fifo=fifo)
    return write


def _cache_after_queries(builder: CallBuilder, q: str, rows: int, caches: tuple[str, ...]) -> None:
    """Starts the reads of keys and values when the first query rows are read: nothing can be scored before."""
    # A token without bytes: the read of the last of these rows gives it, the first read of the cache takes it.
    others = builder.tasks[q].firings - rows
    for cache in caches:
        builder.stream(
            q, cache, 1, gives=sequence((0, rows - 1), (1, 1), (0, others)),
            takes=sequence((1, 1), (0, builder.tasks[cache].firings - 1)),
        )  # fmt: skip
