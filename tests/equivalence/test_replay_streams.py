"""Does each streaming form of attention, executed by its own nodes token by token, equal PyTorch's attention?"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archsim import load_design
from dataflow import CASCADES, Graph, Schedule, ScheduleError, Served, attention, every, sequence
from dataflow.numeric.evaluate import evaluate
from dataflow.numeric.replay_streams import replay_streams
from kernels.stream_nodes import NODES
from mappers.spatial.mapper import Spatial

MACHINE = load_design("streaming_machine")
README = Path(__file__).parents[2] / "README.md"
FORMS = tuple(CASCADES)
LANE = (range(1), range(1))
WITHOUT_MAX = ("naive", "reordered_without_max")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # the issue of rounding: N additions in another order than PyTorch's


def drawn(graph: Graph, dtype: str, *, seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    tensors = {name: random.normal(size=graph.tensors[name].shape) for name in ("q", "k", "v")}
    return {name: (array * (scale if name == "q" else 1)).astype(dtype) for name, array in tensors.items()}


def expected(graph: Graph, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """PyTorch's scaled_dot_product_attention, in the type of the tensors."""
    (op,) = graph.ops.values()
    a, widths = op.attributes, {"q": op.work["qk_dim"], "k": op.work["qk_dim"], "v": op.work["v_dim"]}
    q, k, v = (
        torch.tensor(tensors[n]).reshape(a["batch"], -1, tensors[n].shape[1] // width, width).transpose(1, 2)
        for n, width in widths.items()
    )
    own = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]  # the key of each query's own token
    key = torch.arange(k.shape[2])
    seen = (key <= own) & (key > own - (a["window"] or k.shape[2])) if a["causal"] else torch.ones(1, 1).bool()
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    return out.transpose(1, 2).reshape(len(tensors["q"]), -1).numpy()


def check(graph: Graph, form: str, dtype: str, **options: Any) -> None:
    tensors = drawn(graph, dtype)
    found = replay_streams(Spatial(form=form, **options).lower(graph, MACHINE), tensors)["attention"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found, expected(graph, tensors), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("r, n, d", [(1, 1, 1), (5, 2, 3), (2, 16, 8), (16, 16, 8), (3, 33, 64)])
def test_each_form_is_attention(form: str, dtype: str, r: int, n: int, d: int) -> None:
    check(attention(queries=r, keys=n, head_dim=d, causal=False), form, dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("r, n", [(7, 7), (4, 9)])
def test_each_form_is_masked_attention(form: str, dtype: str, window: int | None, r: int, n: int) -> None:
    check(attention(queries=r, keys=n, head_dim=4, window=window), form, dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("heads", ["parallel", "sequential"])
def test_each_form_is_attention_of_many_heads(form: str, heads: str) -> None:
    graph = attention(queries=3, keys=5, head_dim=4, heads=6, kv_heads=2, batch=2)
    check(graph, form, "float64", heads=heads)
    check(graph, form, "float32", heads=heads)


@pytest.mark.parametrize("form", ["naive", "memory_free"])
def test_streams_give_what_the_graph_evaluates_to(form: str) -> None:
    graph = attention(queries=4, keys=6, head_dim=8, heads=2, kv_heads=1, window=3)
    tensors = drawn(graph, "float32")
    found = replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)["attention"]
    np.testing.assert_allclose(found, evaluate(graph, tensors)["attention"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_scores_that_rise_do_not_overflow_where_a_maximum_follows_them(form: str) -> None:
    graph, tensors = scores_of(400.0, "float32")
    tensors = {**tensors, "k": tensors["k"][::-1].copy(), "v": tensors["v"][::-1].copy()}
    found = replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)["attention"]
    if form in WITHOUT_MAX:
        assert not np.isfinite(found).any()
    else:
        np.testing.assert_allclose(found, expected(graph, tensors), rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_overflow_is_silent(form: str) -> None:
    graph, tensors = scores_of(200.0, "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)


def scores_of(size: float, dtype: str, *, other: float = 0.5) -> tuple[Graph, dict[str, np.ndarray]]:
    """One row of two scores: `size`, and `other` times as much."""
    graph = attention(queries=1, keys=2, head_dim=1, causal=False)
    arrays = {"q": [[size]], "k": [[1.0], [other]], "v": [[1.0], [0.5]]}
    return graph, {name: np.array(values, dtype) for name, values in arrays.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size, fits", [(88.0, True), (88.7, True), (88.8, False), (200.0, False)])
def test_forms_without_a_maximum_overflow_and_the_others_do_not(form: str, size: float, fits: bool) -> None:
    """exp(88.72) is the largest float32; a sum of one such weight still fits at 88.7."""
    graph, tensors = scores_of(size, "float32")
    found = replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)["attention"]
    if fits or form not in WITHOUT_MAX:
        np.testing.assert_allclose(found, expected(graph, tensors), rtol=1e-5)
    else:
        assert not np.isfinite(found).any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("highest, fits", [(-87.0, True), (-103.0, False), (-104.0, False)])
def test_forms_without_a_maximum_underflow_and_the_others_do_not(form: str, highest: float, fits: bool) -> None:
    """exp(-87.3) is the smallest float32 with all its bits; exp(-103) has one bit left, and exp(-104) is 0."""
    graph, tensors = scores_of(highest, "float32", other=1.004)
    found = replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)["attention"]
    if fits or form not in WITHOUT_MAX:
        np.testing.assert_allclose(found, expected(graph, tensors), rtol=1e-5)
    elif highest == -103:  # both exponentials are that bit, of weights 0.6 and 0.4
        assert abs(found / expected(graph, tensors) - 1) > 0.05
    else:
        assert np.isnan(found).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_readme_says_which_forms_lose_high_and_low_scores(form: str) -> None:
    [said] = re.findall(rf"^\| {form} \|.*\| (\w+) \| (\w+) \|$", README.read_text(), re.M)
    for told, size, lost in zip(said, (88.8, -103.0), ("overflows", "underflows"), strict=True):
        graph, tensors = scores_of(size, "float32", other=1.004)
        found = replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)["attention"]
        assert told == ("exact" if np.allclose(found, expected(graph, tensors), rtol=1e-5) else lost)


@pytest.mark.parametrize("form", WITHOUT_MAX)
def test_float64_holds_what_float32_does_not(form: str) -> None:
    graph, tensors = scores_of(200.0, "float64")
    found = replay_streams(Spatial(form=form).lower(graph, MACHINE), tensors)["attention"]
    np.testing.assert_allclose(found, expected(graph, tensors), rtol=1e-12)


def test_every_expression_has_a_node_function_and_the_reverse() -> None:
    assert {e.function for cascade in CASCADES.values() for e in cascade.expressions} == set(NODES)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_node_keeps_the_type_of_its_tokens_from_the_first_step_on(dtype: str) -> None:
    scalar, row = np.dtype(dtype).type(2.0), np.ones(3, dtype)
    pair = (scalar, scalar)
    inputs: dict[str, tuple[Any, ...]] = {
        "score": (row, row), "exp": (scalar,), "exp_below_max": (scalar, scalar), "max": (scalar,), "sum": (scalar,),
        "divide": (row, scalar), "weighted_sum": (scalar, row), "running_max": (scalar,), "rescaled_sum": (pair,),
        "rescaled_weighted_sum": (pair, row),
    }  # fmt: skip
    assert set(inputs) == set(NODES)
    for function, values in inputs.items():
        state = None
        for _ in range(3):
            state, value = NODES[function](state, *values)
            assert all(part.dtype == np.dtype(dtype) for part in (value if isinstance(value, tuple) else (value,)))


def broken(form: str, task: str, **changes: Any) -> Schedule:
    """A schedule of two rows of four keys in which a task is another."""
    schedule = Spatial(form=form).lower(attention(queries=2, keys=4, head_dim=2, causal=False), MACHINE)
    (section,) = schedule.sections
    tasks = tuple(replace(t, **changes) if t.name == task else t for t in section.tasks)
    return replace(schedule, sections=(replace(section, tasks=tasks),))


@pytest.mark.parametrize(
    "form, task, changes, message",
    [
        ("naive", "exp", {"expression": "weight"}, "task 'exp': 'weight' is no expression of the naive form"),
        ("naive", "divide", {"takes": {"exp > divide": every(1), "sum > divide": sequence((0, 1), (1, 1), (0, 2))}},
         "task 'divide': reads 'sum' before it has taken any"),
        ("naive", "divide", {"takes": {"exp > divide": every(1), "sum > divide": sequence((1, 2), (0, 6))}},
         "at (sequence 0, head 0, query 0) it takes a token of (sequence 0, head 0, query 1) from 'sum > divide'"),
        ("naive", "output", {"gives": {"output > sink": sequence((0, 6), (1, 2))}},
         "2 rows come out, not each of the op's once"),
        ("naive", "exp", {"serves": (Served(("attention",)),)}, "takes more tokens of 'exp > "),
        ("naive", "output", {"serves": (Served(("attention",)),)}, "tokens are left in 'divide > output'"),
        ("naive", "sum", {"serves": (Served(("attention",), ((*LANE, range(2), range(0, 4, 2)),) * 2),)},
         "at (sequence 0, head 0, query 1) it takes"),
    ],
)  # fmt: skip
def test_schedules_that_lose_or_misplace_tokens_are_refused(
    form: str, task: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScheduleError) as raised:
        replay_streams(broken(form, task, **changes), drawn(attention(queries=2, keys=4, head_dim=2), "float64"))
    assert message in str(raised.value)


def test_an_op_is_computed_by_one_section() -> None:
    schedule = broken("naive", "sum")
    tensors = drawn(schedule.graph, "float64")
    with pytest.raises(ScheduleError, match="op 'attention' is computed by a section before it"):
        replay_streams(replace(schedule, sections=schedule.sections * 2), tensors)
    with pytest.raises(ScheduleError, match="op 'attention': no section computes it"):
        replay_streams(replace(schedule, sections=()), tensors)


def test_a_value_of_one_row_serves_no_other() -> None:
    schedule = broken("naive", "sum")
    (section,) = schedule.sections
    first = {"sum": {"gives": {"sum > divide": sequence((0, 3), (2, 1), (0, 4))}},
            "divide": {"takes": {"exp > divide": every(1), "sum > divide": sequence((2, 1), (0, 7))}}}  # fmt: skip
    tasks = tuple(replace(task, **first.get(task.name, {})) for task in section.tasks)
    changed = replace(section, tasks=tasks)
    with pytest.raises(ScheduleError, match="task 'divide': reads 'sum' before it has taken any"):
        replay_streams(replace(schedule, sections=(changed,)), drawn(schedule.graph, "float64"))


def test_a_row_that_begins_too_late_gives_another_answer() -> None:
    """A sum that gives a firing early leaves out the last weight: the tokens fit, the numbers do not."""
    graph = attention(queries=2, keys=4, head_dim=2, causal=False)
    tensors = drawn(graph, "float64")
    schedule = broken("naive", "sum", gives={"sum > divide": sequence((0, 2), (1, 1), (0, 1))})
    found = replay_streams(schedule, tensors)["attention"]
    assert np.abs(found - expected(graph, tensors)).max() > 1e-3
