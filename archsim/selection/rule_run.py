"""Chosen: one step of a selection's rule, run on a stream of keys or replayed, and what it took and left out.

Knows rules, streams and recordings, and how their complaints name a selection's keys. Imported when a rule runs, since
it compiles. Does not know where tokens lie.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import NamedTuple, get_args

import numpy as np

from archsim.errors import InputError, quoted
from archsim.selection.keys import PART, Drawn, Keys, Recorded, sampled_heads
from archsim.selection.selection import Selection, Use
from dataflow.errors import GraphError, guess
from dataflow.op import Work, work
from kernels.selection import ALGORITHMS, Algorithm, CacheShape, Counts, Kept, State, select, start, update
from kernels.selection.clusters import HashClusters, clusters_of
from kernels.selection.quality import mass_recall, output_error, top_recall
from kernels.selection.recordings import load_selection, load_stream
from kernels.selection.streams import Stream, Video, drawn_needles

LEARNING = ("h2o", "infllm")  # rules that learn from the queries of the tokens cached before the step
JUDGED = 4  # of the step, the newest rows whose attention is held against the dense one
LEARNED = 10  # of each part, the newest tokens whose queries they are given
MASS = 0.9  # of dense attention, which a question has on its needle
UNLIMITED = 1 << 62
WRITTEN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}

Quality = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a rule keeps in each KV head, bool [kv_heads, tokens], and what that took and left out.

    clusters: int64 [kv_heads, tokens] where tokens are clustered · group_tokens: how many a cluster, page, block or
    frame has on average, 1 for rules of single tokens · quality: mass_recall, top_recall, output_error.
    """

    mask: np.ndarray
    clusters: np.ndarray | None
    group_tokens: float
    works: tuple[Work, ...]
    metadata_bytes: int
    quality: Quality


def _selection(said: str) -> Selection:
    """The selection that was said, whatever its files were like then."""
    written = {key: value for key, value in json.loads(said).items() if key != "read"}
    return Selection.model_validate({"source": "", **written})


def state_of(path: str | None) -> tuple[int, int] | None:
    """When a file was last written and its size, by which a later one under the same path is told from it."""
    if path is None or not Path(path).exists():
        return None
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def chosen_by(said: str, extents: tuple[int, int, int, int, int], rows: int, use: Use, judged: bool) -> Chosen:
    """The step of `rows` tokens behind a cache that holds the others; `said` is the selection, of which sweeps of
    hardware ask the same again, and extents are those of a CacheShape.

    Raises InputError as layer_step.
    """
    selection = _selection(said)
    shape = CacheShape(*extents)
    if selection.recorded_selection is not None:
        step = _replayed(selection, shape, rows)
    else:
        step = _run(selection, said, shape, rows, use)
    mask, counts = step.kept.of_kv_heads(shape.kv_heads), step.kept.counts
    try:
        works = _works(counts)
    except GraphError as problem:  # only of counts that were recorded
        told = f"{selection.recorded_selection}: the step's counts cannot be ({problem}); record them anew"
        raise InputError(_where(selection, f"recorded_selection: {told}")) from problem
    # What scoring reads of K beyond what is kept of it is read for the choice.
    scored = max(0, counts.kv_read_bytes - 2 * int(mask.sum()) * shape.row_bytes)
    return Chosen(
        mask,
        step.clusters,
        step.group_tokens,
        works,
        counts.metadata_read_bytes + scored,
        _quality(step, shape, rows) if judged else (None, None, None),
    )


class _Step(NamedTuple):
    """What a rule keeps and counts in the step, and what it was asked, if that is known."""

    kept: Kept
    clusters: np.ndarray | None
    group_tokens: float
    keys: Keys | None
    queries: np.ndarray | None


def _run(selection: Selection, said: str, shape: CacheShape, rows: int, use: Use) -> _Step:
    """The rule's step on the stream of the selection."""
    options = _options(selection, shape)
    if selection.recording is not None:
        _recorded(selection, shape)  # long enough for the step too
    cached = shape.tokens - rows
    extents = (shape.heads, shape.kv_heads, shape.head_dim, shape.element_bytes)
    keys, state = _history(said, extents, cached // PART, rows, _needle_tokens(selection, shape))
    if state.tokens < cached:
        state = _absorbed(selection, state, keys, last=cached)
    new = keys.keys(cached, shape.tokens)
    queries = keys.queries(new, cached)
    if use != "frame" and len(keys.questions):
        queries = np.resize(keys.questions, queries.shape)
    state = update(state, new, queries=queries)
    kept = select(state, queries)
    clusters = clusters_of(state) if isinstance(options, HashClusters) else None
    return _Step(Kept(kept.mask, state.counts + kept.counts), clusters, _group_tokens(options, clusters), keys, queries)


def _where(selection: Selection, path: str) -> str:
    return f"selection '{selection.name}': {path}"


def _told(selection: Selection, path: str, problem: Exception, keys: list[str]) -> InputError:
    """A complaint of the kernels, at the key below the path that it speaks of, if it is one of these."""
    text = str(problem)
    named = text.split(":")[0].split("[")[0] in keys
    return InputError(f"{_where(selection, path)}{'.' if named else ': '}{text}")


def _options(selection: Selection, shape: CacheShape) -> Algorithm:
    """The rule with its settings. Raises InputError for those that it or the cache cannot have."""
    rule = ALGORITHMS[selection.algorithm]
    kinds = {field.name: get_args(field.type) or (field.type,) for field in fields(rule)}
    known = {name: of for name, of in kinds.items() if set(of) <= set(WRITTEN)}  # no arrays
    problems = []
    for name, value in selection.settings.items():
        if name not in known:
            told = guess(name, known, otherwise="settings are") if known else "the rule has none"
            problems.append(_where(selection, f"settings.{name}: unknown setting; {told}"))
        elif not any(type(value) is kind or (kind is float and type(value) is int) for kind in known[name]):
            expected = " or ".join(WRITTEN[kind] for kind in known[name])
            problems.append(_where(selection, f"settings.{name}: expected {expected}, got {quoted(value)}"))
    if problems:
        raise InputError(problems)
    try:
        options: Algorithm = rule(**selection.settings)
        options.check(shape)
    except ValueError as problem:
        raise _told(selection, "settings", problem, list(known)) from problem
    if isinstance(options, HashClusters) and options.buckets is None:
        sorts = "settings.buckets: nothing sorts, for which no unit has a time; give a number of buckets such as 20"
        raise InputError(_where(selection, sorts))
    return options


def _needle_tokens(selection: Selection, shape: CacheShape) -> int:
    """The tokens among which needles are hidden; 0 without any, so that streams of other lengths begin the same."""
    return shape.tokens if selection.stream.needles and selection.recording is None else 0


@lru_cache(maxsize=1)
def _history(
    said: str, extents: tuple[int, int, int, int], parts: int, rows: int, needle_tokens: int
) -> tuple[Keys, State]:
    """The keys, and the rule's state after so many whole parts: the steps of a generation share most of them."""
    selection = _selection(said)
    room = CacheShape((parts + 1) * PART + rows, *extents)
    keys: Keys = _drawn(selection, room, needle_tokens)
    if selection.recording is not None:
        keys = _recorded(selection, CacheShape(parts * PART + rows, *extents))
    state = start(room, _options(selection, room))
    for first in range(0, parts * PART, PART):
        state = _absorbed(selection, state, keys, last=first + PART)
    return keys, state


def _absorbed(selection: Selection, state: State, keys: Keys, *, last: int) -> State:
    """The state after the tokens up to last."""
    new = keys.keys(state.tokens, last)
    learned = new[-LEARNED:]
    queries = keys.queries(learned, last - len(learned)) if selection.algorithm in LEARNING else None
    return update(state, new, queries=queries)


def _drawn(selection: Selection, shape: CacheShape, needle_tokens: int) -> Drawn:
    options = selection.stream.model_dump(exclude={"needles"})
    video = Video(heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim, **options)
    try:
        needles = drawn_needles(video, selection.stream.needles, tokens=needle_tokens or shape.tokens)
    except ValueError as problem:
        raise _told(selection, "stream", problem, ["needles"]) from problem
    return Drawn(video, needles, needles.questions(shape.heads, tokens=needle_tokens or shape.tokens, mass=MASS))


@lru_cache(maxsize=1)
def _stream(path: str, read: tuple[int, int] | None, heads: int, kv_heads: int, head_dim: int) -> Stream:
    return load_stream(path, shape=CacheShape(UNLIMITED, heads, kv_heads, head_dim))


def _recorded(selection: Selection, shape: CacheShape) -> Recorded:
    """The recorded stream. Raises InputError where it is of other heads or shorter than the shape."""
    assert selection.recording is not None
    try:
        read = state_of(selection.recording)
        stream = _stream(selection.recording, read, shape.heads, shape.kv_heads, shape.head_dim)
    except ValueError as problem:
        raise _told(selection, "recording", problem, []) from problem
    if len(stream.keys) < shape.tokens:
        told = f"{len(stream.keys)} recorded, the step has {shape.tokens}; record as many or take a shorter context"
        raise InputError(_where(selection, f"recording: {selection.recording}: tokens: {told}"))
    return Recorded(stream)


def _replayed(selection: Selection, shape: CacheShape, rows: int) -> _Step:
    """The recorded step of a cache of this length. Raises InputError where there is none."""
    assert selection.recorded_selection is not None
    try:
        steps = load_selection(selection.recorded_selection)
    except ValueError as problem:
        raise _told(selection, "recorded_selection", problem, []) from problem
    fitting = [s for s in steps if s.mask.shape[1] == shape.tokens and len(s.mask) in (shape.kv_heads, shape.heads)]
    if not fitting:
        heads, tokens = (_range([step.mask.shape[axis] for step in steps]) for axis in (0, 1))
        told = (
            f"{selection.recorded_selection}: {len(steps)} steps recorded, of {tokens} tokens and {heads} heads; give "
            f"one of {shape.tokens} tokens, the step's own among them, and {shape.kv_heads} or {shape.heads} heads"
        )
        raise InputError(_where(selection, f"recorded_selection: {told}"))
    if selection.recording is None:
        return _Step(fitting[0], None, 1.0, None, None)
    keys, cached = _recorded(selection, shape), shape.tokens - rows
    return _Step(fitting[0], None, 1.0, keys, keys.queries(keys.keys(cached, shape.tokens), cached))


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"


def _quality(step: _Step, shape: CacheShape, rows: int) -> Quality:
    """The three means over the last rows and the query heads of the sampled KV heads, new tokens kept.

    The exact top is of as many tokens as are kept of what the first of these rows sees.
    """
    if step.keys is None or step.queries is None:
        return None, None, None
    mask = np.repeat(step.kept.mask, shape.heads // len(step.kept.mask), axis=0)
    mask[:, shape.tokens - rows :] = True
    keys, values = step.keys.sampled(shape.tokens)
    found: list[tuple[float, float, float]] = []
    for i, head in enumerate(sampled_heads(shape.kv_heads)):
        k, v = np.ascontiguousarray(keys[:, i : i + 1]), np.ascontiguousarray(values[:, i : i + 1])
        for h in range(head * shape.share, (head + 1) * shape.share):
            q, kept = step.queries[-JUDGED:, h : h + 1], mask[h : h + 1]
            most = int(kept.sum()) - len(q) + 1
            top = top_recall(q, k, mask=kept, top=most, causal=True)
            error = output_error(q, k, values=v, mask=kept, causal=True)
            found.append((mass_recall(q, k, mask=kept, causal=True).mean(), top.mean(), error.mean()))
    mass, top, error = np.mean(found, axis=0).tolist()
    return mass, top, error


def _works(counts: Counts) -> tuple[Work, ...]:
    """The kinds of work of what a step counted; the comparisons of the threshold unit are its own."""
    ranked = sum(columns * (rows + passes) for rows, columns, passes in counts.ranked)
    works = [work("score", mac=counts.multiply_adds)]
    works += [work("hash_compare", current=new, cached=old, bits=bits) for new, old, bits in counts.hashed]
    works += [work("threshold", rows=rows, columns=columns, passes=passes) for rows, columns, passes in counts.ranked]
    works.append(work("compare", comparisons=counts.comparisons + counts.additions - ranked))
    return tuple(item for item in works if item.elements)


def _group_tokens(options: Algorithm, clusters: np.ndarray | None) -> float:
    """Tokens of a cluster on average, or of a page, block or frame; 1 for rules of single tokens."""
    if clusters is not None:
        return float(np.mean(clusters.shape[1] / (clusters.max(axis=1) + 1)))
    named = [getattr(options, name) for name in ("page", "block", "frame") if hasattr(options, name)]
    return float(named[0]) if named else 1.0
