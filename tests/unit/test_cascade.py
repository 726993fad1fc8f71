"""Passes of cascades: the known forms of attention, others derived by hand, and an oracle that counts elements."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import load_design
from archsim.engine import attempt
from archsim.engine.flat import flatten
from archsim.engine.result import SectionResult, Stuck
from dataflow import CASCADES, Cascade, Expression, GraphError, attention, passes
from dataflow.kinds.movement import NODE_KINDS
from mappers.spatial.mapper import Spatial

MACHINE = load_design("streaming_machine")
OPERANDS = {"q": ("row",), "k": ("key",), "v": ("key",)}
ROW, SCORE = ("row",), ("row", "key")


def made(name: str, reads: str, ranks: tuple[str, ...], running: tuple[str, ...] = ()) -> Expression:
    """An expression whose arithmetic does not matter."""
    return Expression(name, tuple(reads.split()), ranks, "any", {"flop": 1}, running)


def cascade(*expressions: Expression, **operands: tuple[str, ...]) -> Cascade:
    return Cascade("drawn", operands or OPERANDS, expressions)


@pytest.mark.parametrize(
    "form, count, crossings",
    [
        ("naive", 2, [("exp", "divide")]),
        ("scaled", 3, [("score", "exp"), ("exp", "divide")]),
        ("reordered", 2, [("score", "exp")]),
        ("reordered_without_max", 1, []),
        ("memory_free", 1, []),
    ],
)
def test_passes_of_attention_over_the_keys(form: str, count: int, crossings: list[tuple[str, str]]) -> None:
    found = passes(CASCADES[form])
    assert found.count == found.over["k"] == count
    assert found.over["v"] == 1
    assert sorted(found.crossings) == sorted(crossings)
    assert found.live_elements(1000) == (1000 if crossings else 1)
    assert passes(CASCADES[form], "row").count == 1


def test_local_maxima_take_a_pass_out_of_the_outer_rank_only() -> None:
    """Keys in blocks: a maximum per block serves the exponentials, and is put right when the blocks' maxima meet.

    Over the blocks there is the pass that finds maxima and sums and the one that divides; inside a block the maximum,
    the sum and the division each need all of it. Source: FuseMax (arXiv 2406.10491), its two-pass cascade.
    """
    block, inside = ("row", "block"), ("row", "block", "key")
    operands = {"q": ("row",), "k": ("block", "key"), "v": ("block", "key")}
    split = cascade(
        made("score", "q k", inside),
        made("local_max", "score", block),
        made("local_exp", "score local_max", inside),
        made("local_sum", "local_exp", block),
        made("max", "local_max", ROW),
        made("correction", "local_max max", block),
        made("sum", "local_sum correction", ROW),
        made("divide", "local_exp correction sum", inside),
        made("output", "divide v", ROW),
        **operands,
    )
    outer, inner = passes(split, "block"), passes(split, "key")
    assert (outer.count, inner.count) == (outer.over["score"], inner.over["score"]) == (2, 3)
    assert outer.over["local_max"] == 3  # one value a block, and not an operand
    assert ("local_exp", "divide") in outer.crossings
    assert ("score", "local_exp") not in outer.crossings
    assert ("score", "local_exp") in inner.crossings


def test_an_online_normaliser_takes_a_pass_out() -> None:
    """Running maximum and sum in one pass, the weights in a second. Source: arXiv 1805.02867."""
    pair = Expression("weight", ("score",), SCORE, "any", {"exp": 2}, ("key",), "2")
    found = passes(
        cascade(
            made("score", "q k", SCORE), pair, made("max", "score", ROW), made("sum", "weight", ROW),
            made("p", "score max sum", SCORE), made("o", "p v", ROW),
        )
    )  # fmt: skip
    assert (found.count, found.crossings) == (2, (("score", "p"),))


def test_a_fresh_operand_after_a_barrier_is_visited_once() -> None:
    found = passes(cascade(made("s", "q k", SCORE), made("m", "s", ROW), made("o", "m v", ROW)))
    assert (found.count, found.over, found.crossings) == (1, {"k": 1, "v": 1, "s": 1}, ())


def test_a_visit_that_can_wait_is_no_pass_of_its_own() -> None:
    """What reads t early and what reads it late need not be apart: nothing late needs the early one."""
    found = passes(
        cascade(
            made("s", "q k", SCORE), made("m", "s", ROW), made("early", "v q", SCORE), made("sum", "early", ROW),
            made("late", "early m", SCORE), made("total", "late", ROW), made("o", "sum total", ROW),
        )
    )  # fmt: skip
    assert found.count == 1
    assert found.crossings == ()


def test_a_running_maximum_is_no_barrier() -> None:
    found = passes(cascade(made("s", "q k", SCORE), made("m", "s", SCORE, ("key",)), made("e", "s m", SCORE),
                           made("o", "e v", ROW)))  # fmt: skip
    assert (found.count, found.crossings) == (1, ())


def test_two_barriers_side_by_side_are_one_pass_before_the_next() -> None:
    found = passes(cascade(made("s", "q k", SCORE), made("a", "s", ROW), made("b", "s", ROW),
                           made("d", "s a b", SCORE), made("o", "d", ROW)))  # fmt: skip
    assert (found.count, found.crossings) == (2, (("s", "d"),))


def test_what_waits_beside_the_barrier_crosses_it_too() -> None:
    """e is not summed, but made from what is: it waits for the sum as the scores would."""
    found = passes(cascade(made("s", "q k", SCORE), made("e", "s", SCORE), made("f", "s", SCORE), made("l", "f", ROW),
                           made("d", "e l", SCORE), made("o", "d", ROW)))  # fmt: skip
    assert (found.count, found.crossings) == (2, (("e", "d"),))


def test_what_goes_in_step_with_what_waits_crosses_the_barrier_too() -> None:
    """Each operand could be visited once but not both: c holds s and t in step, d waits for all of s with all of t."""
    found = passes(cascade(made("s", "q k", SCORE), made("t", "q v", SCORE), made("c", "s t", ROW), made("a", "s", ROW),
                           made("d", "t a", ROW), made("o", "c d", ROW)))  # fmt: skip
    assert (found.count, found.crossings) == (1, (("t", "d"),))


def test_two_barriers_that_wait_for_each_others_streams_cross_both() -> None:
    found = passes(
        cascade(
            made("s", "q k", SCORE), made("t", "q v", SCORE), made("a", "s", ROW), made("b", "t", ROW),
            made("c", "t a", ROW), made("d", "s b", ROW), made("o", "c d", ROW),
        )
    )  # fmt: skip
    assert sorted(found.crossings) == [("s", "d"), ("t", "c")]


@pytest.mark.parametrize(
    "form, by_key, by_row",
    [
        ("naive", {"mac": 16, "exp": 1, "flop": 2}, {}),
        ("scaled", {"mac": 16, "exp": 1, "flop": 4}, {}),
        ("reordered", {"mac": 16, "exp": 1, "flop": 3}, {"flop": 8}),
        ("reordered_without_max", {"mac": 16, "exp": 1, "flop": 1}, {"flop": 8}),
        ("memory_free", {"mac": 16, "exp": 2, "flop": 13}, {"flop": 8}),
    ],
)
def test_arithmetic_counted_by_hand(form: str, by_key: dict[str, int], by_row: dict[str, int]) -> None:
    """Heads of 8. A score: q . k, e v, exponentials; comparison, subtractions, sum, rescaling, division by the form."""
    graph = attention(queries=3, keys=5, head_dim=8, causal=False)
    expected = {what: 15 * n + 3 * by_row.get(what, 0) for what, n in by_key.items()}
    found = Spatial(form=form).lower(graph, MACHINE).counts()  # type: ignore[arg-type]
    assert {what: n for what, n in found.items() if n} == expected


@pytest.mark.parametrize("form", CASCADES)
def test_scalars_of_a_value(form: str) -> None:
    wide = {"values": "v_dim", "output": "v_dim", "weight": "2"}
    assert all(e.width == wide.get(e.name, "1") for e in CASCADES[form].expressions)


def test_a_cascade_says_all_that_is_wrong_with_it() -> None:
    with pytest.raises(GraphError) as raised:
        cascade(
            made("s", "q k", SCORE), made("s", "q", ROW), made("lost", "s", SCORE), made("x", "nothing", ROW),
            made("r", "q", ("row", "block")), made("t", "s", ROW, ("key",)), Expression("n", (), ROW, "any", {}),
            made("o", "s x r t n", ROW),
        )  # fmt: skip
    assert raised.value.problems == (
        "cascade 'drawn': 's' is made twice",
        "cascade 'drawn': 'x' reads 'nothing', which nothing before it makes",
        "cascade 'drawn': 'r' has the rank 'block', which nothing that it reads has",
        "cascade 'drawn': 't' runs along 'key', which is none of its ranks",
        "cascade 'drawn': 'n' reads nothing",
        "cascade 'drawn': 'lost' is read by nothing and is not the last",
    )


@pytest.mark.parametrize("form", CASCADES)
def test_node_patterns(form: str) -> None:
    nodes = {e.name: CASCADES[form].node(e) for e in CASCADES[form].expressions}
    assert set(nodes.values()) <= set(NODE_KINDS)
    expected = {
        "naive": ["source", "map", "reduce", "zip", "reduce"],
        "scaled": ["source", "reduce", "zip", "reduce", "zip", "reduce"],
        "reordered": ["source", "reduce", "zip", "reduce", "reduce", "zip"],
        "reordered_without_max": ["source", "map", "reduce", "reduce", "zip"],
        "memory_free": ["source", "scan", "accumulate", "accumulate", "zip"],
    }
    assert list(nodes.values()) == expected[form]


@st.composite
def cascades(draw: st.DrawFn) -> Cascade:
    """A few expressions over scores: maps, zips, scans and reduces, the last a value per row."""
    made_so_far: list[Expression] = []
    for i in range(draw(st.integers(1, 6))):
        sources = ["q", "k", "v", *(e.name for e in made_so_far)]
        reads = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True))
        keyed = [r for r in reads if r in ("k", "v") or any(e.name == r and "key" in e.ranks for e in made_so_far)]
        by_row = not keyed or draw(st.booleans())
        streamed = set(reads) - set(OPERANDS)
        running = ("key",) if not by_row and streamed & set(keyed) and draw(st.booleans()) else ()
        reads += ["q"] if "q" not in reads and not streamed else []
        made_so_far.append(made(f"e{i}", " ".join(reads), ROW if by_row else SCORE, running))
    unread = [e.name for e in made_so_far if all(e.name not in other.reads for other in made_so_far)]
    return cascade(*made_so_far, made("result", " ".join(unread), ROW))


N = 3


def counted_passes(drawn: Cascade) -> dict[str, int]:
    """For each tensor the longest row of visits, element by element: each needs all elements to be visited before.

    A step is (expression, key); one per row stands at every key. What reads a value of a row needs every step of it.
    """
    by_key = {e.name: drawn.steps_by(e, "key") for e in drawn.expressions}

    @cache
    def needed(name: str, key: int) -> frozenset[tuple[str, int]]:
        e = drawn[name]
        keys = [key] if by_key[name] else range(N)
        found: set[tuple[str, int]] = set()
        for read in drawn.streamed(e):
            at = keys if "key" in drawn.ranks(read) else range(N)
            found |= {(read, j) for j in at}.union(*(needed(read, j) for j in at))
        if e.running:
            for j in range(key):
                found |= {(name, j)} | needed(name, j)
        return frozenset(found)

    def visits(tensor: str) -> list[str]:
        same, found = {tensor}, []
        for e in drawn.expressions:
            if same & set(e.reads):
                found.append(e.name)
                same |= {e.name} if "key" in e.ranks else set()
        return found

    def row(found: list[str]) -> int:
        length: dict[str, int] = {}
        for y in found:
            before = [x for x in length if all((x, j) in needed(y, i) for i, j in product(range(N), range(N)))]
            length[y] = 1 + max((length[x] for x in before), default=0)
        return max(length.values(), default=0)

    tensors = [t for t in (*OPERANDS, *by_key) if "key" in drawn.ranks(t)]
    return {t: row(visits(t)) for t in tensors}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cascades())
def test_passes_are_those_that_counting_elements_finds(drawn: Cascade) -> None:
    found = passes(drawn)
    assert found.over == counted_passes(drawn)
    assert found.count == max(found.over["k"], found.over["v"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cascades())
def test_fifos_hold_a_row_where_it_waits_and_little_where_none_does(drawn: Cascade) -> None:
    """Long FIFOs of a row and short ones of two suffice; with short ones alone it runs only where nothing crosses."""
    if any(drawn.node(e) == "source" and not drawn.steps_by(e, "key") for e in drawn.expressions):
        return
    n, crosses = 40, passes(drawn).crossings
    CASCADES["drawn"] = drawn  # type: ignore[index]
    try:
        graph = attention(queries=2, keys=n, head_dim=1, causal=False)
        runs = {}
        for long in (n, 2):
            design = MACHINE.with_({"fifos": {"long": long, "short": 2}})
            mapper = Spatial()
            object.__setattr__(mapper, "form", "drawn")  # no option of the mapper
            (section,) = mapper.lower(graph, design).sections
            runs[long] = attempt(flatten(section, design))
        assert isinstance(runs[n], SectionResult)
        assert isinstance(runs[2], Stuck) == bool(crosses)
    finally:
        del CASCADES["drawn"]  # type: ignore[attr-defined]
