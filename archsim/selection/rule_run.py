"""RuleRun: one step of a selection's rule, run on a stream of keys or replayed from a recording.

Knows streams, recordings and what each rule says of itself; no rule by name. It compiles kernels, so it is imported
only when a rule runs. Does not know in which memory tokens lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from archsim.errors import InputError
from archsim.selection.keys import SEGMENT, DrawnKeys, KeySource, RecordedKeys, sampled_heads
from archsim.selection.layer_cache import LayerCache
from archsim.selection.rule import Rule
from archsim.selection.selection import Selection, Use
from archsim.selection.shared_runs import shared
from dataflow.errors import GraphError
from dataflow.op import Work, work
from dataflow.task import UNLIMITED
from kernels.limits import RULE_BYTES, beyond
from kernels.selection.algorithm import CacheShape, Counters, SelectedKeys, State, advance, start, update
from kernels.selection.quality import mean_quality
from kernels.selection.recordings import load_selection, load_stream
from kernels.selection.streams import Stream, Video, drawn_needles

JUDGED = 4  # newest rows of the step, whose attention is compared with dense attention
LEARNED = 10  # newest tokens of each segment, whose queries a rule that learns from queries is given
MASS = 0.9  # share of dense attention that a question puts on its needle

Quality = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class RuleRun:
    """What a rule keeps in a step, and what choosing takes.

    mask: bool [kv_heads, tokens], True where kept · clusters: int64 [kv_heads, tokens], None for rules without clusters
    · group_tokens: average tokens of a cluster, page, block or frame, 1 for rules of single tokens · metadata_bytes:
    read by choosing beside K and V of the kept tokens · quality: mass_recall, top_recall, output_error.
    """

    mask: np.ndarray
    clusters: np.ndarray | None
    group_tokens: float
    works: tuple[Work, ...]
    metadata_bytes: int
    quality: Quality


def run_rule(selection: Selection, cache: LayerCache, *, use: Use, judged: bool) -> RuleRun:
    """The rule's step for the new rows of the cache, remembered by rule and cache.

    Sweeps over hardware ask for the same step many times. Raises InputError as selection_step does.
    """
    return _run_rule(Rule.of(selection), cache, use, judged)


def _check_size(rule: Rule, cache: LayerCache) -> None:
    """Raises InputError for more keys and queries than a rule is run on."""
    keys = max(cache.tokens, SEGMENT) * cache.kv_heads
    size = (keys + cache.rows * cache.heads) * cache.head_dim * np.dtype(np.float32).itemsize
    way = "take a shorter context or fewer heads"
    if problem := beyond(size, RULE_BYTES, of="bytes of keys and queries to run the rule on", instead=way):
        raise InputError(rule.at(problem))


@lru_cache(maxsize=64)
def _run_rule(rule: Rule, cache: LayerCache, use: Use, judged: bool) -> RuleRun:
    return shared((rule, cache, use, judged), lambda: _new_run(rule, cache, use, judged))


def _new_run(rule: Rule, cache: LayerCache, use: Use, judged: bool) -> RuleRun:
    _check_size(rule, cache)
    shape = CacheShape(cache.tokens, cache.heads, cache.kv_heads, cache.head_dim, cache.element_bytes)
    if rule.recorded_selection is not None:
        step = _replayed(rule, shape, cache.rows)
    else:
        step = _chosen(rule, shape, cache.rows, use)
    mask, counters = step.selected.of_kv_heads(shape.kv_heads), step.selected.counts
    try:
        works = _works(counters)
    except GraphError as problem:  # only recorded counts can be impossible
        message = f"{rule.recorded_selection}: the step's counts cannot be ({problem}); record them anew"
        raise InputError(rule.at(f"recorded_selection: {message}")) from problem
    # A rule may score keys that it does not keep. Those bytes of K are read for the choice, so they count as metadata.
    scored = max(0, counters.kv_read_bytes - 2 * int(mask.sum()) * shape.row_bytes)
    quality = _quality(step, shape, cache.rows) if judged else (None, None, None)
    metadata = counters.metadata_read_bytes + scored
    return RuleRun(mask, step.clusters, step.group_tokens, works, metadata, quality)


class _Step(NamedTuple):
    """What a rule keeps and counts in the step, and its keys and queries, None where a replay has none."""

    selected: SelectedKeys
    clusters: np.ndarray | None
    group_tokens: float
    keys: KeySource | None
    queries: np.ndarray | None


def _chosen(rule: Rule, shape: CacheShape, rows: int, use: Use) -> _Step:
    """The rule's step on the stream of the selection."""
    if rule.recording is not None:
        # Before the options, because a budget beyond the cache keeps everything without a look at the keys.
        _recorded(rule, shape)  # raises where the recording is too short for the step
    options = rule.options(shape)
    cached = shape.tokens - rows
    # Needle places are drawn among the tokens of this step, so each length is a stream of its own. Without needles a
    # longer stream begins as a shorter one does, and the steps of a generation share their history.
    needle_tokens = shape.tokens if rule.stream.needles and rule.recording is None else 0
    extents = (shape.heads, shape.kv_heads, shape.head_dim, shape.element_bytes)
    keys, state = _history(rule, extents, cached // SEGMENT, rows, needle_tokens)
    if state.tokens < cached:
        state = _absorbed(state, keys, last=cached)
    new = keys.keys(cached, shape.tokens)
    queries = keys.queries(new, cached)
    if use != "frame" and len(keys.questions):
        # Repeats the questions in turn until each row has one.
        queries = np.resize(keys.questions, queries.shape)
    state, selected = advance(state, new, queries)
    clusters = options.clusters(state)
    return _Step(selected, clusters, options.group_tokens(clusters), keys, queries)


@lru_cache(maxsize=1)
def _history(
    rule: Rule, extents: tuple[int, int, int, int], segments: int, rows: int, needle_tokens: int
) -> tuple[KeySource, State]:
    """The keys, and the rule's state after this many whole segments, which the steps of a generation share."""
    # Room for the cached tokens after the last whole segment, always less than one segment, and for the new rows.
    room = CacheShape((segments + 1) * SEGMENT + rows, *extents)
    keys: KeySource
    if rule.recording is None:
        keys = _drawn(rule, room, needle_tokens or room.tokens)
    else:
        keys = _recorded(rule, CacheShape(segments * SEGMENT + rows, *extents))
    state = start(room, rule.options(room))
    for first in range(0, segments * SEGMENT, SEGMENT):
        state = _absorbed(state, keys, last=first + SEGMENT)
    return keys, state


def _absorbed(state: State, keys: KeySource, *, last: int) -> State:
    """The state after the tokens before `last` are added."""
    new = keys.keys(state.tokens, last)
    learned = new[-LEARNED:]
    queries = keys.queries(learned, last - len(learned)) if state.options.learns_from_queries else None
    return update(state, new, queries=queries)


def _drawn(rule: Rule, shape: CacheShape, tokens: int) -> DrawnKeys:
    """The stream drawn as the selection says, with needles hidden among its first `tokens` tokens."""
    options = rule.stream.model_dump(exclude={"needles"})
    video = Video(heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim, **options)
    with rule.explained("stream", ["needles"]):
        needles = drawn_needles(video, rule.stream.needles, tokens=tokens)
    return DrawnKeys(video, needles, needles.questions(shape.heads, tokens=tokens, mass=MASS))


@lru_cache(maxsize=1)
def _stream(path: str, contents: tuple[str | None, ...], heads: int, kv_heads: int, head_dim: int) -> Stream:
    # `contents` are there for the cache: a file that was written again is read again. Any length is taken here.
    return load_stream(path, shape=CacheShape(UNLIMITED, heads, kv_heads, head_dim))


def _recorded(rule: Rule, shape: CacheShape) -> RecordedKeys:
    """The recorded stream. Raises InputError where its heads differ from the shape's or it is shorter."""
    path = rule.recording
    assert path is not None
    with rule.explained("recording"):
        stream = _stream(path, rule.contents, shape.heads, shape.kv_heads, shape.head_dim)
    if len(stream.keys) < shape.tokens:
        message = f"{len(stream.keys)} recorded, the step has {shape.tokens}; record as many or take a shorter context"
        raise InputError(rule.at(f"recording: {path}: tokens: {message}"))
    return RecordedKeys(stream)


def _replayed(rule: Rule, shape: CacheShape, rows: int) -> _Step:
    """The recorded step whose cache has this length. Raises InputError where there is none."""
    path = rule.recorded_selection
    assert path is not None
    with rule.explained("recorded_selection"):
        steps = load_selection(path)
    fitting = [s for s in steps if s.mask.shape[1] == shape.tokens and len(s.mask) in (shape.kv_heads, shape.heads)]
    if not fitting:
        shapes = ([step.mask.shape[axis] for step in steps] or [0] for axis in (0, 1))
        heads, tokens = (" to ".join(map(str, sorted({min(found), max(found)}))) for found in shapes)
        message = (
            f"{path}: {len(steps)} steps recorded, of {tokens} tokens and {heads} heads; give "
            f"one of {shape.tokens} tokens, the step's own among them, and {shape.kv_heads} or {shape.heads} heads"
        )
        raise InputError(rule.at(f"recorded_selection: {message}"))
    if rule.recording is None:
        return _Step(fitting[0], None, 1.0, None, None)
    keys, cached = _recorded(rule, shape), shape.tokens - rows
    return _Step(fitting[0], None, 1.0, keys, keys.queries(keys.keys(cached, shape.tokens), cached))


def _quality(step: _Step, shape: CacheShape, rows: int) -> Quality:
    """mass_recall, top_recall and output_error, means over the newest rows and the query heads of the sampled KV heads.

    New tokens count as kept.
    """
    if step.keys is None or step.queries is None:
        return None, None, None
    # A rule keeps tokens by KV head or by query head; attention is judged by query head.
    mask = np.repeat(step.selected.mask, shape.heads // len(step.selected.mask), axis=0)
    mask[:, shape.tokens - rows :] = True
    sampled = sampled_heads(shape.kv_heads)
    heads = [head * shape.share + h for head in sampled for h in range(shape.share)]
    keys, values = step.keys.sampled(shape.tokens)
    return mean_quality(step.queries[-JUDGED:, heads], keys, values=values, mask=mask[heads])


def _works(counters: Counters) -> tuple[Work, ...]:
    """The step's counters as works, empty ones left out.

    Comparisons of the threshold unit are in its own work, so `compare` has only the others.
    """
    ranked = sum(columns * (rows + passes) for rows, columns, passes in counters.ranked)
    works = [work("score", mac=counters.multiply_adds)]
    works += [work("hash_compare", current=new, cached=old, bits=bits) for new, old, bits in counters.hashed]
    works += [work("threshold", rows=rows, columns=columns, passes=passes) for rows, columns, passes in counters.ranked]
    works.append(work("compare", comparisons=counters.comparisons + counters.additions - ranked))
    return tuple(item for item in works if item.elements)
