"""What every rule of selection must hold to, as functions of its name in ALGORITHMS; a rule added by a user runs too.

The settings that a test gives need only make a rule drop tokens of 200. Its own defaults fit the cache, too.
"""

import dataclasses
from typing import ClassVar, get_origin

import numpy as np

from kernels.selection import rule
from kernels.selection.algorithm import Algorithm, CacheShape, SelectedKeys, State, select, start, update
from kernels.selection.streams import Stream, video_stream

TOKENS, CHUNK = 200, 20
SHAPE = CacheShape(tokens=20_000, heads=4, kv_heads=2, head_dim=16)


def drawn(tokens: int = TOKENS) -> Stream:
    return video_stream(0, -(-tokens // 10), heads=SHAPE.heads, kv_heads=SHAPE.kv_heads, head_dim=SHAPE.head_dim)


def updated(options: Algorithm, *, queries: bool) -> tuple[State, SelectedKeys]:
    """The state after a stream whose updates have queries or not, the last one never, and what is kept then."""
    stream, state = drawn(), start(SHAPE, options)
    for first in range(0, TOKENS, CHUNK):
        rows = slice(first, first + CHUNK)
        given = stream.queries[rows] if queries and first + CHUNK < TOKENS else None
        state = update(state, stream.keys[rows], queries=given)
    return state, select(state, stream.queries[-1:])


def is_a_frozen_dataclass_with_every_call(name: str) -> None:
    algorithm = rule(name)
    assert dataclasses.is_dataclass(algorithm)
    assert algorithm.__dataclass_params__.frozen
    for call in ("check", "begin", "absorb", "choose", "metadata_bytes"):
        assert getattr(algorithm, call) is not getattr(Algorithm, call), f"{name} does not define {call}"
    for call in ("check_timed", "clusters", "group_tokens"):
        assert callable(getattr(algorithm, call))


def says_of_itself_what_is_no_option(name: str) -> None:
    """The class says it, not a setting; groups_by names an option, which is a number of tokens."""
    algorithm = rule(name)
    options = {field.name for field in dataclasses.fields(algorithm)}
    said = {key for key, hint in vars(Algorithm)["__annotations__"].items() if get_origin(hint) is ClassVar}
    assert {"learns_from_queries", "groups_by"} <= said
    assert not said & options
    assert isinstance(algorithm.learns_from_queries, bool)
    assert algorithm.groups_by == "" or algorithm.groups_by in options


def learns_from_queries_as_it_says(name: str, **settings: object) -> None:
    """Without learning, queries of earlier updates change nothing after an update without queries."""
    options = rule(name)(**settings)
    (without, kept), (with_queries, other) = (updated(options, queries=given) for given in (False, True))
    same = (
        np.array_equal(kept.mask, other.mask)
        and kept.counts == other.counts
        and without.counts == with_queries.counts
        and without.metadata_bytes == with_queries.metadata_bytes
    )
    assert same != options.learns_from_queries


def keeps_together_what_it_says(name: str, **settings: object) -> None:
    """The clusters are numbered without gaps, and the average is tokens of a head over its clusters or of groups_by."""
    options = rule(name)(**settings)
    state, kept = updated(options, queries=True)
    clusters = options.clusters(state)
    found = options.group_tokens(clusters)
    if clusters is None:
        assert found == (getattr(options, options.groups_by) if options.groups_by else 1)
        return
    assert clusters.shape == (SHAPE.kv_heads, TOKENS)
    numbers = [set(row) for row in clusters.tolist()]
    assert all(own == set(range(len(own))) for own in numbers)
    assert abs(found - sum(TOKENS / len(own) for own in numbers) / SHAPE.kv_heads) < 1e-9
    # Tokens of a cluster are kept together, except in heads that keep the newest as well.
    for head, mask in enumerate(kept.of_kv_heads(SHAPE.kv_heads)):
        whole = {c for c in numbers[head] if mask[clusters[head] == c].all()}
        assert whole == set(clusters[head][mask].tolist())


def leaves_older_states_valid(name: str, **settings: object) -> None:
    """What is kept from a state stays the same after newer states were made of it, and tokens and bytes are counted."""
    stream = drawn()
    before = update(start(SHAPE, rule(name)(**settings)), stream.keys[:100], queries=stream.queries[:100])
    first = select(before, stream.queries[99:100])
    after = update(before, stream.keys[100:], queries=stream.queries[100:])
    again = select(before, stream.queries[99:100])
    assert np.array_equal(first.mask, again.mask)
    assert first.counts == again.counts
    assert first.mask.shape[1] == 100
    assert 0 <= before.metadata_bytes <= after.metadata_bytes


CONTRACTS = (
    is_a_frozen_dataclass_with_every_call,
    says_of_itself_what_is_no_option,
    learns_from_queries_as_it_says,
    keeps_together_what_it_says,
    leaves_older_states_valid,
)
