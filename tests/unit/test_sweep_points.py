"""Which points a sweep visits: axes and ranges, grids, draws, and those that Optuna asks for."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mappers
from archsim import InputError
from archsim.report.rows.goal import Goal
from archsim.report.rows.row import Row
from mappers.experiment.axis import axes_of, is_ordered, value_at, values_of
from mappers.experiment.search.guided import BATCH, Guided
from mappers.experiment.search.points import Drawn, Grid, LatinHypercube, identity


def axis(given):
    found, problems = axes_of({"x": given})
    assert not problems
    return found["x"]


def wrong(given):
    return axes_of({"x": given})[1]


def test_ranges_counted_by_hand():
    assert values_of(axis({"from": 2, "to": 5})) == [2, 3, 4, 5]
    assert values_of(axis({"from": 2, "to": 9, "step": 3})) == [2, 5, 8]
    assert values_of(axis({"from": 0.5, "to": 1, "step": 0.25})) == [0.5, 0.75, 1.0]
    assert values_of(axis({"from": "2 GB/s", "to": "8 GB/s", "step": "2 GB/s"})) == [
        "2 GB/s", "4 GB/s", "6 GB/s", "8 GB/s",
    ]  # fmt: skip
    assert axis({"from": "2 GB/s", "to": "8 GB/s"}).size is None
    assert [value_at(axis({"from": 1, "to": 4}), share) for share in (0, 0.24, 0.25, 0.999)] == [1, 1, 2, 4]
    assert value_at(axis({"from": "1 GB/s", "to": "3 GB/s"}), 0.5) == "2 GB/s"
    assert value_at(axis({"from": "1 GB/s", "to": "100 GB/s", "log": True}), 0.5) == "10 GB/s"
    assert value_at(axis({"from": 1, "to": 10_000, "log": True}), 0.5) == 100
    assert value_at(axis({"from": 1.0, "to": 4}), 1 / 3) == 2.0
    assert value_at([1, 2, 3], 0.67) == 3


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.floats(0, 1, exclude_max=True), st.booleans(), st.booleans())
def test_what_is_drawn_lies_in_the_range(one, other, share, log, in_unit):
    low, high = sorted((one, other))
    unit = " GB/s" if in_unit else ""
    ends = (f"{low}{unit}", f"{high}{unit}") if in_unit else (low, high)
    drawn = value_at(axis({"from": ends[0], "to": ends[1], "log": log}), share)
    number = float(drawn.removesuffix(" GB/s")) if in_unit else drawn
    assert low * (1 - 1e-11) <= number <= high * (1 + 1e-11)
    exact = math.exp(math.log(low) + share * math.log(high / low)) if log else low + share * (high - low)
    assert abs(number - exact) <= 1e-4 * (exact if log else high - low) + 1e-11 * high


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 999))
def test_whole_numbers_are_drawn_evenly(low, more, seed):
    """Each value has an equal part of the shares: as many equal shares as values give each value once."""
    counted = axis({"from": low, "to": low + more})
    drawn = [value_at(counted, (i + seed / 1000) / (more + 1)) for i in range(more + 1)]
    assert drawn == list(range(low, low + more + 1))


def test_steps_are_exact_and_narrow_ranges_have_values():
    assert values_of(axis({"from": "12500 MB/s", "to": "12600 MB/s", "step": "25 MB/s"})) == [
        f"{n} MB/s" for n in (12500, 12525, 12550, 12575, 12600)
    ]  # fmt: skip
    assert values_of(axis({"from": 10_000.0, "to": 10_010.0, "step": 2.0})) == [10_000.0 + 2 * i for i in range(6)]
    assert values_of(axis({"from": "100.25 MHz", "to": "100.5 MHz", "step": "0.125 MHz"})) == [
        "100.25 MHz", "100.375 MHz", "100.5 MHz",
    ]  # fmt: skip
    narrow = axis({"from": "12345678 B/s", "to": "12345999 B/s"})
    assert len({value_at(narrow, i / 100) for i in range(100)}) == 100


def test_optuna_draws_log_ranges_over_orders_of_magnitude():
    wide, _ = axes_of({"a": {"from": 1, "to": 4096, "log": True}, "b": [1, 2, 3]})
    drawn = guided(Goal(most=("score",)), wide, 24, 0, lambda point: Row(point, {"score": float(point["b"])}))
    assert sorted(point["a"] for point in drawn)[12] < 600


RANGE_MISTAKES = {
    "a range has no 'too'; did you mean 'to'?": {"from": 1, "to": 2, "too": 3},
    "a range needs 'to', such as {from: 1, to: 64}": {"from": 1},
    "from 3 lies above to 2; swap them": {"from": 3, "to": 2},
    "a range needs 'from', such as {from: 1, to: 64}": {"from": None, "to": 3},
    "step: 1e-320 is too small for this range; take a larger one": {"from": 0.0, "to": 1.0, "step": 1e-320},
    "step: expected more than 0, got 0": {"from": 1, "to": 2, "step": 0},
    "log: expected true or false, got 'yes'": {"from": 1, "to": 2, "log": "yes"},
    "log: expected a range above 0, got from 0": {"from": 0, "to": 2, "log": True},
    "step stands beside log; give one of the two": {"from": 1, "to": 2, "log": True, "step": 1},
    "its ends have different units, GB/s and MB/s; write all in one": {"from": "1 GB/s", "to": "2 MB/s"},
    "its ends have different units, a bare number and GB/s; write all in one": {"from": 1, "to": "2 GB/s"},
    "from: expected a number, or an amount such as '8 GB/s', got 'fast'": {"from": "fast", "to": "2 GB/s"},
    "to: expected a number, or an amount such as '8 GB/s', got true": {"from": 1, "to": True},
}


@pytest.mark.parametrize(("told", "given"), RANGE_MISTAKES.items(), ids=RANGE_MISTAKES)
def test_a_range_that_is_none_is_refused_in_words(told, given):
    assert wrong(given) == [f"x: {told}"]


def test_amounts_that_rise_are_ordered():
    assert is_ordered([1, 2, 5])
    assert is_ordered(["1 GB/s", "10 GB/s"])
    assert is_ordered(axis({"from": 1, "to": 2}))
    assert not is_ordered([2, 1])
    assert not is_ordered(["resv", "full"])
    assert not is_ordered(["1 GB/s", "2 MB/s"])
    assert not is_ordered([False, True])


AXES, _ = axes_of({"a": {"from": 1, "to": 50}, "b": [1, 2, 3], "c": {"from": "1 GB/s", "to": "9 GB/s"}})


def only(visit):
    """The points of a search that asks once."""
    points = next(visit)
    with pytest.raises(StopIteration):
        visit.send([Row(point) for point in points])
    return points


@pytest.mark.parametrize("search", [Drawn(60, 3), LatinHypercube(60, 3)])
def test_a_seed_gives_the_same_points_and_another_gives_others(search):
    points = only(search.visit(AXES))
    assert points == only(search.visit(AXES))
    assert points != only(type(search)(60, 4).visit(AXES))
    assert len({identity(point) for point in points}) == len(points) == search.size(AXES) == 60


def test_a_latin_hypercube_covers_each_axis_evenly():
    points = only(LatinHypercube(150, 1).visit(AXES))
    assert Counter(point["b"] for point in points) == {1: 50, 2: 50, 3: 50}
    assert set(Counter(point["a"] for point in points).values()) == {3}
    speeds = sorted(float(point["c"].split()[0]) for point in points)
    assert all(1 + 8 * i / 150 - 1e-3 <= speed <= 1 + 8 * (i + 1) / 150 + 1e-3 for i, speed in enumerate(speeds))


def test_a_small_space_is_drawn_whole_and_more_is_refused():
    small, _ = axes_of({"a": [1, 2], "b": {"from": 1, "to": 3}})
    everything = only(Grid().visit(small))
    assert [tuple(point.values()) for point in everything] == [(a, b) for a in (1, 2) for b in (1, 2, 3)]
    drawn = only(Drawn(6, 0).visit(small))
    assert sorted(map(identity, drawn)) == sorted(map(identity, everything))
    told = "points: 7 points are asked for, and there are 6; ask for fewer, or give search: grid"
    assert Drawn(7, 0).problems(small) == LatinHypercube(7, 0).problems(small) == [told]
    assert Guided(7, 0, Goal(most=("y",))).problems(small) == [told]


def guided(goal, axes, points, seed, figure):
    """The points that Optuna asks for, of a function that gives the figures of a point."""
    visit = Guided(points, seed, goal).visit(axes)
    asked, batch = [], next(visit)
    while True:
        asked += batch
        assert len(batch) <= BATCH
        try:
            batch = visit.send([goal.judged(figure(point)) for point in batch])
        except StopIteration:
            return asked


def hill(point):
    """Best at a = 20 and b = 3 within a budget of a * b <= 60; nothing at a = 7."""
    if point["a"] == 7:
        return Row(point, status="refused", problem="no 7")
    return Row(point, {"score": -abs(point["a"] - 25) + point["b"], "cost": float(point["a"] * point["b"])})


HILL, _ = axes_of({"a": {"from": 1, "to": 50}, "b": [1, 2, 3]})


@pytest.mark.parametrize("seed", range(3))
def test_optuna_finds_the_best_within_a_constraint(seed):
    goal = Goal(most=("score",), constraints={"cost": {"at_most": 60}})
    every = [goal.judged(hill(point)) for point in only(Grid().visit(HILL))]
    best = max(row["score"] for row in every if row.status == "done")
    asked = guided(goal, HILL, 60, seed, hill)
    assert len({identity(point) for point in asked}) == len(asked) == 60
    feasible = [row for row in map(goal.judged, map(hill, asked)) if row.status == "done"]
    assert max(row["score"] for row in feasible) == best
    assert asked == guided(goal, HILL, 60, seed, hill)


def test_optuna_ends_where_the_space_does():
    small, _ = axes_of({"a": [1, 2], "b": {"from": 1, "to": 3}})
    asked = guided(Goal(most=("score",)), small, 6, 0, hill)
    assert sorted(map(identity, asked)) == sorted(map(identity, only(Grid().visit(small))))


SWEEP = {"design": "toy", "model": "toy_llm", "phase": "decode", "over": {"context": [3, 4]}}
MISTAKES = {
    "search: no search 'gird'; searches are: grid, random, latin, optuna": {"search": "gird"},
    "points: search random needs a number of points from 1 to 1,048,576": {"search": "random"},
    "points: search latin needs a number of points from 1 to 1,048,576, got 0": {"search": "latin", "points": 0},
    "points: a grid visits all points; leave it out, or give search: random": {"points": 3},
    "seed: a grid visits all points; leave it out, or give search: random": {"seed": 0},
    "seed: expected a whole number from 0 to 2^32 - 1, got -1": {"search": "random", "points": 2, "seed": -1},
    "search: optuna needs a figure to go by; name one under most or least": {"search": "optuna", "points": 2},
    "most: no figure 'second'; did you mean 'seconds'?": {"most": "second"},
    "seconds: is named twice; name it once": {"most": ["seconds"], "least": ["seconds"]},
    "least: expected the name of a figure, or a list of them, got 3": {"least": 3},
    "constraints: expected a mapping of figures to limits, got 3": {"constraints": 3},
    "constraints.seconds.at_most: expected a number, got 'a'": {"constraints": {"seconds": {"at_most": "a"}}},
    "constraints.seconds: expected {at_most: number} or {at_least: number}, got 3": {"constraints": {"seconds": 3}},
    "jobs: expected a whole number of processes from 1 on, got 0": {"jobs": 0},
    "scheduler: 2 jobs stand beside it; its workers run the points, so give one of the two": {
        "jobs": 2, "scheduler": "tcp://x:1",
    },
    "scheduler: expected an address such as tcp://host:8786, got 'http://x'": {"scheduler": "http://x"},
    "scheduler: expected an address such as tcp://host:8786, got ''": {"scheduler": ""},
    "resume: there is no store to go on with; name one": {"resume": True},
    "resume: expected a bool, got 'no'": {"resume": "no"},
    "progress: expected true, false or a function, got 'yes'": {"progress": "yes"},
    "store: expected the path of a file, got ''": {"store": ""},
    "store: expected the path of a file, got 5": {"store": 5},
    "engine: unknown engine 'nope'; engines are: auto, compiled, simpy, recurrence": {"engine": "nope"},
    "constraints.seconds.at_most: expected a number, got nan": {"constraints": {"seconds": {"at_most": float("nan")}}},
    "constraints.seconds: at_least lies above at_most, so that no value can be right; swap them": {
        "constraints": {"seconds": {"at_most": 1, "at_least": 2}},
    },
    "model: is no value but holds some; write a path below it, such as model.layers": {
        "over": {"context": [3], "model": ["toy_llm", "bitnet_b158_large"]},
    },
    "option: is no value but holds some; write a path below it, such as option.NAME": {
        "over": {"context": [3], "option": [1]},
    },
    "phases: is no value but holds some; write a path below it, such as context": {"over": {"phases": [1]}},
    "units.mm.macs_per_cycle: lies below 'units.mm', which is swept too; sweep one of the two": {
        "over": {"context": [3], "units.mm.macs_per_cycle": [1], "units.mm": [{}]},
    },
    "phases.talk.context: the phase stands alone and has no label; write context": {
        "over": {"context": [3], "phases.talk.context": [4]},
    },
    "x: expected a list of values; a set has no order, so that no two runs are alike": {"over": {"x": {1, 2}}},
    "units: values stand under whole paths; write units.mm: …": {"over": {"units": {"mm": {"macs_per_cycle": [1]}}}},
    "context: log is for values that are drawn; a grid visits each value, so write a list": {
        "over": {"context": {"from": 1, "to": 64, "log": True}},
    },
    "phase: stands beside phases, which have their own; write it there": {"phases": {"talk": {"phase": "decode"}}},
    "phases: expected labels such as talk, got 'a b'": {"phase": None, "phases": {"a b": {"phase": "decode"}}},
    "phases.talk: expected a Phase, or its name and fields such as {phase: decode, context: 128}, got a mapping": {
        "phase": None, "phases": {"talk": {"context": 3}},
    },
    "phases.seconds: is the name of a figure; take another label": {
        "phase": None, "phases": {"seconds": {"phase": "decode"}},
    },
    "phases.x: expected a Phase, or its name and fields such as {phase: decode, context: 128}, got a mapping": {
        "phase": None, "phases": {"x": {"phase": [1]}, "y": {"phase": "decode"}},
    },
    "context: is given as one value and as values to sweep; give one of the two": {
        "phase": None, "phases": {"x": {"phase": "decode", "context": 3}, "y": {"phase": "decode"}},
    },
    "phases.x.context: 'context' is swept for all phases too; sweep one of the two": {
        "phase": None, "phases": {"x": {"phase": "decode"}, "y": {"phase": "decode"}},
        "over": {"context": [3], "phases.x.context": [4]},
    },
    "phases.x: is a phase; write a path below it, such as phases.x.context": {
        "phase": None, "phases": {"x": {"phase": "decode"}}, "over": {"phases.x": [4]},
    },
    "phases: expected a mapping of labels to phases, got a mapping": {"phase": None, "phases": {}},
}  # fmt: skip


@pytest.mark.parametrize(("told", "more"), MISTAKES.items(), ids=MISTAKES)
def test_a_sweep_that_cannot_be_is_refused_in_words(told, more):
    with pytest.raises(InputError) as refused:
        mappers.sweep(**{**SWEEP, **more})
    assert told in refused.value.problems


def test_addresses_of_schedulers():
    from mappers.experiment.workers.cluster import ADDRESS

    right = ["tcp://127.0.0.1:8786", "tls://host.example:1", "tcp://[::1]:8786", "tcp://host:8786/"]
    assert all(map(ADDRESS.fullmatch, right))
    assert not any(map(ADDRESS.fullmatch, ["host:8786", "http://x:1", "tcp://host", "tcp://::1:8786", "inproc://1"]))


def test_several_phases_run_at_each_point():
    rows = mappers.sweep(
        "toy", "toy_llm", over={"units.mm.macs_per_cycle": [1, 2], "phases.talk.context": [8, 16], "batch": [1]},
        phases={"read": {"phase": "prefill", "prompt": 4}, "talk": {"phase": "decode"}},
        most="talk.tokens_per_second", least="read.seconds",
    )  # fmt: skip
    for row in rows:
        design = mappers.experiment.run.load_design("toy").with_(
            {"units.mm.macs_per_cycle": row["units.mm.macs_per_cycle"]}
        )
        read = mappers.run(design, "toy_llm", phase="prefill", prompt=4)
        talk = mappers.run(design, "toy_llm", phase="decode", context=row["phases.talk.context"])
        assert (row["read.cycles"], row["talk.cycles"]) == (read.cycles, talk.cycles)
        assert {label: one.cycles for label, one in rows.reports(row).items()} == {
            "read": read.cycles, "talk": talk.cycles,
        }  # fmt: skip
    assert rows.pareto() == [max(rows, key=lambda row: row["talk.tokens_per_second"])]
    with pytest.raises(InputError, match="the point has the phases read, talk"):
        rows.report(rows[0])
    with pytest.raises(InputError, match=r"has the objectives talk\.tokens_per_second, read\.seconds; name one"):
        rows.best()


def test_the_model_is_swept():
    over = {"model.layers": [1, 2], "model.ffn": [8, 9]}
    rows = mappers.sweep("toy", "toy_llm", phase="decode", context=3, over=over)
    for row in rows:
        model = mappers.experiment.run.load_workload("toy_llm").model_copy(
            update={"layers": row["model.layers"], "ffn": row["model.ffn"]}
        )
        assert row["cycles"] == mappers.run("toy", model, phase="decode", context=3).cycles


def test_a_constraint_that_breaks_or_cannot_be_judged_is_a_row_with_its_reason():
    rows = mappers.sweep(
        "toy", "toy_llm", phase="decode", over={"context": [3, 4, 1000]}, least="seconds",
        constraints={"seconds": {"at_most": 0.00073, "at_least": 0.0001}, "tokens_per_second": {"at_least": 1}},
    )  # fmt: skip
    assert [row.status for row in rows] == ["done", "outside", "refused"]
    assert rows[1].problem == "seconds: 0.000758 is above 0.00073"
    assert rows[1]["cycles"] == 758
    assert rows.best() is rows[0]
    assert rows.counts == {"done": 1, "outside": 1, "refused": 1}
    (row,) = mappers.sweep(
        "toy", "toy_llm", phase="decode", over={"context": [3]}, constraints={"mass_recall": {"at_least": 0.5}}
    )
    assert row.problem == "mass_recall: is not known of this variant, so its constraint cannot be judged"




def test_optuna_is_no_worse_than_the_whole_grid_under_a_budget_of_resources():
    """Most of this space is refused (the buffer is too small for a matrix, or the FPGA too small for the buffer)."""
    asked = {
        "over": {
            "units.weight_buffer.regions": [1, 2, 3, 4, 6], "units.weight_buffer.banks": [2, 4, 8, 16],
            "option.weight_buffering": ["single", "double"], "links.int8.depth": [2, 16],
            "units.ddr.bandwidth": ["8 GB/s", "12 GB/s", "17.1 GB/s", "25 GB/s"],
            "units.host.measured_time": ["9 ms", "6 ms"],
        },
        "phase": "decode", "context": 64, "most": "tokens_per_second",
        "constraints": {"resources.uram": {"at_most": 60}}, "jobs": 2,
    }  # fmt: skip
    grid = mappers.sweep("tellme_kv260", "bitnet_b158_large", **asked)
    assert len(grid) == 640
    assert grid.counts["refused"] > 500
    for seed in (0, 1):
        found = mappers.sweep("tellme_kv260", "bitnet_b158_large", **asked, search="optuna", points=200, seed=seed)
        assert len(found) == 200
        best = found.best()
        assert best["tokens_per_second"] == grid.best()["tokens_per_second"]
        assert all(row["resources.uram"] <= 60 for row in found.pareto())
        assert best["resources.uram"] <= 60
