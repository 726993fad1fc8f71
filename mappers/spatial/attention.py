"""Attention in three passes: scores, their softmax, and the sums of values, each a stage of its own."""

from __future__ import annotations

from dataflow.kinds.attention import THREE_PASSES
from dataflow.op import Work
from dataflow.pattern import every, sequence
from dataflow.role import Role
from mappers.build.layers import name_within
from mappers.build.pieces import chunks, even
from mappers.spatial.reading import behind
from mappers.spatial.row_wiring import RowWiring
from mappers.spatial.stages import Stage, once, piece_of

SCORES, SOFTMAX, SUMS = THREE_PASSES
KEYS, VALUES = 1, 2  # places of operands


def add_pass(builder: RowWiring, stage: Stage) -> None:
    """Adds what a pass reads: queries and keys, scores, or their weights and values; and the way of what it makes."""
    op = stage.op
    if stage.kind == SCORES:
        builder.rows_of(stage, behind(builder.graph, op.inputs[0]), 0)
        _add_keys(builder, stage, KEYS)
    else:
        _add_scores(builder, stage, THREE_PASSES[THREE_PASSES.index(stage.kind) - 1])
    if stage.kind == SUMS:
        _add_keys(builder, stage, VALUES)
    else:
        sizes = scores_of(builder, stage)
        largest = max(size for size, _ in sizes)
        edge = builder.edge(_edge_of(stage, stage.kind), stage.name, largest, stage.firings, places=builder.buffers)
        edge.rate = builder.rate(stage, -1)
        if stage.alone and (way := builder.way(Role.ACTIVATION, op)):
            builder.go(f"store {stage.name}", way, Role.ACTIVATION, sizes, edge)


def scores_of(builder: RowWiring, stage: Stage) -> list[tuple[int, int]]:
    """Bytes of the scores of each firing: the whole rectangle of its queries and keys."""
    format = builder.graph.tensors[stage.op.inputs[0]].format

    def size(item: Work) -> int:
        return format.bytes((item["heads"], item["queries"], item["keys"]))

    return [(size(item), n) for item, n in stage.runs]


def _edge_of(stage: Stage, kind: str) -> str:
    return f"{stage.op.name} {kind}"


def _add_scores(builder: RowWiring, stage: Stage, before: str) -> None:
    """What the pass before has made: by its stream, or from memory where that is in another section."""
    name = _edge_of(stage, before)
    if name not in builder.edges:
        way, sizes = builder.way(Role.ACTIVATION, stage.op), scores_of(builder, stage)
        if not way:
            return
        scores = f"load {name_within(stage.op)} {before.removeprefix('attention_')}"
        last = builder.come(scores, way, Role.ACTIVATION, sizes, builder.before(stage))
        builder.edge(name, last, max(size for size, _ in sizes), stage.firings, places=builder.buffers)
    builder.take(name, stage, every(1), 0)


def _add_keys(builder: RowWiring, stage: Stage, place: int) -> None:
    """Keys or values: past ones from the cache, new ones as their op makes them, which stay until the last token."""
    graph, name = builder.graph, stage.op.inputs[place]
    tensor = graph.in_memory(name)
    append, unread = graph.ops.get(tensor.name), graph.rows_not_read()
    if append is None or append.kind != "append":
        if tensor.role.stored:
            rows = tensor.shape[0] - unread.get(name, 0)
            _add_cached(builder, stage, tensor.format.bytes((rows, *tensor.shape[1:])), place)
        else:
            _add_kept(builder, stage, behind(graph, name), place)
        return
    new, past = behind(graph, append.inputs[0]), append.inputs[1:]
    not_read = sum(unread.get(one, 0) for one in past)
    # Where another section has made the new rows, it has written them into the cache.
    here = new in builder.edges
    rows = (sum(graph.tensors[one].shape[0] for one in past) if here else tensor.shape[0]) - not_read
    if rows:
        _add_cached(builder, stage, tensor.format.bytes((rows, *tensor.shape[1:])), place)
    if here:
        _add_kept(builder, stage, new, place)


def _add_cached(builder: RowWiring, stage: Stage, size: int, place: int) -> None:
    if not (way := builder.way(Role.CACHE, stage.op, reads=size)):
        return
    name = f"load {name_within(stage.op)} {'keys' if place == KEYS else 'values'}"
    # Those of a head are read by one firing; where several tokens read them, they come once and stay.
    by_head = builder.count == 1
    sizes = even(size, stage.firings) if by_head else chunks(size, piece_of(size, builder.fabric.holding.holds_bytes))
    pieces = sum(n for _, n in sizes)
    whole = sequence((pieces, 1), (0, stage.firings - 1))
    takes = sequence((1, pieces), (0, stage.firings - pieces)) if by_head else whole
    places = min(pieces, builder.places) if by_head else pieces
    builder.bring(name, way, Role.CACHE, stage, sizes, takes, places=places, place=place)


def _add_kept(builder: RowWiring, stage: Stage, name: str, place: int) -> None:
    """Rows that every later token reads too: each token has a place until the end."""
    if not builder.there(stage, name):
        return
    edge, mask, tokens = builder.edges[name], stage.op.work.mask, builder.tokens
    assert mask is not None
    assert tokens is not None
    edge.places = edge.tokens
    if mask.causal or tokens.sequences:
        takes = once(stage)
    else:
        # All rows of a sequence are there before its first token.
        each, edge.wait = -(-tokens.rows // tokens.each), edge.tokens
        takes = sequence((each, 1), (0, each * stage.parts - 1))
    builder.take(name, stage, takes, place)
