"""RuleRun: one step of a selection's rule, run on a stream of keys or replayed from a recording.

Knows rules, streams and recordings, and which key of the selection's file a kernel's complaint is about. It compiles
kernels, so it is imported when a rule runs. Does not know in which memory tokens lie.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import NamedTuple, get_args

import numpy as np

from archsim.errors import InputError, quoted
from archsim.selection.keys import SEGMENT, DrawnKeys, KeySource, RecordedKeys, sampled_heads
from archsim.selection.layer_cache import LayerCache
from archsim.selection.selection import Selection, Use
from dataflow.errors import GraphError, guess
from dataflow.op import Work, work
from dataflow.task import UNLIMITED
from kernels.selection import ALGORITHMS, Algorithm, CacheShape, Counters, SelectedKeys, State, select, start, update
from kernels.selection.clusters import HashClusters, clusters_of
from kernels.selection.quality import mean_quality
from kernels.selection.recordings import load_selection, load_stream
from kernels.selection.streams import Stream, Video, drawn_needles

LEARNING = ("h2o", "infllm")  # rules that learn from the queries of the tokens cached before the step
JUDGED = 4  # newest rows of the step whose attention is compared with the dense one
LEARNED = 10  # newest tokens of each segment whose queries such a rule is given
MASS = 0.9  # of dense attention, which a question has on its needle
TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}

Quality = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class RuleRun:
    """What a rule keeps in each KV head, bool [kv_heads, tokens], and what choosing took.

    clusters: int64 [kv_heads, tokens] where tokens are clustered · group_tokens: tokens of a cluster, page, block or
    frame on average, 1 for rules of single tokens · quality: mass_recall, top_recall, output_error.
    """

    mask: np.ndarray
    clusters: np.ndarray | None
    group_tokens: float
    works: tuple[Work, ...]
    metadata_bytes: int
    quality: Quality


def run_rule(selection: Selection, cache: LayerCache, *, use: Use, judged: bool) -> RuleRun:
    """The step of the cache's new rows; the same answer again where the rule, its files and the cache are the same.

    Sweeps of hardware ask the same again and again. Raises InputError as selection_step.
    """
    rule = selection.model_dump(exclude={"source", "kept", "resident", "assumed", "fitted"})
    files = [_file_state(path) for path in (selection.recording, selection.recorded_selection)]
    return _run_rule(json.dumps(rule, sort_keys=True), str(files), cache, use, judged)


def _file_state(path: str | None) -> tuple[int, int] | None:
    """When a file was last written and its size, by which a later one under the same path is told from it."""
    if path is None or not Path(path).exists():
        return None
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size


def _selection_of(rule: str) -> Selection:
    return Selection.model_validate({"source": "", **json.loads(rule)})


@lru_cache(maxsize=64)
def _run_rule(rule: str, files: str, cache: LayerCache, use: Use, judged: bool) -> RuleRun:
    selection = _selection_of(rule)
    shape = CacheShape(cache.tokens, cache.heads, cache.kv_heads, cache.head_dim, cache.element_bytes)
    if selection.recorded_selection is not None:
        step = _replayed(selection, shape, cache.rows)
    else:
        step = _chosen(selection, (rule, files), shape, cache.rows, use)
    mask, counters = step.selected.of_kv_heads(shape.kv_heads), step.selected.counts
    try:
        works = _works(counters)
    except GraphError as problem:  # only of counts that were recorded
        told = f"{selection.recorded_selection}: the step's counts cannot be ({problem}); record them anew"
        raise InputError(_at(selection, f"recorded_selection: {told}")) from problem
    # What scoring reads of K beyond what is kept of it is read for the choice.
    scored = max(0, counters.kv_read_bytes - 2 * int(mask.sum()) * shape.row_bytes)
    quality = _quality(step, shape, cache.rows) if judged else (None, None, None)
    metadata = counters.metadata_read_bytes + scored
    return RuleRun(mask, step.clusters, step.group_tokens, works, metadata, quality)


class _Step(NamedTuple):
    """What a rule keeps and counts in the step, and the keys and queries it was asked with, where they are known."""

    selected: SelectedKeys
    clusters: np.ndarray | None
    group_tokens: float
    keys: KeySource | None
    queries: np.ndarray | None


def _chosen(selection: Selection, identity: tuple[str, str], shape: CacheShape, rows: int, use: Use) -> _Step:
    """The rule's step on the stream of the selection."""
    options = _options(selection, shape)
    if selection.recording is not None:
        _recorded(selection, shape)  # long enough for the step too
    cached = shape.tokens - rows
    # Needles lie among the tokens of the step; without any, streams of other lengths begin the same.
    needle_tokens = shape.tokens if selection.stream.needles and selection.recording is None else 0
    extents = (shape.heads, shape.kv_heads, shape.head_dim, shape.element_bytes)
    keys, state = _history(*identity, extents, cached // SEGMENT, rows, needle_tokens)
    if state.tokens < cached:
        state = _absorbed(selection, state, keys, last=cached)
    new = keys.keys(cached, shape.tokens)
    queries = keys.queries(new, cached)
    if use != "frame" and len(keys.questions):
        queries = np.resize(keys.questions, queries.shape)
    state = update(state, new, queries=queries)
    selected = select(state, queries)
    selected = SelectedKeys(selected.mask, state.counts + selected.counts)
    clusters = clusters_of(state) if isinstance(options, HashClusters) else None
    return _Step(selected, clusters, _group_tokens(options, clusters), keys, queries)


@lru_cache(maxsize=1)
def _history(
    rule: str, files: str, extents: tuple[int, int, int, int], segments: int, rows: int, needle_tokens: int
) -> tuple[KeySource, State]:
    """The keys, and the rule's state after so many whole segments, which the steps of a generation share."""
    selection = _selection_of(rule)
    room = CacheShape((segments + 1) * SEGMENT + rows, *extents)
    keys: KeySource
    if selection.recording is None:
        keys = _drawn(selection, room, needle_tokens or room.tokens)
    else:
        keys = _recorded(selection, CacheShape(segments * SEGMENT + rows, *extents))
    state = start(room, _options(selection, room))
    for first in range(0, segments * SEGMENT, SEGMENT):
        state = _absorbed(selection, state, keys, last=first + SEGMENT)
    return keys, state


def _absorbed(selection: Selection, state: State, keys: KeySource, *, last: int) -> State:
    """The state after the tokens up to last."""
    new = keys.keys(state.tokens, last)
    learned = new[-LEARNED:]
    queries = keys.queries(learned, last - len(learned)) if selection.algorithm in LEARNING else None
    return update(state, new, queries=queries)


def _drawn(selection: Selection, shape: CacheShape, tokens: int) -> DrawnKeys:
    """The stream that is drawn as the selection says, with its needles among so many tokens."""
    options = selection.stream.model_dump(exclude={"needles"})
    video = Video(heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim, **options)
    try:
        needles = drawn_needles(video, selection.stream.needles, tokens=tokens)
    except ValueError as problem:
        raise _at_key(selection, "stream", problem, ["needles"]) from problem
    return DrawnKeys(video, needles, needles.questions(shape.heads, tokens=tokens, mass=MASS))


@lru_cache(maxsize=1)
def _stream(path: str, state: tuple[int, int] | None, heads: int, kv_heads: int, head_dim: int) -> Stream:
    return load_stream(path, shape=CacheShape(UNLIMITED, heads, kv_heads, head_dim))


def _recorded(selection: Selection, shape: CacheShape) -> RecordedKeys:
    """The recorded stream. Raises InputError where it is of other heads or shorter than the shape."""
    path = selection.recording
    assert path is not None
    try:
        stream = _stream(path, _file_state(path), shape.heads, shape.kv_heads, shape.head_dim)
    except ValueError as problem:
        raise _at_key(selection, "recording", problem, []) from problem
    if len(stream.keys) < shape.tokens:
        told = f"{len(stream.keys)} recorded, the step has {shape.tokens}; record as many or take a shorter context"
        raise InputError(_at(selection, f"recording: {path}: tokens: {told}"))
    return RecordedKeys(stream)


def _replayed(selection: Selection, shape: CacheShape, rows: int) -> _Step:
    """The recorded step of a cache of this length. Raises InputError where there is none."""
    path = selection.recorded_selection
    assert path is not None
    try:
        steps = load_selection(path)
    except ValueError as problem:
        raise _at_key(selection, "recorded_selection", problem, []) from problem
    fitting = [s for s in steps if s.mask.shape[1] == shape.tokens and len(s.mask) in (shape.kv_heads, shape.heads)]
    if not fitting:
        shapes = ([step.mask.shape[axis] for step in steps] or [0] for axis in (0, 1))
        heads, tokens = (" to ".join(map(str, sorted({min(found), max(found)}))) for found in shapes)
        told = (
            f"{path}: {len(steps)} steps recorded, of {tokens} tokens and {heads} heads; give "
            f"one of {shape.tokens} tokens, the step's own among them, and {shape.kv_heads} or {shape.heads} heads"
        )
        raise InputError(_at(selection, f"recorded_selection: {told}"))
    if selection.recording is None:
        return _Step(fitting[0], None, 1.0, None, None)
    keys, cached = _recorded(selection, shape), shape.tokens - rows
    return _Step(fitting[0], None, 1.0, keys, keys.queries(keys.keys(cached, shape.tokens), cached))


def _quality(step: _Step, shape: CacheShape, rows: int) -> Quality:
    """Means over the newest rows and the query heads of the sampled KV heads; new tokens are always kept."""
    if step.keys is None or step.queries is None:
        return None, None, None
    mask = np.repeat(step.selected.mask, shape.heads // len(step.selected.mask), axis=0)
    mask[:, shape.tokens - rows :] = True
    sampled = sampled_heads(shape.kv_heads)
    heads = [head * shape.share + h for head in sampled for h in range(shape.share)]
    keys, values = step.keys.sampled(shape.tokens)
    return mean_quality(step.queries[-JUDGED:, heads], keys, values=values, mask=mask[heads])


def _works(counters: Counters) -> tuple[Work, ...]:
    """What a step counted as kinds of work; the comparisons of the threshold unit are its own."""
    ranked = sum(columns * (rows + passes) for rows, columns, passes in counters.ranked)
    works = [work("score", mac=counters.multiply_adds)]
    works += [work("hash_compare", current=new, cached=old, bits=bits) for new, old, bits in counters.hashed]
    works += [work("threshold", rows=rows, columns=columns, passes=passes) for rows, columns, passes in counters.ranked]
    works.append(work("compare", comparisons=counters.comparisons + counters.additions - ranked))
    return tuple(item for item in works if item.elements)


def _group_tokens(options: Algorithm, clusters: np.ndarray | None) -> float:
    """Tokens of a cluster on average, or of a page, block or frame; 1 for rules of single tokens."""
    if clusters is not None:
        return float(np.mean(clusters.shape[1] / (clusters.max(axis=1) + 1)))
    named = [getattr(options, name) for name in ("page", "block", "frame") if hasattr(options, name)]
    return float(named[0]) if named else 1.0


def _options(selection: Selection, shape: CacheShape) -> Algorithm:
    """The rule with its settings. Raises InputError for those that it or the cache cannot have."""
    rule = ALGORITHMS[selection.algorithm]
    kinds = {field.name: get_args(field.type) or (field.type,) for field in fields(rule)}
    known = {name: of for name, of in kinds.items() if set(of) <= set(TYPES)}  # no arrays
    problems = []
    for name, value in selection.settings.items():
        if name not in known:
            told = guess(name, known, otherwise="settings are") if known else "the rule has none"
            problems.append(_at(selection, f"settings.{name}: unknown setting; {told}"))
        elif not any(type(value) is kind or (kind is float and type(value) is int) for kind in known[name]):
            expected = " or ".join(TYPES[kind] for kind in known[name])
            problems.append(_at(selection, f"settings.{name}: expected {expected}, got {quoted(value)}"))
    if problems:
        raise InputError(problems)
    try:
        options: Algorithm = rule(**selection.settings)
        options.check(shape)
    except ValueError as problem:
        raise _at_key(selection, "settings", problem, list(known)) from problem
    if isinstance(options, HashClusters) and options.buckets is None:
        sorts = "settings.buckets: nothing sorts, for which no unit has a time; give a number of buckets such as 20"
        raise InputError(_at(selection, sorts))
    return options


def _at(selection: Selection, problem: str) -> str:
    return f"selection '{selection.name}': {problem}"


def _at_key(selection: Selection, path: str, problem: Exception, keys: list[str]) -> InputError:
    """A kernel's ValueError as an InputError at the key of the file that it names, or at the path above these keys."""
    text = str(problem)
    named = text.split(":")[0].split("[")[0] in keys
    return InputError(_at(selection, f"{path}{'.' if named else ': '}{text}"))
