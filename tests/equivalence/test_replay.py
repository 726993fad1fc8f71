"""A schedule replayed tile by tile gives the numbers of its graph, and a tile out of place is noticed."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import archsim
import mappers
from dataflow import (
    Graph,
    Mask,
    Schedule,
    ScheduleError,
    Section,
    Served,
    Stream,
    Task,
    Tensor,
    decode,
    every,
    prefill,
    sequence,
    work,
)
from dataflow.format import FP32, INT8, INT32, TERNARY
from dataflow.numeric.evaluate import evaluate, evaluate_op, random_tensors, replay
from dataflow.numeric.replay import dependence_order, steps
from dataflow.op import Box

# From one op to the next in FP32: sums of a few hundred terms in another order, relative to the largest element.
TOLERANCE = 2e-6
# From end to end one INT8 step more: a rounding at a tie may fall the other way after such a sum.
END_TO_END = 0.02

TOY = archsim.load_model("toy_llm")
SMALL = TOY.model_copy(
    update={"name": "small", "hidden": 96, "ffn": 176, "heads": 2, "kv_heads": 2, "head_dim": 48, "vocab": 40}
)
MODELS = {
    "mha": SMALL,
    "gqa": SMALL.model_copy(update={"kv_heads": 1}),
    "gqa of two": SMALL.model_copy(update={"heads": 4, "kv_heads": 2, "head_dim": 24}),
    "window of four": SMALL.model_copy(update={"kv_heads": 1, "window": 4}),
}
LOOKUP = archsim.load_design("tellme_kv260")


def check(schedule: Schedule, *, seed: int) -> None:
    """Each op from the replayed arrays of its inputs: integers exactly, floats within TOLERANCE; so all of them."""
    graph = schedule.graph
    tensors = random_tensors(graph, seed)
    replayed = replay(schedule, tensors)
    assert list(replayed) == list(graph.ops)
    for op in graph.ops.values():
        expected = evaluate_op(graph, op, {**tensors, **replayed})
        got = replayed[op.name]
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), op.name
        exact = expected.dtype in (np.int8, np.int32)
        limit = 0 if exact else TOLERANCE * np.abs(expected).max()
        np.testing.assert_allclose(got.astype(float), expected, rtol=0, atol=limit, err_msg=op.name)
    logits = evaluate(graph, tensors)["lm_head"]
    np.testing.assert_allclose(replayed["lm_head"], logits, rtol=0, atol=END_TO_END * np.abs(logits).max())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("tokens", [1, 3, 8])
@pytest.mark.parametrize("ahead", ["op", "next_op"])
def test_ops_one_by_one(tokens, batch, ahead):
    for graph in (prefill(TOY, prompt=tokens, batch=batch), decode(TOY, context=tokens, batch=batch)):
        check(mappers.lower(graph, archsim.load_design("toy").with_({"mapping.ahead": ahead})), seed=tokens)


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("order", ["reversed", "plain"])
@pytest.mark.parametrize("prompt", [1, 8, 13])
def test_table_lookup_prefill(model, order, prompt):
    check(mappers.lower(prefill(model, prompt=prompt), LOOKUP, attention_order=order), seed=prompt)


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("order", ["reversed", "plain"])
@pytest.mark.parametrize("context", [1, 5, 20])
def test_table_lookup_decode(model, context, order):
    check(mappers.lower(decode(model, context=context), LOOKUP, attention_order=order), seed=context)


@pytest.mark.parametrize("graph", [prefill(SMALL, prompt=9), decode(SMALL, context=9)], ids=["prefill", "decode"])
def test_table_lookup_with_weights_loaded_ahead(graph):
    check(mappers.lower(graph, LOOKUP, weight_buffering="double"), seed=9)


def boxes(task: Task) -> list[Box]:
    """The tiles of a task as boxes of one tile each."""
    return [tuple(range(r.start, r.stop, len(r)) for r in tile) for tile in task.serves[0].slices()]


def with_task(schedule: Schedule, section: int, name: str, change: Callable[[Task], Task]) -> Schedule:
    """The schedule with one task changed."""
    old = schedule.sections[section]
    new = replace(old, tasks=tuple(change(t) if t.name == name else t for t in old.tasks))
    return replace(schedule, sections=(*schedule.sections[:section], new, *schedule.sections[section + 1 :]))


def with_tiles(task: Task, tiles: Iterable[Box]) -> Task:
    """The task of one op with other tiles."""
    (served,) = task.serves
    return replace(task, serves=(replace(served, tiles=tuple(tiles)),))


def misplaced(task: Task) -> Task:
    """The task with its last tile lost and the first of the same size done twice instead."""
    tiles = boxes(task)
    size = [len(r) for r in tiles[-1]]
    other = next((tile for tile in tiles[:-1] if [len(r) for r in tile] == size), None)
    moved = tuple(range(r.start + 1, r.stop + 1, r.step) for r in tiles[-1])
    return with_tiles(task, (*tiles[:-1], other or moved))


def tiled(graph: Graph) -> list[tuple[int, str]]:
    return [
        (i, task.name)
        for i, section in enumerate(mappers.lower(graph, LOOKUP).sections)
        for task in section.tasks
        if any(served.tiles for served in task.serves)
    ]


@pytest.mark.parametrize("graph", [prefill(SMALL, prompt=8), decode(SMALL, context=5)], ids=["prefill", "decode"])
def test_a_misplaced_tile_of_any_task_is_noticed(graph):
    schedule = mappers.lower(graph, LOOKUP)
    assert len(tiled(graph)) > 30
    for section, name in tiled(graph):
        list(steps(with_task(schedule, section, name, lambda task: with_tiles(task, boxes(task)))))
        with pytest.raises(ScheduleError, match=r"no tile holds|are drained before|tiles hold|a tile ends at|tile of"):
            list(steps(with_task(schedule, section, name, misplaced)))


def test_a_section_refuses_a_task_with_a_tile_too_few():
    schedule = mappers.lower(prefill(SMALL, prompt=8), LOOKUP)
    for section, name in tiled(schedule.graph):
        with pytest.raises(ScheduleError, match="each firing computes one tile"):
            with_task(schedule, section, name, lambda task: with_tiles(task, (*boxes(task)[:-1], (range(0),) * 4)))


def alone(kind: str, tiles: list[Box], **extents: int) -> Schedule:
    """A schedule of one op, y = x + x of 4 x 6 or y = x w of m = 2, k = 6, n = 3, one firing for each tile."""
    graph = Graph("alone")
    if kind == "add":
        graph.add_tensor(Tensor("x", (4, 6), FP32))
        graph.add("y", "add", ("x", "x"), format=FP32)
    else:
        graph.add_tensor(Tensor("x", (2, 6), INT8))
        graph.add_tensor(Tensor("w", (3, 6), TERNARY, "weight"))
        graph.add("y", "ternary_matmul", ("x", "w"), format=INT32)
    task = Task("t", "unit", len(tiles), every(work(kind, **extents)), serves=(Served(("y",), tuple(tiles)),))
    return Schedule(graph, "design", "mapper", (Section("s", (task,), ()),))


def add(*tiles: Box) -> Schedule:
    return alone("add", list(tiles), rows=1, d=3)


def product(*tiles: Box) -> Schedule:
    return alone("ternary_matmul", [(*tile, range(0, 3, 3)) for tile in tiles], m=1, k=3, n=3)


def box(row: int, column: int) -> Box:
    return range(row, row + 1), range(column, column + 3, 3)


ALL = [box(row, column) for row in range(4) for column in (0, 3)]


@pytest.mark.parametrize(
    "schedule",
    [add(*ALL), add(*ALL[::-1]), add(*ALL, *ALL), product(*ALL[:4]), product(*ALL[3::-1])],
    ids=["in order", "backwards", "whole twice", "sums", "sums backwards"],
)
def test_tiles_in_any_order_give_the_op(schedule):
    rng = np.random.default_rng(0)
    if "w" in schedule.graph.tensors:
        x, w = rng.integers(-127, 128, (2, 6), dtype=np.int8), rng.integers(-1, 2, (3, 6), dtype=np.int8)
        np.testing.assert_array_equal(replay(schedule, {"x": x, "w": w})["y"], x.astype(int) @ w.T.astype(int))
    else:
        x = rng.normal(size=(4, 6)).astype(np.float32)
        np.testing.assert_array_equal(replay(schedule, {"x": x})["y"], x + x)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (add(*ALL[:-1]), "op 'y': no tile holds (rows 3, d 3), 3 such places in all; the tiles of an op hold each "
                         "(rows, d) once"),
        (add(*ALL, ALL[3]), "op 'y': 2 tiles hold (rows 1, d 3) and 1 (rows 0, d 0); the tiles of an op hold each "
                            "(rows, d) once"),
        (product(*ALL[:3]), "op 'y': no tile holds (m 1, k 3, n 0), 9 such places in all; the tiles of an op hold "
                            "each (m, k, n) once"),
        (product(*ALL[:4], ALL[0]), "task 't': op 'y': 2 tiles hold (m 0, k 0, n 0); the tiles of an op hold each "
                                    "(m, k, n) once"),
        (product(*ALL[:3], box(1, 4)), "task 't': a tile ends at k 7, op 'y' at 6"),
        (product(*ALL[:3], (range(1, 2), range(3, 5, 2))),
         "task 't': a firing of ternary_matmul(m=1, k=3, n=3) computes a tile of 1 x 2 x 3 of op 'y', which is "
         "ternary_matmul(m=2, k=6, n=3, int8); the work of a firing is that of its tile"),
        (alone("silu_mul", [(range(1), range(0, 6, 6), range(0, 3, 3))], rows=1, d=6),
         "task 't': computes silu_mul, op 'y' is a ternary_matmul"),
    ],
    ids=["gap", "overlap", "gap in sums", "sums twice", "beyond", "wrong size", "wrong kind"],
)  # fmt: skip
def test_a_dropped_or_doubled_tile_has_a_message(schedule, message):
    with pytest.raises(ScheduleError) as raised:
        list(steps(schedule))
    assert str(raised.value) == message


def attention(*tasks: Task, order: str = "plain") -> Schedule:
    """Tasks for op 'a': two sequences of 2 queries and 3 keys, 4 heads of 3 elements on 2 kv heads."""
    graph = Graph("attention")
    for name, rows, width in (("q", 4, 12), ("k", 6, 6), ("v", 6, 6)):
        graph.add_tensor(Tensor(name, (rows, width), FP32))
    graph.add("a", "attention", ("q", "k", "v"), format=FP32, batch=2, heads=4, kv_heads=2)
    streams = tuple(Stream(f"{a.name}>{b.name}", 9) for a, b in pairwise(tasks))
    joined = tuple(
        replace(
            task,
            takes={
                s.name: sequence((1, 1), (0, task.firings - 1)) for s in streams if s.name.endswith(f">{task.name}")
            },
            gives={
                s.name: sequence((0, task.firings - 1), (1, 1)) for s in streams if s.name.startswith(f"{task.name}>")
            },
        )
        for task in tasks
    )
    return Schedule(graph, "design", "mapper", (Section("s", joined, streams),), options={"attention_order": order})


def attend(
    kind: str, tiles: list[Box], *, drained: int = 0, mask: Mask | None = None, name: str = "attend"
) -> Task:
    """A task of op 'a', each tile as large as the first, with a drain after every `drained` tiles."""
    batch, heads, queries, keys = map(abs, (along.step for along in tiles[0]))
    step = (work(kind, mask, batch=batch, heads=heads, queries=queries, keys=keys, qk_dim=3), drained or 1)
    runs = (step, (work("drain", d=12), 1)) if drained else (step,)
    task = Task(name, "unit", 1, sequence(*runs), serves=(Served(("a",), tuple(tiles)),))
    count = len(list(task.serves[0].slices()))
    firings = count + (count // drained if drained else 0)
    return replace(task, firings=firings)


def whole(along: range) -> range:
    return range(along.start, along.stop, along.stop - along.start)


BOTH, EACH = range(0, 2, 2), [range(0, 1), range(1, 2)]  # sequences together, or one after the other
HEADS = range(0, 4, 4)


def keys_of(*groups: Box, step: int = 1) -> list[Box]:
    """Every key, `step` at a time, for one group (batch, heads, queries) after the other."""
    return [(*map(whole, group), range(key, key + step, step)) for group in groups for key in range(0, 3, step)]


GROUPS = (
    [(BOTH, HEADS, range(2))],
    [(sequence, HEADS, range(q, q + 1)) for sequence in EACH for q in (0, 1)],
    [(BOTH, range(h, h + 1), range(2)) for h in range(4)],
    [(BOTH, HEADS, range(0, 3)), (BOTH, HEADS, range(3, 6))],  # the queries of the second group are padding
)
ONLINE = [
    attention(attend("attention", keys_of(*groups, step=step), drained=3 // step if drains else 0), order=order)
    for groups in GROUPS
    for order in ("plain", "reversed")
    for step in (1, 3)
    for drains in (True, False)
]
SCORES, VALUES = (
    [(BOTH, HEADS, range(q, q + 1), keys) for q in (0, 1) for keys in order]
    for order in ((range(0, 2, 2), range(2, 4, 2)), (range(2, 4, 2), range(0, 2, 2)))
)
TWO_PASSES = [
    attention(attend("attention_scores", SCORES, name="scores"), attend("attention_values", VALUES, name="values"))
]


HALVES = [keys_of(*GROUPS[1])[half] for half in (slice(0, 6), slice(6, 12))]
OTHERS = [
    attention(attend("attention", HALVES[0], name="first"), attend("attention", HALVES[1], name="second")),
    # Masked pairs neither walked nor paid for: 2 and 3 of the keys, 5 pairs of 6.
    attention(attend("attention", [(BOTH, HEADS, range(0, 2, 2), range(0, 3, 3))], mask=Mask())),
]


@pytest.mark.parametrize("schedule", ONLINE + TWO_PASSES + OTHERS)
def test_tiles_of_attention_in_groups_steps_and_passes(schedule):
    tensors = random_tensors(schedule.graph, seed=0)
    expected = evaluate(schedule.graph, tensors)["a"]
    np.testing.assert_allclose(replay(schedule, tensors)["a"], expected, rtol=0, atol=TOLERANCE)


def test_a_group_drained_between_its_keys_is_noticed():
    with pytest.raises(
        ScheduleError, match="task 'attend': queries 0 to 1 are drained before query 1 has seen key 2; a drain"
    ):
        list(steps(attention(attend("attention", keys_of(*GROUPS[0]), drained=2))))


def test_values_wait_for_all_scores():
    with pytest.raises(ScheduleError, match="task 'attend': reads 'a scores', which no task before it"):
        list(steps(attention(attend("attention_values", VALUES))))
    with pytest.raises(ScheduleError, match="task 'attend': reads 'a scores' before it is whole; op 'a': no"):
        list(
            steps(attention(attend("attention_scores", SCORES[:2], name="scores"), attend("attention_values", VALUES)))
        )


def test_scores_without_values_are_no_attention():
    with pytest.raises(ScheduleError, match="op 'a': no task computes it"):
        list(steps(attention(attend("attention_scores", SCORES))))


def test_a_read_that_nothing_makes_wait_is_noticed_though_the_order_is_lucky():
    graph = Graph("pair")
    graph.add_tensor(Tensor("x", (1, 3), FP32))
    for name, source in (("first", "x"), ("second", "first")):
        graph.add(name, "add", (source, source), format=FP32)
    tasks = tuple(
        Task(f"make {op}", "unit", 1, every(work("add", rows=1, d=3)), serves=(Served((op,), (box(0, 0),)),))
        for op in ("first", "second")
    )
    with pytest.raises(ScheduleError) as raised:
        list(steps(Schedule(graph, "design", "mapper", (Section("s", tasks, ()),))))
    assert str(raised.value) == (
        "task 'make second': reads 'first', which 'make first' computes in the same section; "
        "streams lead from a task that computes a tensor to those that read it"
    )
    apart = tuple(Section(task.name, (task,), ()) for task in tasks)
    assert len(list(steps(Schedule(graph, "design", "mapper", apart)))) == 2


def test_an_op_that_no_task_computes_is_named():
    schedule = mappers.lower(prefill(SMALL, prompt=8), LOOKUP)
    with pytest.raises(ScheduleError, match="op 'lm_head': no task computes it; every op with work is some task's"):
        list(steps(replace(schedule, sections=schedule.sections[:-1])))


def test_sections_out_of_order_read_what_is_not_made():
    schedule = mappers.lower(prefill(SMALL, prompt=8), LOOKUP)
    with pytest.raises(ScheduleError, match="task 'lm_head': reads 'final_norm', which no task before it computes"):
        list(steps(replace(schedule, sections=schedule.sections[::-1])))


def test_a_lost_signal_between_calls_is_noticed():
    """Without the streams that make a norm's read wait for the residual, it could read anything."""
    schedule = mappers.lower(prefill(SMALL, prompt=8), LOOKUP)
    layers = schedule.sections[1]
    lost = {stream.name for stream in layers.streams if stream.name.endswith("done > ffn_norm.read")}
    assert lost
    tasks = tuple(
        replace(task, **{end: {s: n for s, n in getattr(task, end).items() if s not in lost}
                         for end in ("takes", "gives")})
        for task in layers.tasks
    )  # fmt: skip
    cut = replace(layers, tasks=tasks, streams=tuple(s for s in layers.streams if s.name not in lost))
    with pytest.raises(ScheduleError, match=r"task 'ffn_norm': reads 'layer0.attention_residual'"):
        list(steps(replace(schedule, sections=(schedule.sections[0], cut, schedule.sections[2]))))


def test_reversed_tiles_walked_as_plain_leave_a_gap():
    schedule = mappers.lower(prefill(SMALL, prompt=13), LOOKUP)
    with pytest.raises(
        ScheduleError, match="task 'attention': queries 8 to 12 are drained before query 8 has seen key 0"
    ):
        list(steps(replace(schedule, options={**schedule.options, "attention_order": "plain"})))


def test_a_group_that_is_never_drained_is_noticed():
    schedule = mappers.lower(prefill(SMALL, prompt=16), LOOKUP)
    broken = with_task(
        schedule, 1, "attention", lambda task: replace(with_tiles(task, ()), work=every(next(iter(task.work))[0]))
    )
    assert any(step.whole for step in steps(broken) if step.op.kind == "attention")  # without tiles: the whole op
    with pytest.raises(ScheduleError, match="queries 0 to 7 are never drained; a drain follows"):
        list(steps(with_task(schedule, 1, "attention", last_drain_lost)))


def last_drain_lost(task: Task) -> Task:
    runs = tuple(task.work)
    return replace(task, work=type(task.work)((*runs[:-1], (work("move", bytes=1), 1))))


def test_order_of_tasks_follows_streams_without_initial_tokens():
    def task(name: str, takes: tuple[str, ...], gives: tuple[str, ...]) -> Task:
        one = every(1)
        return Task(name, name, 1, every(work("move", bytes=1)), dict.fromkeys(takes, one), dict.fromkeys(gives, one))

    tasks = (task("c", ("b>c",), ("c>a",)), task("b", ("a>b",), ("b>c",)), task("a", ("c>a",), ("a>b",)))
    late, first = sequence((0, 1), (1, 1)), sequence((1, 1), (0, 1))
    early = replace(tasks[0], firings=2, takes={"b>c": late}, gives={"c>a": first})
    loop = (Stream("a>b", 1), Stream("b>c", 1))
    section = Section("s", tasks, (*loop, Stream("c>a", 1, initial=1)))
    order = [(t.name, set(before)) for t, before in dependence_order(section)]
    assert order == [("a", set()), ("b", {"a"}), ("c", {"a", "b"})]
    with pytest.raises(ScheduleError, match="section 's': tasks wait for each other: "):
        dependence_order(Section("s", (early, *tasks[1:]), (*loop, Stream("c>a", 1))))
