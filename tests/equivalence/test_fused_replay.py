"""q, k and v of a toy model fused into one task, cut and interleaved in any way: the numbers of the graph, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from math import prod
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import archsim
from archsim import ScheduleError
from dataflow import (
    FORMATS,
    OP_KINDS,
    Box,
    Graph,
    Role,
    Schedule,
    Section,
    Served,
    Task,
    Tensor,
    Work,
    every,
    prefill,
    sequence,
    work,
)
from dataflow.numeric.evaluate import evaluate, random_tensors, replay
from dataflow.numeric.replay import steps
from mappers.build import SectionBuilder, layers_of

TOY, DESIGN = archsim.load_model("toy_llm"), archsim.load_design("toy")
TERNARY = prefill(TOY.model_copy(update={"heads": 4, "kv_heads": 2, "head_dim": 4}), prompt=3)
PLAIN = prefill(TOY.model_copy(update={"weights": "fp16"}), prompt=3)
FUSED = ("q", "k", "v")
Turn = tuple[int, ...]  # how many tiles of q, k and v a firing computes

# Sums of a few terms in another order, relative to the largest element.
TOLERANCE = 2e-6


def fused(graph: Graph, tiles: Sequence[Sequence[Box]], turns: Sequence[Turn]) -> Schedule:
    """Ops one after another, each whole, but q, k and v in one task of these tiles, a firing for each turn."""
    sections = []
    for ops, scopes in layers_of(graph.ops.values()):
        builder, before = SectionBuilder(graph, DESIGN, scopes), list[str]()
        for op in ops:
            name = op.name.removeprefix(scopes[0])
            if name in FUSED[1:]:
                continue
            loads = graph.loads(op)
            if name == FUSED[0]:
                loads = {role: sum(graph.loads(graph.ops[scopes[0] + one])[role] for one in FUSED) for role in loads}
            if loads:
                size, role = sum(loads.values()), next(iter(loads))
                builder.task(f"load {name}", "ddr", work("read", bytes=size), role=role)
                before = [builder.call(f"load {name}", before)]
            unit = builder.unit_for(op.kind, name, op)
            if name == FUSED[0]:
                serves = tuple(
                    builder.served(one, tuple(boxes), per_firing=sequence(*((turn[i], 1) for turn in turns)))
                    for i, (one, boxes) in enumerate(zip(FUSED, tiles, strict=True))
                )
                builder.compute(name, works(op.kind, serves, turns), before, unit=unit, serves=serves)
            else:
                builder.compute(name, [(op.work, 1)], before, unit=unit, op=name)
            before = [name]
            if stored := graph.bytes_stored(op):
                builder.task(f"store {name}", "ddr", work("write", bytes=stored), role=Role.CACHE)
                before = [builder.call(f"store {name}", before)]
        sections.append(builder.section(ops[0].name))
    return Schedule(graph, DESIGN.name, "by hand", tuple(sections))


def works(kind: str, serves: Sequence[Served], turns: Sequence[Turn]) -> list[tuple[Work, int]]:
    """For each turn one product with the multiply-adds of its tiles."""
    slices = [served.slices() for served in serves]
    sizes = [sum(prod(map(len, tile)) for n, each in zip(turn, slices, strict=True) for tile in islice(each, n))
             for turn in turns]  # fmt: skip
    return [(work(kind, m=1, k=1, n=size), 1) for size in sizes]


def extents(graph: Graph, name: str) -> list[int]:
    op = graph.ops[f"layer0.{name}"]
    return [op.work[axis] for axis in OP_KINDS[op.kind].axes]


def boxes(graph: Graph, name: str, *sizes: int) -> list[Box]:
    """All of an op in tiles of this size."""
    return [tuple(range(0, n, min(step, n)) for n, step in zip(extents(graph, name), sizes, strict=True))]


def count(box: Box) -> int:
    return prod(map(len, box))


def check(schedule: Schedule, seed: int = 0) -> None:
    graph = schedule.graph
    tensors = random_tensors(graph, seed)
    replayed, expected = replay(schedule, tensors), evaluate(graph, tensors)
    assert list(replayed) == list(graph.ops)
    for name in FUSED:
        got, asked = replayed[f"layer0.{name}"], expected[f"layer0.{name}"]
        assert got.dtype == asked.dtype
        if got.dtype == np.int32:
            np.testing.assert_array_equal(got, asked)
        else:
            np.testing.assert_allclose(got, asked, rtol=0, atol=TOLERANCE * np.abs(asked).max())
    np.testing.assert_allclose(replayed["lm_head"], expected["lm_head"], rtol=0, atol=0.02)


def check_report(schedule: Schedule) -> None:
    """The rows of the fused ops: each with the cycles of the task, which add up to its busy cycles."""
    report = archsim.simulate(schedule, DESIGN)
    section = next(section for section in schedule.sections if any(task.name == "q" for task in section.tasks))
    (task,) = (task for task in section.tasks if task.name == "q")
    cycles = sum(DESIGN.units[task.unit].cycles(item) * n for item, n in task.work.counted(task.firings))
    for layer in range(section.repeat):
        found = [report.op(f"layer{layer}.{name}") for name in FUSED]
        assert sum(op.busy_cycles for op in found) == cycles
        assert len({(op.start_cycle, op.end_cycle, op.unit) for op in found}) == 1


@pytest.mark.parametrize("graph, axes", [(TERNARY, 1), (PLAIN, 2)], ids=["ternary", "fp16"])
def test_one_firing_a_row_and_one_firing_a_head(graph: Graph, axes: int) -> None:
    m, k, _ = extents(graph, "q")[-3:]
    one = (1,) * (axes - 1)
    by_row = [boxes(graph, name, *one, 1, k, 10**6) for name in FUSED]
    check(fused(graph, by_row, [(1, 1, 1)] * m))
    # Each firing has all rows of as many query heads as share a key head, with that key head and its values.
    heads = 2
    by_head = [boxes(graph, name, *one, m, k, extents(graph, name)[-1] // heads) for name in FUSED]
    check(fused(graph, by_head, [(1, 1, 1)] * heads))
    for tiles, turns in ((by_row, m), (by_head, heads)):
        check_report(fused(graph, tiles, [(1, 1, 1)] * turns))


def test_one_op_after_another() -> None:
    m, k, _ = extents(TERNARY, "q")
    tiles = [boxes(TERNARY, name, m, k, 4) for name in FUSED]
    turns = [tuple(int(i == j) for j in range(3)) for i in range(3) for _ in range(count(tiles[i][0]))]
    schedule = fused(TERNARY, tiles, turns)
    check(schedule)
    check_report(schedule)


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[list[Box]], list[Turn]]:
    """Tiles of any size for each op, and firings that compute any number of each, at least one in all."""
    tiles = [boxes(TERNARY, name, *(n + 1 - draw(st.integers(1, n)) for n in extents(TERNARY, name))) for name in FUSED]
    left, turns = [count(box) for (box,) in tiles], list[Turn]()
    # Not drawn one by one: whole tiles are the simplest example, and tiles of one place are thousands.
    random, most = Random(draw(st.integers(0, 10**6))), draw(st.integers(1, 20))
    while any(left):
        turn = tuple(random.randint(0, min(n, most)) for n in left)
        if any(turn):
            turns.append(turn)
            left = [n - taken for n, taken in zip(left, turn, strict=True)]
    return tiles, turns


@settings(max_examples=60, derandomize=True, deadline=None)
@given(splits(), st.integers(0, 99))
def test_any_split_gives_the_numbers_of_the_graph(split: tuple[list[list[Box]], list[Turn]], seed: int) -> None:
    schedule = fused(TERNARY, *split)
    check(schedule, seed)
    check_report(schedule)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(splits(), st.sampled_from(range(3)), st.data())
def test_a_tile_done_twice_instead_of_another_is_noticed(
    split: tuple[list[list[Box]], list[Turn]], op: int, data: st.DataObject
) -> None:
    tiles, turns = split
    single = [tuple(range(r.start, r.stop, len(r)) for r in tile) for tile in Served(("y",), tuple(tiles[op])).slices()]
    at = data.draw(st.integers(0, len(single) - 1))
    others = [tile for tile in single if tile != single[at] and shape(tile) == shape(single[at])]
    assume(others)
    single[at] = data.draw(st.sampled_from(others))
    wrong = [*tiles[:op], single, *tiles[op + 1 :]]
    with pytest.raises(ScheduleError, match=rf"task 'q': op 'layer0\.{FUSED[op]}': (no tile holds|.* tiles hold)"):
        list(steps(fused(TERNARY, wrong, turns)))


def shape(tile: Box) -> list[int]:
    return [along.stop - along.start for along in tile]


def pair(second: str = "add", reads: str = "x") -> Graph:
    graph = Graph("pair")
    graph.add_tensor(Tensor("x", (2, 6), FORMATS["fp32"], "input"))
    graph.add("a", "add", ("x", "x"), format=FORMATS["fp32"])
    graph.add("b", second, (reads, reads) if second == "add" else (reads,), format=FORMATS["fp32"])
    return graph


ROW = (range(2), range(0, 6, 6))
TOGETHER = Task(
    "both", "unit", 2, every(work("add", rows=1, d=12)), serves=(Served(("a",), (ROW,)), Served(("b",), (ROW,)))
)
A_THEN_B = (sequence((1, 1), (0, 1)), sequence((0, 1), (1, 1)))


def told(graph: Graph, task: Task) -> str:
    with pytest.raises(ScheduleError) as raised:
        list(steps(Schedule(graph, "design", "mapper", (Section("s", (task,), ()),))))
    return str(raised.value)


def in_turn(*kinds: str) -> Task:
    runs = sequence(*((work(kind, rows=1, d=6), 1) for kind in kinds))
    serves = tuple(Served((name,), (ROW,), turns) for name, turns in zip("ab", A_THEN_B, strict=True))
    return replace(TOGETHER, firings=4, work=runs, serves=serves)


def test_the_pair_itself_is_computed() -> None:
    tensors = {"x": np.arange(12, dtype=np.float32).reshape(2, 6)}
    other = pair("softmax"), in_turn("add", "softmax")
    for graph, task in ((pair(), TOGETHER), (pair(), in_turn("add", "add")), other):
        schedule = Schedule(graph, "design", "mapper", (Section("s", (task,), ()),))
        expected = evaluate(graph, tensors)
        for name, got in replay(schedule, tensors).items():
            np.testing.assert_array_equal(got, expected[name])


@pytest.mark.parametrize("d", [6, 18])
def test_a_firing_that_does_less_or_more_than_its_tiles_is_told_with_them(d: int) -> None:
    assert told(pair(), replace(TOGETHER, work=every(work("add", rows=1, d=d)))) == (
        f"task 'both': a firing of add(rows=1, d={d}) computes tiles of 1 x 6 of op 'a' and 1 x 6 of op 'b'; the "
        "work of a firing is that of its tiles"
    )


def test_ops_of_two_kinds_do_not_share_a_firing() -> None:
    assert told(pair("softmax"), TOGETHER) == "task 'both': computes add, op 'b' is a softmax"
    assert told(pair("softmax"), in_turn("softmax", "add")) == (
        "task 'both': a firing of softmax(rows=1, d=6) computes a tile of op 'a', which is a add"
    )


def test_an_op_reads_no_other_of_its_own_task() -> None:
    assert told(pair(reads="a"), in_turn("add", "add")) == (
        "task 'both': reads 'a' for op 'b' and computes it itself; a task reads what tasks before it have completed"
    )


def test_tiles_of_one_op_with_another_number_of_axes_are_told() -> None:
    flat = replace(TOGETHER, serves=(TOGETHER.serves[0], Served(("b",), ((range(2),),))))
    assert told(pair(), flat) == (
        "task 'both': a tile of 1 ranges of op 'b'; a tile of a add has one for each of (rows, d)"
    )
