"""Fit: whether a mapping says what can be done in space on a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Entries
from itertools import chain

from archsim.errors import MappingError
from archsim.mapping import Entry, Fused, Mapping
from dataflow.errors import guess
from dataflow.graph import Graph, Op
from dataflow.kinds.attention import THREE_PASSES
from dataflow.op import OP_KINDS
from mappers.build.layers import Group, key_of
from mappers.spatial.stages import tokens_of

IN_SPACE = ("servers",)  # what an entry says of a stage
OF_TIME = ("tile", "cost", "room")  # what a mapping says of ops one after another alone

TILED = "; with `sections: op` one of attention that is in no group of `fuse` also gives a tile of batch and queries"
OF_SEQUENCES = "a token has rows of one sequence, or as many whole sequences as divide the batch"


def keys_of(op: Op, scopes: Sequence[str]) -> dict[str, str]:
    """What a mapping calls the stages of an op, by their kind: as the op, and of attention the first passes too."""
    key = key_of(op, scopes)
    if op.kind != "attention":
        return {op.kind: key}
    return {kind: f"{key} {kind.removeprefix('attention_')}" for kind in THREE_PASSES[:-1]} | {THREE_PASSES[-1]: key}


def refuse_misfits(mapping: Mapping, graph: Graph, groups: Sequence[Group], *, own: bool) -> None:
    """Raises MappingError with all that the mapping says and this graph does not have or space does not do.

    A design's `own` mapping may say more, of other graphs that run on it.
    """
    found = [*_problems(mapping, graph, groups, own=own)]
    if found:
        raise MappingError("\n".join(mapping.document.problem(path, what) for path, what in found))


def _problems(mapping: Mapping, graph: Graph, groups: Sequence[Group], *, own: bool) -> Iterator[tuple[str, str]]:
    if mapping.order != "space":
        yield "order", f"'{mapping.order}'; this mapper lays ops out in space; write 'order: space', or take another"
    data = mapping.document.data
    for name in OF_TIME:
        if name in data:
            yield name, "is of ops one after another; in space `fuse` gives rows, and `ops` gives servers"
    known = dict.fromkeys(key for ops, scopes in groups for op in ops for key in keys_of(op, scopes).values())
    apart = _apart(mapping, groups)
    for key, entry in mapping.ops.items():
        if key not in known and not own:
            yield f"ops.{key}", f"no stage has this name; {guess(key, known, otherwise='stages are')}"
        for name in Entry.model_fields:
            if name in data["ops"][key] and not (name in IN_SPACE or (name == "tile" and key in apart)):
                told = f"an entry of a stage in space gives {' and '.join(IN_SPACE)}"
                yield f"ops.{key}.{name}", told + (TILED if name == "tile" else "")
        if entry.tile and key in apart:
            yield from _of_tile(f"ops.{key}.tile", entry.tile, apart[key])
    yield from _of_groups(mapping, graph, groups, own=own)


def _apart(mapping: Mapping, groups: Sequence[Group]) -> dict[str, Op]:
    """Attention whose passes are sections of their own, by key."""
    fused = {name for one in mapping.fuse for name in one.ops}
    found = {key_of(op, scopes): op for ops, scopes in groups for op in ops if op.kind == "attention"}
    return {key: op for key, op in found.items() if mapping.sections == "op" and key not in fused}


def _of_tile(path: str, tile: Entries[str, int], op: Op) -> Iterator[tuple[str, str]]:
    batch, rows = op.work["batch"], op.work["queries"]
    queries, sequences = tile.get("queries", rows), tile.get("batch", 1)
    if tile.keys() - {"batch", "queries"}:
        yield path, f"{', '.join(tile)}; the axes that tokens cut are batch and queries"
    elif queries > rows or batch % sequences or (sequences > 1 and queries < rows):
        yield path, f"{sequences} x {queries} of {batch} x {rows}; {OF_SEQUENCES}"


def _of_rows(path: str, fused: Fused, graph: Graph, groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    ops = [op for ops, scopes in groups for op in ops if key_of(op, scopes) in fused.ops]
    for batch, rows in dict.fromkeys(found for op in ops if (found := tokens_of(op, graph))) if fused.rows else ():
        assert fused.rows is not None
        if fused.rows > rows and (batch * rows) % fused.rows | fused.rows % rows:
            yield path, f"{fused.rows} rows of {batch} x {rows}; {OF_SEQUENCES}"


def _of_groups(mapping: Mapping, graph: Graph, groups: Sequence[Group], *, own: bool) -> Iterator[tuple[str, str]]:
    names = [[key_of(op, scopes) for op in ops] for ops, scopes in groups]
    free = {op.name for op in graph.ops.values() if OP_KINDS[op.kind].free}
    first_in: dict[str, int] = {}
    for place, fused in enumerate(mapping.fuse):
        path = f"fuse.{place}.ops"
        for name in fused.ops:
            if first_in.setdefault(name, place) != place:
                yield path, f"'{name}' is in fuse.{first_in[name]} too; an op is in one section"
        if fused.columns is not None:
            yield f"fuse.{place}.columns", "a token in space is of rows"
        yield from _of_rows(f"fuse.{place}.rows", fused, graph, groups)
        unknown = [name for name in fused.ops if not any(name in each for each in names)]
        if unknown and own and len(unknown) == len(fused.ops):
            continue
        for name in unknown:
            told = "is free and has no stage" if name in free else guess(name, [*chain(*names)], otherwise="ops are")
            yield path, f"no op '{name}' to lay out; {told}"
        inside = next((each for each in names if fused.ops[0] in each), [])
        first = inside.index(fused.ops[0]) if inside else 0
        if not unknown and tuple(inside[first : first + len(fused.ops)]) != fused.ops:
            yield path, f"ops of a section follow one another in a layer, as {', '.join(inside)}"
