"""Laws of a fabric, in closed form: pipelines of tokens, ways over a mesh, places, and the ring between sockets."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import archsim
import mappers
from archsim import Deadlock
from dataflow import FORMATS, Graph, Role, Tensor, prefill, work
from mappers.spatial.balance import balanced, passing
from mappers.spatial.routes import DIRECTIONS, Run, _tree, _way
from mappers.spatial.tokens import Tokens

FP16 = FORMATS["fp16"]
SN40L = archsim.load_design("sn40l")
# Stages alone: what they read is there, and streams pass in no time.
BARE = SN40L.with_({
    "units": {
        "pcu": {"kind": "compute_tile", "count": 1000, "lanes": 4, "stages": 3, "latency_cycles": 0},
        "pmu": {"kind": "memory_tile", "count": 1000, "capacity": "1 MiB", "banks": 4, "lanes": 4,
                "element_bits": "16 bit"},
    },
    "paths": {"pcu": []}, "home": {}, "assumed": {}, "name": "bare",
})  # fmt: skip


def chain(rows: int, widths: list[int]) -> Graph:
    """Products one behind the other, each with so many columns."""
    graph = Graph("chain")
    graph.add_tensor(Tensor("x", (rows, widths[0]), FP16))
    before = "x"
    for i, (k, n) in enumerate(pairwise(widths)):
        graph.add_tensor(Tensor(f"w{i}", (n, k), FP16, Role.WEIGHT))
        before = graph.add(f"p{i}", "matmul", (before, f"w{i}"), format=FP16)
    return graph


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_tokens_pass_a_chain_in_the_sum_of_all_stages_and_the_slowest_again(data: Any) -> None:
    """sum t + (T - 1) max t, where a queue of two places lies between neighbours."""
    count, each = data.draw(st.integers(2, 9)), data.draw(st.integers(1, 6))
    widths = data.draw(st.lists(st.integers(1, 20), min_size=3, max_size=6))
    graph = chain(count * each, widths)
    stages = [f"p{i}" for i in range(len(widths) - 1)]
    servers = {f"ops.{name}.servers": data.draw(st.integers(1, 5), label=name) for name in stages}
    mapping = BARE.own_mapping("x").with_({**servers, "fuse": [{"ops": stages, "rows": each}]})
    schedule = mappers.lower(graph, BARE, mapping=mapping)
    (section,) = schedule.sections
    taken = [
        BARE.units["pcu"].cycles(work("matmul", m=each, k=k, n=n), servers[f"ops.p{i}.servers"])
        for i, (k, n) in enumerate(pairwise(widths))
    ]
    expected = sum(taken) + (count - 1) * max(taken)
    assert archsim.simulate(schedule, BARE).cycles == expected
    assert passing([[t] for t in taken], count) == expected
    assert {stream.depth for stream in section.streams} == {2}


def laid(graph: Graph, rows: int) -> Any:
    """All ops of the graph in one section, a tile each, in tokens of so many rows."""
    names = [*graph.ops]
    servers = {f"ops.{name}.servers": 1 for name in names}
    mapping = BARE.own_mapping("x").with_({"fuse": [{"ops": names, "rows": rows}], **servers})
    return mappers.lower(graph, BARE, mapping=mapping)


def stream_to(schedule: Any, *consumers: str) -> Any:
    """The stream that these tasks take from."""
    (section,) = schedule.sections
    (found,) = [s for s in section.streams if {*consumers} <= {*section.ends[s.name][1]}]
    return found


def cycles_with(schedule: Any, stream: Any, depth: int, engine: str) -> int:
    changed = schedule.with_depths({f"{schedule.sections[0].name}: {stream.name}": depth})
    return archsim.simulate(changed, BARE, engine=engine).cycles


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_way_around_needs_places_for_what_is_under_way(engine: str) -> None:
    """A token waits at the end until it has come through three products too; meanwhile others are under way.

    With one place the next token begins when the one before has passed all stages.
    """
    graph = Graph("around")
    graph.add_tensor(Tensor("x", (32, 12), FP16))
    before = start = graph.add("start", "relu", ("x",), format=FP16)
    for i in range(3):
        graph.add_tensor(Tensor(f"w{i}", (12, 12), FP16, Role.WEIGHT))
        before = graph.add(f"p{i}", "matmul", (before, f"w{i}"), format=FP16)
    graph.add("end", "add", (before, start), format=FP16)
    schedule = laid(graph, 2)
    around = stream_to(schedule, "p0", "end")
    assert around.depth == 5  # four stages from start to end, and a place to fill meanwhile
    assert cycles_with(schedule, around, 5, engine) == cycles_with(schedule, around, 16, engine)
    one = {task.name: BARE.units["pcu"].cycles(task.work.at(0)) for task in schedule.sections[0].tasks if task.serves}
    assert cycles_with(schedule, around, 1, engine) == 16 * sum(one.values())
    assert cycles_with(schedule, around, 3, engine) > cycles_with(schedule, around, 5, engine)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_queries_that_wait_for_all_keys_need_places_for_all_tokens(engine: str) -> None:
    """Keys and queries come from one stage: its queue and that of the queries hold all four tokens, or none goes on."""
    graph = Graph("full")
    graph.add_tensor(Tensor("x", (64, 32), FP16))
    start = graph.add("start", "relu", ("x",), format=FP16)
    for name in ("q", "k", "v"):
        graph.add(name, "relu", (start,), format=FP16)
    graph.add("a", "attention", ("q", "k", "v"), format=FP16, batch=1, heads=2, kv_heads=2, causal=False)
    names = ["start", "q", "k", "v", "a"]
    mapping = BARE.own_mapping("x").with_({"fuse": [{"ops": names, "rows": 16}]})
    schedule = mappers.lower(graph, BARE, mapping=mapping)
    (section,) = schedule.sections
    (queries,) = [s for s in section.streams if section.ends[s.name] == ("q", ("a scores",))]
    assert queries.depth == 4  # tokens of 16 rows
    assert stream_to(schedule, "q", "k", "v").depth == 2
    assert cycles_with(schedule, queries, 2, engine) == cycles_with(schedule, queries, 4, engine)
    with pytest.raises(Deadlock, match="needs 4 tokens of 'k > a scores', which holds 3"):
        cycles_with(schedule, queries, 1, engine)


def test_half_the_latency_of_a_hop_changes_a_steady_state_by_less_than_a_thousandth() -> None:
    graph = prefill(archsim.load_model("llama2_7b").model_copy(update={"layers": 1}), prompt=2048)
    node = archsim.load_design("sn40l_node")
    slow, fast = node.with_({"units.mesh.hop_cycles": 2}), node.with_({"units.mesh.hop_cycles": 1})
    mapping = mappers.plan(graph, fast)
    schedules = [mappers.lower(graph, one, mapping=mapping) for one in (slow, fast)]
    took = [archsim.simulate(s, one, engine="compiled") for s, one in zip(schedules, (slow, fast), strict=True)]
    layers = [next(s.cycles for s in report.placed if s.name.startswith("layer0.input_norm")) for report in took]
    assert 0 < layers[0] - layers[1] < layers[0] / 1000


@settings(max_examples=200, deadline=None)
@given(source=st.tuples(st.integers(0, 7), st.integers(0, 7)), sink=st.tuples(st.integers(-1, 8), st.integers(-1, 8)))
def test_a_way_takes_as_many_hops_as_rows_and_columns_lie_between(source: Any, sink: Any) -> None:
    runs = _way(source, sink, 1.0)
    assert sum(run.hops for run in runs) == abs(source[0] - sink[0]) + abs(source[1] - sink[1])
    assert [run.direction // 2 for run in runs] == sorted(run.direction // 2 for run in runs)  # along the row first


def links(runs: list[Run]) -> list[tuple[int, int, int]]:
    """Each link that the runs pass, once for each time: direction, line and place in it."""
    ends = [(run, min(run.start, run.end), max(run.start, run.end)) for run in runs]
    return [(run.direction, run.line, place) for run, low, high in ends for place in range(low, high)]


@settings(max_examples=200, deadline=None)
@given(
    source=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    sinks=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=12, unique=True),
)
def test_a_broadcast_passes_each_link_once_and_reaches_every_sink(source: Any, sinks: Any) -> None:
    found = links(_tree(source, sinks, 1.0))
    assert len(found) == len({*found})
    # Walked link by link from the source, it reaches all sinks.
    steps = {0: (0, 1), 1: (0, -1), 2: (1, 0), 3: (-1, 0)}
    reached, grown = {source}, True
    while grown:
        grown = False
        for direction, line, place in found:
            forward = place if direction in (0, 2) else place + 1
            begin = (line, forward) if direction in (0, 1) else (forward, line)
            end = (begin[0] + steps[direction][0], begin[1] + steps[direction][1])
            if begin in reached and end not in reached:
                reached.add(end)
                grown = True
    assert reached >= {*sinks}
    assert len(found) <= sum(abs(source[0] - r) + abs(source[1] - c) for r, c in sinks)


def test_the_loads_of_links_are_those_of_all_ways() -> None:
    """Bytes times hops, over all links, are those of the runs of all streams; no tile is placed twice."""
    graph = prefill(archsim.load_model("llama3_8b").model_copy(update={"layers": 1}), prompt=256)
    for design in ("sn40l", "sn40l_node"):
        on = archsim.load_design(design)
        schedule = mappers.lower(graph, on)
        for section in schedule.sections:
            floor = section.floor
            assert floor is not None
            assert not {*floor.computing} & {*floor.holding}
            sockets = 8 if design == "sn40l_node" else 1
            own = [task for task in section.tasks if task.unit == "pcu"]
            assert len(floor.computing) == sum(task.servers for task in own) // sockets
            assert len(floor.holding) == sum(stream.tiles for stream in section.streams) // sockets
            assert all(0 <= r < floor.rows and 0 <= c < floor.columns for r, c in {**floor.computing, **floor.holding})
            assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in floor.loads)


@settings(max_examples=100, deadline=None)
@given(
    works=st.lists(st.integers(1, 5000), min_size=1, max_size=8), spare=st.integers(0, 60), tokens=st.integers(1, 200)
)
def test_tiles_are_shared_so_that_none_alone_makes_the_slowest_stage_faster(
    works: list[int], spare: int, tokens: int
) -> None:
    tiles = len(works) + spare
    stages = [lambda n, w=w: [-(-w // n)] for w in works]
    shares = balanced(stages, tiles, tokens=tokens)
    assert all(n >= 1 for n in shares)
    assert sum(shares) <= tiles
    assume(tokens >= len(works))  # for few tokens the sum of all counts
    slowest = max(-(-w // n) for w, n in zip(works, shares, strict=True))
    # Any sharing with a slowest stage faster by more than the step of the search needs more tiles than there are.
    target = slowest - max(2, slowest // 100) - 1
    assert target < 1 or sum(-(-w // target) for w in works) > tiles


@pytest.mark.parametrize(("m", "k", "n", "tiles"), [*product((1, 5, 32, 100), (1, 64), (1, 6, 200), (1, 3, 40))])
def test_a_product_is_split_as_no_other_way_does_it_sooner(m: int, k: int, n: int, tiles: int) -> None:
    """The cost law of DFModel over all splits, found one by one; and dot products, a tile's lanes along the sum."""
    lanes, stages = 32, 6

    def up(a: int, b: int) -> int:
        return -(-a // b)

    splits = [(a, tiles // a) for a in range(1, tiles + 1)]
    systolic = min(up(x, a * lanes) * up(y, b * stages) * k for x, y in ((m, n), (n, m)) for a, b in splits)
    best = min(systolic, up(m * n, tiles) * up(k, lanes))
    assert SN40L.units["pcu"].cycles(work("matmul", m=m, k=k, n=n), tiles) == best


@pytest.mark.parametrize(("stages", "lanes", "latency"), [(6, 32, 11), (6, 16, 10), (1, 1, 1), (8, 5, 11)])
def test_latency_follows_stages_and_lanes_unless_it_is_given(stages: int, lanes: int, latency: int) -> None:
    changed = {"units.pcu.stages": stages, "units.pcu.lanes": lanes}
    assert SN40L.with_(changed).units["pcu"].latency_cycles == latency
    assert SN40L.with_({**changed, "units.pcu.latency_cycles": 3}).units["pcu"].latency_cycles == 3


@settings(max_examples=100, deadline=None)
@given(batch=st.integers(1, 5), rows=st.integers(1, 40), data=st.data())
def test_tokens_hold_every_row_once_and_no_part_of_two_sequences(batch: int, rows: int, data: Any) -> None:
    sizes = Tokens.sizes(batch, rows)
    each = data.draw(st.one_of(st.sampled_from(sizes), st.integers(1, rows)))
    tokens = Tokens(batch, rows, each)
    ranges = [*tokens.ranges()]
    assert [row for one in ranges for row in one] == list(range(batch * rows))
    assert len(ranges) == tokens.count
    for one in ranges:
        whole = one.start % rows == 0 and one.stop % rows == 0
        assert whole or one.start // rows == (one.stop - 1) // rows


def test_an_exchange_takes_the_steps_of_a_ring() -> None:
    """(n - 1) x (bytes / n / bandwidth + latency), for each half of an all-reduce."""
    ring = archsim.load_design("sn40l_node").units["ring"]
    for kind in ("all_gather", "reduce_scatter"):
        cycles = ring.cycles(work(kind, bytes=8 * 250 * 1000, sockets=8))
        assert cycles == 7 * (1000 + 480)  # 400 GB/s are 250 B a cycle, 300 ns are 480 cycles
    assert len(DIRECTIONS) == 4
