"""The calls of a table-lookup accelerator that work on whole rows: embedding, norm, attention and LM head.

Each function adds the tasks of one call; which call comes after which is said by the caller. Source of the structure:
arXiv 2510.15926.
"""

from __future__ import annotations

from collections.abc import Sequence

from archsim.units import DecodeAttention
from dataflow.op import work
from dataflow.pattern import Pattern, sequence
from mappers.build.section_builder import chunks
from mappers.table_lookup.builder import Site

HEAD_ROWS = 64  # outputs of the LM head per firing


def norm(site: Site, name: str, op: str | tuple[str, ...], rows: int, d: int, after: Sequence[str]) -> None:
    """Row by row: in bursts into the unit's row buffer, normed, and out in bursts."""
    site.sketch.part = "norm"
    s, p = site.sketch, site.parts
    norm = s.task(name, p.norm, rows, work("rmsnorm", rows=1, d=d), op=op, tiles=((range(rows), range(0, d, d)),))
    size = d * site.activation_bytes
    read, runs = site.bursts(f"{name}.read", "read", size, times=rows, role="activation")
    write, _ = site.bursts(f"{name}.write", "write", size, times=rows, role="activation")
    bursts = sum(n for _, n in runs)
    # The unit holds a row while it scales it; the requests under way are held by the port.
    depth, burst = bursts + site.outstanding, site.burst_bytes
    s.stream(read, norm, depth, takes=bursts, token_bytes=burst, fifo=f"{p.norm} rows in")
    s.stream(norm, write, depth, gives=bursts, token_bytes=burst, fifo=f"{p.norm} rows out")
    site.call(name, after, [read], [write])


def _rows_read(
    site: Site, name: str, consumer: str, rows: int, row_bytes: int, takes: Pattern[int], depth: int, what: str
) -> str:
    """Rows of queries, keys or values (`what`) for an attention unit, from memory or its cache."""
    role = "activation" if what == "queries" else "cache"
    unit = site.sketch.tasks[consumer].unit
    read = site.sketch.task(name, site.parts.memory, rows, work("read", bytes=row_bytes), role=role)
    site.sketch.stream(read, consumer, depth, takes=takes, token_bytes=row_bytes, fifo=f"{unit} {what}")
    return read


def prefill_attention(
    site: Site,
    name: str,
    *,
    groups: Sequence[range],
    heads: int,
    kv_heads: int,
    head_dim: int,
    skips_masked: bool,
    after: Sequence[str],
) -> None:
    """Groups of queries against key and value rows, one row per step.

    Where masked keys are skipped, rows count from the newest token: a group sees the keys from its own first row on.
    """
    site.sketch.part = "attention"
    s, p = site.sketch, site.parts
    size, keys = len(groups[0]), groups[-1].stop
    spans = [range(g.start if skips_masked else 0, keys) for g in groups]
    step = work("attention", pairs=size, heads=heads, head_dim=head_dim)
    drain = work("drain", d=size * heads * head_dim)
    runs = [(item, n) for span in spans for item, n in ((step, len(span)), (drain, 1))]
    tiles = tuple((range(g.start, g.stop, size), span) for g, span in zip(groups, spans, strict=True))
    attend = s.task(name, p.prefill, sum(n for _, n in runs), sequence(*runs), op=name, tiles=tiles)
    row, kv_row = (n * head_dim * site.activation_bytes for n in (heads, kv_heads))
    steps = sum(len(span) for span in spans)
    each_step = sequence(*((t, n) for span in spans for t, n in ((1, len(span)), (0, 1))))
    first_steps = sequence(*((t, n) for span in spans for t, n in ((size, 1), (0, len(span)))))
    depth = 1 + site.in_flight(kv_row)
    q = _rows_read(site, f"{name}.q.read", attend, len(groups) * size, row, first_steps, 2 * size, "queries")
    k = _rows_read(site, f"{name}.k.read", attend, steps, kv_row, each_step, depth, "keys")
    v = _rows_read(site, f"{name}.v.read", attend, steps, kv_row, each_step, depth, "values")
    _cache_after_queries(site, q, size, (k, v))
    write = s.task(f"{name}.write", p.memory, len(groups) * size, work("write", bytes=row), role="activation")
    s.stream(
        attend,
        write,
        2 * size,
        token_bytes=row,
        gives=sequence(*((t, n) for span in spans for t, n in ((0, len(span)), (size, 1)))),
        fifo=f"{p.prefill} output",
    )
    site.call(name, after, [q], [write])


def decode_attention(
    site: Site, name: str, *, context: int, heads: int, kv_heads: int, head_dim: int, after: Sequence[str]
) -> None:
    """One query in two passes over the cache; the raw scores of all cached tokens wait in between."""
    site.sketch.part = "attention"
    s, p = site.sketch, site.parts
    unit: DecodeAttention = site.design.units[p.decode]  # type: ignore[assignment]
    extents = {"pairs": 1, "heads": heads, "head_dim": head_dim}
    tiles = ((range(1), range(context)),)
    scores = s.task(f"{name}.scores", p.decode, context, work("attention_scores", **extents), op=name, tiles=tiles)
    drain = work("drain", d=heads * head_dim)
    values = s.task(
        f"{name}.values",
        p.decode,
        context + 1,
        sequence((work("attention_values", **extents), context), (drain, 1)),
        op=name,
        tiles=tiles,
    )
    row, kv_row = (n * head_dim * site.activation_bytes for n in (heads, kv_heads))
    each_row = sequence((1, context), (0, 1))
    s.stream(
        scores,
        values,
        unit.score_depth,
        takes=each_row,
        token_bytes=heads * site.activation_bytes,
        fifo=f"{p.decode} scores",
    )
    depth = 1 + site.in_flight(kv_row)
    q = _rows_read(site, f"{name}.q.read", scores, 1, row, sequence((1, 1), (0, context - 1)), 1, "queries")
    k = _rows_read(site, f"{name}.k.read", scores, context, kv_row, sequence((1, context)), depth, "keys")
    v = _rows_read(site, f"{name}.v.read", values, context, kv_row, each_row, depth, "values")
    _cache_after_queries(site, q, 1, (k, v))
    write = s.task(f"{name}.write", p.memory, 1, work("write", bytes=row), role="activation")
    s.stream(values, write, 1, gives=sequence((0, context), (1, 1)), token_bytes=row, fifo=f"{p.decode} output")
    site.call(name, after, [q], [write])


def _cache_after_queries(site: Site, q: str, rows: int, caches: tuple[str, ...]) -> None:
    """The caches are read once the first rows of queries are: nothing can be scored before."""
    s = site.sketch
    others = s.tasks[q].firings - rows
    for cache in caches:
        s.stream(
            q,
            cache,
            1,
            gives=sequence((0, rows - 1), (1, 1), (0, others)),
            takes=sequence((1, 1), (0, s.tasks[cache].firings - 1)),
        )


def embedding(site: Site, name: str, op: str, rows: int, row_bytes: int) -> None:
    """Rows of the table from memory to where the first norm reads them."""
    site.sketch.part = "embedding"
    s, p = site.sketch, site.parts
    read = s.task(f"{name}.read", p.memory, rows, work("read", bytes=row_bytes), op=op, role="embedding")
    write = s.task(f"{name}.write", p.memory, rows, work("write", bytes=row_bytes), role="activation")
    s.stream(read, write, 2, token_bytes=row_bytes, fifo="embedding rows")
    site.call(name, [], [read], [write])


def lm_head(site: Site, name: str, op: str, *, k: int, n: int, weight_bytes: int) -> None:
    """The host's matmul, its weights read beside it."""
    site.sketch.part = "LM head"
    s, p = site.sketch, site.parts
    runs = chunks(n, HEAD_ROWS)
    firings = sum(count for _, count in runs)
    read = s.task(
        f"{name}.read",
        p.memory,
        firings,
        sequence(*((work("read", bytes=weight_bytes * r // n), c) for r, c in runs)),
        role="lm_head",
    )
    head = s.task(
        name,
        p.host,
        firings,
        sequence(*((work("matmul", m=1, k=k, n=r), c) for r, c in runs)),
        op=op,
        tiles=((range(1), range(0, n, HEAD_ROWS)),),
    )
    s.stream(read, head, 2, token_bytes=weight_bytes * HEAD_ROWS // n, fifo=f"{p.host} weights")
    site.call(name, [], [read], [head])
